//! What a sink makes before its first batch, and who may.

use bekk_log::Offset;
use bekk_sink::{Config, Control, Error, State, Stats};
use bekk_stream::Value;
use bekk_testing::assert_matches;

use crate::harness::{
    Db, Log, StopOnDrop, assert_exact, drain, drain_with, opened, run_while, text, two_columns,
    until,
};

#[test]
fn a_newer_schema_is_refused() {
    let (mut db, log) = (Db::new(), Log::new());
    drain(&db, &log, &two_columns()).unwrap();
    db.execute("INSERT INTO bekk.migrations VALUES (999, 'from the future')");
    let error = drain(&db, &log, &two_columns()).unwrap_err();
    assert_matches!(error, Error::NewerSchema { found: 999, .. });
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

/// A second group whose database has been away since its first start, while another group has applied everything: the
/// retention must know of it, and the database must not be taken for another one when it comes.
#[test]
fn records_are_kept_for_a_group_that_has_never_reached_its_database() {
    let (db, log, stream) = opened(two_columns());
    let row = [vec![Value::Int(1), text("x")]];
    log.append(&stream, 0, &row);
    drain(&db, &log, &stream).unwrap();
    let other = Db::new();
    let mut config = Config::new(other.options.clone());
    config.group = "second".to_owned();
    let committed = || log.client.committed_offsets("second", "items").unwrap();
    let mut away = config.clone();
    // Nothing listens there: the port was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    away.postgres.host = "127.0.0.1".to_owned();
    away.postgres.port = free.local_addr().unwrap().port();
    drop(free);
    run_while(&away, &log, &stream, Control::stop, |_| {
        until("the log knows the group", || !committed().is_empty());
    });
    assert!(committed().iter().all(|(_, next)| *next == Offset::ZERO));
    assert_eq!(drain_with(&config, &log, &stream).unwrap().rows, 1);
    assert!(committed().contains(&(0, Offset::new(1))));
}

#[test]
fn a_plain_user_who_owns_his_database_is_enough() {
    let (mut db, log, stream) = opened(two_columns());
    let name = db.options.dbname.clone().unwrap();
    db.execute(&format!(
        "CREATE ROLE plain_user LOGIN PASSWORD 'plain'; ALTER DATABASE {name} OWNER TO plain_user;
         ALTER SCHEMA public OWNER TO plain_user"
    ));
    let mut config = Config::new(db.options.clone());
    config.postgres.user = Some("plain_user".to_owned());
    config.postgres.password = Some("plain".to_owned());
    log.append(&stream, 0, &[vec![Value::Int(1), text("x")]]);
    assert_eq!(drain_with(&config, &log, &stream).unwrap().rows, 1);
    log.append(&stream, 0, &[vec![Value::Int(1), text("y")]]);
    assert_eq!(drain_with(&config, &log, &stream).unwrap().superseded, 1);
}

/// A role whose statements may take no longer than a millisecond: the catalog cannot be read in that time.
#[test]
fn a_time_limit_of_the_role_is_named_with_its_remedy() {
    let (db, log, items) = opened(two_columns());
    let mut options = db.options.clone();
    options.options = Some("-c statement_timeout=1ms".to_owned());
    let named = |text: &str| text.contains("ALTER ROLE … SET statement_timeout");
    let error = bekk_sink::list_offsets(&options).unwrap_err().to_string();
    assert!(named(&error), "{error}");
    run_while(
        &Config::new(options),
        &log,
        &items,
        Control::stop,
        |stats| {
            until("it waits, and names the limit", || {
                stats.waiting().is_some_and(|wait| named(&wait.reason))
            });
        },
    );
}

/// Parts of schema `bekk` are dropped, renamed or moved, before a start and under a running sink. Each is named, with a
/// command that brings it back, and no command takes the schema for one that was never used.
#[test]
fn a_part_of_the_schema_that_is_missing_is_named() {
    let (mut db, log, items) = opened(two_columns());
    let mut next = 0;
    let mut append = || {
        next += 1;
        let row = [vec![Value::Int(next), text("x")]];
        log.append_rows("items", 0, &items.schema(), &row);
    };
    append();
    drain(&db, &log, &items).unwrap();
    // What is done to the schema, and the command that helps; none where a backup is needed.
    let cases = [
        (
            "ALTER TABLE bekk.dead_letters RENAME TO letters",
            "ALTER TABLE bekk.\"letters\" RENAME TO dead_letters",
        ),
        (
            "CREATE SCHEMA old; ALTER TABLE bekk.offsets SET SCHEMA old",
            "ALTER TABLE \"old\".\"offsets\" SET SCHEMA bekk",
        ),
        (
            "ALTER TABLE bekk.groups DROP CONSTRAINT groups_pkey",
            "CREATE UNIQUE INDEX ON bekk.groups (group_name, topic)",
        ),
        (
            "ALTER TABLE bekk.migrations RENAME COLUMN version TO number",
            "ALTER TABLE bekk.migrations RENAME COLUMN \"number\" TO \"version\"",
        ),
        (
            "ALTER TABLE bekk.offsets RENAME COLUMN next TO last; ALTER TABLE bekk.offsets RENAME COLUMN dead TO lost",
            "ALTER TABLE bekk.offsets RENAME COLUMN \"last\" TO \"next\"; \
             ALTER TABLE bekk.offsets RENAME COLUMN \"lost\" TO \"dead\"",
        ),
        (
            "ALTER TABLE bekk.dead_letters RENAME COLUMN stream TO source",
            "ALTER TABLE bekk.dead_letters RENAME COLUMN \"source\" TO \"stream\"",
        ),
        (
            "ALTER TABLE bekk.groups RENAME COLUMN table_name TO relation",
            "ALTER TABLE bekk.groups RENAME COLUMN \"relation\" TO \"table_name\"",
        ),
        (
            "ALTER TABLE bekk.groups RENAME TO groups_2; CREATE VIEW bekk.groups AS SELECT * FROM bekk.groups_2",
            "drop or rename the view bekk.groups",
        ),
        (
            "TRUNCATE bekk.migrations",
            "DROP TABLE bekk.migrations, then: bekk check --repair",
        ),
        (
            "ALTER TABLE bekk.migrations DROP COLUMN version",
            "DROP TABLE bekk.migrations, then: bekk check --repair",
        ),
        (
            "ALTER TABLE bekk.dead_letters SET UNLOGGED",
            "ALTER TABLE bekk.dead_letters SET LOGGED",
        ),
        ("DROP TABLE bekk.dead_letters", "bekk check --repair"),
        ("DROP TABLE bekk.groups", "bekk check --repair"),
        ("DROP TABLE bekk.migrations", "bekk check --repair"),
    ];
    for (broken, helps) in cases {
        let (config, control, stats) = (
            Config::new(db.options.clone()),
            Control::new(),
            Stats::default(),
        );
        append();
        let stopped = std::thread::scope(|scope| {
            let _stop = StopOnDrop(&control);
            let streams = std::slice::from_ref(&items);
            let sink =
                scope.spawn(|| bekk_sink::run(&config, streams, &log.client, &stats, &control));
            until("the sink runs", || {
                stats.state() == State::Running && stats.lag() == 0
            });
            db.execute(broken);
            // A record that becomes a dead letter, and one that does not.
            log.append_raw("items", 0, &[b"no payload".to_vec()]);
            append();
            until("it ends, or is done", || {
                sink.is_finished() || stats.lag() == 0
            });
            control.stop();
            sink.join().unwrap()
        });
        let named = |error: &Error| matches!(error, Error::SchemaIncomplete { advice, .. } if advice.contains(helps));
        if let Err(error) = &stopped {
            assert!(named(error), "{broken}: {error}");
        }
        let error = drain(&db, &log, &items).unwrap_err();
        assert!(named(&error), "{broken}: {error}");
        let report = bekk_sink::check(&db.options, std::slice::from_ref(&items)).unwrap();
        assert!(report.problems[0].contains(helps), "{:?}", report.problems);
        let fault = bekk_sink::schema_fault(&db.options).unwrap().unwrap();
        assert!(fault.advice.contains(helps), "{fault:?}");
        for read in [
            bekk_sink::list_offsets(&db.options).map(|_| ()),
            bekk_sink::count_letters(&db.options).map(|_| ()),
        ] {
            // Those that read another table may go on.
            if let Err(error) = read {
                assert!(named(&error), "{broken}: {error}");
            }
        }
        if helps != "bekk check --repair" {
            assert!(bekk_sink::repair_schema(&db.options).unwrap().is_empty());
            match helps.split_once(", then: ") {
                Some((drop, _)) => db.execute(drop),
                None if helps.contains("view") => db.execute(
                    "DROP VIEW bekk.groups; ALTER TABLE bekk.\"groups_2\" RENAME TO groups",
                ),
                None => db.execute(helps),
            }
        }
        if helps.ends_with("bekk check --repair") {
            assert_eq!(bekk_sink::repair_schema(&db.options).unwrap().len(), 1);
        }
        assert_eq!(bekk_sink::schema_fault(&db.options).unwrap(), None);
        drain(&db, &log, &items).unwrap();
    }
    // An empty table of offsets is filled by nobody before a person has decided.
    db.execute("DROP TABLE bekk.offsets");
    assert_eq!(bekk_sink::repair_schema(&db.options).unwrap(), ["offsets"]);
    let error = drain(&db, &log, &items).unwrap_err();
    assert_matches!(error, Error::OtherTarget { .. });
    // The tables are as those of a new database.
    let fresh = Db::new();
    drain(&fresh, &Log::new(), &items).ok();
    let shape = |db: &Db| {
        db.rows(
            "SELECT c.relname, a.attname, a.atttypid::regtype, a.attnotnull, a.attidentity
               FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
              WHERE c.relnamespace = 'bekk'::regnamespace ORDER BY c.relname, a.attnum",
        )
    };
    assert_eq!(shape(&db), shape(&fresh));
    assert_eq!(
        db.rows("SELECT version, name FROM bekk.migrations ORDER BY 1"),
        fresh.rows("SELECT version, name FROM bekk.migrations ORDER BY 1")
    );
}

/// Row-level security hides rows of schema `bekk` from the sink's role, before a start and under a running sink. A partition
/// or a dead letter that is not seen would count as one that does not exist.
#[test]
fn row_level_security_of_the_schema_is_named() {
    let (mut db, log, items) = (Db::new(), Log::new(), two_columns());
    let mut admin = Db::connect(db.options.clone());
    let name = db.options.dbname.clone().unwrap();
    admin.execute(&format!(
        "CREATE ROLE secured_{name} LOGIN PASSWORD 'word'; GRANT CREATE, TEMPORARY ON DATABASE {name} TO secured_{name};
         GRANT CREATE ON SCHEMA public TO secured_{name}"
    ));
    db.options.user = Some(format!("secured_{name}"));
    db.options.password = Some("word".to_owned());
    log.open_stream(&items);
    log.append(&items, 0, &[vec![Value::Int(1), text("x")]]);
    drain(&db, &log, &items).unwrap();
    for table in ["migrations", "groups", "offsets", "dead_letters"] {
        let helps = format!("ALTER TABLE bekk.{table} DISABLE ROW LEVEL SECURITY");
        let named = |error: &Error| matches!(error, Error::SchemaIncomplete { advice, .. } if *advice == helps);
        let (config, control, stats) = (
            Config::new(db.options.clone()),
            Control::new(),
            Stats::default(),
        );
        let stopped = std::thread::scope(|scope| {
            let _stop = StopOnDrop(&control);
            let streams = std::slice::from_ref(&items);
            let sink =
                scope.spawn(|| bekk_sink::run(&config, streams, &log.client, &stats, &control));
            until("the sink runs", || stats.state() == State::Running);
            admin.execute(&format!(
                "ALTER TABLE bekk.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
            ));
            log.append_raw("items", 0, &[b"no payload".to_vec()]);
            until("it ends, or is done", || {
                sink.is_finished() || stats.lag() == 0
            });
            control.stop();
            sink.join().unwrap()
        });
        if ["offsets", "dead_letters"].contains(&table) {
            let error = stopped.unwrap_err();
            assert!(named(&error), "{table}: {error}");
        }
        let error = drain(&db, &log, &items).unwrap_err();
        assert!(named(&error), "{table}: {error}");
        let fault = bekk_sink::schema_fault(&db.options).unwrap().unwrap();
        assert_eq!(fault.advice, helps);
        admin.execute(&helps);
        drain(&db, &log, &items).unwrap();
    }
}

/// A trigger on bekk.offsets keeps offsets where they are. The rows of each batch would be there again after the next start.
#[test]
fn a_trigger_that_holds_an_offset_stops_the_sink() {
    let mut lines = two_columns();
    lines.key.clear();
    lines.on_conflict = bekk_stream::OnConflict::Append;
    let (mut db, log) = (Db::new(), Log::new());
    log.open_stream(&lines);
    let append = |id| log.append(&lines, 0, &[vec![Value::Int(id), text("x")]]);
    append(0);
    drain(&db, &log, &lines).unwrap();
    for (id, body) in [
        (1, "new.next := old.next; RETURN new;"),
        (
            2,
            "IF new.next <> old.next THEN RETURN NULL; END IF; RETURN new;",
        ),
        (3, "RETURN NULL;"),
    ] {
        db.execute(&format!(
            "CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
             CREATE TRIGGER \"Hold\" BEFORE UPDATE ON bekk.offsets FOR EACH ROW EXECUTE FUNCTION hold()"
        ));
        append(id);
        let error = drain(&db, &log, &lines).unwrap_err();
        let Error::OffsetsLeftOut { advice } = &error else {
            panic!("{body} {error}");
        };
        assert_eq!(advice, "DROP TRIGGER \"Hold\" ON bekk.offsets");
        assert_eq!(db.one("SELECT count(*) FROM items"), id.to_string());
        db.execute(advice);
        drain(&db, &log, &lines).unwrap();
    }
    // One that changes neither is of no concern.
    db.execute(
        "CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN new.updated_at := now(); RETURN new; END $$;
         CREATE TRIGGER touch BEFORE UPDATE ON bekk.offsets FOR EACH ROW EXECUTE FUNCTION hold()",
    );
    append(4);
    drain(&db, &log, &lines).unwrap();
    assert_exact(&db, &log.client, "bekk", &lines);
}
