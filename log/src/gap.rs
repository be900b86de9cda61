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
    /// Why the records are missing, as far as it is known.
    pub reason: String,
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
}
