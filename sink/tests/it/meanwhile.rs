//! Tables that are altered or dropped while a command looks at them.

use std::sync::mpsc::{TryRecvError, channel};
use std::time::{Duration, Instant};

use bekk_sink::{Error, check};
use bekk_testing::assert_matches;
use tempfile::TempDir;

use crate::harness::{Db, Log, assert_exact, drain, opened, rows, two_columns, until};

/// How long tables are altered for at least
const ALTERED_FOR: Duration = Duration::from_secs(4);
/// Rounds of checks that run meanwhile, at least
const CHECKS_MIN: u32 = 6;

/// Columns, constraints and the table itself come and go. Queries of the catalog see a column that a function which they
/// call does not find any more.
#[test]
fn a_check_beside_changes_of_the_table_ends_without_a_panic() {
    let (mut db, log) = (Db::new(), Log::new());
    let mut items = two_columns();
    items.columns[1].allowed = Some(vec!["x".to_owned()]);
    log.open_stream(&items);
    drain(&db, &log, &items).unwrap();
    let options = db.options.clone();
    let streams = std::slice::from_ref(&items);
    let begun = Instant::now();
    // The sender goes when the checks end, also if one of them fails.
    let (checking, checked) = channel::<()>();
    std::thread::scope(|scope| {
        let _checking = checking;
        scope.spawn(move || {
            // Many, so that a query of the catalog takes long.
            let columns = |act: &str, of: &str| {
                let each = (0..100).map(|at| format!("{act} more_{at} {of}"));
                each.collect::<Vec<_>>().join(", ")
            };
            let condition = "CHECK (name IN ('x'))";
            while checked.try_recv() == Err(TryRecvError::Empty) {
                db.execute(&format!(
                    "ALTER TABLE items {}",
                    columns("ADD COLUMN", "int")
                ));
                db.execute(&format!("ALTER TABLE items {}", columns("DROP COLUMN", "")));
                db.execute("ALTER TABLE items DROP CONSTRAINT IF EXISTS items_name_check");
                db.execute(&format!(
                    "ALTER TABLE items ADD CONSTRAINT items_name_check {condition}"
                ));
                db.execute("DROP TABLE items");
                db.execute(&format!(
                    "CREATE TABLE items (id int8 PRIMARY KEY, name text {condition})"
                ));
            }
        });
        let mut checks = 0;
        while begun.elapsed() < ALTERED_FOR || checks < CHECKS_MIN {
            let looks = [
                check(&options, streams).map(drop),
                bekk_sink::table_faults(&options, ("bekk", None), streams).map(drop),
                bekk_sink::tables_with_rows(&options, streams).map(drop),
            ];
            for error in looks.into_iter().filter_map(Result::err) {
                assert_matches!(error, Error::Postgres { .. });
            }
            checks += 1;
        }
    });
}

/// The table is rewritten after the audit has taken its snapshot, in which the new file has no rows.
#[test]
fn an_audit_beside_a_rewrite_of_the_table_reports_no_missing_rows() {
    let (db, log, items) = opened(two_columns());
    log.append(&items, 0, &rows(0..10, "x"));
    drain(&db, &log, &items).unwrap();
    let mut admin = Db::connect(db.options.clone());
    admin.execute(
        "BEGIN; ALTER TABLE items ALTER id TYPE numeric; ALTER TABLE items ALTER id TYPE int8",
    );
    let dir = TempDir::new().unwrap();
    let error = std::thread::scope(|scope| {
        let audit =
            || bekk_sink::audit_content(&db.options, &log.client, "bekk", &items, dir.path());
        let audit = scope.spawn(audit);
        until("it waits for the table", || {
            db.one(
                "SELECT count(*) FROM pg_locks WHERE relation = 'items'::regclass AND NOT granted",
            ) == "1"
        });
        admin.execute("COMMIT");
        audit.join().unwrap().unwrap_err()
    });
    assert_matches!(error, Error::TableAltered { .. });
    assert_exact(&db, &log.client, "bekk", &items);
}
