//! Reads from a topic.

use std::sync::Arc;

use super::TopicLog;
use crate::clock::now_ms;
use crate::destination::Destination;
use crate::gap::are_covered;
use crate::handle::Handle;
use crate::segment::Segment;
use crate::segment::db::{Hole, ReadLimits, SegmentDb};
use crate::{Applied, Error, Gap, Offset, Records, recovery};

/// A segment that cannot be read, where it is known which, and why.
type Failure = (Option<Arc<Segment>>, Error);

/// So many bytes are read at once where a time is looked for that the index does not have.
const SCAN_BYTES: usize = 1 << 20;

impl TopicLog {
    /// Reads the records of batches.
    pub(crate) fn read(
        &self,
        partition: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Records, Error> {
        self.read_into(partition, from, bytes_max, Records::new)
    }

    /// Reads batches into what `new` makes; a segment that turns out to be damaged is rebuilt
    /// without what is damaged of it.
    pub(crate) fn read_into<D: Destination>(
        &self,
        partition: u32,
        from: Offset,
        bytes_max: usize,
        new: impl Fn(Offset) -> D,
    ) -> Result<D, Error> {
        loop {
            match self.try_read(partition, from, bytes_max, new(from)) {
                Ok(records) => return Ok(records),
                Err((Some(segment), error @ Error::Corrupt { .. })) => {
                    self.repair(&segment, &error)?;
                }
                Err((_, error)) => return Err(error),
            }
        }
    }

    fn try_read<D: Destination>(
        &self,
        partition: u32,
        from: Offset,
        bytes_max: usize,
        mut records: D,
    ) -> Result<D, Failure> {
        let failed = |error| (None, error);
        // The chain is taken after the end is known, which may lie in a new segment, and before the start is known, below
        // which retention may just have deleted a segment.
        let end = self.check_range(partition, from).map_err(failed)?;
        let chain = self.chain();
        self.check_range(partition, from).map_err(failed)?;
        let behind = chain.partition_point(|segment| segment.start(partition) <= from);
        let first = behind.saturating_sub(1);
        let mut limits = ReadLimits {
            until: end,
            bytes_left: bytes_max,
        };
        let mut holes = Vec::new();
        for (i, segment) in chain.iter().enumerate().skip(first) {
            pass(&mut records, segment.start(partition).min(end), &mut holes);
            let next_start = chain.get(i + 1).map_or(end, |next| next.start(partition));
            limits.until = next_start.min(end);
            if records.next_offset() < limits.until {
                let read = self
                    .db_of(segment)
                    .and_then(|db| db.read(partition, &mut limits, &mut records));
                let (complete, passed) =
                    read.map_err(|error| (Some(Arc::clone(segment)), error))?;
                holes.extend(passed);
                if !complete {
                    break;
                }
                pass(&mut records, limits.until, &mut holes);
            }
            if records.next_offset() >= end || (limits.bytes_left == 0 && !records.is_empty()) {
                break;
            }
        }
        self.report_holes(partition, &holes)
            .map_err(|error| (None, error))?;
        Ok(records)
    }

    fn db_of(&self, segment: &Arc<Segment>) -> Result<Handle<SegmentDb>, Error> {
        match segment.summary() {
            Some(_) => self.shared.open_segments.db(segment),
            None => segment.db(),
        }
    }

    /// Checks that a reader may stand at `from`, and returns the high watermark.
    fn check_range(&self, partition: u32, from: Offset) -> Result<Offset, Error> {
        let view = self.view.lock();
        let index = partition as usize;
        let (Some(start), Some(end)) = (view.starts.get(index), view.highs.get(index)) else {
            return Err(self.unknown_partition(partition));
        };
        if from < *start || from > *end {
            return Err(Error::OffsetOutOfRange {
                topic: self.name.clone(),
                partition,
                offset: from,
                start: *start,
                end: *end,
            });
        }
        Ok(*end)
    }

    pub(crate) fn offset_for_time(
        &self,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let start = self.view().starts.get(partition as usize).copied();
        let start = start.ok_or_else(|| self.unknown_partition(partition))?;
        let chain = self.chain();
        for (i, segment) in chain.iter().enumerate() {
            let summary = segment
                .summary()
                .map(|summary| summary.ranges[partition as usize]);
            if summary
                .is_some_and(|range| range.newest_ms.is_none_or(|newest| newest < timestamp_ms))
            {
                continue;
            }
            let base = self
                .db_of(segment)
                .and_then(|db| db.batch_for_time(partition, timestamp_ms));
            let base = match base {
                Ok(Some(base)) if base < start => {
                    // What the time index knows is deleted, at least in part; what comes after is looked for.
                    let next = chain.get(i + 1).map(|next| next.start(partition));
                    let found = self.first_since(partition, start, next, timestamp_ms)?;
                    if found.is_some() {
                        return Ok(found);
                    }
                    continue;
                }
                Ok(Some(base)) => base,
                Ok(None) => continue,
                Err(error @ Error::Corrupt { .. }) => {
                    self.repair(segment, &error)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if base >= self.view().highs[partition as usize] {
                return Ok(None);
            }
            let records = self.read(partition, base, 1)?;
            let mut found = records
                .iter()
                .filter(|record| record.timestamp_ms >= timestamp_ms);
            return Ok(found.next().map(|record| record.offset));
        }
        Ok(None)
    }

    /// The first record from `at` on and before `until` whose timestamp is not before `timestamp_ms`.
    fn first_since(
        &self,
        partition: u32,
        mut at: Offset,
        until: Option<Offset>,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let until = until.unwrap_or(self.view().highs[partition as usize]);
        while at < until {
            let records = self.read(partition, at, SCAN_BYTES)?;
            let mut since = records
                .iter()
                .filter(|record| record.timestamp_ms >= timestamp_ms);
            if let Some(found) = since.next() {
                return Ok(Some(found.offset));
            }
            at = records.next_offset().max(at.next());
        }
        Ok(None)
    }

    fn report_holes(&self, partition: u32, holes: &[Hole]) -> Result<(), Error> {
        if holes.is_empty() {
            return Ok(());
        }
        let known = self.gaps.lock().clone();
        let unknown = holes
            .iter()
            .filter(|(start, end)| !are_covered(&known, partition, *start, *end));
        let gaps: Vec<_> = unknown
            .map(|(start, end)| Gap {
                partition,
                start: *start,
                end: *end,
                found_at_ms: now_ms(),
                applied: Applied::Unknown,
                reason: "no record has these offsets".to_owned(),
            })
            .collect();
        self.note_gaps(gaps)
    }

    /// Notes of the gaps that not every group had applied that their records were appended again.
    pub(crate) fn settle_gaps(&self) -> Result<(), Error> {
        let mut gaps = self.gaps.lock();
        let settled: Vec<_> = gaps
            .iter()
            .filter(|gap| matches!(gap.applied, Applied::Unknown | Applied::ByNone))
            .map(|gap| Gap {
                applied: Applied::Again,
                ..gap.clone()
            })
            .collect();
        self.shared.state.put_gaps(&self.name, &settled)?;
        gaps.retain(|gap| matches!(gap.applied, Applied::ByAll | Applied::Again));
        gaps.extend(settled);
        Ok(())
    }

    pub(super) fn note_gaps(&self, gaps: Vec<Gap>) -> Result<(), Error> {
        if gaps.is_empty() {
            return Ok(());
        }
        let gaps = self.shared.state.with_applied(&self.name, gaps)?;
        recovery::report_gaps(&self.name, &gaps);
        self.shared.state.put_gaps(&self.name, &gaps)?;
        self.gaps.lock().extend(gaps);
        Ok(())
    }
}

/// Moves a reader on to `to`, over a hole if it is not there.
fn pass(records: &mut impl Destination, to: Offset, holes: &mut Vec<Hole>) {
    let at = records.next_offset();
    if at < to {
        holes.push((at, to));
        records.pass_to(to);
    }
}
