//! What a sink makes before its first batch, and who may.

use bekk_log::Offset;
use bekk_sink::{Config, Control, Error, Stats};
use bekk_stream::Value;

use crate::harness::{Db, Log, drain, drain_with, text, two_columns, until};

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

/// A second group whose database has been away since its first start, while another group has applied everything: the
/// retention must know of it, and the database must not be taken for another one when it comes.
#[test]
fn records_are_kept_for_a_group_that_has_never_reached_its_database() {
    let (db, log) = (Db::new(), Log::new());
    let stream = two_columns();
    log.open_stream(&stream);
    let row = [vec![Value::Int(1), text("x")]];
    log.append_rows("items", 0, &stream.schema(), &row);
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
    let (stats, control) = (Stats::default(), Control::new());
    std::thread::scope(|scope| {
        let streams = std::slice::from_ref(&stream);
        let sink = || bekk_sink::run(&away, streams, &log.client, &stats, &control);
        let sink = scope.spawn(sink);
        until("the log knows the group", || !committed().is_empty());
        control.stop();
        sink.join().unwrap().unwrap();
    });
    assert!(committed().iter().all(|(_, next)| *next == Offset::ZERO));
    assert_eq!(drain_with(&config, &log, &stream).unwrap().rows, 1);
    assert!(committed().contains(&(0, Offset::new(1))));
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
