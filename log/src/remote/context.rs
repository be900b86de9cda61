//! What librdkafka says of its connections, kept for those who wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::reaction::{Reaction, code};
use super::waits::Waits;

/// For how long a connection's error explains why calls wait.
const NEWS_FOR: Duration = Duration::from_secs(15);

/// The last errors of the connections to one log.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    errors: Arc<Mutex<Errors>>,
    /// How often the log may have been replaced by another: behind a new connection there may be one.
    doubts: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Errors {
    /// Of a connection: it was not made, or has ended.
    connection: Option<(Instant, String)>,
    /// The server refused the login, or did not prove who it is.
    login: Option<(Instant, String)>,
}

impl Heard {
    /// Notes an error that no request returns.
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        // That a reader is at the end says nothing of a connection, and each reader says it.
        if code(error) == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::debug!(%error, reason, "the connection to the log");
        self.doubt();
        let said = Some((Instant::now(), reason.to_owned()));
        // That all brokers are down says less than why one is.
        if Reaction::of(error) == Reaction::Login {
            self.lock().login = said;
        } else if code(error) != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.lock().connection = said;
        }
    }

    /// Why the last login failed, if that is not long ago.
    pub(super) fn login(&self) -> Option<String> {
        recent(&self.lock().login)
    }

    /// Why the last connection ended or was not made, if that is not long ago.
    pub(super) fn connection(&self) -> Option<String> {
        let errors = self.lock();
        recent(&errors.login).or_else(|| recent(&errors.connection))
    }

    fn lock(&self) -> MutexGuard<'_, Errors> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the log may have been replaced by another.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// Notes that the log may be another from now on.
    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }
}

fn recent(said: &Option<(Instant, String)>) -> Option<String> {
    let (at, reason) = said.as_ref()?;
    (at.elapsed() < NEWS_FOR).then(|| reason.clone())
}

/// Takes what a client of librdkafka's says.
#[derive(Default)]
pub(super) struct Context {
    heard: Heard,
    /// For a client that commits: the group, and the place for messages about failed commits.
    commits: Option<(String, Waits)>,
}

impl Context {
    /// One that keeps errors in `heard`.
    pub(super) fn noting(heard: &Heard) -> Self {
        Self {
            heard: heard.clone(),
            commits: None,
        }
    }

    /// The same for the client of a group, whose commits nobody waits for.
    pub(super) fn committing(heard: &Heard, group: &str, waits: &Waits) -> Self {
        Self {
            commits: Some((group.to_owned(), waits.clone())),
            ..Self::noting(heard)
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes as an error or as the outcome of a call; librdkafka warns of every reconnect.
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.note(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        let Some((group, waits)) = &self.commits else {
            return;
        };
        let what = || format!("note the offset of group `{group}` in the log");
        match result {
            Ok(()) => waits.succeeded(what),
            // The next commit is of the same place or a later one.
            Err(error) if Reaction::of(&error).is_retriable() => {
                waits.failed(&what(), &error.to_string(), || None);
            }
            Err(error) => waits.warn_once(&format!(
                "the log refuses to {}: {error}; it keeps the group's records, and the lag that it shows for the group is too high",
                what()
            )),
        }
    }
}
