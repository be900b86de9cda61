//! Appends: librdkafka's idempotent producer; on a Kafka cluster, a transaction for each append.
//!
//! A producer belongs to a session. Once it is unknown whether an append of it happened it takes no more: the
//! caller begins another session and looks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{
    BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};

use super::Link;
use super::place::number;
use crate::{Error, Offset, RecordBuffer, Session};

/// How often it is looked at whether there is progress.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a Kafka cluster may take to begin a session, which ends what earlier ones have left open.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
/// How long nothing is queued once librdkafka's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Producer {
    link: Arc<Link>,
    inner: ThreadedProducer<Deliveries>,
    /// The session's ingest, whose appends are transactions.
    transactional: Option<Session>,
    /// One append at a time.
    appending: Mutex<()>,
    is_broken: AtomicBool,
}

/// What became of an append's records so far.
#[derive(Default)]
struct Deliveries {
    append: Mutex<Append>,
    settled: Condvar,
}

#[derive(Default)]
struct Append {
    /// How many records have been neither acknowledged nor refused, of those that have been queued.
    waiting: u64,
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    first: Option<u64>,
    failure: Option<KafkaError>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "the connection to the log");
    }
}

impl ProducerContext for Deliveries {
    /// The part that the record belongs to.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, part: usize) {
        let mut append = self.lock();
        append.waiting = append.waiting.saturating_sub(1);
        if append.waiting == 0 {
            self.settled.notify_all();
        }
        let Some(part) = append.parts.get_mut(part) else {
            return;
        };
        match result {
            Ok(message) => {
                // -1 where it is not known: of a duplicate that the server had already.
                if let Ok(offset) = u64::try_from(message.offset()) {
                    part.first = Some(part.first.map_or(offset, |first| first.min(offset)));
                }
            }
            Err((error, _)) => {
                part.failure.get_or_insert_with(|| error.clone());
            }
        }
    }
}

impl Deliveries {
    fn lock(&self) -> MutexGuard<'_, Append> {
        self.append.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer {
    /// The producer of a session. On a Kafka cluster it shuts out the producers of earlier sessions.
    pub(super) fn of_session(link: Arc<Link>, session: &Session) -> Result<Self, Error> {
        let client_id = format!("bekk-ingest/{}/{}", session.ingest, session.number);
        if link.is_bekk {
            return Self::new(link, &client_id, None);
        }
        let producer = Self::new(link, &client_id, Some(session.clone()))?;
        let initialised = producer.inner.init_transactions(SESSION_TIMEOUT);
        initialised.map_err(|error| producer.failed("begin a session at", &error))?;
        Ok(producer)
    }

    /// A producer whose appends nothing fences.
    pub(super) fn without_session(link: Arc<Link>) -> Result<Self, Error> {
        Self::new(link, "bekk", None)
    }

    fn new(
        link: Arc<Link>,
        client_id: &str,
        transactional: Option<Session>,
    ) -> Result<Self, Error> {
        let mut config = link.client_config(client_id);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("compression.type", "lz4")
            .set("linger.ms", "1")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "100000")
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "1000000");
        if let Some(session) = &transactional {
            config.set(
                "transactional.id",
                format!("bekk-ingest/{}", session.ingest),
            );
        }
        let inner = config
            .create_with_context(Deliveries::default())
            .map_err(|error| link.refused("set up a producer for", error))?;
        Ok(Self {
            link,
            inner,
            transactional,
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
        let _one = self
            .appending
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.is_broken.load(Ordering::Acquire) {
            return Err(self.link.away("an earlier append has failed"));
        }
        let appended = self.try_append(topic, batches);
        if appended.is_err() {
            // What is queued must not be sent behind the caller's next look at the log.
            self.is_broken.store(true, Ordering::Release);
            self.inner.purge(PurgeConfig::default().queue().inflight());
        }
        appended
    }

    fn try_append(
        &self,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Option<Offset>>, Error> {
        let records = batches.iter().map(|(_, buffer)| u64::from(buffer.len()));
        *self.inner.context().lock() = Append {
            waiting: records.sum(),
            parts: batches.iter().map(|_| Part::default()).collect(),
        };
        if self.transactional.is_some() {
            let begun = self.inner.begin_transaction();
            begun.map_err(|error| self.failed("append to", &error))?;
        }
        for (part, (partition, buffer)) in batches.iter().enumerate() {
            self.queue(topic, *partition, part, buffer)?;
        }
        let parts = self.settle()?;
        if let Some(failure) = parts.iter().find_map(|part| part.failure.as_ref()) {
            return Err(self.failed_in(topic, failure));
        }
        if self.transactional.is_some() {
            let committed = self.inner.commit_transaction(self.link.patience());
            committed.map_err(|error| self.failed("append to", &error))?;
        }
        Ok(parts
            .iter()
            .map(|part| part.first.map(Offset::new))
            .collect())
    }

    fn queue(
        &self,
        topic: &str,
        partition: u32,
        part: usize,
        buffer: &RecordBuffer,
    ) -> Result<(), Error> {
        for record in buffer.iter() {
            let mut message = BaseRecord::with_opaque_to(topic, part)
                .partition(number(partition))
                .payload(record.value)
                .timestamp(record.timestamp_ms);
            if let Some(key) = record.key {
                message = message.key(key);
            }
            let begun = Instant::now();
            while let Err((error, unsent)) = self.inner.send(message) {
                let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                if !is_full || begun.elapsed() > self.link.patience() {
                    return Err(self.failed_in(topic, &error));
                }
                std::thread::sleep(FULL_PAUSE);
                message = unsent;
            }
        }
        Ok(())
    }

    /// Waits until all records have been acknowledged or refused.
    fn settle(&self) -> Result<Vec<Part>, Error> {
        let deliveries = self.inner.context();
        let mut append = deliveries.lock();
        let mut waiting = append.waiting;
        let mut progress = Instant::now();
        while append.waiting > 0 {
            let waited = deliveries.settled.wait_timeout(append, LOOK_EVERY);
            append = waited.unwrap_or_else(PoisonError::into_inner).0;
            if append.waiting < waiting {
                waiting = append.waiting;
                progress = Instant::now();
            } else if progress.elapsed() >= self.link.patience() {
                return Err(self.link.away("it does not acknowledge an append"));
            }
        }
        Ok(std::mem::take(&mut append.parts))
    }

    fn failed_in(&self, topic: &str, error: &KafkaError) -> Error {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Error::UnknownTopic(topic.to_owned())
            }
            _ => self.failed("append to", error),
        }
    }

    fn failed(&self, act: &'static str, error: &KafkaError) -> Error {
        // What ended the producer for good tells more than the error that follows from it.
        let fatal = self.inner.client().fatal_error();
        let code = fatal.as_ref().map(|(code, _)| *code);
        match (code.or(error.rdkafka_error_code()), &self.transactional) {
            // Not so an epoch that is no longer valid: the cluster may have given up a transaction that took long.
            (Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced), Some(session)) => {
                Error::Fenced {
                    ingest: session.ingest.clone(),
                    session: session.number,
                    newest: session.number,
                }
            }
            _ => match fatal {
                Some((_, text)) => self.link.refused(act, text),
                None => self.link.failed(act, error),
            },
        }
    }
}
