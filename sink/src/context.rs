//! What all parts of a running sink share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use bekk_log::Client;
use parking_lot::{Mutex, RwLock};

use crate::board::Board;
use crate::meta_cache::MetaCache;
use crate::offsets;
use crate::server_id::ServerId;
use crate::session::{ConnectError, Session};
use crate::target::StreamTarget;
use crate::{ConnectOptions, Error};

/// What all parts of a running sink share.
pub(crate) struct Context {
    pub(crate) postgres: ConnectOptions,
    /// The server, the database and the schema `bekk` that the set-up was done in.
    pub(crate) server: ServerId,
    pub(crate) group: String,
    /// This sink's name: owner of leases, and `application_name` of all its backends.
    pub(crate) owner: String,
    pub(crate) log: Client,
    pub(crate) log_id: String,
    /// Each stream's table, as it was found last.
    targets: Vec<RwLock<Arc<StreamTarget>>>,
    pub(crate) meta: Mutex<MetaCache>,
    pub(crate) board: Board,
    phase: AtomicU8,
    /// Whether the sink ends when all is applied that is there.
    draining: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// The streams that are stopped, with the first reason of each.
    halts: Mutex<Vec<(String, Error)>>,
}

/// How far the sink is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Batches are applied.
    Running = 0,
    /// Batches in flight are finished, no new ones are begun.
    Stopping = 1,
    /// No batch is in flight: leases are given up.
    Releasing = 2,
}

impl Context {
    pub(crate) fn new(
        (postgres, server): (ConnectOptions, ServerId),
        group: String,
        owner: String,
        log: Client,
        targets: Vec<StreamTarget>,
        board: Board,
    ) -> Self {
        Self {
            postgres,
            server,
            group,
            owner,
            log_id: log.log_id().to_string(),
            log,
            targets: targets
                .into_iter()
                .map(|target| RwLock::new(Arc::new(target)))
                .collect(),
            meta: Mutex::default(),
            board,
            phase: AtomicU8::new(Phase::Running as u8),
            draining: AtomicBool::new(false),
            failure: Mutex::default(),
            halts: Mutex::default(),
        }
    }

    /// Connects to the server that the set-up was done in.
    pub(crate) async fn open_session(&self) -> Result<Session, ConnectError> {
        self.server.open(&self.postgres, &self.owner).await
    }

    /// Why bekk.offsets did not take an update of a row that is as it was, if a table or a trigger explains it.
    pub(crate) async fn why_left_out(
        &self,
        client: &tokio_postgres::Client,
    ) -> Result<Option<Error>, tokio_postgres::Error> {
        // Triggers of another table of that name explain nothing.
        if self.server.has_other_offsets(client).await? {
            return Ok(Some(Error::SchemaReplaced));
        }
        let advice = offsets::drop_trigger_sql(client).await?;
        Ok(advice.map(|advice| Error::OffsetsLeftOut { advice }))
    }

    pub(crate) fn streams(&self) -> usize {
        self.targets.len()
    }

    /// A stream and its table, as it was found last.
    pub(crate) fn target(&self, stream: usize) -> Arc<StreamTarget> {
        let target = self.targets[stream].read();
        Arc::clone(&target)
    }

    /// Notes that a stream's table has been found altered.
    pub(crate) fn set_target(&self, stream: usize, target: StreamTarget) {
        let mut found = self.targets[stream].write();
        *found = Arc::new(target);
    }

    /// Whether no new batch is to be begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= Phase::Stopping as u8
    }

    /// Whether no batch is in flight any more.
    pub(crate) fn is_releasing(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= Phase::Releasing as u8
    }

    /// Continues to a later phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.board.wake();
    }

    /// Stops the sink because of an error; the first one counts.
    pub(crate) fn fail(&self, error: Error) {
        let mut failure = self.failure.lock();
        failure.get_or_insert(error);
        drop(failure);
        self.enter(Phase::Stopping);
    }

    /// Notes that the sink ends when all is applied that is there.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the sink ends when all is applied that is there.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Stops one stream because of an error that only a person can help with; the others continue. Where none is
    /// left, that stops the sink.
    pub(crate) fn halt(&self, stream: usize, error: Error) {
        let target = self.target(stream);
        let name = &target.stream.name;
        let is_last = self.board.halt(stream);
        if !is_last {
            tracing::error!(stream = name, %error, "stream stopped; the others continue");
        }
        self.note_halt(name, error);
        if is_last {
            self.enter(Phase::Stopping);
        }
    }

    /// Notes why a stream is stopped; the first reason counts.
    pub(crate) fn note_halt(&self, stream: &str, error: Error) {
        let mut halts = self.halts.lock();
        if halts.iter().all(|(known, _)| known != stream) {
            halts.push((stream.to_owned(), error));
        }
    }

    /// The streams that are stopped, and why.
    pub(crate) fn halted(&self) -> Vec<(String, String)> {
        let halts = self.halts.lock();
        halts
            .iter()
            .map(|(stream, error)| (stream.clone(), error.to_string()))
            .collect()
    }

    /// The error that stopped the sink, or else the first one that stopped a stream.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        let mut failure = self.failure.lock();
        let mut halts = self.halts.lock();
        let halt = (!halts.is_empty()).then(|| halts.remove(0).1);
        failure.take().or(halt)
    }

    /// Sleeps, but not on into a stop.
    pub(crate) fn sleep(&self, duration: Duration) {
        const SLICE: Duration = Duration::from_millis(20);
        let mut left = duration;
        while !left.is_zero() && !self.is_stopping() {
            let slice = left.min(SLICE);
            std::thread::sleep(slice);
            left -= slice;
        }
    }
}
