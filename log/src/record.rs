//! A record as a batch holds it, and the buffer in which records go into the log.

use crate::headers::{Headers, put_bytes, read_bytes};
use crate::{Offset, varint};

/// The least bytes that a record takes: seven fields of one byte.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

/// Records to be appended to one partition: encoded once, as Kafka's record format v2 has them.
///
/// A buffer becomes one record batch; its size is bounded by [`Config::batch_bytes_max`](crate::Config).
#[derive(Debug, Clone, Default)]
pub struct RecordBuffer {
    bytes: Vec<u8>,
    count: u32,
    first_timestamp_ms: i64,
    max_timestamp_ms: i64,
    /// Where the last record begins.
    last_start: usize,
}

impl RecordBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record. `timestamp_ms` counts from 1970-01-01 UTC.
    ///
    /// # Panics
    /// If `value` has 2 GiB or more; appends refuse far smaller ones.
    #[inline]
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: &[u8]) {
        let deltas = self.begin_record(timestamp_ms);
        put_record(&mut self.bytes, deltas, key, value);
    }

    /// Adds a record as it is, with its headers.
    ///
    /// # Panics
    /// As [`Self::push`].
    pub fn push_copy(&mut self, record: &Record<'_>) {
        let deltas = self.begin_record(record.timestamp_ms);
        put_whole_record(&mut self.bytes, deltas, record);
    }

    /// Takes note of one more record; returns its deltas.
    #[inline]
    fn begin_record(&mut self, timestamp_ms: i64) -> (i64, i64) {
        if self.count == 0 {
            self.first_timestamp_ms = timestamp_ms;
            self.max_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let deltas = (
            timestamp_ms.wrapping_sub(self.first_timestamp_ms),
            i64::from(self.count),
        );
        self.last_start = self.bytes.len();
        self.count += 1;
        deltas
    }

    /// The last record, if its first record got this offset.
    pub(crate) fn last(&self, first: Offset) -> Option<Record<'_>> {
        let batch = self.batch(first);
        let mut at = self.last_start;
        let record = read_record(&self.bytes, &mut at, &batch);
        record.filter(|_| self.count > 0)
    }

    fn batch(&self, base_offset: Offset) -> Batch {
        Batch {
            base_offset,
            base_timestamp_ms: self.first_timestamp_ms,
            records: self.count,
            end: self.bytes.len(),
        }
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

    pub(crate) fn records(&self) -> &[u8] {
        &self.bytes
    }

    /// The records, at offsets from 0.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let batch = self.batch(Offset::ZERO);
        let mut at = 0;
        (0..self.count).map_while(move |_| read_record(&self.bytes, &mut at, &batch))
    }

    pub(crate) fn first_timestamp_ms(&self) -> i64 {
        self.first_timestamp_ms
    }

    pub(crate) fn max_timestamp_ms(&self) -> i64 {
        self.max_timestamp_ms
    }
}

/// Encodes a record, given the deltas of its timestamp and its offset from those of its batch.
#[inline]
pub(crate) fn put_record(
    bytes: &mut Vec<u8>,
    (timestamp_delta, offset_delta): (i64, i64),
    key: Option<&[u8]>,
    value: &[u8],
) {
    let body_len = 1 // attributes
        + varint::len(timestamp_delta)
        + varint::len(offset_delta)
        + varint::len(key.map_or(-1, length))
        + key.map_or(0, <[u8]>::len)
        + varint::len(length(value))
        + value.len()
        + 1; // the count of headers

    bytes.reserve(varint::VARINT_BYTES_MAX + body_len);
    varint::put(bytes, i64::try_from(body_len).unwrap_or(i64::MAX));
    bytes.push(0); // attributes: none are defined
    varint::put(bytes, timestamp_delta);
    varint::put(bytes, offset_delta);
    put_bytes(bytes, key);
    put_bytes(bytes, Some(value));
    bytes.push(0); // no headers
}

/// The same of a record that may have headers, or a value that is null.
pub(crate) fn put_whole_record(
    bytes: &mut Vec<u8>,
    (timestamp_delta, offset_delta): (i64, i64),
    record: &Record<'_>,
) {
    let mut body = vec![0]; // attributes: none are defined
    varint::put(&mut body, timestamp_delta);
    varint::put(&mut body, offset_delta);
    put_bytes(&mut body, record.key);
    put_bytes(&mut body, (!record.is_null).then_some(record.value));
    body.extend_from_slice(record.headers.encoded());
    varint::put(bytes, length(&body));
    bytes.extend_from_slice(&body);
}

fn length(bytes: &[u8]) -> i64 {
    i64::from(i32::try_from(bytes.len()).expect("a record is smaller than 2 GiB"))
}

/// The records of a batch within a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) base_offset: Offset,
    pub(crate) base_timestamp_ms: i64,
    pub(crate) records: u32,
    /// Where they end in the buffer.
    pub(crate) end: usize,
}

impl Batch {
    pub(crate) const fn end_offset(&self) -> Offset {
        self.base_offset.plus(self.records as u64)
    }
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset.
    pub offset: Offset,
    /// When it was written, by its writer's clock: milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; empty for a Kafka record whose value is null, and for one that cannot be read.
    pub value: &'a [u8],
    /// The value is null, and not empty.
    pub is_null: bool,
    /// Its headers, if it has any.
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// Placeholder for an undecodable record.
    pub(crate) fn unreadable(offset: Offset, batch: &Batch) -> Self {
        Self {
            offset,
            timestamp_ms: batch.base_timestamp_ms,
            key: None,
            value: &[],
            is_null: false,
            headers: Headers::NONE,
        }
    }
}

#[inline]
pub(crate) fn skip_record(bytes: &[u8], at: &mut usize) -> Option<()> {
    let len = usize::try_from(varint::get(bytes, at)?).ok()?;
    *at = at.checked_add(len).filter(|end| *end <= bytes.len())?;
    Some(())
}

#[inline]
pub(crate) fn read_record<'a>(
    bytes: &'a [u8],
    at: &mut usize,
    batch: &Batch,
) -> Option<Record<'a>> {
    let len = usize::try_from(varint::get(bytes, at)?).ok()?;
    let end = at.checked_add(len)?;
    let body = bytes.get(*at..end)?;
    *at = end;
    let mut within = 1; // attributes: none are defined
    let timestamp_delta = varint::get(body, &mut within)?;
    let offset_delta = varint::get(body, &mut within)?;
    let key = read_bytes(body, &mut within)?;
    let value = read_bytes(body, &mut within)?;
    Some(Record {
        offset: batch.base_offset.plus(u64::try_from(offset_delta).ok()?),
        timestamp_ms: batch.base_timestamp_ms.wrapping_add(timestamp_delta),
        key,
        value: value.unwrap_or_default(),
        is_null: value.is_none(),
        headers: Headers::of_encoded(body.get(within..).unwrap_or_default()),
    })
}
