//! What the last record below an offset was, so that an offset can be told from the same number in another log.

use crate::record::RecordBuffer;
use crate::{Offset, PartitionEnds, Record};

/// What a record was: enough to recognise it, whoever serves the log.
///
/// librdkafka shows records, not batches, so a mark is of one record and is the same from the embedded log, a served
/// one and a Kafka cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMark {
    /// The record's offset.
    pub offset: Offset,
    /// Its timestamp, in milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// CRC-32C of its key and value.
    pub crc: u32,
}

/// What a partition holds at a mark's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtMark {
    /// Where the partition begins and ends, records that an open transaction keeps back included.
    pub ends: PartitionEnds,
    /// What was found there; nothing if there is no mark, or its offset lies outside the partition.
    pub found: MarkLookup,
}

/// What a look at one offset gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkLookup {
    /// A record.
    Record(RecordMark),
    /// No record: compaction took it, it is a transaction's mark, or it is lost. With the nearest record before it.
    None(Option<RecordMark>),
    /// A transaction that is open keeps it back.
    KeptBack,
    /// Its offset lies outside the partition, or it was not looked for.
    Outside,
}

/// Whether an offset still means in a partition what it meant when it was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkCheck {
    /// The log is the one that the offset counts in.
    Same,
    /// Nothing can be said until an open transaction has ended.
    KeptBack,
    /// The log does not match the offsets, or has lost records.
    Differs(Difference),
}

/// How a partition differs from what a group or an ingest knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The log ends before the offset.
    EndsBefore,
    /// The log begins after the offset: records between them are gone.
    BeginsAfter,
    /// Another record lies where the marked one lay.
    OtherRecord {
        /// The record that is there now, or the one before that place.
        found: RecordMark,
    },
}

impl RecordMark {
    /// The mark of a record.
    #[must_use]
    pub fn of(record: &Record<'_>) -> Self {
        Self::of_parts(record.offset, record.timestamp_ms, record.key, record.value)
    }

    pub(crate) fn of_parts(
        offset: Offset,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: &[u8],
    ) -> Self {
        let key_len = key.map_or(-1, |key| i64::try_from(key.len()).unwrap_or(i64::MAX));
        let mut crc = crc32c::crc32c(&key_len.to_be_bytes());
        crc = crc32c::crc32c_append(crc, key.unwrap_or_default());
        Self {
            offset,
            timestamp_ms,
            crc: crc32c::crc32c_append(crc, value),
        }
    }

    fn is_same_record(&self, other: &Self) -> bool {
        self.timestamp_ms == other.timestamp_ms && self.crc == other.crc
    }
}

/// Decides whether `next`, below which `mark` was the last record, still means the same in a partition.
///
/// A record that is missing where others are there was compacted, unless what lies before it is newer than it: then
/// the place is a transaction's mark, or a gap, in a log that was filled anew.
#[must_use]
pub fn judge_mark(next: Offset, mark: Option<&RecordMark>, at: &AtMark) -> MarkCheck {
    if next > at.ends.end {
        return MarkCheck::Differs(Difference::EndsBefore);
    }
    if next < at.ends.start {
        return MarkCheck::Differs(Difference::BeginsAfter);
    }
    let Some(mark) = mark.filter(|mark| mark.offset >= at.ends.start) else {
        return MarkCheck::Same;
    };
    match at.found {
        MarkLookup::Record(found) if found.is_same_record(mark) => MarkCheck::Same,
        MarkLookup::Record(found) => MarkCheck::Differs(Difference::OtherRecord { found }),
        MarkLookup::None(Some(before)) if before.timestamp_ms > mark.timestamp_ms => {
            MarkCheck::Differs(Difference::OtherRecord { found: before })
        }
        MarkLookup::None(_) | MarkLookup::Outside => MarkCheck::Same,
        MarkLookup::KeptBack => MarkCheck::KeptBack,
    }
}

impl RecordBuffer {
    /// The mark of the last record, of a buffer whose first record got this offset.
    #[must_use]
    pub fn last_mark(&self, first: Offset) -> Option<RecordMark> {
        self.last(first).as_ref().map(RecordMark::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(offset: u64, timestamp_ms: i64, value: &[u8]) -> RecordMark {
        RecordMark::of_parts(Offset::new(offset), timestamp_ms, None, value)
    }

    fn at(start: u64, end: u64, found: MarkLookup) -> AtMark {
        let ends = PartitionEnds {
            partition: 0,
            start: Offset::new(start),
            end: Offset::new(end),
        };
        AtMark { ends, found }
    }

    /// The table of docs/architecture.md, row by row.
    #[test]
    fn an_offset_is_judged_by_the_record_below_it() {
        use MarkCheck::Same;
        use MarkLookup::{KeptBack, Outside, Record};

        let applied = mark(9, 100, b"nine");
        let other = mark(9, 300, b"other");
        let check = |mark: Option<RecordMark>, at: AtMark, expected: MarkCheck| {
            let check = judge_mark(Offset::new(10), mark.as_ref(), &at);
            assert_eq!(check, expected, "{mark:?} {at:?}");
        };
        let differs = |found| MarkCheck::Differs(Difference::OtherRecord { found });
        let ends_before = MarkCheck::Differs(Difference::EndsBefore);
        let begins_after = MarkCheck::Differs(Difference::BeginsAfter);

        let (last, compacted) = (Some(applied), MarkLookup::None);
        check(last, at(0, 10, Record(applied)), Same);
        check(last, at(0, 50, Record(other)), differs(other));
        // The same content at another time is another record.
        let later = mark(9, 101, b"nine");
        check(last, at(0, 50, Record(later)), differs(later));
        check(last, at(10, 50, Outside), Same);
        check(last, at(11, 50, Outside), begins_after);
        check(last, at(0, 9, Outside), ends_before);
        check(last, at(0, 0, Outside), ends_before);
        check(None, at(0, 9, Outside), ends_before);
        check(None, at(0, 10, Outside), Same);
        check(last, at(0, 50, KeptBack), MarkCheck::KeptBack);
        // Compacted: what is left before it is older.
        let older = mark(3, 90, b"three");
        check(last, at(0, 50, compacted(Some(older))), Same);
        check(last, at(0, 50, compacted(None)), Same);
        // A transaction's mark in a log that was filled anew.
        let newer = mark(8, 200, b"eight");
        check(last, at(0, 50, compacted(Some(newer))), differs(newer));
    }

    #[test]
    fn a_mark_tells_every_part_of_a_record() {
        let all = [
            RecordMark::of_parts(Offset::ZERO, 1, None, b"ab"),
            RecordMark::of_parts(Offset::ZERO, 2, None, b"ab"),
            RecordMark::of_parts(Offset::ZERO, 1, Some(b""), b"ab"),
            RecordMark::of_parts(Offset::ZERO, 1, Some(b"a"), b"b"),
            RecordMark::of_parts(Offset::ZERO, 1, Some(b"ab"), b""),
        ];
        for (i, left) in all.iter().enumerate() {
            for right in &all[i + 1..] {
                assert!(!left.is_same_record(right), "{left:?} {right:?}");
            }
        }
    }
}
