//! What is found out about a table and a database before rows go there.

use bekk_sink::Error;
use bekk_stream::{Accept, Column, ColumnType, OnConflict, Reason, Reject, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{Db, Log, column, drain, stream, text, two_columns};

/// The problems and warnings that `bekk check` shows of a stream's table.
pub(crate) fn found(db: &Db, stream: &Stream) -> String {
    let report = bekk_sink::check(&db.options, std::slice::from_ref(stream)).unwrap();
    let table = &report.tables[0];
    let lines = report
        .problems
        .iter()
        .chain(&table.problems)
        .chain(&table.warnings);
    lines.map(|line| format!("{line}\n")).collect()
}

fn check(db: &Db, stream: &Stream, expected: &[&str]) {
    let found = found(db, stream);
    for expected in expected {
        assert!(found.contains(expected), "{expected}:\n{found}");
    }
    assert_eq!(found.lines().count(), expected.len(), "{found}");
}

#[test]
fn what_a_column_does_not_hold_is_told_before() {
    let mut db = Db::new();
    let decimal = ColumnType::Decimal {
        precision: 12,
        scale: 3,
    };
    let mut bounded = column("percent", ColumnType::Int4);
    (bounded.min, bounded.max) = (Some("0".to_owned()), Some("100".to_owned()));
    let stream = stream(
        "items",
        vec![
            column("id", ColumnType::Int8),
            column("price", decimal),
            column("n", ColumnType::Int8),
            column("code", ColumnType::Text),
            column("at", ColumnType::Timestamp),
            bounded,
        ],
    );
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, price numeric(12,2), n smallint, code varchar(3),
                             at timestamp(0), percent smallint)",
    );
    check(
        &db,
        &stream,
        &[
            "`price` is numeric(12,2), narrower than the stream's decimal(12,3)",
            "`n` is smallint, narrower than the stream's int8",
            "`code` is character varying(3), narrower",
            "`at` is timestamp(0) without time zone, narrower",
        ],
    );
}

#[test]
fn tables_that_would_lose_or_refuse_rows_are_named() {
    let mut db = Db::new();
    let items = two_columns();
    db.execute("CREATE UNLOGGED TABLE items (id bigint PRIMARY KEY, name text)");
    check(&db, &items, &["it is UNLOGGED"]);
    db.execute(
        "DROP TABLE items; CREATE TABLE items (id bigint, name text);
         CREATE UNIQUE INDEX ON items (id); CREATE PUBLICATION p FOR TABLE items",
    );
    check(&db, &items, &["REPLICA IDENTITY FULL"]);
    db.execute("ALTER TABLE items REPLICA IDENTITY FULL");
    check(&db, &items, &[]);
}

/// Tables whose rules and partitions would leave rows out, or leave them there.
#[test]
fn rules_on_deletion_and_partitions_are_named() {
    let mut db = Db::new();
    let mut items = two_columns();
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         CREATE RULE keep AS ON DELETE TO items DO INSTEAD NOTHING",
    );
    check(&db, &items, &[]);
    items.accept = Accept::Json { deletes: true };
    check(&db, &items, &["it has rules on DELETE"]);
    items.accept = Accept::Bekk;
    db.execute("DROP TABLE items; CREATE TABLE items (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id)");
    check(&db, &items, &["it is partitioned and has no partition"]);
    db.execute("CREATE TABLE part PARTITION OF items FOR VALUES FROM (0) TO (10)");
    check(&db, &items, &[]);
    db.execute(
        "CREATE VIEW shown AS SELECT * FROM items;
         CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
         CREATE TRIGGER put INSTEAD OF INSERT ON shown FOR EACH ROW EXECUTE FUNCTION put()",
    );
    items.table.name = "shown".to_owned();
    assert!(found(&db, &items).contains("it is not a table, but a view"));
}

/// A table that Bekk made enforces the stream's conditions on others, and those that have changed since are named.
#[test]
fn conditions_are_the_tables_too() {
    let mut db = Db::new();
    let mut kind = column("kind", ColumnType::Text);
    kind.allowed = Some(vec!["it's".to_owned(), "b\\c".to_owned()]);
    let mut at = column("at", ColumnType::Timestamptz).nullable();
    at.min = Some("2020-01-01 00:00:00+02".to_owned());
    at.max = Some("2030-01-01 00:00:00Z".to_owned());
    let mut items = stream("items", vec![column("id", ColumnType::Int8), kind, at]);
    db.execute(&bekk_sink::create_table_sql(&items));
    check(&db, &items, &[]);
    db.execute(
        "INSERT INTO items VALUES (1, 'it''s', '2019-12-31 22:00:00Z'), (2, E'b\\\\c', NULL)",
    );
    let refused = [
        ("'x', NULL", "items_kind_allowed"),
        ("'it''s', '2019-12-31 21:59:59Z'", "items_at_min"),
        ("'it''s', '2030-01-01 00:00:01Z'", "items_at_max"),
    ];
    for (values, constraint) in refused {
        let insert = format!("INSERT INTO items VALUES (3, {values})");
        let error = db
            .runtime
            .block_on(db.client().batch_execute(&insert))
            .unwrap_err();
        assert_eq!(error.as_db_error().unwrap().constraint(), Some(constraint));
    }
    items.columns[1].allowed = Some(vec!["it's".to_owned(), "new".to_owned()]);
    items.columns[2].max = None;
    let drop = "ALTER TABLE \"public\".\"items\" DROP CONSTRAINT";
    let allowed = format!(
        "{drop} \"items_kind_allowed\", ADD CONSTRAINT \"items_kind_allowed\" CHECK (\"kind\" IN ('it''s', 'new'))"
    );
    let max = format!("{drop} \"items_at_max\"");
    check(&db, &items, &[&allowed, &max]);
    // The advice helps.
    db.execute("DELETE FROM items WHERE id = 2");
    db.execute(&format!("{allowed}; {max}"));
    check(&db, &items, &[]);
}

#[test]
fn a_database_that_takes_no_writes_is_named() {
    let mut db = Db::new();
    let items = two_columns();
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY, name text)");
    check(&db, &items, &[]);
    let name = db.options.dbname.clone().unwrap();
    db.execute(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    check(
        &db,
        &items,
        &["are read-only here (default_transaction_read_only)"],
    );
}

/// A setting of the role or the database switches foreign keys and triggers off.
#[test]
fn sessions_that_check_no_foreign_keys_are_named() {
    let mut db = Db::new();
    let name = db.options.dbname.clone().unwrap();
    db.execute(&format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         ALTER DATABASE {name} SET session_replication_role = replica"
    ));
    let expected = "session_replication_role = replica: foreign keys are not checked";
    check(&db, &two_columns(), &[expected]);
}

/// A role has some rights and lacks others.
#[test]
fn missing_rights_are_named() {
    let mut db = Db::new();
    let name = db.options.dbname.clone().unwrap();
    let role = format!("loader_{name}");
    let password = db.options.password.clone().unwrap();
    db.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{password}'; REVOKE ALL ON SCHEMA public FROM public;
         REVOKE TEMPORARY ON DATABASE {name} FROM public"
    ));
    let items = two_columns();
    let mut options = db.options.clone();
    options.user = Some(role.clone());
    let loader = Db::connect(options);
    let schema = "may not make schema `bekk`";
    check(
        &loader,
        &items,
        &[schema, "may not make it; GRANT CREATE ON SCHEMA"],
    );
    db.execute(&format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text); GRANT INSERT ON items TO {role};
         GRANT USAGE ON SCHEMA public TO {role}; CREATE SCHEMA bekk AUTHORIZATION {role}"
    ));
    check(
        &loader,
        &items,
        &[
            "lacks UPDATE, SELECT on it; GRANT UPDATE, SELECT ON \"public\".\"items\"",
            "temporary tables",
        ],
    );
    db.execute(&format!(
        "GRANT UPDATE, SELECT ON items TO {role}; GRANT TEMPORARY ON DATABASE {name} TO {role};
         ALTER TABLE items ENABLE ROW LEVEL SECURITY"
    ));
    check(&loader, &items, &["row-level security applies"]);
    db.execute("ALTER TABLE items DISABLE ROW LEVEL SECURITY");
    let log = Log::new();
    log.open_stream(&items);
    log.append(&items, 0, &[vec![Value::Int(1), text("x")]]);
    assert_eq!(drain(&loader, &log, &items).unwrap().rows, 1);
}

/// What the table's types read is theirs to say: a text goes through the type's input function.
#[test]
fn texts_fill_columns_of_any_type() {
    let types = [
        ("inet", "10.0.0.1/24"),
        ("macaddr", "08:00:2b:01:02:03"),
        ("time", "12:30:00"),
        ("interval", "1 day 02:00:00"),
        ("money", "$12.50"),
        ("text[]", "{a,\"b c\"}"),
        ("integer[]", "{1,2}"),
        ("bit(3)", "101"),
        ("int4range", "[1,5)"),
        ("point", "(1,2)"),
        ("tsvector", "'a' 'b'"),
        ("integer", "7"),
    ];
    let (mut db, log) = (Db::new(), Log::new());
    for on_conflict in [OnConflict::Update, OnConflict::Append] {
        for (number, (column_type, value)) in types.iter().enumerate() {
            let name = format!("t{number}_{}", on_conflict == OnConflict::Append);
            let key = match on_conflict {
                OnConflict::Append => "",
                _ => "PRIMARY KEY",
            };
            db.execute(&format!(
                "CREATE TABLE {name} (id bigint GENERATED ALWAYS AS IDENTITY {key}, v {column_type})"
            ));
            let v = Column::new("v", ColumnType::Text).nullable();
            let mut stream = stream(&name, vec![column("id", ColumnType::Int8), v]);
            stream.on_conflict = on_conflict;
            log.open_stream(&stream);
            let rows = [
                vec![Value::Int(1), Value::Null],
                vec![Value::Int(1), text(value)],
                vec![Value::Int(2), text("no such value \u{1}")],
                vec![Value::Int(3), Value::Null],
            ];
            log.append_rows(&name, 0, &stream.schema(), &rows);
            let summary = drain(&db, &log, &stream).unwrap();
            let tolerant = usize::from(column_type == &"tsvector");
            assert_eq!(summary.dead, 1 - tolerant as u64, "{column_type}");
            let same = format!(
                "SELECT v::text = '{}'::{column_type}::text FROM {name} WHERE id = 1 AND v IS NOT NULL",
                value.replace('\'', "''")
            );
            assert_eq!(db.rows(&same), ["t"], "{column_type}");
        }
    }
}

/// Types that would cut or round a text in silence are refused.
#[test]
fn texts_are_neither_cut_nor_rounded() {
    let mut db = Db::new();
    let items = two_columns();
    for column_type in ["name", "\"char\"", "numeric(5,1)", "time(0)", "interval(1)"] {
        db.execute(&format!(
            "DROP TABLE IF EXISTS items; CREATE TABLE items (id bigint PRIMARY KEY, name {column_type})"
        ));
        check(&db, &items, &["column `name` has type"]);
    }
}

/// A trigger refuses everything: the sink stops, and not one record has become a dead letter.
#[test]
fn a_table_that_refuses_everything_makes_no_dead_letters() {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'closed'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let mut items = two_columns();
    items.partitions = 4;
    log.open_stream(&items);
    for partition in 0..4 {
        let rows: Vec<_> = (0..66)
            .map(|i| vec![Value::Int(i * 4 + i64::from(partition)), text("x")])
            .collect();
        log.append(&items, partition, &rows);
    }
    let error = drain(&db, &log, &items).unwrap_err();
    assert_matches!(error, Error::EveryRecordRefused { .. });
    assert_eq!(db.one("SELECT count(*) FROM bekk.dead_letters"), "0");
    assert_eq!(db.one("SELECT sum(next) FROM bekk.offsets"), "0");
    db.execute("DROP TRIGGER refuse ON items");
    assert_eq!(drain(&db, &log, &items).unwrap().rows, 264);
}

/// A database that lacks most characters takes dead letters whose file and detail have them.
#[test]
fn a_database_in_latin1_takes_every_dead_letter() {
    let mut db = Db::new();
    let name = format!("latin_{}", db.options.dbname.as_ref().unwrap());
    db.execute(&format!(
        "CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    ));
    let mut options = db.options.clone();
    options.dbname = Some(name);
    let (db, log, items) = (Db::connect(options), Log::new(), two_columns());
    log.open_stream(&items);
    log.rename_file("/data/заказы.csv");
    let reject = Reject::new(b"x", Reason::BadValue, Some("id"), "`семь` is no integer");
    let schema = items.schema();
    let values = [
        log.row(&schema, 2, &[Value::Int(1), text("æøå")]),
        log.row(&schema, 3, &[Value::Int(2), text("日本語")]),
        log.reject(&schema, 4, &reject),
    ];
    log.append_raw("items", 0, &values);
    let summary = drain(&db, &log, &items).unwrap();
    assert_eq!((summary.rows, summary.dead), (1, 2));
    assert_eq!(
        db.rows("SELECT file, detail FROM bekk.dead_letters WHERE reason = 'bad_value'"),
        [
            "/data/\\u{437}\\u{430}\\u{43a}\\u{430}\\u{437}\\u{44b}.csv|`\\u{441}\\u{435}\\u{43c}\\u{44c}` is no integer"
        ]
    );
}
