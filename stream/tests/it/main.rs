//! What others must be able to read.

#![allow(
    clippy::too_many_lines,
    reason = "a test tells one accident from begin to end"
)]
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::io::Write;
use std::process::{Command, Stdio};

use bekk_stream::{
    Decimal, FileId, Origin, Reason, Reject, SchemaId, Value, encode_reject, encode_row,
};

/// The reader of docs/format.md, as it stands there, reads what we write.
#[test]
fn the_documented_reader_reads_payloads() {
    let document = include_str!("../../../docs/format.md");
    let reader = document
        .split("```python\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let origin = Origin {
        file: FileId::from_bytes([0xab; 16]),
        start: 300,
        end: 70_000,
        line: 1 << 40,
    };
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Int(-300),
        Value::Int(i64::MAX),
        Value::Float4(1.5),
        Value::Float8(-0.25),
        Value::Decimal(Decimal::new(-19_975, 2)),
        Value::Uuid([0x11; 16]),
        Value::Date(-1),
        Value::Timestamp(1_700_000_000_000_000),
        Value::Timestamptz(-5),
        Value::Text(Cow::Borrowed("blåbær")),
        Value::Json(Cow::Borrowed("{}")),
        Value::Bytea(Cow::Borrowed(&[0, 255])),
    ];
    let mut row = Vec::new();
    encode_row(
        &mut row,
        SchemaId::new(0x0102_0304_0506_0708),
        &origin,
        &values,
    );
    let mut reject = Vec::new();
    let record = vec![b'x'; 70_000];
    let long = Reject::new(&record, Reason::TooLong, Some("price"), "too long");
    encode_reject(&mut reject, SchemaId::new(1), &origin, &long);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let program = format!(
        "{reader}\nrow = payload(bytes.fromhex('{}'))\nprint(row)\nreject = payload(bytes.fromhex('{}'))\n\
         print(reject | dict(raw=len(reject['raw'])))\n",
        hex(&row),
        hex(&reject)
    );
    let python = Command::new("python3")
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut python = python.expect("python3 is installed; `make setup` does that");
    python
        .stdin
        .take()
        .unwrap()
        .write_all(program.as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let head = "'file': UUID('abababab-abab-abab-abab-abababababab'), 'start': 300, 'end': 70000, 'line': 1099511627776";
    let expected = format!(
        "{{'schema': '0102030405060708', {head}, 'row': [None, True, -300, 9223372036854775807, 1.5, -0.25, Decimal('-199.75'), \
         UUID('11111111-1111-1111-1111-111111111111'), -1, 1700000000000000, -5, 'blåbær', '{{}}', b'\\x00\\xff']}}\n\
         {{'schema': '0000000000000001', {head}, 'raw': 65536, 'length': 70000, 'hash': {}, 'reason': 8, \
         'column': 'price', 'detail': 'too long'}}\n",
        long.hash.unwrap()
    );
    assert_eq!(said, expected);
}
