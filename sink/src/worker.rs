//! A worker: takes batches and applies them over a connection of its own, one in flight while the next
//! is prepared.

mod ended;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;

use crate::apply::apply;
use crate::backoff::Backoff;
use crate::board::Claim;
use crate::config::Config;
use crate::context::Context;
use crate::job::{Job, Path};
use crate::prepare::{Bounds, Source, prepare};
use crate::session::{ConnectError, Session};
use crate::stats::{Stats, Waiter};
use crate::{Error, PostgresError};

/// How long a wait for work lasts at most, so that a stop is noticed.
const WAIT_MAX: Duration = Duration::from_millis(100);
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
    (number, runtime): (usize, Handle),
) -> Result<Tally, Error> {
    let mut worker = Worker {
        context,
        config,
        stats,
        number,
        runtime,
        session: None,
        lost_backend: None,
        backoff: Backoff::default(),
        reported: Vec::new(),
        tally: Tally::default(),
    };
    worker.run()?;
    Ok(worker.tally)
}

struct Worker<'a> {
    context: &'a Arc<Context>,
    config: &'a Config,
    stats: &'a Stats,
    /// Its number among the workers.
    number: usize,
    runtime: Handle,
    session: Option<Session>,
    /// The backend of a connection that was lost: it may not have noticed yet.
    lost_backend: Option<i32>,
    backoff: Backoff,
    /// The SQLSTATEs that have been reported since the last batch was committed.
    reported: Vec<Option<String>>,
    tally: Tally,
}

/// How long a batch is in flight before that is reported.
const REPORTED_AFTER: Duration = Duration::from_secs(30);
/// How long a batch may still be in flight when the sink stops.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
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
                            self.context.board.give_back(claim.slot);
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

    /// Reads the batch of a claim; `None` if there is nothing that can be taken yet.
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
            return Ok(None);
        };
        let job = Job {
            target,
            partition: claim.partition,
            epoch: claim.epoch,
            letters_end: claim.letters_end,
            is_child: self.context.board.is_child(claim.slot),
            batch,
            path: Path::Copy,
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
        self.stats.flies(claim.slot);
        let pid = session.pid;
        let context = Arc::clone(self.context);
        let flight = self.runtime.spawn(async move {
            let mut session = session;
            let applied = apply(&mut session, &context, &job).await;
            (session, job, applied)
        });
        let may_prepare = !self.context.is_stopping() && !self.is_paused();
        let ahead = may_prepare
            .then(|| board.claim_ahead(claim.slot, next, self.config.batch_records_max))
            .flatten()
            .map(|ahead| {
                let prepared = self.prepare(ahead)?;
                // The slot of the batch in flight is given back when that batch has landed.
                if prepared.is_none() && ahead.slot != claim.slot {
                    board.give_back(ahead.slot);
                }
                Ok(prepared)
            })
            .transpose();
        let landed = self.runtime.block_on(self.land(flight, pid));
        self.stats.has_landed(claim.slot);
        let (session, job, applied) = match landed {
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

    /// Waits for a batch in flight. Reports one that PostgreSQL does not end, and cancels its statement when the sink has
    /// been stopping for a while: a lock or a standby may be waited for without end.
    async fn land<T>(
        &self,
        mut flight: JoinHandle<T>,
        backend: i32,
    ) -> Result<T, tokio::task::JoinError> {
        let begun = Instant::now();
        let (mut is_reported, mut stops_since) = (false, None);
        loop {
            match tokio::time::timeout(WAIT_MAX, &mut flight).await {
                Ok(landed) => return landed,
                Err(_) if self.context.is_stopping() => {}
                Err(_) if is_reported || begun.elapsed() < REPORTED_AFTER => continue,
                Err(_) => {
                    is_reported = true;
                    tracing::warn!(
                        "a batch has waited for PostgreSQL for {} s; to see what for: bekk status",
                        begun.elapsed().as_secs()
                    );
                    continue;
                }
            }
            let since = *stops_since.get_or_insert_with(Instant::now);
            if since.elapsed() < STOP_PATIENCE {
                continue;
            }
            // A statement that begins after the cancellation is cancelled in the next round.
            stops_since = Some(Instant::now());
            tracing::warn!(
                "a batch that PostgreSQL does not end is cancelled, because the sink stops; the next run continues from the offsets"
            );
            self.cancel(backend).await;
        }
    }

    /// Cancels the statement that a backend of this sink runs.
    async fn cancel(&self, backend: i32) {
        const CANCEL: &str = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
                              WHERE pid = $1 AND application_name = $2 AND usename = session_user";
        let parameters: [&(dyn ToSql + Sync); 2] = [&backend, &self.context.owner];
        match self.context.open_session().await {
            Ok(session) => {
                if let Err(error) = session.client.execute(CANCEL, &parameters).await {
                    tracing::debug!(error = %PostgresError::from(&error), "batch not cancelled");
                }
            }
            Err(_) => tracing::debug!("batch not cancelled: no connection"),
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
            match self.runtime.block_on(self.context.open_session()) {
                Ok(session) => {
                    self.stats.waits_no_more(Waiter::Worker(self.number));
                    self.end_lost_backend(&session);
                    return Ok(Some(session));
                }
                Err(ConnectError::Fatal(error)) => return Err(error),
                Err(ConnectError::Away(cause)) => self.wait(Waiter::Worker(self.number), &cause),
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

    fn wait(&mut self, waiter: Waiter, cause: &PostgresError) {
        if !self.reported.contains(&cause.sqlstate) {
            tracing::warn!(%cause, "waiting for PostgreSQL");
            self.reported.push(cause.sqlstate.clone());
        }
        self.stats.waits(waiter, cause.to_string());
        self.context.sleep(self.backoff.next());
    }
}
