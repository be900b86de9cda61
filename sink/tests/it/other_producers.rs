//! Topics that other producers write JSON into.

use bekk_log::{Headers, Offset, Record, RecordBuffer};
use bekk_sink::{Fate, Retried, What};
use bekk_stream::{Accept, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{Log, drain, opened, retry, stream_of, text};

fn items() -> Stream {
    let mut stream = stream_of("items", "id int8, name text null, amount numeric");
    stream.accept = Accept::Json { deletes: false };
    let amount = &mut stream.columns[2];
    amount.header = "Amount".to_owned();
    amount.min = Some("0".to_owned());
    stream
}

fn append(log: &Log, values: &[Option<&str>]) {
    let mut buffer = RecordBuffer::new();
    for value in values {
        buffer.push_copy(&Record {
            offset: Offset::ZERO,
            timestamp_ms: 1_000,
            key: None,
            value: value.unwrap_or_default().as_bytes(),
            is_null: value.is_none(),
            headers: Headers::default(),
        });
    }
    log.client.append(None, "items", &[(0, &buffer)]).unwrap();
}

/// Each object is a row of its key, also beside ingest's own records; what is none is a letter with its text.
#[test]
fn objects_are_rows_and_the_rest_are_letters() {
    let (mut db, log, mut stream) = opened(items());
    append(
        &log,
        &[
            Some(r#"{"id": 1, "name": "a", "Amount": 1.10}"#),
            Some(r#"{"id": 2, "Amount": 12345678901234567890.5, "more": {}}"#),
            Some(r#"{"id": 1, "name": "b", "Amount": 2e0}"#),
            Some("[]"),
            None,
            Some(r#"{"id": 3, "Amount": -3}"#),
            Some(r#"{"id": 1, "Amount": -1}"#),
        ],
    );
    let own = vec![Value::Int(4), text("own"), Value::Numeric("4".into())];
    log.append(&stream, 0, &[own]);
    append(&log, &[Some(r#"{"id": 1, "name": "c", "Amount": 5}"#)]);
    drain(&db, &log, &stream).unwrap();
    const ROWS: &str = "SELECT id, name, amount FROM items ORDER BY id";
    assert_eq!(
        db.rows(ROWS),
        ["1|c|5", "2|-|12345678901234567890.5", "4|own|4"]
    );
    let letters = "SELECT log_offset, reason, column_name, file, convert_from(raw, 'UTF8') FROM bekk.dead_letters
                    ORDER BY log_offset";
    assert_eq!(
        db.rows(letters),
        [
            "3|not_json|-|-|[]",
            "4|not_json|-|-|",
            "5|out_of_range|amount|-|{\"id\": 3, \"Amount\": -3}",
            "6|out_of_range|amount|-|{\"id\": 1, \"Amount\": -1}",
        ]
    );
    let trace = bekk_sink::trace(
        &db.options,
        &log.client,
        "bekk",
        &stream,
        &What::Key("1".to_owned()),
    )
    .unwrap();
    let fates: Vec<_> = trace.versions.iter().map(|v| (v.offset, &v.fate)).collect();
    assert_matches!(
        fates[..],
        [(0, Fate::Superseded { by: 8, .. }), (2, _), (8, Fate::Row)],
    );

    // The stream takes negative amounts from now on.
    stream.columns[2].min = None;
    db.execute("ALTER TABLE items DROP CONSTRAINT items_amount_min");
    let retried = retry(&db, &log, &stream);
    assert_matches!(
        retried[..],
        [
            Retried::Open(_),
            Retried::Open(_),
            Retried::Landed,
            Retried::Superseded
        ],
    );
    assert_eq!(
        db.rows(ROWS),
        ["1|c|5", "2|-|12345678901234567890.5", "3|-|-3", "4|own|4"]
    );
}

/// The table refuses a row: its letter has the object, and a person may correct it there.
#[test]
fn a_refused_object_is_corrected_and_retried() {
    let (mut db, log, stream) = opened(items());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text CHECK (name <> 'bad'), amount numeric NOT NULL)",
    );
    append(
        &log,
        &[
            Some(r#"{"id": 1, "name": "bad", "Amount": 1}"#),
            Some(r#"{"id": 2, "name": "good", "Amount": 2}"#),
        ],
    );
    drain(&db, &log, &stream).unwrap();
    assert_eq!(
        db.rows("SELECT reason, convert_from(raw, 'UTF8') FROM bekk.dead_letters"),
        ["refused|{\"id\": 1, \"name\": \"bad\", \"Amount\": 1}"]
    );
    assert_matches!(retry(&db, &log, &stream)[..], [Retried::Open(_)]);
    db.execute(
        "UPDATE bekk.dead_letters SET raw = '{\"id\": 1, \"name\": \"mended\", \"Amount\": 1}'",
    );
    assert_eq!(retry(&db, &log, &stream), [Retried::Landed]);
    assert_eq!(
        db.rows("SELECT * FROM items ORDER BY id"),
        ["1|mended|1", "2|good|2"]
    );
}
