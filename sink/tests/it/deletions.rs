//! Records of other producers that delete rows.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bekk_log::{Headers, Offset, Record, RecordBuffer};
use bekk_sink::{Config, Control, DeepAudit, Fate, FindingKind, Retried, Stats, What};
use bekk_stream::{Accept, ColumnType, Stream};
use bekk_testing::assert_matches;
use rand::Rng;

use crate::altered::while_it_runs;
use crate::harness::{
    Db, Log, assert_says, column, deep_audit, differences, drain, drain_with, opened, retry, rng,
    stream_of,
};

fn items() -> Stream {
    Stream {
        accept: Accept::Json { deletes: true },
        ..stream_of("items", "id int8, name text null")
    }
}

/// A record: its key, and its value or none.
type Sent = (String, Option<String>);

/// The record of an item, without a name if that is empty.
fn put(id: i64, name: &str) -> Sent {
    let name = match name {
        "" => String::new(),
        name => format!(", \"name\": \"{name}\""),
    };
    put_as(&id.to_string(), &format!("{{\"id\": {id}{name}}}"))
}

fn put_as(key: &str, value: &str) -> Sent {
    (key.to_owned(), Some(value.to_owned()))
}

/// The record that deletes an item.
fn delete(key: impl ToString) -> Sent {
    (key.to_string(), None)
}

fn append(log: &Log, records: &[Sent]) {
    let mut buffer = RecordBuffer::new();
    for (key, value) in records {
        buffer.push_copy(&Record {
            offset: Offset::ZERO,
            timestamp_ms: 1_000,
            key: Some(key.as_bytes()),
            value: value.as_deref().unwrap_or_default().as_bytes(),
            is_null: value.is_none(),
            headers: Headers::default(),
        });
    }
    log.client.append(None, "items", &[(0, &buffer)]).unwrap();
}

fn deep(db: &Db, log: &Log, stream: &Stream) -> DeepAudit {
    deep_audit(db, &log.client, "bekk", stream)
}

const ROWS: &str = "SELECT id, name FROM items ORDER BY id";
const LETTERS: &str =
    "SELECT log_offset, reason, detail FROM bekk.dead_letters ORDER BY log_offset";

#[test]
fn a_record_without_a_value_deletes_the_row_of_its_key() {
    let (mut db, log, stream) = opened(items());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, touched boolean DEFAULT false)",
    );
    append(
        &log,
        &[
            put(1, "a"),
            put_as(r#"{"id": 2}"#, r#"{"id": 2, "name": "b"}"#),
            put(3, ""),
            delete(2),
            delete(9),
            delete("x"),
            put_as("5", r#"{"id": 4}"#),
        ],
    );
    let stats = Stats::default();
    let control = Control::new();
    control.drain();
    let streams = std::slice::from_ref(&stream);
    let config = Config::new(db.options.clone());
    let summary = bekk_sink::run(&config, streams, &log.client, &stats, &control).unwrap();
    assert_eq!((summary.rows, summary.superseded, summary.dead), (2, 3, 2));
    assert_eq!(db.rows(ROWS), ["1|a", "3|-"]);
    let letters = db.rows(LETTERS);
    assert!(
        letters[0].starts_with("5|bad_value|the record's key: "),
        "{letters:?}"
    );
    assert!(letters[0].ends_with("; its key is `x`"), "{letters:?}");
    assert!(
        letters[1].starts_with("6|key_differs|the record's key is `5`"),
        "{letters:?}"
    );
    assert_eq!(letters.len(), 2);

    // A row that is deleted and written again in one batch is a new one.
    db.execute("UPDATE items SET touched = true");
    append(&log, &[delete(1), put(3, "c"), put(1, "d")]);
    bekk_sink::run(&config, streams, &log.client, &stats, &control).unwrap();
    let touched = "SELECT id, name, touched FROM items ORDER BY id";
    assert_eq!(db.rows(touched), ["1|d|f", "3|c|t"]);
    assert_eq!(stats.deleted.load(Ordering::Relaxed), 1);
    let audit = deep(&db, &log, &stream);
    assert!(audit.is_right(), "{audit:?}");

    let trace = |key: &str| {
        let what = What::Key(key.to_owned());
        bekk_sink::trace(&db.options, &log.client, "bekk", &stream, &what).unwrap()
    };
    let fates = |key| trace(key).versions.into_iter().map(|v| (v.offset, v.fate));
    let of_two: Vec<_> = fates("2").collect();
    assert_matches!(
        of_two[..],
        [(1, Fate::Superseded { by: 3, .. }), (3, Fate::Deletion)],
    );
    let of_one: Vec<_> = fates("1").collect();
    assert_matches!(
        of_one[1..],
        [(7, Fate::Superseded { by: 9, .. }), (9, Fate::Row)],
    );

    // A person brings a deleted row back, and deletes one that should be there.
    db.execute("INSERT INTO items (id) VALUES (2); DELETE FROM items WHERE id = 1");
    let audit = deep(&db, &log, &stream);
    assert_eq!(differences(&audit), (1, 1, 0), "{audit:?}");
    let undeleted = audit
        .findings
        .iter()
        .find(|finding| finding.key == "2")
        .unwrap();
    assert_eq!(
        (undeleted.kind, undeleted.at),
        (FindingKind::Changed, Some((0, 3)))
    );
}

/// All deletions of a stream may empty its table, which is not taken for another one.
#[test]
fn a_table_may_become_empty() {
    let (db, log, stream) = opened(items());
    append(&log, &[put(1, "")]);
    drain(&db, &log, &stream).unwrap();
    append(&log, &[delete(1)]);
    drain(&db, &log, &stream).unwrap();
    assert_eq!(
        bekk_sink::table_faults(&db.options, ("bekk", None), std::slice::from_ref(&stream))
            .unwrap(),
        []
    );
    append(&log, &[put(1, "again")]);
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.rows(ROWS), ["1|again"]);
}

/// Another row refers to the one to delete: the deletion is a letter until that one is gone.
#[test]
fn a_refused_deletion_is_a_letter_that_can_be_retried() {
    let (mut db, log, stream) = opened(items());
    append(&log, &[put(1, ""), put(2, ""), put(3, "")]);
    drain(&db, &log, &stream).unwrap();
    db.execute(
        "CREATE TABLE parts (item bigint REFERENCES items); INSERT INTO parts VALUES (1), (2)",
    );
    append(&log, &[delete(1), delete(2), delete(3)]);
    drain(&db, &log, &stream).unwrap();
    append(&log, &[put(2, "newer")]);
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.rows(ROWS), ["1|-", "2|newer"]);
    let letters = db.rows(LETTERS);
    assert_eq!(letters.len(), 2);
    assert!(letters[0].starts_with("3|refused|"), "{letters:?}");
    assert!(
        letters[0].ends_with("; the record deletes the row of key `1`"),
        "{letters:?}"
    );
    assert!(deep(&db, &log, &stream).is_right());

    assert_matches!(
        retry(&db, &log, &stream)[..],
        [Retried::Open(_), Retried::Superseded],
    );
    db.execute("DELETE FROM parts");
    assert_eq!(retry(&db, &log, &stream), [Retried::Landed]);
    assert_eq!(db.rows(ROWS), ["2|newer"]);
    assert!(deep(&db, &log, &stream).is_right());
}

/// The table's key column does not hold a deletion's key: the letter says which key it is.
#[test]
fn a_deletion_that_does_not_fit_is_a_letter_with_its_key() {
    let (mut db, log, stream) = opened(items());
    db.execute("CREATE TABLE items (id int4 PRIMARY KEY, name text)");
    append(&log, &[put(1, ""), delete(3_000_000_000_i64), delete(1)]);
    drain(&db, &log, &stream).unwrap();
    assert!(db.rows(ROWS).is_empty());
    let letters = db.rows(LETTERS);
    assert!(
        letters.len() == 1
            && letters[0].ends_with("; the record deletes the row of key `3000000000`"),
        "{letters:?}"
    );
}

/// A letter's row must not come back if a deletion of its key came after it.
#[test]
fn a_retried_row_stays_deleted() {
    let (mut db, log, stream) = opened(items());
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY, name text CHECK (name <> 'bad'))");
    append(&log, &[put(1, "bad"), put(2, "good")]);
    drain(&db, &log, &stream).unwrap();
    append(&log, &[delete(1)]);
    db.execute("ALTER TABLE items DROP CONSTRAINT items_name_check");
    assert_eq!(retry(&db, &log, &stream), [Retried::Superseded]);
    assert_eq!(db.rows(ROWS), ["2|good"]);
}

/// A trigger leaves a deletion out: the record is a letter, and not taken for applied.
#[test]
fn a_deletion_that_a_trigger_drops_is_a_letter() {
    let (mut db, log, stream) = opened(items());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF OLD.name = ''kept'' THEN RETURN NULL; END IF; RETURN OLD; END';
         CREATE TRIGGER keep BEFORE DELETE ON items FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    append(&log, &[put(1, "kept"), put(2, ""), delete(1), delete(2)]);
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.rows(ROWS), ["1|kept"]);
    assert!(db.rows(LETTERS)[0].starts_with("2|not_stored|"));
}

/// Where more than the key matters, deletions and rows go in log order.
#[test]
fn a_deletion_frees_the_values_of_its_row() {
    let (mut db, log, stream) = opened(items());
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY, name text UNIQUE)");
    append(&log, &[put(1, "x"), delete(1), put(2, "x")]);
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.rows(ROWS), ["2|x"]);
}

/// A row that another row of its table refers to stays, and one that is gone is not referred to.
#[test]
fn deletions_keep_what_is_referred_to() {
    let (mut db, log) = (Db::new(), Log::new());
    let mut stream = items();
    stream
        .columns
        .push(column("parent", ColumnType::Int8).nullable());
    log.open_stream(&stream);
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, parent bigint REFERENCES items)",
    );
    append(
        &log,
        &[
            put(2, ""),
            put_as("3", r#"{"id": 3, "parent": 2}"#),
            delete(2),
            put(4, ""),
            delete(4),
            put_as("5", r#"{"id": 5, "parent": 4}"#),
        ],
    );
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.rows(ROWS), ["2|-", "3|-"]);
    let offsets = "SELECT log_offset, reason FROM bekk.dead_letters ORDER BY log_offset";
    assert_eq!(db.rows(offsets), ["2|refused", "5|refused"]);

    // Row 3 leaves its parent before that is deleted with all that refers to it.
    db.execute(
        "ALTER TABLE items DROP CONSTRAINT items_parent_fkey, ADD COLUMN touched boolean DEFAULT false,
           ADD FOREIGN KEY (parent) REFERENCES items ON DELETE CASCADE; UPDATE items SET touched = true",
    );
    append(&log, &[put(3, ""), delete(2)]);
    drain(&db, &log, &stream).unwrap();
    assert_eq!(db.rows("SELECT id, touched FROM items"), ["3|t"]);
}

/// A foreign key from the table to itself comes while the sink runs: from then on deletions and rows go in log order.
#[test]
fn a_foreign_key_is_added_while_the_sink_runs() {
    let (mut db, log) = (Db::new(), Log::new());
    let mut admin = Db::connect(db.options.clone());
    let mut stream = items();
    let parent = column("parent", ColumnType::Int8).nullable();
    stream.columns.push(parent);
    log.open_stream(&stream);
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, parent bigint, touched boolean DEFAULT false)",
    );
    append(
        &log,
        &[put(2, ""), put_as("3", r#"{"id": 3, "parent": 2}"#)],
    );
    while_it_runs(&db, &log, &stream, |_| {
        admin.await_one("SELECT count(*) FROM items", "2");
        admin.execute(
            "ALTER TABLE items ADD FOREIGN KEY (parent) REFERENCES items ON DELETE CASCADE;
             UPDATE items SET touched = true",
        );
        // Row 3 leaves its parent before that is deleted with all that refers to it.
        append(&log, &[put(3, ""), delete(2)]);
    })
    .unwrap();
    assert_eq!(db.rows("SELECT id, touched FROM items"), ["3|t"]);
}

#[test]
fn the_right_to_delete_is_asked_for() {
    let mut db = Db::new();
    let name = db.options.dbname.clone().unwrap();
    let (role, password) = (
        format!("loader_{name}"),
        db.options.password.clone().unwrap(),
    );
    db.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{password}'; CREATE SCHEMA bekk AUTHORIZATION {role};
         CREATE TABLE items (id bigint PRIMARY KEY, name text);
         GRANT SELECT, INSERT, UPDATE ON items TO {role}"
    ));
    let mut options = db.options.clone();
    options.user = Some(role.clone());
    let problems = |stream: Stream| {
        let mut report = bekk_sink::check(&options, &[stream]).unwrap();
        report.tables.remove(0).problems
    };
    let lacking = problems(items());
    assert_eq!(lacking.len(), 1, "{lacking:?}");
    assert_says(&lacking[0], &["GRANT DELETE ON \"public\".\"items\" TO"]);
    assert!(
        problems(Stream {
            accept: Accept::Bekk,
            ..items()
        })
        .is_empty()
    );
    db.execute(&format!("GRANT DELETE ON items TO {role}"));
    assert!(problems(items()).is_empty());
}

/// Batches of any size give the table that the records give one by one.
#[test]
fn batches_give_what_the_records_give() {
    let mut rng = rng();
    let (db, log, stream) = opened(items());
    let mut model: BTreeMap<i64, u32> = BTreeMap::new();
    for round in 0..12 {
        let count = rng.random_range(1..60);
        let records: Vec<Sent> = (0..count)
            .map(|at| {
                let (id, version) = (rng.random_range(0..12), round * 1_000 + at);
                if rng.random_bool(0.4) {
                    model.remove(&id);
                    return delete(id);
                }
                model.insert(id, version);
                put(id, &version.to_string())
            })
            .collect();
        append(&log, &records);
        let mut config = Config::new(db.options.clone());
        config.batch_records_max = rng.random_range(1..40);
        drain_with(&config, &log, &stream).unwrap();
        let expected: Vec<_> = model
            .iter()
            .map(|(id, version)| format!("{id}|{version}"))
            .collect();
        assert_eq!(db.rows(ROWS), expected);
    }
    let audit = deep(&db, &log, &stream);
    assert!(audit.is_right(), "{audit:?}");
}

/// Refused records split a batch into spans: what one of them deletes, a later one does not delete again.
#[test]
fn a_deletion_between_refused_records_deletes_once() {
    let (mut db, log, stream) = opened(items());
    db.execute("CREATE TABLE items (id bigint PRIMARY KEY, name text CHECK (name <> 'bad'))");
    append(
        &log,
        &[
            delete(1),
            put(7, "bad"),
            put(1, "a"),
            put(8, "bad"),
            delete(2),
            put(5, "e"),
        ],
    );
    assert_eq!(drain(&db, &log, &stream).unwrap().dead, 2);
    assert_eq!(db.rows(ROWS), ["1|a", "5|e"]);
    let audit = deep(&db, &log, &stream);
    assert!(audit.is_right(), "{audit:?}");
}
