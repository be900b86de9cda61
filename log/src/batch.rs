//! The record batch, Kafka's format v2: what the log stores, under its base offset.
//!
//! A header of 61 bytes, all big endian, and the records, which may be compressed:
//!
//! | at | bytes | |
//! |---:|---:|---|
//! | 0 | 8 | base offset |
//! | 8 | 4 | length of what follows |
//! | 12 | 4 | partition leader epoch: 0 |
//! | 16 | 1 | magic: 2 |
//! | 17 | 4 | CRC-32C of what follows |
//! | 21 | 2 | attributes; bits 0 to 2: compression (0 none, 3 LZ4 frame) |
//! | 23 | 4 | offset of the last record less the base offset |
//! | 27 | 8 | timestamp of the first record |
//! | 35 | 8 | greatest timestamp |
//! | 43 | 14 | producer id, epoch and sequence: -1 |
//! | 57 | 4 | how many records |
//!
//! Base offset and epoch stand before the CRC, so that a writer encodes and compresses before it knows
//! them.

use crate::{Offset, RecordBuffer, lz4};

pub(crate) const HEADER_BYTES: usize = 61;
/// How many of a batch's bytes its length does not count.
const LENGTH_FROM: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const MAGIC: u8 = 2;
const COMPRESSION_MASK: i16 = 7;
const UNCOMPRESSED: i16 = 0;
const LZ4: i16 = 3;
/// Fewer bytes of records than this are not worth a frame.
const COMPRESS_BYTES_MIN: usize = 256;

/// Encodes a buffer as a batch at offset 0; `None` if it is empty.
pub(crate) fn encode(buffer: &RecordBuffer) -> Option<Vec<u8>> {
    let last_delta = i32::try_from(buffer.len().checked_sub(1)?)
        .expect("a batch of less than 2 GiB has fewer than 2^31 records");
    let records = buffer.records();
    let mut out = Vec::with_capacity(HEADER_BYTES + records.len() + 64);
    out.resize(HEADER_BYTES, 0);
    let compression = put_records(&mut out, records);

    let length = i32::try_from(out.len() - LENGTH_FROM).expect("a batch is smaller than 2 GiB");
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[16] = MAGIC;
    out[21..23].copy_from_slice(&compression.to_be_bytes());
    out[23..27].copy_from_slice(&last_delta.to_be_bytes());
    out[27..35].copy_from_slice(&buffer.first_timestamp_ms().to_be_bytes());
    out[35..43].copy_from_slice(&buffer.max_timestamp_ms().to_be_bytes());
    out[43..57].fill(0xff); // no producer id, epoch, sequence
    out[57..61].copy_from_slice(&buffer.len().to_be_bytes());
    let crc = crc32c::crc32c(&out[CRC_FROM..]);
    out[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    Some(out)
}

/// Adds the records, compressed where that makes them smaller, and says how.
fn put_records(out: &mut Vec<u8>, records: &[u8]) -> i16 {
    if records.len() >= COMPRESS_BYTES_MIN {
        lz4::compress(records, out);
        if out.len() < HEADER_BYTES + records.len() {
            return LZ4;
        }
        out.truncate(HEADER_BYTES);
    }
    out.extend_from_slice(records);
    UNCOMPRESSED
}

/// Moves an encoded batch to its offset.
pub(crate) fn set_base_offset(batch: &mut [u8], offset: Offset) {
    batch[..8].copy_from_slice(&offset.get().to_be_bytes());
}

/// A record batch whose header is well formed and whose CRC holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchView<'a> {
    bytes: &'a [u8],
    last_delta: u32,
    records: u32,
}

impl<'a> BatchView<'a> {
    /// Checks a batch; what is wrong with it, if something is.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.len() < HEADER_BYTES {
            return Err(format!("a record batch of {} bytes", bytes.len()));
        }
        let length = u32::from_be_bytes(field(bytes, 8)) as usize;
        if length != bytes.len() - LENGTH_FROM {
            return Err(format!(
                "a record batch of {} bytes names {length} behind its length",
                bytes.len()
            ));
        }
        if bytes[16] != MAGIC {
            return Err(format!("a record batch of magic {}", bytes[16]));
        }
        let stored = u32::from_be_bytes(field(bytes, CRC_AT));
        let found = crc32c::crc32c(&bytes[CRC_FROM..]);
        if stored != found {
            return Err(format!(
                "a record batch has CRC {found:08x} and not {stored:08x}"
            ));
        }
        let last_delta = u32::from_be_bytes(field(bytes, 23));
        let records = u32::from_be_bytes(field(bytes, 57));
        if records == 0 || u64::from(last_delta) + 1 != u64::from(records) {
            return Err(format!(
                "a record batch of {records} records ends {last_delta} behind its base offset"
            ));
        }
        Ok(Self {
            bytes,
            last_delta,
            records,
        })
    }

    pub(crate) fn base_offset(&self) -> Offset {
        Offset::new(u64::from_be_bytes(field(self.bytes, 0)))
    }

    /// The offset behind the last record.
    pub(crate) fn end_offset(&self) -> Offset {
        self.base_offset().plus(u64::from(self.last_delta) + 1)
    }

    pub(crate) fn base_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(field(self.bytes, 27))
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Adds the uncompressed records to `out`.
    pub(crate) fn decompress_into(&self, out: &mut Vec<u8>) -> Result<(), String> {
        let records = &self.bytes[HEADER_BYTES..];
        match i16::from_be_bytes(field(self.bytes, 21)) & COMPRESSION_MASK {
            UNCOMPRESSED => {
                out.extend_from_slice(records);
                Ok(())
            }
            LZ4 => lz4::decompress(records, out),
            other => Err(format!("a record batch of unknown compression {other}")),
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..]
        .first_chunk()
        .copied()
        .expect("the header has been measured")
}
