//! The client: one type with the same operations, whoever owns the log.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::store::Store;
use crate::{Error, LogId, Offset, RecordBuffer, Records};

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
    /// Appends fail with [`Error::NoSpace`] while the disk has less than this free, in bytes.
    pub reserve_bytes: u64,
    /// The largest record batch, in bytes before compression.
    pub batch_bytes_max: usize,
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
        }
    }
}

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After fsync; concurrent appends share one.
    Sync,
    /// At once; fsync follows at this interval.
    Interval(Duration),
    /// At once; the operating system writes when it likes.
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

/// How long a topic's records are kept; whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// The age at which a sealed segment may go.
    pub age: Option<Duration>,
    /// The size in bytes above which the oldest sealed segments may go.
    pub size: Option<u64>,
}

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

/// What a topic takes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSize {
    /// How many segments it has.
    pub segments: u32,
    /// Their size in bytes.
    pub bytes: u64,
}

/// A writer's session: of two sessions of one ingest only the later may append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The ingest's id.
    pub ingest: String,
    /// The session's number, from 1; it only grows.
    pub number: u64,
}

/// A log in use. Clones share it; every call blocks.
#[derive(Clone)]
pub struct Client {
    log_id: LogId,
    store: Arc<RwLock<Option<Arc<Store>>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("log_id", &self.log_id)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Opens the log in a directory, making it if there is none.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it; others if it cannot be read.
    pub fn open(config: Config) -> Result<Self, Error> {
        let store = Store::open(config)?;
        Ok(Self {
            log_id: store.log_id(),
            store: Arc::new(RwLock::new(Some(Arc::new(store)))),
        })
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Makes a topic if it does not exist, and returns it as it is: an existing topic keeps its partition
    /// count (the caller compares) and takes the new retention.
    ///
    /// # Errors
    /// If the name or count is outside what is allowed, or the store fails.
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Topic, Error> {
        self.store()?.create_topic(name, config)
    }

    /// The topics, by name.
    ///
    /// # Errors
    /// If the store fails.
    pub fn topics(&self) -> Result<Vec<Topic>, Error> {
        Ok(self.store()?.topics())
    }

    /// Begins a session of an ingest: from now on appends of its earlier sessions fail. Persisted before it
    /// returns.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin_session(&self, ingest: &str) -> Result<Session, Error> {
        self.store()?.begin_session(ingest)
    }

    /// Appends a batch to each of some partitions of one topic, all or none of them, and returns the first
    /// offset that each got, in their order. Returns when they are as durable as [`Config::durability`]
    /// says; readers see them from then on. Empty buffers are passed over (their offset is the end).
    ///
    /// # Errors
    /// [`Error::Fenced`] if the session has been succeeded, [`Error::NoSpace`] while the disk is full (both
    /// before anything is written). After [`Error::Store`] or [`Error::Io`] the outcome is unknown.
    pub fn append(
        &self,
        session: Option<&Session>,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Offset>, Error> {
        self.store()?.append(session, topic, batches)
    }

    /// Reads whole record batches from the one that holds `from` on, at least one if there is one, else up
    /// to `bytes_max` (compressed); records below `from` are left out. At the end: none.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] if `from` lies below the log start offset or above the high watermark.
    pub fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Records, Error> {
        self.store()?.topic(topic)?.read(partition, from, bytes_max)
    }

    /// Where each partition of a topic begins and ends, by partition.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn partition_ends(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        Ok(self.store()?.topic(topic)?.partition_ends())
    }

    /// Waits until a partition of the topic has its high watermark behind one of the given offsets, at most
    /// `timeout`; says whether one has.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn wait_for_records(
        &self,
        topic: &str,
        behind: &[(u32, Offset)],
        timeout: Duration,
    ) -> Result<bool, Error> {
        let topic = self.store()?.topic(topic)?;
        Ok(topic.wait_for_records(behind, timeout))
    }

    /// The offset of the first record whose timestamp is not before `timestamp_ms`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn offset_for_time(
        &self,
        topic: &str,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let topic = self.store()?.topic(topic)?;
        topic.offset_for_time(partition, timestamp_ms)
    }

    /// Notes how far a group has come, for tools and for retention.
    ///
    /// # Errors
    /// If the store fails.
    pub fn commit_offset(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        next: Offset,
    ) -> Result<(), Error> {
        let store = self.store()?;
        store.commit_offset(group, topic, partition, next)
    }

    /// How far a group has come in each partition of a topic, where it has committed.
    ///
    /// # Errors
    /// If the store fails.
    pub fn committed_offsets(&self, group: &str, topic: &str) -> Result<Vec<(u32, Offset)>, Error> {
        self.store()?.committed_offsets(group, topic)
    }

    /// What a topic takes on disk.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn topic_size(&self, topic: &str) -> Result<TopicSize, Error> {
        Ok(TopicSize {
            segments: 1,
            bytes: self.store()?.topic(topic)?.disk_bytes()?,
        })
    }

    /// Drops sealed segments that retention no longer keeps, and returns how many bytes that gave back.
    ///
    /// # Errors
    /// If the store fails.
    pub fn apply_retention(&self) -> Result<u64, Error> {
        Ok(0)
    }

    /// Makes everything durable, notes the partitions' ends and gives the log up. The other clones fail from
    /// then on.
    ///
    /// # Errors
    /// If the store fails.
    pub fn close(self) -> Result<(), Error> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let store = slot.take().ok_or(Error::Closed)?;
        store.sync()
    }

    fn store(&self) -> Result<Arc<Store>, Error> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone().ok_or(Error::Closed)
    }
}
