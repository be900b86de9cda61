//! A topic in use: where appends get their offsets and readers learn of them.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::append::{AppendQueue, Outcome, Part, Request};
use crate::segment::{Put, ReadLimits, SegmentDb};
use crate::sessions::Sessions;
use crate::{Durability, Error, Offset, PartitionEnds, Records, Topic, batch};

/// A topic in use.
pub(crate) struct TopicLog {
    name: String,
    topic: Mutex<Topic>,
    segment: SegmentDb,
    durability: Durability,
    queue: AppendQueue,
    /// Where the next batch of each partition goes; held while one is written.
    ends: Mutex<Vec<Offset>>,
    /// Up to where readers may see each partition.
    high: Mutex<Vec<Offset>>,
    advanced: Condvar,
}

impl TopicLog {
    pub(crate) fn open(dir: &Path, topic: Topic, durability: Durability) -> Result<Self, Error> {
        let segment = SegmentDb::open(&dir.join(&topic.name), topic.config.partitions)?;
        let ends: Vec<_> = (0..topic.config.partitions)
            .map(|partition| Ok(segment.end(partition)?.unwrap_or(Offset::ZERO)))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            name: topic.name.clone(),
            topic: Mutex::new(topic),
            segment,
            durability,
            queue: AppendQueue::default(),
            high: Mutex::new(ends.clone()),
            ends: Mutex::new(ends),
            advanced: Condvar::new(),
        })
    }

    pub(crate) fn topic(&self) -> Topic {
        lock(&self.topic).clone()
    }

    pub(crate) fn set_topic(&self, topic: Topic) {
        *lock(&self.topic) = topic;
    }

    pub(crate) fn append(&self, request: Request, sessions: &Sessions) -> Outcome {
        let partitions = self.topic().config.partitions;
        if let Some(part) = request
            .parts
            .iter()
            .find(|part| part.partition >= partitions)
        {
            return Err(self.unknown_partition(part.partition));
        }
        self.queue
            .append(request, |group| self.write_group(&group, sessions))
    }

    /// Writes a group of appends and makes it as durable as it has to be.
    fn write_group(&self, group: &[Request], sessions: &Sessions) -> Vec<Outcome> {
        // Held until the records can be seen, so that who begins a session afterwards sees them.
        let sessions = sessions.read();
        let mut ends = lock(&self.ends);
        let mut next = ends.clone();
        let mut batches = Vec::new();
        let mut outcomes = Vec::with_capacity(group.len());
        for request in group {
            outcomes.push(sessions.check(request.session.as_ref()).map(|()| {
                let offsets = request.parts.iter().map(|part| {
                    let base = next[part.partition as usize];
                    next[part.partition as usize] = base.plus(u64::from(part.records));
                    if part.records > 0 {
                        batches.push((part, base));
                    }
                    base
                });
                offsets.collect()
            }));
        }
        match self.write_batches(&batches) {
            Ok(()) => {
                ends.clone_from(&next);
                *lock(&self.high) = next;
                self.advanced.notify_all();
                outcomes
            }
            Err(error) => {
                let detail = error.to_string();
                outcomes
                    .into_iter()
                    .map(|outcome| outcome.and_then(|_| Err(self.failed(&detail))))
                    .collect()
            }
        }
    }

    fn write_batches(&self, batches: &[(&Part, Offset)]) -> Result<(), Error> {
        if batches.is_empty() {
            return Ok(());
        }
        let bytes: Vec<_> = batches
            .iter()
            .map(|(part, base)| {
                let mut bytes = part.batch.clone();
                batch::set_base_offset(&mut bytes, *base);
                bytes
            })
            .collect();
        let puts: Vec<_> = batches
            .iter()
            .zip(&bytes)
            .map(|((part, base), bytes)| Put {
                partition: part.partition,
                base_offset: *base,
                end_offset: base.plus(u64::from(part.records)),
                max_timestamp_ms: part.max_timestamp_ms,
                bytes,
            })
            .collect();
        self.segment.write(&puts)?;
        if self.durability == Durability::Sync {
            self.segment.sync()?;
        }
        Ok(())
    }

    fn failed(&self, detail: &str) -> Error {
        Error::Store {
            act: "append",
            path: self.name.clone().into(),
            detail: detail.to_owned(),
        }
    }

    pub(crate) fn read(
        &self,
        partition: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Records, Error> {
        let ends = self
            .partition_ends()
            .into_iter()
            .find(|ends| ends.partition == partition)
            .ok_or_else(|| self.unknown_partition(partition))?;
        if from < ends.start || from > ends.end {
            return Err(Error::OffsetOutOfRange {
                topic: self.name.clone(),
                partition,
                offset: from,
                start: ends.start,
                end: ends.end,
            });
        }
        let mut records = Records::new(from);
        let limits = ReadLimits {
            until: ends.end,
            bytes_max,
        };
        self.segment.read(partition, &limits, &mut records)?;
        Ok(records)
    }

    pub(crate) fn partition_ends(&self) -> Vec<PartitionEnds> {
        (0..)
            .zip(lock(&self.high).iter())
            .map(|(partition, end)| PartitionEnds {
                partition,
                start: Offset::ZERO,
                end: *end,
            })
            .collect()
    }

    pub(crate) fn wait_for_records(&self, behind: &[(u32, Offset)], timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut high = lock(&self.high);
        loop {
            let has = |(partition, offset): &(u32, Offset)| {
                high.get(*partition as usize)
                    .is_some_and(|high| high > offset)
            };
            if behind.iter().any(has) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (high, _) = self
                .advanced
                .wait_timeout(high, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn offset_for_time(
        &self,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let Some(base) = self.segment.batch_for_time(partition, timestamp_ms)? else {
            return Ok(None);
        };
        let records = self.read(partition, base, 1)?;
        let offset = records
            .iter()
            .find(|record| record.timestamp_ms >= timestamp_ms)
            .map(|record| record.offset);
        Ok(offset)
    }

    pub(crate) fn disk_bytes(&self) -> Result<u64, Error> {
        self.segment.disk_bytes()
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.segment.sync()
    }

    fn unknown_partition(&self, partition: u32) -> Error {
        Error::UnknownPartition {
            topic: self.name.clone(),
            partition,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
