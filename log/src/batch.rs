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

use crate::codec::{self, LZ4};
use crate::{Offset, RecordBuffer, lz4};

pub(crate) const HEADER_BYTES: usize = 61;
/// How many of a batch's bytes its length does not count.
pub(crate) const LENGTH_FROM: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
pub(crate) const MAGIC: u8 = 2;
/// A log has one leader, which never changes.
pub(crate) const LEADER_EPOCH: i32 = 0;
pub(crate) const COMPRESSION_MASK: i16 = 7;
pub(crate) const UNCOMPRESSED: i16 = 0;
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

/// Adds the records, compressed where that saves an eighth of them, and says how. For less a reader would
/// decompress them in vain.
fn put_records(out: &mut Vec<u8>, records: &[u8]) -> i16 {
    if records.len() >= COMPRESS_BYTES_MIN {
        lz4::compress(records, out);
        if out.len() - HEADER_BYTES <= records.len() / 8 * 7 {
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

/// The CRC in the header of a whole batch.
pub(crate) fn stored_crc(batch: &[u8]) -> u32 {
    u32::from_be_bytes(field(batch, CRC_AT))
}

/// Sets the leader epoch, which whoever sends a batch need not know.
pub(crate) fn set_leader_epoch(batch: &mut [u8]) {
    batch[12..16].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
}

/// Why bytes are not a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBatch {
    #[error("{0} bytes are too few for the header of a record batch")]
    Short(usize),
    #[error("a record batch has magic {0}; only magic 2 is supported")]
    Magic(u8),
    #[error("a record batch has {bytes} bytes, but its header gives its length as {named}")]
    Length { bytes: usize, named: usize },
    #[error(
        "a record batch counts {records} records, but its last one is {last_delta} after its base offset"
    )]
    Count { records: u32, last_delta: u32 },
    #[error("the CRC of a record batch is {found:08x}, but its header says {stored:08x}")]
    Crc { found: u32, stored: u32 },
}

/// A record batch whose header is well formed and whose CRC holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchView<'a> {
    bytes: &'a [u8],
    attributes: i16,
    last_delta: u32,
    max_timestamp_ms: i64,
    records: u32,
}

impl<'a> BatchView<'a> {
    /// Reads a batch's header once, and checks the batch.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, NoBatch> {
        if bytes.len() < HEADER_BYTES {
            return Err(NoBatch::Short(bytes.len()));
        }
        if bytes[16] != MAGIC {
            return Err(NoBatch::Magic(bytes[16]));
        }
        let named = (u32::from_be_bytes(field(bytes, 8)) as usize).saturating_add(LENGTH_FROM);
        if named != bytes.len() {
            let bytes = bytes.len();
            return Err(NoBatch::Length { bytes, named });
        }
        let last_delta = u32::from_be_bytes(field(bytes, 23));
        let records = u32::from_be_bytes(field(bytes, 57));
        if i32::try_from(records).is_err() || last_delta.checked_add(1) != Some(records) {
            return Err(NoBatch::Count {
                records,
                last_delta,
            });
        }
        let stored = stored_crc(bytes);
        let found = crc32c::crc32c(&bytes[CRC_FROM..]);
        if stored != found {
            return Err(NoBatch::Crc { found, stored });
        }
        Ok(Self {
            bytes,
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_delta,
            max_timestamp_ms: i64::from_be_bytes(field(bytes, 35)),
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

    pub(crate) const fn max_timestamp_ms(&self) -> i64 {
        self.max_timestamp_ms
    }

    /// The CRC of everything but offset and leader epoch.
    pub(crate) fn crc(&self) -> u32 {
        stored_crc(self.bytes)
    }

    /// What the batch is stored as.
    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) const fn attributes(&self) -> i16 {
        self.attributes
    }

    /// Producer id, epoch and base sequence; -1 if absent.
    pub(crate) fn producer(&self) -> (i64, i16, i32) {
        (
            i64::from_be_bytes(field(self.bytes, 43)),
            i16::from_be_bytes(field(self.bytes, 51)),
            i32::from_be_bytes(field(self.bytes, 53)),
        )
    }

    pub(crate) const fn records(&self) -> u32 {
        self.records
    }

    /// Adds the uncompressed records to `out`.
    pub(crate) fn decompress_into(&self, out: &mut Vec<u8>) -> Result<(), String> {
        let records = &self.bytes[HEADER_BYTES..];
        match self.attributes() & COMPRESSION_MASK {
            UNCOMPRESSED => {
                out.extend_from_slice(records);
                Ok(())
            }
            LZ4 => lz4::decompress(records, out),
            other => codec::decompress(other, records, out),
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..]
        .first_chunk()
        .copied()
        .expect("the header has been measured")
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::{
        Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
        Record as KafkaRecord, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
        TimestampType,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::Records;
    use crate::content::check_records;
    use crate::destination::Destination;

    type Plain = (i64, Option<Vec<u8>>, Vec<u8>);

    fn plain() -> impl Strategy<Value = Plain> {
        let bytes = |max| {
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..max),
                prop::collection::vec(Just(b'x'), 0..max * 20),
            ]
        };
        (0..1i64 << 50, prop::option::of(bytes(40)), bytes(300))
    }

    fn encoded(records: &[Plain], base: Offset) -> Vec<u8> {
        let mut buffer = RecordBuffer::new();
        for (timestamp, key, value) in records {
            buffer.push(*timestamp, key.as_deref(), value);
        }
        let mut batch = encode(&buffer).unwrap();
        set_base_offset(&mut batch, base);
        batch
    }

    /// A batch's records, read as a reader does.
    fn decoded(batch: &[u8], from: Offset) -> Vec<(u64, Plain)> {
        let view = BatchView::parse(batch).unwrap();
        let mut bytes = Vec::new();
        view.decompress_into(&mut bytes).unwrap();
        check_records(&bytes, view.records()).unwrap();
        let mut records = Records::new(from);
        records.push_batch(&view).unwrap();
        assert_eq!(records.next_offset(), view.end_offset());
        let all: Vec<_> = records
            .iter()
            .map(|record| {
                let key = record.key.map(<[u8]>::to_vec);
                let plain = (record.timestamp_ms, key, record.value.to_vec());
                (record.offset.get(), plain)
            })
            .collect();
        assert_eq!(all.len(), records.len());
        all
    }

    fn kafka_record(base: i64, sequence: i32, record: &Plain) -> KafkaRecord {
        let (timestamp, key, value) = record;
        KafkaRecord {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: base + i64::from(sequence),
            // Their encoder begins a new batch where the sequence does not go on.
            sequence,
            timestamp: *timestamp,
            key: key.clone().map(Into::into),
            value: Some(value.clone().into()),
            headers: Default::default(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn kafka_reads_what_we_write(
            records in prop::collection::vec(plain(), 1..50),
            base in 0..1u64 << 40,
        ) {
            let batch = encoded(&records, Offset::new(base));
            let set = RecordBatchDecoder::decode(&mut &batch[..]).unwrap();
            prop_assert_eq!(set.records.len(), records.len());
            for (i, (theirs, ours)) in (base..).zip(set.records.iter().zip(&records)) {
                prop_assert_eq!(theirs.offset.cast_unsigned(), i);
                prop_assert_eq!(theirs.timestamp, ours.0);
                prop_assert_eq!(theirs.key.as_deref(), ours.1.as_deref());
                prop_assert_eq!(theirs.value.as_deref(), Some(&ours.2[..]));
                prop_assert_eq!(theirs.producer_id, -1);
            }
            let from = base + records.len() as u64 / 2;
            let expected: Vec<_> = (base..).zip(records).filter(|(i, _)| *i >= from).collect();
            prop_assert_eq!(decoded(&batch, Offset::new(from)), expected);
        }

        #[test]
        fn we_read_what_kafka_writes(
            records in prop::collection::vec(plain(), 1..50),
            base in 0..1i64 << 40,
            lz4: bool,
        ) {
            let theirs: Vec<_> = (0..)
                .zip(&records)
                .map(|(sequence, record)| kafka_record(base, sequence, record))
                .collect();
            let compression = if lz4 { Compression::Lz4 } else { Compression::None };
            let mut batch = Vec::new();
            let options = RecordEncodeOptions { version: 2, compression };
            RecordBatchEncoder::encode(&mut batch, &theirs, &options).unwrap();
            let base = base.cast_unsigned();
            let expected: Vec<_> = (base..).zip(records).collect();
            prop_assert_eq!(decoded(&batch, Offset::new(base)), expected);
        }

        #[test]
        fn a_flipped_bit_is_seen(
            records in prop::collection::vec(plain(), 1..10),
            at: prop::sample::Index,
            bit in 0..8u32,
        ) {
            let mut batch = encoded(&records, Offset::ZERO);
            // Base offset and leader epoch are the log's, and not covered.
            let at = 16 + at.index(batch.len() - 16);
            batch[at] ^= 1u8 << bit;
            prop_assert!(BatchView::parse(&batch).is_err());
            batch[at] ^= 1u8 << bit;
            batch.pop();
            prop_assert!(BatchView::parse(&batch).is_err());
        }
    }

    #[test]
    fn records_that_compress_are_compressed() {
        let small = encoded(&vec![(0, None, vec![b'x'; 200]); 10], Offset::ZERO);
        assert!(small.len() < 400, "{}", small.len());
        let tiny = encoded(&[(0, None, vec![b'x'; 20])], Offset::ZERO);
        assert_eq!(tiny.len(), HEADER_BYTES + 7 + 20);
        assert!(encode(&RecordBuffer::new()).is_none());
    }
}
