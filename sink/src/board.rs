//! Which partition has work, and who is at it.

mod doubt;
mod early;
mod parents;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

pub(crate) use self::doubt::Doubt;
use self::parents::Gate;
pub(crate) use self::slot::{Claim, Held, LastWritten, Outcome, Slot};
use crate::job::Path;
use crate::offsets::Taken;
use crate::stats::Position;

/// How few records a batch is made of, however long it takes.
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
    /// How often the log may have been replaced, as last heard.
    doubts: u64,
    /// For each stream, those whose rows its rows refer to.
    parents: Vec<Vec<usize>>,
    /// For each stream that has parents, up to where it may be taken, and when.
    gates: Vec<Option<Gate>>,
}

impl Board {
    /// `parents` are, for each stream, those whose rows its rows refer to.
    pub(crate) fn new(slots: Vec<Slot>, parents: Vec<Vec<usize>>) -> Self {
        Self {
            slots: Mutex::new(State {
                gates: parents.iter().map(|_| None).collect(),
                parents,
                slots,
                cursor: 0,
                idle_workers: 0,
                refused: HashMap::new(),
                moves: HashMap::new(),
                doubts: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Wakes all who wait for a change.
    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Takes a partition that has work; waits for one, but not longer than `timeout`.
    pub(crate) fn claim(&self, records_max: usize, timeout: Duration) -> Option<Claim> {
        let mut state = self.slots.lock();
        if let Some(claim) = state.claim(records_max) {
            return Some(claim);
        }
        state.idle_workers += 1;
        self.changed.wait_for(&mut state, timeout);
        state.idle_workers -= 1;
        state.claim(records_max)
    }

    /// Takes work to prepare while a batch of `slot`, up to `next`, is in flight: another partition's, else
    /// the records behind that batch. None while another worker is idle and could take it at once.
    pub(crate) fn claim_ahead(&self, slot: usize, next: u64, records_max: usize) -> Option<Claim> {
        let mut state = self.slots.lock();
        if state.idle_workers > 0 {
            return None;
        }
        if let Some(claim) = state.claim(records_max) {
            return Some(claim);
        }
        let own = &state.slots[slot];
        if own.leaving || own.halted || next >= own.end || own.is_in_doubt(state.doubts) {
            return None;
        }
        let until = match &state.gates[own.stream] {
            Some(gate) => gate.until_of(slot),
            None => u64::MAX,
        };
        if next >= until {
            return None;
        }
        own.claim(slot, next, until, records_max)
    }

    /// How a batch of this slot is to be applied, and whether it may become dead letters as a whole.
    pub(crate) fn manner(&self, slot: usize) -> (Path, bool) {
        let state = self.slots.lock();
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
        let mut guard = self.slots.lock();
        let state = &mut *guard;
        let stream = state.slots[slot].stream;
        if outcome.passed {
            Self::trust(state, stream);
        }
        *state.refused.entry(stream).or_default() += outcome.refused_run;
        state.moved(stream);
        let slot = &mut state.slots[slot];
        slot.last = Some(LastWritten {
            epoch: outcome.epoch,
            next: outcome.next,
            transaction: outcome.transaction,
        });
        slot.next = outcome.next;
        slot.mark = outcome.mark.or(slot.mark);
        slot.counts.rows += outcome.counts.rows;
        slot.counts.superseded += outcome.counts.superseded;
        slot.counts.dead += outcome.counts.dead;
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
        self.slots.lock().slots[slot].records_max = (records / 2).max(1);
        records > 1
    }

    /// Notes what the database says of a slot, also whether the lease is still ours.
    pub(crate) fn resync(&self, slot: usize, row: Taken) {
        let mut state = self.slots.lock();
        let slot = &mut state.slots[slot];
        (slot.next, slot.mark, slot.counts) = (row.next, row.mark, row.counts);
        if slot.epoch != Some(row.epoch) {
            slot.epoch = None;
        }
    }

    /// Notes that the database has been set back to `next`: forgets what was written after it, and the lease, which has
    /// to be taken anew.
    pub(crate) fn set_back(&self, slot: usize, next: u64) {
        let mut state = self.slots.lock();
        let slot = &mut state.slots[slot];
        (slot.epoch, slot.last, slot.next) = (None, None, next);
    }

    /// Notes that a slot's lease has been lost.
    pub(crate) fn lost(&self, slot: usize) {
        self.slots.lock().slots[slot].epoch = None;
    }

    pub(crate) fn give_back(&self, slot: usize) {
        let mut state = self.slots.lock();
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
        let mut state = self.slots.lock();
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
        self.slots.lock().slots.clone()
    }

    /// Notes a lease that has been taken.
    pub(crate) fn hold(&self, slot: usize, held: Held) {
        let mut state = self.slots.lock();
        let slot = &mut state.slots[slot];
        let row = held.row;
        slot.epoch = Some(row.epoch);
        slot.last = Some(LastWritten {
            epoch: row.epoch,
            next: row.next,
            transaction: held.transaction,
        });
        (slot.next, slot.mark, slot.counts) = (row.next, row.mark, row.counts);
        slot.verified = Some(held.doubts);
        slot.end = slot.end.max(row.next);
        slot.letters_end = held.letters_end;
        slot.leaving = false;
        (slot.refused_alone, slot.waits_for_others) = (0, false);
        (slot.wait, slot.final_until) = (None, 0);
        drop(state);
        self.changed.notify_all();
    }

    /// Notes how often the log may have been replaced.
    pub(crate) fn set_doubts(&self, doubts: u64) {
        self.slots.lock().doubts = doubts;
    }

    /// Has a slot's mark looked for in the log before more is taken.
    pub(crate) fn suspect(&self, slot: usize) {
        self.slots.lock().slots[slot].verified = None;
    }

    /// Notes that a slot's mark was found in the log, in which nothing has changed since `doubts` was read.
    pub(crate) fn verified(&self, slot: usize, doubts: u64) {
        self.slots.lock().slots[slot].verified = Some(doubts);
        self.changed.notify_all();
    }

    /// Whether a slot waits for its mark to be looked for.
    pub(crate) fn has_doubts(&self) -> bool {
        let state = self.slots.lock();
        let mut slots = state.slots.iter();
        slots.any(|slot| slot.is_in_doubt(state.doubts) && !slot.halted)
    }

    /// Stops a stream's slots; true if no other stream is left.
    pub(crate) fn halt(&self, stream: usize) -> bool {
        let mut state = self.slots.lock();
        for slot in state.slots.iter_mut().filter(|slot| slot.stream == stream) {
            slot.halted = true;
        }
        state.slots.iter().all(|slot| slot.halted)
    }

    /// Notes what the keeper has read of a slot's row.
    pub(crate) fn observe(&self, slot: usize, epoch: i64, next: u64) {
        let mut state = self.slots.lock();
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
        let mut state = self.slots.lock();
        let slot = &mut state.slots[slot];
        slot.leaving = true;
        !slot.busy
    }

    /// Takes back what [`leave`](Self::leave) asked for.
    pub(crate) fn stay(&self) {
        for slot in &mut self.slots.lock().slots {
            slot.leaving = false;
        }
    }

    /// Notes that a slot's lease has been given up.
    pub(crate) fn left(&self, slot: usize) {
        let mut state = self.slots.lock();
        let slot = &mut state.slots[slot];
        slot.epoch = None;
        slot.leaving = false;
    }

    /// How far the group is in each partition.
    pub(crate) fn positions(&self) -> Vec<Position> {
        let state = self.slots.lock();
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
        let cursor = self.cursor;
        let found = (0..count).map(|i| (cursor + i) % count).find(|slot| {
            self.slots[*slot].has_work(self.doubts)
                && self.is_due(*slot)
                && self.open_until(*slot).is_some()
        })?;
        let until = self.open_until(found)?;
        self.cursor = found + 1;
        self.try_again(found);
        let slot = &mut self.slots[found];
        let claim = slot.claim(found, slot.next, until, records_max)?;
        slot.busy = true;
        Some(claim)
    }
}
