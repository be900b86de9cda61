//! Which keys have records in the log behind those that it has lost.
//!
//! A record that comes back is appended at the log's end, where it would win over later versions of its row. Where the
//! order of the log decides which version counts, it comes back only if no later one is there.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// The records behind the first hole of each partition of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Later {
    partitions: Vec<Partition>,
}

/// Hashes of keys: of 10 million, two are equal once in 400,000 times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Partition {
    next: Option<u64>,
    has_hole: bool,
    /// Keys between the first hole and the last one, and behind the last.
    between: Vec<u64>,
    behind: Vec<u64>,
}

/// Where a file is read again whose lost records may have been followed by later versions of their rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadAgain {
    pub(crate) later: Arc<Later>,
    /// The first byte that had not been read before.
    pub(crate) until: u64,
}

/// What the log tells about a record that it has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// No later record of its key is there.
    Newest,
    Older,
    /// There is a record of its key, and the log has lost some before and after it.
    Unknown,
}

impl Later {
    /// Takes note of the next record of a partition that begins at `start`.
    pub(crate) fn note(&mut self, partition: u32, start: u64, offset: u64, key: Option<&[u8]>) {
        let partition = self.partition(partition);
        if offset > partition.next.unwrap_or(start) {
            partition.begin_hole();
        }
        partition.next = Some(offset + 1);
        if let Some(key) = key
            && partition.has_hole
        {
            partition.behind.push(xxh3_64(key));
        }
    }

    /// Takes note that a partition ended at `end` at least.
    pub(crate) fn note_end(&mut self, partition: u32, end: u64) {
        let partition = self.partition(partition);
        if partition.next.is_some_and(|next| next < end) {
            partition.begin_hole();
        }
    }

    /// Makes it ready to be asked.
    pub(crate) fn finish(mut self) -> Arc<Self> {
        for partition in &mut self.partitions {
            for keys in [&mut partition.between, &mut partition.behind] {
                keys.sort_unstable();
                keys.dedup();
                keys.shrink_to_fit();
            }
        }
        Arc::new(self)
    }

    pub(crate) fn order(&self, partition: u32, key: &[u8]) -> Order {
        let Some(partition) = self.partitions.get(partition as usize) else {
            return Order::Newest;
        };
        let hash = xxh3_64(key);
        let has = |keys: &[u64]| keys.binary_search(&hash).is_ok();
        match (has(&partition.behind), has(&partition.between)) {
            (true, _) => Order::Older,
            (false, true) => Order::Unknown,
            (false, false) => Order::Newest,
        }
    }

    fn partition(&mut self, partition: u32) -> &mut Partition {
        let at = partition as usize;
        if self.partitions.len() <= at {
            self.partitions.resize_with(at + 1, Partition::default);
        }
        &mut self.partitions[at]
    }
}

impl Partition {
    fn begin_hole(&mut self) {
        self.has_hole = true;
        self.between.append(&mut self.behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_the_last_hole_is_later() {
        let mut later = Later::default();
        let mut note = |offset, key: &str| later.note(1, 3, offset, Some(key.as_bytes()));
        note(3, "a");
        note(4, "b");
        note(8, "c");
        note(9, "d");
        note(11, "e");
        note(12, "d");
        let check = |later: &Later, key: &str, expected| {
            assert_eq!(later.order(1, key.as_bytes()), expected, "{key}");
        };
        let found = later.clone().finish();
        check(&found, "a", Order::Newest);
        check(&found, "c", Order::Unknown);
        check(&found, "d", Order::Older);
        check(&found, "e", Order::Older);
        check(&found, "x", Order::Newest);
        assert_eq!(found.order(0, b"e"), Order::Newest);
        assert_eq!(found.order(7, b"e"), Order::Newest);
        // Records were lost behind all that is there.
        later.note_end(1, 13);
        assert_eq!(later.clone().finish().order(1, b"e"), Order::Older);
        later.note_end(1, 14);
        assert_eq!(later.finish().order(1, b"e"), Order::Unknown);
    }

    #[test]
    fn a_hole_may_be_at_the_start() {
        let mut later = Later::default();
        later.note(0, 0, 5, Some(b"a"));
        assert_eq!(later.finish().order(0, b"a"), Order::Older);
    }
}
