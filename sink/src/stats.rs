//! What a running sink tells about itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bekk_log::Histogram;
use parking_lot::Mutex;

use crate::job::Applied;
use crate::wait::{Announced, Wait};

/// What a running sink tells about itself. Of several runs one after the other it may be the same: they count on.
#[derive(Debug, Default)]
pub struct Stats {
    /// Rows inserted.
    pub rows: AtomicU64,
    /// Records accepted that added no row: updates, unchanged, older or ignored ones, superseded within
    /// their batch.
    pub superseded: AtomicU64,
    /// Rows deleted by records without a value; these records count as superseded.
    pub deleted: AtomicU64,
    /// Records that became dead letters.
    pub dead: AtomicU64,
    /// Batches committed.
    pub batches: AtomicU64,
    /// From the timestamp of the last committed batch's last record to its commit, in microseconds.
    pub last_visible_latency_us: AtomicU64,
    /// Batches that were not committed and are tried again, and attempts to connect that failed.
    pub retries: AtomicU64,
    /// How long batches took from their transaction's begin to its commit.
    pub apply_time: Histogram,
    /// From the timestamp of each committed batch's last record to its commit.
    pub visible_time: Histogram,
    dead_by_reason: Mutex<BTreeMap<String, u64>>,
    /// When a batch was last committed, or none waited.
    progressed_at: Mutex<Option<Instant>>,
    state: Mutex<State>,
    waits: Mutex<BTreeMap<Waiter, Wait>>,
    /// The slots whose batches are in flight, and since when.
    flights: Mutex<BTreeMap<usize, Instant>>,
    positions: Mutex<Vec<Position>>,
    halted: Mutex<Vec<(String, String)>>,
    /// When the last of them was stopped.
    halted_at: Mutex<Option<SystemTime>>,
    unaccounted: Mutex<Vec<(String, i64)>>,
    paused: AtomicBool,
}

/// What a sink is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// It connects for the first time.
    #[default]
    Connecting,
    /// It applies records, or waits for some.
    Running,
    /// It waits for PostgreSQL, for this reason.
    Waiting(String),
    /// It has returned.
    Stopped,
}

/// A part of a sink that waits for PostgreSQL by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Waiter {
    Setup,
    Keeper,
    /// A worker that has no connection.
    Worker(usize),
    /// A partition whose batch is not taken.
    Slot(usize),
}

/// How far a group has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The next record to be applied.
    pub next: u64,
    /// The log's end as it was last seen.
    pub end: u64,
    /// Whether this sink holds the partition's lease.
    pub held: bool,
}

impl Stats {
    /// What the sink is doing.
    #[must_use]
    pub fn state(&self) -> State {
        let state = self.state.lock().clone();
        match self.waiting() {
            Some(wait) if state != State::Stopped => State::Waiting(wait.reason),
            _ => state,
        }
    }

    /// Its wait for PostgreSQL, the longest one if there are several.
    #[must_use]
    pub fn waiting(&self) -> Option<Wait> {
        let waits = self.waits.lock();
        waits.values().min_by_key(|wait| wait.since).cloned()
    }

    /// How far the group has come in each partition.
    #[must_use]
    pub fn positions(&self) -> Vec<Position> {
        self.positions.lock().clone()
    }

    /// How many records have been applied: rows, superseded ones and dead letters.
    #[must_use]
    pub fn applied(&self) -> u64 {
        let counters = [&self.rows, &self.superseded, &self.dead];
        let counts = counters.map(|counter| counter.load(Ordering::Relaxed));
        counts.iter().sum()
    }

    /// The streams that are stopped until a person has acted, while others continue, and why.
    #[must_use]
    pub fn halted(&self) -> Vec<(String, String)> {
        self.halted.lock().clone()
    }

    /// For each stream, how many offsets of its group were passed that are neither rows, superseded records nor dead
    /// letters, nor known to have no record. Anything but 0 is a fault.
    #[must_use]
    pub fn unaccounted(&self) -> Vec<(String, i64)> {
        self.unaccounted.lock().clone()
    }

    pub(crate) fn set_unaccounted(&self, counts: Vec<(String, i64)>) {
        *self.unaccounted.lock() = counts;
    }

    pub(crate) fn set_halted(&self, halted: &[(String, String)]) {
        let mut known = self.halted.lock();
        if *known != halted {
            *known = halted.to_vec();
            *self.halted_at.lock() = Some(SystemTime::now());
        }
    }

    /// How many records of all partitions are yet to be applied, by whichever sink.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let positions = self.positions.lock();
        positions
            .iter()
            .map(|position| position.end.saturating_sub(position.next))
            .sum()
    }

    /// How many records became dead letters for each reason.
    #[must_use]
    pub fn dead_by_reason(&self) -> BTreeMap<String, u64> {
        self.dead_by_reason.lock().clone()
    }

    /// Pauses the sink, or has it continue: while it is paused it finishes the batches in flight and begins none, but
    /// keeps its partitions. A drain is not held up.
    pub fn set_paused(&self, is_paused: bool) {
        self.paused.store(is_paused, Ordering::Release);
    }

    /// Whether a person has paused the sink.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// For how long records have waited in partitions that this sink holds, without one being applied, or the age of the
    /// oldest batch that is in flight, if that is longer.
    #[must_use]
    pub fn stalled_for(&self) -> Duration {
        let progressed_at = *self.progressed_at.lock();
        let flight = self.flights.lock().values().min().copied();
        let since = progressed_at.into_iter().chain(flight).min();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn begin(&self) {
        *self.progressed_at.lock() = None;
        self.set_halted(&[]);
        self.set_state(State::Connecting);
    }

    /// Notes that it has returned.
    pub(crate) fn end(&self) {
        self.waits.lock().clear();
        self.flights.lock().clear();
        self.set_state(State::Stopped);
    }

    pub(crate) fn set_state(&self, state: State) {
        *self.state.lock() = state;
    }

    /// Notes that PostgreSQL is waited for, and will be asked again.
    pub(crate) fn waits(&self, waiter: Waiter, reason: String) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        let mut waits = self.waits.lock();
        let since = waits
            .get(&waiter)
            .map_or_else(SystemTime::now, |wait| wait.since);
        waits.insert(waiter, Wait { reason, since });
    }

    /// What a session may show: the longest wait, else why streams are stopped; nothing while a worker waits for a
    /// connection.
    pub(crate) fn announced(&self) -> Option<Announced> {
        let waits = self.waits.lock();
        let mut waiters = waits.keys();
        let lacks_connection = waiters.any(|waiter| matches!(waiter, Waiter::Worker(_)));
        drop(waits);
        if lacks_connection {
            return None;
        }
        let wait = self.waiting().map(Announced::Waits);
        wait.or_else(|| self.stopped().map(Announced::Stopped))
    }

    /// Why streams are stopped while others continue, and since when.
    #[must_use]
    pub fn stopped(&self) -> Option<Wait> {
        let halted = self.halted();
        let reasons = halted
            .iter()
            .map(|(stream, why)| format!("stream `{stream}` is stopped: {why}"));
        let since = (*self.halted_at.lock())?;
        (!halted.is_empty()).then(|| Wait {
            reason: reasons.collect::<Vec<_>>().join("; "),
            since,
        })
    }

    /// Notes that a wait is over.
    pub(crate) fn waits_no_more(&self, waiter: Waiter) {
        self.waits.lock().remove(&waiter);
    }

    /// Notes that a slot's batch is sent.
    pub(crate) fn flies(&self, slot: usize) {
        self.flights.lock().insert(slot, Instant::now());
    }

    /// Notes that the server has answered to a slot's batch, or that the connection was lost.
    pub(crate) fn has_landed(&self, slot: usize) {
        self.flights.lock().remove(&slot);
    }

    pub(crate) fn set_positions(&self, positions: Vec<Position>) {
        let waits = |position: &Position| position.held && position.next < position.end;
        let mut progressed_at = self.progressed_at.lock();
        if progressed_at.is_none() || !positions.iter().any(waits) {
            *progressed_at = Some(Instant::now());
        }
        drop(progressed_at);
        // A slot that is not ours any more, or has nothing left, waits for nothing.
        self.waits.lock().retain(|waiter, _| match waiter {
            Waiter::Slot(slot) => positions.get(*slot).is_some_and(waits),
            _ => true,
        });
        *self.positions.lock() = positions;
    }

    /// Counts a batch that was committed.
    pub(crate) fn add(&self, applied: &Applied, took: Duration) {
        let dead = applied.dead.len() as u64;
        self.rows.fetch_add(applied.rows, Ordering::Relaxed);
        self.superseded
            .fetch_add(applied.superseded, Ordering::Relaxed);
        self.deleted.fetch_add(applied.deleted, Ordering::Relaxed);
        self.dead.fetch_add(dead, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.apply_time.observe(took);
        for reason in &applied.dead {
            *self
                .dead_by_reason
                .lock()
                .entry(reason.clone())
                .or_default() += 1;
        }
        *self.progressed_at.lock() = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_stalls_while_records_of_its_own_partitions_wait() {
        let stats = Stats::default();
        let set = |held, next| {
            stats.set_positions(vec![Position {
                topic: "t".to_owned(),
                partition: 0,
                next,
                end: 5,
                held,
            }]);
            std::thread::sleep(Duration::from_millis(2));
            let stalled = stats.stalled_for();
            stats.set_positions(stats.positions());
            stalled > Duration::ZERO && stats.stalled_for() > Duration::from_millis(1)
        };
        assert!(set(true, 3));
        assert!(!set(true, 5), "nothing waits");
        assert!(!set(false, 3), "another sink has it");
        stats.add(&Applied::default(), Duration::ZERO);
        assert!(stats.stalled_for() < Duration::from_millis(1), "a batch");
        stats.flies(1);
        std::thread::sleep(Duration::from_millis(2));
        stats.add(&Applied::default(), Duration::ZERO);
        assert!(
            stats.stalled_for() > Duration::from_millis(1),
            "another batch is in flight"
        );
        stats.has_landed(1);
        assert!(stats.stalled_for() < Duration::from_millis(1));
    }

    #[test]
    fn what_one_partition_waits_for_is_not_hidden_by_another() {
        let stats = Stats::default();
        stats.set_state(State::Running);
        let position = |partition, next| Position {
            topic: "t".to_owned(),
            partition,
            next,
            end: 5,
            held: true,
        };
        stats.waits(Waiter::Slot(0), "full".to_owned());
        let since = stats.waiting().unwrap().since;
        stats.add(&Applied::default(), Duration::ZERO);
        stats.waits_no_more(Waiter::Slot(1));
        stats.set_positions(vec![position(0, 3), position(1, 5)]);
        stats.waits(Waiter::Slot(0), "still full".to_owned());
        assert_eq!(stats.state(), State::Waiting("still full".to_owned()));
        assert_eq!(stats.waiting().unwrap().since, since);
        stats.set_positions(vec![position(0, 5), position(1, 5)]);
        assert_eq!(stats.state(), State::Running, "there is nothing left");
    }
}
