//! The audit finds each fault that is planted, and nothing where there is none; the trace says why a version lost.

use bekk_sink::{DeepAudit, Fate, FindingKind, What, audit_counts};
use bekk_stream::{ColumnType, Decimal, OnConflict, Reason, Reject, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{
    Db, Log, assert_says, column, deep_audit, differences, drain, opened, stream, stream_of, text,
};

fn rows(ids: std::ops::Range<i64>, name: &'static str) -> Vec<Vec<Value<'static>>> {
    ids.map(|id| {
        let price = Value::Decimal(Decimal::new(i128::from(id) * 10, 2));
        vec![Value::Int(id), text(name), price]
    })
    .collect()
}

/// Appends rows from a line of the file on.
fn append(log: &Log, stream: &Stream, first_line: u64, rows: &[Vec<Value<'_>>]) {
    let schema = stream.schema();
    let lines = rows.iter().zip(first_line..);
    let values: Vec<_> = lines
        .map(|(row, line)| log.row(&schema, line, row))
        .collect();
    log.append_raw("items", 0, &values);
}

/// Two versions of ten keys, a reject, and a row that the table refuses.
fn filled(on_conflict: OnConflict) -> (Db, Log, Stream) {
    let (mut db, log) = (Db::new(), Log::new());
    let mut stream = stream_of("items", "id int8, name text, price decimal(12,2)");
    stream.on_conflict = on_conflict;
    if on_conflict == OnConflict::Append {
        stream.key.clear();
    }
    db.execute("CREATE TABLE items (id int8, name text, price numeric CHECK (price < 1000))");
    if on_conflict != OnConflict::Append {
        db.execute("ALTER TABLE items ADD PRIMARY KEY (id)");
    }
    log.open_stream(&stream);
    let schema = stream.schema();
    append(&log, &stream, 2, &rows(0..10, "first"));
    append(&log, &stream, 30, &rows(20_000..20_001, "refused"));
    let reject = Reject::new(b"bad", Reason::ALL[0], None, "");
    log.append_raw("items", 0, &[log.reject(&schema, 40, &reject)]);
    append(&log, &stream, 100, &rows(0..10, "second"));
    drain(&db, &log, &stream).unwrap();
    (db, log, stream)
}

fn deep(db: &Db, log: &Log, stream: &Stream) -> DeepAudit {
    deep_audit(db, &log.client, "bekk", stream)
}

#[test]
fn a_table_that_is_right_is_found_right() {
    for on_conflict in [OnConflict::Update, OnConflict::Ignore, OnConflict::Append] {
        let (db, log, stream) = filled(on_conflict);
        let audit = deep(&db, &log, &stream);
        assert!(audit.is_right(), "{on_conflict:?} {audit:?}");
        assert_eq!((audit.records, audit.dead), (22, 2));
        let rows_expected = if on_conflict == OnConflict::Append {
            20
        } else {
            10
        };
        assert_eq!(audit.rows, rows_expected);
        let file = &audit.files[&log.file];
        assert_eq!((file.records, file.rejects), (22, 1));
        assert_eq!(file.path.as_deref(), Some("/data/events.csv"));
        let counts = audit_counts(&db.options, &log.client, "bekk", &stream).unwrap();
        assert!(
            counts[0].is_right() && counts[0].waiting() == 0,
            "{counts:?}"
        );
        // What comes later is not looked at.
        append(&log, &stream, 200, &rows(50..60, "later"));
        assert!(deep(&db, &log, &stream).is_right());
    }
}

#[test]
fn every_fault_of_a_table_with_a_key_is_found() {
    let (mut db, log, stream) = filled(OnConflict::Update);
    let mut check = |fault: &str, repair: &str, expected: (u64, u64, u64), key: &str| {
        db.execute(fault);
        let audit = deep(&db, &log, &stream);
        let found = differences(&audit);
        assert_eq!(found, expected, "{fault}");
        assert!(!audit.is_right());
        let found = &audit.findings[0].key;
        assert_eq!(found.split(',').next(), Some(key), "{fault}");
        db.execute(repair);
        assert!(deep(&db, &log, &stream).is_right(), "{repair}");
    };
    check(
        "DELETE FROM items WHERE id = 3",
        "INSERT INTO items VALUES (3, 'second', 0.30)",
        (1, 0, 0),
        "3",
    );
    check(
        "UPDATE items SET price = 0.31 WHERE id = 3",
        "UPDATE items SET price = 0.3 WHERE id = 3",
        (0, 1, 0),
        "3",
    );
    // An older version of the row.
    check(
        "UPDATE items SET name = 'first' WHERE id = 4",
        "UPDATE items SET name = 'second' WHERE id = 4",
        (0, 1, 0),
        "4",
    );
    check(
        "UPDATE items SET name = NULL WHERE id = 5",
        "UPDATE items SET name = 'second' WHERE id = 5",
        (0, 1, 0),
        "5",
    );
    check(
        "INSERT INTO items VALUES (77, 'stray', 1)",
        "DELETE FROM items WHERE id = 77",
        (0, 0, 1),
        "77",
    );
    // A batch that was skipped: the offset moved, its rows are not there.
    check(
        "DELETE FROM items",
        "INSERT INTO items SELECT id, 'second', id / 10.0 FROM generate_series(0, 9) id",
        (10, 0, 0),
        "0",
    );
    db.execute("DELETE FROM items WHERE id = 3");
    let finding = &deep(&db, &log, &stream).findings[0];
    assert_eq!(
        (finding.kind, finding.at),
        (FindingKind::Missing, Some((0, 15)))
    );
    assert_eq!(finding.file.as_deref(), Some("/data/events.csv"));
    assert_eq!(finding.line, Some(103));
}

#[test]
fn every_fault_of_a_table_without_a_key_is_found() {
    let (mut db, log, stream) = filled(OnConflict::Append);
    let mut check = |fault: &str, repair: &str, expected: (u64, u64, u64)| {
        db.execute(fault);
        let audit = deep(&db, &log, &stream);
        assert_eq!(differences(&audit), expected, "{fault}");
        db.execute(repair);
        assert!(deep(&db, &log, &stream).is_right(), "{repair}");
    };
    check(
        "INSERT INTO items VALUES (3, 'first', 0.30)",
        "DELETE FROM items WHERE ctid = (SELECT ctid FROM items WHERE id = 3 AND name = 'first' LIMIT 1)",
        (0, 0, 1),
    );
    check(
        "DELETE FROM items WHERE id = 3 AND name = 'first'",
        "INSERT INTO items VALUES (3, 'first', 0.3)",
        (1, 0, 0),
    );
}

/// An offset that was moved by hand: the counts say how many records were passed over.
#[test]
fn a_moved_offset_is_unaccounted() {
    let (mut db, log, stream) = filled(OnConflict::Update);
    append(&log, &stream, 200, &rows(50..60, "skipped"));
    db.execute("UPDATE bekk.offsets SET next = next + 7");
    drain(&db, &log, &stream).unwrap();
    let counts = audit_counts(&db.options, &log.client, "bekk", &stream).unwrap();
    assert_eq!(counts[0].offset.as_ref().unwrap().unaccounted, 7);
    assert!(!counts[0].is_right());
    assert_eq!(deep(&db, &log, &stream).missing, 7);
    db.execute("DELETE FROM bekk.offsets");
    let counts = audit_counts(&db.options, &log.client, "bekk", &stream).unwrap();
    assert!(counts[0].offset.is_none() && !counts[0].is_right());
}

/// The topic was deleted, or made again with fewer partitions.
#[test]
fn a_partition_that_the_log_has_lost_is_not_right() {
    let (db, log, stream) = filled(OnConflict::Update);
    let lost = Log::new();
    let counts = audit_counts(&db.options, &lost.client, "bekk", &stream).unwrap();
    let known = audit_counts(&db.options, &log.client, "bekk", &stream).unwrap();
    assert!(known[0].is_right() && counts.len() == known.len());
    assert_eq!(counts[0].offset, known[0].offset);
    assert!(!counts[0].is_right());
    // A row of a partition that the topic does not have
    let mut db = db;
    db.execute(
        "INSERT INTO bekk.offsets (group_name, topic, partition, next, log_id)
         SELECT group_name, topic, 7, 0, log_id FROM bekk.offsets",
    );
    assert!(deep(&db, &log, &stream).is_right(), "nothing was applied");
    db.execute("UPDATE bekk.offsets SET next = 3 WHERE partition = 7");
    let audit = deep(&db, &log, &stream);
    assert_says(&audit.log_differs[0].1, &["has no partition 7"]);
}

/// The stream's topic was deleted. The rows in the table are nobody's fault, and the audit names the cause.
#[test]
fn the_audit_of_a_deleted_topic_says_so() {
    let (mut db, _, stream) = filled(OnConflict::Update);
    let log = Log::new();
    db.execute(&format!(
        "UPDATE bekk.offsets SET log_id = '{}'",
        log.client.log_id()
    ));
    let audit = deep(&db, &log, &stream);
    assert!(!audit.is_right(), "{audit:?}");
    let says_so = |(_, how): &(u32, String)| how.contains("the log has no topic `items` any more");
    assert!(audit.log_differs.iter().any(says_so), "{audit:?}");
    assert_eq!((audit.extra, audit.missing), (0, 0), "{audit:?}");
    assert_eq!(audit.unexplained, audit.rows);
}

#[test]
fn a_trace_says_why_a_version_lost() {
    let (db, log, stream) = filled(OnConflict::Update);
    let trace =
        |what: &What| bekk_sink::trace(&db.options, &log.client, "bekk", &stream, what).unwrap();
    // The harness gives records no keys; a place finds the record alone.
    let found = trace(&What::Offset(0, 10));
    let Fate::DeadLetter { reason, .. } = &found.versions[0].fate else {
        panic!("{found:?}");
    };
    assert_eq!(reason, "refused");
    let found = trace(&What::Line("events.csv".to_owned(), 103));
    assert_eq!(found.versions[0].text, "3,second,0.30");
    assert_eq!(found.versions[0].offset, 15);
    assert!(
        trace(&What::Line("other.csv".to_owned(), 103))
            .versions
            .is_empty()
    );
}

/// Two streams have a record at the same partition and offset, and one of them is a dead letter.
#[test]
fn a_trace_takes_no_dead_letter_of_another_stream() {
    let (db, log, items) = filled(OnConflict::Update);
    let mut others = items.clone();
    others.name = "others".to_owned();
    others.table.name = "others".to_owned();
    log.open_stream(&others);
    log.append(&others, 0, &rows(0..11, "other"));
    drain(&db, &log, &others).unwrap();
    let trace = |stream| {
        let what = What::Offset(0, 10);
        let mut found = bekk_sink::trace(&db.options, &log.client, "bekk", stream, &what).unwrap();
        found.versions.remove(0).fate
    };
    assert_matches!(trace(&items), Fate::DeadLetter { .. });
    assert_matches!(trace(&others), Fate::Row);
}

/// Values that only PostgreSQL can read are compared as it stores them, and so are keys.
#[test]
fn what_the_server_reads_is_compared_too() {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute("CREATE EXTENSION citext");
    let types = [
        ("id", "pg:cidr"),
        ("name", "text"),
        ("doc", "json"),
        ("span", "pg:int4range"),
    ];
    let columns = types.map(|(name, of)| column(name, of.parse().unwrap()));
    let mut items = stream("items", columns.to_vec());
    items.key = vec!["id".to_owned(), "name".to_owned()];
    db.execute(
        "CREATE TABLE items (id cidr, name citext, doc jsonb, span int4range, PRIMARY KEY (id, name))",
    );
    log.open_stream(&items);
    let row = |id, name, doc: &'static str, span| {
        vec![text(id), text(name), Value::Json(doc.into()), text(span)]
    };
    let rows = [
        row("10.0.0.0/8", "ab", "{\"b\": 1, \"a\":2}", "[1,5]"),
        // The same key to the table.
        row("10/8", "AB", "{\"b\": 1, \"a\":3}", "[1,6)"),
        row("11.0.0.0/8", "ab", "[1.10]", "empty"),
        // No cidr, so that it becomes a dead letter.
        row("11.0.0.1/8", "ab", "{}", "empty"),
    ];
    append(&log, &items, 2, &rows);
    drain(&db, &log, &items).unwrap();
    let audit = deep(&db, &log, &items);
    assert!(audit.is_right(), "{audit:?}");
    assert_eq!((audit.records, audit.dead, audit.rows), (4, 1, 2));
    for (fault, repair) in [
        (
            "doc = '{\"a\": 3, \"b\": 2}'",
            "doc = '{\"a\": 3, \"b\": 1}'",
        ),
        ("span = '[1,7)'", "span = '[1,6)'"),
    ] {
        db.execute(&format!("UPDATE items SET {fault} WHERE id = '10/8'"));
        let audit = deep(&db, &log, &items);
        assert_eq!(differences(&audit), (0, 1, 0), "{fault}");
        assert_eq!(audit.findings[0].at, Some((0, 1)), "{fault}");
        db.execute(&format!("UPDATE items SET {repair} WHERE id = '10/8'"));
        assert!(deep(&db, &log, &items).is_right(), "{repair}");
    }
    db.execute("UPDATE items SET id = '12/8' WHERE id = '11/8'");
    let audit = deep(&db, &log, &items);
    assert_eq!(differences(&audit), (1, 0, 1));
}

/// A letter that somebody deleted leaves a record without an end.
#[test]
fn a_dead_letter_that_is_gone_is_found() {
    let (mut db, log, stream) = filled(OnConflict::Update);
    db.execute("DELETE FROM bekk.dead_letters WHERE reason <> 'refused'");
    let audit = deep(&db, &log, &stream);
    assert!(!audit.is_right());
    let finding = &audit.findings[0];
    assert_eq!((audit.without_letter, audit.missing), (1, 0));
    assert_eq!(
        (finding.kind, finding.at),
        (FindingKind::NoLetter, Some((0, 11)))
    );
    assert_eq!(finding.line, Some(40));
    db.execute("DELETE FROM bekk.dead_letters");
    let audit = deep(&db, &log, &stream);
    assert_eq!((audit.without_letter, audit.missing), (1, 1));
}

/// The group applied other records than the log has.
#[test]
fn another_log_under_the_same_offsets_is_found() {
    let (mut db, log, stream) = filled(OnConflict::Update);
    db.execute("UPDATE bekk.offsets SET mark_crc = mark_crc # 1");
    let audit = deep(&db, &log, &stream);
    assert!(!audit.is_right() && audit.missing == 0);
    assert_says(&audit.log_differs[0].1, &["holds another record"]);
    db.execute("UPDATE bekk.offsets SET mark_crc = mark_crc # 1, next = next + 5");
    let audit = deep(&db, &log, &stream);
    assert_says(&audit.log_differs[0].1, &["ends at offset 22"]);
}

/// Without a key, records of an older list of columns are compared with what the later ones have left.
#[test]
fn rows_without_a_key_of_two_lists_of_columns_are_compared() {
    let (mut db, log, mut stream) = filled(OnConflict::Append);
    db.execute("ALTER TABLE items ADD COLUMN note text");
    stream
        .columns
        .push(column("note", ColumnType::Text).nullable());
    log.declare(&stream.schema());
    let mut wide = rows(0..10, "second");
    for (at, row) in wide.iter_mut().enumerate() {
        row.push(if at < 5 { Value::Null } else { text("x") });
    }
    append(&log, &stream, 300, &wide);
    drain(&db, &log, &stream).unwrap();
    let audit = deep(&db, &log, &stream);
    assert!(audit.is_right(), "{audit:?}");
    assert_eq!(audit.rows, 30);
    db.execute("DELETE FROM items WHERE id = 7 AND note = 'x'");
    let audit = deep(&db, &log, &stream);
    assert_eq!((audit.missing, audit.extra), (1, 0));
    assert_eq!(audit.findings[0].line, Some(307));
    db.execute("INSERT INTO items VALUES (7, 'second', 0.07, 'x')");
    let audit = deep(&db, &log, &stream);
    assert_eq!((audit.missing, audit.extra), (1, 1));
}

/// A key is found by its text, whatever that holds.
#[test]
fn a_trace_finds_a_key_with_a_comma() {
    let (mut db, log, mut items) = opened(stream_of("items", "id text, name text"));
    append(&log, &items, 2, &[vec![text("a,b"), text("c,\"d\"")]]);
    drain(&db, &log, &items).unwrap();
    db.execute("CREATE UNIQUE INDEX ON items (id, name)");
    let row = |stream: &Stream, key: &str| {
        let what = What::Key(key.to_owned());
        bekk_sink::trace(&db.options, &log.client, "bekk", stream, &what)
            .unwrap()
            .row
    };
    assert!(row(&items, "a,b").unwrap().contains("a,b"));
    items.key.push("name".to_owned());
    assert!(row(&items, "\"a,b\",\"c,\"\"d\"\"\"").is_some());
    assert_eq!(row(&items, "a,b"), None);
}
