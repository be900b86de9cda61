//! Tables that exist: checked against the stream, and written to whatever they look like.

use bekk_sink::{Config, Error};
use bekk_stream::{Decimal, OnConflict, Stream, TableName, Value};

use crate::harness::{
    Db, Log, assert_says, drain, drain_all, opened, rows, stream_of, text, two_columns,
};

#[test]
fn every_mismatch_is_named_in_one_error() {
    let (mut db, log) = (Db::new(), Log::new());
    let stream = stream_of(
        "items",
        "id int8, name text, price decimal(10,2), made timestamptz, twice int8",
    );
    db.execute(
        "CREATE TABLE items (id bigint, name name, price double precision, surplus text NOT NULL,
             twice bigint GENERATED ALWAYS AS (id * 2) STORED);
         CREATE UNIQUE INDEX items_some ON items (id) WHERE id > 0",
    );
    let error = drain(&db, &log, &stream).unwrap_err();
    let Error::TableMismatch {
        table, problems, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(table, "public.items");
    let expected = [
        "`name` has type name, of which PostgreSQL's input silently cuts",
        "`price` has type double precision; the stream's type is decimal(10,2)",
        "`made` is missing; ALTER TABLE \"public\".\"items\" ADD COLUMN \"made\" timestamptz",
        "`twice` is generated",
        "`surplus` is NOT NULL without a default",
        "index `items_some` is partial",
    ];
    assert_eq!(problems.len(), expected.len(), "{error}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem}");
    }
    let report = bekk_sink::check(&db.options, std::slice::from_ref(&stream)).unwrap();
    assert!(!report.is_good());
    assert_eq!(&report.tables[0].problems, problems);

    db.execute("DROP TABLE items");
    let report = bekk_sink::check(&db.options, &[stream]).unwrap();
    assert!(report.is_good() && !report.tables[0].exists);
    assert!(report.server_version.starts_with(char::is_numeric));
}

#[test]
fn a_deferrable_key_is_refused() {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY DEFERRABLE, name text)");
    let error = drain(&db, &log, &two_columns()).unwrap_err();
    assert_says(&error, &["`items_pkey` is deferrable"]);
}

#[test]
fn a_sequence_beside_the_key_is_warned_of() {
    let (mut db, _) = (Db::new(), ());
    db.execute("CREATE TABLE items (n serial, id bigint PRIMARY KEY, name text)");
    let report = bekk_sink::check(&db.options, &[two_columns()]).unwrap();
    assert!(report.is_good());
    assert_says(
        &report.tables[0].warnings[0],
        &["`n` takes a number of its sequence"],
    );
}

#[test]
fn the_tables_own_types_and_columns_are_kept() {
    let (mut db, log, stream) = opened(stream_of(
        "mixed",
        "id int8, kind text, amount int4, code uuid, price decimal(6,2), note json, at timestamptz",
    ));
    db.execute(
        "CREATE TYPE kind AS ENUM ('a', 'b');
         CREATE DOMAIN money2 AS numeric(10,3) CHECK (value >= 0);
         CREATE TABLE mixed (gone1 int, note json, price money2, code varchar(36), gone2 int NOT NULL,
             amount numeric, kind kind, id int PRIMARY KEY, at timestamptz(3),
             made timestamptz DEFAULT now(), twice int GENERATED ALWAYS AS (id * 2) STORED, free text);
         ALTER TABLE mixed DROP gone1, DROP gone2",
    );
    let row = |id, kind, unscaled, micros| {
        vec![
            Value::Int(id),
            text(kind),
            Value::Int(7),
            Value::Uuid([0xab; 16]),
            Value::Decimal(Decimal::new(unscaled, 2)),
            Value::Json("{}".into()),
            Value::Timestamptz(micros),
        ]
    };
    let rows = [
        row(1, "a", 150, 1_000),
        row(2, "c", 0, 0),
        row(3, "b", -1, 0),
        row(4, "b", 1, 1),
    ];
    log.append(&stream, 0, &rows);
    log.append(&stream, 0, &[row(1, "b", 150, 1_000)]);
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.superseded, summary.dead), (1, 1, 3));
    assert_eq!(
        db.rows("SET TIME ZONE 'UTC'; SELECT id, kind, amount, code, price, note, at, made IS NULL, twice, free FROM mixed"),
        ["1|b|7|abababab-abab-abab-abab-abababababab|1.500|{}|1970-01-01 00:00:00.001+00|f|2|-"]
    );
    assert_eq!(
        db.rows("SELECT log_offset, reason, coalesce(sqlstate, column_name) FROM bekk.dead_letters ORDER BY 1"),
        ["1|refused|22P02", "2|refused|23514", "3|too_many_decimals|at"]
    );
}

#[test]
fn a_table_of_nothing_but_its_key() {
    let (db, log) = (Db::new(), Log::new());
    let mut stream = stream_of("pairs", "a int8, b text");
    stream.key = vec!["b".to_owned(), "a".to_owned()];
    log.open_stream(&stream);
    let rows = [
        vec![Value::Int(1), text("x")],
        vec![Value::Int(2), text("x")],
    ];
    log.append(&stream, 0, &rows);
    drain(&db, &log, &stream).unwrap();
    log.append(
        &stream,
        0,
        &[rows[0].clone(), vec![Value::Int(3), text("x")]],
    );
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.superseded), (1, 1));
    assert_eq!(db.rows("SELECT a FROM pairs ORDER BY 1"), ["1", "2", "3"]);
}

#[test]
fn a_partitioned_table_counts_its_inserts() {
    let (mut db, log, stream) = opened(two_columns());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id);
         CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (0) TO (100);
         CREATE TABLE items_2 PARTITION OF items FOR VALUES FROM (100) TO (200)",
    );
    log.append(&stream, 0, &rows(0..150, "x"));
    drain(&db, &log, &stream).unwrap();
    log.append(&stream, 0, &rows(50..210, "y"));
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!(
        (summary.rows, summary.superseded, summary.dead),
        (50, 100, 10)
    );
}

#[test]
fn keys_that_are_equal_though_they_differ() {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute("CREATE TABLE items (id char(4) PRIMARY KEY, name text)");
    let mut stream = stream_of("items", "id text, name text");
    stream.on_conflict = OnConflict::Ignore;
    log.open_stream(&stream);
    let rows = [
        vec![text("b "), text("first")],
        vec![text("b"), text("second")],
    ];
    log.append(&stream, 0, &rows);
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.superseded), (1, 1));
    assert_eq!(db.one("SELECT name FROM items"), "first");
}

/// What `psql` shows of a table, as far as it concerns the sink.
const SHAPE: &str = "\
    SELECT column_name, data_type, numeric_precision, numeric_scale, is_nullable, column_default
      FROM information_schema.columns WHERE table_name = 'events'
     UNION ALL
    SELECT indexname, regexp_replace(indexdef, '.* USING', ''), NULL, NULL, NULL, NULL
      FROM pg_indexes WHERE tablename = 'events'
     UNION ALL
    SELECT conname, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL
      FROM pg_constraint WHERE conrelid = 'events'::regclass AND contype = 'c' ORDER BY 1";

#[test]
fn the_sample_table_in_sql_is_the_one_that_is_made() {
    let mut db = Db::new();
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = bekk_stream::Config::sample(&directory, &|_| None).unwrap();
    db.execute(&std::fs::read_to_string(directory.join("db/postgres_setup.sql")).unwrap());
    let by_hand = db.rows(SHAPE);
    let report = bekk_sink::check(&db.options, &config.streams).unwrap();
    assert!(report.is_good() && report.tables[0].exists);
    assert!(report.tables[0].warnings.is_empty(), "{report:?}");
    db.execute("DROP TABLE events");
    db.execute(&bekk_sink::create_table_sql(&config.streams[0]));
    assert_eq!(db.rows(SHAPE), by_hand);
}

/// A foreign table is named as what it is, before anybody asks its server for rows.
#[test]
fn a_foreign_table_is_refused() {
    let (mut db, log, stream) = opened(two_columns());
    db.execute(
        "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER none FOREIGN DATA WRAPPER none;
         CREATE FOREIGN TABLE items (id bigint, name text) SERVER none",
    );
    let error = drain(&db, &log, &stream).unwrap_err().to_string();
    assert!(error.contains("it is not a table"), "{error}");
}

/// Two streams name one table, with its schema and without: their rows would come in no order.
#[test]
fn a_table_has_one_stream() {
    let (db, log) = (Db::new(), Log::new());
    let first = two_columns();
    let second = Stream {
        name: "more".to_owned(),
        table: TableName {
            schema: Some("public".to_owned()),
            name: first.table.name.clone(),
        },
        ..first.clone()
    };
    let streams = [first, second];
    for stream in &streams {
        log.open_stream(stream);
        let rows = [vec![Value::Int(1), text(&stream.name)]];
        log.append_rows(&stream.name, 0, &stream.schema(), &rows);
    }
    let error = drain_all(&Config::new(db.options.clone()), &log, &streams).unwrap_err();
    assert_says(&error, &["stream `items` fills the same table"]);
    assert_eq!(db.rows("SELECT name FROM items"), ["items"]);
    let report = bekk_sink::check(&db.options, &streams).unwrap();
    assert!(!report.tables[1].problems.is_empty(), "{report:?}");
}
