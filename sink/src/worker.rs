//! A worker: takes batches and applies them over a connection of its own, one in flight while the next
//! is prepared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bekk_log::Offset;
use tokio::runtime::Handle;
use tokio_postgres::types::ToSql;

use crate::apply::{self, Applied, ApplyError, Job};
use crate::backoff::Backoff;
use crate::board::{Claim, Doubt, Outcome};
use crate::config::Config;
use crate::context::Context;
use crate::identity::{self, TableVerdict};
use crate::migrations::MigrateError;
use crate::offsets::{self, Counts, Taken};
use crate::parents::NO_PARENT;
use crate::prepare::{Bounds, Source, prepare};
use crate::session::{ConnectError, Session};
use crate::sqlstate::{Verdict, is_ended, is_of_a_pooler, verdict, wants_new_session};
use crate::stats::{State, Stats};
use crate::target::{self, StreamTarget};
use crate::{Error, PostgresError};

/// How long a wait for work lasts at most, so that a stop is noticed.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// A transaction that was cut off after this time may have been ended because it took so long.
const TRANSACTION_LONG: Duration = Duration::from_millis(500);
/// How long to wait before rows are tried again that refer to rows that are not there.
const NO_PARENTS_PAUSE: Duration = Duration::from_millis(500);
/// How long to wait where there are records that cannot be taken yet.
const NOTHING_PAUSE: Duration = Duration::from_millis(20);

/// What a worker has done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) superseded: u64,
    pub(crate) dead: u64,
    pub(crate) dead_by_reason: BTreeMap<String, u64>,
}

/// Applies batches until the sink stops.
pub(crate) fn work(
    context: &Arc<Context>,
    config: &Config,
    stats: &Stats,
    runtime: Handle,
) -> Result<Tally, Error> {
    let mut worker = Worker {
        context,
        config,
        stats,
        runtime,
        session: None,
        lost_backend: None,
        backoff: Backoff::default(),
        tally: Tally::default(),
    };
    worker.run()?;
    Ok(worker.tally)
}

struct Worker<'a> {
    context: &'a Arc<Context>,
    config: &'a Config,
    stats: &'a Stats,
    runtime: Handle,
    session: Option<Session>,
    /// The backend of a connection that was lost: it may not have noticed yet.
    lost_backend: Option<i32>,
    backoff: Backoff,
    tally: Tally,
}

/// Interval between two looks of a paused worker.
const PAUSED_PAUSE: Duration = Duration::from_millis(100);

/// A batch that is ready, and the slot it belongs to.
struct Prepared {
    claim: Claim,
    job: Job,
}

impl Worker<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let mut ahead: Option<Prepared> = None;
        while !self.context.is_stopping() {
            let prepared = match ahead.take() {
                Some(prepared) => prepared,
                None if self.is_paused() => {
                    self.context.sleep(PAUSED_PAUSE);
                    continue;
                }
                None => match self
                    .context
                    .board
                    .claim(self.config.batch_records_max, WAIT_MAX)
                {
                    // It waited for work when the pause began.
                    Some(claim) if self.is_paused() => {
                        self.context.board.give_back(claim.slot);
                        continue;
                    }
                    Some(claim) => match self.prepare(claim)? {
                        Some(prepared) => prepared,
                        None => {
                            self.context.sleep(NOTHING_PAUSE);
                            continue;
                        }
                    },
                    None => continue,
                },
            };
            let Some(session) = self.take_session()? else {
                // Stopping while the server is away: nothing of this batch has been applied.
                return Ok(());
            };
            ahead = self.fly(session, prepared)?;
        }
        Ok(())
    }

    fn is_paused(&self) -> bool {
        self.stats.is_paused() && !self.context.is_draining()
    }

    fn prepare(&self, claim: Claim) -> Result<Option<Prepared>, Error> {
        let target = self.context.target(claim.stream);
        let source = Source {
            group: &self.context.group,
            log: &self.context.log,
            meta: &self.context.meta,
            target: &target,
            partition: claim.partition,
        };
        let bounds = Bounds {
            records_max: claim.records_max,
            bytes_max: self.config.batch_bytes_max,
            until: claim.until,
        };
        let prepared = match prepare(source, claim.from, bounds) {
            Err(Error::OutsideLog { .. }) => {
                // The log is not what it was. The keeper finds out, and says what differs.
                self.context.board.suspect(claim.slot);
                None
            }
            prepared => prepared?,
        };
        // What was read belongs to the log that was verified only if nothing has happened to it since.
        let doubts = self.context.log.doubts();
        self.context.board.set_doubts(doubts);
        let Some(batch) = prepared.filter(|_| doubts == claim.doubts) else {
            self.context.board.give_back(claim.slot);
            return Ok(None);
        };
        let job = Job {
            context: Arc::clone(self.context),
            target,
            partition: claim.partition,
            epoch: claim.epoch,
            letters_end: claim.letters_end,
            is_child: self.context.board.is_child(claim.slot),
            batch,
            path: apply::Path::Copy,
            may_be_refused: false,
            final_until: 0,
        };
        Ok(Some(Prepared { claim, job }))
    }

    /// Applies a batch and meanwhile prepares the next one, which it returns.
    fn fly(&mut self, session: Session, prepared: Prepared) -> Result<Option<Prepared>, Error> {
        let Prepared { claim, mut job } = prepared;
        let board = &self.context.board;
        (job.path, job.may_be_refused) = board.manner(claim.slot);
        job.final_until = match job.target.stream.partitions {
            1 => u64::MAX,
            _ => board.final_until(claim.slot),
        };
        let next = job.batch.next;
        let begun = Instant::now();
        let flight = self.runtime.spawn(async move {
            let mut session = session;
            let applied = apply::apply(&mut session, &job).await;
            (session, job, applied)
        });
        let may_prepare = !self.context.is_stopping() && !self.is_paused();
        let ahead = may_prepare
            .then(|| board.claim_ahead(claim.slot, next, self.config.batch_records_max))
            .flatten()
            .map(|claim| self.prepare(claim))
            .transpose();
        let (session, job, applied) = match self.runtime.block_on(flight) {
            Ok(landed) => landed,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        if session.is_lost() {
            self.lost_backend = Some(session.pid);
        } else {
            self.session = Some(session);
        }
        // What has become of this batch is settled even if the log has failed meanwhile.
        match applied {
            Ok(applied) => {
                self.committed(&claim, &job, applied, begun.elapsed())?;
                let ahead = ahead?.flatten();
                let goes_on = ahead
                    .as_ref()
                    .is_some_and(|ahead| ahead.claim.slot == claim.slot);
                if !goes_on {
                    self.context.board.give_back(claim.slot);
                }
                Ok(ahead)
            }
            Err(error) => {
                if let Err(error) = self.recover(&claim, &job, error, begun.elapsed()) {
                    if !error.is_of_one_stream() {
                        return Err(error);
                    }
                    self.context.halt(claim.stream, error);
                }
                self.context.board.give_back(claim.slot);
                // What stood behind the batch that failed is taken again.
                Ok(ahead?
                    .flatten()
                    .filter(|ahead| ahead.claim.slot != claim.slot))
            }
        }
    }

    fn committed(
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
        }
        self.stats.set_state(State::Running);
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
    fn recover(
        &mut self,
        claim: &Claim,
        job: &Job,
        error: ApplyError,
        took: Duration,
    ) -> Result<(), Error> {
        let mut in_doubt = None;
        match error {
            ApplyError::Stop(error) => return Err(error),
            ApplyError::Moved => {}
            ApplyError::Early(offset) => {
                self.context.board.early(claim.slot, job.batch.from, offset);
            }
            ApplyError::SessionLost(cause) => self.wait(&cause),
            ApplyError::AllRefused { refused, error } => {
                self.all_refused(claim, job, (refused, *error))?;
            }
            ApplyError::TableAltered => self.look_at_table_again(claim, job)?,
            ApplyError::Postgres { error, applied } => {
                in_doubt = applied;
                let records = job.batch.rows.len() + job.batch.dead.len();
                if wants_new_session(&error) {
                    self.session = None;
                }
                match verdict(&error) {
                    Verdict::Wait => {
                        // Whoever ends long transactions lets shorter ones pass.
                        if is_ended(&error) || self.session.is_none() && took > TRANSACTION_LONG {
                            self.context.board.halve(claim.slot, records);
                        }
                        self.wait(&PostgresError::from(&error));
                    }
                    Verdict::Halve if self.context.board.halve(claim.slot, records) => {
                        self.stats.retries.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(records, error = %PostgresError::from(&error), "batch halved");
                    }
                    Verdict::Halve => self.wait(&PostgresError::from(&error)),
                    _ if is_of_a_pooler(&error) => {
                        return Err(Error::TransactionPooler {
                            server: self.context.postgres.to_string(),
                        });
                    }
                    Verdict::Stop | Verdict::Isolate => {
                        let act = format!("write to table `{}`", job.target.table.full_name);
                        return Err(self.explain(job, Error::postgres(act, &error)));
                    }
                }
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
            self.stats.set_state(State::Running);
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
            _ if next == job.batch.from => Ok(()),
            _ => Err(Error::OffsetMoved {
                group: self.context.group.clone(),
                topic: job.target.stream.name.clone(),
                partition: job.partition,
                from: job.batch.from,
                next,
            }),
        }
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
                self.wait(&PostgresError::from(&error));
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
        let found = self
            .runtime
            .block_on(find_again(&session, group, &job.target));
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
                    return Ok(Some(found));
                }
                Err(error) if verdict(&error) == Verdict::Stop => {
                    return Err(Error::postgres("read bekk.offsets", &error));
                }
                Err(error) => {
                    self.lost_backend = Some(session.pid);
                    self.wait(&PostgresError::from(&error));
                }
            }
        }
    }

    /// The connection, made anew if it was lost; waits for the server without end. `None` if the sink stops
    /// before there is one.
    fn take_session(&mut self) -> Result<Option<Session>, Error> {
        if let Some(session) = self.session.take_if(|session| !session.is_lost()) {
            return Ok(Some(session));
        }
        let mut first = true;
        // A batch that is ready at a stop is applied if the server is there.
        while first || !self.context.is_stopping() {
            first = false;
            let open = Session::open(&self.context.postgres, &self.context.owner);
            match self.runtime.block_on(open) {
                Ok(session) => {
                    self.end_lost_backend(&session);
                    return Ok(Some(session));
                }
                Err(ConnectError::Fatal(error)) => return Err(error),
                Err(ConnectError::Away(cause)) => self.wait(&cause),
            }
        }
        Ok(None)
    }

    /// Ends the backend of the connection that was lost, if it is still there: it may hold the row of the
    /// offset until the server notices by itself.
    fn end_lost_backend(&mut self, session: &Session) {
        const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE pid = $1 AND application_name = $2 AND usename = session_user";
        if let Some(pid) = self.lost_backend.take() {
            let parameters: [&(dyn ToSql + Sync); 2] = [&pid, &self.context.owner];
            let end = session.client.execute(END, &parameters);
            if let Err(error) = self.runtime.block_on(end) {
                tracing::debug!(error = %PostgresError::from(&error), "lost backend not ended");
            }
        }
    }

    fn wait(&mut self, cause: &PostgresError) {
        if !self.backoff.is_waiting() {
            tracing::warn!(%cause, "waiting for PostgreSQL");
        }
        self.stats.waits(cause.to_string());
        self.context.sleep(self.backoff.next());
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
