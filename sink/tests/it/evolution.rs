//! Schemas that change while their records are in the log.

use bekk_stream::{Column, ColumnType, Decimal, Schema, Stream, Value};

use crate::harness::{
    Db, Log, column, deep_audit, drain, opened, stream, stream_of, text, two_columns,
};

#[test]
fn columns_come_and_go_and_widen() {
    let (mut db, log, old) = opened(stream_of("items", "id int4, dropped text, wider int4"));
    let old_row = |id| vec![Value::Int(id), text("gone"), Value::Int(5)];
    log.append(&old, 0, &[old_row(1), old_row(2)]);
    let now = stream_of(
        "items",
        "added text null, id int8, wider decimal(14,2), status text",
    );
    let now = Stream {
        key: vec!["id".to_owned()],
        ..now
    };
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, wider numeric(14,2), added text, status text NOT NULL DEFAULT 'new')",
    );
    log.declare(&now.schema());
    let decimal = Value::Decimal(Decimal::new(1_234, 2));
    let row = vec![text("here"), Value::Int(2), decimal, text("sold")];
    log.append(&now, 0, &[row]);
    // And an old one behind it: the record replaces the row, what it does not have is default or null.
    log.append(&old, 0, &[old_row(3)]);
    let summary = drain(&db, &log, &now).unwrap();
    assert_eq!((summary.rows, summary.superseded, summary.dead), (3, 1, 0));
    assert_eq!(
        db.rows("SELECT id, wider, added, status FROM items ORDER BY id"),
        ["1|5.00|-|new", "2|12.34|here|sold", "3|5.00|-|new"]
    );
}

#[test]
fn what_does_not_fit_any_more_is_a_dead_letter_that_says_why() {
    let (db, log, now) = opened(two_columns());
    let schema = |columns: Vec<Column>| stream("items", columns).schema();
    let unfit: [(Schema, Vec<Value<'_>>); 3] = [
        (
            schema(vec![
                column("id", ColumnType::Text),
                column("name", ColumnType::Text),
            ]),
            vec![text("1"), text("x")],
        ),
        (
            schema(vec![column("id", ColumnType::Int8)]),
            vec![Value::Int(1)],
        ),
        (
            schema(vec![column("name", ColumnType::Text)]),
            vec![text("x")],
        ),
    ];
    for (schema, row) in &unfit {
        log.declare(schema);
        log.append_rows("items", 0, schema, std::slice::from_ref(row));
    }
    log.append(&now, 0, &[vec![Value::Int(1), text("x")]]);
    let summary = drain(&db, &log, &now).unwrap();
    assert_eq!((summary.rows, summary.dead), (1, 3));
    assert_eq!(
        db.rows("SELECT reason, column_name, detail FROM bekk.dead_letters ORDER BY log_offset"),
        [
            "schema_mismatch|id|the record's `id` is text, the stream's is int8; to read its file again with the new type: \
             bekk ingest reread FILE",
            "missing_value|name|the record is older than the stream's column `name`, which has no default",
            "missing_value|id|the record is older than the stream's column `id`, which has no default",
        ]
    );
}

/// A column gets another type: what was applied before is no fault.
#[test]
fn records_of_former_columns_are_not_compared() {
    let (db, log) = (Db::new(), Log::new());
    let (was, now) = (
        stream_of("items", "id int8, n int8"),
        stream_of("items", "id int8, n int2"),
    );
    log.open_stream(&was);
    let row = |id| vec![Value::Int(id), Value::Int(id)];
    log.append_rows("items", 0, &was.schema(), &[row(1), row(2)]);
    drain(&db, &log, &was).unwrap();
    log.declare(&now.schema());
    log.append_rows("items", 0, &now.schema(), &[row(2), row(3)]);
    drain(&db, &log, &now).unwrap();
    let deep = deep_audit(&db, &log.client, "bekk", &now);
    assert!(deep.is_right(), "{deep:?}");
    assert_eq!((deep.of_former_columns, deep.unexplained), (2, 1));
    assert_eq!((deep.records, deep.dead, deep.rows), (4, 0, 3));
}
