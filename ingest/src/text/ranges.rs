//! Sets of byte ranges: which parts of a file are in the log.

use std::collections::BTreeMap;

/// A set of half open ranges of bytes; ranges that touch become one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Adds a range.
    pub(crate) fn insert(&mut self, mut start: u64, mut end: u64) {
        // Most records continue the last range.
        if let Some((&before, &until)) = self.ends.range(..=start).next_back()
            && until >= start
        {
            start = before;
            end = end.max(until);
        }
        while let Some((&next, &until)) = self.ends.range(start + 1..=end).next() {
            self.ends.remove(&next);
            end = end.max(until);
        }
        self.ends.insert(start, end);
    }

    /// Adds the ranges of another set.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (start, end) in other.iter() {
            self.insert(start, end);
        }
    }

    /// The ranges, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ends.iter().map(|(start, end)| (*start, *end))
    }

    /// The first range that ends behind `position`.
    pub(crate) fn next_from(&self, position: u64) -> Option<(u64, u64)> {
        let covering = self.ends.range(..=position).next_back();
        let ahead = || self.ends.range(position + 1..).next();
        covering
            .filter(|&(_, &end)| end > position)
            .or_else(ahead)
            .map(|(&start, &end)| (start, end))
    }

    /// Forgets what lies before `position`.
    pub(crate) fn forget_before(&mut self, position: u64) {
        while let Some(entry) = self.ends.first_entry() {
            if *entry.get() > position {
                break;
            }
            entry.remove();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_range_is_found() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (40, 50), (30, 40), (20, 25)] {
            ranges.insert(start, end);
        }
        let check = |position, expected| assert_eq!(ranges.next_from(position), expected);
        check(0, Some((10, 25)));
        check(10, Some((10, 25)));
        check(24, Some((10, 25)));
        check(25, Some((30, 50)));
        check(50, None);
        let mut later = ranges.clone();
        later.forget_before(24);
        assert_eq!(later, ranges);
        later.forget_before(25);
        assert_eq!(later.next_from(0), Some((30, 50)));
        assert!(!later.is_empty());
    }

    proptest! {
        /// In whatever order records are found, the set is that of their bytes, in as few ranges as can be.
        #[test]
        fn order_does_not_matter(
            cuts in proptest::collection::btree_set(0u64..200, 0..40),
            kept in proptest::collection::vec(any::<bool>(), 40),
            order in proptest::collection::vec(any::<u32>(), 40),
        ) {
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let mut records: Vec<(u32, u64, u64)> = cuts
                .windows(2)
                .zip(kept.iter().zip(&order))
                .filter(|(_, (kept, _))| **kept)
                .map(|(window, (_, order))| (*order, window[0], window[1]))
                .collect();
            let covered = |records: &[(u32, u64, u64)], byte| {
                records.iter().any(|&(_, start, end)| (start..end).contains(&byte))
            };
            records.sort_unstable();
            let mut ranges = Ranges::default();
            for &(_, start, end) in &records {
                ranges.insert(start, end);
            }
            let mut position = 0;
            for byte in 0..200 {
                let inside = ranges.next_from(byte).is_some_and(|(start, _)| start <= byte);
                prop_assert_eq!(inside, covered(&records, byte), "byte {}", byte);
            }
            while let Some((start, end)) = ranges.next_from(position) {
                prop_assert!(start > position || position == 0, "ranges that touch are one");
                position = end;
            }
        }
    }
}
