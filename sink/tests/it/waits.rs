//! A sink's wait is visible, with its reason and since when: in the process and through the database.

use std::time::{Duration, SystemTime};

use bekk_sink::{Config, ConnectOptions, Control, LetterFilter, SinkWait, State, WaitCause};
use bekk_stream::{ColumnType, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{
    Db, Log, assert_exact, column, drain_with, opened, run_all_while, run_while, stream, until,
};

fn numbers(name: &str) -> Stream {
    stream(name, vec![column("id", ColumnType::Int8)])
}

fn append(log: &Log, stream: &Stream, ids: std::ops::Range<i64>) {
    let rows: Vec<_> = ids.map(|id| vec![Value::Int(id)]).collect();
    log.append(stream, 0, &rows);
}

fn waits(db: &Db, topic: &str) -> Vec<SinkWait> {
    bekk_sink::sink_waits(&db.options, "bekk", &[topic.to_owned()]).unwrap()
}

fn assert_no_faults(db: &Db, streams: &[Stream]) {
    let faults = bekk_sink::table_faults(&db.options, ("bekk", None), streams).unwrap();
    assert!(faults.is_empty(), "{faults:?}");
}

/// One stream's table is on a full disk, and later locked, while rows flow into the other one.
#[test]
fn a_wait_is_seen_while_another_stream_flows() {
    let (db, log) = (Db::new(), Log::new());
    let (full, other) = (numbers("full"), numbers("other"));
    let mut admin = Db::connect(db.options.clone());
    admin.execute(
        "CREATE TABLE \"full\" (id bigint PRIMARY KEY);
         CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER no_space BEFORE INSERT ON \"full\" EXECUTE FUNCTION no_space()",
    );
    for stream in [&full, &other] {
        log.open_stream(stream);
        append(&log, stream, 0..10);
    }
    let config = Config::new(db.options.clone());
    let streams = [full.clone(), other.clone()];
    let ((), ended) = run_all_while(&config, &log, &streams, Control::drain, |stats| {
        until("it waits", || stats.waiting().is_some());
        let since = stats.waiting().unwrap().since;
        for more in 1..5 {
            append(&log, &other, more * 10..more * 10 + 10);
            until("the other stream flows", || {
                db.one("SELECT count(*) FROM other") == (more * 10 + 10).to_string()
            });
            let is_seen =
                |reason: &str| reason.contains("No space left") && reason.contains("53100");
            assert_matches!(stats.state(), State::Waiting(reason) if is_seen(&reason));
        }
        assert_eq!(stats.waiting().unwrap().since, since);
        until("the database shows it", || !waits(&db, "full").is_empty());
        let found = waits(&db, "full").remove(0);
        assert!(found.wait.reason.contains("No space left"), "{found:?}");
        assert!(found.sink.contains(&std::process::id().to_string()));
        assert_eq!(found.cause, WaitCause::Refused);
        let off = found.wait.since.duration_since(since).unwrap_or_default();
        assert!(off < Duration::from_secs(1) && found.wait.since < SystemTime::now());
        assert!(waits(&db, "another project's").is_empty());

        admin.execute("DROP TRIGGER no_space ON \"full\"");
        until("it has continued", || stats.waiting().is_none());
        until("nothing is shown any more", || {
            waits(&db, "full").is_empty()
        });

        admin.execute("BEGIN; LOCK TABLE \"full\" IN ACCESS EXCLUSIVE MODE");
        let pid = admin.one("SELECT pg_backend_pid()").parse().unwrap();
        append(&log, &full, 10..20);
        until("the database shows the lock", || {
            waits(&db, "full")
                .iter()
                .any(|wait| wait.cause == WaitCause::Session(pid))
        });
        append(&log, &other, 50..60);
        db.await_one("SELECT count(*) FROM other", "60");
        // Asking for the state does not wait for the lock.
        assert_no_faults(&db, &streams);
        assert!(stats.stalled_for() > Duration::ZERO);
        admin.execute("COMMIT");
    });
    ended.unwrap();
    for stream in [&full, &other] {
        assert_exact(&db, &log.client, "bekk", stream);
    }
}

/// A session that ends by itself at no time holds a table when the sink is to stop: the batch that waits for it is
/// cancelled, and the next run applies it.
#[test]
fn a_stop_ends_a_batch_that_waits_for_a_lock() {
    let (db, log, stream) = opened(numbers("items"));
    append(&log, &stream, 0..10);
    let config = Config::new(db.options.clone());
    let mut admin = Db::connect(db.options.clone());
    run_while(&config, &log, &stream, Control::stop, |_stats| {
        until("the rows are there", || {
            db.one("SELECT coalesce(to_regclass('items')::text, '')") == "items"
                && db.one("SELECT count(*) FROM items") == "10"
        });
        admin.execute("BEGIN; LOCK TABLE items IN EXCLUSIVE MODE");
        append(&log, &stream, 10..20);
        until("the batch waits", || !waits(&db, "items").is_empty());
    });
    admin.execute("COMMIT");
    drain_with(&config, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
    assert_eq!(db.one("SELECT count(*) FROM items"), "20");
}

/// A role may have three connections, two of which are in use: the keeper has the third, and the worker waits. The next one
/// that is free is the worker's, and is not used to show the wait.
#[test]
fn a_wait_for_a_connection_takes_none() {
    let (mut db, log, stream) = opened(numbers("items"));
    let name = db.options.dbname.clone().unwrap();
    db.execute(&format!(
        "CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 3; ALTER DATABASE {name} OWNER TO few;
         ALTER SCHEMA public OWNER TO few"
    ));
    let mut options = db.options.clone();
    options.user = Some("few".to_owned());
    options.password = Some("few".to_owned());
    append(&log, &stream, 0..10);
    let [leaving, staying] = [(); 2].map(|()| Db::connect(options.clone()));
    let mut config = Config::new(options);
    config.connections = 1;
    run_while(&config, &log, &stream, Control::drain, |stats| {
        let lacks_connection = |reason: &str| reason.contains("too many connections");
        until("the worker waits for a connection", || {
            let holds = stats.positions().iter().any(|position| position.held);
            holds && matches!(stats.state(), State::Waiting(reason) if lacks_connection(&reason))
        });
        // By now the worker tries more seldom than the keeper looks.
        std::thread::sleep(Duration::from_secs(4));
        drop(leaving);
        db.await_one("SELECT count(*) FROM items", "10");
    });
    drop(staying);
}

/// What a command says that meets a lock.
type Command = fn(&ConnectOptions, &Log, &Stream) -> String;

fn said<T>(result: Result<T, bekk_sink::Error>) -> String {
    result.err().map_or_else(String::new, |e| e.to_string())
}

fn check(options: &ConnectOptions, _: &Log, stream: &Stream) -> String {
    match bekk_sink::check(options, std::slice::from_ref(stream)) {
        Ok(report) => [report.problems, report.tables[0].problems.clone()]
            .concat()
            .join("\n"),
        Err(error) => error.to_string(),
    }
}

fn audit(options: &ConnectOptions, log: &Log, stream: &Stream) -> String {
    let dir = tempfile::TempDir::new().unwrap();
    let audit = bekk_sink::audit_content(options, &log.client, "bekk", stream, dir.path());
    said(audit)
}

/// Another session has locked the stream's table, or a table of schema `bekk`. Each command ends soon, and names the table
/// and the session.
#[test]
fn a_command_that_meets_a_lock_names_table_and_session() {
    let lock = |table: &str| format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
    let set_up = "SELECT pg_advisory_xact_lock(1650814827)".to_owned();
    let cases: [(&str, String, Command); 14] = [
        ("public.items", lock("items"), check),
        ("public.items", lock("items"), audit),
        ("public.items", lock("items"), |options, _, stream| {
            said(bekk_sink::tables_with_rows(
                options,
                std::slice::from_ref(stream),
            ))
        }),
        ("public.items", lock("items"), |options, _, stream| {
            said(bekk_sink::adopt(
                options,
                "bekk",
                std::slice::from_ref(stream),
            ))
        }),
        ("bekk.offsets", lock("bekk.offsets"), audit),
        ("bekk.offsets", lock("bekk.offsets"), |options, _, _| {
            said(bekk_sink::list_offsets(options))
        }),
        ("bekk.offsets", lock("bekk.offsets"), |options, _, _| {
            let topics = ["items".to_owned()];
            said(bekk_sink::delete_group(options, "bekk", &topics))
        }),
        ("bekk.offsets", lock("bekk.offsets"), |options, _, _| {
            let topics = ["items".to_owned()];
            said(bekk_sink::sink_waits(options, "bekk", &topics))
        }),
        (
            "bekk.offsets",
            "SELECT FROM bekk.offsets FOR UPDATE".to_owned(),
            |options, _, stream| {
                said(bekk_sink::adopt(
                    options,
                    "bekk",
                    std::slice::from_ref(stream),
                ))
            },
        ),
        (
            "bekk.dead_letters",
            lock("bekk.dead_letters"),
            |options, _, _| said(bekk_sink::count_letters(options)),
        ),
        (
            "bekk.dead_letters",
            lock("bekk.dead_letters"),
            |options, _, _| {
                said(bekk_sink::discard_letters(
                    options,
                    &LetterFilter::default(),
                ))
            },
        ),
        ("bekk.migrations", lock("bekk.migrations"), check),
        (
            "bekk.migrations",
            lock("bekk.migrations"),
            |options, _, _| said(bekk_sink::schema_fault(options)),
        ),
        ("set-up of schema `bekk`", set_up, |options, _, _| {
            said(bekk_sink::repair_schema(options))
        }),
    ];
    let meets = |(table, lock, command): &(&str, String, Command)| {
        let (db, log, items) = opened(numbers("items"));
        append(&log, &items, 0..10);
        drain_with(&Config::new(db.options.clone()), &log, &items).unwrap();
        let mut admin = Db::connect(db.options.clone());
        let pid = admin.one("SELECT pg_backend_pid()");
        admin.execute(&format!("BEGIN; {lock}"));
        let said = command(&db.options, &log, &items);
        let is_named = said.contains(table) && said.contains(&format!("session {pid} "));
        assert!(is_named, "{lock}: {said}");
        admin.execute("COMMIT");
        assert_eq!(command(&db.options, &log, &items), "");
    };
    std::thread::scope(|scope| {
        for case in &cases {
            let meets = &meets;
            scope.spawn(move || meets(case));
        }
    });
}

/// A sink starts beside a session that has locked its table: it waits, names table and session, and continues.
#[test]
fn a_start_beside_a_locked_table_names_it() {
    let (db, log, items) = opened(numbers("items"));
    append(&log, &items, 0..10);
    let config = Config::new(db.options.clone());
    drain_with(&config, &log, &items).unwrap();
    append(&log, &items, 10..20);
    let mut admin = Db::connect(db.options.clone());
    let pid = admin.one("SELECT pg_backend_pid()");
    admin.execute("BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
    run_while(&config, &log, &items, Control::drain, |stats| {
        until("it names the lock", || {
            let reason = stats.waiting().map(|wait| wait.reason).unwrap_or_default();
            reason.contains(&format!("public.items is locked by session {pid} "))
        });
        admin.execute("COMMIT");
    });
    assert_exact(&db, &log.client, "bekk", &items);
}
