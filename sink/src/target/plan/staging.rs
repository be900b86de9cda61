//! The names of temporary tables.

use std::fmt;

/// The use of a temporary table; a session has one for each use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staging {
    /// Rows, by the number of their list of columns.
    Rows(usize),
    /// The keys of rows to delete.
    Deletions,
}

impl fmt::Display for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(number) => write!(f, "{number}"),
            Self::Deletions => f.write_str("deletions"),
        }
    }
}
