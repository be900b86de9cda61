//! The end of a batch's transaction: what a worker notes when it was committed, and decides when it was not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bekk_log::Offset;

use super::Worker;
use crate::board::{Claim, Doubt, Outcome};
use crate::identity::{self, TableVerdict};
use crate::job::{Applied, ApplyError, Job};
use crate::migrations::MigrateError;
use crate::offsets::{self, Counts, Taken};
use crate::own_schema;
use crate::session::Session;
use crate::sqlstate::{NO_PARENT, Verdict, is_ended, is_of_a_pooler, verdict, wants_new_session};
use crate::stats::Waiter;
use crate::target::{self, StreamTarget};
use crate::{Error, PostgresError};

/// A transaction that was cut off after this time may have been ended because it took so long.
const TRANSACTION_LONG: Duration = Duration::from_millis(500);
/// How long to wait before rows are tried again that refer to rows that are not there.
const NO_PARENTS_PAUSE: Duration = Duration::from_millis(500);

impl Worker<'_> {
    pub(super) fn committed(
        &mut self,
        claim: &Claim,
        job: &Job,
        applied: Applied,
        took: Duration,
    ) -> Result<(), Error> {
        let batch = &job.batch;
        let records = batch.rows.len() + batch.dead.len();
        self.context.board.committed(
            claim.slot,
            &Outcome {
                epoch: job.epoch,
                transaction: applied.transaction,
                next: batch.next,
                records,
                conflict: applied.conflict,
                passed: applied.passed,
                refused_run: applied.refused_run,
                took,
                mark: batch.mark,
                counts: Counts {
                    rows: applied.rows,
                    superseded: applied.superseded,
                    dead: applied.dead.len() as u64,
                },
            },
        );
        if self.backoff.is_waiting() {
            tracing::info!("PostgreSQL takes records again");
            self.backoff.reset();
            self.reported.clear();
        }
        self.stats.waits_no_more(Waiter::Slot(claim.slot));
        self.stats.add(&applied, took);
        if records > 0 {
            let latency_us = micros_since(batch.last_timestamp_ms);
            self.stats
                .last_visible_latency_us
                .store(latency_us, Ordering::Relaxed);
            let latency = Duration::from_micros(latency_us);
            self.stats.visible_time.observe(latency);
        }
        self.tally.rows += applied.rows;
        self.tally.superseded += applied.superseded;
        self.tally.dead += applied.dead.len() as u64;
        for reason in applied.dead {
            *self.tally.dead_by_reason.entry(reason).or_default() += 1;
        }
        let topic = &job.target.stream.name;
        self.context
            .log
            .commit_offset(
                &self.context.group,
                topic,
                job.partition,
                Offset::new(batch.next),
            )
            .map_err(|error| {
                Error::log(
                    format!("commit the offset of {topic}/{}", job.partition),
                    error,
                )
            })
    }

    /// Decides what to do about a batch that was not committed, or may not have been, and reads from the
    /// database where the partition stands.
    pub(super) fn recover(
        &mut self,
        claim: &Claim,
        job: &Job,
        error: ApplyError,
        took: Duration,
    ) -> Result<(), Error> {
        let mut in_doubt = None;
        let was_left_out = matches!(error, ApplyError::Moved);
        match error {
            ApplyError::Stop(error) => return Err(error),
            ApplyError::Moved => {}
            ApplyError::Early(offset) => {
                self.context.board.early(claim.slot, job.batch.from, offset);
            }
            ApplyError::SessionLost(cause) => self.wait(Waiter::Slot(claim.slot), &cause),
            ApplyError::AllRefused { refused, error } => {
                self.all_refused(claim, job, (refused, *error))?;
            }
            ApplyError::TableAltered => self.look_at_table_again(claim, job)?,
            ApplyError::Postgres { error, applied } => {
                in_doubt = applied;
                self.failed(claim, job, took, &error)?;
            }
        }
        let Some(taken) = self.read_offset(job, in_doubt.is_some())? else {
            return Ok(());
        };
        let Some(taken) = taken else {
            // Deleted under us. The keeper makes it anew as it was.
            self.context.board.suspect(claim.slot);
            return Ok(());
        };
        let Taken { epoch, next, .. } = taken;
        self.context.board.resync(claim.slot, taken);
        if epoch != claim.epoch {
            // The partition is another's now; there is nothing here that is waited for.
            self.stats.waits_no_more(Waiter::Slot(claim.slot));
            return Ok(());
        }
        match in_doubt {
            // Only the holder of the lease moves the offset: the COMMIT whose answer was lost was done.
            Some(applied) if next == job.batch.next => {
                self.committed(claim, job, applied, Duration::ZERO)?;
                // The row counts the batch already.
                self.context.board.resync(claim.slot, taken);
                Ok(())
            }
            _ if next == job.batch.from && was_left_out => self.find_what_left_out(),
            _ if next == job.batch.from => Ok(()),
            // The keeper finds out whether the whole server was set back, and takes the lease anew.
            _ if next < job.batch.from => {
                self.context.board.lost(claim.slot);
                Ok(())
            }
            _ => Err(Error::OffsetMoved {
                group: self.context.group.clone(),
                topic: job.target.stream.name.clone(),
                partition: job.partition,
                from: job.batch.from,
                next,
            }),
        }
    }

    /// Fails if something explains why an offset could not be moved though its row is as it was.
    fn find_what_left_out(&mut self) -> Result<(), Error> {
        let Ok(Some(session)) = self.take_session() else {
            return Ok(());
        };
        let found = self
            .runtime
            .block_on(self.context.why_left_out(&session.client));
        self.session = Some(session);
        match found {
            Ok(Some(error)) => Err(error),
            // Without an answer the next batch finds out.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Decides what to do after an error of PostgreSQL: wait, halve the batch, or stop.
    fn failed(
        &mut self,
        claim: &Claim,
        job: &Job,
        took: Duration,
        error: &tokio_postgres::Error,
    ) -> Result<(), Error> {
        let records = job.batch.rows.len() + job.batch.dead.len();
        if wants_new_session(error) {
            self.session = None;
        }
        match verdict(error) {
            Verdict::Wait => {
                // A server that ends long transactions lets shorter ones pass.
                if is_ended(error) || self.session.is_none() && took > TRANSACTION_LONG {
                    self.context.board.halve(claim.slot, records);
                }
                self.wait(Waiter::Slot(claim.slot), &PostgresError::from(error));
            }
            Verdict::Halve if self.context.board.halve(claim.slot, records) => {
                self.stats.retries.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(records, error = %PostgresError::from(error), "batch halved");
            }
            Verdict::Halve => {
                self.wait(Waiter::Slot(claim.slot), &PostgresError::from(error));
            }
            _ if is_of_a_pooler(error) => {
                return Err(Error::TransactionPooler {
                    server: self.context.postgres.to_string(),
                });
            }
            Verdict::Stop | Verdict::Isolate => {
                let act = format!("write to table `{}`", job.target.table.full_name);
                return Err(self.explain(job, Error::postgres(act, error)));
            }
        }
        Ok(())
    }

    /// Decides about a batch of which every record was refused. Rows that refer to rows which are not there wait for
    /// them, in a run that ends until all that the other streams have has been applied.
    fn all_refused(
        &self,
        claim: &Claim,
        job: &Job,
        (refused, error): (u64, Error),
    ) -> Result<(), Error> {
        let board = &self.context.board;
        let lacks_parents = job.is_child && error.is_refusal_of(NO_PARENT);
        if lacks_parents && board.await_parents(claim.slot, NO_PARENTS_PAUSE) {
            tracing::debug!(%error, "rows wait for those they refer to");
            return Ok(());
        }
        let records = job.batch.rows.len() + job.batch.dead.len();
        let found = board.doubt(claim.slot, records, refused, job.batch.next);
        match found {
            Doubt::Table(_) if lacks_parents && !self.context.is_draining() => {
                // The other streams may bring them at any time.
                board.try_again(claim.slot);
                Ok(())
            }
            Doubt::Table(refused) => Err(error.with_refused(refused)),
            Doubt::Again => Ok(()),
        }
    }

    /// Reads the description of a table that has been altered, unless another worker has done so, and makes new
    /// plans from it.
    fn look_at_table_again(&mut self, claim: &Claim, job: &Job) -> Result<(), Error> {
        if !Arc::ptr_eq(&job.target, &self.context.target(claim.stream)) {
            return Ok(());
        }
        let Some(session) = self.take_session()? else {
            return Ok(());
        };
        let group = &self.context.group;
        let found = self
            .runtime
            .block_on(find_again(&session, group, &job.target));
        match found {
            Ok(target) => {
                self.session = Some(session);
                let table = &target.table.full_name;
                tracing::warn!(
                    table,
                    "the table was altered or rewritten; continuing with its new definition"
                );
                self.context.set_target(claim.stream, target);
                Ok(())
            }
            Err(MigrateError::Stop(error)) => Err(error),
            Err(MigrateError::Postgres(error)) if verdict(&error) == Verdict::Stop => {
                Err(Error::postgres("read the catalog", &error))
            }
            // Found altered again by the next attempt.
            Err(MigrateError::Postgres(error)) => {
                self.lost_backend = Some(session.pid);
                self.wait(Waiter::Slot(claim.slot), &PostgresError::from(&error));
                Ok(())
            }
        }
    }

    /// Looks at a table after an error that a change of it may explain, such as another name or a right that was taken
    /// away; if the table fits, the error stands.
    fn explain(&mut self, job: &Job, error: Error) -> Error {
        let Ok(Some(session)) = self.take_session() else {
            return error;
        };
        let group = &self.context.group;
        let found = self.runtime.block_on(async {
            if let Some(fault) = own_schema::fault(&session).await? {
                return Err(MigrateError::Stop(fault.into_error()));
            }
            find_again(&session, group, &job.target).await
        });
        self.session = Some(session);
        match found {
            Err(MigrateError::Stop(found)) => found,
            Ok(_) | Err(MigrateError::Postgres(_)) => error,
        }
    }

    /// Reads a partition's row, which may have been deleted; `None` if the sink stops before the server answers. With
    /// `settled`, a transaction that still holds the row is waited for.
    fn read_offset(&mut self, job: &Job, settled: bool) -> Result<Option<Option<Taken>>, Error> {
        loop {
            let Some(session) = self.take_session()? else {
                return Ok(None);
            };
            let read = offsets::read_one(
                &session.client,
                &self.context.group,
                &job.target.stream.name,
                job.partition_number(),
                settled,
            );
            match self.runtime.block_on(read) {
                Ok(found) => {
                    self.session = Some(session);
                    self.stats.waits_no_more(Waiter::Worker(self.number));
                    return Ok(Some(found));
                }
                Err(error) if verdict(&error) == Verdict::Stop => {
                    return Err(Error::postgres("read bekk.offsets", &error));
                }
                Err(error) => {
                    self.lost_backend = Some(session.pid);
                    self.wait(Waiter::Worker(self.number), &PostgresError::from(&error));
                }
            }
        }
    }
}

/// Reads the description of a table again that has been altered, if it is still the one that the group has filled.
async fn find_again(
    session: &Session,
    group: &str,
    known: &StreamTarget,
) -> Result<StreamTarget, MigrateError> {
    let found = target::find_again(session, known).await?;
    let stream = &known.stream;
    match identity::judge(&identity::look(session, group, stream).await?) {
        TableVerdict::Problem(problem) if !problem.is_a_warning() => {
            return Err(MigrateError::Stop(problem.into_error(group, stream)));
        }
        TableVerdict::Problem(problem) => {
            tracing::warn!(
                stream = stream.name,
                "{}; {}",
                problem.text(stream),
                problem.advice(group, stream)
            );
        }
        TableVerdict::Same { .. } => identity::remember(session, group, stream).await?,
    }
    Ok(found)
}

fn micros_since(timestamp_ms: i64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
    u64::try_from(now_us - timestamp_ms.saturating_mul(1_000)).unwrap_or(0)
}
