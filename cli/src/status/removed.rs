//! Records that wait for a stream which the configuration does not have any more.

use std::collections::BTreeMap;

use bekk_log::Client;
use bekk_sink::GroupOffset;
use bekk_stream::Stream;

/// Records that wait for a group in a topic without a stream
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) records: u64,
}

impl Removed {
    /// Finds them among the offsets that count in this log, but for those that a sink of another configuration holds.
    pub(super) fn of(
        offsets: &[GroupOffset],
        log: Option<&Client>,
        streams: &[Stream],
    ) -> Vec<Self> {
        let Some(log) = log else {
            return Vec::new();
        };
        let log_id = log.log_id().to_string();
        let is_removed = |offset: &&GroupOffset| {
            offset.log_id == log_id
                && offset.owner.is_none()
                && streams.iter().all(|stream| stream.name != offset.topic)
        };
        let mut waiting: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for offset in offsets.iter().filter(is_removed) {
            // Another project's topic may be none that this process may read.
            let ends = log.partition_ends(&offset.topic).unwrap_or_default();
            let ends = ends.iter().find(|ends| ends.partition == offset.partition);
            let lag = ends.map_or(0, |ends| ends.end.get().saturating_sub(offset.next));
            *waiting.entry((&offset.group, &offset.topic)).or_default() += lag;
        }
        let waiting = waiting.into_iter().filter(|(_, records)| *records > 0);
        waiting
            .map(|((group, topic), records)| Self {
                group: group.to_owned(),
                topic: topic.to_owned(),
                records,
            })
            .collect()
    }
}
