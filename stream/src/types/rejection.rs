//! Why a field is no value of its column.

use std::fmt;

use super::ColumnType;
use crate::Reason;

/// How much of a faulty value a message shows, in characters.
const SHOWN_MAX: usize = 60;

/// Why a field is no value of its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The kind of fault.
    pub reason: Reason,
    /// What was found and what would have been right, for a person.
    pub detail: String,
}

impl Rejection {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    /// The rejection of a setting that has no meaning for its column's type.
    pub(crate) fn without_meaning(setting: &str, column_type: &ColumnType) -> Self {
        Self::new(
            Reason::BadValue,
            format!("`{setting}` has no meaning for type {column_type}"),
        )
    }
}

/// A faulty value as a message shows it: quoted, escaped, cut to [`SHOWN_MAX`].
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.0[..self.0.len().min(SHOWN_MAX * 4)];
        let text = String::from_utf8_lossy(head);
        let shown: String = text
            .chars()
            .take(SHOWN_MAX)
            .flat_map(char::escape_debug)
            .collect();
        let more = if self.0.len() > head.len() || text.chars().nth(SHOWN_MAX).is_some() {
            "…"
        } else {
            ""
        };
        write!(f, "`{shown}{more}`")
    }
}
