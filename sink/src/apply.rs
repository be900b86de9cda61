//! The transaction that applies a batch: rows, dead letters, counts and the next offset, all or nothing.

use std::sync::Arc;

use tokio_postgres::error::SqlState;

use crate::Error;
use crate::batch::Batch;
use crate::context::Context;
use crate::dead_letter::{self, DeadLetter, Place};
use crate::isolate::{self, By};
use crate::job::{Applied, ApplyError, Job, Path, no_staging};
use crate::offsets::{Begun, CORRECT_COUNTS, Counts, Move};
use crate::session::Session;
use crate::sqlstate::{Verdict, verdict, verdict_on_rows};
use crate::target::ColumnSet;
use crate::write::{SpanError, Stored, Written, copy_span, merge_span};

/// Applies a batch. On return no transaction is open, unless the session is lost.
pub(crate) async fn apply(
    session: &mut Session,
    context: &Arc<Context>,
    job: &Job,
) -> Result<Applied, ApplyError> {
    let result = transaction(session, context, job).await;
    if result.is_err() {
        session.roll_back().await;
    }
    result
}

async fn transaction(
    session: &mut Session,
    context: &Arc<Context>,
    job: &Job,
) -> Result<Applied, ApplyError> {
    let batch = &job.batch;
    // Counted as if every winner were a new row; corrected at the end where that was not so.
    let expected = Counts {
        rows: batch.winners.len() as u64,
        superseded: (batch.rows.len() - batch.winners.len()) as u64,
        dead: batch.dead.len() as u64,
    };
    let begun = move_offset(session, context, job, expected).await?;
    if begun
        .table
        .is_some_and(|version| version != job.target.table.version)
    {
        return Err(ApplyError::TableAltered);
    }

    let written = match &batch.columns {
        Some(columns) => write_rows(session, context, job, columns).await?,
        None => Written::default(),
    };
    let letters: Vec<&DeadLetter> = batch.dead.iter().chain(&written.refused).collect();
    let place = place_of(context, job);
    if !letters.is_empty() {
        let taken = dead_letter::insert(&session.client, session.encoding, place, &letters).await?;
        if taken != letters.len() as u64 {
            return Err(ApplyError::Stop(Error::LettersLeftOut));
        }
    }
    if batch.from < job.letters_end {
        let passed = batch.from..batch.next;
        dead_letter::resolve_passed(&session.client, place, passed, &letters).await?;
    }
    let counts = Counts {
        rows: written.inserted,
        superseded: batch.rows.len() as u64 - written.inserted - written.refused.len() as u64,
        dead: letters.len() as u64,
    };
    if counts != expected {
        correct_counts(session, context, job, counts, expected).await?;
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

fn place_of<'a>(context: &'a Context, job: &'a Job) -> Place<'a> {
    let topic = &job.target.stream.name;
    Place {
        group: &context.group,
        stream: topic,
        topic,
        partition: job.partition_number(),
        log_id: &context.log_id,
    }
}

/// Begins the transaction, moves the offset, which fails unless the lease is still ours, and locks the table.
async fn move_offset(
    session: &mut Session,
    context: &Context,
    job: &Job,
    counts: Counts,
) -> Result<Begun, ApplyError> {
    let lock = match &job.batch.columns {
        Some(_) => Some(session.lock_sql(&job.target.table).await?),
        None => None,
    };
    let offset = Move {
        offsets_table: context.server.offsets_table(),
        group: &context.group,
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
    context: &Context,
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
                &context.group,
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

async fn write_rows(
    session: &mut Session,
    context: &Arc<Context>,
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
                    return isolate::isolate(session, context, job, (columns, By::Copy), &error)
                        .await;
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
            isolate::isolate(session, context, job, (columns, By::Merge), &error).await
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
