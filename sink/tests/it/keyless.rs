//! Tables without a key, in which every record that is applied twice is one row too many.

use bekk_sink::Config;
use bekk_stream::Stream;

use crate::harness::{Db, Log, assert_says, drain, drain_with, keyless, rows, two_columns, until};
use crate::identity::filled;

/// Two groups are new, and their sinks start at once on a table without a key: the second one to set up is refused, although
/// the first has inserted nothing yet. The default isolation level must not hide the first one from it.
#[test]
fn two_new_groups_do_not_fill_one_table_without_a_key() {
    for isolation in ["read committed", "repeatable read"] {
        let stream = keyless(two_columns());
        let (mut db, log) = (Db::new(), Log::new());
        let name = db.options.dbname.clone().unwrap();
        db.execute(&format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"
        ));
        log.open_stream(&stream);
        log.append(&stream, 0, &rows(0..5, "a"));
        db.execute("BEGIN; SELECT pg_advisory_xact_lock(1650814827)");
        let configs = ["one", "other"].map(|group| {
            let mut config = Config::new(db.options.clone());
            config.group = group.to_owned();
            config
        });
        let refused: Vec<String> = std::thread::scope(|scope| {
            let sinks = configs.each_ref().map(|config| {
                let (log, stream) = (&log, &stream);
                scope.spawn(move || drain_with(config, log, stream))
            });
            until("both wait for the set-up", || {
                let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
                db.one(waiting) == "2"
            });
            db.execute("COMMIT");
            let ended = sinks.map(|sink| sink.join().unwrap());
            let refused = ended.into_iter().filter_map(Result::err);
            refused.map(|error| error.to_string()).collect()
        });
        assert_eq!(refused.len(), 1, "{isolation}: {refused:?}");
        assert!(refused[0].contains("which has no key"), "{}", refused[0]);
        assert_eq!(db.one("SELECT count(*) FROM items"), "5");
    }
    // The one that was first has inserted nothing, and will not run any more.
    let stream = keyless(two_columns());
    let (db, log) = filled(&stream, 0);
    log.append(&stream, 0, &rows(0..5, "a"));
    let mut other = Config::new(db.options.clone());
    other.group = "other".to_owned();
    let error = drain_with(&other, &log, &stream).unwrap_err().to_string();
    assert_says(
        &error,
        &[
            "is about to fill",
            "offsets delete --group bekk --stream items --execute",
        ],
    );
    bekk_sink::delete_group(&db.options, "bekk", &["items".to_owned()]).unwrap();
    drain_with(&other, &log, &stream).unwrap();
    assert_eq!(db.one("SELECT count(*) FROM items"), "5");
    let error = drain(&db, &log, &stream).unwrap_err().to_string();
    assert!(error.contains("use group `other`"), "{error}");
}

/// A table without a key: the group of another name would insert each row again, and so would a stream that was renamed,
/// whose files ingest reads again into the topic of the new name.
#[test]
fn rows_without_a_key_come_from_one_group_and_stream_of_a_log() {
    let stream = keyless(two_columns());
    let (mut db, log) = filled(&stream, 5);
    let mut other = Config::new(db.options.clone());
    other.group = "other".to_owned();
    let error = drain_with(&other, &log, &stream).unwrap_err().to_string();
    assert_says(&error, &["has applied topic `items`", "use group `bekk`"]);
    let renamed = Stream {
        name: "things".to_owned(),
        ..stream.clone()
    };
    log.open_stream(&renamed);
    log.append(&renamed, 0, &rows(0..5, "a"));
    let error = drain(&db, &log, &renamed).unwrap_err().to_string();
    assert!(error.contains("no stream `items` any more"), "{error}");
    assert_eq!(db.one("SELECT count(*) FROM items"), "5");
    // Two streams that the configuration has may fill one table, and a group may begin with what comes.
    bekk_sink::delete_group(&db.options, "bekk", &["items".to_owned()]).unwrap();
    drain(&db, &log, &renamed).unwrap();
    assert_eq!(db.one("SELECT count(*) FROM items"), "10");
    db.execute("TRUNCATE items");
    drain_with(&other, &log, &stream).unwrap();
    assert_eq!(db.one("SELECT count(*) FROM items"), "5");
}
