//! How a log and its topics are kept.

use std::path::PathBuf;
use std::time::Duration;

/// The topic of what records refer to: retention deletes nothing in it.
pub(crate) const META_TOPIC: &str = "bekk.meta";

/// Where the log is and how it is kept.
#[derive(Debug, Clone)]
pub struct Config {
    /// The log's directory; made if it does not exist.
    pub dir: PathBuf,
    /// When an append is acknowledged.
    pub durability: Durability,
    /// At this size in bytes a segment is sealed and the next one begun.
    pub segment_bytes: u64,
    /// At this age a segment that holds records is sealed.
    pub segment_age: Duration,
    /// Appends fail with [`Error::NoSpace`](crate::Error::NoSpace) while the disk has less than this free, in bytes.
    pub reserve_bytes: u64,
    /// The largest record batch, in bytes before compression.
    pub batch_bytes_max: usize,
    /// How long segments stay that retention no longer keeps, after the last group has come past them.
    pub retention_delay: Duration,
}

impl Config {
    /// The defaults for a log in `dir`: fsync on every append, segments of 512 MB or a day, a reserve of
    /// 256 MB, batches up to 16 MiB.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            durability: Durability::Sync,
            segment_bytes: 512_000_000,
            segment_age: Duration::from_secs(24 * 60 * 60),
            reserve_bytes: 256_000_000,
            batch_bytes_max: 16 << 20,
            retention_delay: Duration::from_secs(60),
        }
    }
}

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After fsync; concurrent appends share one.
    Sync,
    /// At once; fsync follows at this interval, and readers see records only then.
    Interval(Duration),
    /// At once; the operating system writes when it likes. After a power loss the log may end before what
    /// readers have seen.
    Os,
}

/// What a topic is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicConfig {
    /// Its partition count, 1 to 1,024.
    pub partitions: u32,
    /// How long its records are kept.
    pub retention: Retention,
}

impl TopicConfig {
    /// A topic that keeps its records.
    #[must_use]
    pub const fn new(partitions: u32) -> Self {
        Self {
            partitions,
            retention: Retention {
                age: None,
                size: None,
            },
        }
    }
}

/// How long a topic's records are kept; whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// The age at which a sealed segment may go.
    pub age: Option<Duration>,
    /// The size in bytes above which the oldest sealed segments may go.
    pub size: Option<u64>,
}
