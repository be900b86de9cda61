//! Idempotent producers: which of their batches a partition has, so that one sent twice is stored once.
//!
//! Kafka's rules: a producer's batches are numbered by the sequence of their first record; of each producer
//! and partition the epoch and the last five batches are kept. They are written in the same fjall batch as the
//! records, and once more when a segment is begun, so that the newest segment knows all of them.

use std::collections::{HashMap, VecDeque};

use crate::Offset;
use crate::wire::Fields;

/// So many batches of a producer are known; as many as a client may have under way.
const BATCHES_KEPT: usize = 5;
/// So many pairs of producer and partition are known in a topic; beyond it the idlest is forgotten.
const PRODUCERS_MAX: usize = 20_000;
/// A producer that has been idle for so long is not taken along to a new segment.
const IDLE_MS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;

/// How an idempotent producer has numbered a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequenced {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// The sequence of the first record, from 0.
    pub(crate) first: i32,
    /// The sequence of the last record; 0 comes after `i32::MAX`.
    pub(crate) last: i32,
}

/// Why a batch of an idempotent producer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing is known of the producer, and this is not its first batch.
    UnknownProducer,
    /// The producer continues under a later epoch.
    OldEpoch,
    /// Batches are missing before this one.
    OutOfOrder,
    /// The batch is stored, so long ago that its offset is not known.
    Duplicate,
}

/// What is to be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SequenceCheck {
    Append,
    /// It is stored already, here.
    Stored(Offset),
    Refuse(Refusal),
}

/// What a partition knows of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    epoch: i16,
    /// When its last batch came.
    at_ms: i64,
    /// Its last batches, the newest last; never empty.
    batches: VecDeque<Stored>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    first: i32,
    last: i32,
    base_offset: Offset,
}

/// A partition and a producer's id.
pub(crate) type ProducerKey = (u32, i64);

#[derive(Debug, Default)]
pub(crate) struct Producers(HashMap<ProducerKey, Producer>);

impl Sequenced {
    /// Numbers a batch of `records` records, at least one, from `first` on.
    pub(crate) fn new(producer_id: i64, epoch: i16, first: i32, records: u32) -> Self {
        let last = (i64::from(first) + i64::from(records) - 1) % (i64::from(i32::MAX) + 1);
        Self {
            producer_id,
            epoch,
            first,
            last: i32::try_from(last).expect("a remainder of 2^31"),
        }
    }
}

impl Producer {
    /// What is to be done with a batch, of a producer that may not be known yet.
    pub(crate) fn judge(known: Option<&Self>, batch: &Sequenced) -> SequenceCheck {
        let Some(known) = known else {
            return match batch.first {
                0 => SequenceCheck::Append,
                _ => SequenceCheck::Refuse(Refusal::UnknownProducer),
            };
        };
        if batch.epoch < known.epoch {
            return SequenceCheck::Refuse(Refusal::OldEpoch);
        }
        if batch.epoch > known.epoch {
            return match batch.first {
                0 => SequenceCheck::Append,
                _ => SequenceCheck::Refuse(Refusal::OutOfOrder),
            };
        }
        let is_same = |stored: &&Stored| (stored.first, stored.last) == (batch.first, batch.last);
        if let Some(stored) = known.batches.iter().find(is_same) {
            return SequenceCheck::Stored(stored.base_offset);
        }
        let (Some(oldest), Some(newest)) = (known.batches.front(), known.batches.back()) else {
            return SequenceCheck::Append;
        };
        if batch.first == following(newest.last) {
            SequenceCheck::Append
        } else if batch.first <= batch.last && batch.last < oldest.first {
            SequenceCheck::Refuse(Refusal::Duplicate)
        } else {
            SequenceCheck::Refuse(Refusal::OutOfOrder)
        }
    }

    /// What is known once a batch is stored at `base_offset`.
    pub(crate) fn with(
        known: Option<&Self>,
        batch: &Sequenced,
        base_offset: Offset,
        now_ms: i64,
    ) -> Self {
        let same_epoch = known.filter(|known| known.epoch == batch.epoch);
        let mut batches = same_epoch.map_or_else(VecDeque::new, |known| known.batches.clone());
        if batches.len() == BATCHES_KEPT {
            batches.pop_front();
        }
        batches.push_back(Stored {
            first: batch.first,
            last: batch.last,
            base_offset,
        });
        Self {
            epoch: batch.epoch,
            at_ms: now_ms,
            batches,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.epoch.to_be_bytes().to_vec();
        out.extend_from_slice(&self.at_ms.to_be_bytes());
        for stored in &self.batches {
            out.extend_from_slice(&stored.first.to_be_bytes());
            out.extend_from_slice(&stored.last.to_be_bytes());
            out.extend_from_slice(&stored.base_offset.get().to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(bytes);
        let epoch = i16::from_be_bytes(fields.bytes()?);
        let at_ms = fields.i64()?;
        let mut batches = VecDeque::new();
        while !fields.rest().is_empty() && batches.len() < BATCHES_KEPT {
            batches.push_back(Stored {
                first: i32::from_be_bytes(fields.bytes()?),
                last: i32::from_be_bytes(fields.bytes()?),
                base_offset: Offset::new(fields.u64()?),
            });
        }
        Some(Self {
            epoch,
            at_ms,
            batches,
        })
    }
}

/// The sequence behind another.
const fn following(sequence: i32) -> i32 {
    if sequence == i32::MAX {
        0
    } else {
        sequence + 1
    }
}

impl Producers {
    pub(crate) fn new(producers: impl IntoIterator<Item = (ProducerKey, Producer)>) -> Self {
        let mut all = Self::default();
        for (key, producer) in producers {
            all.put(key, producer);
        }
        all
    }

    pub(crate) fn get(&self, key: &ProducerKey) -> Option<&Producer> {
        self.0.get(key)
    }

    pub(crate) fn put(&mut self, key: ProducerKey, producer: Producer) {
        self.0.insert(key, producer);
        if self.0.len() > PRODUCERS_MAX {
            let idlest = self.0.iter().min_by_key(|(_, producer)| producer.at_ms);
            if let Some(idlest) = idlest.map(|(key, _)| *key) {
                self.0.remove(&idlest);
            }
        }
    }

    /// Forgets those that have been idle for long.
    pub(crate) fn forget_idle(&mut self, now_ms: i64) {
        self.0
            .retain(|_, producer| now_ms.saturating_sub(producer.at_ms) < IDLE_MS_MAX);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ProducerKey, &Producer)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends batches `(epoch, first, records)` of one producer and compares the check of each.
    fn check(batches: &[(i16, i32, u32)], expected: &[SequenceCheck]) {
        let mut known: Option<Producer> = None;
        let mut end = Offset::ZERO;
        let mut verdicts = Vec::new();
        for (epoch, first, records) in batches {
            let batch = Sequenced::new(7, *epoch, *first, *records);
            let verdict = Producer::judge(known.as_ref(), &batch);
            if verdict == SequenceCheck::Append {
                let with = Producer::with(known.as_ref(), &batch, end, 5);
                assert_eq!(Producer::decode(&with.encode()), Some(with.clone()));
                known = Some(with);
                end = end.plus(u64::from(*records));
            }
            verdicts.push(verdict);
        }
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn batches_follow_each_other() {
        use SequenceCheck::{Append, Refuse, Stored};
        let stored = |offset| Stored(Offset::new(offset));
        let out_of_order = Refuse(Refusal::OutOfOrder);
        check(&[(0, 0, 3), (0, 3, 1)], &[Append, Append]);
        check(&[(0, 4, 3)], &[Refuse(Refusal::UnknownProducer)]);
        check(&[(0, 0, 3), (0, 4, 1)], &[Append, out_of_order]);
        check(
            &[(0, 0, 3), (0, 3, 2), (0, 0, 3), (0, 3, 2), (0, 5, 1)],
            &[Append, Append, stored(0), stored(3), Append],
        );
        // Other records than those that are stored.
        check(&[(0, 0, 3), (0, 0, 2)], &[Append, out_of_order]);
    }

    #[test]
    fn epochs_only_grow() {
        use SequenceCheck::{Append, Refuse};
        let (out_of_order, old) = (Refuse(Refusal::OutOfOrder), Refuse(Refusal::OldEpoch));
        check(
            &[(0, 0, 3), (1, 3, 1), (1, 0, 1), (0, 3, 1), (1, 1, 1)],
            &[Append, out_of_order, Append, old, Append],
        );
    }

    #[test]
    fn five_batches_are_known() {
        use SequenceCheck::{Append, Refuse, Stored};
        let sent: Vec<_> = (0..6).chain([0, 1]).map(|first| (0, first, 1)).collect();
        let mut expected = vec![Append; 6];
        expected.extend([Refuse(Refusal::Duplicate), Stored(Offset::new(1))]);
        check(&sent, &expected);
    }

    #[test]
    fn sequences_wrap() {
        let before = Sequenced::new(7, 0, i32::MAX - 1, 2);
        assert_eq!(before.last, i32::MAX);
        let across = Sequenced::new(7, 0, i32::MAX, 3);
        assert_eq!(across.last, 1);
        let known = Producer::with(None, &before, Offset::ZERO, 0);
        let next = Sequenced::new(7, 0, 0, 2);
        assert_eq!(Producer::judge(Some(&known), &next), SequenceCheck::Append);
    }

    #[test]
    fn the_idlest_is_forgotten() {
        let batch = Sequenced::new(7, 0, 0, 1);
        let at = |ms| Producer::with(None, &batch, Offset::ZERO, ms);
        let mut producers = Producers::default();
        for (id, ms) in (0..).zip(0..=i64::try_from(PRODUCERS_MAX).unwrap()) {
            producers.put((0, id), at(ms));
        }
        assert!(producers.get(&(0, 0)).is_none());
        assert!(producers.get(&(0, 1)).is_some());
        producers.forget_idle(IDLE_MS_MAX + 1);
        assert!(producers.get(&(0, 1)).is_none());
        assert!(producers.get(&(0, 2)).is_some());
    }
}
