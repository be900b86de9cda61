//! Columns of types that the database has and Bekk does not, and of numbers and times of its own.

use bekk_sink::Error;
use bekk_stream::{Column, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{Db, Log, assert_exact, assert_says, drain, drain_with, opened, stream, text};

/// A stream of columns by name and type, of which all but the first are nullable.
fn typed(name: &str, columns: &[(&str, &str)]) -> Stream {
    let columns = columns.iter().enumerate().map(|(at, (name, column_type))| {
        let column = Column::new(name, column_type.parse().unwrap());
        if at == 0 { column } else { column.nullable() }
    });
    stream(name, columns.collect())
}

const TYPES: &str = "\
    CREATE SCHEMA shop; CREATE TYPE shop.mood AS ENUM ('sad', 'glad');
    CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
    CREATE DOMAIN few AS email CHECK (length(VALUE) < 12);
    CREATE TYPE pair AS (a int, b text)";

/// A table is made with the types that the stream names, whatever their names hold.
#[test]
fn a_table_is_made_with_types_of_the_database() {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute(TYPES);
    db.execute("CREATE TYPE \"Odd \"\"; DROP TABLE x\" AS ENUM ('yes')");
    let values = [
        ("pg:inet", "10.0.0.1/24", "10.0.0.1/24", "10.0.0.999"),
        ("pg:cidr", "10.0.0.0/8", "10.0.0.0/8", "10.0.0.1/8"),
        ("pg:macaddr", "08-00-2b-01-02-03", "08:00:2b:01:02:03", "x"),
        ("pg:interval", "1 day 2 hours", "1 day 02:00:00", "soon"),
        ("pg:int[]", "{1,2}", "{1,2}", "{1,x}"),
        ("pg:varchar(3)", "abc", "abc", "abcd"),
        ("pg:bit varying(4)", "101", "101", "10101"),
        ("pg:int4range", "[1,5]", "[1,6)", "[5,1]"),
        ("pg:xml", "<a/>", "<a/>", "<a>"),
        ("pg:point", "(1,2)", "(1,2)", "(1)"),
        ("pg:jsonpath", "$.a", "$.\"a\"", "$["),
        ("pg:shop.mood", "glad", "glad", "angry"),
        ("pg:email", "a@b.example", "a@b.example", "nobody"),
        ("pg:few", "a@b", "a@b", "a@a.long.example"),
        ("pg:few[]", "{a@b}", "{a@b}", "{nobody}"),
        ("pg:pair", "(1,x)", "(1,x)", "(x,1)"),
        ("pg:\"Odd \"\"; DROP TABLE x\"", "yes", "yes", "no"),
    ];
    let mut columns = vec![("id".to_owned(), "int8")];
    columns.extend(
        (1..)
            .zip(values)
            .map(|(at, (name, ..))| (format!("c{at}"), name)),
    );
    let columns: Vec<(&str, &str)> = columns
        .iter()
        .map(|(name, of)| (name.as_str(), *of))
        .collect();
    let mut items = typed("items", &columns);
    items.partitions = 4;
    log.open_stream(&items);
    let mut rows = vec![
        [vec![Value::Int(0)], vec![Value::Null; values.len()]].concat(),
        std::iter::once(Value::Int(1))
            .chain(values.iter().map(|(_, value, ..)| text(value)))
            .collect(),
    ];
    for (at, (.., wrong)) in values.iter().enumerate() {
        let mut row = vec![Value::Null; values.len() + 1];
        row[0] = Value::Int(100 + i64::try_from(at).unwrap());
        row[at + 1] = text(wrong);
        rows.push(row);
    }
    log.append(&items, 0, &rows);
    let summary = drain(&db, &log, &items).unwrap();
    assert_eq!((summary.rows, summary.dead), (2, values.len() as u64));
    let names: Vec<String> = (1..=values.len())
        .map(|at| format!("c{at}::text"))
        .collect();
    let found = db.one(&format!(
        "SELECT {} FROM items WHERE id = 1",
        names.join(", ")
    ));
    let expected: Vec<&str> = values.iter().map(|(_, _, expected, _)| *expected).collect();
    assert_eq!(found, expected.join("|"));
    assert_eq!(
        db.one("SELECT bool_and(raw <> '' AND detail <> '') FROM bekk.dead_letters"),
        "t"
    );
    let letters =
        "SELECT count(*) FROM bekk.dead_letters WHERE raw = '100,10.0.0.999,,,,,,,,,,,,,,,,'";
    assert_eq!(db.one(letters), "1");
    // The same records again change nothing.
    let mut config = bekk_sink::Config::new(db.options.clone());
    config.group = "again".to_owned();
    let again = drain_with(&config, &log, &items).unwrap();
    assert_eq!(again.dead, values.len() as u64);
    assert_eq!(db.one("SELECT count(*) FROM items"), "2");
}

/// Equality is PostgreSQL's: texts that differ are one key. Records of one have an order in one partition only.
#[test]
fn a_key_of_such_a_type_is_compared_as_postgresql_compares() {
    let (mut db, log) = (Db::new(), Log::new());
    let mut hosts = typed("hosts", &[("address", "pg:inet"), ("n", "int8")]);
    hosts.partitions = 4;
    let refused = drain(&db, &log, &hosts).unwrap_err().to_string();
    assert_says(&refused, &["key column `address` (inet)", "partitions = 1"]);
    assert_eq!(db.one("SELECT to_regclass('hosts') IS NULL"), "t");
    let mut hosts = typed("lone_hosts", &[("address", "pg:inet"), ("n", "int8")]);
    hosts.table.name = "hosts".to_owned();
    log.open_stream(&hosts);
    let row = |address, n| vec![text(address), Value::Int(n)];
    let rows = [
        row("10.0.0.1", 1),
        row("10.0.0.2", 2),
        row("10.0.0.1/32", 3),
        row("nowhere", 4),
        row("10.0.0.1", 5),
    ];
    log.append(&hosts, 0, &rows);
    let summary = drain(&db, &log, &hosts).unwrap();
    assert_eq!(summary.dead, 1);
    let found = db.rows("SELECT address, n FROM hosts ORDER BY n");
    assert_eq!(found, ["10.0.0.2|2", "10.0.0.1|5"]);
    // A label of an enum is the text itself, in any number of partitions.
    db.execute(TYPES);
    let mut moods = typed("moods", &[("mood", "pg:shop.mood"), ("n", "int8")]);
    moods.partitions = 4;
    log.open_stream(&moods);
    log.append(&moods, 0, &[row("sad", 1), row("sad", 2), row("mad", 3)]);
    assert_eq!(drain(&db, &log, &moods).unwrap().dead, 1);
    assert_eq!(db.rows("SELECT mood, n FROM moods"), ["sad|2"]);
}

#[test]
fn types_that_are_not_there_or_not_the_tables_are_named() {
    let mut db = Db::new();
    db.execute(TYPES);
    let check = |db: &Db, stream: &Stream, expected: &[&str]| {
        let report = bekk_sink::check(&db.options, std::slice::from_ref(stream)).unwrap();
        let problems = &report.tables[0].problems;
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}");
        }
    };
    let items = typed(
        "items",
        &[("id", "int8"), ("a", "pg:mood"), ("b", "pg:shop.inet")],
    );
    check(
        &db,
        &items,
        &[
            "column `a` is of type pg:mood, which the database does not have",
            "in schema \"shop\"",
        ],
    );
    let keyed = typed("items", &[("id", "pg:point")]);
    check(&db, &keyed, &["no order that a primary key needs"]);
    let log = Log::new();
    let error = drain(&db, &log, &items).unwrap_err();
    assert_matches!(error, Error::TableMismatch { .. });
    // Of an existing table, its own type is meant.
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY, a shop.mood, b cidr)");
    check(
        &db,
        &items,
        &["column `b` has type cidr; the stream's type is pg:shop.inet"],
    );
    let items = typed(
        "items",
        &[("id", "int8"), ("a", "pg:mood"), ("b", "pg:cidr")],
    );
    check(&db, &items, &[]);
    // The type is right, and its input would round.
    db.execute(
        "CREATE TYPE shop.pair AS (n numeric(5,2)); CREATE TABLE pairs (id bigint PRIMARY KEY, a shop.pair, b numeric(5,2))",
    );
    let pairs = typed(
        "pairs",
        &[("id", "int8"), ("a", "pg:shop.pair"), ("b", "text")],
    );
    check(
        &db,
        &pairs,
        &[
            "`a` has type shop.pair, of which PostgreSQL's input silently cuts or rounds",
            "`b` has type numeric(5,2), of which PostgreSQL's input silently cuts or rounds",
        ],
    );
    // A type that anybody could have made.
    db.execute(
        "DROP TABLE items; GRANT CREATE ON SCHEMA public TO public; CREATE ROLE type_maker;
         SET ROLE type_maker; CREATE DOMAIN public.ltree AS text CHECK (length(VALUE) > 0); RESET ROLE",
    );
    let mut items = typed("items", &[("id", "int8"), ("a", "pg:ltree")]);
    check(&db, &items, &["belongs to role `type_maker`"]);
    items.columns[1].column_type = "pg:public.ltree".parse().unwrap();
    check(&db, &items, &[]);
    db.execute("DROP DOMAIN public.ltree; DROP ROLE type_maker");
}

/// A version that cannot be compared decides nothing: such a stream is refused before a row is written, whether its table
/// exists or not.
#[test]
fn a_version_without_an_order_is_refused() {
    let (mut db, log) = (Db::new(), Log::new());
    // PostgreSQL itself says which values it compares.
    db.execute(
        "CREATE TYPE place AS (name text, at point); CREATE DOMAIN spot AS point;
         CREATE FUNCTION compares() RETURNS text LANGUAGE plpgsql AS $$
         BEGIN
             EXECUTE 'SELECT version OPERATOR(pg_catalog.>=) version FROM items';
             RETURN 'yes';
         EXCEPTION WHEN undefined_function THEN
             RETURN 'no';
         END $$",
    );
    for (version, value) in [
        ("pg:point", "(1,2)"),
        ("pg:spot", "(1,2)"),
        ("pg:json", "1"),
        ("pg:xml", "<a/>"),
        ("pg:point[]", "{\"(1,2)\"}"),
        ("pg:box[]", "{(1,2),(3,4)}"),
        ("pg:place", "(x,\"(1,2)\")"),
        ("pg:box", "(1,2),(3,4)"),
        ("pg:varchar(9)", "x"),
        ("pg:inet", "10.0.0.1"),
        ("pg:regclass", "pg_class"),
        ("pg:interval[]", "{1 day}"),
        ("pg:int4range", "[1,2)"),
        ("text", "x"),
        ("json", "1"),
    ] {
        let mut items = typed("items", &[("id", "int8"), ("version", version)]);
        items.newer_by = Some("version".to_owned());
        let problems = |db: &Db| {
            let report = bekk_sink::check(&db.options, std::slice::from_ref(&items)).unwrap();
            report.tables[0].problems.clone()
        };
        let without = problems(&db);
        let named = items.columns[1].column_type.sql();
        db.execute(&format!(
            "CREATE TABLE items (id bigint PRIMARY KEY, version {named});
             INSERT INTO items VALUES (1, '{value}')"
        ));
        let compares = db.one("SELECT compares()");
        for found in [without, problems(&db)] {
            match compares.as_str() {
                "yes" => assert_eq!(found, [""; 0], "{version}"),
                _ => {
                    assert_eq!(found.len(), 1, "{version}: {found:?}");
                    assert!(found[0].starts_with("column `version`, which `newer_by` names"));
                }
            }
        }
        db.execute("DROP TABLE items");
    }
    let mut items = typed("items", &[("id", "int8"), ("version", "pg:point")]);
    items.newer_by = Some("version".to_owned());
    log.open_stream(&items);
    let error = drain(&db, &log, &items).unwrap_err();
    assert_matches!(error, Error::TableMismatch { .. });
    assert!(error.to_string().contains("`version`"), "{error}");
    assert_eq!(db.one("SELECT to_regclass('items') IS NULL"), "t");
}

/// What an input function would drop, round or read as another moment each time is a dead letter.
#[test]
fn texts_that_would_lose_a_part_or_change_are_dead_letters() {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, d date, t time, ts timestamp, tz timestamptz, r tstzrange, ds date[],
                             o oid, x xid)",
    );
    let columns = ["d", "t", "ts", "tz", "r", "ds", "o", "x"];
    let named: Vec<(&str, &str)> = columns.iter().map(|name| (*name, "text")).collect();
    let items = typed("items", &[&[("id", "int8")], &named[..]].concat());
    log.open_stream(&items);
    let values = [
        ("2026-01-31", "2026-01-31 12:00"),
        ("12:00:00.5", "12:00+02"),
        ("2026-01-31 12:00", "2026-01-31 12:00+02"),
        ("2026-01-31 12:00+02", "2026-01-31 12:00"),
        ("[2026-01-01 00:00Z,)", "[now,)"),
        ("{2026-01-31}", "{today}"),
        ("5", "-1"),
        ("5", "five"),
    ];
    let mut rows = Vec::new();
    for (at, (right, wrong)) in values.iter().enumerate() {
        for (id, value) in [right, wrong].into_iter().enumerate() {
            let mut row = vec![Value::Null; values.len() + 1];
            row[0] = Value::Int(i64::try_from(at * 2 + id).unwrap());
            row[at + 1] = text(value);
            rows.push(row);
        }
    }
    log.append(&items, 0, &rows);
    let summary = drain(&db, &log, &items).unwrap();
    assert_eq!((summary.rows, summary.dead), (8, 8));
    assert_eq!(db.one("SELECT count(*) FROM items WHERE id % 2 = 0"), "8");
    let reasons = db.rows("SELECT DISTINCT reason FROM bekk.dead_letters");
    assert_eq!(reasons, ["bad_value"]);
}

/// A text is the same value under all settings of the role, and a dead letter if they would decide about it. A number
/// that differs from the row's only in digits that the role would not see is still written.
#[test]
fn settings_of_the_role_change_no_value() {
    let sql = "CREATE TABLE items (id bigint PRIMARY KEY, d date, r daterange, i interval, tz tstzrange, f float8[],
                                   t text[], b bytea)";
    let types = [
        ("id", "int8"),
        ("d", "text"),
        ("r", "text"),
        ("i", "text"),
        ("tz", "text"),
        ("f", "text"),
        ("t", "text"),
        ("b", "bytea"),
    ];
    let items = typed("items", &types);
    let odd = "-c datestyle=SQL,DMY -c intervalstyle=sql_standard -c timezone=Asia/Tokyo -c extra_float_digits=-15 \
               -c array_nulls=off -c bytea_output=escape -c default_transaction_isolation=serializable \
               -c default_transaction_deferrable=on -c xmloption=document -c lc_messages=C";
    let mut found = Vec::new();
    for settings in [None, Some(odd)] {
        let (mut db, log) = (Db::new(), Log::new());
        db.execute(sql);
        log.open_stream(&items);
        let row = |id: i64, float: &'static str| {
            vec![
                Value::Int(id),
                text("2026-02-01"),
                text("[2026-02-01,2026-03-02)"),
                text("-1 days -02:03:04"),
                text("[2026-02-01 12:00+01,)"),
                text(float),
                text("{NULL,b}"),
                Value::Bytea(b"a\\\0"[..].into()),
            ]
        };
        let lone = |id: i64, at: usize, value: &'static str| {
            let mut row = vec![Value::Null; types.len()];
            row[0] = Value::Int(id);
            row[at] = text(value);
            row
        };
        let rows = [
            row(1, "{0.3}"),
            lone(2, 1, "01/02/2026"),
            lone(3, 2, "[01/02/2026,)"),
            lone(4, 3, "-1 2:03:04"),
            lone(5, 4, "[2026-02-01 12:00,)"),
        ];
        log.append(&items, 0, &rows);
        let mut options = db.options.clone();
        options.options = settings.map(str::to_owned);
        let config = bekk_sink::Config::new(options);
        assert_eq!(drain_with(&config, &log, &items).unwrap().dead, 4);
        let again = [row(1, "{0.30000000000000004}")];
        log.append(&items, 0, &again);
        assert_eq!(drain_with(&config, &log, &items).unwrap().superseded, 1);
        found.push(db.rows("SELECT * FROM items"));
        assert_exact(&db, &log.client, "bekk", &items);
    }
    assert_eq!(found[0], found[1]);
    assert_says(&found[0][0], &["{0.30000000000000004}|{NULL,b}"]);
}

/// Under each locale a table is found, and a column of money is refused where 1.23 is not that number to it.
#[test]
fn money_is_refused_where_its_point_means_something_else() {
    let mut db = Db::new();
    // PostgreSQL itself says how it reads money.
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, price money);
         CREATE FUNCTION reads() RETURNS boolean LANGUAGE plpgsql AS $$
         DECLARE price numeric;
         BEGIN
             EXECUTE 'SELECT ''1.23''::money::numeric' INTO price;
             RETURN price = 1.23;
         EXCEPTION WHEN invalid_text_representation THEN
             RETURN false;
         END $$",
    );
    let items = typed("items", &[("id", "int8"), ("price", "text")]);
    // Those of these that the machine has.
    let locales = db.rows(
        "SELECT DISTINCT collcollate FROM pg_collation
          WHERE collprovider = 'c'
            AND left(collcollate, 5) IN ('C', 'POSIX', 'de_DE', 'en_US', 'fr_FR', 'ja_JP', 'nb_NO')",
    );
    assert!(!locales.is_empty());
    for locale in locales {
        let mut options = db.options.clone();
        options.options = Some(format!("-c lc_monetary={locale}"));
        db.execute(&format!("SET lc_monetary = '{locale}'"));
        let reads = db.one("SELECT reads()");
        let report = bekk_sink::check(&options, std::slice::from_ref(&items)).unwrap();
        let problems = &report.tables[0].problems;
        match reads.as_str() {
            "t" => assert_eq!(*problems, [""; 0], "{locale}"),
            _ => {
                assert_eq!(problems.len(), 1, "{locale}: {problems:?}");
                assert!(problems[0].contains("lc_monetary"), "{problems:?}");
            }
        }
    }
}

/// Numbers of any length, and times of day, by their own binary forms.
#[test]
fn numerics_and_times_go_in_whole() {
    let (db, log, items) = opened(typed("items", &[("n", "numeric"), ("t", "time")]));
    let long = format!("-{}.{}", "9".repeat(300), "123456789".repeat(20));
    let number = |text: &str| Value::Numeric(text.to_owned().into());
    let rows = [
        vec![number(&long), Value::Time(0)],
        vec![number("1.50"), Value::Time(86_400_000_000)],
        vec![number("1.5"), Value::Time(45_000_000_001)],
        vec![number("0.00000000012"), Value::Null],
        vec![number("10000"), Value::Time(-1)],
    ];
    log.append(&items, 0, &rows);
    assert_eq!(drain(&db, &log, &items).unwrap().dead, 1);
    let found = db.rows("SELECT n, t FROM items ORDER BY n");
    let first = format!("{long}|00:00:00");
    assert_eq!(found, [&first, "0.00000000012|-", "1.5|12:30:00.000001"]);
    // An older schema's decimals and whole numbers are the same keys.
    let older = typed("items", &[("n", "decimal(5,2)")]);
    log.declare(&older.schema());
    let decimal = Value::Decimal(bekk_stream::Decimal::new(150, 2));
    log.append(&older, 0, &[vec![decimal]]);
    drain(&db, &log, &items).unwrap();
    assert_eq!(db.one("SELECT count(*) FROM items WHERE n = 1.5"), "1");
    assert_eq!(db.one("SELECT count(*) FROM items"), "3");
}
