//! What an error of PostgreSQL means for the sink: the one place that knows.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

/// A row refers to one that is not there.
pub(crate) const NO_PARENT: &str = "23503";
/// The role lacks a right.
pub(crate) const NO_RIGHT: &str = "42501";
/// The statement took longer than `statement_timeout`, or was cancelled.
pub(crate) const CANCELLED: &str = "57014";
/// The transaction idled longer than `idle_in_transaction_session_timeout`.
pub(crate) const IDLED: &str = "25P03";
/// The transaction took longer than `transaction_timeout`.
pub(crate) const TOOK_TOO_LONG: &str = "25P04";
/// A wait for a lock ended in vain.
pub(crate) const NO_LOCK: &str = "55P03";
/// The server or the role has no connection left.
pub(crate) const NO_CONNECTION: &str = "53300";
/// A publication filters or lists columns that its table's replica identity lacks, or ON CONFLICT finds no unique index.
pub(crate) const NO_SUCH_KEY: &str = "42P10";
/// A published table has no replica identity.
pub(crate) const NO_IDENTITY: &str = "55000";
/// A table, a column, a unique index or a schema does not exist.
pub(crate) const MISSING: [&str; 4] = ["42P01", "42703", NO_SUCH_KEY, "3F000"];

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wait and try again, without end: the server is away, restarting, full or busy.
    Wait,
    /// Stop: only a person can help.
    Stop,
    /// The statement was cancelled or timed out: try again with half as many records.
    Halve,
    /// Something in the batch is at fault: find out which record.
    Isolate,
}

/// Decides what an error of a statement means.
pub(crate) fn verdict(error: &tokio_postgres::Error) -> Verdict {
    let Some(db) = error.as_db_error() else {
        return if is_lost_connection(error) {
            Verdict::Wait
        } else {
            Verdict::Stop
        };
    };
    // A backend that ends takes its transaction with it, whatever it says about the reason; the next
    // connection tells whether the reason stays. A refusal to log in is no such end.
    let ends = matches!(db.severity(), "FATAL" | "PANIC");
    match (verdict_of_code(db.code().code()), ends) {
        (Verdict::Halve | Verdict::Isolate, true) => Verdict::Wait,
        (verdict, _) => verdict,
    }
}

/// Decides whether to connect again after the server has refused a connection.
pub(crate) fn verdict_on_connecting(error: &tokio_postgres::Error) -> Verdict {
    match error.code() {
        // The database takes no connections for now (ALTER DATABASE … ALLOW_CONNECTIONS false), as for maintenance.
        Some(code) if *code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => Verdict::Wait,
        _ => verdict(error),
    }
}

/// The same of a statement in which input functions may have read the values of records (`reads_texts`).
pub(crate) fn verdict_on_rows(error: &tokio_postgres::Error, reads_texts: bool) -> Verdict {
    let code = error.code().map(SqlState::code);
    match reads_texts && error.as_db_error().is_some() && is_of_an_input(code) {
        true => Verdict::Isolate,
        false => verdict(error),
    }
}

/// Whether input functions refuse texts with that code, which otherwise is about the statement: those of `jsonpath` and
/// `tsquery` speak of syntax, those of `regtype` and the like of names, and extensions give no code of their own.
pub(crate) fn is_of_an_input(code: Option<&str>) -> bool {
    matches!(code, Some("42601" | "42704" | "42P01" | "42883" | "XX000"))
}

fn verdict_of_code(code: &str) -> Verdict {
    match code {
        CANCELLED => Verdict::Halve,
        // Lock timeout, object in use, read-only server, transactions that took or idled too long.
        NO_LOCK | "55006" | "25006" | IDLED | TOOK_TOO_LONG => Verdict::Wait,
        // Our COPY data is not what the table takes, or a message is not what the protocol says.
        "22P03" | "22P04" | "08P01" => Verdict::Stop,
        // Damaged data or a damaged index: no record is at fault, and what is written next to it may be lost.
        "XX001" | "XX002" => Verdict::Stop,
        // A sequence has run out: each record would be refused, whatever its values.
        "2200H" => Verdict::Stop,
        _ => match code.get(..2).unwrap_or("") {
            // Connection, serialisation and deadlock, resources, system error.
            "08" | "40" | "53" | "58" => Verdict::Wait,
            // Operator intervention: shutdown, crash, cannot connect now. (57014 is above.)
            "57" => Verdict::Wait,
            // What the server does not do (such as COPY where row level security applies), state of a transaction,
            // statement names, login, names of databases and schemas, syntax and privileges, prerequisites of a table.
            "0A" | "25" | "26" | "28" | "3D" | "3F" | "42" | "55" => Verdict::Stop,
            _ => Verdict::Isolate,
        },
    }
}

/// Whether the server ended the session because its transaction took too long, or an administrator did.
pub(crate) fn is_ended(error: &tokio_postgres::Error) -> bool {
    matches!(
        error.code().map(SqlState::code),
        Some(IDLED | TOOK_TOO_LONG | "57P01")
    )
}

/// Whether another session would fare better: this one may have settings that are out of date.
pub(crate) fn wants_new_session(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

/// Whether a statement was prepared in another session than it ran in, which only a connection pooler does.
pub(crate) fn is_of_a_pooler(error: &tokio_postgres::Error) -> bool {
    matches!(error.code().map(SqlState::code), Some("26000" | "42P05"))
}

/// Whether an error class speaks about the values of a record, so that a record can be judged by it
/// even if no other passed.
pub(crate) fn is_about_data(code: Option<&str>) -> bool {
    // Cardinality, data exception, integrity, WITH CHECK OPTION, program limits, RAISE in a trigger.
    matches!(
        code.and_then(|code| code.get(..2)),
        Some("21" | "22" | "23" | "44" | "54" | "P0")
    )
}

/// Whether a record was refused because of another row, there or missing, that another record may change.
pub(crate) fn is_about_another_row(error: &tokio_postgres::Error) -> bool {
    [
        SqlState::UNIQUE_VIOLATION,
        SqlState::EXCLUSION_VIOLATION,
        SqlState::FOREIGN_KEY_VIOLATION,
    ]
    .iter()
    .any(|code| error.code() == Some(code))
}

fn is_lost_connection(error: &tokio_postgres::Error) -> bool {
    if error.is_closed() {
        return true;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            // A certificate that we refuse arrives as an I/O error, and no waiting makes it good.
            return io
                .get_ref()
                .is_none_or(|inner| inner.downcast_ref::<rustls::Error>().is_none());
        }
        source = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let check = |code, expected| assert_eq!(verdict_of_code(code), expected, "{code}");
        for code in [
            "08006", "40001", "40P01", "53100", "53300", "55P03", "57P01", "57P03", "25006",
            "58030", "25P03", "25P04", "55006",
        ] {
            check(code, Verdict::Wait);
        }
        for code in [
            "42501", "42P01", "28P01", "3D000", "3F000", "22P04", "22P03", "08P01", "0A000",
            "25P02", "26000", "2200H", "55000", "XX001", "XX002",
        ] {
            check(code, Verdict::Stop);
        }
        check("57014", Verdict::Halve);
        for code in [
            "23505", "23514", "22001", "22P02", "21000", "P0001", "54000", "XX000",
        ] {
            check(code, Verdict::Isolate);
        }
    }
}
