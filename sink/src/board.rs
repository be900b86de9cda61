//! Which partition has work, and who is at it.

mod doubt;
mod early;

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::doubt::Doubt;
use crate::apply::Path;
use crate::stats::Position;

/// How many records a partition's first batch may have; it doubles while batches fill quickly.
const RECORDS_FIRST: usize = 4_096;
const RECORDS_MIN: usize = 256;
/// A batch that takes longer than this makes the next one smaller: it holds the partition's lease row.
const BATCH_LONG: Duration = Duration::from_secs(2);
const BATCH_QUICK: Duration = Duration::from_millis(700);
/// Up to this share of batches that meet an existing key, COPY straight into the table pays: one that
/// fails has cost half a COPY on average, and the way round costs a third more than COPY.
const CONFLICT_SHARE_MAX: f64 = 0.4;
/// How much the last batch weighs in that share.
const CONFLICT_WEIGHT: f64 = 0.3;

/// The partitions of all streams.
#[derive(Debug)]
pub(crate) struct Board {
    slots: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    /// Where the search for work begins, so that every partition has its turn.
    cursor: usize,
    /// Workers that wait for work.
    idle_workers: usize,
    /// By stream: how many records have become dead letters since the table last took one.
    refused: HashMap<usize, u64>,
    /// By stream: how often a slot has moved on.
    moves: HashMap<usize, u64>,
}

/// One partition of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) stream: usize,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// The epoch of our lease, while we hold one.
    pub(crate) epoch: Option<i64>,
    /// The next record to apply, as far as is known.
    pub(crate) next: u64,
    /// The log's end, as far as is known.
    pub(crate) end: u64,
    /// Below this offset lie all open dead letters that the group has met before.
    letters_end: u64,
    /// Whether a worker is at it.
    busy: bool,
    /// Whether the lease is to be given up when no worker is at it.
    leaving: bool,
    records_max: usize,
    conflict_share: f64,
    /// How many records of the last batch were refused with none that passed, while that is in doubt.
    refused_alone: u64,
    /// Whether the last batch was refused and waits for what the stream's other slots find.
    waits_for_others: bool,
    /// Whether a batch of which all is refused is to become dead letters.
    may_be_refused: bool,
    /// Whether the batch has been made larger because of a doubt.
    is_grown: bool,
    /// What this slot's first record waits for.
    wait: Option<early::Wait>,
    /// Below this offset, records that are refused because of another row become dead letters.
    final_until: u64,
}

/// A slot that a worker has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) slot: usize,
    pub(crate) stream: usize,
    pub(crate) partition: u32,
    pub(crate) epoch: i64,
    pub(crate) from: u64,
    pub(crate) letters_end: u64,
    pub(crate) records_max: usize,
}

impl Slot {
    pub(crate) fn new(stream: usize, topic: &str, partition: u32) -> Self {
        Self {
            stream,
            topic: topic.to_owned(),
            partition,
            epoch: None,
            next: 0,
            end: 0,
            letters_end: 0,
            busy: false,
            leaving: false,
            records_max: RECORDS_FIRST,
            conflict_share: 0.0,
            refused_alone: 0,
            waits_for_others: false,
            may_be_refused: false,
            is_grown: false,
            wait: None,
            final_until: 0,
        }
    }

    fn claim(&self, slot: usize, from: u64, records_max: usize) -> Option<Claim> {
        Some(Claim {
            slot,
            stream: self.stream,
            partition: self.partition,
            epoch: self.epoch?,
            from,
            letters_end: self.letters_end,
            records_max: self.records_max.min(records_max),
        })
    }

    fn has_work(&self) -> bool {
        self.epoch.is_some()
            && !self.busy
            && !self.leaving
            && !self.waits_for_others
            && self.next < self.end
    }
}

impl Board {
    pub(crate) fn new(slots: Vec<Slot>) -> Self {
        Self {
            slots: Mutex::new(State {
                slots,
                cursor: 0,
                idle_workers: 0,
                refused: HashMap::new(),
                moves: HashMap::new(),
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all who wait for a change.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Takes a partition that has work; waits for one, but not longer than `timeout`.
    pub(crate) fn claim(&self, records_max: usize, timeout: Duration) -> Option<Claim> {
        let mut state = self.lock();
        if let Some(claim) = state.claim(records_max) {
            return Some(claim);
        }
        state.idle_workers += 1;
        let (mut state, _) = self
            .changed
            .wait_timeout(state, timeout)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle_workers -= 1;
        state.claim(records_max)
    }

    /// Takes work to prepare while a batch of `slot`, up to `next`, is in flight: another partition's, else
    /// the records behind that batch. None while another worker is idle and could take it at once.
    pub(crate) fn claim_ahead(&self, slot: usize, next: u64, records_max: usize) -> Option<Claim> {
        let mut state = self.lock();
        if state.idle_workers > 0 {
            return None;
        }
        if let Some(claim) = state.claim(records_max) {
            return Some(claim);
        }
        let own = &state.slots[slot];
        if own.leaving || next >= own.end {
            return None;
        }
        own.claim(slot, next, records_max)
    }

    /// How a batch of this slot is to be applied, and whether it may become dead letters as a whole.
    pub(crate) fn manner(&self, slot: usize) -> (Path, bool) {
        let state = self.lock();
        let slot = &state.slots[slot];
        let path = if slot.conflict_share > CONFLICT_SHARE_MAX {
            Path::Merge
        } else {
            Path::Copy
        };
        (path, slot.may_be_refused)
    }

    /// Notes a committed batch: where the slot now is, and what that says about the next ones.
    pub(crate) fn committed(&self, slot: usize, outcome: &Outcome) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let stream = state.slots[slot].stream;
        if outcome.passed {
            Self::trust(state, stream);
        }
        *state.refused.entry(stream).or_default() += outcome.refused_run;
        state.moved(stream);
        let slot = &mut state.slots[slot];
        slot.next = outcome.next;
        slot.end = slot.end.max(outcome.next);
        (slot.refused_alone, slot.may_be_refused, slot.is_grown) = (0, false, false);
        if outcome.records > 0 {
            let met = if outcome.conflict { 1.0 } else { 0.0 };
            slot.conflict_share += (met - slot.conflict_share) * CONFLICT_WEIGHT;
        }
        if outcome.took > BATCH_LONG {
            slot.records_max = (outcome.records / 2).max(RECORDS_MIN);
        } else if outcome.records >= slot.records_max && outcome.took < BATCH_QUICK {
            // The bound of the configuration is applied when a batch is taken.
            slot.records_max = slot.records_max.saturating_mul(2);
        }
    }

    /// Makes the batches of a slot half as large as one that timed out; false if it was of one record.
    pub(crate) fn halve(&self, slot: usize, records: usize) -> bool {
        self.lock().slots[slot].records_max = (records / 2).max(1);
        records > 1
    }

    /// Notes what the database says of a slot: its next record, and whether the lease is still ours.
    pub(crate) fn resync(&self, slot: usize, epoch: i64, next: u64) {
        let mut state = self.lock();
        let slot = &mut state.slots[slot];
        slot.next = next;
        if slot.epoch != Some(epoch) {
            slot.epoch = None;
        }
    }

    /// Gives a slot back.
    pub(crate) fn give_back(&self, slot: usize) {
        let mut state = self.lock();
        state.slots[slot].busy = false;
        let stream = state.slots[slot].stream;
        if state.settle_doubt(stream) != Doubt::Again {
            // One of those that wait is tried again, and finds out that the table is at fault.
            let waiting = |slot: &&mut Slot| slot.stream == stream && slot.waits_for_others;
            if let Some(slot) = state.slots.iter_mut().find(waiting) {
                slot.waits_for_others = false;
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Notes the ends of a stream's partitions.
    pub(crate) fn set_ends(&self, stream: usize, ends: &[(u32, u64)]) {
        let mut state = self.lock();
        for slot in state.slots.iter_mut().filter(|slot| slot.stream == stream) {
            if let Some((_, end)) = ends
                .iter()
                .find(|(partition, _)| *partition == slot.partition)
            {
                slot.end = (*end).max(slot.next);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// All slots, as they are now.
    pub(crate) fn snapshot(&self) -> Vec<Slot> {
        self.lock().slots.clone()
    }

    /// Notes a lease that has been taken.
    pub(crate) fn hold(&self, slot: usize, epoch: i64, next: u64, letters_end: u64) {
        let mut state = self.lock();
        let slot = &mut state.slots[slot];
        slot.epoch = Some(epoch);
        slot.next = next;
        slot.end = slot.end.max(next);
        slot.letters_end = letters_end;
        slot.leaving = false;
        (slot.refused_alone, slot.waits_for_others) = (0, false);
        (slot.wait, slot.final_until) = (None, 0);
        drop(state);
        self.changed.notify_all();
    }

    /// Notes what the keeper has read of a slot's row.
    pub(crate) fn observe(&self, slot: usize, epoch: i64, next: u64) {
        let mut state = self.lock();
        let slot = &mut state.slots[slot];
        match slot.epoch {
            // A batch of ours may have been committed since the row was read.
            Some(held) if held == epoch => {}
            // A lease taken since the row was read has a greater epoch.
            Some(held) if held > epoch => {}
            _ => {
                slot.epoch = None;
                let (stream, has_moved) = (slot.stream, slot.next != next);
                slot.next = next;
                if has_moved {
                    state.moved(stream);
                }
            }
        }
    }

    /// Asks for a slot's lease to be given up; true if no worker is at it now.
    pub(crate) fn leave(&self, slot: usize) -> bool {
        let mut state = self.lock();
        let slot = &mut state.slots[slot];
        slot.leaving = true;
        !slot.busy
    }

    /// Takes back what [`leave`](Self::leave) asked for.
    pub(crate) fn stay(&self) {
        for slot in &mut self.lock().slots {
            slot.leaving = false;
        }
    }

    /// Notes that a slot's lease has been given up.
    pub(crate) fn left(&self, slot: usize) {
        let mut state = self.lock();
        let slot = &mut state.slots[slot];
        slot.epoch = None;
        slot.leaving = false;
    }

    /// How far the group is in each partition.
    pub(crate) fn positions(&self) -> Vec<Position> {
        let state = self.lock();
        state
            .slots
            .iter()
            .map(|slot| Position {
                topic: slot.topic.clone(),
                partition: slot.partition,
                next: slot.next,
                end: slot.end,
                held: slot.epoch.is_some(),
            })
            .collect()
    }
}

impl State {
    fn claim(&mut self, records_max: usize) -> Option<Claim> {
        let count = self.slots.len();
        let found = (0..count)
            .map(|i| (self.cursor + i) % count)
            .find(|slot| self.slots[*slot].has_work() && self.is_due(*slot))?;
        self.cursor = found + 1;
        self.try_again(found);
        let slot = &mut self.slots[found];
        let claim = slot.claim(found, slot.next, records_max)?;
        slot.busy = true;
        Some(claim)
    }
}

/// What a committed batch was like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) next: u64,
    pub(crate) records: usize,
    pub(crate) conflict: bool,
    /// Whether the table took a record.
    pub(crate) passed: bool,
    /// How many records were refused after the last one that passed.
    pub(crate) refused_run: u64,
    pub(crate) took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let board = Board::new(
            (0..3)
                .map(|partition| Slot::new(0, "t", partition))
                .collect(),
        );
        for slot in 0..3 {
            board.hold(slot, 1, 0, 0);
        }
        board.set_ends(0, &[(0, 10), (1, 10), (2, 0)]);
        board
    }

    const NO_WAIT: Duration = Duration::ZERO;

    #[test]
    fn every_partition_with_work_has_its_turn_and_one_worker() {
        let board = board();
        let first = board.claim(100, NO_WAIT).unwrap();
        let second = board.claim(100, NO_WAIT).unwrap();
        assert_eq!((first.slot, second.slot), (0, 1));
        assert!(board.claim(100, NO_WAIT).is_none());
        board.give_back(0);
        assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 0);
    }

    #[test]
    fn work_ahead_is_another_partitions_or_what_follows() {
        let board = board();
        board.claim(100, NO_WAIT).unwrap();
        assert_eq!(board.claim_ahead(0, 5, 100).unwrap().slot, 1);
        let own = board.claim_ahead(0, 5, 100).unwrap();
        assert_eq!((own.slot, own.from), (0, 5));
        assert!(board.claim_ahead(0, 10, 100).is_none());
    }

    #[test]
    fn a_refused_batch_waits_for_what_other_partitions_find() {
        let board = board();
        let first = board.claim(100, NO_WAIT).unwrap();
        // The other partition has work: it may pass.
        assert_eq!(board.doubt(first.slot, 10, 60, 10), Doubt::Again);
        board.give_back(first.slot);
        let second = board.claim(100, NO_WAIT).unwrap();
        assert_eq!(second.slot, 1);
        assert!(board.claim(100, NO_WAIT).is_none());
        // It does not, and together they are too many.
        assert_eq!(board.doubt(second.slot, 10, 60, 10), Doubt::Table(120));
    }

    #[test]
    fn a_record_in_the_way_of_which_another_row_is_waits_for_the_other_partitions() {
        let board = board();
        let first = board.claim(100, NO_WAIT).unwrap();
        // The records before it go first.
        board.early(first.slot, 0, 4);
        board.give_back(first.slot);
        let second = board.claim(100, NO_WAIT).unwrap();
        let first = board.claim(100, NO_WAIT).unwrap();
        assert_eq!((first.slot, first.records_max), (0, 4));
        board.resync(first.slot, 1, 4);
        board.early(first.slot, 4, 4);
        board.give_back(first.slot);
        // The other partition has not come as far as its end.
        assert!(board.claim(100, NO_WAIT).is_none());
        let mut outcome = Outcome {
            next: 5,
            records: 5,
            conflict: false,
            passed: true,
            refused_run: 0,
            took: NO_WAIT,
        };
        board.committed(second.slot, &outcome);
        // It has moved: another attempt, and not the last one.
        assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 0);
        assert_eq!(board.final_until(0), 0);
        board.early(first.slot, 4, 4);
        board.give_back(first.slot);
        assert!(board.claim(100, NO_WAIT).is_none());
        outcome.next = 10;
        board.committed(second.slot, &outcome);
        assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 0);
        assert_eq!(board.final_until(0), 5);
    }

    #[test]
    fn a_record_that_passes_settles_the_doubt() {
        let board = board();
        let first = board.claim(100, NO_WAIT).unwrap();
        board.doubt(first.slot, 10, 60, 10);
        board.give_back(first.slot);
        let second = board.claim(100, NO_WAIT).unwrap();
        let outcome = Outcome {
            next: 10,
            records: 10,
            conflict: false,
            passed: true,
            refused_run: 0,
            took: NO_WAIT,
        };
        board.committed(second.slot, &outcome);
        board.give_back(second.slot);
        assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, first.slot);
        assert!(board.manner(first.slot).1);
    }

    #[test]
    fn a_few_refused_records_alone_become_dead_letters() {
        let board = board();
        board.left(1);
        let first = board.claim(100, NO_WAIT).unwrap();
        // More of the same partition could tell more.
        assert_eq!(board.doubt(first.slot, 5, 5, 5), Doubt::Again);
        assert!(!board.manner(first.slot).1);
        assert_eq!(board.doubt(first.slot, 10, 10, 10), Doubt::Again);
        board.give_back(first.slot);
        assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, first.slot);
        assert!(board.manner(first.slot).1);
    }

    #[test]
    fn a_partition_without_lease_has_no_work() {
        let board = board();
        board.observe(0, 2, 7);
        assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 1);
        assert!(!board.leave(1));
        board.give_back(1);
        assert!(board.leave(1));
        assert!(board.claim(100, NO_WAIT).is_none());
    }

    #[test]
    fn conflicts_turn_the_way_and_their_absence_turns_it_back() {
        let board = board();
        let mut outcome = Outcome {
            next: 1,
            records: 1,
            conflict: true,
            passed: true,
            refused_run: 0,
            took: NO_WAIT,
        };
        assert_eq!(board.manner(0).0, Path::Copy);
        board.committed(0, &outcome);
        board.committed(0, &outcome);
        assert_eq!(board.manner(0).0, Path::Merge);
        outcome.conflict = false;
        board.committed(0, &outcome);
        assert_eq!(board.manner(0).0, Path::Copy);
    }
}
