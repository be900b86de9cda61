//! Which partition has work, and who is at it.

mod doubt;
mod early;

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bekk_log::RecordMark;

pub(crate) use self::doubt::Doubt;
use crate::apply::Path;
use crate::offsets::{Counts, Taken};
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
/// How long a stream waits for the records of its parents that are in the log; another sink may be slow with them.
const PARENTS_MAX: Duration = Duration::from_secs(30);
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

/// What a stream that has parents waits for: what was in the log of the parents when its own records were seen.
#[derive(Debug)]
struct Gate {
    /// Slots of the parents, and what they have to have applied.
    parents: Vec<(usize, u64)>,
    /// Slots of the stream, and up to where they may be taken then.
    until: Vec<(usize, u64)>,
    since: Instant,
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
    /// What the last record below `next` was.
    pub(crate) mark: Option<RecordMark>,
    /// What the group has counted, as far as is known.
    counts: Counts,
    /// How often the log may have been replaced when the mark was last found in it; `None` if it has to be looked for.
    verified: Option<u64>,
    /// Whether its stream is stopped until a person has acted.
    halted: bool,
    /// Below this offset lie all open dead letters that the group has met before.
    letters_end: u64,
    /// Whether a worker is at it.
    busy: bool,
    /// Until when nothing is taken, since the rows that its records refer to are not there.
    awaits_parents: Option<Instant>,
    /// How far the parents were when a batch was refused for that though all that they had was applied.
    parents_seen: Option<u64>,
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
    /// How often the log may have been replaced when its identity was last verified.
    pub(crate) doubts: u64,
    /// The offset up to which records may be taken.
    pub(crate) until: u64,
}

/// What a partition's row says once its lease has been taken and its mark found in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) row: Taken,
    pub(crate) letters_end: u64,
    pub(crate) doubts: u64,
}

impl Slot {
    pub(crate) fn new(stream: usize, topic: &str, partition: u32, end: u64) -> Self {
        Self {
            stream,
            topic: topic.to_owned(),
            partition,
            epoch: None,
            next: 0,
            end,
            mark: None,
            counts: Counts::default(),
            verified: None,
            halted: false,
            letters_end: 0,
            busy: false,
            awaits_parents: None,
            parents_seen: None,
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

    fn claim(&self, slot: usize, from: u64, until: u64, records_max: usize) -> Option<Claim> {
        Some(Claim {
            slot,
            stream: self.stream,
            partition: self.partition,
            epoch: self.epoch?,
            from,
            letters_end: self.letters_end,
            records_max: self.records_max.min(records_max),
            doubts: self.verified?,
            until,
        })
    }

    fn has_work(&self, doubts: u64) -> bool {
        if self
            .awaits_parents
            .is_some_and(|until| Instant::now() < until)
        {
            return false;
        }
        let is_ours = self.epoch.is_some() && !self.busy && !self.leaving && !self.halted;
        let is_ours = is_ours && !self.waits_for_others;
        is_ours && self.next < self.end && self.verified == Some(doubts)
    }

    /// Whether the log has to be compared with the mark before more is taken from it.
    pub(crate) fn is_in_doubt(&self, doubts: u64) -> bool {
        self.epoch.is_some() && self.verified != Some(doubts)
    }

    /// The row of its offset as it was when the last batch was committed, while its lease is ours.
    pub(crate) fn row(&self) -> Option<Taken> {
        Some(Taken {
            epoch: self.epoch?,
            next: self.next,
            mark: self.mark,
            counts: self.counts,
        })
    }

    /// Whether its stream is stopped until a person has acted.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted
    }
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

    /// Whether rows of a stream refer to rows of another one.
    pub(crate) fn has_children(&self) -> bool {
        !self.children().is_empty()
    }

    /// The streams whose rows refer to rows of another one.
    pub(crate) fn children(&self) -> Vec<usize> {
        let state = self.lock();
        let streams = 0..state.parents.len();
        streams
            .filter(|at| !state.parents[*at].is_empty())
            .collect()
    }

    /// How far the streams are that others refer to, all together.
    pub(crate) fn parents_applied(&self) -> u64 {
        let state = self.lock();
        let is_parent = |stream: usize| state.parents.iter().any(|of| of.contains(&stream));
        let parents = state.slots.iter().filter(|slot| is_parent(slot.stream));
        parents.map(|slot| slot.next).sum()
    }

    /// Whether rows of a slot's stream refer to rows of another stream that is applied here.
    pub(crate) fn is_child(&self, slot: usize) -> bool {
        let state = self.lock();
        !state.parents[state.slots[slot].stream].is_empty()
    }

    /// Puts a slot off whose records refer to rows that are not there. False if no more will come: all that the
    /// parents have was applied before the last attempt.
    pub(crate) fn await_parents(&self, slot: usize, pause: Duration) -> bool {
        let mut state = self.lock();
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
        self.lock().slots[slot].records_max = (records / 2).max(1);
        records > 1
    }

    /// Notes what the database says of a slot, also whether the lease is still ours.
    pub(crate) fn resync(&self, slot: usize, row: Taken) {
        let mut state = self.lock();
        let slot = &mut state.slots[slot];
        (slot.next, slot.mark, slot.counts) = (row.next, row.mark, row.counts);
        if slot.epoch != Some(row.epoch) {
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
    pub(crate) fn hold(&self, slot: usize, held: Held) {
        let mut state = self.lock();
        let slot = &mut state.slots[slot];
        let row = held.row;
        slot.epoch = Some(row.epoch);
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
        self.lock().doubts = doubts;
    }

    /// Has a slot's mark looked for in the log before more is taken.
    pub(crate) fn suspect(&self, slot: usize) {
        self.lock().slots[slot].verified = None;
    }

    /// Notes that a slot's mark was found in the log, in which nothing has changed since `doubts` was read.
    pub(crate) fn verified(&self, slot: usize, doubts: u64) {
        self.lock().slots[slot].verified = Some(doubts);
        self.changed.notify_all();
    }

    /// Whether a slot waits for its mark to be looked for.
    pub(crate) fn has_doubts(&self) -> bool {
        let state = self.lock();
        let mut slots = state.slots.iter();
        slots.any(|slot| slot.is_in_doubt(state.doubts) && !slot.halted)
    }

    /// Stops a stream's slots; true if no other stream is left.
    pub(crate) fn halt(&self, stream: usize) -> bool {
        let mut state = self.lock();
        for slot in state.slots.iter_mut().filter(|slot| slot.stream == stream) {
            slot.halted = true;
        }
        state.slots.iter().all(|slot| slot.halted)
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

    /// Up to where a slot may be taken now; `None` while its stream waits for its parents.
    fn open_until(&mut self, slot: usize) -> Option<u64> {
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
    fn until_of(&self, slot: usize) -> u64 {
        let found = self.until.iter().find(|(of, _)| *of == slot);
        found.map_or(0, |(_, until)| *until)
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
    /// What its last record was; `None` if it had no record.
    pub(crate) mark: Option<RecordMark>,
    pub(crate) counts: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let board = Board::new(
            (0..3)
                .map(|partition| Slot::new(0, "t", partition, 0))
                .collect(),
            vec![Vec::new()],
        );
        for slot in 0..3 {
            let held = Held {
                row: Taken {
                    epoch: 1,
                    next: 0,
                    mark: None,
                    counts: Counts::default(),
                },
                letters_end: 0,
                doubts: 0,
            };
            board.hold(slot, held);
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
        let row = Taken {
            epoch: 1,
            next: 4,
            mark: None,
            counts: Counts::default(),
        };
        board.resync(first.slot, row);
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
            mark: None,
            counts: Counts::default(),
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
            mark: None,
            counts: Counts::default(),
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

    /// A stream that has parents is taken up to where it was when theirs were there, and not before those are applied.
    #[test]
    fn a_child_waits_for_what_its_parents_have() {
        let slots = vec![Slot::new(0, "child", 0, 0), Slot::new(1, "parent", 0, 20)];
        let board = Board::new(slots, vec![vec![1], Vec::new()]);
        let row = Taken {
            epoch: 1,
            next: 0,
            mark: None,
            counts: Counts::default(),
        };
        for slot in 0..2 {
            let held = Held {
                row,
                letters_end: 0,
                doubts: 0,
            };
            board.hold(slot, held);
        }
        board.set_ends(0, &[(0, 10)]);
        let parent = board.claim(100, NO_WAIT).unwrap();
        assert_eq!((parent.slot, parent.until), (1, u64::MAX));
        assert!(board.claim(100, NO_WAIT).is_none());
        // What comes meanwhile is not waited for.
        board.set_ends(1, &[(0, 30)]);
        board.set_ends(0, &[(0, 15)]);
        let outcome = Outcome {
            next: 20,
            records: 20,
            conflict: false,
            passed: true,
            refused_run: 0,
            took: NO_WAIT,
            mark: None,
            counts: Counts::default(),
        };
        board.committed(1, &outcome);
        let child = board.claim(100, NO_WAIT).unwrap();
        assert_eq!((child.slot, child.until), (0, 10));
        assert!(
            board.claim_ahead(0, 10, 100).is_none(),
            "the gate ends there"
        );
        // Rows without parents: put off, and given up once all parents have been there.
        assert!(board.await_parents(0, NO_WAIT));
        board.committed(
            1,
            &Outcome {
                next: 30,
                ..outcome
            },
        );
        assert!(board.await_parents(0, NO_WAIT));
        assert!(!board.await_parents(0, NO_WAIT));
    }

    #[test]
    fn nothing_is_taken_from_a_log_in_doubt_or_of_a_halted_stream() {
        let board = board();
        board.set_doubts(1);
        assert!(board.has_doubts());
        assert!(board.claim(100, NO_WAIT).is_none());
        board.verified(1, 1);
        assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 1);
        assert!(board.claim_ahead(1, 5, 100).is_some());
        board.set_doubts(2);
        assert!(board.claim_ahead(1, 5, 100).is_none());
        (0..3).for_each(|slot| board.verified(slot, 2));
        assert!(!board.has_doubts());
        assert!(board.halt(0), "there is no other stream");
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
            mark: None,
            counts: Counts::default(),
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
