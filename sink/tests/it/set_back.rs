//! A server that loses its latest transactions under a running sink: rows and offset go back together, and the sink
//! continues by itself. If somebody set the offset back, it stops, because rows would come twice.

use std::path::Path;
use std::process::Command;

use bekk_postgres::Server;
use bekk_sink::{Error, Reset, State, Stats};
use bekk_stream::Stream;
use bekk_testing::assert_matches;
use tempfile::TempDir;

use crate::altered::while_it_runs;
use crate::harness::{
    Db, Log, assert_exact, drain, keyless, opened, reset, rows, stream_of, until,
};
use crate::strangers::Stranger;

/// Lines without a key: each record that is applied twice is one row too many.
fn lines() -> Stream {
    let mut stream = keyless(stream_of("lines", "id int8, name text"));
    stream.partitions = 2;
    stream
}

fn append(log: &Log, stream: &Stream, partition: u32, ids: std::ops::Range<i64>) {
    log.append(stream, partition, &rows(ids, "x"));
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

fn applied(stats: &Stats) -> u64 {
    stats.positions().iter().map(|position| position.next).sum()
}

/// Returns the error of a sink that applies 50 records to partition 0, and is stopped by what an administrator does.
fn stopped_by(sql: &str, db: &Db, log: &Log, stream: &Stream) -> Error {
    log.open_stream(stream);
    append(log, stream, 0, 0..50);
    let end: u64 = log
        .client
        .ends(&stream.name)
        .unwrap()
        .iter()
        .map(|end| end.get())
        .sum();
    let mut admin = Db::connect(db.options.clone());
    let stopped = while_it_runs(db, log, stream, |stats| {
        until("all is applied", || applied(stats) == end);
        admin.execute(sql);
        until("it has stopped", || stats.state() == State::Stopped);
    });
    stopped.unwrap_err()
}

/// The server is restored from a copy of its files while the sink runs and has nothing to do. It has written to one
/// partition since the copy was made, and the lease of the other has changed hands.
#[test]
fn a_server_restored_from_a_backup_is_continued_without_a_person() {
    let server = Server::temporary().unwrap();
    let (db, log, stream) = (Db::on(&server), Log::new(), lines());
    log.open_stream(&stream);
    append(&log, &stream, 0, 0..50);
    append(&log, &stream, 1, 100..150);
    drain(&db, &log, &stream).unwrap();
    let backup = TempDir::new().unwrap();
    let (data, copied) = (server.data_dir(), backup.path().join("data"));
    server.kill();
    copy(data, &copied);
    server.restart().unwrap();
    while_it_runs(&db, &log, &stream, |stats| {
        append(&log, &stream, 0, 200..250);
        until("all is applied", || applied(stats) == 150);
        server.kill();
        std::fs::remove_dir_all(data).unwrap();
        copy(&copied, data);
        server.restart().unwrap();
        let db = Db::connect(db.options.clone());
        db.await_one("SELECT count(*) FROM lines", "150");
        append(&log, &stream, 1, 300..310);
    })
    .unwrap();
    let db = Db::connect(db.options.clone());
    assert_exact(&db, &log.client, "bekk", &stream);
    assert_eq!(db.one("SELECT count(*) FROM lines"), "160");
}

/// Somebody sets the offset of a sink that has nothing to do: it stops at once, and the advice doubles nothing.
#[test]
fn an_offset_that_was_set_back_stops_the_sink() {
    let (db, log, stream) = (Db::new(), Log::new(), lines());
    let set = "UPDATE bekk.offsets SET next = next - 10 WHERE partition = 0";
    let error = stopped_by(set, &db, &log, &stream);
    assert_matches!(
        error,
        Error::OffsetMoved {
            from: 50,
            next: 40,
            ..
        }
    );
    let advice = "bekk offsets reset --group bekk --stream lines --partition 0 --to 50 --execute";
    assert!(error.to_string().contains(advice), "{error}");
    // After a dump was restored, that would leave out rows.
    let restored = "If the table was restored with it, start the sink again";
    assert!(error.to_string().contains(restored), "{error}");
    reset(&db, &log, "lines", (0, 50));
    append(&log, &stream, 0, 50..60);
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// Schema `bekk` alone is restored from a backup while no sink runs: the rows after the offsets would come twice. If they
/// are gone as well, the sink continues by itself.
#[test]
fn offsets_restored_without_their_rows_are_refused() {
    let (mut db, log, stream) = opened(lines());
    append(&log, &stream, 0, 0..50);
    drain(&db, &log, &stream).unwrap();
    db.execute("CREATE TABLE saved AS TABLE bekk.offsets");
    append(&log, &stream, 0, 50..55);
    append(&log, &stream, 1, 100..110);
    drain(&db, &log, &stream).unwrap();
    db.execute("DELETE FROM bekk.offsets; INSERT INTO bekk.offsets TABLE saved");
    let error = drain(&db, &log, &stream).unwrap_err();
    assert_matches!(error, Error::OtherTarget { .. });
    let expected = "has 65 rows, while up to these offsets 50 were inserted";
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(db.one("SELECT count(*) FROM lines"), "65");
    db.execute("DELETE FROM lines WHERE id >= 50");
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);

    // Another program's rows are none of the group's, and a person says that the offsets are right.
    db.execute(
        "TRUNCATE saved; INSERT INTO saved TABLE bekk.offsets; INSERT INTO lines VALUES (1000, 'y')",
    );
    append(&log, &stream, 0, 55..60);
    drain(&db, &log, &stream).unwrap();
    db.execute(
        "DELETE FROM lines WHERE id BETWEEN 55 AND 59; DELETE FROM bekk.offsets;
         INSERT INTO bekk.offsets TABLE saved",
    );
    drain(&db, &log, &stream).unwrap_err();
    let offsets = bekk_sink::list_offsets(&db.options).unwrap();
    let resets = offsets.into_iter().map(|offset| Reset {
        topic: offset.topic,
        partition: offset.partition,
        next: offset.next,
        mark: offset.mark,
    });
    let log_id = log.client.log_id().to_string();
    bekk_sink::reset_offsets(
        &db.options,
        "bekk",
        &log_id,
        None,
        &resets.collect::<Vec<_>>(),
    )
    .unwrap();
    drain(&db, &log, &stream).unwrap();
    assert_eq!(
        db.one("SELECT count(*), count(DISTINCT id) FROM lines"),
        "71|71"
    );
}

/// A server that was set back to a time before the group existed has neither rows nor offsets. To restore the offsets
/// alone would lose the rows.
#[test]
fn a_group_that_is_gone_is_not_restored() {
    let (db, log, stream) = (Db::new(), Log::new(), lines());
    let lose = "DELETE FROM bekk.groups; DELETE FROM bekk.offsets; TRUNCATE lines";
    let error = stopped_by(lose, &db, &log, &stream);
    assert_matches!(error, Error::GroupLost { .. });
    assert_eq!(db.rows("SELECT FROM bekk.offsets").len(), 0);
}

/// The address of a running sink leads to another server, as after a failover to one that is no standby of the first,
/// though it was filled by the same group.
#[test]
fn another_server_at_the_same_address_is_refused() {
    let (first, second) = (Db::new(), Db::new());
    let (log, stream) = (Log::new(), lines());
    log.open_stream(&stream);
    append(&log, &stream, 0, 0..50);
    drain(&second, &log, &stream).unwrap();
    // The log remembers the group, which the first database does not know.
    bekk_sink::forget_in_log(&log.client, "bekk", std::slice::from_ref(&stream.name)).unwrap();
    let name = |db: &Db| db.options.dbname.clone().unwrap();
    let (first_name, second_name) = (name(&first), name(&second));
    let mut admin = first.options.clone();
    admin.dbname = Some("postgres".to_owned());
    let admin = Db::connect(admin);
    drop(second);
    drain(&first, &log, &stream).unwrap();
    let error = while_it_runs(&first, &log, &stream, |stats| {
        until("it runs", || applied(stats) == 50);
        append(&log, &stream, 0, 50..60);
        until("all is applied", || applied(stats) == 60);
        until("the databases have changed their names", || {
            let swap = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('{first_name}', '{second_name}');
                 ALTER DATABASE {first_name} RENAME TO {first_name}_old;
                 ALTER DATABASE {second_name} RENAME TO {first_name}"
            );
            let swapped = admin.runtime.block_on(admin.client().batch_execute(&swap));
            swapped.is_ok()
        });
        append(&log, &stream, 0, 60..70);
        until("it has stopped", || stats.state() == State::Stopped);
    })
    .unwrap_err();
    assert_matches!(error, Error::OtherServer { .. });
    let other = Db::connect(first.options.clone());
    assert_eq!(other.one("SELECT count(*) FROM lines"), "50");
}

/// Schema `bekk` is dropped and restored from a dump, which is whole, under a sink that has nothing to do; then the
/// schema is made again by a role whose triggers would have the sink's rights.
#[test]
fn a_schema_that_is_made_again_stops_the_sink() {
    const RESTORE: &str = "\
        BEGIN; ALTER SCHEMA bekk RENAME TO before; CREATE SCHEMA bekk;
        CREATE TABLE bekk.offsets (LIKE before.offsets INCLUDING ALL);
        CREATE TABLE bekk.groups (LIKE before.groups INCLUDING ALL);
        CREATE TABLE bekk.migrations (LIKE before.migrations INCLUDING ALL);
        CREATE TABLE bekk.dead_letters (LIKE before.dead_letters INCLUDING ALL);
        INSERT INTO bekk.offsets SELECT * FROM before.offsets;
        INSERT INTO bekk.groups SELECT * FROM before.groups;
        INSERT INTO bekk.migrations SELECT * FROM before.migrations;
        DROP SCHEMA before CASCADE;";
    let (mut db, log, stream) = (Db::new(), Log::new(), lines());
    let error = stopped_by(&format!("{RESTORE} COMMIT"), &db, &log, &stream);
    assert_matches!(error, Error::SchemaReplaced);
    append(&log, &stream, 0, 50..60);
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);

    let stranger = Stranger::new(&mut db);
    let role = &stranger.role;
    let by_stranger = format!(
        "{RESTORE}
        CREATE TABLE caught (by_role name); GRANT ALL ON caught TO PUBLIC; GRANT CREATE ON SCHEMA public TO {role};
        CREATE FUNCTION caught() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO public.caught VALUES (current_user); RETURN new; END';
        ALTER FUNCTION caught() OWNER TO {role}; ALTER SCHEMA bekk OWNER TO {role}; ALTER TABLE bekk.offsets OWNER TO {role};
        CREATE TRIGGER caught BEFORE INSERT OR UPDATE ON bekk.offsets FOR EACH ROW EXECUTE FUNCTION caught(); COMMIT"
    );
    let error = stopped_by(&by_stranger, &db, &log, &stream);
    // A new session sees the owner first.
    assert_matches!(error, Error::SchemaReplaced | Error::ForeignObject { .. });
    assert_eq!(db.one("SELECT count(*) FROM caught"), "0");
    let error = drain(&db, &log, &stream).unwrap_err();
    assert_matches!(error, Error::ForeignObject { .. });
}

/// The schema is restored while batches follow each other: none moves an offset in the new table.
#[test]
fn no_batch_goes_on_in_a_schema_that_was_made_again() {
    let (mut db, log, stream) = opened(lines());
    append(&log, &stream, 0, 0..50);
    let mut admin = Db::connect(db.options.clone());
    let stopped = while_it_runs(&db, &log, &stream, |stats| {
        until("all is applied", || applied(stats) == 50);
        // An older copy of one table, which is newer than the sink's last write, with a trigger that may not run.
        admin.execute(
            "BEGIN; ALTER TABLE bekk.offsets RENAME TO before;
             CREATE TABLE bekk.offsets (LIKE bekk.before INCLUDING ALL);
             INSERT INTO bekk.offsets SELECT * FROM bekk.before; DROP TABLE bekk.before;
             CREATE FUNCTION caught() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''by the trigger''; END';
             CREATE TRIGGER caught BEFORE UPDATE ON bekk.offsets FOR EACH ROW EXECUTE FUNCTION caught(); COMMIT",
        );
        append(&log, &stream, 0, 50..60);
        until("it has stopped", || stats.state() == State::Stopped);
    });
    assert_matches!(stopped.unwrap_err(), Error::SchemaReplaced);
    assert_eq!(db.one("SELECT count(*) FROM lines"), "50");
    db.execute("DROP FUNCTION caught() CASCADE");
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
}
