//! Shares of a group's partitions: the members hold equally many, and no partition stays free.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How long a partition is free before a sink takes it beyond its share: the member whose share it is may have stopped
/// the stream for itself.
const UNWANTED_AFTER: Duration = Duration::from_secs(10);

/// The partitions that a sink holds beyond its share, and those that are free.
#[derive(Debug, Default)]
pub(super) struct Extra {
    members: Vec<String>,
    /// Since when each free slot has been free.
    free_since: HashMap<usize, Instant>,
    /// Slots that are held beyond the share.
    pub(super) held: HashSet<usize>,
}

impl Extra {
    /// Notes who the members are and which slots are free. With new members the partitions are shared anew.
    pub(super) fn note(&mut self, members: &[String], free: impl Iterator<Item = usize>) {
        if self.members != members {
            members.clone_into(&mut self.members);
            self.free_since.clear();
            self.held.clear();
        }
        let now = Instant::now();
        let since = |slot| (slot, *self.free_since.get(&slot).unwrap_or(&now));
        self.free_since = free.map(since).collect();
        self.held.retain(|slot| !self.free_since.contains_key(slot));
    }

    /// Whether a free slot has been free for so long that no member will take it within its share.
    pub(super) fn is_unwanted(&self, slot: usize) -> bool {
        self.free_since
            .get(&slot)
            .is_some_and(|since| since.elapsed() >= UNWANTED_AFTER)
    }
}

/// How many of the partitions a member is to hold: all hold as many, and the first ones the rest.
pub(super) fn share(members: &[String], own: &str, partitions: usize) -> usize {
    let count = members.len().max(1);
    let rank = members.iter().position(|member| member == own).unwrap_or(0);
    partitions / count + usize::from(rank < partitions % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for partitions in 0..20 {
            for count in 1..8 {
                let members: Vec<String> = (0..count).map(|i| format!("m{i}")).collect();
                let sum: usize = members
                    .iter()
                    .map(|own| share(&members, own, partitions))
                    .sum();
                assert_eq!(sum, partitions, "{count} members");
            }
        }
    }

    #[test]
    fn what_nobody_takes_is_taken_until_the_members_change() {
        let members = ["a".to_owned(), "b".to_owned()];
        let mut extra = Extra::default();
        extra.note(&members, [3, 4].into_iter());
        assert!(!extra.is_unwanted(3));
        let long_ago = Instant::now().checked_sub(UNWANTED_AFTER).unwrap();
        extra.free_since.insert(3, long_ago);
        extra.note(&members, [3].into_iter());
        assert!(extra.is_unwanted(3) && !extra.is_unwanted(4));
        extra.held.insert(3);
        extra.note(&members, std::iter::empty());
        assert!(extra.held.contains(&3) && !extra.is_unwanted(3));
        extra.note(&members[..1], std::iter::empty());
        assert!(extra.held.is_empty());
    }
}
