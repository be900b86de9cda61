//! Batches in and out as they are stored, and what else only the server needs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use crate::batch::BatchView;
use crate::destination::Destination;
use crate::group_commit::{Outcome, Request, Ticket};
use crate::produced::Produced;
use crate::store::Store;
use crate::topic::TopicLog;
use crate::{Client, Error, Offset, Session, Topic, TopicConfig};

/// Batches read from one partition, as they are stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredBatches {
    pub(crate) bytes: Vec<u8>,
    next: Offset,
}

impl Destination for StoredBatches {
    fn push_batch(&mut self, batch: &BatchView<'_>) -> Result<(), String> {
        self.bytes.extend_from_slice(batch.bytes());
        self.next = batch.end_offset();
        Ok(())
    }

    fn pass_to(&mut self, next: Offset) {
        self.next = self.next.max(next);
    }

    fn next_offset(&self) -> Offset {
        self.next
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// An append that has its place in the order of appends.
pub(crate) struct Appending {
    /// The log is not closed before it is finished.
    _store: Arc<Store>,
    topic: Arc<TopicLog>,
    ticket: Ticket,
}

impl Appending {
    /// Waits until it is as durable as it has to be, or refused.
    pub(crate) fn finish(self) -> Outcome {
        self.topic.finish_append(self.ticket)
    }
}

impl Client {
    /// Begins to append batches to partitions of one topic, as [`Client::append`] does; each is placed or refused
    /// for itself. Appends that are begun one after the other are written in this order, with one fsync if they
    /// wait together.
    pub(crate) fn begin_append(
        &self,
        session: Option<&Session>,
        topic: &str,
        batches: Vec<(u32, Produced)>,
    ) -> Result<Appending, Error> {
        let store = self.store()?;
        let core = store.core();
        let topic = core.topic(topic)?;
        core.shared.check_appends()?;
        core.shared.space.check()?;
        core.shared.counts.appends.fetch_add(1, Ordering::Relaxed);
        let parts = batches.into_iter();
        let ticket = topic.begin_append(Request {
            session: session.cloned(),
            parts: parts
                .map(|(partition, batch)| batch.into_part(partition))
                .collect(),
        })?;
        Ok(Appending {
            _store: store,
            topic,
            ticket,
        })
    }

    /// Reads whole batches as they are stored, from the one that holds `from` on; as [`Client::read`] does.
    pub(crate) fn read_batches(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Result<StoredBatches, Error> {
        let new = |from| StoredBatches {
            bytes: Vec::new(),
            next: from,
        };
        self.topic(topic)?
            .read_into(partition, from, bytes_max, new)
    }

    /// Makes a topic that does not exist; says whether it did not.
    pub(crate) fn create_new_topic(&self, name: &str, config: TopicConfig) -> Result<bool, Error> {
        self.store()?.core().create_new_topic(name, config)
    }

    /// Checks whether [`Client::create_new_topic`] would make a topic.
    pub(crate) fn check_new_topic(&self, name: &str, config: TopicConfig) -> Result<bool, Error> {
        crate::core::check_topic(name, config)?;
        Ok(!self.topics()?.iter().any(|topic| topic.name == name))
    }

    pub(crate) fn topic_named(&self, name: &str) -> Result<Topic, Error> {
        Ok(self.topic(name)?.topic())
    }

    /// An id that no producer has had.
    pub(crate) fn new_producer_id(&self) -> Result<i64, Error> {
        let store = self.store()?;
        let shared = &store.core().shared;
        shared.producer_ids.next(&shared.state)
    }

    /// Changes whenever readers may see more, in any topic.
    pub(crate) fn advanced(&self) -> Result<watch::Receiver<()>, Error> {
        Ok(self.store()?.core().shared.advanced.subscribe())
    }

    /// The largest batch in bytes.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        let store = self.store();
        store.map_or(0, |store| store.core().shared.config.batch_bytes_max)
    }
}
