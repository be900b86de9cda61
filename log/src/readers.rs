//! Those for whom records are kept.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Offset;
use crate::segment::Range;
use crate::state::Position;

/// A group that has committed nothing for this long, and holds segments past their retention, is named. It holds
/// them still: only a person releases records that a group has not applied.
pub const GROUP_ACTIVE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What groups had committed some time ago. Records that a group has only just passed, perhaps after a long absence, stay
/// for that time.
pub(crate) struct Settled(Mutex<(Instant, Vec<Position>)>);

impl Settled {
    /// Begins with what is committed when the log is opened.
    pub(crate) fn new(committed: Vec<Position>) -> Self {
        Self(Mutex::new((Instant::now(), committed)))
    }

    /// What was committed at least `delay` ago by those groups that have committed something now.
    pub(crate) fn of(&self, now: Vec<Position>, delay: Duration) -> Vec<Position> {
        if delay.is_zero() {
            return now;
        }
        let mut earlier = self.0.lock();
        let settled = now.iter().map(|position| {
            let is_same = |other: &&Position| {
                (&other.name, &other.topic, other.partition)
                    == (&position.name, &position.topic, position.partition)
            };
            let next = earlier
                .1
                .iter()
                .find(is_same)
                .map_or(Offset::ZERO, |other| other.next);
            Position {
                next: next.min(position.next),
                ..position.clone()
            }
        });
        let settled = settled.collect();
        if earlier.0.elapsed() >= delay {
            *earlier = (Instant::now(), now);
        }
        settled
    }
}

/// Groups that hold segments past their retention, and have committed nothing for long: each is named once.
#[derive(Default)]
pub(crate) struct IdleHolders(Mutex<HashSet<(String, String)>>);

impl IdleHolders {
    pub(crate) fn report(&self, topic: &str, groups: Vec<(String, i64)>) {
        let mut named = self.0.lock();
        for (group, days) in groups {
            if named.insert((topic.to_owned(), group.clone())) {
                tracing::warn!(
                    topic,
                    group,
                    days,
                    "the log keeps records past their retention for a group that has not applied them and has \
                     committed nothing for days; run its sink, or release them: bekk offsets delete --group {group}"
                );
            }
        }
    }
}

/// Those for whom records are kept.
pub(crate) struct Readers {
    /// What the groups have committed.
    committed: Vec<Position>,
    groups: HashSet<String>,
    held: Vec<Position>,
}

impl Readers {
    /// `None` if no group has ever committed.
    pub(crate) fn new(committed: Vec<Position>, held: Vec<Position>) -> Option<Self> {
        let names = committed.iter().map(|position| position.name.clone());
        let groups: HashSet<_> = names.collect();
        (!groups.is_empty()).then_some(Self {
            committed,
            groups,
            held,
        })
    }

    /// The groups that have committed nothing for long, and for how many days.
    pub(crate) fn idle_groups(&self, now_ms: i64) -> Vec<(String, i64)> {
        let active_ms = i64::try_from(GROUP_ACTIVE.as_millis()).unwrap_or(i64::MAX);
        let idle_ms = |group: &String| {
            let of_group = self.committed.iter().filter(|one| one.name == *group);
            now_ms.saturating_sub(of_group.map(|one| one.at_ms).max().unwrap_or(now_ms))
        };
        let mut idle: Vec<_> = self
            .groups
            .iter()
            .map(|group| (group.clone(), idle_ms(group)))
            .filter(|(_, idle_ms)| *idle_ms >= active_ms)
            .map(|(group, idle_ms)| (group, idle_ms / (24 * 60 * 60 * 1000)))
            .collect();
        idle.sort_unstable();
        idle
    }

    /// Whether nobody needs what a segment holds. A group that has not committed for a partition has not read
    /// it; a holder needs only what it names. Nobody needs what is deleted, before `starts`.
    pub(crate) fn are_done_with(&self, ranges: &[Range], starts: &[Offset]) -> bool {
        let with_records = (0u32..)
            .zip(ranges)
            .zip(starts)
            .filter(|((_, range), start)| range.start.max(**start) < range.end)
            .map(|(range, _)| range);
        let is_done = |position: &Position, partition: u32, end: Offset| {
            position.partition == partition && position.next >= end
        };
        with_records.into_iter().all(|(partition, range)| {
            let done = self
                .committed
                .iter()
                .filter(|position| is_done(position, partition, range.end));
            let held = self
                .held
                .iter()
                .any(|hold| hold.partition == partition && hold.next < range.end);
            done.count() == self.groups.len() && !held
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    fn position(name: &str, partition: u32, next: u64, at_ms: i64) -> Position {
        Position {
            name: name.to_owned(),
            topic: "t".to_owned(),
            partition,
            next: Offset::new(next),
            at_ms,
        }
    }

    fn range(start: u64, end: u64) -> Range {
        Range {
            start: Offset::new(start),
            end: Offset::new(end),
            newest_ms: None,
        }
    }

    fn check(committed: &[Position], held: &[Position], expected: bool) {
        check_from([0, 0, 0], committed, held, expected);
    }

    fn check_from(starts: [u64; 3], committed: &[Position], held: &[Position], expected: bool) {
        let readers = Readers::new(committed.to_vec(), held.to_vec());
        let ranges = [range(0, 10), range(5, 5), range(7, 9)];
        let starts = starts.map(Offset::new);
        let done = readers.is_some_and(|readers| readers.are_done_with(&ranges, &starts));
        assert_eq!(done, expected, "{committed:?} {held:?}");
    }

    #[test]
    fn nobody_needs_what_is_deleted() {
        let now = 99 * DAY_MS;
        let half = [position("g", 0, 3, now)];
        check_from([10, 5, 8], &half, &[], false);
        check_from([9, 5, 9], &half, &[], false);
        check_from([10, 5, 9], &half, &[position("h", 0, 1, 0)], true);
    }

    #[test]
    fn a_segment_goes_when_every_group_is_behind_it_however_long_ago_one_was_heard_of() {
        let now = 99 * DAY_MS;
        let done = [position("g", 0, 10, now), position("g", 2, 9, now)];
        check(&[], &[], false);
        check(&done, &[], true);
        check(&done[..1], &[], false);
        check(&[position("g", 0, 9, now), done[1].clone()], &[], false);
        let other = |at_ms| [done.to_vec(), vec![position("other", 0, 3, at_ms)]].concat();
        check(&other(now), &[], false);
        check(&other(0), &[], false);
        let old = [position("g", 0, 10, 0), position("g", 2, 9, 0)];
        check(&old, &[], true);
    }

    #[test]
    fn what_a_group_has_only_just_passed_is_not_settled() {
        let next = |positions: Vec<Position>| {
            positions
                .iter()
                .map(|one| one.next.get())
                .collect::<Vec<_>>()
        };
        let settled = Settled::new(vec![position("g", 0, 3, 0), position("deleted", 0, 1, 0)]);
        let now = vec![position("g", 0, 10, 0), position("new", 0, 5, 0)];
        assert_eq!(next(settled.of(now.clone(), Duration::ZERO)), [10, 5]);
        assert_eq!(
            next(settled.of(now.clone(), Duration::from_secs(60))),
            [3, 0]
        );
        // Once the delay has passed, what is committed now settles.
        assert_eq!(
            next(settled.of(now.clone(), Duration::from_nanos(1))),
            [3, 0]
        );
        assert_eq!(next(settled.of(now, Duration::from_secs(60))), [10, 5]);
        assert_eq!(
            next(settled.of(vec![position("g", 0, 2, 0)], Duration::from_secs(60))),
            [2]
        );
    }

    #[test]
    fn a_group_is_idle_as_a_whole() {
        let now = 99 * DAY_MS;
        let positions = [
            position("g", 0, 10, 0),
            position("g", 2, 9, now),
            position("idle", 0, 3, 89 * DAY_MS),
        ];
        let readers = Readers::new(positions.to_vec(), Vec::new()).unwrap();
        assert_eq!(readers.idle_groups(now), [("idle".to_owned(), 10)]);
    }

    #[test]
    fn a_hold_keeps_a_segment_however_old_it_is() {
        let now = 99 * DAY_MS;
        let done = [position("g", 0, 10, now), position("g", 2, 9, now)];
        check(&done, &[position("h", 0, 9, 0)], false);
        check(&done, &[position("h", 0, 10, 0)], true);
        check(&done, &[position("h", 1, 0, 0)], true);
    }
}
