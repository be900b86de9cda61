//! Where each partition begins and ends, and which broker leads it.

use std::time::{Duration, Instant};

use rdkafka::Offset as KafkaOffset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::Consumer;
use super::topic_view::{KnownEnds, TopicView};
use crate::remote::context::{Context, take_events};
use crate::remote::link::Link;
use crate::remote::place::{from_kafka, list};
use crate::remote::reaction::Reaction;
use crate::remote::request::Request;
use crate::remote::topics;
use crate::{Error, Offset, PartitionEnds};

/// How long a caller that only continues believes log start offsets. One that asks where partitions begin gets them anew.
const STARTS_FOR: Duration = Duration::from_secs(1);

impl Consumer {
    pub(crate) fn partition_ends(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        let view = self.view(topic)?;
        // Retention or another program may have removed records a moment ago.
        view.ends.lock().starts_at = None;
        self.ask_ends(topic, &view)?;
        let known = view.ends.lock();
        let ends = (0..view.partitions).zip(known.starts.iter().zip(&known.ends));
        Ok(ends
            .map(|(partition, (start, end))| PartitionEnds {
                partition,
                start: *start,
                end: *end,
            })
            .collect())
    }

    /// Returns where each partition begins and ends, including records that cannot be read yet.
    pub(crate) fn high_watermarks(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
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

    /// Returns where each partition ends.
    pub(crate) fn ends(&self, topic: &str) -> Result<Vec<Offset>, Error> {
        let view = self.view(topic)?;
        self.ask_ends(topic, &view)?;
        let known = view.ends.lock();
        Ok(known.ends.clone())
    }

    pub(crate) fn offset_for_time(
        &self,
        topic: &str,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        drop(self.view(topic)?.reader(topic, partition)?);
        // A negative number would be a place, not a time.
        let time = KafkaOffset::Offset(timestamp_ms.max(0));
        let request = Request::topic("find a time in", topic, "Describe");
        let found = self.link.attempt(request, |timeout| {
            ask(
                &self.link,
                &self.link.asker,
                topic,
                [(partition, time)],
                timeout,
            )
        })?;
        Ok(found.into_iter().next().flatten())
    }

    /// Whether the broker that reported a partition's end still leads it. Another leader may not know yet how far the
    /// partition reached, and would report an end that hides records.
    pub(super) fn has_same_leader(
        &self,
        topic: &str,
        view: &TopicView,
        partition: u32,
    ) -> Result<bool, Error> {
        if self.link.is_bekk {
            return Ok(true);
        }
        let leader = |leaders: &[i32]| {
            let leader = leaders.get(partition as usize).copied();
            leader.filter(|id| *id >= 0)
        };
        let now = topics::leaders(&self.link, topic)?;
        let known = view.leaders.lock();
        let is_same = leader(&now).is_some() && leader(&known) == leader(&now);
        drop(known);
        view.set_leaders(now);
        Ok(is_same)
    }

    /// Checks that the log has `from`, and returns the known end. On a cluster that end may precede what has been read:
    /// some brokers report none, or 0, while a transaction is open.
    pub(super) fn check_range(
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
        let mut range = known(&view.ends.lock());
        if range.is_none_or(|(start, end)| from < start || from > end) {
            view.ends.lock().starts_at = None;
            self.ask_ends(topic, view)?;
            range = known(&view.ends.lock());
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

    /// Asks for the ends, and also for the starts if the known ones are old.
    pub(super) fn ask_ends(&self, topic: &str, view: &TopicView) -> Result<(), Error> {
        let starts_at = view.ends.lock().starts_at;
        if starts_at.is_none_or(|at| at.elapsed() >= STARTS_FOR) {
            if !self.link.is_bekk {
                let leaders = topics::leaders(&self.link, topic)?;
                self.check_count(topic, view, leaders.len())?;
                view.set_leaders(leaders);
            }
            let starts = self.ask_place(&self.link.asker, topic, view, KafkaOffset::Beginning)?;
            let mut known = view.ends.lock();
            known.starts = starts;
            known.starts_at = Some(Instant::now());
        }
        let ends = self.ask_place(&self.link.asker, topic, view, KafkaOffset::End)?;
        let mut known = view.ends.lock();
        if known.ends.iter().zip(&ends).any(|(known, now)| now < known) {
            self.link.doubt();
        }
        let now = Instant::now();
        let since = |(partition, end): (usize, &Offset)| {
            let is_known = known.ends.get(partition) == Some(end);
            let since = known.since.get(partition).copied().flatten();
            since.filter(|_| is_known).or(Some(now))
        };
        known.since = ends.iter().enumerate().map(since).collect();
        known.ends = ends;
        known.asked_at = Some(now);
        Ok(())
    }

    /// Checks that a topic has as many partitions as before; after a change its users must begin again.
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

    /// Asks where each partition begins, or where each ends.
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
            let found = ask(&self.link, client, topic, places, timeout)?;
            // Every partition has a beginning and an end. A broker that reports none does not know it at the moment;
            // to take that for 0 would forget all that was read.
            let unknown = KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable);
            found.into_iter().collect::<Option<_>>().ok_or(unknown)
        })
    }
}

/// Asks for places of partitions; `None` for a place that does not exist.
fn ask(
    link: &Link,
    client: &BaseConsumer<Context>,
    topic: &str,
    places: impl IntoIterator<Item = (u32, KafkaOffset)>,
    timeout: Duration,
) -> KafkaResult<Vec<Option<Offset>>> {
    // This delivers the events of the client's connection, which would pile up.
    take_events(client);
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
        && Reaction::of(error).is_retriable()
        && link.check().is_ok()
    {
        // So the next attempt asks the partitions' new leaders. A request to a dead leader times out, and a client that
        // fetches no records does not look for another one by itself.
        let metadata = client.client().fetch_metadata(Some(topic), timeout);
        // A topic that a client may not see any more has no partitions for it, which is no reason to wait.
        if let Ok(metadata) = metadata
            && let Some(code) = topics::refusal(&metadata, topic)
        {
            return Err(KafkaError::MetadataFetch(code));
        }
    }
    found
}
