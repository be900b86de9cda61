//! Finding the records that the table refuses, so that the rest of their batch lands.
//!
//! The span is taken in log order, before deduplication: where the winner of a key is refused, the record
//! before it counts. Spans that pass are applied at once, in log order, so that what has been applied when a
//! record is judged is just what stood before it.

use std::sync::Arc;

use crate::batch::{Batch, Sent};
use crate::context::Context;
use crate::dead_letter::DeadLetter;
use crate::job::{ApplyError, Job, no_staging};
use crate::prepare::{Source, dead_letter_at};
use crate::session::Session;
use crate::sqlstate::{
    NO_PARENT, Verdict, is_about_another_row, is_about_data, is_of_an_input, verdict_on_rows,
};
use crate::target::ColumnSet;
use crate::write::{SpanError, Stored, Written, copy_span, merge_span};
use crate::{Error, PostgresError};

/// Number of rows without the rows they refer to, refused one by one, after which the rest of a batch is not tried.
const ORPHANS_MAX: u64 = 100;

/// Applies the batch's rows span by span. `first` is what the server said of them all together; the
/// caller has rolled back to before them.
pub(crate) async fn isolate(
    session: &mut Session,
    context: &Arc<Context>,
    job: &Job,
    columns: &ColumnSet,
    first: &SpanError,
) -> Result<Written, ApplyError> {
    let batch = &job.batch;
    let mut written = Written {
        conflict: true,
        ..Written::default()
    };
    let mut passed = 0;
    let mut last = Refused::of(first, columns);
    // Spans still to be applied, the next one last.
    let mut spans = first_spans(batch, first);
    while let Some((start, end)) = spans.pop() {
        let rows = batch.winners_of(start..end);
        let sent = Sent {
            deletions: &batch.deletions_of(start..end),
            rows: &rows,
        };
        let applied = if columns.is_staged {
            merge_one_span(session, columns, batch, sent).await
        } else {
            copy_span(session, columns, batch, sent).await
        };
        match applied {
            Ok(stored) => {
                written.inserted += stored.inserted;
                written.deleted += stored.deleted;
                written.refused_run = 0;
                passed += end - start;
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
                if end - start > 1 {
                    split(&mut spans, (start, end), failed_at(batch, &rows, &error));
                    continue;
                }
                last = Refused::of(&error, columns);
                refuse(
                    context,
                    job,
                    batch.rows[start].offset,
                    &error,
                    &last,
                    &mut written,
                )
                .await?;
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
    Ok(written)
}

fn first_spans(batch: &Batch, first: &SpanError) -> Vec<(usize, usize)> {
    let whole = (0, batch.rows.len());
    if batch.rows.len() <= 1 {
        return vec![whole];
    }
    let mut spans = Vec::new();
    split(&mut spans, whole, failed_at(batch, &batch.winners, first));
    spans
}

/// Makes a refused record a dead letter, unless another row may still make room for it.
async fn refuse(
    context: &Arc<Context>,
    job: &Job,
    offset: u64,
    error: &SpanError,
    refused: &Refused,
    written: &mut Written,
) -> Result<(), ApplyError> {
    if offset >= job.final_until && refused.is_about_another_row {
        return Err(ApplyError::Early(offset));
    }
    let letter = read_again(context, job, offset).await?;
    written.refused.push(match error {
        SpanError::Postgres(_) | SpanError::NoStaging(_) => letter.refused(&refused.cause),
        SpanError::NotStored => letter.not_stored(&refused.cause),
    });
    written.refused_run += 1;
    Ok(())
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

/// Merges one of several spans of a transaction.
async fn merge_one_span(
    session: &mut Session,
    columns: &ColumnSet,
    batch: &Batch,
    sent: Sent<'_>,
) -> Result<Stored, SpanError> {
    let stored = merge_span(session, columns, batch, sent).await?;
    // A staging table empties itself at COMMIT only, and the next span must not find these rows.
    let merged = (!sent.rows.is_empty()).then_some(&columns.staging_table);
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

/// Splits a span that failed: at the row that is known to be at fault, else in the middle.
fn split(spans: &mut Vec<(usize, usize)>, (start, end): (usize, usize), at: Option<usize>) {
    let parts = match at {
        Some(at) if (start..end).contains(&at) => [(start, at), (at, at + 1), (at + 1, end)],
        _ => {
            let middle = start + (end - start) / 2;
            [(start, middle), (middle, end), (end, end)]
        }
    };
    spans.extend(parts.into_iter().rev().filter(|(start, end)| start < end));
}

/// The row at fault, where the server names a line of the COPY: `COPY events, line 3, column price`.
fn failed_at(batch: &Batch, sent: &[u32], error: &SpanError) -> Option<usize> {
    let SpanError::Postgres(error) = error else {
        return None;
    };
    let context = error.as_db_error()?.where_()?;
    let line = copy_line(context)?;
    let row = *sent.get(line.checked_sub(1)?)? as usize;
    (row < batch.rows.len()).then_some(row)
}

fn copy_line(context: &str) -> Option<usize> {
    // The innermost context stands first; a trigger's own COPY or a function has other lines before it.
    let line = context.lines().find(|line| line.starts_with("COPY "))?;
    let (_, behind) = line.rsplit_once(", line ")?;
    let digits = behind.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Reads a record again from the log, for its dead letter.
async fn read_again(
    context: &Arc<Context>,
    job: &Job,
    offset: u64,
) -> Result<DeadLetter, ApplyError> {
    let context = Arc::clone(context);
    let (target, partition) = (Arc::clone(&job.target), job.partition);
    let letter = tokio::task::spawn_blocking(move || {
        let source = Source {
            group: &context.group,
            log: &context.log,
            meta: &context.meta,
            target: &target,
            partition,
        };
        dead_letter_at(source, offset)
    })
    .await;
    match letter {
        Ok(letter) => letter.map_err(ApplyError::Stop),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_copy_is_found() {
        let check = |context, expected| assert_eq!(copy_line(context), expected, "{context}");
        check("COPY events, line 3, column price: \"x\"", Some(3));
        check("COPY a, line 7, line 12", Some(12));
        check("SQL function \"f\"\nCOPY events, line 41", Some(41));
        check("PL/pgSQL function f() line 3 at RAISE", None);
    }

    #[test]
    fn spans_are_split_in_order() {
        let check = |at, expected: &[(usize, usize)]| {
            let mut spans = vec![(9, 12)];
            split(&mut spans, (2, 6), at);
            let popped: Vec<_> = std::iter::from_fn(|| spans.pop()).collect();
            assert_eq!(popped[..popped.len() - 1], *expected);
        };
        check(None, &[(2, 4), (4, 6)]);
        check(Some(2), &[(2, 3), (3, 6)]);
        check(Some(4), &[(2, 4), (4, 5), (5, 6)]);
        check(Some(5), &[(2, 5), (5, 6)]);
        check(Some(7), &[(2, 4), (4, 6)]);
    }
}
