//! What a log tells of itself.

use std::path::PathBuf;

use crate::{Durations, Gap, Offset, TopicConfig};

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What it was made with; the partition count never changes.
    pub config: TopicConfig,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEnds {
    /// The partition.
    pub partition: u32,
    /// Log start offset: the first record that is still there.
    pub start: Offset,
    /// High watermark: one behind the last record that readers may see.
    pub end: Offset,
}

/// Size of a topic on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSize {
    /// How many segments it has.
    pub segments: u32,
    /// Their size in bytes.
    pub bytes: u64,
}

/// A segment of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number, from 1.
    pub number: u64,
    /// Its directory.
    pub path: PathBuf,
    /// When it was sealed, in milliseconds since 1970-01-01 UTC; `None` while it is written to.
    pub sealed_at_ms: Option<i64>,
    /// Its size in bytes; of one that is not sealed, about that.
    pub bytes: u64,
    /// What it holds of each partition, by partition: the first offset and the one behind the last.
    pub ranges: Vec<(Offset, Offset)>,
}

/// What has been done since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Calls of [`Client::append`](crate::Client::append) that got as far as the store.
    pub appends: u64,
    /// Records written.
    pub records: u64,
    /// The size of the batches written, in bytes as they are stored.
    pub bytes: u64,
    /// Writes to the store; appends that come together share one.
    pub writes: u64,
    /// Fsyncs of records.
    pub fsyncs: u64,
    /// Connections of clients that were closed because there were too many.
    pub connections_closed: u64,
}

/// How long things took since the log was opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Latencies {
    /// Appends, from the call to the acknowledgement.
    pub append: Durations,
    /// Fsyncs of records.
    pub fsync: Durations,
}

/// The space on the disk of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What is free.
    pub free_bytes: u64,
    /// Appends are refused while less than this is free.
    pub reserve_bytes: u64,
}

/// How far a group has come in a partition, as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The next record of the group.
    pub next: Offset,
    /// When it was committed, in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// Whether a sink of ours committed it, not another program.
    pub is_sink: bool,
}

/// A writer's session: of two sessions of one ingest only the later may append.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    /// The ingest's id.
    pub ingest: String,
    /// The session's number, from 1; it only grows.
    pub number: u64,
}

/// What became of a segment that had been set aside, or, without paths, what is missing in a topic and was not in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// The topic.
    pub topic: String,
    /// Where what was set aside of the segment is. Nothing of it is changed.
    pub paths: Vec<PathBuf>,
    /// Records that are in the log again.
    pub records: u64,
    /// The offsets that are still missing, as [`verify`](crate::verify()) reports them.
    pub missing: Vec<Gap>,
}
