//! Finding the records that the table refuses, so that the rest of their batch lands.
//!
//! The span is taken in log order, before deduplication: where the winner of a key is refused, the record
//! before it counts. Spans that pass are applied at once, in log order, so that what has been applied when a
//! record is judged is just what stood before it.

mod spans;

use std::sync::Arc;

use tokio_postgres::error::SqlState;

use self::spans::{Spans, failed_at};
use crate::batch::{Batch, Sent};
use crate::context::Context;
use crate::dead_letter::DeadLetter;
use crate::job::{ApplyError, Job, no_staging};
use crate::prepare::{Source, dead_letters_at};
use crate::session::Session;
use crate::sqlstate::{
    NO_PARENT, Verdict, is_about_another_row, is_about_data, is_of_an_input, verdict_on_rows,
};
use crate::target::ColumnSet;
use crate::write::{SpanError, Stored, Written, copy_span, merge_span};
use crate::{Error, PostgresError};

/// Number of rows without the rows they refer to, refused one by one, after which the rest of a batch is not tried.
const ORPHANS_MAX: u64 = 100;

/// How spans reach the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Straight, until a key is in the table already.
    Copy,
    /// By way of the temporary table.
    Merge,
}

/// Applies the batch's rows span by span. `first` is what the server said of them all together; the
/// caller has rolled back to before them.
pub(crate) async fn isolate(
    session: &mut Session,
    context: &Arc<Context>,
    job: &Job,
    (columns, mut by): (&ColumnSet, By),
    first: &SpanError,
) -> Result<Written, ApplyError> {
    let batch = &job.batch;
    let mut written = Written::default();
    let mut passed = 0;
    let mut refused = Vec::new();
    let mut last = Refused::of(first, columns);
    let mut spans = Spans::of(batch, first);
    while let Some((start, end)) = spans.next() {
        let rows = batch.winners_of(start..end);
        let sent = Sent {
            deletions: &batch.deletions_of(start..end),
            rows: &rows,
        };
        match write_one_span(session, (columns, by), batch, sent).await {
            Ok(stored) => {
                written.inserted += stored.inserted;
                written.deleted += stored.deleted;
                written.refused_run = 0;
                passed += end - start;
                spans.has_passed((start, end));
            }
            Err(SpanError::Postgres(error))
                if verdict_on_rows(&error, !columns.is_direct) != Verdict::Isolate =>
            {
                return Err(error.into());
            }
            Err(SpanError::NoStaging(error)) => return Err(no_staging(error)),
            Err(error) => {
                if !session.roll_back_to_savepoint().await {
                    return Err(ApplyError::SessionLost(error.cause()));
                }
                let is_conflict = error.code() == Some(&SqlState::UNIQUE_VIOLATION);
                if by == By::Copy && is_conflict && columns.is_staged {
                    by = By::Merge;
                    spans.again((start, end));
                    continue;
                }
                if end - start > 1 {
                    spans.has_failed((start, end), failed_at(batch, &rows, &error));
                    continue;
                }
                last = Refused::of(&error, columns);
                let offset = batch.rows[start].offset;
                if offset >= job.final_until && last.is_about_another_row {
                    return Err(ApplyError::Early(offset));
                }
                refused.push((offset, error));
                written.refused_run += 1;
                if passed == 0 && is_enough(job, &last, &written) {
                    let refused = written.refused_run;
                    let error = Box::new(every_record_refused(job, refused, last.cause));
                    return Err(ApplyError::AllRefused { refused, error });
                }
            }
        }
    }
    if passed == 0
        && let Some(error) = judge(job, written.refused_run, last)
    {
        return Err(error);
    }
    written.passed = passed > 0;
    written.conflict = by == By::Merge;
    written.refused = letters(context, job, refused).await?;
    Ok(written)
}

/// Whether so many rows lack the rows to which they refer that the rest of the batch is not tried.
fn is_enough(job: &Job, last: &Refused, written: &Written) -> bool {
    let lacks_parent = last.cause.sqlstate.as_deref() == Some(NO_PARENT);
    job.is_child && lacks_parent && written.refused_run >= ORPHANS_MAX
}

/// Why a record was refused.
struct Refused {
    cause: PostgresError,
    /// Whether that speaks about the values of the record.
    is_about_data: bool,
    /// Whether it is because of another row.
    is_about_another_row: bool,
}

impl Refused {
    fn of(error: &SpanError, columns: &ColumnSet) -> Self {
        let cause = error.cause();
        let code = cause.sqlstate.as_deref();
        Self {
            is_about_data: matches!(error, SpanError::NotStored)
                || is_about_data(code)
                || !columns.is_direct && is_of_an_input(code),
            is_about_another_row: matches!(error, SpanError::Postgres(error) if is_about_another_row(error)),
            cause,
        }
    }
}

/// Writes one of several spans of a transaction.
async fn write_one_span(
    session: &mut Session,
    (columns, by): (&ColumnSet, By),
    batch: &Batch,
    sent: Sent<'_>,
) -> Result<Stored, SpanError> {
    let stored = match by {
        By::Copy => copy_span(session, columns, batch, sent).await?,
        By::Merge => merge_span(session, columns, batch, sent).await?,
    };
    // A staging table empties itself at COMMIT only, and the next span must not find these rows.
    let is_merged = by == By::Merge && !sent.rows.is_empty();
    let merged = is_merged.then_some(&columns.staging_table);
    let deletion = batch
        .deletion
        .as_ref()
        .filter(|_| !sent.deletions.is_empty());
    let deleted = deletion.map(|deletion| &deletion.columns.staging_table);
    for table in merged.into_iter().chain(deleted) {
        let truncate = format!("TRUNCATE {table}");
        session.client.batch_execute(&truncate).await?;
    }
    Ok(stored)
}

/// Returns the error of a batch whose records are all refused, because the table may be at fault; `None` if it is known that
/// the table is not.
fn judge(job: &Job, refused: u64, last: Refused) -> Option<ApplyError> {
    let is_about_data = last.is_about_data;
    if job.may_be_refused && is_about_data {
        return None;
    }
    let error = every_record_refused(job, refused, last.cause);
    Some(match is_about_data {
        true => ApplyError::AllRefused {
            refused,
            error: Box::new(error),
        },
        false => ApplyError::Stop(error),
    })
}

fn every_record_refused(job: &Job, refused: u64, cause: PostgresError) -> Error {
    Error::EveryRecordRefused {
        table: job.target.table.full_name.clone(),
        topic: job.target.stream.name.clone(),
        partition: job.partition,
        from: job.batch.from,
        records: refused,
        cause: Box::new(cause),
    }
}

/// Makes dead letters of records that were refused, by their offsets, which it reads again from the log.
async fn letters(
    context: &Arc<Context>,
    job: &Job,
    refused: Vec<(u64, SpanError)>,
) -> Result<Vec<DeadLetter>, ApplyError> {
    let context = Arc::clone(context);
    let (target, partition) = (Arc::clone(&job.target), job.partition);
    let offsets: Vec<u64> = refused.iter().map(|(offset, _)| *offset).collect();
    let read = tokio::task::spawn_blocking(move || {
        let source = Source {
            group: &context.group,
            log: &context.log,
            meta: &context.meta,
            target: &target,
            partition,
        };
        dead_letters_at(source, &offsets)
    })
    .await;
    let letters = match read {
        Ok(letters) => letters.map_err(ApplyError::Stop)?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    let because = |(letter, (_, error)): (DeadLetter, (u64, SpanError))| match error {
        SpanError::NotStored => letter.not_stored(&error.cause()),
        SpanError::Postgres(_) | SpanError::NoStaging(_) => letter.refused(&error.cause()),
    };
    Ok(letters.into_iter().zip(refused).map(because).collect())
}
