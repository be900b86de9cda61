//! Keys and other unique values whose records are in several partitions.

use bekk_log::RecordBuffer;
use bekk_sink::{Config, Error};
use bekk_stream::{Stream, Value, key_text, partition_for};
use bekk_testing::assert_matches;

use crate::harness::{Db, Log, drain, drain_with, stream_of, text, two_columns};

/// A record per row, with its key, in the partition that the key belongs to.
fn append_keyed(log: &Log, stream: &Stream, key_index: usize, rows: &[Vec<Value<'_>>]) {
    for (row, line) in rows.iter().zip(2..) {
        let mut key = Vec::new();
        key_text(&mut key, row, &[key_index]);
        let mut buffer = RecordBuffer::new();
        buffer.push(1, Some(&key), &log.row(&stream.schema(), line, row));
        let partition = partition_for(&key, stream.partitions);
        log.client
            .append(None, &stream.name, &[(partition, &buffer)])
            .unwrap();
    }
}

/// Keys that differ in the log and are equal in the table have no order in several partitions.
#[test]
fn keys_equal_to_the_table_alone_need_one_partition() {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute(
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE items (name text COLLATE ci PRIMARY KEY, id bigint)",
    );
    let mut items = stream_of("items", "name text, id int8");
    items.partitions = 4;
    log.open_stream(&items);
    let error = drain(&db, &log, &items).unwrap_err().to_string();
    assert!(error.contains("key column `name` (text)"), "{error}");
    let report = bekk_sink::check(&db.options, &[items.clone()]).unwrap();
    assert!(!report.is_good());
    items.newer_by = Some("id".to_owned());
    drain(&db, &log, &items).unwrap();
}

/// The key is another one than when the records were written: an older one could win.
#[test]
fn records_written_under_another_key_are_refused() {
    let (db, log) = (Db::new(), Log::new());
    let mut items = two_columns();
    items.partitions = 4;
    log.open_stream(&items);
    // The new key would put each row into another partition. Rows that it would put where they are would be applied.
    let place = |value: &Value<'_>| {
        let mut key = Vec::new();
        bekk_stream::key_text(&mut key, std::slice::from_ref(value), &[0]);
        bekk_stream::partition_for(&key, 4)
    };
    let rows: Vec<_> = (0..60)
        .filter(|id| place(&Value::Int(*id)) != place(&text("same")))
        .take(40)
        .map(|id| vec![Value::Int(id), text("same")])
        .collect();
    append_keyed(&log, &items, 0, &rows);
    assert_eq!(drain(&db, &log, &items).unwrap().rows, 40);
    items.key = vec!["name".to_owned()];
    items.table.name = "by_name".to_owned();
    let mut config = Config::new(db.options.clone());
    config.group = "by name".to_owned();
    let error = drain_with(&config, &log, &items).unwrap_err();
    assert_matches!(error, Error::KeyChanged { .. });
    assert_eq!(db.one("SELECT count(*) FROM by_name"), "0");
}

/// A value of a second unique column moves from a row to another one, whose record is in another partition.
#[test]
fn a_unique_value_moves_to_a_row_of_another_partition() {
    const ROWS: i64 = 40;
    let (mut db, log) = (Db::new(), Log::new());
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY, name text UNIQUE)");
    let mut items = two_columns();
    items.partitions = 4;
    log.open_stream(&items);
    let name = |number: i64| format!("n{number}");
    let rows = (0..ROWS).map(|id| vec![Value::Int(id), Value::Text(name(id).into())]);
    append_keyed(&log, &items, 0, &rows.collect::<Vec<_>>());
    drain(&db, &log, &items).unwrap();
    // Each row in turn gives its value up, and the next one takes it.
    let moved: Vec<_> = (0..ROWS)
        .map(|id| vec![Value::Int(id), Value::Text(name(id - 1).into())])
        .collect();
    append_keyed(&log, &items, 0, &moved);
    drain(&db, &log, &items).unwrap();
    assert_eq!(db.rows("SELECT * FROM bekk.dead_letters"), [""; 0]);
    assert_eq!(
        db.one("SELECT count(*) FROM items WHERE name = 'n' || id - 1"),
        ROWS.to_string()
    );
}
