//! A topic read through, all partitions together.

use bekk_log::{Client, Error as LogError, Offset};

use crate::Error;

/// How many bytes are read from the log at once.
const READ_BYTES: usize = 1 << 20;

/// Reads all partitions of a topic up to where they end now, always on from the one that is behind in
/// time: so the ranges of a file, whose records lie in all of them, come nearly in order and take little
/// memory.
pub(crate) struct Scan<'t> {
    topic: &'t str,
    pub(crate) partitions: Vec<Partition>,
}

pub(crate) struct Partition {
    number: u32,
    next: Offset,
    pub(crate) end: Offset,
    timestamp_ms: i64,
}

impl<'t> Scan<'t> {
    pub(crate) fn new(log: &Client, topic: &'t str, known_ends: &[u64]) -> Result<Self, Error> {
        let ends = log
            .partition_ends(topic)
            .map_err(Error::log("find the log's ends"))?;
        let partitions = ends.iter().map(|ends| {
            let known = known_ends.get(ends.partition as usize);
            let known = Offset::new(known.copied().unwrap_or(0));
            Partition {
                number: ends.partition,
                next: known.max(ends.start),
                end: ends.end,
                timestamp_ms: i64::MIN,
            }
        });
        Ok(Self {
            topic,
            partitions: partitions.collect(),
        })
    }

    /// Reads on in one partition; says whether there may be more.
    pub(crate) fn step(
        &mut self,
        log: &Client,
        mut take: impl FnMut(u32, bekk_log::Record<'_>),
    ) -> Result<bool, Error> {
        let unread = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.next < partition.end);
        let Some(partition) = unread.min_by_key(|partition| partition.timestamp_ms) else {
            return Ok(false);
        };
        let records = match log.read(self.topic, partition.number, partition.next, READ_BYTES) {
            Ok(records) => records,
            // Retention went past us while we read.
            Err(LogError::OffsetOutOfRange { start, .. }) if start > partition.next => {
                partition.next = start;
                return Ok(true);
            }
            Err(error) => return Err(Error::log("read the log")(error)),
        };
        for record in records.iter() {
            partition.timestamp_ms = record.timestamp_ms;
            take(partition.number, record);
        }
        if records.next_offset() <= partition.next {
            partition.end = partition.next;
        }
        partition.next = records.next_offset();
        Ok(true)
    }
}
