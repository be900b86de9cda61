//! What librdkafka says of its connections, kept for those who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::statistics::Statistics;

use super::reaction::{Reaction, code};
use super::settings::connection_report;

/// For how long a connection's error explains why calls wait.
const NEWS_FOR: Duration = Duration::from_secs(15);

/// Most events of a client that are taken at once
const EVENTS_MAX: usize = 1_024;

/// How long a client may take to close before the rest is left to the binding.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

/// Interval at which a cluster's clients look whether a broker throttles them.
pub(super) const STATISTICS_MS: &str = "1000";

/// The last errors of the connections to one log.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    errors: Arc<Mutex<Errors>>,
    /// How often the log may have been replaced by another: behind a new connection there may be one.
    doubts: Arc<AtomicU64>,
    /// Number of events, of any kind.
    events: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Errors {
    /// Why the last connection was not made, or has ended.
    connection: Option<(Instant, String)>,
    /// The server refused the login, or did not prove who it is.
    login: Option<(Instant, String)>,
    /// When it began to do so.
    login_since: Option<Instant>,
    /// A broker delays its answers because of a quota. The time is when that stops explaining a wait.
    throttle: Option<(Instant, String)>,
}

impl Heard {
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        // Each reader reports that it is at the end, which does not concern the connection.
        if code(error) == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        // A missing right does not either. Clients look for a group's coordinator even if they read without a group.
        if Reaction::of(error) == Reaction::Right {
            return;
        }
        tracing::debug!(%error, reason, "the connection to the log");
        self.doubt();
        // "All brokers are down" says less than why one of them is.
        if Reaction::of(error) == Reaction::Login {
            let mut errors = self.errors.lock();
            if recent(&errors.login).is_none() {
                errors.login_since = Some(Instant::now());
            }
            errors.login = Some((Instant::now(), reason.to_owned()));
        } else if code(error) != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.errors.lock().connection = Some((Instant::now(), connection_report(reason)));
        }
    }

    /// Why the last login failed, if that is not long ago.
    pub(super) fn login(&self) -> Option<String> {
        recent(&self.errors.lock().login)
    }

    /// Why logins have been refused for at least so long.
    pub(super) fn login_refused_for(&self, time: Duration) -> Option<String> {
        let errors = self.errors.lock();
        let since = errors.login_since?;
        recent(&errors.login).filter(|_| since.elapsed() >= time)
    }

    /// Why the last connection ended or was not made, if that is not long ago.
    pub(super) fn connection(&self) -> Option<String> {
        let errors = self.errors.lock();
        recent(&errors.login).or_else(|| recent(&errors.connection))
    }

    /// Counts an event that a poll took.
    fn count(&self) {
        self.events.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes which brokers delay their answers because of a quota.
    pub(super) fn note_throttle(&self, statistics: &Statistics) {
        let brokers = statistics.brokers.values();
        let delays =
            brokers.filter_map(|broker| Some((broker.throttle.as_ref()?.max, &broker.name)));
        let Some((delay_ms, broker)) = delays.max().filter(|(delay_ms, _)| *delay_ms > 0) else {
            return;
        };
        let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
        let text = format!(
            "broker {broker} delays this client by up to {:.1} s because of a quota \
             (kafka-configs.sh --describe --entity-type users, clients)",
            delay.as_secs_f64()
        );
        self.errors.lock().throttle = Some((Instant::now() + delay + NEWS_FOR, text));
    }

    /// The quota that delays answers, if there is one.
    pub(super) fn throttle(&self) -> Option<String> {
        let errors = self.errors.lock();
        let (until, text) = errors.throttle.as_ref()?;
        (Instant::now() < *until).then(|| text.clone())
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

/// Takes all events of a client, which go to its context, and returns the errors among them.
///
/// A poll takes one event. If that is neither a record nor an error, the poll returns the same as if there were no event.
/// librdkafka hands out its log before its errors, so a caller with one poll at a time would get them late.
pub(super) fn take_events(client: &BaseConsumer<Context>) -> Vec<KafkaError> {
    let events = &client.context().heard.events;
    let mut errors = Vec::new();
    for _ in 0..EVENTS_MAX {
        let before = events.load(Ordering::Acquire);
        match client.poll(Duration::ZERO) {
            Some(Err(error)) => errors.push(error),
            None if events.load(Ordering::Acquire) == before => break,
            _ => {}
        }
    }
    errors
}

/// Closes a client of a group. The binding closes it too when it is dropped, but looks only every tenth of a second
/// whether that is done.
pub(super) fn close(client: &BaseConsumer<Context>) {
    let begun = Instant::now();
    if client.close_queue().is_ok() {
        while !client.closed() && begun.elapsed() < CLOSE_WAIT {
            client.poll(CLOSE_PAUSE);
        }
    }
}

/// Takes what a client of librdkafka's says.
#[derive(Default)]
pub(super) struct Context {
    heard: Heard,
}

impl Context {
    /// One that keeps errors in `heard`.
    pub(super) fn noting(heard: &Heard) -> Self {
        Self {
            heard: heard.clone(),
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.heard.count();
        // What matters comes as an error or as the outcome of a call; librdkafka warns of every reconnect.
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.count();
        self.heard.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.heard.count();
        self.heard.note_throttle(&statistics);
    }
}

impl ConsumerContext for Context {}
