//! Errors of PostgreSQL.

use std::fmt;

use crate::sqlstate::{CANCELLED, IDLED, NO_RIGHT, TOOK_TOO_LONG};

/// An error of PostgreSQL, or of the connection to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresError {
    /// The message and what caused it, on one line.
    pub message: String,
    /// The server's SQLSTATE; absent if the server did not answer.
    pub sqlstate: Option<String>,
    /// The server's detail.
    pub detail: Option<String>,
    /// The server's hint.
    pub hint: Option<String>,
    /// The column at fault, where the server names one.
    pub column: Option<String>,
    /// The constraint at fault, where the server names one.
    pub constraint: Option<String>,
}

impl PostgresError {
    /// An error that the server did not answer.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            sqlstate: None,
            detail: None,
            hint: None,
            column: None,
            constraint: None,
        }
    }

    /// The error for a row that the table lacks although the server reported no error.
    pub(crate) fn not_stored() -> Self {
        Self::new(
            "the server reported no error, and the table does not have the record: a BEFORE trigger left it out, or \
             changed its key",
        )
    }

    /// Whether the server spoke of a table: of its columns, a privilege, its data.
    pub(super) fn is_about_a_table(&self) -> bool {
        let class = self.sqlstate.as_deref().and_then(|code| code.get(..2));
        matches!(
            class,
            Some("21" | "22" | "23" | "3F" | "42" | "44" | "54" | "P0")
        )
    }
}

impl From<&tokio_postgres::Error> for PostgresError {
    fn from(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let mut message = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                let text = cause.to_string();
                // tokio-postgres repeats some causes in its own text.
                if !message.contains(&text) {
                    message.push_str(": ");
                    message.push_str(&text);
                }
                source = cause.source();
            }
            return Self::new(message);
        };
        Self {
            message: db.message().to_owned(),
            sqlstate: Some(db.code().code().to_owned()),
            detail: db.detail().map(str::to_owned),
            hint: db.hint().map(str::to_owned),
            column: db.column().map(str::to_owned),
            constraint: db.constraint().map(str::to_owned),
        }
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        let Some(sqlstate) = &self.sqlstate else {
            return Ok(());
        };
        write!(f, " (SQLSTATE {sqlstate})")?;
        let limit = match sqlstate.as_str() {
            NO_RIGHT => {
                return f.write_str(
                    "; bekk check names each right that the role lacks, with its GRANT",
                );
            }
            // Someone may have cancelled it as well.
            CANCELLED if !self.message.contains("user request") => "statement_timeout",
            IDLED => "idle_in_transaction_session_timeout",
            TOOK_TOO_LONG => "transaction_timeout",
            _ => return Ok(()),
        };
        write!(
            f,
            "; if the role's {limit} is too short: ALTER ROLE … SET {limit} = '5min'"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_only_where_it_may_be_the_cause() {
        let shown = |message: &str, sqlstate: &str| {
            let error = PostgresError {
                sqlstate: Some(sqlstate.to_owned()),
                ..PostgresError::new(message)
            };
            error.to_string()
        };
        let timeout = shown("canceling statement due to statement timeout", "57014");
        assert!(timeout.contains("SET statement_timeout"), "{timeout}");
        let cancelled = shown("canceling statement due to user request", "57014");
        assert!(!cancelled.contains("SET"), "{cancelled}");
        let long = shown("terminating connection", "25P04");
        assert!(long.contains("SET transaction_timeout"), "{long}");
    }
}
