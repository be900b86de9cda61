//! Schemas and tables whose names hold dots, quotes, spaces and capitals: each part of Bekk finds the same table.

use bekk_sink::{Error, Retried, What};
use bekk_stream::TableName;
use bekk_testing::assert_matches;

use crate::harness::{Db, Log, assert_exact, drain, retry, rows, two_columns};

/// Fills a table, asks everything about it, and retries a dead letter, under its name with the schema and without.
fn check(schema: &str, name: &str) {
    let table = TableName::within(schema, name);
    let sql = bekk_sink::quote_table(&table);
    let found_by_path = TableName {
        schema: None,
        ..table.clone()
    };
    for named in [table.clone(), found_by_path] {
        let (mut db, log, mut stream) = (Db::new(), Log::new(), two_columns());
        stream.table = named;
        let database = db.options.dbname.clone().unwrap();
        let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
        db.execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS {quoted}; ALTER ROLE CURRENT_USER IN DATABASE {database} SET search_path = {quoted}"
        ));
        log.open_stream(&stream);
        log.append(&stream, 0, &rows(0..5, "first"));
        drain(&db, &log, &stream).unwrap();
        assert_eq!(db.one(&format!("SELECT count(*) FROM {sql}")), "5");
        assert_exact(&db, &log.client, "bekk", &stream);
        let streams = &[stream.clone()];
        let key = What::Key("3".to_owned());
        bekk_sink::trace(&db.options, &log.client, "bekk", &stream, &key).unwrap();
        let faults =
            |db: &Db| bekk_sink::table_faults(&db.options, ("bekk", None), streams).unwrap();
        assert_eq!(faults(&db), [], "{table}");
        let adopted = bekk_sink::adopt(&db.options, "bekk", streams).unwrap();
        assert_eq!(adopted[0].table, table.to_string());
        assert_eq!(
            bekk_sink::tables_with_rows(&db.options, streams).unwrap(),
            ["items"]
        );

        db.execute(&format!(
            "ALTER TABLE {sql} ADD CONSTRAINT small CHECK (id < 5)"
        ));
        log.append(&stream, 0, &rows(4..6, "second"));
        assert_eq!(drain(&db, &log, &stream).unwrap().dead, 1);
        db.execute(&format!("ALTER TABLE {sql} DROP CONSTRAINT small"));
        assert_eq!(retry(&db, &log, &stream), [Retried::Landed], "{table}");
        assert_eq!(db.one(&format!("SELECT count(*) FROM {sql}")), "6");

        // The name that the advice gives is one that the configuration takes.
        db.execute(&format!("ALTER TABLE {sql} RENAME TO \"an.other\""));
        let fault = faults(&db).swap_remove(0);
        let now = TableName::within(schema, "an.other");
        assert!(fault.advice.contains(&now.as_setting()), "{fault:?}");
        let error = drain(&db, &log, &stream).unwrap_err();
        assert_matches!(error, Error::OtherTarget { .. });
        stream.table = now;
        drain(&db, &log, &stream).unwrap();
    }
}

#[test]
fn names_with_odd_characters_are_one_name_everywhere() {
    check("a.b", "items");
    check("a", "b.items");
    check("My \"own\". Schema", "It's \\ \"here\".");
    check("Ünï.ço", &"ä.".repeat(21));
}

/// An earlier version stored the schema's name without quotes.
#[test]
fn a_name_that_an_earlier_version_stored_is_found() {
    let (mut db, log, mut stream) = (Db::new(), Log::new(), two_columns());
    stream.table = TableName::within("a.b", "items");
    log.open_stream(&stream);
    log.append(&stream, 0, &rows(0..5, "first"));
    drain(&db, &log, &stream).unwrap();
    db.execute("UPDATE bekk.groups SET table_name = 'a.b.items'");
    log.append(&stream, 0, &rows(5..9, "second"));
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
    assert_eq!(
        db.one("SELECT table_name FROM bekk.groups"),
        "\"a.b\".items"
    );
}
