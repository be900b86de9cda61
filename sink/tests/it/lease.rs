//! Leases: one sink at a time writes a partition, whoever else believes it may.

use std::time::{Duration, Instant};

use bekk_sink::{Config, Control, Stats, Summary, WaitCause};
use bekk_stream::{Stream, Value};

use crate::harness::{
    Db, Log, assert_exact, drain_with, held, opened, run_while, stream_of, until,
};

fn numbers(partitions: u32) -> Stream {
    let mut stream = stream_of("numbers", "id int8");
    stream.partitions = partitions;
    stream
}

fn append(log: &Log, stream: &Stream, partition: u32, ids: std::ops::Range<i64>) {
    let rows: Vec<_> = ids.map(|id| vec![Value::Int(id)]).collect();
    log.append(stream, partition, &rows);
}

/// A sink that runs while `act` does.
fn with_sink<T>(
    db: &Db,
    log: &Log,
    stream: &Stream,
    act: impl FnOnce(&Stats) -> T,
) -> (T, Summary) {
    let config = Config::new(db.options.clone());
    run_while(&config, log, stream, Control::stop, act)
}

#[test]
fn who_has_lost_the_lease_writes_nothing() {
    let (mut db, log, stream) = opened(numbers(1));
    let mut other = Db::connect(db.options.clone());
    other.execute("SET application_name = 'another sink'");
    let ((), summary) = with_sink(&db_again(&db), &log, &stream, |stats| {
        until("the lease is held", || held(stats) == 1);
        append(&log, &stream, 0, 0..10);
        db.await_one("SELECT count(*) FROM numbers", "10");
        // Another takes the partition: no statement of ours may land from here on.
        db.execute(
            "UPDATE bekk.offsets SET epoch = epoch + 1, owner = 'another sink',
                    lease_until = now() + interval '1 hour'",
        );
        append(&log, &stream, 0, 10..20);
        until("it has noticed", || held(stats) == 0);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(db.one("SELECT count(*) FROM numbers"), "10");
        // That one's backend goes: the lease is free at once, an hour early.
        drop(other);
        let begun = Instant::now();
        db.await_one("SELECT count(*) FROM numbers", "20");
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    });
    assert_eq!(summary.rows, 20);
    assert_eq!(
        db.one("SELECT owner IS NULL AND lease_until IS NULL FROM bekk.offsets"),
        "t"
    );
    assert_exact(&db, &log.client, "bekk", &stream);
}

fn db_again(db: &Db) -> Db {
    Db::connect(db.options.clone())
}

/// A sink that a signal has stopped in the middle of a batch: its transaction holds the row, its backends
/// are there, and nothing has been heard of it for longer than a lease.
#[test]
fn an_expired_lease_is_taken_and_its_backends_are_ended() {
    let (mut db, log, stream) = opened(numbers(2));
    let (owner, _) = with_sink(&db_again(&db), &log, &stream, |stats| {
        until("held", || held(stats) == 2);
        db.one("SELECT DISTINCT owner FROM bekk.offsets")
    });
    // Another member of the same group.
    let stopped_name = format!("{}ffff", &owner[..owner.len() - 4]);
    db.execute(&format!(
        "UPDATE bekk.offsets SET owner = '{stopped_name}', epoch = epoch + 1,
                lease_until = now() - interval '1 second'"
    ));
    let mut stopped = Db::connect(db.options.clone());
    stopped.execute(&format!("SET application_name = '{stopped_name}'"));
    stopped.execute("BEGIN; UPDATE bekk.offsets SET next = 99");
    append(&log, &stream, 0, 0..10);
    append(&log, &stream, 1, 10..20);
    let ((), summary) = with_sink(&db_again(&db), &log, &stream, |_| {
        db.await_one("SELECT count(*) FROM numbers", "20");
    });
    assert_eq!(summary.rows, 20);
    until("its backend has ended", || stopped.client().is_closed());
    assert_eq!(db.rows("SELECT next FROM bekk.offsets"), ["10", "10"]);
    assert_exact(&db, &log.client, "bekk", &stream);
}

#[test]
fn two_sinks_share_the_partitions_and_one_that_leaves_is_replaced() {
    let (db, log, stream) = opened(numbers(4));
    let ((), first) = with_sink(&db_again(&db), &log, &stream, |stats| {
        until("it holds all", || held(stats) == 4);
        for partition in 0..4 {
            append(
                &log,
                &stream,
                partition,
                i64::from(partition) * 1_000..i64::from(partition) * 1_000 + 100,
            );
        }
        let ((), second) = with_sink(&db_again(&db), &log, &stream, |other| {
            until("each holds two", || held(stats) == 2 && held(other) == 2);
            for partition in 0..4 {
                let start = i64::from(partition) * 1_000 + 100;
                append(&log, &stream, partition, start..start + 100);
            }
            db.await_one("SELECT count(*) FROM numbers", "800");
        });
        assert!(second.rows >= 200, "{second:?}");
        until("it holds all again", || held(stats) == 4);
        append(&log, &stream, 3, 3_200..3_300);
        db.await_one("SELECT count(*) FROM numbers", "900");
    });
    assert!(first.rows >= 300, "{first:?}");
    assert_eq!(
        db.one("SELECT sum(rows + superseded), sum(superseded) FROM bekk.offsets"),
        "900|0"
    );
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// Two sinks of a group use different roles of the database. Neither takes the other's partitions as long as that one is
/// alive, each sees what the other waits for, and one takes all when the other is gone.
#[test]
fn sinks_of_two_roles_share_a_group() {
    let (mut db, log, stream) = opened(numbers(2));
    let config = Config::new(db.options.clone());
    drain_with(&config, &log, &stream).unwrap();
    let name = db.options.dbname.clone().unwrap();
    let password = db.options.password.clone().unwrap();
    let roles = ["one", "two"].map(|role| {
        let role = format!("{role}_{name}");
        db.execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{password}'; GRANT USAGE ON SCHEMA bekk TO {role};
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA bekk, public TO {role}"
        ));
        let mut options = db.options.clone();
        options.user = Some(role);
        Db::connect(options)
    });
    let epochs = || db.one("SELECT sum(epoch) FROM bekk.offsets");
    let mut admin = Db::connect(db.options.clone());
    with_sink(&roles[0], &log, &stream, |one| {
        until("one has both", || held(one) == 2);
        with_sink(&roles[1], &log, &stream, |two| {
            until("they share", || held(one) == 1 && held(two) == 1);
            let before = epochs();
            for number in 0..20 {
                for partition in 0..2 {
                    append(&log, &stream, partition, number..number + 1);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            let rows = || db.one("SELECT count(*) FROM numbers");
            until("the rows are there", || rows() == "20");
            assert_eq!(
                epochs(),
                before,
                "a lease was taken from a sink that is alive"
            );

            // Each role sees that the other's sink waits for a lock, and who holds it.
            let pid: i32 = admin.one("SELECT pg_backend_pid()").parse().unwrap();
            for (waiting, viewer, id) in [(one, &roles[1], 20), (two, &roles[0], 21)] {
                admin.execute("BEGIN; LOCK TABLE numbers IN EXCLUSIVE MODE");
                let positions = waiting.positions();
                let held = positions.iter().find(|position| position.held).unwrap();
                append(&log, &stream, held.partition, id..id + 1);
                until("the wait is seen", || {
                    let topics = [stream.name.clone()];
                    let waits = bekk_sink::sink_waits(&viewer.options, "bekk", &topics).unwrap();
                    waits
                        .iter()
                        .any(|wait| wait.cause == WaitCause::Session(pid))
                });
                admin.execute("COMMIT");
                until("it has continued", || rows() == (id + 1).to_string());
            }
        });
        until("one has both again", || held(one) == 2);
    });
    assert_exact(&db, &log.client, "bekk", &stream);
}
