//! Streams whose rows refer to rows of other streams wait for those.

use std::time::{Duration, Instant};

use super::{Board, Slot, State};

/// How long a stream waits for the records of its parents that are in the log; another sink may be slow with them.
const PARENTS_MAX: Duration = Duration::from_secs(30);

/// What a stream that has parents waits for: what was in the log of the parents when its own records were seen.
#[derive(Debug)]
pub(super) struct Gate {
    /// Slots of the parents, and what they have to have applied.
    parents: Vec<(usize, u64)>,
    /// Slots of the stream, and up to where they may be taken then.
    until: Vec<(usize, u64)>,
    since: Instant,
}

impl Board {
    /// Whether rows of a stream refer to rows of another one.
    pub(crate) fn has_children(&self) -> bool {
        !self.children().is_empty()
    }

    /// The streams whose rows refer to rows of another one.
    pub(crate) fn children(&self) -> Vec<usize> {
        let state = self.slots.lock();
        let streams = 0..state.parents.len();
        streams
            .filter(|at| !state.parents[*at].is_empty())
            .collect()
    }

    /// How far the streams are that others refer to, all together.
    pub(crate) fn parents_applied(&self) -> u64 {
        let state = self.slots.lock();
        let is_parent = |stream: usize| state.parents.iter().any(|of| of.contains(&stream));
        let parents = state.slots.iter().filter(|slot| is_parent(slot.stream));
        parents.map(|slot| slot.next).sum()
    }

    /// Whether rows of a slot's stream refer to rows of another stream that is applied here.
    pub(crate) fn is_child(&self, slot: usize) -> bool {
        let state = self.slots.lock();
        !state.parents[state.slots[slot].stream].is_empty()
    }

    /// Puts a slot off whose records refer to rows that are not there. False if no more will come: all that the
    /// parents have was applied before the last attempt.
    pub(crate) fn await_parents(&self, slot: usize, pause: Duration) -> bool {
        let mut state = self.slots.lock();
        let stream = state.slots[slot].stream;
        let parents = &state.parents[stream];
        let of_parents = state.slots.iter().filter(|s| parents.contains(&s.stream));
        let (mut have_come, mut applied) = (true, 0);
        for parent in of_parents {
            have_come &= parent.halted || parent.next >= parent.end;
            applied += parent.next;
        }
        let slot = &mut state.slots[slot];
        slot.awaits_parents = Some(Instant::now() + pause);
        let seen = have_come.then_some(applied);
        let is_last = seen.is_some() && slot.parents_seen == seen;
        slot.parents_seen = seen;
        !is_last
    }
}

impl State {
    /// Up to where a slot may be taken now; `None` while its stream waits for its parents.
    pub(super) fn open_until(&mut self, slot: usize) -> Option<u64> {
        let (stream, next) = (self.slots[slot].stream, self.slots[slot].next);
        let parents = &self.parents[stream];
        if parents.is_empty() {
            return Some(u64::MAX);
        }
        let is_passed = |gate: &Gate| next >= gate.until_of(slot);
        if self.gates[stream].as_ref().is_none_or(is_passed) {
            let ends = |is_in: &dyn Fn(&Slot) -> bool| {
                let slots = self.slots.iter().enumerate();
                let chosen = slots.filter(|(_, slot)| is_in(slot));
                chosen.map(|(at, slot)| (at, slot.end)).collect()
            };
            self.gates[stream] = Some(Gate {
                parents: ends(&|slot| parents.contains(&slot.stream)),
                until: ends(&|slot| slot.stream == stream),
                since: Instant::now(),
            });
        }
        let gate = self.gates[stream].as_ref()?;
        let has_come = |(parent, end): &(usize, u64)| {
            let parent = &self.slots[*parent];
            parent.halted || parent.next >= *end
        };
        let is_open = gate.since.elapsed() >= PARENTS_MAX || gate.parents.iter().all(has_come);
        is_open.then(|| gate.until_of(slot))
    }
}

impl Gate {
    pub(super) fn until_of(&self, slot: usize) -> u64 {
        let found = self.until.iter().find(|(of, _)| *of == slot);
        found.map_or(0, |(_, until)| *until)
    }
}
