//! The keys and values of keyspace `meta`.
//!
//! | key | value |
//! |---|---|
//! | `a` | when the segment was begun, ms i64 |
//! | `b` partition u32 | the partition's end when the segment was begun u64 |
//! | `i` | the segment's header: log id, topic, number, partitions |
//! | `c` | empty: `c` below has every batch |
//! | `c` partition u32, base offset u64 | CRC of the batch u32, its records u32 |
//! | `e` partition u32 | the partition's end u64, CRC of its last batch u32 |
//! | `p` partition u32, producer id i64 | what the producer has sent: epoch i16, when it last sent, ms i64, then up to five batches: first sequence i32, last sequence i32, base offset u64 |
//! | `t` partition u32, timestamp i64 with its sign flipped | base offset u64, CRC of the batch u32 |
//!
//! `t` is the time index: it has an entry for each batch that raises the partition's greatest timestamp, the first one
//! always, so that its order is also that of the offsets. Each batch that is read is compared with its `c`, since its
//! table may be another partition's, or an older one. Segments begun by earlier versions do not have the empty `c`, and
//! those of the first version no CRCs at all.

use std::ops::RangeInclusive;

use crate::Offset;
use crate::producers::ProducerKey;
use crate::wire::Fields;

/// Key of the time when the segment was begun
pub(super) const BEGUN: &[u8] = b"a";
/// Key of the segment's header, once more
pub(super) const IDENTITY: &[u8] = b"i";
/// Key that says that every batch has a note
pub(super) const NOTED: &[u8] = b"c";

/// An offset and the CRC of a batch, as `meta` holds them.
pub(super) fn marked(offset: Offset, crc: u32) -> [u8; 12] {
    let mut value = [0; 12];
    value[..8].copy_from_slice(&offset.get().to_be_bytes());
    value[8..].copy_from_slice(&crc.to_be_bytes());
    value
}

/// The offset of a value of `meta`, and the CRC, which earlier versions did not write.
pub(super) fn mark(value: &[u8]) -> Option<(Offset, Option<u32>)> {
    let mut fields = Fields::of(value);
    let offset = Offset::new(fields.u64()?);
    Some((offset, fields.u32()))
}

pub(super) fn meta_key(kind: u8, partition: u32) -> [u8; 5] {
    let mut key = [kind; 5];
    key[1..].copy_from_slice(&partition.to_be_bytes());
    key
}

pub(super) fn note_key(partition: u32, base: Offset) -> [u8; 13] {
    let mut key = [0; 13];
    key[..5].copy_from_slice(&meta_key(b'c', partition));
    key[5..].copy_from_slice(&base.get().to_be_bytes());
    key
}

pub(super) fn producer_key((partition, producer_id): &ProducerKey) -> [u8; 13] {
    let mut key = [0; 13];
    key[..5].copy_from_slice(&meta_key(b'p', *partition));
    key[5..].copy_from_slice(&producer_id.to_be_bytes());
    key
}

/// The time index of a partition
pub(super) fn time_range(partition: u32) -> RangeInclusive<[u8; 13]> {
    time_key(partition, i64::MIN)..=time_key(partition, i64::MAX)
}

pub(super) fn time_key(partition: u32, timestamp_ms: i64) -> [u8; 13] {
    let mut key = [0; 13];
    key[..5].copy_from_slice(&meta_key(b't', partition));
    // With its sign flipped a timestamp sorts as its bytes do.
    key[5..].copy_from_slice(&(timestamp_ms ^ i64::MIN).to_be_bytes());
    key
}
