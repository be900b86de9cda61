//! Which keys have records in the log behind those that it has lost.
//!
//! A record that comes back is appended at the log's end, where it would win over later versions of its row. Where the
//! order of the log decides which version counts, it comes back only if no later one is there.
//!
//! Memory is bounded: up to [`HASHES_MAX`] hashes of keys are held as they are, and further ones only as bits of a filter
//! of the same size. The filter never misses a key. It may take a key for one that it has seen (of 50 million keys, for
//! one in 100 others), and it does not say where the key's records lie; so what it finds is [`Order::Unknown`]: such a
//! record is not appended, and the file's notice says of how many that is not certain. An older version never wins.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// Most hashes that are held at once: 64 MiB of them.
const HASHES_MAX: usize = 1 << 23;
/// Bits that the filter sets for a key.
const FILTER_BITS: u64 = 4;

/// The records behind the first hole of each partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Later {
    partitions: Vec<Partition>,
    /// How many hashes the partitions hold, and may hold.
    hashes: usize,
    hashes_max: usize,
    /// The keys behind the first hole of which no hash is held any more.
    filter: Filter,
}

/// An approximate set of keys: it finds every key that was put in, and some that were not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Filter {
    /// Empty, or a power of two of them.
    words: Vec<u64>,
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

impl Default for Later {
    fn default() -> Self {
        Self::with_limit(HASHES_MAX)
    }
}

impl Later {
    /// Holds `hashes_max` hashes at most, which is a power of two.
    fn with_limit(hashes_max: usize) -> Self {
        Self {
            partitions: Vec::new(),
            hashes: 0,
            hashes_max,
            filter: Filter::default(),
        }
    }

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
            self.hashes += 1;
            if self.hashes > self.hashes_max {
                self.make_room();
            }
        }
    }

    /// Drops duplicates, and moves all hashes to the filter if more than half of them remain.
    fn make_room(&mut self) {
        self.partitions.iter_mut().for_each(Partition::dedup);
        self.hashes = self.partitions.iter().map(Partition::hashes).sum();
        if self.hashes <= self.hashes_max / 2 {
            return;
        }
        self.filter.words.resize(self.hashes_max, 0);
        for (number, partition) in (0..).zip(&mut self.partitions) {
            for keys in [&mut partition.between, &mut partition.behind] {
                for hash in std::mem::take(keys) {
                    self.filter.insert(number, hash);
                }
            }
        }
        self.hashes = 0;
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
            partition.dedup();
            partition.between.shrink_to_fit();
            partition.behind.shrink_to_fit();
        }
        Arc::new(self)
    }

    pub(crate) fn order(&self, number: u32, key: &[u8]) -> Order {
        let Some(partition) = self.partitions.get(number as usize) else {
            return Order::Newest;
        };
        let hash = xxh3_64(key);
        let has = |keys: &[u64]| keys.binary_search(&hash).is_ok();
        if has(&partition.behind) {
            Order::Older
        } else if has(&partition.between) || self.filter.has(number, hash) {
            Order::Unknown
        } else {
            Order::Newest
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

    fn hashes(&self) -> usize {
        self.between.len() + self.behind.len()
    }

    fn dedup(&mut self) {
        for keys in [&mut self.between, &mut self.behind] {
            keys.sort_unstable();
            keys.dedup();
        }
    }
}

impl Filter {
    fn insert(&mut self, partition: u32, hash: u64) {
        for (word, bit) in places(self.words.len(), partition, hash) {
            self.words[word] |= bit;
        }
    }

    fn has(&self, partition: u32, hash: u64) -> bool {
        let is_set = |(word, bit): (usize, u64)| self.words[word] & bit != 0;
        !self.words.is_empty() && places(self.words.len(), partition, hash).all(is_set)
    }
}

/// The places of a key's bits in a filter of so many words: which word, and the bit in it.
fn places(words: usize, partition: u32, hash: u64) -> impl Iterator<Item = (usize, u64)> {
    // The same key in two partitions is two keys.
    let hash = hash.wrapping_add(u64::from(partition).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let step = (hash >> 32) | 1;
    (0..FILTER_BITS).map(move |number| {
        let place = hash.wrapping_add(number.wrapping_mul(step));
        let word = usize::try_from(place >> 6).unwrap_or(usize::MAX) & (words - 1);
        (word, 1 << (place & 63))
    })
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

    /// More keys than are held: none of them passes for one without later records, and nearly all others do.
    #[test]
    fn beyond_the_limit_later_records_are_still_found() {
        const LIMIT: usize = 64;
        let key = |number: u64| number.to_be_bytes();
        let mut later = Later::with_limit(LIMIT);
        for number in 0..500 {
            later.note((number % 3) as u32, 0, number + 5, Some(&key(number)));
            let held: usize = later.partitions.iter().map(Partition::hashes).sum();
            assert!(held <= LIMIT);
        }
        let later = later.finish();
        assert_eq!(later.filter.words.len(), LIMIT);
        let order = |number: u64| later.order((number % 3) as u32, &key(number));
        assert!((0..500).all(|number| order(number) != Order::Newest));
        let mistaken = (500..5500).filter(|number| order(*number) != Order::Newest);
        assert!(mistaken.count() < 500);
        // The last ones are held as they are.
        assert_eq!(order(499), Order::Older);
    }

    /// A few keys that come again and again need no filter.
    #[test]
    fn keys_that_come_again_take_their_place_once() {
        let mut later = Later::with_limit(64);
        for number in 0..5000_u64 {
            later.note(0, 0, number + 5, Some(&[(number % 30) as u8]));
        }
        let later = later.finish();
        assert!(later.filter.words.is_empty());
        assert_eq!(later.partitions[0].behind.len(), 30);
        assert_eq!(later.order(0, &[7]), Order::Older);
        assert_eq!(later.order(0, &[31]), Order::Newest);
    }
}
