//! Records on their way out of the log.

use crate::Offset;
use crate::batch::BatchView;
use crate::destination::Destination;
use crate::record::{
    Batch, RECORD_BYTES_MIN, Record, put_record, put_whole_record, read_record, skip_record,
};

/// Records read from one partition, in offset order; they own their bytes.
#[derive(Debug, Clone)]
pub struct Records {
    /// The uncompressed records of all batches, one batch behind the other.
    bytes: Vec<u8>,
    batches: Vec<Batch>,
    first: Offset,
    next: Offset,
}

impl Records {
    /// None yet, for a reader at `first`.
    pub(crate) fn new(first: Offset) -> Self {
        Self {
            bytes: Vec::new(),
            batches: Vec::new(),
            first,
            next: first,
        }
    }

    /// Where the reader was.
    pub(crate) fn first_offset(&self) -> Offset {
        self.first
    }

    /// The same without those before `from`.
    pub(crate) fn starting_at(&self, from: Offset) -> Self {
        let passed = self
            .batches
            .iter()
            .take_while(|batch| batch.end_offset() <= from);
        let passed = passed.count();
        let start = passed
            .checked_sub(1)
            .map_or(0, |last| self.batches[last].end);
        let batches = self.batches[passed..].iter().map(|batch| Batch {
            end: batch.end - start,
            ..*batch
        });
        Self {
            bytes: self.bytes[start..].to_vec(),
            batches: batches.collect(),
            first: from,
            next: self.next,
        }
    }

    /// Adds a record behind the last one; what lies between is a gap.
    pub(crate) fn push_record(&mut self, record: &Record<'_>) {
        let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
        let follows_on = offset == self.next && !self.batches.is_empty();
        if !follows_on {
            self.batches.push(Batch {
                base_offset: offset,
                base_timestamp_ms: timestamp_ms,
                records: 0,
                end: self.bytes.len(),
            });
        }
        let batch = self.batches.last_mut().expect("one has just been added");
        let deltas = (
            timestamp_ms.wrapping_sub(batch.base_timestamp_ms),
            i64::from(batch.records),
        );
        if record.is_null || !record.headers.is_empty() {
            put_whole_record(&mut self.bytes, deltas, record);
        } else {
            put_record(&mut self.bytes, deltas, record.key, record.value);
        }
        batch.records += 1;
        batch.end = self.bytes.len();
        self.next = offset.next();
    }

    /// The records, in offset order. A writer elsewhere may have sent bytes that are not a record: these,
    /// and the rest of their batch, come as records without key and value. A batch that cannot be decompressed comes as one
    /// such record.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut start = 0;
        self.batches.iter().flat_map(move |batch| {
            let bytes = &self.bytes[start..batch.end];
            start = batch.end;
            let mut at = 0;
            let passed = u32::try_from(self.first.since(batch.base_offset)).unwrap_or(u32::MAX);
            let passed = passed.min(batch.records);
            for _ in 0..passed {
                if skip_record(bytes, &mut at).is_none() {
                    at = bytes.len();
                }
            }
            (passed..batch.records).map(move |i| {
                let offset = batch.base_offset.plus(u64::from(i));
                let record = read_record(bytes, &mut at, batch);
                record.map_or_else(
                    || {
                        at = bytes.len();
                        Record::unreadable(offset, batch)
                    },
                    |record| Record { offset, ..record },
                )
            })
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches
            .iter()
            .map(|batch| {
                let passed = self.first.since(batch.base_offset);
                u64::from(batch.records).saturating_sub(passed)
            })
            .sum::<u64>()
            .try_into()
            .expect("fewer records than bytes")
    }

    /// Whether it holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Their size in bytes, uncompressed.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The offset to read from next: behind the last record, and behind a gap that the read passed.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }
}

impl Destination for Records {
    fn push_batch(&mut self, batch: &BatchView<'_>) -> Result<(), String> {
        let start = self.bytes.len();
        let decompressed = batch.decompress_into(&mut self.bytes);
        let room = (self.bytes.len() - start) / RECORD_BYTES_MIN;
        let records = if decompressed.is_ok() && batch.records() as usize <= room {
            batch.records()
        } else {
            // Its CRC holds: it is what its writer sent, and the log is whole.
            let error = decompressed.err();
            tracing::warn!(offset = %batch.base_offset(), error, "a record batch cannot be read");
            self.bytes.truncate(start);
            1
        };
        self.batches.push(Batch {
            base_offset: batch.base_offset(),
            base_timestamp_ms: batch.base_timestamp_ms(),
            records,
            end: self.bytes.len(),
        });
        self.next = batch.end_offset();
        Ok(())
    }

    fn pass_to(&mut self, next: Offset) {
        self.next = self.next.max(next);
    }

    fn next_offset(&self) -> Offset {
        self.next
    }

    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}
