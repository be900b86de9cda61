//! What a running sink tells about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a running sink tells about itself. Counts are of this run.
#[derive(Debug, Default)]
pub struct Stats {
    /// Rows inserted.
    pub rows: AtomicU64,
    /// Records accepted that added no row: updates, unchanged, older or ignored ones, superseded within
    /// their batch.
    pub superseded: AtomicU64,
    /// Records that became dead letters.
    pub dead: AtomicU64,
    /// Batches committed.
    pub batches: AtomicU64,
    /// From the timestamp of the last committed batch's last record to its commit, in microseconds.
    pub last_visible_latency_us: AtomicU64,
    state: Mutex<State>,
    positions: Mutex<Vec<Position>>,
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
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How far the group has come in each partition.
    #[must_use]
    pub fn positions(&self) -> Vec<Position> {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many records of all partitions are yet to be applied, by whichever sink.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let positions = self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        positions
            .iter()
            .map(|position| position.end.saturating_sub(position.next))
            .sum()
    }

    pub(crate) fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn set_positions(&self, positions: Vec<Position>) {
        *self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = positions;
    }

    pub(crate) fn add(&self, rows: u64, superseded: u64, dead: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.superseded.fetch_add(superseded, Ordering::Relaxed);
        self.dead.fetch_add(dead, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }
}
