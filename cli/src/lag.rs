//! How far a group is behind in time.

use bekk_log::{Client, Offset};
use jiff::Timestamp;

/// How long ago the record at an offset was written.
pub(crate) fn age_seconds(log: &Client, topic: &str, partition: u32, next: u64) -> Option<f64> {
    let records = log.read(topic, partition, Offset::new(next), 1).ok()?;
    let written_ms = records.iter().next()?.timestamp_ms;
    let age_ms = u32::try_from(Timestamp::now().as_millisecond() - written_ms).unwrap_or_default();
    Some(f64::from(age_ms) / 1000.0)
}
