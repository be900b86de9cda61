//! Records on their way into the log and out of it.

use crate::Offset;

/// Records to be appended to one partition: encoded once, as Kafka's record format v2 has them.
///
/// A buffer becomes one record batch; its size is bounded by [`Config::batch_bytes_max`](crate::Config).
#[derive(Debug, Clone, Default)]
pub struct RecordBuffer {
    bytes: Vec<u8>,
    count: u32,
    first_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

impl RecordBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record. `timestamp_ms` counts from 1970-01-01 UTC.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: &[u8]) {
        let _ = (
            timestamp_ms,
            key,
            value,
            self.first_timestamp_ms,
            self.max_timestamp_ms,
        );
        self.count += 1;
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The encoded records' size in bytes, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Makes it empty, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

/// Records read from one partition, in offset order; they own their bytes.
#[derive(Debug, Clone)]
pub struct Records {
    next: Offset,
}

/// One record of a [`Records`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// When it was written, by its writer's clock: milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; empty for a Kafka record whose value is null.
    pub value: &'a [u8],
}

impl Records {
    /// The records, in offset order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        std::iter::empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Their size in bytes, uncompressed.
    #[must_use]
    pub fn size(&self) -> usize {
        0
    }

    /// The offset to read from next: behind the last record, and behind a gap that the read passed.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }
}
