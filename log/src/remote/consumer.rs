//! Reads: one librdkafka consumer that fetches ahead, with a queue for each partition that is read.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::Offset as KafkaOffset;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::context::Context;
use super::place::{from_kafka, list, number, to_kafka};
use super::reader::{Reader, Step};
use super::request::Request;
use super::verdict::Verdict;
use super::{Link, Patience, topics};
use crate::{Error, Offset, PartitionEnds, Records};

/// How often the ends of partitions that nobody here reads are asked for while somebody waits.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How often they are asked for while all is read: an end that moved backwards, or another number of partitions, is not
/// heard of in any other way.
const ASK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// How long log start offsets are believed: they matter to who asks what there is, not to who reads on.
const STARTS_FOR: Duration = Duration::from_secs(1);
/// How many of the consumer's events are heard at once.
const EVENTS_MAX: usize = 64;
/// How long a fetch that is due may take before the consumer is made to ask anew.
const SEEK_AFTER: Duration = Duration::from_millis(200);
/// The same on a cluster, where transactions leave marks that are no records; longer than a fetch waits there.
const SEEK_AFTER_ON_CLUSTER: Duration = Duration::from_millis(80);
/// How long a client may take to hear of a topic that another one knows.
const NEW_TOPIC_WAIT: Duration = Duration::from_secs(10);
const NEW_TOPIC_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Consumer {
    link: Arc<Link>,
    inner: Arc<BaseConsumer<Context>>,
    /// Asks a cluster for high watermarks, which a client that reads what is committed cannot; Bekk's server has no
    /// transactions.
    watermarks: Option<BaseConsumer<Context>>,
    topics: Mutex<HashMap<String, Arc<TopicView>>>,
    news: Arc<News>,
}

/// What is known of a topic.
struct TopicView {
    partitions: u32,
    /// The partitions' leaders, as they were before the ends were asked for.
    leaders: Mutex<Vec<i32>>,
    ends: Mutex<KnownEnds>,
    readers: Vec<Mutex<Option<Reader>>>,
}

#[derive(Default)]
struct KnownEnds {
    starts: Vec<Offset>,
    starts_at: Option<Instant>,
    ends: Vec<Offset>,
    asked_at: Option<Instant>,
}

/// Says that a queue has become non-empty.
#[derive(Default)]
pub(super) struct News {
    count: Mutex<u64>,
    come: Condvar,
}

impl News {
    pub(super) fn tell(&self) {
        *self.lock() += 1;
        self.come.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for more than `seen`.
    fn wait(&self, seen: u64, timeout: Duration) {
        let waited = self
            .come
            .wait_timeout_while(self.lock(), timeout, |count| *count == seen);
        drop(waited);
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
            // A fetch that waits at the end of one partition keeps back those of all others.
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "50")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.message.max.bytes", "1048576")
            .set("queued.max.messages.kbytes", "16384");
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

    /// Gives the client for high watermarks away, before the consumer is given up.
    pub(super) fn take_watermarks(&mut self) -> Option<impl Send + use<>> {
        self.watermarks.take()
    }

    /// Hears what the consumer has to say of its connection, all of it: an error from before a record was fetched
    /// lies before that record.
    pub(super) fn take_events(&self) {
        for _ in 0..EVENTS_MAX {
            if self.inner.poll(Duration::ZERO).is_none() {
                break;
            }
        }
    }

    /// The cluster id as the server tells it now.
    pub(super) fn cluster_id(&self, topic: &str) -> Result<String, Error> {
        let request = Request::topic("recognise", topic, "Describe");
        self.link.attempt(request, |timeout| {
            let client = self.link.asker.client();
            // The answer brings the id up to date.
            client.fetch_metadata(Some(topic), timeout)?;
            let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable);
            client.fetch_cluster_id(timeout).ok_or(unknown)
        })
    }

    /// Makes who waits look again.
    pub(super) fn wake(&self) {
        self.news.tell();
    }

    pub(super) fn partition_count(&self, topic: &str) -> Result<u32, Error> {
        Ok(self.view(topic)?.partitions)
    }

    pub(super) fn partition_ends(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        let view = self.view(topic)?;
        self.ask_ends(topic, &view)?;
        let known = view.lock_ends();
        let ends = (0..view.partitions).zip(known.starts.iter().zip(&known.ends));
        Ok(ends
            .map(|(partition, (start, end))| PartitionEnds {
                partition,
                start: *start,
                end: *end,
            })
            .collect())
    }

    /// Where each partition's log begins and ends, what cannot be read yet included.
    pub(super) fn high_watermarks(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        let mut all = self.partition_ends(topic)?;
        if let Some(client) = &self.watermarks {
            let view = self.view(topic)?;
            let watermarks = self.ask_place(client, topic, &view, KafkaOffset::End)?;
            for (ends, watermark) in all.iter_mut().zip(watermarks) {
                ends.end = watermark.max(ends.end);
            }
        }
        Ok(all)
    }

    pub(super) fn offset_for_time(
        &self,
        topic: &str,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        drop(self.view(topic)?.reader(topic, partition)?);
        // Less than 0 would be a place, not a time.
        let time = KafkaOffset::Offset(timestamp_ms.max(0));
        let request = Request::topic("find a time in", topic, "Describe");
        let found = self.link.attempt(request, |timeout| {
            ask(&self.link.asker, topic, [(partition, time)], timeout)
        })?;
        Ok(found.into_iter().next().flatten())
    }

    /// Reads on. Where nothing is there it is the end as it was last asked for, so that who asks for the end
    /// first and then reads up to it misses nothing.
    pub(super) fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Records, Error> {
        let view = self.view(topic)?;
        let mut slot = view.reader(topic, partition)?;
        let end = self.check_range(topic, &view, partition, from)?;
        // A new reader fetches after the end was asked for: what it says of the end is true of that.
        let mut is_fresh = slot.as_mut().is_none_or(|reader| reader.begins_before(end));
        let mut reader = match &mut *slot {
            Some(reader) => reader,
            None => slot.insert(self.open_reader(topic, partition, from)?),
        };
        self.take_events();
        if reader.has_failed() {
            reader = self.reopen(&mut slot, topic, partition, from)?;
        }
        if reader.is_stale(self.link.doubts()) {
            // What it keeps may be another log's.
            reader = self.seek(&mut slot, topic, partition, from)?;
        }
        if let Some(records) = reader.kept(from) {
            return Ok(records);
        }
        if !reader.is_there(from) {
            reader = self.seek(&mut slot, topic, partition, from)?;
        }
        let request = Request::topic("read", topic, "Read");
        let mut patience = Patience::new(&self.link);
        let mut sought_at = Instant::now();
        let seek_after = match self.link.is_bekk {
            true => SEEK_AFTER,
            false => SEEK_AFTER_ON_CLUSTER,
        };
        loop {
            // The events of the whole consumer; no record comes here.
            let _ = self.inner.poll(Duration::ZERO);
            let wait = if from < end {
                seek_after
            } else {
                Duration::ZERO
            };
            match reader.take(bytes_max, wait) {
                Ok(Step::Records(records)) => {
                    self.link.config.waits.succeeded(|| request.to_string());
                    return Ok(records);
                }
                // Whatever lies before the end has been passed: it is no records, but a transaction's marks.
                Ok(Step::AtEnd)
                    if is_fresh
                        && from < end
                        && self.has_same_leader(topic, &view, partition)? =>
                {
                    return Ok(reader.pass_to(end));
                }
                Ok(Step::AtEnd) if from < end && !self.link.is_bekk => {
                    // It was at the end before there was more, or the partition has another leader, which may not
                    // know yet how far the last one was: it is asked for the end, and only then for records.
                    if is_fresh {
                        self.ask_ends(topic, &view)?;
                    }
                    reader = self.seek(&mut slot, topic, partition, from)?;
                    sought_at = Instant::now();
                    is_fresh = true;
                    continue;
                }
                Ok(Step::AtEnd | Step::Nothing) => {}
                Err(error) => {
                    self.await_place(topic, &view, (partition, from), &error, &mut patience)?;
                    // After some errors librdkafka has given the partition up, and takes no seek.
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
                    // It was at the end before there was more, and says so again only when it is asked anew.
                    reader = self.seek(&mut slot, topic, partition, from)?;
                    sought_at = Instant::now();
                    is_fresh = true;
                }
            }
        }
    }

    /// Begins to fetch partitions that nobody reads yet, all at once.
    pub(super) fn read_ahead(&self, topic: &str, places: &[(u32, Offset)]) -> Result<(), Error> {
        let view = self.view(topic)?;
        for &(partition, from) in places {
            let mut slot = view.reader(topic, partition)?;
            if slot.is_none() {
                let end = view.lock_ends().ends.get(partition as usize).copied();
                let reader = self.open_reader(topic, partition, from)?;
                *slot = Some(reader.ahead_of(end.unwrap_or(from)));
            }
        }
        Ok(())
    }

    /// Whether a partition's leader is the one that told its end. Another one learns only with time how far that was;
    /// until then, what it says of the end would hide records.
    fn has_same_leader(
        &self,
        topic: &str,
        view: &TopicView,
        partition: u32,
    ) -> Result<bool, Error> {
        if self.link.is_bekk {
            return Ok(true);
        }
        let leader = |leaders: &[i32]| leaders.get(partition as usize).copied();
        let now = topics::leaders(&self.link, topic)?;
        let mut known = view.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = leader(&known) == leader(&now);
        *known = now;
        Ok(is_same)
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
        if Verdict::of(&error) == Verdict::Place {
            view.lock_ends().starts_at = None;
            self.ask_ends(topic, view)?;
            self.check_range(topic, view, partition, from)?;
            // It is there: who answered did not know of it yet.
            error = KafkaError::MessageConsumption(RDKafkaErrorCode::OffsetNotAvailable);
        }
        patience.wait(Request::topic("read", topic, "Read"), &error)
    }

    /// Checks that the log has `from`, and returns the end that is known. On a cluster that end may lie before what
    /// has been read: some brokers tell none, or 0, while a transaction is open.
    fn check_range(
        &self,
        topic: &str,
        view: &TopicView,
        partition: u32,
        from: Offset,
    ) -> Result<Offset, Error> {
        let index = partition as usize;
        let known = |known: &KnownEnds| {
            let start = known.starts.get(index).copied()?;
            Some((start, known.ends.get(index).copied()?))
        };
        let mut range = known(&view.lock_ends());
        if range.is_none_or(|(start, end)| from < start || from > end) {
            view.lock_ends().starts_at = None;
            self.ask_ends(topic, view)?;
            range = known(&view.lock_ends());
        }
        let (start, mut end) = range.ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        if from > end && self.watermarks.is_some() {
            let watermarks = self.high_watermarks(topic)?;
            end = watermarks.get(index).map_or(end, |ends| ends.end.min(from));
        }
        if from < start || from > end {
            return Err(Error::OffsetOutOfRange {
                topic: topic.to_owned(),
                partition,
                offset: from,
                start,
                end,
            });
        }
        Ok(end)
    }

    pub(super) fn wait_for_records(
        &self,
        topic: &str,
        behind: &[(u32, Offset)],
        timeout: Duration,
    ) -> Result<bool, Error> {
        let view = self.view(topic)?;
        let deadline = Instant::now() + timeout;
        loop {
            let seen = *self.news.lock();
            let mut is_all_read = true;
            for (partition, offset) in behind {
                let Some(slot) = view.readers.get(*partition as usize) else {
                    continue;
                };
                // Whoever reads there now sees what comes.
                let Ok(mut reader) = slot.try_lock() else {
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
            let pause = match is_all_read {
                true => ASK_AT_LEAST_EVERY,
                false => ASK_EVERY,
            };
            let is_due = |known: &KnownEnds| {
                let asked = known.asked_at;
                asked.is_none_or(|asked| asked.elapsed() >= pause)
            };
            if is_due(&view.lock_ends()) {
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
            let _ = self.inner.poll(Duration::ZERO);
            self.news.wait(seen, left.min(pause));
        }
    }

    /// Fetches from `from` on anew, with another reader if librdkafka has given the partition up.
    fn seek<'a>(
        &self,
        slot: &'a mut Option<Reader>,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<&'a mut Reader, Error> {
        let doubts = self.link.doubts();
        let sought = slot
            .as_mut()
            .is_some_and(|reader| reader.seek(&self.inner, from, doubts).is_ok());
        if !sought {
            return self.reopen(slot, topic, partition, from);
        }
        slot.as_mut()
            .ok_or_else(|| Error::UnknownTopic(topic.to_owned()))
    }

    /// Gives a partition's reader up, and begins to fetch with another one.
    fn reopen<'a>(
        &self,
        slot: &'a mut Option<Reader>,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<&'a mut Reader, Error> {
        *slot = None;
        let given_up = list(topic, [(partition, to_kafka(from))])
            .and_then(|places| self.inner.incremental_unassign(&places));
        given_up.map_err(|error| {
            self.link
                .failed(Request::topic("read", topic, "Read"), &error)
        })?;
        Ok(slot.insert(self.open_reader(topic, partition, from)?))
    }

    fn open_reader(&self, topic: &str, partition: u32, from: Offset) -> Result<Reader, Error> {
        let failed = |error: KafkaError| {
            self.link
                .failed(Request::topic("read", topic, "Read"), &error)
        };
        // Split off before it is assigned, so that no record comes by another way.
        let queue = self.inner.split_partition_queue(topic, number(partition));
        let mut queue: PartitionQueue<Context> =
            queue.ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        let news = Arc::clone(&self.news);
        queue.set_nonempty_callback(move || news.tell());
        let assigned = list(topic, [(partition, to_kafka(from))]).map_err(failed)?;
        self.inner.incremental_assign(&assigned).map_err(failed)?;
        let doubts = self.link.doubts();
        Ok(Reader::new(topic, partition, queue, from, doubts))
    }

    /// Asks for the ends, and for the starts if what is known of them is old.
    fn ask_ends(&self, topic: &str, view: &TopicView) -> Result<(), Error> {
        let starts_at = view.lock_ends().starts_at;
        if starts_at.is_none_or(|at| at.elapsed() >= STARTS_FOR) {
            if !self.link.is_bekk {
                let leaders = topics::leaders(&self.link, topic)?;
                self.check_count(topic, view, leaders.len())?;
                *view.leaders.lock().unwrap_or_else(PoisonError::into_inner) = leaders;
            }
            let starts = self.ask_place(&self.link.asker, topic, view, KafkaOffset::Beginning)?;
            let mut known = view.lock_ends();
            known.starts = starts;
            known.starts_at = Some(Instant::now());
        }
        let ends = self.ask_place(&self.link.asker, topic, view, KafkaOffset::End)?;
        let mut known = view.lock_ends();
        if known.ends.iter().zip(&ends).any(|(known, now)| now < known) {
            self.link.doubt();
        }
        known.ends = ends;
        known.asked_at = Some(Instant::now());
        Ok(())
    }

    /// Checks that a topic has as many partitions as it had: whoever works with it begins anew with another number.
    fn check_count(&self, topic: &str, view: &TopicView, found: usize) -> Result<(), Error> {
        let known = view.partitions;
        if found == 0 || found == known as usize {
            return Ok(());
        }
        self.link.doubt();
        let request = Request::topic("read", topic, "Read");
        let detail = format!("the topic has {found} partitions now, and had {known}");
        Err(self.link.away(request, detail))
    }

    /// Asks where each partition begins or ends.
    fn ask_place(
        &self,
        client: &BaseConsumer<Context>,
        topic: &str,
        view: &TopicView,
        place: KafkaOffset,
    ) -> Result<Vec<Offset>, Error> {
        let request = Request::topic("find the ends of", topic, "Describe");
        self.link.attempt(request, |timeout| {
            let places = (0..view.partitions).map(|partition| (partition, place));
            let found = ask(client, topic, places, timeout)?;
            // Every partition has a beginning and an end. A broker that tells none does not know at this moment;
            // to take that for 0 would be to forget all that was read.
            let unknown = KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable);
            found.into_iter().collect::<Option<_>>().ok_or(unknown)
        })
    }

    fn view(&self, topic: &str) -> Result<Arc<TopicView>, Error> {
        if let Some(view) = self.lock_topics().get(topic) {
            return Ok(Arc::clone(view));
        }
        let partitions = self.await_partitions(topic)?;
        let view = Arc::new(TopicView {
            partitions,
            leaders: Mutex::default(),
            ends: Mutex::default(),
            readers: (0..partitions).map(|_| Mutex::default()).collect(),
        });
        let mut topics = self.lock_topics();
        let view = topics.entry(topic.to_owned()).or_insert(view);
        Ok(Arc::clone(view))
    }

    /// How many partitions a topic has.
    ///
    /// The consumer itself asks: what it does not know when a partition is assigned it finds out at its next look, up
    /// to a second later. Its broker may be another than that of the asker, and may not have heard of a new topic.
    fn await_partitions(&self, topic: &str) -> Result<u32, Error> {
        let begun = Instant::now();
        loop {
            match topics::partition_count(&self.link, &self.inner, topic) {
                Err(Error::UnknownTopic(_)) if begun.elapsed() < NEW_TOPIC_WAIT => {
                    topics::partition_count(&self.link, &self.link.asker, topic)?;
                    std::thread::sleep(NEW_TOPIC_PAUSE);
                }
                known => return known,
            }
        }
    }

    fn lock_topics(&self) -> MutexGuard<'_, HashMap<String, Arc<TopicView>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for places of partitions; `None` if absent.
fn ask(
    client: &BaseConsumer<Context>,
    topic: &str,
    places: impl IntoIterator<Item = (u32, KafkaOffset)>,
    timeout: Duration,
) -> KafkaResult<Vec<Option<Offset>>> {
    // What the client has to say of its connection is heard in between, lest it pile up.
    let _ = client.poll(Duration::ZERO);
    let found = client
        .offsets_for_times(list(topic, places)?, timeout)
        .and_then(|found| {
            let offsets = found.elements().into_iter().map(|element| {
                element.error()?;
                Ok(from_kafka(element.offset()))
            });
            offsets.collect()
        });
    if let Err(error) = &found
        && Verdict::of(error).is_retriable()
    {
        // The next attempt asks the partitions' new leaders. A leader that has died answers with a time-out, and nothing
        // else makes a client that fetches no records look for another.
        let _ = client.client().fetch_metadata(Some(topic), timeout);
    }
    found
}

impl TopicView {
    fn lock_ends(&self) -> MutexGuard<'_, KnownEnds> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a partition's reader, held.
    fn reader(&self, topic: &str, partition: u32) -> Result<MutexGuard<'_, Option<Reader>>, Error> {
        let slot = self.readers.get(partition as usize);
        let slot = slot.ok_or_else(|| Error::UnknownPartition {
            topic: topic.to_owned(),
            partition,
        })?;
        Ok(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a partition's known end lies behind one of the offsets.
    fn is_behind(&self, offsets: &[(u32, Offset)]) -> bool {
        let known = self.lock_ends();
        offsets.iter().any(|(partition, offset)| {
            let end = known.ends.get(*partition as usize);
            end.is_some_and(|end| end > offset)
        })
    }
}
