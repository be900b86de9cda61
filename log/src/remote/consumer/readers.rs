//! The readers: each fetches a partition ahead, into a queue of its own.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::KafkaError;

use super::Consumer;
use crate::remote::context::Context;
use crate::remote::place::{list, number, to_kafka};
use crate::remote::reader::PartitionReader;
use crate::remote::request::Request;
use crate::{Error, Offset};

impl Consumer {
    /// Returns a partition's reader, replaced or moved to `from` if what it has cannot be used.
    pub(super) fn sound_reader<'a>(
        &self,
        slot: &'a mut Option<PartitionReader>,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<&'a mut PartitionReader, Error> {
        if slot.is_none() {
            *slot = Some(self.open_reader(topic, partition, from)?);
        }
        self.take_events();
        if slot.as_ref().is_some_and(PartitionReader::has_failed) {
            self.reopen(slot, topic, partition, from)?;
        }
        let doubts = self.link.doubts();
        match slot {
            // What it keeps may be from another log.
            Some(reader) if reader.is_stale(doubts) => self.seek(slot, topic, partition, from),
            Some(reader) => Ok(reader),
            None => Err(Error::UnknownTopic(topic.to_owned())),
        }
    }

    /// Begins to fetch all of the given partitions that nobody reads yet.
    pub(crate) fn read_ahead(&self, topic: &str, places: &[(u32, Offset)]) -> Result<(), Error> {
        let view = self.view(topic)?;
        // A reader that begins before its end is known would wait for the end twice.
        if view.ends.lock().asked_at.is_none() {
            self.ask_ends(topic, &view)?;
        }
        for &(partition, from) in places {
            let mut slot = view.reader(topic, partition)?;
            if slot.is_none() {
                *slot = Some(self.open_reader(topic, partition, from)?);
            }
        }
        Ok(())
    }

    /// Fetches from `from` again, with another reader if librdkafka has given the partition up.
    pub(super) fn seek<'a>(
        &self,
        slot: &'a mut Option<PartitionReader>,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<&'a mut PartitionReader, Error> {
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

    /// Replaces a partition's reader, and begins to fetch with the new one.
    pub(super) fn reopen<'a>(
        &self,
        slot: &'a mut Option<PartitionReader>,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<&'a mut PartitionReader, Error> {
        self.close_reader(slot, topic, partition)?;
        Ok(slot.insert(self.open_reader(topic, partition, from)?))
    }

    /// Ends a partition's reader, and its fetching.
    fn close_reader(
        &self,
        slot: &mut Option<PartitionReader>,
        topic: &str,
        partition: u32,
    ) -> Result<(), Error> {
        *slot = None;
        let given_up = list(topic, [(partition, rdkafka::Offset::Invalid)])
            .and_then(|places| self.inner.incremental_unassign(&places));
        given_up.map_err(|error| {
            self.link
                .failed(Request::topic("read", topic, "Read"), &error)
        })
    }

    /// Ends the readers that nobody uses at this moment.
    pub(crate) fn stop_reading(&self) -> Result<(), Error> {
        let topics = self.topics.lock().clone();
        for (topic, view) in topics {
            for (partition, slot) in (0..).zip(&view.readers) {
                if let Some(mut slot) = slot.try_lock()
                    && slot.is_some()
                {
                    self.close_reader(&mut slot, &topic, partition)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn open_reader(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
    ) -> Result<PartitionReader, Error> {
        let failed = |error: KafkaError| {
            self.link
                .failed(Request::topic("read", topic, "Read"), &error)
        };
        // The queue is split off before the partition is assigned, so that every record arrives in it.
        let queue = self.inner.split_partition_queue(topic, number(partition));
        let mut queue: PartitionQueue<Context> =
            queue.ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        let news = Arc::clone(&self.news);
        queue.set_nonempty_callback(move || news.tell());
        let assigned = list(topic, [(partition, to_kafka(from))]).map_err(failed)?;
        let since = Instant::now();
        self.inner.incremental_assign(&assigned).map_err(failed)?;
        let doubts = self.link.doubts();
        Ok(PartitionReader::new(
            topic,
            partition,
            queue,
            from,
            (doubts, since),
        ))
    }
}
