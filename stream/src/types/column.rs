//! A column of a stream.

use super::{ColumnSource, ColumnType};
use crate::CsvDialect;

/// A column of a stream: what it is called in the file and in the table, and which values it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name in the table.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it may be null; if not, a missing value is a reject.
    pub nullable: bool,
    /// Its name in the file's header; `name` unless the configuration says otherwise.
    pub header: String,
    /// The only texts accepted, if any are named.
    pub allowed: Option<Vec<String>>,
    /// The least value accepted, as text of the column's type.
    pub min: Option<String>,
    /// The greatest value accepted, as text of the column's type.
    pub max: Option<String>,
    /// How a date or time is written, in strftime's terms; ISO 8601 if absent.
    pub format: Option<String>,
    /// The IANA zone of times written without one, for `timestamptz`.
    pub zone: Option<String>,
    /// The unquoted texts that mean null in it; the dialect's if absent.
    pub null: Option<Vec<String>>,
    /// The decimal mark of its numbers, `b'.'` or `b','`; the dialect's if absent.
    pub decimal: Option<u8>,
    /// What is taken away from its numbers before they are read; nothing if empty.
    pub strip: Vec<String>,
    /// Where its values come from, if not from a field of the record.
    pub source: Option<ColumnSource>,
    /// Texts that mean true, for `bool`; PostgreSQL's spellings if absent.
    pub true_values: Option<Vec<String>>,
    /// Texts that mean false, for `bool`; PostgreSQL's spellings if absent.
    pub false_values: Option<Vec<String>>,
}

impl Column {
    /// Returns a column of that name and type, not null, without further conditions.
    #[must_use]
    pub fn new(name: &str, column_type: ColumnType) -> Self {
        Self {
            name: name.to_owned(),
            column_type,
            nullable: false,
            header: name.to_owned(),
            allowed: None,
            min: None,
            max: None,
            format: None,
            zone: None,
            null: None,
            decimal: None,
            strip: Vec::new(),
            source: None,
            true_values: None,
            false_values: None,
        }
    }

    /// The same column, nullable.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// The decimal mark of its numbers in files of a dialect.
    pub(crate) fn decimal_mark(&self, dialect: &CsvDialect) -> u8 {
        self.decimal.unwrap_or(dialect.decimal)
    }
}
