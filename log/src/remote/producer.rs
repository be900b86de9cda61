//! Appends: librdkafka's idempotent producer; on a Kafka cluster, a transaction for each append.
//!
//! A producer belongs to a session. Once it is unknown whether an append of it happened it takes no more: the
//! caller begins another session and looks.

mod deliveries;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer};

use self::deliveries::{Append, Deliveries, Failure, Part, Place};
use super::context::STATISTICS_MS;
use super::link::{Link, Patience};
use super::place::number;
use super::reaction::{Reaction, code};
use super::request::Request;
use super::{settings, topic_settings};
use crate::config::META_TOPIC;
use crate::{Error, Headers, Offset, RecordBuffer, Session};

/// Progress poll interval.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long nothing is acknowledged before that is told, and how often it is told again to those who look.
const SILENT: Duration = Duration::from_secs(1);
/// How long the end of a transaction that is given up is waited for. Else the cluster ends it, within a minute.
const ABORT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often and for how long librdkafka is made to look for a coordinator.
const NUDGES: u32 = 20;
const NUDGE_TIMEOUT: Duration = Duration::from_millis(200);
const NUDGE_PAUSE: Duration = Duration::from_millis(15);
/// How long, and how often, the last reports of an append are waited for before it is committed.
const REPORTS_WAIT: Duration = Duration::from_millis(50);
const REPORTS_PAUSE: Duration = Duration::from_micros(100);
/// How long nothing is queued once librdkafka's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// librdkafka's properties, unless the user has set others.
const DEFAULTS: [(&str, &str); 5] = [
    ("compression.type", "lz4"),
    ("linger.ms", "1"),
    ("batch.num.messages", "100000"),
    ("queue.buffering.max.messages", "1000000"),
    ("queue.buffering.max.kbytes", "1000000"),
];
/// How much a batch has at most, unless a topic takes less.
const BATCH_BYTES_MAX: u64 = 1_000_000;
/// What a batch has beside its records, at most: its header, and what a broker may add.
const BATCH_OVERHEAD: u64 = 512;
/// A Bekk server's refusal of a record's time
const BEHIND: &str =
    "the server's clock is more than an hour behind this machine's; set both clocks";
/// Limits of librdkafka's to the size of a message.
const MESSAGE_BYTES: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000;

pub(super) struct Producer {
    link: Arc<Link>,
    inner: ThreadedProducer<Deliveries>,
    /// The session's ingest, whose appends are transactions.
    transactional: Option<Session>,
    /// The least that a topic took in one batch when it was made, as far as that is known.
    message_bytes_max: Option<u64>,
    /// One append at a time.
    appending: Mutex<()>,
    is_broken: AtomicBool,
}

impl Producer {
    /// The producer of a session. On a Kafka cluster it shuts out the producers of earlier sessions, and ends what
    /// they have left open. No batch gets larger than `message_bytes_max`, the least that a topic takes.
    pub(super) fn of_session(
        link: Arc<Link>,
        session: &Session,
        message_bytes_max: Option<u64>,
    ) -> Result<Self, Error> {
        let client_id = format!("bekk-ingest/{}/{}", session.ingest, session.number);
        if link.is_bekk {
            return Self::new(link, &client_id, None, None);
        }
        let producer = Self::new(link, &client_id, Some(session.clone()), message_bytes_max)?;
        let id = transactional_id(session);
        let request = Request::transaction("begin a session with", &id);
        let has_begun = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| producer.nudge(&has_begun));
            // After a time-out the next attempt continues with the same request.
            let begun = producer
                .link
                .attempt(request, |timeout| producer.inner.init_transactions(timeout));
            has_begun.store(true, Ordering::Release);
            begun
        })?;
        Ok(producer)
    }

    /// Has librdkafka look for the transaction's coordinator as soon as it is connected. By itself it looks at once, when
    /// it is not connected yet, and again half a second later; but also at each answer about metadata.
    fn nudge(&self, is_over: &AtomicBool) {
        for _ in 0..NUDGES {
            if is_over.load(Ordering::Acquire) {
                return;
            }
            let client = self.inner.client();
            let _ = client.fetch_metadata(Some(META_TOPIC), NUDGE_TIMEOUT);
            thread::sleep(NUDGE_PAUSE);
        }
    }

    /// A producer whose appends nothing fences. No batch gets larger than `message_bytes_max`.
    pub(super) fn without_session(
        link: Arc<Link>,
        message_bytes_max: Option<u64>,
    ) -> Result<Self, Error> {
        Self::new(link, "bekk", None, message_bytes_max)
    }

    fn new(
        link: Arc<Link>,
        client_id: &str,
        transactional: Option<Session>,
        message_bytes_max: Option<u64>,
    ) -> Result<Self, Error> {
        let mut config = link.client_config(client_id);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0");
        for (property, value) in DEFAULTS {
            if !link.config.is_set(property) {
                config.set(property, value);
            }
        }
        if !link.is_bekk {
            config.set("statistics.interval.ms", STATISTICS_MS);
        }
        let batch_bytes = message_bytes_max
            .map_or(BATCH_BYTES_MAX, |max| max.saturating_sub(BATCH_OVERHEAD))
            .clamp(1, BATCH_BYTES_MAX);
        if !link.config.is_set("batch.size") {
            config.set("batch.size", batch_bytes.to_string());
        }
        if let Some(max) = message_bytes_max
            && !link.config.is_set("message.max.bytes")
        {
            let max = max.clamp(*MESSAGE_BYTES.start(), *MESSAGE_BYTES.end());
            config.set("message.max.bytes", max.to_string());
        }
        if let Some(session) = &transactional {
            config.set("transactional.id", transactional_id(session));
        }
        let inner = config
            .create_with_context(Deliveries::new(&link.heard))
            .map_err(|error| {
                link.refused(
                    Request::cluster("set up a client"),
                    settings::explain(&error),
                )
            })?;
        Ok(Self {
            link,
            inner,
            transactional,
            message_bytes_max,
            appending: Mutex::default(),
            is_broken: AtomicBool::new(false),
        })
    }

    /// Appends, and returns the least offset of each part; none of one that is empty.
    pub(super) fn append(
        &self,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Option<Offset>>, Error> {
        let _one = self.appending.lock();
        let request = Request::topic("append to", topic, "Write");
        if self.is_broken.load(Ordering::Acquire) {
            return Err(self.link.away(request, "an earlier append has failed"));
        }
        let appended = self.try_append(request, topic, batches);
        if appended.is_err() {
            // What is queued must not be sent behind the caller's next look at the log.
            self.is_broken.store(true, Ordering::Release);
            self.inner.purge(PurgeConfig::default().queue().inflight());
            self.abort();
        } else {
            self.link.config.waits.succeeded(|| request.to_string());
        }
        appended
    }

    /// Ends a transaction that is not to be committed: else it keeps back what others commit behind it, until the
    /// cluster ends it.
    fn abort(&self) {
        if self.transactional.is_none() {
            return;
        }
        let timeout = ABORT_TIMEOUT.min(self.link.patience());
        // If none is open, or the cluster is away, there is nothing that could be done here.
        if let Err(error) = self.inner.abort_transaction(timeout) {
            tracing::debug!(%error, "a transaction is not aborted");
        }
    }

    fn try_append(
        &self,
        request: Request<'_>,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Option<Offset>>, Error> {
        let records = batches.iter().map(|(_, buffer)| u64::from(buffer.len()));
        *self.inner.context().append.lock() = Append {
            waiting: records.sum(),
            parts: batches.iter().map(|_| Part::default()).collect(),
        };
        if self.transactional.is_some() {
            let begun = self.inner.begin_transaction();
            begun.map_err(|error| self.failed(request, &error))?;
        }
        for (part, (partition, buffer)) in (0..).zip(batches) {
            self.queue(request, topic, *partition, part, buffer)?;
        }
        let parts = self.settle(request)?;
        let failures = parts.iter().zip(batches);
        let failures = failures.filter_map(|(part, (partition, _))| {
            let failure = part.failure.as_ref()?;
            Some((*partition, failure))
        });
        if let Some((partition, failure)) = failures.max_by_key(|(_, failure)| failure.weight()) {
            let buffer = batches.iter().find(|(found, _)| *found == partition);
            let record = buffer.and_then(|(_, buffer)| buffer.iter().nth(failure.index as usize));
            let value = record.map_or(&[][..], |record| record.value);
            return Err(self.failure(request, topic, (partition, value), failure));
        }
        if self.transactional.is_some() {
            self.await_reports();
            // After a time-out the next attempt continues with the same request.
            self.link
                .attempt(request, |timeout| self.inner.commit_transaction(timeout))
                .map_err(|error| self.fatal(request).unwrap_or(error))?;
        }
        Ok(parts
            .iter()
            .map(|part| part.first.map(Offset::new))
            .collect())
    }

    fn queue(
        &self,
        request: Request<'_>,
        topic: &str,
        partition: u32,
        part: u32,
        buffer: &RecordBuffer,
    ) -> Result<(), Error> {
        for (index, record) in (0..).zip(buffer.iter()) {
            let place = Place { part, index }.to_opaque();
            let mut message = BaseRecord::with_opaque_to(topic, place)
                .partition(number(partition))
                .timestamp(record.timestamp_ms);
            if !record.is_null {
                message = message.payload(record.value);
            }
            if let Some(key) = record.key {
                message = message.key(key);
            }
            if !record.headers.is_empty() {
                message = message.headers(owned(record.headers));
            }
            let begun = Instant::now();
            while let Err((error, unsent)) = self.inner.send(message) {
                let is_full = code(&error) == Some(RDKafkaErrorCode::QueueFull);
                if !is_full || begun.elapsed() > self.link.patience() {
                    let failure = Failure { error, index };
                    let place = (partition, record.value);
                    return Err(self.failure(request, topic, place, &failure));
                }
                thread::sleep(FULL_PAUSE);
                message = unsent;
            }
        }
        Ok(())
    }

    /// Waits until all records have been acknowledged or refused.
    fn settle(&self, request: Request<'_>) -> Result<Vec<Part>, Error> {
        let deliveries = self.inner.context();
        let mut append = deliveries.append.lock();
        let mut waiting = append.waiting;
        let mut progress = Instant::now();
        let mut patience = Patience::new(&self.link);
        let mut told = progress;
        while append.waiting > 0 {
            deliveries.settled.wait_for(&mut append, LOOK_EVERY);
            if append.waiting < waiting {
                waiting = append.waiting;
                progress = Instant::now();
                patience = Patience::new(&self.link);
            } else if progress.elapsed() >= SILENT && told.elapsed() >= SILENT
                || progress.elapsed() >= self.link.patience()
            {
                // The lock is the delivery thread's too.
                drop(append);
                let silent = KafkaError::MessageProduction(RDKafkaErrorCode::RequestTimedOut);
                patience.note(request, &silent)?;
                told = Instant::now();
                append = deliveries.append.lock();
            }
        }
        Ok(std::mem::take(&mut append.parts))
    }

    /// Waits until librdkafka counts no record in flight. It counts those of a batch until the last of them has been
    /// reported; a commit before that would wait a tenth of a second for a report that does not come.
    fn await_reports(&self) {
        let begun = Instant::now();
        while self.inner.in_flight_count() > 0 && begun.elapsed() < REPORTS_WAIT {
            thread::sleep(REPORTS_PAUSE);
        }
    }

    /// The error of an append of which a record was not acknowledged.
    fn failure(
        &self,
        request: Request<'_>,
        topic: &str,
        (partition, value): (u32, &[u8]),
        failure: &Failure,
    ) -> Error {
        let is_bekk = self.link.is_bekk;
        match (Reaction::of(&failure.error), code(&failure.error)) {
            (Reaction::Record, Some(code)) if self.takes_less_now(code, value) => {
                let request = Request::topic("append to", topic, "Write");
                let detail = format!(
                    "{code}; its max.message.bytes was lowered, and batches will be smaller"
                );
                self.link.away(request, detail)
            }
            // Its earlier versions refuse these of an ingest, too. The next session's records have the time of then.
            (Reaction::Record, Some(RDKafkaErrorCode::InvalidTimestamp)) if is_bekk => {
                self.link.away(request, BEHIND)
            }
            (Reaction::Record, Some(code)) => Error::RecordRefused {
                topic: topic.to_owned(),
                partition,
                index: failure.index,
                value: value.to_vec(),
                why: settings::record_remedy(&self.link.config.hosts, topic, code),
            },
            (Reaction::Metadata, Some(RDKafkaErrorCode::UnknownTopicOrPartition)) if is_bekk => {
                Error::UnknownTopic(topic.to_owned())
            }
            // What was queued has been given up because of the transaction, which knows why: to begin another one is
            // refused with that.
            (Reaction::Session, _) if self.transactional.is_some() => {
                let why = self.inner.begin_transaction().err();
                self.failed(request, why.as_ref().unwrap_or(&failure.error))
            }
            _ => self.failed(request, &failure.error),
        }
    }

    /// Whether a batch was refused because a topic takes less than when the producer was made, and the record itself is not
    /// too large. Another producer makes smaller batches.
    fn takes_less_now(&self, code: RDKafkaErrorCode, value: &[u8]) -> bool {
        let is_size = matches!(
            code,
            RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge
        );
        if !is_size || self.link.config.is_set("batch.size") {
            return false;
        }
        let now = topic_settings::message_bytes_max(&self.link).ok().flatten();
        let (Some(now), Some(before)) = (now, self.message_bytes_max) else {
            return false;
        };
        let size = u64::try_from(value.len()).unwrap_or(u64::MAX);
        now < before && size.saturating_add(2 * BATCH_OVERHEAD) < now
    }

    fn failed(&self, request: Request<'_>, error: &KafkaError) -> Error {
        if let Some(error) = self.fatal(request) {
            return error;
        }
        match (Reaction::of(error), &self.transactional) {
            (Reaction::Fenced, Some(session)) => fenced(session),
            _ => self.link.failed(request, error),
        }
    }

    /// What ended the producer for good: it tells more than the errors that follow from it.
    fn fatal(&self, request: Request<'_>) -> Option<Error> {
        let (code, text) = self.inner.client().fatal_error()?;
        Some(match (Reaction::of_code(code), &self.transactional) {
            (Reaction::Fenced, Some(session)) => fenced(session),
            (Reaction::Right | Reaction::Login, _) => {
                self.link.failed(request, &KafkaError::Global(code))
            }
            // Another producer continues: it looks at the log first.
            _ if !self.link.is_bekk => self.link.away(request, text),
            _ => self.link.refused(request, text),
        })
    }
}

fn owned(headers: Headers<'_>) -> OwnedHeaders {
    headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (name, value)| {
            let key = &String::from_utf8_lossy(name);
            all.insert(Header { key, value })
        })
}

fn transactional_id(session: &Session) -> String {
    format!("bekk-ingest/{}", session.ingest)
}

fn fenced(session: &Session) -> Error {
    Error::Fenced {
        ingest: session.ingest.clone(),
        session: session.number,
        newest: session.number,
    }
}
