//! Partitions and offsets in librdkafka's types.

use rdkafka::Offset as KafkaOffset;
use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaResult;

use crate::Offset;

/// A partition's number as the protocol has it; the largest one is 1,023.
pub(super) fn number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// An offset as the protocol has it.
pub(super) fn to_kafka(offset: Offset) -> KafkaOffset {
    KafkaOffset::Offset(i64::try_from(offset.get()).unwrap_or(i64::MAX))
}

/// An offset that is one.
pub(super) fn from_kafka(offset: KafkaOffset) -> Option<Offset> {
    match offset {
        KafkaOffset::Offset(offset) => u64::try_from(offset).ok().map(Offset::new),
        _ => None,
    }
}

/// Partitions of a topic, each with an offset.
pub(super) fn list(
    topic: &str,
    offsets: impl IntoIterator<Item = (u32, KafkaOffset)>,
) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, number(partition), offset)?;
    }
    Ok(list)
}
