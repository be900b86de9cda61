//! Reads: one librdkafka consumer that fetches ahead, with a queue for each partition that is read.

mod ends;
mod readers;
mod topic_view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use self::topic_view::{KnownEnds, TopicView};
use super::context::{Context, STATISTICS_MS, close, take_events};
use super::link::{Link, Patience};
use super::reaction::Reaction;
use super::reader::{PartitionReader, Step};
use super::request::Request;
use super::topics;
use crate::{Error, Offset, Records};

/// Interval of queries for the ends of partitions that nobody here reads, while a caller waits.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// The same interval when all is read. Nothing else reports an end that moved backwards, or another number of
/// partitions.
const ASK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// How long a fetch that is due may take before the consumer seeks to the same place again.
const SEEK_AFTER: Duration = Duration::from_millis(200);
/// The same on a cluster, where transactions leave markers that are not records; longer than a fetch waits there.
const SEEK_AFTER_ON_CLUSTER: Duration = Duration::from_millis(80);
/// Number of topics that are asked for before the first is read.
const TOPICS_AHEAD_MAX: usize = 32;
/// How long a client may take to hear of a topic that another one knows.
const NEW_TOPIC_WAIT: Duration = Duration::from_secs(10);
const NEW_TOPIC_PAUSE: Duration = Duration::from_millis(50);

/// librdkafka's properties, unless the user has set others.
const DEFAULTS: [(&str, &str); 2] = [
    ("fetch.message.max.bytes", "1048576"),
    ("queued.max.messages.kbytes", "16384"),
];

pub(crate) struct Consumer {
    link: Arc<Link>,
    inner: Arc<BaseConsumer<Context>>,
    /// Asks a cluster for high watermarks; a client that reads only committed records cannot. Bekk's server has no
    /// transactions.
    watermarks: Option<BaseConsumer<Context>>,
    topics: Mutex<HashMap<String, Arc<TopicView>>>,
    news: Arc<News>,
}

/// Wakes callers when a queue becomes non-empty.
#[derive(Default)]
pub(super) struct News {
    count: Mutex<u64>,
    come: Condvar,
}

impl News {
    pub(super) fn tell(&self) {
        *self.count.lock() += 1;
        self.come.notify_all();
    }

    /// Waits until the count differs from `seen`, at most `timeout`.
    fn wait(&self, seen: u64, timeout: Duration) {
        (self.come).wait_while_for(&mut self.count.lock(), |count| *count == seen, timeout);
    }
}

impl Consumer {
    pub(super) fn new(link: Arc<Link>) -> Result<Self, Error> {
        let mut config = link.client_config("bekk");
        config
            .set("group.id", "bekk")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            // A fetch that waits at the end of one partition delays those of all others.
            .set(
                "fetch.wait.max.ms",
                link.config.end_wait.as_millis().to_string(),
            )
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.queue.backoff.ms", "10");
        for (property, value) in DEFAULTS {
            if !link.config.is_set(property) {
                config.set(property, value);
            }
        }
        if !link.is_bekk {
            config.set("statistics.interval.ms", STATISTICS_MS);
        }
        let created = |config: ClientConfig| {
            config
                .create_with_context(Context::noting(&link.heard))
                .map_err(|error| link.refused(Request::cluster("set up a client"), error))
        };
        let inner = created(config)?;
        let watermarks = if link.is_bekk {
            None
        } else {
            let mut config = link.client_config("bekk");
            config.set("isolation.level", "read_uncommitted");
            Some(created(config)?)
        };
        Ok(Self {
            inner: Arc::new(inner),
            watermarks,
            link,
            topics: Mutex::default(),
            news: Arc::default(),
        })
    }

    /// Takes the client for high watermarks away, so that it can be dropped beside others.
    pub(super) fn take_watermarks(&mut self) -> Option<impl Send + use<>> {
        self.watermarks.take()
    }

    /// Ends the fetching, for good.
    pub(super) fn close(&self) {
        close(&self.inner);
    }

    /// Takes all events of the consumer's connection: an error from before a record was fetched precedes that record.
    pub(super) fn take_events(&self) {
        take_events(&self.inner);
    }

    /// Asks the server for its cluster id.
    pub(super) fn cluster_id(&self, topic: &str) -> Result<String, Error> {
        let request = Request::topic("recognise", topic, "Describe");
        self.link.attempt(request, |timeout| {
            let client = self.link.asker.client();
            // The answer updates the id that the client keeps.
            client.fetch_metadata(Some(topic), timeout)?;
            let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
            client.fetch_cluster_id(timeout).ok_or(unknown)
        })
    }

    /// Wakes the callers that wait.
    pub(super) fn wake(&self) {
        self.news.tell();
    }

    pub(super) fn partition_count(&self, topic: &str) -> Result<u32, Error> {
        Ok(self.view(topic)?.partitions)
    }

    /// Reads from `from`. Without records the result ends at the last known end, so a caller that asks for the end
    /// first and then reads up to it misses nothing.
    pub(crate) fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Records, Error> {
        let view = self.view(topic)?;
        let mut slot = view.reader(topic, partition)?;
        let end = self.check_range(topic, &view, partition, from)?;
        // A reader that began to fetch when the end was known does not report an older end.
        let is_fresh = |reader: &PartitionReader| {
            let since = view.known_since(partition);
            from < end && since.is_some_and(|since| reader.is_newer_than(since))
        };
        let mut reader = self.sound_reader(&mut slot, topic, partition, from)?;
        if let Some(records) = reader.kept(from) {
            return Ok(records);
        }
        if !reader.is_there(from) {
            reader = self.seek(&mut slot, topic, partition, from)?;
        }
        let request = Request::topic("read", topic, "Read");
        let mut patience = Patience::new(&self.link);
        let mut sought_at = Instant::now();
        let seek_after = self.seek_after();
        loop {
            // This takes the events of the whole consumer; no record comes here.
            self.take_events();
            let is_over = from >= end || reader.is_at_end() && is_fresh(reader);
            let wait = if is_over { Duration::ZERO } else { seek_after };
            match reader.take(bytes_max, wait) {
                Ok(Step::Records(records)) => {
                    self.link.config.waits.succeeded(|| request.to_string());
                    return Ok(records);
                }
                // All that precedes the end has been passed: no records, but a transaction's markers.
                Ok(Step::AtEnd | Step::Nothing)
                    if reader.is_at_end()
                        && is_fresh(reader)
                        && self.has_same_leader(topic, &view, partition)? =>
                {
                    return Ok(reader.pass_to(end));
                }
                Ok(step)
                    if from < end
                        && !self.link.is_bekk
                        && (matches!(step, Step::AtEnd) || is_over) =>
                {
                    // The reader was at the end before there was more, or the partition has another leader, which may
                    // not know yet how far the last one was: the consumer asks it for the end first, then for records.
                    if view.known_since(partition).is_none() {
                        self.ask_ends(topic, &view)?;
                    }
                    reader = self.seek(&mut slot, topic, partition, from)?;
                    sought_at = Instant::now();
                    continue;
                }
                Ok(Step::AtEnd | Step::Nothing) => {}
                Err(error) => {
                    self.await_place(topic, &view, (partition, from), &error, &mut patience)?;
                    // After some errors librdkafka has given the partition up, and cannot seek in it.
                    reader = self.reopen(&mut slot, topic, partition, from)?;
                    sought_at = Instant::now();
                    continue;
                }
            }
            if from >= end {
                return Ok(Records::new(from));
            }
            self.link.check()?;
            if sought_at.elapsed() >= seek_after {
                let silent = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                patience.note(request, &silent)?;
                if reader.is_at_end() {
                    // The reader was at the end before there was more, and reports the end again only after a seek.
                    reader = self.seek(&mut slot, topic, partition, from)?;
                    sought_at = Instant::now();
                }
            }
        }
    }

    /// How long a fetch that is due may take.
    fn seek_after(&self) -> Duration {
        if self.link.is_bekk {
            SEEK_AFTER
        } else {
            SEEK_AFTER_ON_CLUSTER
        }
    }

    /// Waits out an error of a fetch: the partition's leader may have changed.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] if the log does not have the offset; others that do not pass.
    fn await_place(
        &self,
        topic: &str,
        view: &TopicView,
        (partition, from): (u32, Offset),
        error: &KafkaError,
        patience: &mut Patience<'_>,
    ) -> Result<(), Error> {
        self.link.doubt();
        let mut error = error.clone();
        if Reaction::of(&error) == Reaction::Place {
            view.ends.lock().starts_at = None;
            self.ask_ends(topic, view)?;
            self.check_range(topic, view, partition, from)?;
            // The offset exists: the broker that answered did not know it yet.
            error = KafkaError::MessageConsumption(RDKafkaErrorCode::OffsetNotAvailable);
        }
        patience.wait(Request::topic("read", topic, "Read"), &error)
    }

    pub(crate) fn wait_for_records(
        &self,
        topic: &str,
        behind: &[(u32, Offset)],
        timeout: Duration,
    ) -> Result<bool, Error> {
        let view = self.view(topic)?;
        let deadline = Instant::now() + timeout;
        loop {
            let seen = *self.news.count.lock();
            let mut is_all_read = true;
            for (partition, offset) in behind {
                let Some(slot) = view.readers.get(*partition as usize) else {
                    continue;
                };
                // The reader's holder sees what arrives.
                let Some(mut reader) = slot.try_lock() else {
                    continue;
                };
                let Some(reader) = &mut *reader else {
                    is_all_read = false;
                    continue;
                };
                if reader.is_behind(*offset) {
                    return Ok(true);
                }
                is_all_read &= reader.is_at(*offset);
            }
            let pause = if is_all_read {
                ASK_AT_LEAST_EVERY
            } else {
                ASK_EVERY
            };
            let is_due = |known: &KnownEnds| {
                let asked = known.asked_at;
                asked.is_none_or(|asked| asked.elapsed() >= pause)
            };
            if is_due(&view.ends.lock()) {
                self.ask_ends(topic, &view)?;
            }
            if view.is_behind(behind) {
                return Ok(true);
            }
            self.link.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.take_events();
            self.news.wait(seen, left.min(pause));
        }
    }

    fn view(&self, topic: &str) -> Result<Arc<TopicView>, Error> {
        if let Some(view) = self.topics.lock().get(topic) {
            return Ok(Arc::clone(view));
        }
        self.learn_topics();
        if let Some(view) = self.topics.lock().get(topic) {
            return Ok(Arc::clone(view));
        }
        let view = Arc::new(TopicView::new(self.await_partitions(topic)?));
        let mut topics = self.topics.lock();
        let view = topics.entry(topic.to_owned()).or_insert(view);
        Ok(Arc::clone(view))
    }

    /// Asks a cluster for Bekk's topics before anything is read: later the request waits for a fetch that waits for
    /// records.
    fn learn_topics(&self) {
        if self.link.is_bekk || !self.topics.lock().is_empty() {
            return;
        }
        for topic in self.link.config.topics.iter().take(TOPICS_AHEAD_MAX) {
            // A topic that does not exist yet is asked for again when it is read.
            if let Ok(partitions) = topics::partition_count(&self.link, &self.inner, topic) {
                let view = || Arc::new(TopicView::new(partitions));
                self.topics.lock().entry(topic.clone()).or_insert_with(view);
            }
        }
    }

    /// Waits until the consumer knows a topic, and returns its number of partitions.
    ///
    /// The consumer itself asks: it would need up to a second after the assignment to learn of an unknown topic. Its
    /// broker may differ from the asker's, and may not have heard of a new topic.
    fn await_partitions(&self, topic: &str) -> Result<u32, Error> {
        let begun = Instant::now();
        loop {
            match topics::partition_count(&self.link, &self.inner, topic) {
                Err(Error::UnknownTopic(_)) if begun.elapsed() < NEW_TOPIC_WAIT => {
                    match topics::partition_count(&self.link, &self.link.asker, topic) {
                        // Another broker has answered that does not know the topic yet.
                        Err(Error::UnknownTopic(_)) if self.link.has_seen(topic) => {}
                        known => {
                            known?;
                        }
                    }
                    std::thread::sleep(NEW_TOPIC_PAUSE);
                }
                known => return known,
            }
        }
    }
}
