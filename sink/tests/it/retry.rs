//! Dead letters that are tried again: what the log says later of their keys decides.

use std::sync::atomic::Ordering::Relaxed;

use bekk_log::RecordBuffer;
use bekk_sink::{Config, Control, Retried};
use bekk_stream::{OnConflict, Stream, Value};

use crate::harness::{
    Db, Log, assert_content, deep_audit, drain, retry, retry_and, run_while, stream_of, text, until,
};

/// Items with a version; whoever is called `bad` is refused.
fn items(db: &mut Db, log: &Log) -> Stream {
    let stream = stream_of("items", "id int8, name text, version int8");
    log.open_stream(&stream);
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL CONSTRAINT good CHECK (name <> 'bad'),
                             version bigint NOT NULL)",
    );
    stream
}

/// Appends rows under their ids as keys, as ingest does.
fn append(log: &Log, stream: &Stream, rows: &[(i64, &str, i64)]) {
    let schema = stream.schema();
    let mut buffer = RecordBuffer::new();
    for ((id, name, version), line) in rows.iter().zip(2..) {
        let value = log.row(
            &schema,
            line,
            &[Value::Int(*id), text(name), Value::Int(*version)],
        );
        let key = (!stream.key.is_empty()).then(|| id.to_string());
        buffer.push(1_000, key.as_deref().map(str::as_bytes), &value);
    }
    log.client
        .append(None, &stream.name, &[(0, &buffer)])
        .unwrap();
}

fn widen(db: &mut Db) {
    db.execute("ALTER TABLE items DROP CONSTRAINT good");
}

#[test]
fn with_newer_by_the_versions_decide() {
    let (mut db, log) = (Db::new(), Log::new());
    let mut stream = items(&mut db, &log);
    stream.newer_by = Some("version".to_owned());
    let first = [
        (1, "bad", 5),
        (2, "bad", 3),
        (3, "bad", 5),
        (4, "equal and earlier", 5),
    ];
    append(&log, &stream, &first);
    drain(&db, &log, &stream).unwrap();
    let then = [
        (1, "older", 3),
        (2, "newer", 5),
        (3, "equal and later", 5),
        (4, "bad", 5),
    ];
    append(&log, &stream, &then);
    drain(&db, &log, &stream).unwrap();
    widen(&mut db);
    let (landed, superseded) = (Retried::Landed, Retried::Superseded);
    let expected = [landed.clone(), superseded.clone(), superseded, landed];
    assert_eq!(retry(&db, &log, &stream), expected);
    assert_eq!(
        db.rows("SELECT id, name FROM items ORDER BY id"),
        ["1|bad", "2|newer", "3|equal and later", "4|bad"]
    );
    assert_content(&db, &log.client, "bekk", &stream);
}

#[test]
fn without_a_key_every_letter_is_a_row_of_its_own() {
    let (mut db, log) = (Db::new(), Log::new());
    let mut stream = items(&mut db, &log);
    db.execute("ALTER TABLE items DROP CONSTRAINT items_pkey");
    stream.key.clear();
    stream.on_conflict = OnConflict::Append;
    log.declare(&stream.schema());
    append(
        &log,
        &stream,
        &[(1, "bad", 1), (1, "good", 2), (1, "bad", 3)],
    );
    drain(&db, &log, &stream).unwrap();
    widen(&mut db);
    assert_eq!(
        retry(&db, &log, &stream),
        [Retried::Landed, Retried::Landed]
    );
    assert_eq!(retry(&db, &log, &stream), []);
    assert_content(&db, &log.client, "bekk", &stream);
    db.execute("UPDATE bekk.dead_letters SET resolved_at = NULL; DELETE FROM bekk.groups");
    let open = retry(&db, &log, &stream);
    let is_open = |one: &Retried| matches!(one, Retried::Open(why) if why.contains("forgotten"));
    assert!(open.len() == 2 && open.iter().all(is_open), "{open:?}");
    assert_eq!(
        db.rows("SELECT name, version FROM items ORDER BY version"),
        ["bad|1", "good|2", "bad|3"]
    );
}

#[test]
fn where_the_first_record_stays_a_letter_takes_no_rows_place() {
    let (mut db, log) = (Db::new(), Log::new());
    let mut stream = items(&mut db, &log);
    stream.on_conflict = OnConflict::Ignore;
    append(
        &log,
        &stream,
        &[(1, "bad", 1), (1, "good", 2), (2, "bad", 3)],
    );
    drain(&db, &log, &stream).unwrap();
    widen(&mut db);
    assert_eq!(
        retry(&db, &log, &stream),
        [Retried::Superseded, Retried::Landed]
    );
    assert_eq!(
        db.rows("SELECT name FROM items ORDER BY id"),
        ["good", "bad"]
    );
    assert_content(&db, &log.client, "bekk", &stream);
}

/// Letters are tried again while a sink applies newer records of their keys: those of the even ones come
/// just after their letter has landed, those of the odd ones just before it is tried.
#[test]
fn a_retry_while_a_sink_applies_never_wins_over_a_newer_record() {
    const KEYS: i64 = 60;
    let (mut db, log) = (Db::new(), Log::new());
    let stream = items(&mut db, &log);
    let bad: Vec<_> = (0..KEYS).map(|id| (id, "bad", 1)).collect();
    append(&log, &stream, &bad);
    let config = Config::new(db.options.clone());
    let (retried, _) = run_while(&config, &log, &stream, Control::stop, |stats| {
        until("all are letters", || {
            stats.dead_by_reason().get("refused") == Some(&60)
        });
        widen(&mut db);
        let retried = retry_and(&db, &log, &stream, &mut |id| {
            if id % 2 == 0 {
                append(&log, &stream, &[(id, "new", 2), (id + 1, "new", 2)]);
            }
        });
        until("all is applied", || {
            stats.rows.load(Relaxed) + stats.superseded.load(Relaxed) == 60
        });
        retried
    });
    assert_eq!(retried.len(), 60);
    for (at, retried) in retried.iter().enumerate() {
        let expected = match at % 2 {
            0 => Retried::Landed,
            _ => Retried::Superseded,
        };
        assert_eq!(*retried, expected, "{at}");
    }
    assert_eq!(db.rows("SELECT DISTINCT name FROM items"), ["new"]);
    let deep = deep_audit(&db, &log.client, "bekk", &stream);
    let found = (deep.missing, deep.changed, deep.extra, deep.without_letter);
    assert_eq!((found, deep.rows), ((0, 0, 0, 0), 60), "{deep:?}");
}
