//! What the sink takes for granted of PostgreSQL.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::harness::{Db, until};

fn with_table() -> Db {
    let mut db = Db::new();
    db.execute("CREATE TABLE t (id int PRIMARY KEY, value int); INSERT INTO t VALUES (1, 0)");
    db
}

fn code(db: &Db, sql: &str) -> Option<SqlState> {
    let answer = db.runtime.block_on(db.client().batch_execute(sql));
    answer.err().map(|error| error.code().unwrap().clone())
}

/// `offsets::Move`: a message is skipped from its first error on, so that the UPDATE never runs without its BEGIN.
#[test]
fn nothing_of_a_message_runs_after_an_error_in_it() {
    let db = with_table();
    let begin_fails = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT 1/0; UPDATE t SET value = 1";
    assert_eq!(code(&db, begin_fails), Some(SqlState::DIVISION_BY_ZERO));
    assert_eq!(code(&db, "ROLLBACK"), None);
    // Also where the transaction block has not begun yet.
    let before_begin = "SELECT 1/0; BEGIN; UPDATE t SET value = 1";
    assert_eq!(code(&db, before_begin), Some(SqlState::DIVISION_BY_ZERO));
    assert_eq!(code(&db, "COMMIT"), None);
    assert_eq!(db.one("SELECT value FROM t"), "0");
}

/// `TransactionId::commit`: COMMIT alone reports success for a failed transaction; after a query it does not.
#[test]
fn a_failed_transaction_does_not_pass_for_a_committed_one() {
    let db = with_table();
    let fail = || {
        assert_eq!(code(&db, "BEGIN; UPDATE t SET value = 1"), None);
        assert_eq!(code(&db, "SELECT 1/0"), Some(SqlState::DIVISION_BY_ZERO));
    };
    fail();
    assert_eq!(code(&db, "COMMIT"), None);
    fail();
    let commit = "SELECT txid_current_if_assigned(); COMMIT";
    assert_eq!(code(&db, commit), Some(SqlState::IN_FAILED_SQL_TRANSACTION));
    assert_eq!(code(&db, "ROLLBACK"), None);
    assert_eq!(db.one("SELECT value FROM t"), "0");
}

/// `TransactionId`: the number is the transaction's own, within savepoints too, and is absent outside of it.
#[test]
fn a_transaction_knows_its_number() {
    let db = with_table();
    let number = "SELECT coalesce(txid_current_if_assigned()::text, 'none')";
    let moved = db.one("BEGIN; UPDATE t SET value = 2 RETURNING txid_current()");
    assert_eq!(code(&db, "SAVEPOINT s; UPDATE t SET value = 3"), None);
    assert_eq!(db.one(number), moved);
    assert_eq!(
        code(&db, "ROLLBACK TO SAVEPOINT s; RELEASE SAVEPOINT s"),
        None
    );
    assert_eq!(db.one(number), moved);
    let committed = db.rows(&format!("{number}; COMMIT"));
    assert_eq!(committed, [moved]);
    assert_eq!(db.one(number), "none");
    assert_eq!(db.one("SELECT value FROM t"), "2");
}

/// `offsets::read_one`: a locked read waits for the transaction that moved the row, and then sees its outcome.
#[test]
fn a_locked_read_waits_for_the_outcome() {
    let db = with_table();
    let reader = Db::connect(db.options.clone());
    assert_eq!(code(&db, "BEGIN; UPDATE t SET value = 4"), None);
    std::thread::scope(|scope| {
        let read = scope.spawn(|| reader.one("SELECT value FROM t FOR UPDATE"));
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid IS NOT NULL";
        until("the reader waits", || db.one(waiting) != "0");
        std::thread::sleep(Duration::from_millis(20));
        assert!(!read.is_finished());
        assert_eq!(code(&db, "COMMIT"), None);
        assert_eq!(read.join().unwrap(), "4");
    });
}

/// `merge_sql`: of a row that ON CONFLICT inserted, xmax is 0; of one that it updated, it is not.
#[test]
fn xmax_tells_an_insert_from_an_update() {
    let db = with_table();
    let merge = "INSERT INTO t VALUES (1, 5), (2, 5) ON CONFLICT (id) DO UPDATE SET value = 5 \
                 RETURNING id, xmax = 0";
    assert_eq!(db.rows(merge), ["1|f", "2|t"]);
    // Also within savepoints, and where another transaction has updated the row before.
    let merge = format!("BEGIN; SAVEPOINT s; {merge}; RELEASE SAVEPOINT s; COMMIT");
    assert_eq!(db.rows(&merge), ["1|f", "2|f"]);
}
