//! One partition of one stream: its lease, where it is, and what a worker takes of it.

use std::time::{Duration, Instant};

use bekk_log::RecordMark;

use super::early;
use crate::offsets::{Counts, Taken, TransactionId};

/// How many records a partition's first batch may have; it doubles while batches fill quickly.
const RECORDS_FIRST: usize = 4_096;

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
    pub(super) counts: Counts,
    /// This sink's last write, kept after it has lost the lease.
    pub(super) last: Option<LastWritten>,
    /// How often the log may have been replaced when the mark was last found in it; `None` if it has to be looked for.
    pub(super) verified: Option<u64>,
    /// Whether its stream is stopped until a person has acted.
    pub(super) halted: bool,
    /// Below this offset lie all open dead letters that the group has met before.
    pub(super) letters_end: u64,
    /// Whether a worker is at it.
    pub(super) busy: bool,
    /// Until when nothing is taken, since the rows that its records refer to are not there.
    pub(super) awaits_parents: Option<Instant>,
    /// How far the parents were when a batch was refused for that though all that they had was applied.
    pub(super) parents_seen: Option<u64>,
    /// Whether the lease is to be given up when no worker is at it.
    pub(super) leaving: bool,
    pub(super) records_max: usize,
    pub(super) conflict_share: f64,
    /// How many records of the last batch the table refused while it accepted none, until the cause is known.
    pub(super) refused_alone: u64,
    /// Whether the last batch was refused and waits for what the stream's other slots find.
    pub(super) waits_for_others: bool,
    /// Whether a batch of which all is refused is to become dead letters.
    pub(super) may_be_refused: bool,
    /// Whether the batch has been made larger because of a doubt.
    pub(super) is_grown: bool,
    /// What this slot's first record waits for.
    pub(super) wait: Option<early::Wait>,
    /// Below this offset, records that are refused because of another row become dead letters.
    pub(super) final_until: u64,
}

/// A sink's last write to a partition's row, and its transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastWritten {
    pub(crate) epoch: i64,
    pub(crate) next: u64,
    pub(crate) transaction: TransactionId,
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
    /// The transaction that took the lease.
    pub(crate) transaction: TransactionId,
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
            last: None,
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

    pub(super) fn claim(
        &self,
        slot: usize,
        from: u64,
        until: u64,
        records_max: usize,
    ) -> Option<Claim> {
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

    pub(super) fn has_work(&self, doubts: u64) -> bool {
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

    /// This sink's last write to the partition's row.
    pub(crate) fn last_written(&self) -> Option<&LastWritten> {
        self.last.as_ref()
    }

    /// Whether its stream is stopped until a person has acted.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted
    }
}

/// What a committed batch was like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// The epoch of the lease under which it was taken.
    pub(crate) epoch: i64,
    pub(crate) transaction: TransactionId,
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
