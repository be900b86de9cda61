//! A batch: the records of one partition from an offset on, encoded, and which of them win their key.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bekk_log::RecordMark;
use bekk_stream::OnConflict;
use bytes::BytesMut;

use crate::dead_letter::DeadLetter;
use crate::target::{ColumnSet, Deletion};

/// Signature, flags and header extension length of binary COPY.
const COPY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_TRAILER: [u8; 2] = (-1i16).to_be_bytes();
/// Rows are handed to the connection in pieces of about this many bytes.
const COPY_CHUNK_BYTES: usize = 64 * 1024;

/// The records of one partition from `from` up to `next`.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) from: u64,
    pub(crate) next: u64,
    /// `None` where no record is a row or deletes one.
    pub(crate) columns: Option<Arc<ColumnSet>>,
    /// `None` where no record deletes a row.
    pub(crate) deletion: Option<Arc<Deletion>>,
    /// The rows and the deletions, in log order.
    pub(crate) rows: Vec<Row>,
    /// The rows' bytes as COPY has them, in log order.
    pub(crate) data: Vec<u8>,
    /// The rows' keys, each with its version behind it.
    pub(crate) keys: Vec<u8>,
    /// The rows to send, in the order to send them.
    pub(crate) winners: Vec<u32>,
    /// The deletions to send before them.
    pub(crate) deletions: Vec<u32>,
    /// The records that are no rows, in log order.
    pub(crate) dead: Vec<DeadLetter>,
    /// When its last record was written, milliseconds since 1970-01-01 UTC.
    pub(crate) last_timestamp_ms: i64,
    /// What its last record was; `None` if it has no record.
    pub(crate) mark: Option<RecordMark>,
    /// How many of its offsets no record has.
    pub(crate) passed: u64,
    /// How keys that come more than once are settled; `None` if rows have no key or go in log order.
    pub(crate) dedupe: Option<Dedupe>,
}

/// Which record of a key wins within a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dedupe {
    First,
    Last,
    /// The greatest version; of equal ones the last.
    Greatest,
}

impl Dedupe {
    pub(crate) fn new(on_conflict: OnConflict, has_version: bool) -> Self {
        match on_conflict {
            OnConflict::Ignore => Self::First,
            _ if has_version => Self::Greatest,
            _ => Self::Last,
        }
    }
}

/// What is sent to the table of some records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'b> {
    /// Deletions, which come first.
    pub(crate) deletions: &'b [u32],
    pub(crate) rows: &'b [u32],
}

/// One row of a batch, or the key of a row to delete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) offset: u64,
    /// Whether the row of its key is to be deleted; its data has the key's columns only.
    pub(crate) is_deletion: bool,
    /// The key's first 16 bytes, so that most comparisons need no look at the rest.
    pub(crate) prefix: u128,
    pub(crate) key_start: u32,
    pub(crate) key_len: u32,
    pub(crate) version_len: u32,
    pub(crate) data_start: u32,
    pub(crate) data_len: u32,
}

impl Batch {
    /// Settles which rows are sent, and in which order.
    pub(crate) fn settle(&mut self) {
        self.winners = self.winners_of(0..self.rows.len());
        self.deletions = self.deletions_of(0..self.rows.len());
    }

    pub(crate) fn sent(&self) -> Sent<'_> {
        Sent {
            deletions: &self.deletions,
            rows: &self.winners,
        }
    }

    /// The deletions among `span`.
    pub(crate) fn deletions_of(&self, span: Range<usize>) -> Vec<u32> {
        let mut deletions = Vec::new();
        if self.deletion.is_some() {
            deletions.extend(span.map(row_number));
            deletions.retain(|index| self.rows[*index as usize].is_deletion);
        }
        deletions
    }

    /// The rows among `span` (positions in log order) that win their key, in the order to send them.
    pub(crate) fn winners_of(&self, span: Range<usize>) -> Vec<u32> {
        let mut winners: Vec<u32> = span.map(row_number).collect();
        if let Some(dedupe) = self.dedupe {
            self.keep_winners(&mut winners, dedupe);
        }
        if self.deletion.is_some() {
            winners.retain(|index| !self.rows[*index as usize].is_deletion);
        }
        winners
    }

    fn keep_winners(&self, winners: &mut Vec<u32>, dedupe: Dedupe) {
        // The winner of a key comes last among its records, so that it is the one to keep.
        winners.sort_unstable_by(|left, right| {
            self.compare_keys(*left, *right).then_with(|| match dedupe {
                Dedupe::First => right.cmp(left),
                Dedupe::Last => left.cmp(right),
                Dedupe::Greatest => self
                    .version(*left)
                    .cmp(self.version(*right))
                    .then(left.cmp(right)),
            })
        });
        let mut kept = 0;
        for at in 0..winners.len() {
            let superseded = winners
                .get(at + 1)
                .is_some_and(|next| self.compare_keys(winners[at], *next) == Ordering::Equal);
            if !superseded {
                winners[kept] = winners[at];
                kept += 1;
            }
        }
        winners.truncate(kept);
    }

    fn compare_keys(&self, left: u32, right: u32) -> Ordering {
        let (left, right) = (&self.rows[left as usize], &self.rows[right as usize]);
        left.prefix
            .cmp(&right.prefix)
            .then_with(|| self.key(left).cmp(self.key(right)))
    }

    pub(crate) fn key(&self, row: &Row) -> &[u8] {
        &self.keys[row.key_start as usize..][..row.key_len as usize]
    }

    fn version(&self, row: u32) -> &[u8] {
        self.version_of(&self.rows[row as usize])
    }

    /// The row's bytes as COPY has them.
    pub(crate) fn tuple(&self, row: &Row) -> &[u8] {
        &self.data[row.data_start as usize..][..row.data_len as usize]
    }

    /// The row's version, in a form that sorts as bytes; empty where rows have none.
    pub(crate) fn version_of(&self, row: &Row) -> &[u8] {
        &self.keys[(row.key_start + row.key_len) as usize..][..row.version_len as usize]
    }

    /// The given rows as binary COPY, in pieces.
    pub(crate) fn copy_chunks<'b>(
        &'b self,
        rows: &'b [u32],
    ) -> impl Iterator<Item = BytesMut> + 'b {
        let mut rest = rows.iter();
        let mut first = true;
        let mut done = false;
        std::iter::from_fn(move || {
            if done {
                return None;
            }
            let mut chunk = BytesMut::with_capacity(COPY_CHUNK_BYTES + 1024);
            if first {
                chunk.extend_from_slice(COPY_HEADER);
                first = false;
            }
            for index in rest.by_ref() {
                let row = &self.rows[*index as usize];
                chunk.extend_from_slice(
                    &self.data[row.data_start as usize..][..row.data_len as usize],
                );
                if chunk.len() >= COPY_CHUNK_BYTES {
                    return Some(chunk);
                }
            }
            chunk.extend_from_slice(&COPY_TRAILER);
            done = true;
            Some(chunk)
        })
    }
}

fn row_number(index: usize) -> u32 {
    u32::try_from(index).expect("a batch has fewer than 2^32 rows")
}

/// The first 16 bytes of a key as a number that compares as they do.
pub(crate) fn key_prefix(key: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let len = key.len().min(16);
    bytes[..len].copy_from_slice(&key[..len]);
    u128::from_be_bytes(bytes)
}

/// The keys met in a batch that goes in log order: it ends where one comes again.
#[derive(Debug, Default)]
pub(crate) struct KeysSeen(HashSet<Box<[u8]>>);

impl KeysSeen {
    /// Notes a key; false if it has been met.
    pub(crate) fn insert(&mut self, key: &[u8]) -> bool {
        self.0.insert(key.into())
    }
}
