//! What the consumer knows of a topic: its ends, its leaders, and the reader of each partition.

use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use crate::remote::reader::PartitionReader;
use crate::{Error, Offset};

/// The known state of a topic.
pub(super) struct TopicView {
    pub(super) partitions: u32,
    /// The partitions' leaders when the ends were last asked for.
    pub(super) leaders: Mutex<Vec<i32>>,
    pub(super) ends: Mutex<KnownEnds>,
    pub(super) readers: Vec<Mutex<Option<PartitionReader>>>,
}

#[derive(Default)]
pub(super) struct KnownEnds {
    pub(super) starts: Vec<Offset>,
    pub(super) starts_at: Option<Instant>,
    pub(super) ends: Vec<Offset>,
    /// Since when each end is known; `None` if another broker leads the partition now.
    pub(super) since: Vec<Option<Instant>>,
    pub(super) asked_at: Option<Instant>,
}

impl TopicView {
    pub(super) fn new(partitions: u32) -> Self {
        Self {
            partitions,
            leaders: Mutex::default(),
            ends: Mutex::default(),
            readers: (0..partitions).map(|_| Mutex::default()).collect(),
        }
    }

    /// Locks the place of a partition's reader.
    pub(super) fn reader(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<MutexGuard<'_, Option<PartitionReader>>, Error> {
        let slot = self.readers.get(partition as usize);
        let slot = slot.ok_or_else(|| Error::UnknownPartition {
            topic: topic.to_owned(),
            partition,
        })?;
        Ok(slot.lock())
    }

    /// Remembers the partitions' leaders. An end that another leader reported is not known of the new one.
    pub(super) fn set_leaders(&self, now: Vec<i32>) {
        let mut leaders = self.leaders.lock();
        let mut known = self.ends.lock();
        for (partition, since) in known.since.iter_mut().enumerate() {
            if leaders.get(partition) != now.get(partition) {
                *since = None;
            }
        }
        *leaders = now;
    }

    /// Since when a partition's end is known.
    pub(super) fn known_since(&self, partition: u32) -> Option<Instant> {
        let known = self.ends.lock();
        known.since.get(partition as usize).copied().flatten()
    }

    /// Whether the known end of any partition is past its offset.
    pub(super) fn is_behind(&self, offsets: &[(u32, Offset)]) -> bool {
        let known = self.ends.lock();
        offsets.iter().any(|(partition, offset)| {
            let end = known.ends.get(*partition as usize);
            end.is_some_and(|end| end > offset)
        })
    }
}
