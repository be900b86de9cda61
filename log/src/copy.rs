//! A topic copied to another log, record by record, each to the offset that it has.
//!
//! All that remembers an offset (groups, marks, receipts, dead letters, checkpoints) is right in the copy as it is. A
//! log whose beginning was removed is copied behind empty records, which are removed again. A copy that was interrupted
//! is continued; one that is complete is compared, every record of it.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::{Error, Headers, Offset, PartitionEnds, Record, RecordBuffer, Records, TopicConfig};

/// Bytes of one append to a partition
const APPEND_BYTES: usize = 1 << 20;
/// Bytes read at once
const READ_BYTES: usize = 1 << 20;
/// Pause after which a target's ends are asked for again
const AT_REST: Duration = Duration::from_millis(300);
/// How long the appends of an earlier copy may take to arrive
const REST_WAIT: Duration = Duration::from_secs(5);
/// Number of empty records in one append
const FILLER_RECORDS: u64 = 100_000;

/// What a copy of a topic did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many records were copied.
    pub records: u64,
    /// How many were there from an earlier copy.
    pub already: u64,
}

/// The copy of one topic of a log in this process to a log elsewhere.
pub struct TopicCopy<'a> {
    copy: Copy<'a>,
    places: Vec<Place>,
}

impl<'a> TopicCopy<'a> {
    /// Examines the target for all topics, then makes those that it lacks. No record is written.
    ///
    /// # Errors
    /// [`Error::NotCopied`] if the target has other records or partitions, or the log has lost records;
    /// [`Error::TopicSetting`] if the target would refuse records or lose them; others if one of the logs fails.
    pub fn prepare(
        from: &'a Client,
        to: &'a Client,
        topics: &'a [String],
    ) -> Result<Vec<Self>, Error> {
        let there = to.topics()?;
        let is_there = |topic: &String| there.iter().any(|there| there.name == *topic);
        let (old, new): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| is_there(topic));
        let all = old.into_iter().chain(new);
        let mut copies = Vec::new();
        for topic in all {
            let copy = Copy { from, to, topic };
            let places = copy.begin()?;
            copies.push(Self { copy, places });
        }
        copies.sort_by_key(|copy| topics.iter().position(|topic| topic == copy.copy.topic));
        Ok(copies)
    }

    /// Copies the first record of each partition and compares it: the rights and the settings that a target does not
    /// report are known then.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn try_out(&mut self) -> Result<(), Error> {
        for place in &mut self.places {
            self.copy.try_out(place)?;
        }
        Ok(())
    }

    /// Copies the topic, and compares all of it. `progress` is called with the number of records copied or compared since
    /// the last call.
    ///
    /// # Errors
    /// [`Error::NotCopied`] if the target gets other records; others if one of the logs fails. A copy that was
    /// interrupted can be prepared again, and continues.
    pub fn run(&self, progress: &mut dyn FnMut(u64)) -> Result<Copied, Error> {
        let mut copied = Copied::default();
        for place in &self.places {
            copied.already += place.already;
            copied.records += place.tried;
            progress(place.tried);
            copied.records += self.copy.partition(*place, progress)?;
        }
        self.check_ends()?;
        for place in &self.places {
            self.copy.compare(place.source, progress)?;
        }
        self.check_ends()?;
        Ok(copied)
    }

    /// Checks that each partition of a complete copy still ends where the log does.
    ///
    /// # Errors
    /// [`Error::NotCopied`] if another program has appended to the target since; others if the target fails.
    pub fn check_ends(&self) -> Result<(), Error> {
        // Also what an open transaction hides.
        let ends = self.copy.to.high_watermarks(self.copy.topic)?;
        for (Place { source, .. }, there) in self.places.iter().zip(ends) {
            let partition = source.partition;
            if there.end > source.end {
                return Err(self.copy.mixed(partition));
            }
            if there.end < source.end {
                return Err(self.copy.refused(format!(
                    "partition {partition} there has lost records since they were copied; copy again"
                )));
            }
        }
        Ok(())
    }
}

struct Copy<'a> {
    from: &'a Client,
    to: &'a Client,
    topic: &'a str,
}

/// A partition, and how far it has been copied.
#[derive(Clone, Copy)]
struct Place {
    source: PartitionEnds,
    /// Where the target ends.
    at: Offset,
    /// Whether the target's beginning is still there.
    is_untrimmed: bool,
    /// Number of records from an earlier copy
    already: u64,
    /// Number of records that were copied to try the target out
    tried: u64,
}

impl Copy<'_> {
    fn refused(&self, why: impl Into<String>) -> Error {
        Error::NotCopied {
            topic: self.topic.to_owned(),
            why: why.into(),
        }
    }

    /// Makes the topic, and finds what an earlier copy has done.
    fn begin(&self) -> Result<Vec<Place>, Error> {
        let topic = self.topic;
        let lost = self.from.losses(topic)?;
        if lost.all > 0 {
            return Err(self.refused(format!(
                "{} of its offsets have no record any more (bekk log verify names them), and the records after them would \
                 get other offsets; let each sink apply what is left, then begin on the other log with a state and a group \
                 of their own",
                lost.all
            )));
        }
        let all = self.from.topics()?;
        let own = all.into_iter().find(|own| own.name == topic);
        let own = own.ok_or_else(|| Error::UnknownTopic(topic.to_owned()))?;
        let config: TopicConfig = own.config;
        let made = self.to.create_topic(topic, config)?;
        if made.config.partitions != config.partitions {
            return Err(self.refused(format!(
                "it has {} partitions there, and {} here; delete it there, or make it with {}",
                made.config.partitions, config.partitions, config.partitions
            )));
        }
        self.to.check_topic(topic, config.retention)?;
        let sources = self.from.partition_ends(topic)?;
        let targets = self.ends_at_rest()?;
        let places = sources.into_iter().zip(targets);
        places
            .map(|(source, target)| self.place(source, target))
            .collect()
    }

    /// Where the target's partitions end. Appends of a copy that was killed a moment ago may still arrive.
    fn ends_at_rest(&self) -> Result<Vec<PartitionEnds>, Error> {
        let begun = Instant::now();
        let mut ends = self.to.high_watermarks(self.topic)?;
        while ends.iter().any(|ends| ends.end > ends.start) {
            std::thread::sleep(AT_REST);
            let now = self.to.high_watermarks(self.topic)?;
            if now == ends {
                break;
            }
            if begun.elapsed() >= REST_WAIT {
                return Err(self.refused(
                    "another program writes to it there; stop that, delete the topic there, and copy again",
                ));
            }
            ends = now;
        }
        Ok(ends)
    }

    /// How far a partition has been copied; refuses what is no beginning of a copy.
    fn place(&self, source: PartitionEnds, target: PartitionEnds) -> Result<Place, Error> {
        let (partition, end) = (source.partition, target.end);
        let other = || {
            self.refused(format!(
                "partition {partition} there has other records than here; copy to a cluster where the topic does not \
                 exist, or has never had a record"
            ))
        };
        if end > source.end || target.start > source.start {
            return Err(other());
        }
        if let Some(last) = end.get().checked_sub(1).map(Offset::new)
            && last >= target.start
        {
            for at in [target.start, last] {
                if !self.is_ours(source, at)? {
                    return Err(other());
                }
            }
        }
        let is_untrimmed = target.start < source.start;
        if is_untrimmed {
            // Removes no record; it asks for the right to.
            self.to.delete_before(self.topic, partition, target.start)?;
        }
        Ok(Place {
            source,
            at: end,
            is_untrimmed,
            already: end.since(source.start),
            tried: 0,
        })
    }

    /// Whether a record of the target is one that a copy writes there.
    fn is_ours(&self, source: PartitionEnds, at: Offset) -> Result<bool, Error> {
        if at >= source.start {
            return self.is_same(source.partition, at);
        }
        let there = self.to.read(self.topic, source.partition, at, 1)?;
        Ok(one(&there, at, is_filler) == Some(true))
    }

    /// Copies the first record that a partition lacks.
    fn try_out(&self, place: &mut Place) -> Result<(), Error> {
        let Place { source, at, .. } = *place;
        let partition = source.partition;
        let mut buffer = RecordBuffer::new();
        if at < source.start {
            buffer.push(now_ms(), None, &[]);
        } else if at < source.end {
            let records = self.from.read(self.topic, partition, at, 1)?;
            let first = records.iter().find(|record| record.offset == at);
            let first = first.ok_or_else(|| self.unreadable(partition, at))?;
            buffer.push_copy(&first);
            place.tried = 1;
        } else {
            return Ok(());
        }
        place.at = self.append(partition, at, &buffer)?;
        self.check_first(partition, at, at >= source.start)
    }

    /// Compares the first record of an append.
    fn check_first(&self, partition: u32, first: Offset, is_record: bool) -> Result<(), Error> {
        // A read ends at the end that was asked for last.
        self.to.ends(self.topic)?;
        if is_record && !self.is_same(partition, first)? {
            return Err(self.differs(partition, first));
        }
        Ok(())
    }

    fn unreadable(&self, partition: u32, at: Offset) -> Error {
        self.refused(format!(
            "offset {at} of partition {partition} cannot be read; see: bekk log verify"
        ))
    }

    /// Whether both logs have the same record at an offset.
    fn is_same(&self, partition: u32, at: Offset) -> Result<bool, Error> {
        let here = self.from.read(self.topic, partition, at, 1)?;
        let there = self.to.read(self.topic, partition, at, 1)?;
        let first = here.iter().find(|record| record.offset == at);
        let second = there.iter().find(|record| record.offset == at);
        Ok(first.is_some() && first == second)
    }

    /// Copies what a partition lacks; returns how many records that were.
    fn partition(&self, place: Place, progress: &mut dyn FnMut(u64)) -> Result<u64, Error> {
        let Place { source, mut at, .. } = place;
        let partition = source.partition;
        let mut buffer = RecordBuffer::new();
        while at < source.start {
            let count = source.start.since(at).min(FILLER_RECORDS);
            buffer.clear();
            (0..count).for_each(|_| buffer.push(now_ms(), None, &[]));
            at = self.append(partition, at, &buffer)?;
        }
        if place.is_untrimmed && source.start > Offset::ZERO {
            self.to.delete_before(self.topic, partition, source.start)?;
        }
        let mut copied = 0;
        while at < source.end {
            buffer.clear();
            let mut next = at;
            while next < source.end && buffer.size() < APPEND_BYTES {
                let records = self.from.read(self.topic, partition, next, READ_BYTES)?;
                if records.next_offset() <= next {
                    break;
                }
                records.iter().for_each(|record| buffer.push_copy(&record));
                next = records.next_offset();
            }
            if buffer.is_empty() {
                return Err(self.unreadable(partition, at));
            }
            let first = at;
            at = self.append(partition, at, &buffer)?;
            if copied == 0 {
                self.check_first(partition, first, true)?;
            }
            copied += u64::from(buffer.len());
            progress(u64::from(buffer.len()));
        }
        Ok(copied)
    }

    fn differs(&self, partition: u32, offset: Offset) -> Error {
        self.refused(format!(
            "offset {offset} of partition {partition} has another record or time there than here after the copy (does the \
             topic have message.timestamp.type=LogAppendTime?); delete the topic there, create it with CreateTime, and \
             copy again"
        ))
    }

    /// Appends at an offset; returns the next one.
    fn append(&self, partition: u32, at: Offset, buffer: &RecordBuffer) -> Result<Offset, Error> {
        let offsets = self.to.append(None, self.topic, &[(partition, buffer)])?;
        if offsets.first() != Some(&at) {
            return Err(self.mixed(partition));
        }
        Ok(at.plus(u64::from(buffer.len())))
    }

    fn mixed(&self, partition: u32) -> Error {
        self.refused(format!(
            "partition {partition} there got a record from another program while it was copied; stop that, delete the \
             topic there, and copy again"
        ))
    }

    /// Compares each record of a partition.
    fn compare(&self, ends: PartitionEnds, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let partition = ends.partition;
        let found = self.to.partition_ends(self.topic)?;
        let there = found.into_iter().find(|found| found.partition == partition);
        // Bekk's server removes whole segments, and what a copy puts before the beginning may be in one with records.
        if there.is_none_or(|there| there.start > ends.start) {
            return Err(self.refused(format!(
                "partition {partition} begins later there than here after the copy; delete the topic there, and copy again"
            )));
        }
        let mut at = ends.start;
        while at < ends.end {
            let here = self.from.read(self.topic, partition, at, READ_BYTES)?;
            let there = self.to.read(self.topic, partition, at, READ_BYTES)?;
            let mut count = 0;
            for (record, found) in here.iter().zip(there.iter()) {
                if record != found {
                    return Err(self.differs(partition, record.offset));
                }
                count += 1;
            }
            if count == 0 {
                return Err(self.refused(format!(
                    "offset {at} of partition {partition} cannot be read after the copy; copy again"
                )));
            }
            progress(count);
            at = at.plus(count);
        }
        Ok(())
    }
}

/// What is asked of the record at an offset, if there is one.
fn one<T>(records: &Records, at: Offset, ask: impl Fn(&Record<'_>) -> T) -> Option<T> {
    let found = records.iter().find(|record| record.offset == at);
    found.as_ref().map(ask)
}

/// Whether a record is one of those that a copy puts before the beginning.
fn is_filler(record: &Record<'_>) -> bool {
    record.key.is_none() && record.value.is_empty() && record.headers == Headers::NONE
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.ok()
        .and_then(|now| i64::try_from(now.as_millis()).ok())
        .unwrap_or(0)
}
