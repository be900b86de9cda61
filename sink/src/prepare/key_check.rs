//! Whether records were written under the key that the stream has now.
//!
//! Records of one key are in one partition, and so in one order, only if the key's columns and their types were the same
//! when they were written. Records of a schema with another key are looked at one by one.

use bekk_log::Record;
use bekk_stream::{RowReader, Value, key_text, partition_for};

use super::Source;
use crate::Error;
use crate::target::{RowPlan, StreamTarget};

/// Whether the order of a key's records matters, and partitions could have broken it. Where a version decides, it
/// does not.
pub(super) fn matters(target: &StreamTarget) -> bool {
    target.is_keyed() && target.stream.partitions > 1 && target.stream.newer_by.is_none()
}

/// Refuses a record that its key would put into another partition.
pub(super) fn check(
    source: Source<'_>,
    record: &Record<'_>,
    plan: &RowPlan,
    row: RowReader<'_>,
) -> Result<(), Error> {
    let stream = &source.target.stream;
    // Producers other than ingest may give no key, and choose partitions as they like.
    let Some(written) = record.key else {
        return Ok(());
    };
    let mut parts = vec![Value::Null; stream.key.len()];
    for (field, value) in plan.fields.iter().zip(row) {
        let (Some(part), Ok(value)) = (field.key_part, value) else {
            continue;
        };
        let column = stream
            .columns
            .iter()
            .find(|column| column.name == field.name);
        parts[part] = match column {
            Some(column) => value.widened(&column.column_type),
            None => value,
        };
    }
    let indexes: Vec<usize> = (0..parts.len()).collect();
    let mut key = Vec::new();
    key_text(&mut key, &parts, &indexes);
    let wanted = partition_for(&key, stream.partitions);
    if key == written || wanted == source.partition {
        return Ok(());
    }
    Err(Error::KeyChanged {
        topic: stream.name.clone(),
        partition: source.partition,
        offset: record.offset.get(),
        key: stream.key.join(", "),
        wanted,
    })
}
