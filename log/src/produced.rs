//! Record batches that were encoded elsewhere: what is checked before they are stored as they are.

use crate::batch::{self, BatchView, COMPRESSION_MASK, NoBatch};
use crate::codec::{self, PRODUCED_BYTES_MAX, ZSTD};
use crate::content;
use crate::group_commit;
use crate::producers::Sequenced;
use crate::record::RECORD_BYTES_MIN;

const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
/// How far the times of another program's records may be ahead of this machine's clock. After one record of the year
/// 9999, each search by time would end at it.
const AHEAD_MS_MAX: i64 = 60 * 60 * 1000;

/// A batch that may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Produced {
    bytes: Vec<u8>,
    records: u32,
    max_timestamp_ms: i64,
    sequenced: Option<Sequenced>,
    compression: i16,
}

/// Why a batch may not be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It was damaged on the way; sent again it may be whole.
    Damaged(String),
    /// It is not as it has to be.
    Invalid(String),
    /// Its timestamps are not.
    Timestamp(String),
    TooLarge {
        bytes: usize,
        max: usize,
    },
}

impl Produced {
    /// Checks what a client sent for one partition: one batch of at most `bytes_max`. Its times are left to
    /// [`Self::check_times`].
    pub(crate) fn parse(sent: &[u8], bytes_max: usize) -> Result<Self, Unfit> {
        if sent.len() > bytes_max {
            return Err(Unfit::TooLarge {
                bytes: sent.len(),
                max: bytes_max,
            });
        }
        let view = BatchView::parse(sent)?;
        let compression = check_attributes(view.attributes())?;
        let invalid = |detail: &str| Err(Unfit::Invalid(detail.to_owned()));
        let room = (sent.len() - batch::HEADER_BYTES) / RECORD_BYTES_MIN;
        if compression == batch::UNCOMPRESSED && view.records() as usize > room {
            return invalid("a record batch is too small for its records");
        }
        // Checked here once, so that no reader meets it.
        if codec::is_larger(
            compression,
            &sent[batch::HEADER_BYTES..],
            PRODUCED_BYTES_MAX,
        ) {
            return Err(Unfit::TooLarge {
                bytes: sent.len(),
                max: bytes_max,
            });
        }
        let sequenced = match view.producer() {
            (-1, _, _) => None,
            (id @ 0.., epoch @ 0.., first @ 0..) => {
                Some(Sequenced::new(id, epoch, first, view.records()))
            }
            _ => return invalid("a record batch with a producer id needs an epoch and a sequence"),
        };
        Ok(Self {
            records: view.records(),
            max_timestamp_ms: view.max_timestamp_ms(),
            sequenced,
            compression,
            bytes: sent.to_vec(),
        })
    }

    /// Checks that its records are not from the future.
    pub(crate) fn check_times(&self, now_ms: i64) -> Result<(), Unfit> {
        let Self {
            max_timestamp_ms, ..
        } = self;
        match *max_timestamp_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
            true => Err(Unfit::Timestamp(format!(
                "timestamp {max_timestamp_ms} is more than an hour ahead of this server's clock ({now_ms}); check the \
                 clocks of both machines"
            ))),
            false => Ok(()),
        }
    }

    /// Checks that its records can be read. A batch that cannot be read would stop every reader.
    pub(crate) fn check_content(&self) -> Result<(), Unfit> {
        let records = &self.bytes[batch::HEADER_BYTES..];
        content::check(self.compression, records, self.records).map_err(Unfit::Invalid)
    }

    /// Whether its records are compressed with zstd, which old clients cannot name.
    pub(crate) const fn is_zstd(&self) -> bool {
        self.compression == ZSTD
    }

    pub(crate) fn into_part(self, partition: u32) -> group_commit::Part {
        let mut bytes = self.bytes;
        batch::set_leader_epoch(&mut bytes);
        group_commit::Part {
            partition,
            records: self.records,
            max_timestamp_ms: self.max_timestamp_ms,
            sequenced: self.sequenced,
            batch: bytes,
        }
    }
}

/// Damage on the way can be repaired by sending the batch again; all other faults are the client's.
impl From<NoBatch> for Unfit {
    fn from(fault: NoBatch) -> Self {
        match fault {
            NoBatch::Length { bytes, named } if named < bytes => {
                Self::Invalid("more than one record batch for a partition".to_owned())
            }
            NoBatch::Magic(_) | NoBatch::Count { .. } => Self::Invalid(fault.to_string()),
            NoBatch::Short(_) | NoBatch::Length { .. } | NoBatch::Crc { .. } => {
                Self::Damaged(fault.to_string())
            }
        }
    }
}

fn check_attributes(attributes: i16) -> Result<i16, Unfit> {
    if attributes & (TRANSACTIONAL | CONTROL) != 0 {
        return Err(Unfit::Invalid("there are no transactions here".to_owned()));
    }
    if attributes & LOG_APPEND_TIME != 0 {
        let detail = "only the log may set the time of the append".to_owned();
        return Err(Unfit::Timestamp(detail));
    }
    let compression = attributes & COMPRESSION_MASK;
    // zstd has the greatest number.
    if compression > ZSTD {
        let detail = format!("there is no compression {compression}");
        return Err(Unfit::Invalid(detail));
    }
    Ok(compression)
}

#[cfg(test)]
mod tests {
    use bekk_testing::assert_matches;

    use super::*;
    use crate::RecordBuffer;

    fn sent() -> Vec<u8> {
        let mut buffer = RecordBuffer::new();
        buffer.push(1000, None, b"one");
        buffer.push(2000, Some(b"k"), b"two");
        batch::encode(&buffer).unwrap()
    }

    /// A batch with some of its bytes replaced, and its CRC made right again.
    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut sent = sent();
        sent[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32c::crc32c(&sent[21..]).to_be_bytes();
        sent[17..21].copy_from_slice(&crc);
        sent
    }

    fn parse(sent: &[u8]) -> Result<Produced, Unfit> {
        Produced::parse(sent, 1 << 20)
    }

    #[test]
    fn a_batch_is_taken() {
        let produced = parse(&sent()).unwrap();
        assert_eq!((produced.records, produced.max_timestamp_ms), (2, 2000));
        assert_eq!(produced.sequenced, None);
        let numbered = [7i64.to_be_bytes().as_slice(), &[0, 3, 0, 0, 0, 9]].concat();
        let produced = parse(&with(43, &numbered)).unwrap();
        assert_eq!(produced.sequenced, Some(Sequenced::new(7, 3, 9, 2)));
        assert!(parse(&with(21, &[0, 4])).unwrap().is_zstd());
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let damaged = |sent: &[u8]| matches!(parse(sent), Err(Unfit::Damaged(_)));
        let invalid = |sent: &[u8]| matches!(parse(sent), Err(Unfit::Invalid(_)));
        let mut flipped = sent();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(damaged(&flipped));
        assert!(damaged(&sent()[..60]));
        assert!(damaged(&sent()[..70]));
        assert!(invalid(&[sent(), sent()].concat()));
        assert!(invalid(&with(16, &[1])));
        assert!(invalid(&with(57, &[0, 0, 0, 3])));
        assert!(invalid(&with(57, &[0, 0, 0, 0])));
        // A thousand records in no room.
        let mut many = with(23, &999u32.to_be_bytes());
        many[57..61].copy_from_slice(&1000u32.to_be_bytes());
        let crc = crc32c::crc32c(&many[21..]).to_be_bytes();
        many[17..21].copy_from_slice(&crc);
        assert!(invalid(&many));
        assert!(invalid(&with(21, &[0, 5])));
        assert!(invalid(&with(21, &[0, 1 << 4])));
        assert!(invalid(&with(21, &[0, 1 << 5])));
        // A producer without a sequence.
        assert!(invalid(&with(43, &7i64.to_be_bytes())));
        let late = parse(&with(35, &i64::MAX.to_be_bytes())).unwrap();
        assert_matches!(late.check_times(5000), Err(Unfit::Timestamp(_)));
        parse(&sent()).unwrap().check_times(5000).unwrap();
        assert_matches!(parse(&with(21, &[0, 1 << 3])), Err(Unfit::Timestamp(_)));
        assert_matches!(Produced::parse(&sent(), 50), Err(Unfit::TooLarge { .. }));
    }
}
