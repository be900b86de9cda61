//! What each topic holds.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use bekk_log::{Client, Losses};
use serde::Serialize;

use crate::screen::{counted, grouped, plural};
use crate::units::bytes;

/// What a topic holds.
#[derive(Clone, Serialize)]
pub(crate) struct TopicLine {
    pub(crate) topic: String,
    /// Absent of a Kafka cluster, as is the size.
    pub(crate) segments: Option<u32>,
    pub(crate) bytes: Option<u64>,
    /// Offsets that have no record any more.
    pub(crate) lost: u64,
    /// How long its records are kept: an age, a size in bytes, or for ever.
    pub(crate) retention_seconds: Option<u64>,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) partitions: Vec<PartitionLine>,
}

#[derive(Clone, Serialize)]
pub(crate) struct PartitionLine {
    pub(crate) partition: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Returns the losses of a topic: nothing for a Kafka cluster, which does not report them.
///
/// # Errors
/// If the log is unreachable.
pub(crate) fn losses(log: &Client, topic: &str) -> Result<Losses, bekk_log::Error> {
    match log.losses(topic) {
        Err(bekk_log::Error::NotHere { .. }) => Ok(Losses::default()),
        known => known,
    }
}

/// What each topic holds.
pub(crate) fn topic_lines(log: &Client) -> Result<Vec<TopicLine>> {
    let mut lines = Vec::new();
    for topic in log.topics()? {
        let size = match log.topic_size(&topic.name) {
            Ok(size) => Some(size),
            Err(bekk_log::Error::NotHere { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let lost = losses(log, &topic.name)?.all;
        let partitions = log
            .partition_ends(&topic.name)?
            .into_iter()
            .map(|ends| PartitionLine {
                partition: ends.partition,
                start: ends.start.get(),
                end: ends.end.get(),
            });
        lines.push(TopicLine {
            topic: topic.name,
            segments: size.map(|size| size.segments),
            bytes: size.map(|size| size.bytes),
            lost,
            retention_seconds: topic.config.retention.age.map(|age| age.as_secs()),
            retention_bytes: topic.config.retention.size,
            partitions: partitions.collect(),
        });
    }
    Ok(lines)
}

impl fmt::Display for TopicLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partitions = self.partitions.iter();
        let offsets: u64 = partitions
            .map(|partition| partition.end - partition.start)
            .sum();
        let records = offsets.saturating_sub(self.lost);
        // On a Kafka cluster the mark at the end of a transaction takes an offset too.
        let most = if self.segments.is_some() {
            ""
        } else {
            "at most "
        };
        write!(f, "{}: {most}{}, ", self.topic, counted(records, "record"))?;
        if self.lost > 0 {
            write!(f, "{} missing, ", counted(self.lost, "offset"))?;
        }
        if let (Some(segments), Some(bytes)) = (self.segments, self.bytes) {
            let noun = plural(segments.into(), "segment");
            write!(f, "{segments} {noun}, {} bytes, ", grouped(bytes))?;
        }
        write!(f, "kept {}", shown_retention(self))
    }
}

pub(crate) fn shown_retention(line: &TopicLine) -> String {
    let age = line.retention_seconds.map(|seconds| {
        let days = Duration::from_secs(seconds).as_secs_f64() / 86_400.0;
        match days.fract() < 0.05 {
            true => format!("{days:.0} {}", if days < 1.5 { "day" } else { "days" }),
            false => format!("{days:.1} days"),
        }
    });
    let size = line.retention_bytes.map(bytes);
    match (age, size) {
        (None, None) => "for ever".to_owned(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(age), Some(size)) => format!("{age} or {size}"),
    }
}
