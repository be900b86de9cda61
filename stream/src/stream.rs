//! A stream: one kind of row, from files through a topic into a table.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Column, ColumnSource, CsvDialect, Schema, SchemaColumn, TableName};

/// One kind of row: files in, a topic in the log, a table in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The stream's name, which is also its topic's: `[a-zA-Z0-9._-]`, 1 to 200 bytes.
    pub name: String,
    /// What the topic's records are.
    pub accept: Accept,
    /// Patterns of the files to read, absolute.
    pub files: Vec<String>,
    /// Patterns of files among those to leave alone, absolute.
    pub exclude: Vec<String>,
    /// What becomes of a file that has been read to its end and is closed.
    pub finished: Finished,
    /// The table to write to.
    pub table: TableName,
    /// The columns that identify a row, in order; empty for `append`.
    pub key: Vec<String>,
    /// What happens to a row whose key exists.
    pub on_conflict: OnConflict,
    /// With `update`: the column whose greater value wins, whatever the order of arrival.
    pub newer_by: Option<String>,
    /// The topic's partition count, 1 to 1,024; fixed once the topic exists.
    pub partitions: u32,
    /// How long the log keeps records.
    pub retention: Retention,
    /// Further indexes of the table, each a list of columns.
    pub indexes: Vec<Vec<String>>,
    /// How the files are written.
    pub csv: CsvDialect,
    /// The columns, in the table's order.
    pub columns: Vec<Column>,
}

impl Stream {
    /// The schema of this stream's records: what a row's values are called and typed.
    #[must_use]
    pub fn schema(&self) -> Schema {
        Schema {
            columns: self
                .columns
                .iter()
                .map(|column| SchemaColumn {
                    name: column.name.clone(),
                    column_type: column.column_type.clone(),
                    nullable: column.nullable,
                })
                .collect(),
            key: self.key.clone(),
        }
    }

    /// Whether some column has its values from the file's name, directories or time.
    #[must_use]
    pub fn asks_for_file(&self) -> bool {
        let mut sources = self
            .columns
            .iter()
            .filter_map(|column| column.source.as_ref());
        sources.any(|source| source.is_of_file() && !matches!(source, ColumnSource::Constant(_)))
    }

    /// The columns that are fields of the files' records.
    pub fn fields(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.source.is_none())
    }

    /// The positions of the key columns among the columns.
    #[must_use]
    pub fn key_indexes(&self) -> Vec<usize> {
        self.key
            .iter()
            .filter_map(|key| self.columns.iter().position(|column| column.name == *key))
            .collect()
    }
}

/// What happens to a row whose key exists in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The later record replaces the row.
    Update,
    /// The row stays.
    Ignore,
    /// There is no key: every record is a row.
    Append,
}

/// Which records of a stream's topic are rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// Those that ingest wrote.
    #[default]
    Bekk,
    /// Those, and JSON objects of other producers.
    Json {
        /// Whether a record without a value deletes the row of its key.
        deletes: bool,
    },
}

impl Accept {
    /// Whether records without a value delete rows.
    #[must_use]
    pub fn deletes(self) -> bool {
        self == Self::Json { deletes: true }
    }
}

/// What becomes of a file that is finished and durable in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// It stays.
    Keep,
    /// It is deleted.
    Delete,
    /// It is moved to this directory, absolute.
    Move(PathBuf),
}

/// How long the log keeps a topic's records; whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The age at which a sealed segment may go.
    pub age: Option<Duration>,
    /// The size in bytes above which the oldest segments may go.
    pub size: Option<u64>,
}
