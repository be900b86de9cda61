//! Gaps: offsets that were given and that no record has any more.

use crate::Offset;

/// A gap in a partition: reads pass over it, and its offsets are never given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The partition.
    pub partition: u32,
    /// The first offset that is missing.
    pub start: Offset,
    /// The offset behind the last one that is.
    pub end: Offset,
    /// When it was found: milliseconds since 1970-01-01 UTC.
    pub found_at_ms: i64,
    /// Who had applied the records when the gap was found.
    pub applied: Applied,
    /// Why the records are missing, as far as it is known.
    pub reason: String,
}

/// Who had applied the records of a gap when it was found: nobody reads them afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Applied {
    /// It is not known, or some had and others had not.
    #[default]
    Unknown,
    /// No group had come to them.
    ByNone,
    /// Every group had come past them, and there was one.
    ByAll,
    /// It does not matter any more: they were appended again, at other offsets.
    Again,
}

/// What a topic has lost, in offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// All that have no record any more.
    pub all: u64,
    /// Those whose records were not appended again.
    pub open: u64,
    /// Those that not every group had applied.
    pub unapplied: u64,
    /// Those that no group had come to.
    pub untouched: u64,
}

impl Losses {
    pub(crate) fn of(gaps: &[Gap]) -> Self {
        let sum = |is_counted: fn(Applied) -> bool| {
            let counted = gaps.iter().filter(|gap| is_counted(gap.applied));
            counted.map(|gap| gap.end.get() - gap.start.get()).sum()
        };
        Self {
            all: sum(|_| true),
            open: sum(|applied| applied != Applied::Again),
            unapplied: sum(|applied| !matches!(applied, Applied::ByAll | Applied::Again)),
            untouched: sum(|applied| applied == Applied::ByNone),
        }
    }
}

impl Gap {
    /// Notes who has applied its records: what groups have committed in its topic.
    pub(crate) fn set_applied(&mut self, committed: &[(u32, Offset)], groups: usize) {
        let mut of_partition = committed
            .iter()
            .filter(|(partition, _)| *partition == self.partition);
        let past = of_partition
            .clone()
            .filter(|(_, next)| *next >= self.end)
            .count();
        self.applied = if groups > 0 && past == groups {
            Applied::ByAll
        } else if of_partition.all(|(_, next)| *next <= self.start) {
            Applied::ByNone
        } else {
            Applied::Unknown
        };
    }
}

/// Whether gaps cover all offsets from `start` up to `end`.
pub(crate) fn are_covered(gaps: &[Gap], partition: u32, start: Offset, end: Offset) -> bool {
    let mut at = start;
    while at < end {
        let holds = |gap: &&Gap| gap.partition == partition && gap.start <= at && at < gap.end;
        match gaps.iter().find(holds) {
            Some(gap) => at = gap.end,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_that_meet_cover_what_is_between() {
        let gap = |partition, start, end| Gap {
            partition,
            start: Offset::new(start),
            end: Offset::new(end),
            found_at_ms: 0,
            applied: Applied::Unknown,
            reason: String::new(),
        };
        let gaps = [gap(0, 20, 30), gap(0, 10, 20), gap(1, 0, 100)];
        let covered = |start, end| are_covered(&gaps, 0, Offset::new(start), Offset::new(end));
        assert!(covered(10, 30));
        assert!(covered(12, 25));
        assert!(covered(5, 5));
        assert!(!covered(9, 12));
        assert!(!covered(25, 31));
    }

    #[test]
    fn a_gap_knows_who_had_come_past_it() {
        let check = |committed: &[(u32, u64)], groups, expected| {
            let mut gap = Gap {
                partition: 1,
                start: Offset::new(10),
                end: Offset::new(20),
                found_at_ms: 0,
                applied: Applied::Unknown,
                reason: String::new(),
            };
            let committed: Vec<_> = committed
                .iter()
                .map(|(p, next)| (*p, Offset::new(*next)))
                .collect();
            gap.set_applied(&committed, groups);
            assert_eq!(gap.applied, expected, "{committed:?}");
        };
        check(&[], 0, Applied::ByNone);
        check(&[(0, 99)], 1, Applied::ByNone);
        check(&[(1, 10)], 1, Applied::ByNone);
        check(&[(1, 11)], 1, Applied::Unknown);
        check(&[(1, 20)], 1, Applied::ByAll);
        check(&[(1, 20), (1, 10)], 2, Applied::Unknown);
        check(&[(1, 20), (0, 10)], 2, Applied::Unknown);
    }
}
