//! Deletions: rows that go because another producer's record has no value.
//!
//! The keys go through a temporary table of their own. In a batch they are deleted before the rows are written, also
//! those that a later record of the batch writes again: such a row begins anew, with the defaults of columns that the
//! stream does not have, as it would if the records came one by one.

use std::sync::Arc;

use crate::apply::{SpanError, copy_in};
use crate::batch::Batch;
use crate::encode::Target;
use crate::plan::{ColumnSet, Staging, staged_key};
use crate::session::Session;
use crate::target::StreamTarget;

/// How a stream's deletions are written.
#[derive(Debug)]
pub(crate) struct Deletion {
    /// The key's columns, and the temporary table for them.
    pub(crate) columns: Arc<ColumnSet>,
    /// How each of them is encoded.
    pub(crate) targets: Vec<Target>,
    /// The columns of the stream's own rows.
    pub(crate) row_columns: Arc<ColumnSet>,
    delete_sql: String,
    /// Counts the rows that are still there.
    count_left_sql: String,
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

    /// Deletes the rows of some deletions' keys, and returns how many there were. The temporary table must exist.
    pub(crate) async fn apply(
        &self,
        session: &mut Session,
        batch: &Batch,
        deletions: &[u32],
    ) -> Result<u64, SpanError> {
        copy_in(session, &self.columns.copy_staging_sql, batch, deletions).await?;
        let delete = session.statement(&self.delete_sql).await?;
        let deleted = session.client.execute(&delete, &[]).await?;
        // A trigger or a rule may leave a deletion out.
        let count = session.statement(&self.count_left_sql).await?;
        let left: i64 = session.client.query_one(&count, &[]).await?.get(0);
        match left {
            0 => Ok(deleted),
            _ => Err(SpanError::NotStored),
        }
    }
}
