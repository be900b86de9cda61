//! Objects that are rows, and each way in which they are none.

use super::*;
use crate::{Body, Config, Payload};

fn stream(more: &str, columns: &str) -> Stream {
    let text = format!(
        "[streams.items]\naccept = \"json\"\nkey = [\"id\"]\n{more}\ncolumns = [{{ name = \"id\", type = \"int8\" }}, {columns}]"
    );
    let path = std::path::Path::new("/bekk.toml");
    let config = Config::parse(&text, path, std::path::Path::new("/"), &|_| None).unwrap();
    config.streams.into_iter().next().unwrap()
}

fn one(column: &str) -> JsonReader {
    JsonReader::new(&stream("", &format!("{{ name = \"v\", {column} }}"))).unwrap()
}

fn values(row: &JsonRow) -> Vec<Value<'static>> {
    let payload = Payload::decode(&row.payload).unwrap();
    assert_eq!(payload.origin, Origin::ELSEWHERE);
    let Body::Row(values) = payload.body else {
        panic!("a row was encoded")
    };
    values.map(|value| value.unwrap().into_owned()).collect()
}

#[track_caller]
fn check(column: &str, json: &str, expected: Value<'_>) {
    let reader = one(column);
    let text = format!(" {{ \"v\" : {json}, \"id\":7,\"more\":[1]}}\n");
    let row = reader.read(Some(text.as_bytes())).unwrap();
    assert_eq!(row.key.as_deref(), Some(b"7".as_slice()));
    assert_eq!(values(&row), [Value::Int(7), expected], "{column} {json}");
}

#[track_caller]
fn fails(column: &str, value: &[u8], reason: &str, part: &str) {
    let fault = one(column).read(Some(value)).unwrap_err();
    assert_eq!(fault.reason, reason, "{fault:?}");
    assert!(fault.detail.contains(part), "{fault:?}");
}

fn numeric(text: &str) -> Value<'_> {
    Value::Numeric(text.into())
}

#[test]
fn numbers_keep_their_digits() {
    let number = "type = \"numeric\"";
    check(
        number,
        "12345678901234567890.12345678901234567890",
        numeric("12345678901234567890.12345678901234567890"),
    );
    check(number, "1.5e-7", numeric("0.00000015"));
    check(number, "-12.50E+1", numeric("-125"));
    check(number, "0e5", numeric("0"));
    check(
        "type = \"int8\"",
        "9223372036854775807",
        Value::Int(i64::MAX),
    );
    check("type = \"int8\"", "1.0E3", Value::Int(1000));
    check("type = \"float8\"", "1e300", Value::Float8(1e300));
    check("type = \"text\"", "1e5", Value::Text("1e5".into()));
    let decimal = Value::Decimal(crate::Decimal {
        unscaled: 150,
        scale: 2,
    });
    check(
        "type = \"decimal(9,2)\", decimal = \",\"",
        "1.5",
        decimal.clone(),
    );
    check(
        "type = \"decimal(9,2)\", decimal = \",\"",
        "\"1,5\"",
        decimal,
    );
    fails(
        "type = \"int8\"",
        br#"{"id":1,"v":9223372036854775808}"#,
        "out_of_range",
        "9223372036854775808",
    );
    fails(
        "type = \"int4\"",
        br#"{"id":1,"v":1e999999999}"#,
        "bad_value",
        "1e999999999",
    );
    fails(
        "type = \"int4\"",
        br#"{"id":1,"v":1.5}"#,
        "too_many_decimals",
        "1.5",
    );
}

#[test]
fn strings_are_what_they_say() {
    check(
        "type = \"text\", nullable = true",
        r#""""#,
        Value::Text("".into()),
    );
    check(
        "type = \"text\"",
        r#""bl\u00e5 \"\n\u0001""#,
        Value::Text("blå \"\n\u{1}".into()),
    );
    check("type = \"int4\", nullable = true", r#""""#, Value::Null);
    check(
        "type = \"text\", nullable = true, null = [\"N/A\"]",
        r#""N/A""#,
        Value::Null,
    );
    check("type = \"bool\"", "false", Value::Bool(false));
    check("type = \"text\"", "true", Value::Text("true".into()));
    check("type = \"date\"", r#""1970-01-02""#, Value::Date(1));
    check(
        "type = \"json\"",
        r#"{"a": [1, 2.50], "a": null}"#,
        Value::Json(r#"{"a": [1, 2.50], "a": null}"#.into()),
    );
    check("type = \"json\", nullable = true", "null", Value::Null);
    check(
        "type = \"text\", value = \"eu\"",
        "1",
        Value::Text("eu".into()),
    );
    fails(
        "type = \"text\"",
        br#"{"id":1,"v":"\u0000"}"#,
        "nul",
        "U+0000",
    );
    fails(
        "type = \"text\"",
        br#"{"id":1,"v":"\ud800"}"#,
        "bad_encoding",
        "cannot be decoded",
    );
    fails(
        "type = \"text\", allowed = [\"a\"]",
        br#"{"id":1,"v":"b"}"#,
        "not_allowed",
        "one of: a",
    );
    fails(
        "type = \"int4\", min = \"3\"",
        br#"{"id":1,"v":2}"#,
        "out_of_range",
        "min",
    );
    fails(
        "type = \"int4\"",
        br#"{"id":1,"v":true}"#,
        "bad_value",
        "true or false is no value",
    );
    fails(
        "type = \"text\"",
        br#"{"id":1,"v":{"a":1}}"#,
        "bad_value",
        "an object or an array",
    );
}

#[test]
fn what_is_no_object_says_why() {
    let text = "type = \"text\"";
    fails(text, b"", "not_json", "empty");
    fails(text, b"[1]", "not_json", "not a JSON object");
    fails(text, b"null", "not_json", "not a JSON object");
    fails(text, br#"{"id":1,"v":"a"} x"#, "not_json", "trailing");
    fails(text, br#"{"id":1,"#, "not_json", "EOF");
    fails(
        text,
        b"{\"id\":1,\"v\":\"\x01\"}",
        "not_json",
        "control character",
    );
    fails(
        text,
        b"{\"id\":1,\"v\":\"\xff\"}",
        "bad_encoding",
        "byte 13",
    );
    fails(text, br#"{"id":1}"#, "missing_value", "`v` is missing");
    fails(
        text,
        br#"{"id":1,"v":null}"#,
        "missing_value",
        "`v` is null",
    );
    fails(
        text,
        br#"{"id":1,"v":"a","id":2}"#,
        "bad_value",
        "`id` is there twice",
    );
    fails(
        text,
        br#"{"schema":{},"payload":{"id":1}}"#,
        "not_json",
        "schemas.enable=false",
    );
    let missing = one(text).read(None).unwrap_err();
    assert!(missing.detail.contains("deletes no rows"), "{missing:?}");
    let strict = stream(
        "csv = { unknown = \"reject\" }",
        "{ name = \"v\", type = \"text\" }",
    );
    let strict = JsonReader::new(&strict).unwrap();
    let fault = strict.read(Some(br#"{"id":1,"v":"a","w":1}"#)).unwrap_err();
    assert!(fault.detail.contains("`w`"), "{fault:?}");
}

#[test]
fn confluents_prefix_is_recognised() {
    let reader = one("type = \"text\"");
    let row = reader
        .read(Some(b"\0\0\0\x01\x02{\"id\":1,\"v\":\"a\"}"))
        .unwrap();
    assert_eq!(values(&row), [Value::Int(1), Value::Text("a".into())]);
    fails(
        "type = \"text\"",
        b"\0\0\0\x01\x02\x0e\x02a",
        "not_json",
        "(schema 258)",
    );
}
