//! Dead letters that a group meets again after it was set back.

use bekk_sink::LetterFilter;
use bekk_stream::{Stream, Value};

use crate::harness::{Db, Log, assert_content, drain, opened, reset, text, two_columns};

/// Number, resolution and reason of each letter, by offset.
fn letters(db: &Db) -> Vec<String> {
    db.rows(
        "SELECT log_offset, coalesce(resolution, 'open'), reason FROM bekk.dead_letters ORDER BY log_offset",
    )
}

fn replay_from(db: &Db, log: &Log, stream: &Stream, next: u64) {
    reset(db, log, &stream.name, (0, next));
    drain(db, log, stream).unwrap();
}

#[test]
fn a_letter_that_passes_is_resolved_and_one_that_does_not_stays_one() {
    let (mut db, log, stream) = opened(two_columns());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL CONSTRAINT short CHECK (length(name) < 5))",
    );
    let schema = stream.schema();
    let row = |id, name| vec![Value::Int(id), text(name)];
    let rows = [row(1, "long name"), row(2, "two"), row(3, "long too")];
    log.append_rows("items", 0, &schema, &rows);
    log.append_raw("items", 0, &[b"no payload".to_vec()]);
    drain(&db, &log, &stream).unwrap();
    let all_open = ["0|open|refused", "2|open|refused", "3|open|no_payload"];
    assert_eq!(letters(&db), all_open);

    // Only records that the group passes again are reported.
    db.execute("ALTER TABLE items DROP CONSTRAINT short");
    replay_from(&db, &log, &stream, 1);
    let last_passed = ["0|open|refused", "2|replayed|refused", "3|open|no_payload"];
    assert_eq!(letters(&db), last_passed);
    assert_eq!(db.rows("SELECT id FROM items ORDER BY 1"), ["2", "3"]);
    replay_from(&db, &log, &stream, 0);
    let both_passed = [
        "0|replayed|refused",
        "2|replayed|refused",
        "3|open|no_payload",
    ];
    assert_eq!(letters(&db), both_passed);

    // The table is as narrow again as it was, and without the rows: the letters are open again.
    db.execute(
        "DELETE FROM items; ALTER TABLE items ADD CONSTRAINT short CHECK (length(name) < 5)",
    );
    replay_from(&db, &log, &stream, 0);
    assert_eq!(letters(&db), all_open);

    // What a person has corrected of its text stays, though the record is met as it was.
    db.execute("UPDATE bekk.dead_letters SET raw = 'mended' WHERE log_offset = 3");
    replay_from(&db, &log, &stream, 0);
    let raw = "SELECT convert_from(raw, 'UTF8') FROM bekk.dead_letters WHERE log_offset = 3";
    assert_eq!(db.one(raw), "mended");

    // What a person has discarded stays so.
    db.execute("UPDATE bekk.dead_letters SET resolved_at = now(), resolution = 'discarded' WHERE log_offset = 3");
    replay_from(&db, &log, &stream, 0);
    assert_eq!(letters(&db)[2], "3|discarded|no_payload");
    assert_content(&db, &log.client, "bekk", &stream);
}

/// The database has the first version of the schema, and nobody has started a sink since.
#[test]
fn reading_letters_changes_no_schema_of_an_earlier_version() {
    let mut db = Db::new();
    let first = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../db/migrations/0001_offsets_and_dead_letters.sql"
    );
    db.execute(&format!(
        "CREATE SCHEMA bekk;
         CREATE TABLE bekk.migrations (version integer PRIMARY KEY, name text NOT NULL,
                                       applied_at timestamptz NOT NULL DEFAULT now());
         {}
         INSERT INTO bekk.migrations VALUES (1, 'offsets_and_dead_letters');
         INSERT INTO bekk.dead_letters (group_name, stream, topic, partition, log_offset, log_id, reason, raw)
         VALUES ('bekk', 'items', 'items', 0, 7, gen_random_uuid(), 'bad_value', 'x')",
        std::fs::read_to_string(first).unwrap()
    ));
    let version = |db: &Db| db.one("SELECT max(version) FROM bekk.migrations");
    let all = LetterFilter::default();
    let read = bekk_sink::read_letters(&db.options, &all, 0, 10).unwrap();
    assert_eq!((read.len(), read[0].offset), (1, 7));
    assert_eq!(read[0].resolution, None);
    let latest = bekk_sink::latest_letters(&db.options, &all, None, 10).unwrap();
    assert_eq!(latest, read);
    assert_eq!(bekk_sink::count_letters(&db.options).unwrap()[0].open, 1);
    let names = bekk_sink::letter_names(&db.options).unwrap();
    assert_eq!(names.reasons, ["bad_value"]);
    assert_eq!(version(&db), "1");

    assert_eq!(bekk_sink::discard_letters(&db.options, &all).unwrap(), 1);
    assert_ne!(version(&db), "1");
    assert_eq!(letters(&db), ["7|discarded|bad_value"]);
}
