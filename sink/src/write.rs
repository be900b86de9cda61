//! A span of a batch's rows, written into the table: straight, or by way of a temporary table.

mod merge;

use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::error::SqlState;

pub(crate) use self::merge::merge_staged;
use crate::batch::{Batch, Sent};
use crate::dead_letter::DeadLetter;
use crate::session::Session;
use crate::target::{ColumnSet, Deletion};
use crate::{PostgresError, search_path};

/// Why a span of rows is not in the table.
pub(crate) enum SpanError {
    /// The server's answer.
    Postgres(tokio_postgres::Error),
    /// The server refused to make a temporary table, which says nothing about the records.
    NoStaging(tokio_postgres::Error),
    /// The server took all of them without an error, and some are not there.
    NotStored,
}

impl From<tokio_postgres::Error> for SpanError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl SpanError {
    pub(crate) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) | Self::NoStaging(error) => error.code(),
            Self::NotStored => None,
        }
    }

    /// What is said of it.
    pub(crate) fn cause(&self) -> PostgresError {
        match self {
            Self::Postgres(error) | Self::NoStaging(error) => PostgresError::from(error),
            Self::NotStored => PostgresError::not_stored(),
        }
    }
}

/// What the table made of a batch's rows.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) inserted: u64,
    pub(crate) deleted: u64,
    pub(crate) conflict: bool,
    pub(crate) refused: Vec<DeadLetter>,
    /// Whether the table took a record.
    pub(crate) passed: bool,
    pub(crate) refused_run: u64,
    /// The temporary tables that were used.
    pub(crate) staging_tables: Vec<String>,
}

/// What became of a span of records.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stored {
    pub(crate) inserted: u64,
    pub(crate) deleted: u64,
}

/// Sets a savepoint and puts the role's search path back, on which the table's triggers and defaults may rely. Rolling
/// back to the savepoint empties it again.
pub(crate) async fn begin_writing(session: &Session) -> Result<(), tokio_postgres::Error> {
    let begin = format!("SAVEPOINT bekk; {}", session.path.restore_sql());
    session.client.batch_execute(&begin).await
}

/// Empties the search path again and releases the savepoint.
pub(crate) async fn end_writing(session: &Session) -> Result<(), tokio_postgres::Error> {
    let end = format!("{}; RELEASE SAVEPOINT bekk", search_path::EMPTY);
    session.client.batch_execute(&end).await
}

/// Deletes what has to go and copies rows straight into the table, which takes all of them. On an error but a lost
/// session, the savepoint stands and has to be rolled back to.
pub(crate) async fn copy_span(
    session: &mut Session,
    columns: &ColumnSet,
    batch: &Batch,
    sent: Sent<'_>,
) -> Result<Stored, SpanError> {
    let deleted = begin_span(session, batch, sent.deletions).await?;
    let inserted = match sent.rows {
        [] => 0,
        rows => copy_in(session, &columns.copy_sql, batch, rows).await?,
    };
    if inserted != sent.rows.len() as u64 {
        return Err(SpanError::NotStored);
    }
    end_writing(session).await?;
    Ok(Stored { inserted, deleted })
}

/// Begins to write a span: its deletions come first. Returns how many rows they deleted.
async fn begin_span(
    session: &mut Session,
    batch: &Batch,
    deletions: &[u32],
) -> Result<u64, SpanError> {
    let Some(deletion) = batch.deletion.as_ref().filter(|_| !deletions.is_empty()) else {
        begin_writing(session).await?;
        return Ok(0);
    };
    make_staging(session, &deletion.columns).await?;
    begin_writing(session).await?;
    delete(session, deletion, batch, deletions).await
}

/// Deletes the rows of some deletions' keys, and returns how many there were. The temporary table must exist.
async fn delete(
    session: &mut Session,
    deletion: &Deletion,
    batch: &Batch,
    deletions: &[u32],
) -> Result<u64, SpanError> {
    copy_in(
        session,
        &deletion.columns.copy_staging_sql,
        batch,
        deletions,
    )
    .await?;
    let delete = session.statement(&deletion.delete_sql).await?;
    let deleted = session.client.execute(&delete, &[]).await?;
    // A trigger or a rule may leave a deletion out.
    let count = session.statement(&deletion.count_left_sql).await?;
    let left: i64 = session.client.query_one(&count, &[]).await?.get(0);
    match left {
        0 => Ok(deleted),
        _ => Err(SpanError::NotStored),
    }
}

/// Makes the temporary table of some columns, outside the savepoint, unless the session has it. If the transaction is
/// rolled back it is made again: IF NOT EXISTS.
async fn make_staging(session: &Session, columns: &ColumnSet) -> Result<(), SpanError> {
    if session.staging_tables.contains(&columns.staging_table) {
        return Ok(());
    }
    let create = &columns.create_staging_sql;
    let made = session.client.batch_execute(create).await;
    made.map_err(SpanError::NoStaging)
}

/// Deletes what has to go, copies rows into the staging table and merges them from there. On an error but a lost
/// session, the savepoint stands and has to be rolled back to.
pub(crate) async fn merge_span(
    session: &mut Session,
    columns: &ColumnSet,
    batch: &Batch,
    sent: Sent<'_>,
) -> Result<Stored, SpanError> {
    if !sent.rows.is_empty() {
        make_staging(session, columns).await?;
    }
    let deleted = begin_span(session, batch, sent.deletions).await?;
    let inserted = match sent.rows {
        [] => 0,
        rows => {
            copy_in(session, &columns.copy_staging_sql, batch, rows).await?;
            merge_staged(session, columns, rows.len() as u64).await?
        }
    };
    end_writing(session).await?;
    Ok(Stored { inserted, deleted })
}

pub(crate) async fn copy_in(
    session: &mut Session,
    sql: &str,
    batch: &Batch,
    rows: &[u32],
) -> Result<u64, tokio_postgres::Error> {
    let statement = session.statement(sql).await?;
    let mut sink = pin!(session.client.copy_in::<_, Bytes>(&statement).await?);
    for chunk in batch.copy_chunks(rows) {
        if let Err(error) = sink.feed(chunk.freeze()).await {
            // Where the server has given up, its reason is what `finish` returns.
            return sink.finish().await.and(Err(error));
        }
    }
    sink.finish().await
}
