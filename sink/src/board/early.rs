//! Records that the table refuses because of another row, which a record of another partition may be about to change.
//!
//! A value of a second unique column moves from one row to another: the record that gives it up and the one that takes
//! it have different keys, may be in different partitions, and those are applied in no order. So a record that is
//! refused for such a reason waits. It is tried again whenever another partition of the stream has moved on, and
//! becomes a dead letter when all of them have come as far as they went when it was first refused, or when none moves
//! any more.

use std::time::{Duration, Instant};

use super::{Board, State};

/// How long a partition that another sink holds may stand still before it is not waited for.
const OTHERS_STILL: Duration = Duration::from_secs(10);

/// What a slot's first record waits for.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    offset: u64,
    /// How far the stream's other slots went.
    ends: Vec<(usize, u64)>,
    /// How often slots of the stream had moved on at the last attempt.
    moves: u64,
    since: Instant,
    /// Whether it waits now; false while it is tried again.
    is_waiting: bool,
}

impl Board {
    /// Notes that the record at `offset`, in a slot's batch from `from` on, was refused because of another row. The
    /// records before it are applied first; then it waits for the stream's other slots.
    pub(crate) fn early(&self, slot: usize, from: u64, offset: u64) {
        let mut state = self.slots.lock();
        let stream = state.slots[slot].stream;
        let moves = state.moves.get(&stream).copied().unwrap_or_default();
        let others = state.slots.iter().enumerate();
        let ends: Vec<(usize, u64)> = others
            .filter(|(i, other)| *i != slot && other.stream == stream && other.next < other.end)
            .map(|(i, other)| (i, other.end))
            .collect();
        let own = &mut state.slots[slot];
        if ends.is_empty() {
            // Whatever came before any record that is known now has been applied.
            own.final_until = own.end;
        } else if offset > from {
            own.records_max = usize::try_from(offset - from).unwrap_or(usize::MAX);
        } else {
            let known = own.wait.take().filter(|wait| wait.offset == offset);
            own.wait = Some(Wait {
                offset,
                ends: known.map_or(ends, |wait| wait.ends),
                moves,
                since: Instant::now(),
                is_waiting: true,
            });
        }
    }

    /// Below this offset, records of a slot that are refused because of another row need wait no longer.
    pub(crate) fn final_until(&self, slot: usize) -> u64 {
        self.slots.lock().slots[slot].final_until
    }
}

impl State {
    /// Notes that a slot of the stream has moved on.
    pub(super) fn moved(&mut self, stream: usize) {
        *self.moves.entry(stream).or_default() += 1;
    }

    /// Whether a slot need not wait for others, now or any more.
    pub(super) fn is_due(&self, slot: usize) -> bool {
        let own = &self.slots[slot];
        let Some(wait) = own.wait.as_ref().filter(|wait| wait.is_waiting) else {
            return true;
        };
        wait.moves != self.moves.get(&own.stream).copied().unwrap_or_default()
            || self.is_settled(slot)
    }

    /// Ends a slot's waiting for the attempt that follows.
    pub(super) fn try_again(&mut self, slot: usize) {
        let is_settled = self.is_settled(slot);
        let own = &mut self.slots[slot];
        if let Some(wait) = own.wait.as_mut().filter(|wait| wait.is_waiting) {
            wait.is_waiting = false;
            if is_settled {
                own.final_until = wait.offset + 1;
            }
        }
    }

    /// Whether what a slot waits for has come, or will not.
    fn is_settled(&self, slot: usize) -> bool {
        let own = &self.slots[slot];
        let Some(wait) = &own.wait else {
            return false;
        };
        let has_come = wait
            .ends
            .iter()
            .all(|(other, end)| self.slots[*other].next >= *end);
        let moves = self.moves.get(&own.stream).copied().unwrap_or_default();
        let others = self.slots.iter().enumerate();
        let stands_still = others
            .filter(|(i, other)| *i != slot && other.stream == own.stream && other.next < other.end)
            .all(|(_, other)| match &other.wait {
                _ if other.waits_for_others => true,
                Some(other) if other.is_waiting => other.moves == moves,
                _ => other.epoch.is_none() && wait.since.elapsed() > OTHERS_STILL,
            });
        has_come || stands_still && wait.moves == moves
    }
}
