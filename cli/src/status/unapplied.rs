//! Streams that have records in the log and no offset in the database.

use bekk_log::Client;
use bekk_stream::Stream;

use crate::positions::Line;

/// A stream of which the database has no offset, though the log has records of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unapplied {
    pub(crate) group: String,
    pub(crate) stream: String,
    pub(crate) table: String,
    /// Records in the log; on a Kafka cluster, at most.
    pub(crate) records: u64,
    /// Whether the log remembers that the group has applied some: a sink refuses to begin again.
    pub(crate) is_remembered: bool,
}

/// Finds them among `streams`. Leaves out an unreachable part, which another line reports.
pub(super) fn find(
    log: &Client,
    group: &str,
    streams: &[Stream],
    known: &[Line],
) -> Vec<Unapplied> {
    let mut found = Vec::new();
    for stream in streams {
        if known.iter().any(|line| line.topic == stream.name) {
            continue;
        }
        let ends = log.partition_ends(&stream.name).unwrap_or_default();
        let records: u64 = ends
            .iter()
            .map(|ends| ends.end.get().saturating_sub(ends.start.get()))
            .sum();
        if records == 0 {
            continue;
        }
        let topic = [stream.name.clone()];
        let applied = bekk_sink::partitions_in_log(log, group, &topic).unwrap_or_default();
        found.push(Unapplied {
            group: group.to_owned(),
            stream: stream.name.clone(),
            table: stream.table.to_string(),
            records,
            is_remembered: applied > 0,
        });
    }
    found
}
