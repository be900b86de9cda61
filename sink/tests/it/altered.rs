//! Tables that change while the sink runs: what is written next is as after a restart.

use std::sync::atomic::Ordering::Relaxed;

use bekk_sink::{Config, ConnectOptions, Control, Error, Stats, Summary};
use bekk_stream::{ColumnType, Decimal, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{
    Db, Log, assert_exact, assert_says, column, deep_audit, differences, drain, opened, rows,
    run_all_while, stream, stream_of, until,
};

/// Runs a sink while `act` does, which may make it stop by itself.
pub(crate) fn while_it_runs(
    db: &Db,
    log: &Log,
    stream: &Stream,
    act: impl FnOnce(&Stats),
) -> Result<Summary, Error> {
    let (config, streams) = (
        Config::new(db.options.clone()),
        std::slice::from_ref(stream),
    );
    run_all_while(&config, log, streams, Control::drain, act).1
}

fn prices() -> Stream {
    let price = ColumnType::Decimal {
        precision: 12,
        scale: 2,
    };
    stream(
        "prices",
        vec![column("id", ColumnType::Int8), column("price", price)],
    )
}

fn price(id: i64, cents: i128) -> Vec<Value<'static>> {
    let price = Decimal::new(cents, 2);
    vec![Value::Int(id), Value::Decimal(price)]
}

fn append(log: &Log, stream: &Stream, rows: &[Vec<Value<'_>>]) {
    log.append(stream, 0, rows);
}

fn count(db: &Db, table: &str) -> String {
    db.one(&format!("SELECT count(*) FROM {table}"))
}

const DEAD: &str = "SELECT log_offset, reason, column_name FROM bekk.dead_letters ORDER BY 1";

/// A column keeps fewer decimals than before. PostgreSQL would round what the old plan sends.
#[test]
fn a_narrower_column_rounds_nothing() {
    let (db, log, stream) = opened(prices());
    let mut admin = Db::connect(db.options.clone());
    append(&log, &stream, &[price(1, 125), price(2, 275)]);
    while_it_runs(&db, &log, &stream, |_| {
        until("two rows are there", || {
            admin.rows("SELECT to_regclass('prices')") == ["prices"]
                && count(&admin, "prices") == "2"
        });
        admin.execute("ALTER TABLE prices ALTER COLUMN price TYPE numeric(12,1)");
        append(
            &log,
            &stream,
            &[price(3, 325), price(4, 410), price(2, 777)],
        );
    })
    .unwrap();
    assert_eq!(
        db.rows("SELECT id, price FROM prices ORDER BY id"),
        ["1|1.3", "2|2.8", "4|4.1"]
    );
    assert_eq!(
        db.rows(DEAD),
        ["2|too_many_decimals|price", "4|too_many_decimals|price"]
    );
    // The statement itself rounded the two rows that the table had.
    let deep = deep_audit(&db, &log.client, "bekk", &stream);
    let found = (deep.missing, deep.changed, deep.extra, deep.without_letter);
    assert_eq!(found, (0, 0, 2, 2), "{deep:?}");
}

/// Columns change their type, their place and their neighbours, keys that exist and new ones alike.
#[test]
fn rows_follow_each_alteration() {
    let (db, log, stream) = opened(prices());
    let mut admin = Db::connect(db.options.clone());
    admin.execute("CREATE TABLE prices (id integer PRIMARY KEY, price numeric(12,2))");
    append(&log, &stream, &[price(1, 100)]);
    while_it_runs(&db, &log, &stream, |_| {
        let alterations = [
            "ALTER TABLE prices ALTER COLUMN id TYPE bigint",
            "ALTER TABLE prices ADD COLUMN note text DEFAULT 'none'",
            "ALTER TABLE prices DROP COLUMN price; ALTER TABLE prices ADD COLUMN price numeric",
            "CREATE UNIQUE INDEX prices_price ON prices (price)",
            "ALTER TABLE prices ALTER COLUMN price SET NOT NULL",
        ];
        for (round, alter) in (2..).zip(alterations) {
            let seen = format!("SELECT count(*) FROM prices WHERE price = {}", round - 1);
            until("the last rows are there", || admin.one(&seen) == "1");
            admin.execute("DELETE FROM prices WHERE id > 1");
            admin.execute(alter);
            let id = i64::from(round) << 32;
            // The first key exists, the second does not.
            append(
                &log,
                &stream,
                &[
                    price(1, 50 + i128::from(round)),
                    price(id, i128::from(round) * 100),
                ],
            );
        }
    })
    .unwrap();
    assert_eq!(
        db.rows("SELECT id, price, note FROM prices ORDER BY id"),
        ["1|0.56|none", "25769803776|6.00|none"]
    );
    assert_eq!(db.rows(DEAD), [""; 0]);
    // Four rows were deleted here.
    let deep = deep_audit(&db, &log.client, "bekk", &stream);
    assert_eq!(differences(&deep), (4, 0, 0), "{deep:?}");
}

/// A column of the stream goes: the sink stops and names it.
#[test]
fn a_column_that_is_missed_stops_the_sink() {
    let (db, log, stream) = opened(prices());
    let mut admin = Db::connect(db.options.clone());
    append(&log, &stream, &[price(1, 100)]);
    let seen = "SELECT sum(next) FROM bekk.offsets";
    let error = while_it_runs(&db, &log, &stream, |_| {
        until("a row is there", || {
            admin.rows("SELECT to_regclass('bekk.offsets')") == ["bekk.offsets"]
                && admin.one(seen) == "1"
        });
        admin.execute("ALTER TABLE prices RENAME COLUMN price TO amount");
        append(&log, &stream, &[price(2, 200)]);
    })
    .unwrap_err();
    assert_says(&error, &["column `price` is missing"]);
    assert_eq!(db.one(seen), "1");
    admin.execute("ALTER TABLE prices RENAME COLUMN amount TO price");
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// Another table takes the name: nothing is written to it.
#[test]
fn a_table_that_is_replaced_stops_the_sink() {
    let (db, log, stream) = opened(prices());
    let mut admin = Db::connect(db.options.clone());
    admin.execute("CREATE TABLE prices (id bigint PRIMARY KEY, price numeric(12,2) NOT NULL)");
    append(&log, &stream, &[price(1, 100)]);
    let error = while_it_runs(&db, &log, &stream, |_| {
        until("a row is there", || count(&admin, "prices") == "1");
        admin.execute(
            "BEGIN; ALTER TABLE prices RENAME TO old;
             CREATE TABLE prices (id bigint PRIMARY KEY, price numeric(12,2) NOT NULL); COMMIT",
        );
        append(&log, &stream, &[price(2, 200)]);
    })
    .unwrap_err();
    assert_matches!(error, Error::TableReplaced { .. });
    assert_eq!(db.rows("SELECT * FROM prices"), [""; 0]);
    admin.execute("DROP TABLE prices; ALTER TABLE old RENAME TO prices");
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// A database takes no writes for a while, and sessions that were opened meanwhile never will.
#[test]
fn a_database_that_was_read_only_is_written_to_again() {
    let (db, log, stream) = opened(prices());
    let mut admin = Db::connect(db.options.clone());
    let name = db.options.dbname.clone().unwrap();
    append(&log, &stream, &[price(1, 100)]);
    while_it_runs(&db, &log, &stream, |stats| {
        until("a row is there", || {
            admin.rows("SELECT to_regclass('prices')") == ["prices"]
                && count(&admin, "prices") == "1"
        });
        let read_only = |admin: &mut Db, value: &str| {
            admin.execute("SET default_transaction_read_only = off");
            admin.execute(&format!(
                "ALTER DATABASE {name} SET default_transaction_read_only = {value}"
            ));
        };
        read_only(&mut admin, "on");
        admin.execute(
            "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND pid <> pg_backend_pid(); END $$",
        );
        append(&log, &stream, &[price(2, 200)]);
        until("the sink waits", || {
            matches!(stats.state(), bekk_sink::State::Waiting(_))
        });
        read_only(&mut admin, "off");
        until("the other row is there", || count(&admin, "prices") == "2");
    })
    .unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// A database is closed for maintenance: its sessions are ended, and it takes no connections for a while.
#[test]
fn a_database_that_took_no_connections_is_connected_to_again() {
    let (db, log, stream) = opened(prices());
    let name = db.options.dbname.clone().unwrap();
    let mut admin = Db::connect(ConnectOptions {
        dbname: Some("postgres".to_owned()),
        ..db.options.clone()
    });
    append(&log, &stream, &[price(1, 100)]);
    while_it_runs(&db, &log, &stream, |stats| {
        let next = || -> u64 { stats.positions().iter().map(|at| at.next).sum() };
        until("a row is there", || next() == 1);
        admin.execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
        let terminate = format!(
            "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = '{name}' AND application_name LIKE 'bekk%'; END $$"
        );
        until("the sink waits", || {
            // A connection that was just being made has no name at first.
            admin.execute(&terminate);
            match stats.state() {
                bekk_sink::State::Waiting(cause) => cause.contains("not currently accepting"),
                _ => false,
            }
        });
        append(&log, &stream, &[price(2, 200)]);
        admin.execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
        until("the other row is there", || next() == 2);
    })
    .unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// The database ends sessions that idle; the sink's wait for records, and stay.
#[test]
fn sessions_stay_where_idle_ones_are_ended() {
    let (db, log, stream) = opened(prices());
    let mut admin = Db::connect(db.options.clone());
    let name = db.options.dbname.clone().unwrap();
    let timeout = "SELECT name FROM pg_settings WHERE name = 'idle_session_timeout'";
    // Servers before 14 have none.
    if admin.rows(timeout).is_empty() {
        return;
    }
    admin.execute(&format!(
        "ALTER DATABASE {name} SET idle_session_timeout = '50ms'"
    ));
    append(&log, &stream, &[price(1, 100)]);
    while_it_runs(&db, &log, &stream, |stats| {
        until("the row is there", || stats.rows.load(Relaxed) == 1);
        let sessions = || {
            admin.rows(
                "SELECT pid FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name LIKE 'bekk%' ORDER BY 1",
            )
        };
        let before = sessions();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(sessions(), before);
    })
    .unwrap();
}

/// Someone ends every transaction that lasts: batches shrink until theirs are short enough.
#[test]
fn batches_shrink_under_who_ends_long_transactions() {
    let (db, log) = (Db::new(), Log::new());
    let stream = stream_of("slow", "id int8, name text");
    let mut admin = Db::connect(db.options.clone());
    log.open_stream(&stream);
    admin.execute(
        "CREATE TABLE slow (id bigint PRIMARY KEY, name text);
         CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_sleep(0.002); RETURN new; END $$;
         CREATE TRIGGER sleep BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION sleep()",
    );
    append(&log, &stream, &rows(0..1_500, "x"));
    while_it_runs(&db, &log, &stream, |stats| {
        until("all is applied", || {
            admin.execute(
                "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND xact_start < now() - interval '1 second'; END $$",
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
            stats
                .positions()
                .iter()
                .any(|position| position.next == 1_500)
        });
    })
    .unwrap();
    assert_eq!(count(&db, "slow"), "1500");
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// An event trigger refuses the temporary table through which rows are merged. This says nothing about the records, and
/// waiting does not help.
#[test]
fn a_database_without_temporary_tables_stops_the_sink() {
    let (db, log, stream) = opened(prices());
    let mut admin = Db::connect(db.options.clone());
    append(&log, &stream, &[price(1, 100)]);
    let error = while_it_runs(&db, &log, &stream, |stats| {
        until("the row is there", || {
            stats.positions().iter().any(|position| position.next == 1)
        });
        admin.execute(
            "CREATE FUNCTION no_tables() RETURNS event_trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'no tables today'; END $$;
             CREATE EVENT TRIGGER no_tables ON ddl_command_start EXECUTE FUNCTION no_tables()",
        );
        append(&log, &stream, &[price(1, 200)]);
        until("it has stopped", || {
            stats.state() == bekk_sink::State::Stopped
        });
    })
    .unwrap_err()
    .to_string();
    assert_says(&error, &["make a temporary table", "no tables today"]);
    admin.execute("DROP EVENT TRIGGER no_tables");
    assert_eq!(admin.rows("SELECT FROM bekk.dead_letters").len(), 0);
    while_it_runs(&db, &log, &stream, |_| {}).unwrap();
    assert_eq!(admin.one("SELECT price FROM prices"), "2.00");
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// An administrator renames or moves the table, or takes a right away: the sink stops with what happened and what to
/// type next, and not with the server's words alone.
#[test]
fn a_table_that_is_out_of_reach_stops_the_sink() {
    let elsewhere = "was dropped, renamed, moved or replaced";
    let right = r#"GRANT UPDATE ON "store"."prices" TO "clerk""#;
    for (number, (act, undo, expected)) in [
        (
            "ALTER TABLE store.prices RENAME TO costs",
            "ALTER TABLE store.costs RENAME TO prices",
            elsewhere,
        ),
        (
            "ALTER TABLE store.prices SET SCHEMA public",
            "ALTER TABLE prices SET SCHEMA store",
            elsewhere,
        ),
        (
            "ALTER SCHEMA store RENAME TO shop",
            "ALTER SCHEMA shop RENAME TO store",
            elsewhere,
        ),
        (
            "REVOKE UPDATE ON store.prices FROM clerk_N",
            "GRANT UPDATE ON store.prices TO clerk_N",
            right,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut db, log, mut stream) = (Db::new(), Log::new(), prices());
        let mut admin = Db::connect(db.options.clone());
        stream.table.schema = Some("store".to_owned());
        let (name, own) = (db.options.dbname.clone().unwrap(), number.to_string());
        let numbered = |sql: &str| {
            sql.replace("clerk", &format!("clerk_{name}_{own}"))
                .replace("_N", "")
        };
        db.execute(&numbered(&format!(
            "CREATE SCHEMA store; CREATE TABLE store.prices (id bigint PRIMARY KEY, price numeric(12,2));
             CREATE ROLE clerk LOGIN PASSWORD 'clerk'; GRANT USAGE ON SCHEMA store TO clerk;
             GRANT SELECT, INSERT, UPDATE ON store.prices TO clerk; GRANT CREATE, TEMPORARY ON DATABASE {name} TO clerk"
        )));
        db.options.user = Some(numbered("clerk"));
        db.options.password = Some(numbered("clerk"));
        log.open_stream(&stream);
        append(&log, &stream, &[price(1, 125)]);
        let result = while_it_runs(&db, &log, &stream, |_| {
            until("a row is there", || count(&admin, "store.prices") == "1");
            admin.execute(&numbered(act));
            append(&log, &stream, &[price(2, 1), price(1, 2)]);
        });
        let error = result.unwrap_err().to_string();
        assert!(error.contains(&numbered(expected)), "{act}: {error}");
        assert_eq!(
            admin.one("SELECT sum(next) FROM bekk.offsets"),
            "1",
            "{act}"
        );
        admin.execute(&numbered(undo));
        drain(&db, &log, &stream).unwrap();
        assert_exact(&db, &log.client, "bekk", &stream);
    }
}

/// Rows that a table has lost are not missed by what is written next, nor by a restart, when others are there again.
#[test]
fn a_table_truncated_while_the_sink_runs_stops_the_stream() {
    for columns in ["PRIMARY KEY", "PRIMARY KEY) PARTITION BY RANGE (id"] {
        let (mut db, log, stream) = opened(prices());
        let mut admin = Db::connect(db.options.clone());
        db.execute(&format!(
            "CREATE TABLE prices (price numeric(12,2), id bigint {columns})"
        ));
        let is_partitioned = columns.contains("PARTITION");
        if is_partitioned {
            db.execute("CREATE TABLE prices_1 PARTITION OF prices DEFAULT");
        }
        append(&log, &stream, &[price(1, 125), price(2, 275)]);
        let result = while_it_runs(&db, &log, &stream, |_| {
            until("two rows are there", || count(&admin, "prices") == "2");
            // A table that is rewritten keeps its rows, and the stream continues.
            admin.execute("VACUUM FULL prices");
            append(&log, &stream, &[price(3, 1)]);
            until("three rows are there", || count(&admin, "prices") == "3");
            admin.execute("TRUNCATE prices");
            append(&log, &stream, &[price(4, 2)]);
        });
        match is_partitioned {
            // It has no file of its own that would tell TRUNCATE from DELETE: reported, and not refused.
            true => {
                assert_eq!(count(&admin, "prices"), "1");
                let deep = deep_audit(&db, &log.client, "bekk", &stream);
                assert_eq!((deep.missing, deep.extra), (3, 0), "{deep:?}");
            }
            false => {
                let error = result.unwrap_err().to_string();
                assert_says(&error, &["table `prices` was truncated", "bekk replay"]);
                assert_eq!(count(&admin, "prices"), "0");
            }
        }
    }
}

/// A trigger and a unique index of one partition are none of the table's, and decide about its rows all the same.
#[test]
fn what_one_partition_gets_is_seen() {
    let (mut db, log, stream) = opened(prices());
    let mut admin = Db::connect(db.options.clone());
    db.execute(
        "CREATE TABLE prices (id bigint PRIMARY KEY, price numeric(12,2)) PARTITION BY RANGE (id);
         CREATE TABLE prices_1 PARTITION OF prices DEFAULT",
    );
    append(&log, &stream, &[price(1, 125), price(2, 275)]);
    while_it_runs(&db, &log, &stream, |_| {
        until("two rows are there", || count(&admin, "prices") == "2");
        admin.execute(
            "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER leave_out BEFORE INSERT ON prices_1
                FOR EACH ROW WHEN (new.id = 3) EXECUTE FUNCTION leave_out()",
        );
        append(&log, &stream, &[price(3, 1), price(4, 2)]);
        until("the fourth row is there", || count(&admin, "prices") == "3");
    })
    .unwrap();
    assert_eq!(db.rows(DEAD), ["2|not_stored|-"]);
    assert_exact(&db, &log.client, "bekk", &stream);
}
