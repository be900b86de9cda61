//! Rows that the server takes without an error and that are not in the table: triggers leave them out. Each becomes a
//! dead letter, and none is counted as a row, or as superseded.

use bekk_sink::{DeepAudit, Error};
use bekk_stream::{OnConflict, Stream, Value};
use bekk_testing::assert_matches;

use crate::harness::{Db, Log, assert_exact, deep_audit, drain, opened, rows, two_columns};

/// A trigger that does `act` to every tenth record.
fn trigger(when: &str, act: &str) -> String {
    format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF new.id % 10 = 3 THEN {act}; END IF; RETURN new; END $$;
         CREATE TRIGGER act BEFORE {when} ON items FOR EACH ROW EXECUTE FUNCTION act()"
    )
}

/// Makes a table by `sql`, and appends and applies rows in turn.
fn apply(stream: &Stream, sql: &str, batches: &[&[Vec<Value<'_>>]]) -> (Db, Log) {
    let (mut db, log) = (Db::new(), Log::new());
    db.execute(sql);
    log.open_stream(stream);
    for rows in batches {
        log.append(stream, 0, rows);
        drain(&db, &log, stream).unwrap();
    }
    (db, log)
}

/// The same where the table holds what the records that are no dead letters say.
fn fill(stream: &Stream, sql: &str, batches: &[&[Vec<Value<'_>>]]) -> Db {
    let (db, log) = apply(stream, sql, batches);
    assert_exact(&db, &log.client, "bekk", stream);
    db
}

/// The same where a trigger has changed what it was given.
fn fill_other(stream: &Stream, sql: &str, batches: &[&[Vec<Value<'_>>]]) -> (Db, DeepAudit) {
    let (db, log) = apply(stream, sql, batches);
    let audit = deep_audit(&db, &log.client, "bekk", stream);
    (db, audit)
}

fn check(db: &Db, rows: &str, counts: &str) {
    assert_eq!(db.one("SELECT count(*) FROM items"), rows);
    assert_eq!(
        db.one("SELECT rows, superseded, dead, next FROM bekk.offsets"),
        counts
    );
    let wrong = "SELECT count(*) FROM bekk.dead_letters WHERE reason <> 'not_stored' OR sqlstate IS NOT NULL";
    assert_eq!(db.one(wrong), "0");
}

#[test]
fn a_trigger_that_leaves_rows_out() {
    let stream = two_columns();
    let (first, again) = (rows(0..100, "a"), rows(0..100, "b"));
    let sql = trigger("INSERT", "RETURN NULL");
    let db = fill(&stream, &sql, &[&first, &again]);
    // Each file has ten records whose key the table lacks afterwards.
    check(&db, "90", "90|90|20|200");
    assert_eq!(db.one("SELECT min(name) FROM items"), "b");
    assert!(
        db.one("SELECT detail FROM bekk.dead_letters LIMIT 1")
            .contains("a BEFORE trigger left it out")
    );
}

#[test]
fn a_trigger_that_leaves_rows_out_of_a_table_without_a_key() {
    let mut stream = two_columns();
    stream.on_conflict = OnConflict::Append;
    let rows = rows(0..100, "a");
    let sql = trigger("INSERT", "RETURN NULL").replace(" PRIMARY KEY", "");
    let db = fill(&stream, &sql, &[&rows]);
    check(&db, "90", "90|0|10|100");
}

#[test]
fn a_trigger_that_changes_keys() {
    let rows = rows(0..100, "a");
    let db = fill(
        &two_columns(),
        &trigger("INSERT", "new.id = 1000"),
        &[&rows],
    );
    check(&db, "90", "90|0|10|100");
}

#[test]
fn a_trigger_that_leaves_updates_out() {
    let (first, again) = (rows(0..100, "a"), rows(0..100, "b"));
    let sql = trigger("UPDATE", "RETURN NULL");
    // The third time nothing is left to be updated but what is left out again.
    let db = fill(&two_columns(), &sql, &[&first, &again, &again]);
    check(&db, "100", "100|180|20|300");
    assert_eq!(db.one("SELECT count(*) FROM items WHERE name = 'b'"), "90");
}

#[test]
fn triggers_that_change_values_leave_nothing_out() {
    let (first, again) = (rows(0..100, "a"), rows(0..100, "b"));
    let sql = trigger("INSERT OR UPDATE", "new.name = upper(new.name)");
    let (db, audit) = fill_other(&two_columns(), &sql, &[&first, &again, &again]);
    check(&db, "100", "100|200|0|300");
    assert_eq!(db.one("SELECT count(*) FROM items WHERE name = 'B'"), "10");
    let found = (audit.missing, audit.changed, audit.extra);
    assert_eq!(found, (0, 10, 0), "{audit:?}");
}

/// A trigger before INSERT runs for a record whose key exists, too, and leaves its update out.
#[test]
fn a_trigger_before_insert_that_leaves_updates_out() {
    let (first, again) = (rows(0..100, "a"), rows(0..100, "b"));
    let sql = trigger("INSERT", "IF new.name = 'b' THEN RETURN NULL; END IF");
    let db = fill(&two_columns(), &sql, &[&first, &again, &first]);
    check(&db, "100", "100|190|10|300");
    assert_eq!(db.one("SELECT count(*) FROM items WHERE name = 'a'"), "100");
}

/// A trigger that changes values makes some updates needless, and one that leaves updates out does not hide among them.
#[test]
fn a_trigger_before_both_that_leaves_updates_out() {
    let (first, again) = (rows(0..100, "a"), rows(0..100, "b"));
    let act = "new.name = upper(new.name); IF TG_OP = 'UPDATE' THEN RETURN NULL; END IF";
    let (db, audit) = fill_other(
        &two_columns(),
        &trigger("INSERT OR UPDATE", act),
        &[&first, &first, &again],
    );
    check(&db, "100", "100|190|10|300");
    let found = (audit.missing, audit.changed, audit.extra);
    assert_eq!(found, (0, 10, 0), "{audit:?}");
    assert_eq!(db.one("SELECT count(*) FROM items WHERE name = 'b'"), "90");
}

/// A trigger that writes the row itself and returns NULL leaves nothing out.
#[test]
fn a_trigger_that_writes_rows_itself() {
    let (first, again) = (rows(0..100, "a"), rows(0..100, "b"));
    let act = "IF pg_trigger_depth() = 1 THEN
                   INSERT INTO public.items VALUES (new.id, new.name)
                       ON CONFLICT (id) DO UPDATE SET name = new.name;
                   RETURN NULL;
               END IF";
    let db = fill(
        &two_columns(),
        &trigger("INSERT", act),
        &[&first, &again, &again],
    );
    check(&db, "100", "100|200|0|300");
    assert_eq!(db.one("SELECT count(*) FROM items WHERE name = 'b'"), "100");
}

/// A trigger of one partition leaves out the updates of that partition's rows.
#[test]
fn a_trigger_of_a_partition_that_leaves_updates_out() {
    let (first, again) = (rows(0..100, "a"), rows(0..100, "b"));
    let sql = trigger("UPDATE", "RETURN NULL")
        .replace("name text)", "name text) PARTITION BY RANGE (id)")
        .replace(
            "CREATE FUNCTION",
            "CREATE TABLE low PARTITION OF items FOR VALUES FROM (0) TO (50);
             CREATE TABLE high PARTITION OF items FOR VALUES FROM (50) TO (100); CREATE FUNCTION",
        )
        .replace("ON items", "ON low");
    let db = fill(&two_columns(), &sql, &[&first, &again]);
    check(&db, "100", "100|95|5|200");
}

/// COPY passes rules, and ON CONFLICT is refused where there are some: told before the first batch that needs it.
#[test]
fn a_table_with_rules_is_refused() {
    let (mut db, log, stream) = opened(two_columns());
    db.execute(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         CREATE RULE none AS ON INSERT TO items DO INSTEAD NOTHING",
    );
    log.append(&stream, 0, &rows(0..3, "a"));
    let error = drain(&db, &log, &stream).unwrap_err();
    assert_matches!(&error, Error::TableMismatch { .. });
    assert!(error.to_string().contains("write them as triggers"));
}
