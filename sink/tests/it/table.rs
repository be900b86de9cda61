//! Tables that exist: checked against the stream, and written to whatever they look like; schemas that
//! change; logs and targets that are not the group's.

use bekk_sink::{Config, Error, Start};
use bekk_stream::{Column, ColumnType, Decimal, OnConflict, Schema, Stream, Value};

use crate::harness::{Db, Log, column, drain, drain_with, stream, text};

fn two_columns() -> Stream {
    stream(
        "items",
        vec![
            column("id", ColumnType::Int8),
            column("name", ColumnType::Text),
        ],
    )
}

#[test]
fn every_mismatch_is_named_in_one_error() {
    let (mut db, log) = (Db::new(), Log::new());
    let stream = stream(
        "items",
        vec![
            column("id", ColumnType::Int8),
            column("name", ColumnType::Text),
            column(
                "price",
                ColumnType::Decimal {
                    precision: 10,
                    scale: 2,
                },
            ),
            column("made", ColumnType::Timestamptz),
            column("twice", ColumnType::Int8),
        ],
    );
    db.execute(
        "CREATE TABLE items (id bigint, name integer, price double precision, surplus text NOT NULL,
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
        "`name` has type integer; the stream's type is text",
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
    assert!(
        error.to_string().contains("`items_pkey` is deferrable"),
        "{error}"
    );
}

#[test]
fn a_sequence_beside_the_key_is_warned_of() {
    let (mut db, _) = (Db::new(), ());
    db.execute("CREATE TABLE items (n serial, id bigint PRIMARY KEY, name text)");
    let report = bekk_sink::check(&db.options, &[two_columns()]).unwrap();
    assert!(report.is_good());
    assert!(
        report.tables[0].warnings[0].contains("`n` takes a number of its sequence"),
        "{report:?}"
    );
}

#[test]
fn the_tables_own_types_and_columns_are_kept() {
    let (mut db, log) = (Db::new(), Log::new());
    let stream = stream(
        "mixed",
        vec![
            column("id", ColumnType::Int8),
            column("kind", ColumnType::Text),
            column("amount", ColumnType::Int4),
            column("code", ColumnType::Uuid),
            column(
                "price",
                ColumnType::Decimal {
                    precision: 6,
                    scale: 2,
                },
            ),
            column("note", ColumnType::Json),
            column("at", ColumnType::Timestamptz),
        ],
    );
    db.execute(
        "CREATE TYPE kind AS ENUM ('a', 'b');
         CREATE DOMAIN money2 AS numeric(10,3) CHECK (value >= 0);
         CREATE TABLE mixed (gone1 int, note json, price money2, code varchar(36), gone2 int NOT NULL,
             amount numeric, kind kind, id int PRIMARY KEY, at timestamptz(3),
             made timestamptz DEFAULT now(), twice int GENERATED ALWAYS AS (id * 2) STORED, free text);
         ALTER TABLE mixed DROP gone1, DROP gone2",
    );
    log.open_stream(&stream);
    let row = |id, kind, unscaled, micros| {
        vec![
            Value::Int(id),
            text(kind),
            Value::Int(7),
            Value::Uuid([0xab; 16]),
            Value::Decimal(Decimal { unscaled, scale: 2 }),
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
    log.append_rows("mixed", 0, &stream.schema(), &rows);
    log.append_rows("mixed", 0, &stream.schema(), &[row(1, "b", 150, 1_000)]);
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
    let mut stream = stream(
        "pairs",
        vec![column("a", ColumnType::Int8), column("b", ColumnType::Text)],
    );
    stream.key = vec!["b".to_owned(), "a".to_owned()];
    log.open_stream(&stream);
    let rows = [
        vec![Value::Int(1), text("x")],
        vec![Value::Int(2), text("x")],
    ];
    log.append_rows("pairs", 0, &stream.schema(), &rows);
    drain(&db, &log, &stream).unwrap();
    log.append_rows(
        "pairs",
        0,
        &stream.schema(),
        &[rows[0].clone(), vec![Value::Int(3), text("x")]],
    );
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.superseded), (1, 1));
    assert_eq!(db.rows("SELECT a FROM pairs ORDER BY 1"), ["1", "2", "3"]);
}

#[test]
fn a_partitioned_table_counts_its_inserts() {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id);
         CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (0) TO (100);
         CREATE TABLE items_2 PARTITION OF items FOR VALUES FROM (100) TO (200)",
    );
    let stream = two_columns();
    log.open_stream(&stream);
    let rows: Vec<_> = (0..150).map(|id| vec![Value::Int(id), text("x")]).collect();
    log.append_rows("items", 0, &stream.schema(), &rows);
    drain(&db, &log, &stream).unwrap();
    let rows: Vec<_> = (50..210)
        .map(|id| vec![Value::Int(id), text("y")])
        .collect();
    log.append_rows("items", 0, &stream.schema(), &rows);
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
    let mut stream = stream(
        "items",
        vec![
            column("id", ColumnType::Text),
            column("name", ColumnType::Text),
        ],
    );
    stream.on_conflict = OnConflict::Ignore;
    log.open_stream(&stream);
    let rows = [
        vec![text("b "), text("first")],
        vec![text("b"), text("second")],
    ];
    log.append_rows("items", 0, &stream.schema(), &rows);
    let summary = drain(&db, &log, &stream).unwrap();
    assert_eq!((summary.rows, summary.superseded), (1, 1));
    assert_eq!(db.one("SELECT name FROM items"), "first");
}

#[test]
fn columns_come_and_go_and_widen() {
    let (mut db, log) = (Db::new(), Log::new());
    let old = stream(
        "items",
        vec![
            column("id", ColumnType::Int4),
            column("dropped", ColumnType::Text),
            column("wider", ColumnType::Int4),
        ],
    );
    log.open_stream(&old);
    let old_row = |id| vec![Value::Int(id), text("gone"), Value::Int(5)];
    log.append_rows("items", 0, &old.schema(), &[old_row(1), old_row(2)]);
    let now = stream(
        "items",
        vec![
            column("added", ColumnType::Text).nullable(),
            column("id", ColumnType::Int8),
            column(
                "wider",
                ColumnType::Decimal {
                    precision: 14,
                    scale: 2,
                },
            ),
            column("status", ColumnType::Text),
        ],
    );
    let now = Stream {
        key: vec!["id".to_owned()],
        ..now
    };
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, wider numeric(14,2), added text, status text NOT NULL DEFAULT 'new')",
    );
    log.declare(&now.schema());
    let decimal = Value::Decimal(Decimal {
        unscaled: 1_234,
        scale: 2,
    });
    let row = vec![text("here"), Value::Int(2), decimal, text("sold")];
    log.append_rows("items", 0, &now.schema(), &[row]);
    // And an old one behind it: the record replaces the row, what it does not have is default or null.
    log.append_rows("items", 0, &old.schema(), &[old_row(3)]);
    let summary = drain(&db, &log, &now).unwrap();
    assert_eq!((summary.rows, summary.superseded, summary.dead), (3, 1, 0));
    assert_eq!(
        db.rows("SELECT id, wider, added, status FROM items ORDER BY id"),
        ["1|5.00|-|new", "2|12.34|here|sold", "3|5.00|-|new"]
    );
}

#[test]
fn what_does_not_fit_any_more_is_a_dead_letter_that_says_why() {
    let (db, log) = (Db::new(), Log::new());
    let now = two_columns();
    log.open_stream(&now);
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
    log.append_rows("items", 0, &now.schema(), &[vec![Value::Int(1), text("x")]]);
    let summary = drain(&db, &log, &now).unwrap();
    assert_eq!((summary.rows, summary.dead), (1, 3));
    assert_eq!(
        db.rows("SELECT reason, column_name, detail FROM bekk.dead_letters ORDER BY log_offset"),
        [
            "schema_mismatch|id|the record's `id` is text, the stream's is int8",
            "missing_value|name|the record is older than the stream's column `name`, which has no default",
            "missing_value|id|the record is older than the stream's column `id`, which has no default",
        ]
    );
}

#[test]
fn another_log_is_refused_with_the_command_that_helps() {
    let (db, log) = (Db::new(), Log::new());
    let stream = two_columns();
    log.open_stream(&stream);
    log.append_rows(
        "items",
        0,
        &stream.schema(),
        &[vec![Value::Int(1), text("x")]],
    );
    drain(&db, &log, &stream).unwrap();
    let other = Log::new();
    let error = drain(&db, &other, &stream).unwrap_err();
    assert!(matches!(error, Error::OtherLog { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&log.client.log_id().to_string()), "{text}");
    assert!(
        text.contains("bekk offsets reset --group bekk --to earliest --execute"),
        "{text}"
    );
}

#[test]
fn another_table_or_database_is_refused() {
    let (db, log) = (Db::new(), Log::new());
    let stream = two_columns();
    log.open_stream(&stream);
    log.append_rows(
        "items",
        0,
        &stream.schema(),
        &[vec![Value::Int(1), text("x")]],
    );
    drain(&db, &log, &stream).unwrap();
    let mut elsewhere = stream.clone();
    elsewhere.table.name = "shadow".to_owned();
    let error = drain(&db, &log, &elsewhere).unwrap_err();
    assert!(matches!(error, Error::OtherTarget { .. }), "{error}");
    // The refusal leaves nothing behind.
    assert_eq!(db.one("SELECT to_regclass('shadow') IS NULL"), "t");
    let other_db = Db::new();
    let error = drain(&other_db, &log, &stream).unwrap_err();
    assert!(matches!(error, Error::OtherTarget { .. }), "{error}");
    // Once it has been forgotten, it starts there anew.
    assert_eq!(
        bekk_sink::partitions_in_log(&log.client, "bekk").unwrap(),
        1
    );
    bekk_sink::forget_in_log(&log.client, "bekk").unwrap();
    assert_eq!(drain(&other_db, &log, &stream).unwrap().rows, 1);
    // Another group may at once.
    let mut config = Config::new(db.options.clone());
    config.group = "shadow".to_owned();
    assert_eq!(drain_with(&config, &log, &elsewhere).unwrap().rows, 1);
}

#[test]
fn a_new_group_starts_where_it_is_told() {
    let (db, log) = (Db::new(), Log::new());
    let stream = two_columns();
    log.open_stream(&stream);
    let rows: Vec<_> = (0..10).map(|id| vec![Value::Int(id), text("x")]).collect();
    log.append_rows("items", 0, &stream.schema(), &rows);
    let mut config = Config::new(db.options.clone());
    for (group, from, expected) in [
        ("latest", Start::Latest, 0),
        ("offset", Start::Offset(7), 3),
        ("behind", Start::Offset(70), 0),
        ("time", Start::Time(0), 10),
        ("earliest", Start::Earliest, 10),
    ] {
        config.group = group.to_owned();
        config.from = from;
        assert_eq!(
            drain_with(&config, &log, &stream).unwrap().records,
            expected,
            "{group}"
        );
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let (mut db, log) = (Db::new(), Log::new());
    drain(&db, &log, &two_columns()).unwrap();
    db.execute("INSERT INTO bekk.migrations VALUES (999, 'from the future')");
    let error = drain(&db, &log, &two_columns()).unwrap_err();
    assert!(
        matches!(error, Error::NewerSchema { found: 999, .. }),
        "{error}"
    );
}

#[test]
fn several_that_start_at_once_set_up_once() {
    let db = Db::new();
    let log = Log::new();
    let stream = two_columns();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| drain(&db, &log, &stream).unwrap());
        }
    });
    let migrations = concat!(env!("CARGO_MANIFEST_DIR"), "/../db/migrations");
    let migrations = std::fs::read_dir(migrations).unwrap().count();
    assert_eq!(
        db.one("SELECT count(*) FROM bekk.migrations"),
        migrations.to_string()
    );
}

#[test]
fn a_refused_login_stops_and_never_shows_the_password() {
    let (db, log) = (Db::new(), Log::new());
    let mut config = Config::new(db.options.clone());
    config.postgres.password = Some("hunter2".to_owned());
    let error = drain_with(&config, &log, &two_columns()).unwrap_err();
    assert!(error.to_string().contains("28P01"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_plain_user_who_owns_his_database_is_enough() {
    let (mut db, log) = (Db::new(), Log::new());
    let name = db.options.dbname.clone().unwrap();
    db.execute(&format!(
        "CREATE ROLE plain_user LOGIN PASSWORD 'plain'; ALTER DATABASE {name} OWNER TO plain_user;
         ALTER SCHEMA public OWNER TO plain_user"
    ));
    let mut config = Config::new(db.options.clone());
    config.postgres.user = Some("plain_user".to_owned());
    config.postgres.password = Some("plain".to_owned());
    let stream = two_columns();
    log.open_stream(&stream);
    log.append_rows(
        "items",
        0,
        &stream.schema(),
        &[vec![Value::Int(1), text("x")]],
    );
    assert_eq!(drain_with(&config, &log, &stream).unwrap().rows, 1);
    log.append_rows(
        "items",
        0,
        &stream.schema(),
        &[vec![Value::Int(1), text("y")]],
    );
    assert_eq!(drain_with(&config, &log, &stream).unwrap().superseded, 1);
}

#[test]
fn an_offset_beyond_the_log_is_refused() {
    let (mut db, log) = (Db::new(), Log::new());
    let stream = two_columns();
    log.open_stream(&stream);
    log.append_rows(
        "items",
        0,
        &stream.schema(),
        &[vec![Value::Int(1), text("x")]],
    );
    drain(&db, &log, &stream).unwrap();
    // As if the log had been put back from an older copy.
    db.execute("UPDATE bekk.offsets SET next = 100");
    let error = drain(&db, &log, &stream).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutsideLog {
                next: 100,
                end: 1,
                ..
            }
        ),
        "{error}"
    );
}

/// What `psql` shows of a table, as far as it concerns the sink.
const SHAPE: &str = "\
    SELECT column_name, data_type, numeric_precision, numeric_scale, is_nullable, column_default
      FROM information_schema.columns WHERE table_name = 'events'
     UNION ALL
    SELECT indexname, regexp_replace(indexdef, '.* USING', ''), NULL, NULL, NULL, NULL
      FROM pg_indexes WHERE tablename = 'events' ORDER BY 1";

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
