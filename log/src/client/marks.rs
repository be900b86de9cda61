//! What lies at the place of a mark.

use super::Client;
use crate::{AtMark, Error, MarkLookup, Offset, PartitionEnds, RecordMark};

/// Least bytes to read when a record is looked up: a read returns one whole batch
const READ_BYTES: usize = 1;
/// Number of offsets before a missing record that are searched for an older one.
const LOOK_BACK: u64 = 4_096;

impl Client {
    /// Says what a partition holds where a mark's record was.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::UnknownPartition`]; others if the log cannot be read.
    pub fn at_mark(
        &self,
        topic: &str,
        partition: u32,
        mark: Option<&RecordMark>,
    ) -> Result<AtMark, Error> {
        let of = |all: Vec<PartitionEnds>| {
            let ends = all.into_iter().find(|ends| ends.partition == partition);
            ends.ok_or_else(|| Error::UnknownPartition {
                topic: topic.to_owned(),
                partition,
            })
        };
        // Asked for first, so that a read that follows ends no earlier than this.
        let ends = of(self.high_watermarks(topic)?)?;
        let inside = mark.filter(|mark| mark.offset >= ends.start && mark.offset < ends.end);
        let found = match inside {
            None => MarkLookup::Outside,
            Some(mark) if mark.offset >= of(self.partition_ends(topic)?)?.end => {
                MarkLookup::KeptBack
            }
            Some(mark) => match self.record_from(topic, partition, mark.offset, mark.offset)? {
                Some(found) => MarkLookup::Record(found),
                None => MarkLookup::None(self.mark_before(topic, partition, mark.offset)?),
            },
        };
        Ok(AtMark { ends, found })
    }

    /// The mark of the last record before an offset, if the log has one nearby.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn mark_before(
        &self,
        topic: &str,
        partition: u32,
        next: Offset,
    ) -> Result<Option<RecordMark>, Error> {
        let Some(last) = next.get().checked_sub(1) else {
            return Ok(None);
        };
        let ends = self.partition_ends(topic)?;
        let Some(ends) = ends.iter().find(|ends| ends.partition == partition) else {
            return Ok(None);
        };
        if next > ends.end || next <= ends.start {
            return Ok(None);
        }
        // Most often it is the very last one.
        let last = Offset::new(last);
        if let Some(mark) = self.record_from(topic, partition, last, last)? {
            return Ok(Some(mark));
        }
        let from = Offset::new(last.get().saturating_sub(LOOK_BACK)).max(ends.start);
        self.record_from(topic, partition, from, last)
    }

    /// The mark of the last record in `first..=last`.
    fn record_from(
        &self,
        topic: &str,
        partition: u32,
        first: Offset,
        last: Offset,
    ) -> Result<Option<RecordMark>, Error> {
        let mut found = None;
        let mut at = first;
        while at <= last {
            let records = match self.read(topic, partition, at, READ_BYTES) {
                Ok(records) => records,
                // Retention went past it while we looked.
                Err(Error::OffsetOutOfRange { start, .. }) if start > at => {
                    at = start;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let here = records.iter().take_while(|record| record.offset <= last);
            found = here.last().map(|record| RecordMark::of(&record)).or(found);
            if records.next_offset() <= at {
                break;
            }
            at = records.next_offset();
        }
        Ok(found)
    }
}
