//! Files that leave the inbox: renamed out of the patterns, moved away, deleted. They are followed to their end.

use std::time::Duration;

use crate::file::decision::What;
use crate::follow::look::{Hold, Look};
use crate::follow::step::Step;
use crate::follow::tracked::{GONE_FOR, Outside, State, Tracked};

/// Decides about a followed file that the listing has not found. One that was renamed is closed when it has been
/// unchanged for `close_after`.
pub(crate) fn miss(tracked: &Tracked, close_after: Duration, look: &mut dyn Look) -> Vec<Step> {
    let entry = &tracked.entry;
    let id = entry.id;
    if tracked.state == State::Blocked {
        return vec![Step::Forget(id)];
    }
    if let Some(outside) = tracked.outside {
        let wait = match outside {
            Outside::Renamed => close_after,
            Outside::Deleted => GONE_FOR,
        };
        return end_outside(tracked, wait, look);
    }
    if let Some((path, _)) = look.beside(&tracked.path, entry.device, entry.inode) {
        return vec![Step::Rename(id, path)];
    }
    let (what, why, outside) = match look.hold(tracked) {
        Hold::Closed => return vec![Step::End(id)],
        Hold::Named => (
            What::Rotated,
            "it has been moved to another directory, and is followed to its end",
            Outside::Renamed,
        ),
        Hold::Nameless => (
            What::Gone,
            "it has been deleted; Bekk reads the open file to its end",
            Outside::Deleted,
        ),
    };
    vec![
        Step::Note(id, what, why.to_owned()),
        Step::Leave(id, outside),
    ]
}

/// Ends with a file outside of the inbox once all of it is read and nobody has written to it for a while.
fn end_outside(tracked: &Tracked, wait: Duration, look: &mut dyn Look) -> Vec<Step> {
    let id = tracked.entry.id;
    if look.hold(tracked) == Hold::Closed && look.stat(&tracked.path).is_none() {
        return vec![Step::End(id)];
    }
    if tracked.is_behind() || tracked.changed_at.elapsed() < wait {
        return Vec::new();
    }
    if tracked.partial > 0 {
        return vec![Step::TakeRest(id)];
    }
    if !tracked.is_done() {
        return Vec::new();
    }
    match tracked.entry.receipt_bytes == Some(tracked.entry.position) {
        true => vec![Step::LetGo(id)],
        false => vec![Step::Finish(id), Step::LetGo(id)],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::follow::testing::{World, id, stat, tracked};

    const CLOSE_AFTER: Duration = Duration::from_secs(60);

    fn check(world: World, expected: &[Step], change: impl FnOnce(&mut Tracked)) {
        let mut tracked = tracked(1, "/in/a.csv");
        tracked.state = State::Idle;
        change(&mut tracked);
        let mut world = world;
        assert_eq!(miss(&tracked, CLOSE_AFTER, &mut world), expected);
    }

    fn outside(how: Outside, quiet_secs: u64) -> impl FnOnce(&mut Tracked) {
        move |tracked| {
            tracked.outside = Some(how);
            let quiet = Duration::from_secs(quiet_secs);
            tracked.changed_at = Instant::now().checked_sub(quiet).unwrap();
        }
    }

    fn there() -> World {
        World::default().with("/old/a.csv.1", stat(1))
    }

    #[test]
    fn a_file_that_the_listing_has_not_found() {
        let a = id(1);
        let beside = World::default().with("/in/a.csv.1", stat(1));
        check(beside, &[Step::Rename(a, "/in/a.csv.1".into())], |_| {});
        check(World::default(), &[Step::End(a)], |_| {});
        // Another file has its name: that is no reason to think that it is there.
        let replaced = World::default().with("/in/a.csv", stat(2));
        check(replaced, &[Step::End(a)], |_| {});
        check(there(), &[Step::Forget(a)], |tracked| {
            tracked.state = State::Blocked
        });
        for (hold, what, how) in [
            (Hold::Named, What::Rotated, Outside::Renamed),
            (Hold::Nameless, What::Gone, Outside::Deleted),
        ] {
            let mut world = World::default().holding(1, hold);
            let steps = miss(&tracked(1, "/in/a.csv"), CLOSE_AFTER, &mut world);
            assert!(
                matches!(&steps[..], [Step::Note(of, found, _), Step::Leave(left, found_how)]
                    if (*of, *left, *found, *found_how) == (a, a, what, how)),
                "{hold:?}: {steps:?}"
            );
        }
    }

    #[test]
    fn a_file_outside_is_followed_to_its_end() {
        let a = id(1);
        let open = || World::default().holding(1, Hold::Named);
        let deleted = || World::default().holding(1, Hold::Nameless);
        check(open(), &[], outside(Outside::Renamed, 59));
        check(deleted(), &[], outside(Outside::Deleted, 4));
        let ended = [Step::Finish(a), Step::LetGo(a)];
        check(open(), &ended, outside(Outside::Renamed, 61));
        check(deleted(), &ended, outside(Outside::Deleted, 6));
        // It is not read to its end, or not all of that is in the log.
        check(open(), &[], |tracked| {
            outside(Outside::Renamed, 61)(tracked);
            tracked.stat.size = 200;
        });
        check(open(), &[], |tracked| {
            outside(Outside::Renamed, 61)(tracked);
            tracked.entry.position = 50;
        });
        check(open(), &[Step::TakeRest(a)], |tracked| {
            outside(Outside::Renamed, 61)(tracked);
            (tracked.partial, tracked.stat.size) = (7, 107);
        });
        check(open(), &[Step::LetGo(a)], |tracked| {
            outside(Outside::Renamed, 61)(tracked);
            tracked.entry.receipt_bytes = Some(100);
        });
        // It was closed, and cannot be opened again.
        check(there(), &[Step::End(a)], outside(Outside::Renamed, 0));
    }
}
