//! A new file's first records, held back until it is known whether the file can be read at all.

use bekk_stream::{Body, Payload};

use crate::text::convert::Converted;
use crate::text::parsed_batch::ParsedBatch;

/// How many records are looked at, at most and at least.
const RECORDS_MAX: usize = 1000;
const RECORDS_MIN: usize = 100;
/// How many bytes of them are held.
const BYTES_MAX: usize = 2 << 20;

/// The first records of a file that nothing is in the log of.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    bytes: Vec<u8>,
    records: Vec<Held>,
    rejects: usize,
    first_reject: Option<String>,
}

#[derive(Debug)]
struct Held {
    timestamp_ms: i64,
    partition: u32,
    key_len: Option<usize>,
    payload_len: usize,
    is_reject: bool,
}

impl Trial {
    pub(crate) fn push(&mut self, timestamp_ms: i64, record: &Converted<'_>) {
        self.bytes.extend_from_slice(record.key.unwrap_or_default());
        self.bytes.extend_from_slice(record.payload);
        self.records.push(Held {
            timestamp_ms,
            partition: record.partition,
            key_len: record.key.map(<[u8]>::len),
            payload_len: record.payload.len(),
            is_reject: record.is_reject,
        });
        if record.is_reject {
            self.rejects += 1;
            self.first_reject
                .get_or_insert_with(|| describe(record.payload));
        }
    }

    /// How many bytes are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the file is to be read, or why it is set aside; `None` while that is open. `is_end`: there is
    /// no more of it for now.
    pub(crate) fn verdict(&self, is_end: bool) -> Option<Result<(), String>> {
        let seen = &self.records[..self.records.len().min(RECORDS_MAX)];
        let rejects = match self.records.len() > RECORDS_MAX {
            true => seen.iter().filter(|record| record.is_reject).count(),
            false => self.rejects,
        };
        let rows = seen.len() - rejects;
        if rows * 2 >= RECORDS_MAX {
            return Some(Ok(()));
        }
        if seen.len() < RECORDS_MAX && !is_end && self.bytes.len() < BYTES_MAX {
            return None;
        }
        if seen.len() < RECORDS_MIN || rejects <= rows {
            return Some(Ok(()));
        }
        Some(Err(format!(
            "{rejects} of its first {} records are rejects, the first one for {}; correct the file, or the stream's \
             columns or `csv` in the configuration",
            seen.len(),
            self.first_reject.as_deref().unwrap_or("a reason unknown")
        )))
    }

    /// Lets the records go on into a batch.
    pub(crate) fn release(&self, batch: &mut ParsedBatch) {
        let mut rest = &self.bytes[..];
        for held in &self.records {
            let (key, behind) = rest.split_at(held.key_len.unwrap_or(0));
            let (payload, behind) = behind.split_at(held.payload_len);
            rest = behind;
            let record = Converted {
                partition: held.partition,
                key: held.key_len.map(|_| key),
                payload,
                is_reject: held.is_reject,
                digits_lost: 0,
            };
            batch.push(held.timestamp_ms, &record);
        }
    }
}

/// A reject's reason for a person.
pub(crate) fn describe(payload: &[u8]) -> String {
    match Payload::decode(payload).map(|payload| (payload.origin, payload.body)) {
        Ok((origin, Body::Reject(reject))) => {
            let column = reject
                .column
                .map_or_else(String::new, |column| format!(" in column `{column}`"));
            format!(
                "{}{column} (line {}: {})",
                reject.reason, origin.line, reject.detail
            )
        }
        _ => "a reason unknown".to_owned(),
    }
}
