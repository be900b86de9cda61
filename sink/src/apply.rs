//! The transaction that applies a batch: rows, dead letters, counts and the next offset, all or nothing.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::error::SqlState;

use crate::batch::{Batch, Sent};
use crate::context::Context;
use crate::dead_letter::{self, DeadLetter, Place};
use crate::isolate;
use crate::merge::merge_staged;
use crate::offsets::{Begun, CORRECT_COUNTS, Counts, Move, TransactionId};
use crate::plan::ColumnSet;
use crate::search_path;
use crate::session::Session;
use crate::sqlstate::{Verdict, verdict, verdict_on_rows};
use crate::target::StreamTarget;
use crate::{Error, PostgresError};

/// A batch and all that its transaction needs to know.
pub(crate) struct Job {
    pub(crate) context: Arc<Context>,
    /// The stream and its table, as it was when the batch was made.
    pub(crate) target: Arc<StreamTarget>,
    pub(crate) partition: u32,
    /// The epoch of the lease under which the batch was taken.
    pub(crate) epoch: i64,
    /// Below this offset lie all open dead letters that the group has met before.
    pub(crate) letters_end: u64,
    /// Whether its rows refer to rows of another stream.
    pub(crate) is_child: bool,
    pub(crate) batch: Batch,
    pub(crate) path: Path,
    /// Whether the batch may become dead letters as a whole.
    pub(crate) may_be_refused: bool,
    /// Below this offset, records that are refused because of another row become dead letters.
    pub(crate) final_until: u64,
}

/// Which way into the table is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// COPY straight into the table: the fastest, if no key exists.
    Copy,
    /// COPY into a temporary table, and from there with ON CONFLICT.
    Merge,
}

/// What became of a batch that was committed.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    pub(crate) transaction: TransactionId,
    pub(crate) rows: u64,
    pub(crate) superseded: u64,
    /// Rows that were deleted because a record says so; those records are among the superseded.
    pub(crate) deleted: u64,
    /// Dead letters by reason.
    pub(crate) dead: Vec<String>,
    /// Whether a key existed.
    pub(crate) conflict: bool,
    /// Whether the table took a record.
    pub(crate) passed: bool,
    /// How many records at the end of the batch have been refused without one that passed.
    pub(crate) refused_run: u64,
}

/// Why a batch was not committed, or may not have been.
pub(crate) enum ApplyError {
    /// The offset has been moved or the lease has been taken: read both again.
    Moved,
    /// The table is not the one that the batch was made for any more: look at it again.
    TableAltered,
    /// The server's answer. With `applied`, the COMMIT was under way: the offset tells whether it was done.
    Postgres {
        error: tokio_postgres::Error,
        applied: Option<Applied>,
    },
    /// The record at this offset was refused because of another row, which may yet change.
    Early(u64),
    /// The session was lost while this error was being dealt with.
    SessionLost(PostgresError),
    /// The table refused every record, one by one, which says nothing about a record. With the error that this is if
    /// the table is at fault.
    AllRefused { refused: u64, error: Box<Error> },
    /// Only a person can help.
    Stop(Error),
}

impl From<tokio_postgres::Error> for ApplyError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres {
            error,
            applied: None,
        }
    }
}

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

/// Decides about a temporary table that cannot be made: an event trigger may refuse it, for example.
pub(crate) fn no_staging(error: tokio_postgres::Error) -> ApplyError {
    match verdict(&error) {
        Verdict::Isolate => {
            let act = "make a temporary table, through which rows are merged or deleted";
            ApplyError::Stop(Error::postgres(act, &error))
        }
        _ => error.into(),
    }
}

impl Job {
    fn place(&self) -> Place<'_> {
        let topic = &self.target.stream.name;
        Place {
            group: &self.context.group,
            stream: topic,
            topic,
            partition: self.partition_number(),
            log_id: &self.context.log_id,
        }
    }

    pub(crate) fn partition_number(&self) -> i32 {
        // A topic has at most 1,024 partitions.
        i32::try_from(self.partition).unwrap_or(i32::MAX)
    }
}

/// Applies a batch. On return no transaction is open, unless the session is lost.
pub(crate) async fn apply(session: &mut Session, job: &Job) -> Result<Applied, ApplyError> {
    let result = transaction(session, job).await;
    if result.is_err() {
        session.roll_back().await;
    }
    result
}

async fn transaction(session: &mut Session, job: &Job) -> Result<Applied, ApplyError> {
    let batch = &job.batch;
    // Counted as if every winner were a new row; corrected at the end where that was not so.
    let expected = Counts {
        rows: batch.winners.len() as u64,
        superseded: (batch.rows.len() - batch.winners.len()) as u64,
        dead: batch.dead.len() as u64,
    };
    let begun = move_offset(session, job, expected).await?;
    if begun
        .table
        .is_some_and(|version| version != job.target.table.version)
    {
        return Err(ApplyError::TableAltered);
    }

    let written = match &batch.columns {
        Some(columns) => write_rows(session, job, columns).await?,
        None => Written::default(),
    };
    let letters: Vec<&DeadLetter> = batch.dead.iter().chain(&written.refused).collect();
    if !letters.is_empty() {
        dead_letter::insert(&session.client, session.encoding, job.place(), &letters).await?;
    }
    if batch.from < job.letters_end {
        let passed = batch.from..batch.next;
        dead_letter::resolve_passed(&session.client, job.place(), passed, &letters).await?;
    }
    let counts = Counts {
        rows: written.inserted,
        superseded: batch.rows.len() as u64 - written.inserted - written.refused.len() as u64,
        dead: letters.len() as u64,
    };
    if counts != expected {
        correct_counts(session, job, counts, expected).await?;
    }
    let applied = Applied {
        transaction: begun.transaction,
        rows: counts.rows,
        superseded: counts.superseded,
        deleted: written.deleted,
        dead: letters.iter().map(|letter| letter.reason.clone()).collect(),
        conflict: written.conflict,
        passed: written.passed,
        refused_run: written.refused_run,
    };
    match begun.transaction.commit(&session.client).await {
        Ok(true) => {
            // What this transaction made is there from now on.
            session.staging_tables.extend(written.staging_tables);
            Ok(applied)
        }
        Ok(false) => Err(ApplyError::Stop(Error::TransactionLost {
            topic: job.target.stream.name.clone(),
            partition: job.partition,
            from: batch.from,
        })),
        Err(error) => Err(ApplyError::Postgres {
            error,
            applied: Some(applied),
        }),
    }
}

/// Begins the transaction, moves the offset, which fails unless the lease is still ours, and locks the table.
async fn move_offset(
    session: &mut Session,
    job: &Job,
    counts: Counts,
) -> Result<Begun, ApplyError> {
    let lock = match &job.batch.columns {
        Some(_) => Some(session.lock_sql(&job.target.table).await?),
        None => None,
    };
    let offset = Move {
        group: &job.context.group,
        topic: &job.target.stream.name,
        partition: job.partition_number(),
        epoch: job.epoch,
        from: job.batch.from,
        next: job.batch.next,
        counts,
        lock: lock.as_deref(),
        mark: job.batch.mark,
        passed: job.batch.passed,
    };
    let moved = offset.begin(&session.client).await?;
    moved.ok_or(ApplyError::Moved)
}

async fn correct_counts(
    session: &mut Session,
    job: &Job,
    counts: Counts,
    expected: Counts,
) -> Result<(), tokio_postgres::Error> {
    let difference = |now: u64, then: u64| now.cast_signed() - then.cast_signed();
    let statement = session.statement(CORRECT_COUNTS).await?;
    session
        .client
        .execute(
            &statement,
            &[
                &job.context.group,
                &job.target.stream.name,
                &job.partition_number(),
                &difference(counts.rows, expected.rows),
                &difference(counts.superseded, expected.superseded),
                &difference(counts.dead, expected.dead),
            ],
        )
        .await?;
    Ok(())
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

async fn write_rows(
    session: &mut Session,
    job: &Job,
    columns: &ColumnSet,
) -> Result<Written, ApplyError> {
    let batch = &job.batch;
    let mut conflict = false;
    if columns.is_direct && (job.path == Path::Copy || !columns.is_staged) {
        match copy_span(session, columns, batch, batch.sent()).await {
            Ok(stored) => {
                return Ok(Written {
                    inserted: stored.inserted,
                    deleted: stored.deleted,
                    passed: true,
                    staging_tables: staging_tables(batch, None),
                    ..Written::default()
                });
            }
            Err(SpanError::Postgres(error)) if verdict(&error) != Verdict::Isolate => {
                return Err(error.into());
            }
            Err(SpanError::NoStaging(error)) => return Err(no_staging(error)),
            Err(error) => {
                if !session.roll_back_to_savepoint().await {
                    return Err(ApplyError::SessionLost(error.cause()));
                }
                conflict = error.code() == Some(&SqlState::UNIQUE_VIOLATION);
                if !conflict || !columns.is_staged {
                    return isolate::isolate(session, job, columns, &error).await;
                }
            }
        }
    }
    match merge_span(session, columns, batch, batch.sent()).await {
        Ok(Stored { inserted, deleted }) => Ok(Written {
            inserted,
            deleted,
            conflict: conflict || inserted < batch.winners.len() as u64,
            passed: true,
            staging_tables: staging_tables(batch, Some(columns)),
            ..Written::default()
        }),
        Err(SpanError::Postgres(error))
            if verdict_on_rows(&error, !columns.is_direct) != Verdict::Isolate =>
        {
            Err(error.into())
        }
        Err(SpanError::NoStaging(error)) => Err(no_staging(error)),
        Err(error) => {
            if !session.roll_back_to_savepoint().await {
                return Err(ApplyError::SessionLost(error.cause()));
            }
            isolate::isolate(session, job, columns, &error).await
        }
    }
}

/// The temporary tables that a batch was written through.
fn staging_tables(batch: &Batch, merged: Option<&ColumnSet>) -> Vec<String> {
    let merged = merged.filter(|_| !batch.winners.is_empty());
    let deleted = batch.deletion.as_ref().map(|deletion| &*deletion.columns);
    let used = merged.into_iter().chain(deleted);
    used.map(|columns| columns.staging_table.clone()).collect()
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
    deletion.apply(session, batch, deletions).await
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
