//! Deletions: rows that go because another producer's record has no value.
//!
//! The keys go through a temporary table of their own. In a batch they are deleted before the rows are written, also
//! those that a later record of the batch writes again: such a row begins anew, with the defaults of columns that the
//! stream does not have, as it would if the records came one by one.

use std::sync::Arc;

use super::{ColumnSet, Staging, StreamTarget, staged_key};
use crate::encode::Target;

/// How a stream's deletions are written.
#[derive(Debug)]
pub(crate) struct Deletion {
    /// The key's columns, and the temporary table for them.
    pub(crate) columns: Arc<ColumnSet>,
    /// How each of them is encoded.
    pub(crate) targets: Vec<Target>,
    /// The columns of the stream's own rows.
    pub(crate) row_columns: Arc<ColumnSet>,
    pub(crate) delete_sql: String,
    /// Counts the rows that are still there.
    pub(crate) count_left_sql: String,
}

impl Deletion {
    pub(crate) fn new(target: &StreamTarget) -> Self {
        let stream = &target.stream;
        let columns = ColumnSet::new(target, &stream.key, Staging::Deletions);
        let names: Vec<String> = stream.columns.iter().map(|c| c.name.clone()).collect();
        // What inherits from an ordinary table is no row of its own; the rows of a partitioned one are its partitions'.
        let only = if target.table.kind == "p" {
            ""
        } else {
            "ONLY "
        };
        let table = format!("{only}{}", target.table.sql_name);
        let (staging, same_key) = (&columns.staging_table, staged_key(target));
        Self {
            targets: stream
                .key_indexes()
                .into_iter()
                .map(|at| target.encodings[at])
                .collect(),
            row_columns: target.column_set(&names),
            delete_sql: format!("DELETE FROM {table} t USING {staging} s WHERE {same_key}"),
            count_left_sql: format!(
                "SELECT pg_catalog.count(*) FROM {staging} s WHERE EXISTS (SELECT FROM {table} t WHERE {same_key})"
            ),
            columns: Arc::new(columns),
        }
    }
}
