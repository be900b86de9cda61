//! What an offset refers to: a log that is another one, a table that is another one, a row that was deleted.

use std::time::Duration;

use bekk_sink::{Config, Control, Error, Refusal, RefusalKind, Stats};
use bekk_stream::{OnConflict, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{
    Db, Log, StopOnDrop, assert_exact, assert_says, deep_audit, differences, drain, drain_all,
    drain_with, keyless, reset, rows, run_while, two_columns, until,
};

pub(crate) fn filled(stream: &Stream, count: i64) -> (Db, Log) {
    let (db, log) = (Db::new(), Log::new());
    log.open_stream(stream);
    log.append(stream, 0, &rows(0..count, "first"));
    drain(&db, &log, stream).unwrap();
    (db, log)
}

fn refusal_of(error: &Error) -> RefusalKind {
    match error {
        Error::Refused {
            refusal: Refusal { kind, .. },
            ..
        } => *kind,
        other => panic!("{other}"),
    }
}

/// The accident: the log was replaced by one with the same id, as after the disk was set back to a snapshot and ingest
/// continued. Its end lies before the group's offset, then passes it; nothing is applied until a person has decided.
#[test]
fn a_log_that_was_set_back_is_refused_until_someone_decides() {
    let stream = two_columns();
    let (mut db, log) = filled(&stream, 20);
    let old = Log::new();
    old.open_stream(&stream);
    old.append(&stream, 0, &rows(0..10, "first"));
    let as_the_same_log = format!("UPDATE bekk.offsets SET log_id = '{}'", old.client.log_id());
    db.execute(&as_the_same_log);

    let error = drain(&db, &old, &stream).unwrap_err();
    assert_eq!(refusal_of(&error), RefusalKind::LogEndsBefore);
    assert_says(
        &error,
        &["bekk replay --group bekk --stream items --from earliest"],
    );
    old.append(&stream, 0, &rows(100..130, "second"));
    let error = drain(&db, &old, &stream).unwrap_err();
    assert_eq!(
        refusal_of(&error),
        RefusalKind::LogEndsBefore,
        "it is remembered"
    );
    assert_eq!(db.one("SELECT count(*) FROM items"), "20");
    assert_eq!(
        db.one("SELECT refusal FROM bekk.offsets"),
        "log_ends_before"
    );

    // The log as it was is refused too: someone has to say which it is.
    db.execute(&format!(
        "UPDATE bekk.offsets SET log_id = '{}'",
        log.client.log_id()
    ));
    drain(&db, &log, &stream).unwrap_err();
    db.execute(&as_the_same_log);
    reset(&db, &old, "items", (0, 0));
    assert_eq!(drain(&db, &old, &stream).unwrap().records, 40);
    assert_eq!(db.one("SELECT count(*) FROM items"), "50");
    assert_eq!(
        db.one("SELECT refusal IS NULL AND mark_offset = 39 FROM bekk.offsets"),
        "t"
    );
    // Ten rows are of records that only the lost log had.
    let deep = deep_audit(&db, &old.client, "bekk", &stream);
    assert_eq!(differences(&deep), (0, 0, 10), "{deep:?}");
}

/// The same where the log's end has passed the offset before a sink looks: the record there is another one.
#[test]
fn another_record_at_the_offset_is_refused() {
    let stream = two_columns();
    let (mut db, _log) = filled(&stream, 10);
    let other = Log::new();
    other.open_stream(&stream);
    other.append(&stream, 0, &rows(0..30, "second"));
    db.execute(&format!(
        "UPDATE bekk.offsets SET log_id = '{}'",
        other.client.log_id()
    ));
    let error = drain(&db, &other, &stream).unwrap_err();
    assert_eq!(refusal_of(&error), RefusalKind::OtherRecord);
    assert_says(&error, &["offset 9 of items/0 holds another record"]);
    assert_eq!(db.one("SELECT count(*) FROM items"), "10");
}

/// A row that an earlier version wrote has no mark: it is believed, and gets one.
#[test]
fn an_offset_without_a_mark_gets_one() {
    let stream = two_columns();
    let (mut db, log) = filled(&stream, 10);
    db.execute(
        "UPDATE bekk.offsets SET mark_offset = NULL, mark_timestamp_ms = NULL, mark_crc = NULL",
    );
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.one("SELECT mark_offset FROM bekk.offsets"), "9");
}

/// A row of bekk.offsets is deleted under a running sink, which makes it anew; counts and rows stay exact.
#[test]
fn a_deleted_offset_is_made_anew_by_the_sink_that_holds_it() {
    let stream = keyless(two_columns());
    let (mut db, log) = filled(&stream, 10);
    let config = Config::new(db.options.clone());
    run_while(&config, &log, &stream, Control::stop, |stats| {
        until("it holds the partition", || {
            stats.positions().iter().any(|p| p.held)
        });
        db.execute("DELETE FROM bekk.offsets");
        log.append(&stream, 0, &rows(10..20, "second"));
        db.await_one("SELECT count(*) FROM items", "20");
    });
    let row = "SELECT next, rows, next - counted_from - passed - (rows + superseded + dead - counted_before) \
               FROM bekk.offsets";
    assert_eq!(db.one(row), "20|20|0");
    assert_exact(&db, &log.client, "bekk", &stream);

    // Without a sink, and without a key, nobody knows how far the group was.
    db.execute("DELETE FROM bekk.offsets; INSERT INTO bekk.offsets (group_name, topic, partition, next, log_id) \
                SELECT 'bekk', 'items', 7, 0, gen_random_uuid() WHERE false");
    let error = drain(&db, &log, &stream).unwrap_err();
    assert_matches!(error, Error::OtherTarget { .. });
    assert_eq!(db.one("SELECT count(*) FROM items"), "20");
}

/// With a key the group continues where the log remembers it.
#[test]
fn a_deleted_offset_is_taken_from_the_log_where_rows_have_a_key() {
    let mut stream = two_columns();
    stream.partitions = 2;
    let (mut db, log) = (Db::new(), Log::new());
    log.open_stream(&stream);
    for partition in 0..2 {
        let ids = i64::from(partition) * 100;
        log.append(&stream, partition, &rows(ids..ids + 10, "first"));
    }
    drain(&db, &log, &stream).unwrap();
    db.execute("DELETE FROM bekk.offsets WHERE partition = 1");
    assert_eq!(drain(&db, &log, &stream).unwrap().records, 0);
    assert_eq!(
        db.one("SELECT next FROM bekk.offsets WHERE partition = 1"),
        "10"
    );
    let deep = deep_audit(&db, &log.client, "bekk", &stream);
    assert!(deep.is_right(), "{deep:?}");
    stream.on_conflict = OnConflict::Append;
    stream.key.clear();
    db.execute("DELETE FROM bekk.offsets WHERE partition = 1");
    let error = drain(&db, &log, &stream).unwrap_err();
    assert_matches!(error, Error::OffsetGone { partition: 1, .. });
}

/// A table that is gone, was made again, or was truncated: nothing more goes into it until someone has decided.
#[test]
fn a_table_that_lost_its_rows_is_refused() {
    let stream = two_columns();
    for (accident, expected) in [
        (
            "DROP TABLE items",
            "table `items` does not exist, and the group has applied 10 records",
        ),
        (
            "DROP TABLE items; CREATE TABLE items (id int8 PRIMARY KEY, name text)",
            "was dropped and made again and is empty",
        ),
        ("TRUNCATE items", "was truncated"),
    ] {
        let (mut db, log) = filled(&stream, 10);
        db.execute(accident);
        log.append(&stream, 0, &rows(10..15, "second"));
        let error = drain(&db, &log, &stream).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(
            error.ends_with("bekk replay --group bekk --stream items --from earliest --execute")
        );
        let faults =
            bekk_sink::table_faults(&db.options, ("bekk", None), std::slice::from_ref(&stream))
                .unwrap();
        assert!(faults[0].what.contains("applied 10 records"), "{faults:?}");
        // An empty table stands where none was, and nothing goes into it.
        drain(&db, &log, &stream).unwrap_err();
        assert_eq!(db.one("SELECT count(*) FROM items"), "0");
        assert_eq!(db.one("SELECT next FROM bekk.offsets"), "10");
    }
}

/// A table that was rewritten, or whose database or name was changed together with the configuration, is followed.
#[test]
fn a_table_that_is_the_same_is_followed() {
    let mut stream = two_columns();
    let (mut db, log) = filled(&stream, 10);
    db.execute("VACUUM FULL items");
    db.execute("ALTER TABLE items RENAME TO goods");
    stream.table.name = "goods".to_owned();
    log.append(&stream, 0, &rows(10..15, "second"));
    assert_eq!(drain(&db, &log, &stream).unwrap().rows, 5);
    assert_eq!(db.one("SELECT count(*) FROM goods"), "15");
    assert_exact(&db, &log.client, "bekk", &stream);
    // Rows that were deleted on purpose are reported only.
    db.execute("DELETE FROM goods");
    assert_eq!(drain(&db, &log, &stream).unwrap().rows, 0);
    // The name alone is not enough.
    stream.table.name = "items".to_owned();
    db.execute("INSERT INTO goods VALUES (1, 'x')");
    let error = drain(&db, &log, &stream).unwrap_err().to_string();
    assert!(error.contains("called `public.goods` now"), "{error}");
}

/// Adopting takes the table as it is: the offsets stand, and nothing is applied twice.
#[test]
fn a_table_that_was_moved_is_adopted() {
    let stream = keyless(two_columns());
    let (mut db, log) = filled(&stream, 10);
    db.execute("UPDATE bekk.groups SET system_identifier = '1', database_oid = 1");
    log.append(&stream, 0, &rows(10..15, "second"));
    let error = drain(&db, &log, &stream).unwrap_err().to_string();
    assert!(error.contains("another server or database"), "{error}");
    assert!(
        error.ends_with("bekk offsets adopt --group bekk --stream items"),
        "{error}"
    );
    let streams = std::slice::from_ref(&stream);
    let adopted = bekk_sink::adopt(&db.options, "bekk", streams).unwrap();
    assert_eq!(adopted[0].placed, 10);
    assert_eq!(adopted[0].rows, None, "it was never analysed");
    assert_eq!(drain(&db, &log, &stream).unwrap().rows, 5);
    assert_exact(&db, &log.client, "bekk", &stream);
    db.execute("ANALYZE items");
    let adopted = bekk_sink::adopt(&db.options, "bekk", streams).unwrap();
    assert_eq!(adopted[0].rows, Some(15));
    assert!(
        bekk_sink::table_faults(&db.options, ("bekk", None), streams)
            .unwrap()
            .is_empty()
    );
    db.execute("DROP TABLE items");
    let error = bekk_sink::adopt(&db.options, "bekk", streams).unwrap_err();
    assert_matches!(error, Error::NoTable { .. });
}

/// A person sets the offset, and the name leads to another table than the one that the group has filled: what lies before
/// the offset is not there. Where the group begins at the start of the log, it may fill any table.
#[test]
fn an_offset_that_was_set_lets_no_other_table_be_filled() {
    let stream = two_columns();
    let mut renamed = stream.clone();
    renamed.table.name = "others".to_owned();
    let recreated = "DROP TABLE items; CREATE TABLE items (id int8 PRIMARY KEY, name text)";
    let other = "CREATE TABLE others (id int8 PRIMARY KEY, name text)";
    for (accident, now) in [(recreated, &stream), (other, &renamed)] {
        for is_adopted in [false, true] {
            let (mut db, log) = filled(&stream, 10);
            let streams = std::slice::from_ref(now);
            let set = |db: &Db, next: u64| {
                let offset = bekk_log::Offset::new(next);
                let to = bekk_sink::Reset {
                    topic: "items".to_owned(),
                    partition: 0,
                    next,
                    mark: log.client.mark_before("items", 0, offset).unwrap(),
                };
                let log_id = log.client.log_id().to_string();
                bekk_sink::reset_offsets(&db.options, "bekk", &log_id, None, &[to]).unwrap();
            };
            if is_adopted {
                bekk_sink::adopt(&db.options, "bekk", std::slice::from_ref(&stream)).unwrap();
            }
            set(&db, 5);
            db.execute(accident);
            let error = drain(&db, &log, now).unwrap_err();
            assert_matches!(error, Error::OtherTarget { .. }, "{accident}");
            let faults = bekk_sink::table_faults(&db.options, ("bekk", None), streams).unwrap();
            assert_eq!(faults.len(), 1, "{accident}");
            bekk_sink::adopt(&db.options, "bekk", streams).unwrap();
            assert_eq!(drain(&db, &log, now).unwrap().rows, 5, "{accident}");
            // All that the log has.
            db.execute("UPDATE bekk.groups SET table_oid = 1");
            set(&db, 0);
            assert_eq!(drain(&db, &log, now).unwrap().rows, 5, "{accident}");
            assert_eq!(db.one(&format!("SELECT count(*) FROM {}", now.table)), "10");
        }
    }
}

/// One stream's table does not fit, then another's log differs: the others are applied to their ends.
#[test]
fn what_stops_one_stream_stops_no_other() {
    let (mut db, log) = (Db::new(), Log::new());
    let items = two_columns();
    let mut others = two_columns();
    others.name = "others".to_owned();
    others.table.name = "others".to_owned();
    db.execute("CREATE TABLE others (id int8)");
    for stream in [&items, &others] {
        log.open_stream(stream);
        log.append(stream, 0, &rows(0..10, "x"));
    }
    let streams = [others, items];
    let drain = |db: &Db| drain_all(&Config::new(db.options.clone()), &log, &streams);
    let error = drain(&db).unwrap_err();
    assert_matches!(error, Error::TableMismatch { .. });
    assert_eq!(db.one("SELECT count(*) FROM items"), "10");
    db.execute("DROP TABLE others");
    drain(&db).unwrap();
    db.execute("UPDATE bekk.offsets SET next = 50 WHERE topic = 'others'");
    log.append(&streams[1], 0, &rows(10..20, "x"));
    let error = drain(&db).unwrap_err();
    assert_eq!(refusal_of(&error), RefusalKind::LogEndsBefore);
    assert_eq!(db.one("SELECT count(*) FROM items"), "20");

    // One that runs on says which stream is stopped.
    let (stats, control) = (Stats::default(), Control::new());
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&control);
        let config = Config::new(db.options.clone());
        let (streams, client, stats, stop) = (&streams, &log.client, &stats, control.clone());
        let sink = scope.spawn(move || bekk_sink::run(&config, streams, client, stats, &stop));
        until("it says so", || {
            stats.halted().iter().any(|(stream, _)| stream == "others")
        });
        std::thread::sleep(Duration::from_millis(10));
        log.append(&streams[1], 0, &rows(20..30, "x"));
        db.await_one("SELECT count(*) FROM items", "30");
        control.stop();
        assert!(sink.join().unwrap().is_err());
    });
    assert_exact(&db, &log.client, "bekk", &streams[1]);
}

/// Two groups never share a position; a group that is new starts where it is told.
#[test]
fn another_group_has_its_own_offsets() {
    let stream = two_columns();
    let (db, log) = filled(&stream, 10);
    let mut config = Config::new(db.options.clone());
    config.group = "other".to_owned();
    assert_eq!(drain_with(&config, &log, &stream).unwrap().superseded, 10);
    assert_eq!(db.one("SELECT count(*) FROM bekk.offsets"), "2");
}

/// Rows of one stream refer to rows of another: they wait for what the log has of it, and what came too early is tried
/// again when the others are there.
#[test]
fn rows_wait_for_the_rows_they_refer_to() {
    for count in [30, 3_000] {
        let (mut db, log) = (Db::new(), Log::new());
        let parents = two_columns();
        let children = crate::harness::stream(
            "children",
            vec![
                crate::harness::column("id", bekk_stream::ColumnType::Int8),
                crate::harness::column("item", bekk_stream::ColumnType::Int8),
            ],
        );
        db.execute(
            "CREATE TABLE items (id int8 PRIMARY KEY, name text);
             CREATE TABLE children (id int8 PRIMARY KEY, item int8 NOT NULL REFERENCES items)",
        );
        let streams = [children, parents];
        let child_rows: Vec<_> = (0..count)
            .map(|id| vec![Value::Int(id), Value::Int(id)])
            .collect();
        for stream in &streams {
            log.open_stream(stream);
        }
        let drain = |db: &Db| drain_all(&Config::new(db.options.clone()), &log, &streams);
        log.append(&streams[0], 0, &child_rows);
        let too_early = drain(&db);
        // A few become letters; of many that are all refused the batch waits, and the run says so in the end.
        assert_eq!(too_early.is_err(), count > 100, "{too_early:?}");
        assert_eq!(db.one("SELECT count(*) FROM children"), "0");
        log.append(&streams[1], 0, &rows(0..count, "x"));
        drain(&db).unwrap();
        assert_eq!(db.one("SELECT count(*) FROM children"), count.to_string());
        let open = "SELECT count(*) FROM bekk.dead_letters WHERE resolved_at IS NULL";
        assert_eq!(db.one(open), "0");

        // Both are in the log: the parents go first.
        let more: Vec<_> = (count..2 * count)
            .map(|id| vec![Value::Int(id), Value::Int(id)])
            .collect();
        log.append(&streams[0], 0, &more);
        log.append(&streams[1], 0, &rows(count..2 * count, "x"));
        assert_eq!(drain(&db).unwrap().dead, 0);
        for stream in &streams {
            let deep = deep_audit(&db, &log.client, "bekk", stream);
            assert!(
                deep.is_right() && deep.rows == 2 * count.cast_unsigned(),
                "{deep:?}"
            );
        }
    }
}
