//! Groups: the log and the table that are theirs, where they start, where they are set.

use std::time::Duration;

use bekk_sink::{Config, Control, Error, Refusal, RefusalKind, Start};
use bekk_stream::{OnConflict, Value};
use bekk_testing::assert_matches;

use crate::harness::{
    Db, Log, assert_exact, assert_says, drain, drain_with, held, opened, rows, run_while, text,
    try_reset, two_columns, until,
};

#[test]
fn another_log_is_refused_with_the_command_that_helps() {
    let (db, log, stream) = opened(two_columns());
    log.append(&stream, 0, &[vec![Value::Int(1), text("x")]]);
    drain(&db, &log, &stream).unwrap();
    let other = Log::new();
    let error = drain(&db, &other, &stream).unwrap_err();
    assert_matches!(error, Error::OtherLog { .. });
    let text = error.to_string();
    assert!(text.contains(&log.client.log_id().to_string()), "{text}");
    assert_says(
        &text,
        &["bekk offsets reset --group bekk --stream items --to earliest --instead-of"],
    );
    assert_exact(&db, &log.client, "bekk", &stream);
}

#[test]
fn another_table_or_database_is_refused() {
    let (db, log, stream) = opened(two_columns());
    log.append(&stream, 0, &[vec![Value::Int(1), text("x")]]);
    drain(&db, &log, &stream).unwrap();
    let mut elsewhere = stream.clone();
    elsewhere.table.name = "shadow".to_owned();
    let error = drain(&db, &log, &elsewhere).unwrap_err();
    assert_matches!(error, Error::OtherTarget { .. });
    // The refusal leaves nothing behind.
    assert_eq!(db.one("SELECT to_regclass('shadow') IS NULL"), "t");
    let other_db = Db::new();
    let error = drain(&other_db, &log, &stream).unwrap_err();
    assert_matches!(error, Error::OtherTarget { .. });
    // Once it has been forgotten, it starts there anew.
    let topics = ["items".to_owned()];
    assert_eq!(
        bekk_sink::partitions_in_log(&log.client, "bekk", &topics).unwrap(),
        1
    );
    bekk_sink::forget_in_log(&log.client, "bekk", &topics).unwrap();
    assert_eq!(drain(&other_db, &log, &stream).unwrap().rows, 1);
    // Another group may at once.
    let mut config = Config::new(db.options.clone());
    config.group = "shadow".to_owned();
    assert_eq!(drain_with(&config, &log, &elsewhere).unwrap().rows, 1);
    assert_exact(&db, &log.client, "shadow", &elsewhere);
    for db in [&db, &other_db] {
        assert_exact(db, &log.client, "bekk", &stream);
    }
}

#[test]
fn a_new_group_starts_where_it_is_told() {
    let (db, log, stream) = opened(two_columns());
    log.append(&stream, 0, &rows(0..10, "x"));
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
fn an_offset_beyond_the_log_is_refused() {
    let (mut db, log, stream) = opened(two_columns());
    log.append(&stream, 0, &[vec![Value::Int(1), text("x")]]);
    drain(&db, &log, &stream).unwrap();
    // As if the log had been put back from an older copy.
    db.execute("UPDATE bekk.offsets SET next = 100");
    let error = drain(&db, &log, &stream).unwrap_err();
    assert_matches!(
        error,
        Error::Refused {
            refusal: Refusal {
                kind: RefusalKind::LogEndsBefore,
                ..
            },
            ..
        },
    );
    // The log is the newer one again, and the offset what it was.
    db.execute(
        "UPDATE bekk.offsets SET next = 1, refusal = NULL, refusal_detail = NULL, refused_at = NULL",
    );
    drain(&db, &log, &stream).unwrap();
    assert_exact(&db, &log.client, "bekk", &stream);
}

/// Whoever runs holds a lease in PostgreSQL: nothing that happens to the log says so.
#[test]
fn a_group_is_neither_set_nor_forgotten_while_a_sink_of_it_runs() {
    let (db, log) = (Db::new(), Log::new());
    let mut stream = two_columns();
    stream.partitions = 2;
    log.open_stream(&stream);
    let reset = |partition, next| try_reset(&db, &log, "items", (partition, next));
    let delete = || bekk_sink::delete_group(&db.options, "bekk", &["items".to_owned()]);
    let next = || db.rows("SELECT next FROM bekk.offsets ORDER BY partition");
    let config = Config::new(db.options.clone());
    let ((reset_while, deleted_while), _) =
        run_while(&config, &log, &stream, Control::stop, |stats| {
            until("it holds both", || held(stats) == 2);
            (reset(0, 0), delete())
        });
    for refused in [reset_while, deleted_while] {
        let error = refused.unwrap_err();
        assert_matches!(error, Error::GroupInUse { .. });
        assert!(error.to_string().contains("stop the group's sinks"));
    }
    reset(1, 7).unwrap();
    assert_eq!(next(), ["0", "7"]);
    let error = reset(2, 7).unwrap_err();
    assert_matches!(error, Error::NoOffset { partition: 2, .. });
    delete().unwrap();
    assert!(next().is_empty());
}

/// If two sinks of a group had a stream with different columns or rules, each would write its rows its own way. The later
/// one stops; it may continue when the first is gone.
#[test]
fn sinks_of_a_group_have_the_same_definition() {
    let (db, log, mut stream) = (Db::new(), Log::new(), two_columns());
    stream.partitions = 2;
    stream.columns[1].nullable = true;
    log.open_stream(&stream);
    let mut fewer = stream.clone();
    fewer.columns.truncate(1);
    let mut other_rule = stream.clone();
    other_rule.on_conflict = OnConflict::Ignore;
    let append = |from: i64| {
        for (partition, rows) in rows(from..from + 10, "x").chunks(5).enumerate() {
            log.append(&stream, u32::try_from(partition).unwrap(), rows);
        }
    };
    append(0);
    let config = Config::new(db.options.clone());
    run_while(&config, &log, &stream, Control::drain, |stats| {
        until("the first has applied all", || {
            stats.lag() == 0 && stats.positions().len() == 2
        });
        append(10);
        for other in [&fewer, &other_rule] {
            let error = drain(&db, &log, other).unwrap_err();
            assert_matches!(error, Error::OtherDefinition { .. });
            assert_says(&error, &[&format!("pid {}", std::process::id())]);
        }
    });
    assert_exact(&db, &log.client, "bekk", &stream);
    append(20);
    assert_eq!(drain(&db, &log, &fewer).unwrap().rows, 10);
}

/// Two sinks with different definitions take partitions at the same moment: one of them is refused.
#[test]
fn sinks_that_start_at_once_have_the_same_definition() {
    let (db, log, mut stream) = (Db::new(), Log::new(), two_columns());
    stream.partitions = 2;
    stream.columns[1].nullable = true;
    log.open_stream(&stream);
    drain(&db, &log, &stream).unwrap();
    let mut fewer = stream.clone();
    fewer.columns.truncate(1);
    for partition in 0..2 {
        let first = i64::from(partition) * 10;
        log.append(&stream, partition, &rows(first..first + 10, "x"));
    }
    let mut admin = Db::connect(db.options.clone());
    // Both have seen that all is free when the first may take something.
    admin.execute("BEGIN; SELECT FROM bekk.offsets FOR UPDATE; SELECT FROM bekk.groups FOR UPDATE");
    let results = std::thread::scope(|scope| {
        let sinks = [&stream, &fewer].map(|stream| scope.spawn(|| drain(&db, &log, stream)));
        let watcher = Db::connect(db.options.clone());
        until("both wait", || {
            watcher.one(
                "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'",
            ) == "2"
        });
        admin.execute("COMMIT");
        sinks.map(|sink| sink.join().unwrap())
    });
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    let refused: Vec<_> = refused.collect();
    assert_matches!(refused[..], [Error::OtherDefinition { .. }], "{results:?}");
    let names = db.rows("SELECT coalesce(name, '-'), count(*) FROM items GROUP BY 1");
    assert!(names == ["x|20"] || names == ["-|20"], "{names:?}");
}

/// A sink of a version that writes no definition takes partitions over from one that does: their rows still have the
/// other's definition.
#[test]
fn a_definition_that_an_earlier_version_left_is_not_its_own() {
    let (db, log, mut stream) = opened(two_columns());
    let append = |id| {
        let row = vec![Value::Int(id), text("x")];
        log.append(&stream, 0, &[row]);
    };
    append(1);
    drain(&db, &log, &stream).unwrap();
    append(2);
    stream.on_conflict = OnConflict::Ignore;
    let owner = format!("bekk-sink {:08x} old", bekk_stream::murmur2(b"bekk"));
    let mut old = Db::connect(db.options.clone());
    old.execute(&format!("SET application_name = '{owner}'"));
    old.execute(&format!(
        "UPDATE bekk.offsets SET owner = '{owner}', epoch = epoch + 1, lease_until = now() + interval '1 hour'"
    ));
    let summary = std::thread::scope(|scope| {
        let sink = scope.spawn(|| drain(&db, &log, &stream));
        std::thread::sleep(Duration::from_millis(1_500));
        assert!(!sink.is_finished(), "it waits for its turn");
        drop(old);
        sink.join().unwrap()
    });
    assert_eq!(summary.unwrap().rows, 1);
}
