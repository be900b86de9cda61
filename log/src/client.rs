//! The client: one type with the same operations, whoever owns the log.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::store::Store;
use crate::topic::TopicLog;
use crate::{
    Durations, Error, Gap, LogId, Offset, RecordBuffer, Records, VerifyReport, retention, verify,
};

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
    /// Calls of [`Client::append`] that got as far as the store.
    pub appends: u64,
    /// Records written.
    pub records: u64,
    /// The size of the batches written, in bytes as they are stored.
    pub bytes: u64,
    /// Writes to the store; appends that come together share one.
    pub writes: u64,
    /// Fsyncs of records.
    pub fsyncs: u64,
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
            log_id: store.core().shared.log_id,
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
        self.store()?.core().create_topic(name, config)
    }

    /// The topics, by name.
    ///
    /// # Errors
    /// If the store fails.
    pub fn topics(&self) -> Result<Vec<Topic>, Error> {
        let topics = self.store()?.core().topics();
        Ok(topics.iter().map(|topic| topic.topic()).collect())
    }

    /// Begins a session of an ingest: from now on appends of its earlier sessions fail. Persisted before it
    /// returns.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin_session(&self, ingest: &str) -> Result<Session, Error> {
        self.store()?.core().begin_session(ingest)
    }

    /// Appends a batch to each of some partitions of one topic, all or none of them, and returns the first
    /// offset that each got, in their order. Returns when they are as durable as [`Config::durability`]
    /// says; readers see them from then on, with [`Durability::Interval`] after the next fsync. Empty buffers
    /// are passed over (their offset is the end).
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
        self.store()?.core().append(session, topic, batches)
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
        self.topic(topic)?.read(partition, from, bytes_max)
    }

    /// Where each partition of a topic begins and ends, by partition.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn partition_ends(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        Ok(self.topic(topic)?.partition_ends())
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
        self.topic(topic)?.wait_for_records(behind, timeout)
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
        self.topic(topic)?.offset_for_time(partition, timestamp_ms)
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
        store.core().commit_offset(group, topic, partition, next)
    }

    /// How far a group has come in each partition of a topic, where it has committed.
    ///
    /// # Errors
    /// If the store fails.
    pub fn committed_offsets(&self, group: &str, topic: &str) -> Result<Vec<(u32, Offset)>, Error> {
        let store = self.store()?;
        let committed = store.core().shared.state.committed_by(group, topic)?;
        Ok(committed.iter().map(|c| (c.partition, c.next)).collect())
    }

    /// What a topic takes on disk.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn topic_size(&self, topic: &str) -> Result<TopicSize, Error> {
        let segments = self.segments(topic)?;
        Ok(TopicSize {
            segments: u32::try_from(segments.len()).unwrap_or(u32::MAX),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
        })
    }

    /// A topic's segments, in order; the last one is written to.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn segments(&self, topic: &str) -> Result<Vec<SegmentInfo>, Error> {
        Ok(self.topic(topic)?.segment_infos())
    }

    /// The gaps that were found in a topic: records that are lost. Reads pass over them.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn gaps(&self, topic: &str) -> Result<Vec<Gap>, Error> {
        Ok(self.topic(topic)?.gaps())
    }

    /// Keeps the records of some partitions from the given offsets on, whatever retention says, until the same
    /// holder names later offsets or [lets go](Self::release). For an ingest's checkpoint, before which
    /// nothing is looked up any more; a group's committed offsets hold without it. Holds do not expire.
    ///
    /// # Errors
    /// If the topic or a partition does not exist, or the store fails.
    pub fn hold(&self, holder: &str, topic: &str, offsets: &[(u32, Offset)]) -> Result<(), Error> {
        self.store()?.core().hold(holder, topic, offsets)
    }

    /// Lets go of everything that a holder holds.
    ///
    /// # Errors
    /// If the store fails.
    pub fn release(&self, holder: &str) -> Result<(), Error> {
        self.store()?.core().shared.state.remove_held(holder)
    }

    /// What has been done since the log was opened.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn counters(&self) -> Result<Counters, Error> {
        Ok(self.store()?.core().shared.counts.get())
    }

    /// How long appends and fsyncs took since the log was opened.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn latencies(&self) -> Result<Latencies, Error> {
        Ok(self.store()?.core().shared.counts.latencies())
    }

    /// The space on the log's disk.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn space(&self) -> Result<DiskSpace, Error> {
        let store = self.store()?;
        let shared = &store.core().shared;
        Ok(DiskSpace {
            free_bytes: shared.space.free_bytes()?,
            reserve_bytes: shared.config.reserve_bytes,
        })
    }

    /// Reads every batch below the high watermarks and says what is wrong; `progress` is called after each
    /// segment. For a log that is not open, see [`verify`](crate::verify()).
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn verify(&self, progress: &mut dyn FnMut(&VerifyReport)) -> Result<VerifyReport, Error> {
        Ok(verify::verify_core(self.store()?.core(), progress))
    }

    /// Drops sealed segments that retention no longer keeps, and returns how many bytes that gave back; the log
    /// does so itself each minute. Kept
    /// is, beside what the topic's [`Retention`] says, what a group that committed within the last seven days
    /// has not come past, what is [held](Self::hold), and everything until a first group has committed.
    ///
    /// # Errors
    /// If the store fails.
    pub fn apply_retention(&self) -> Result<u64, Error> {
        retention::apply(self.store()?.core())
    }

    /// Makes everything durable, notes the partitions' ends and gives the log up. The other clones fail from
    /// then on.
    ///
    /// # Errors
    /// If the store fails.
    pub fn close(self) -> Result<(), Error> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let mut store = slot.take().ok_or(Error::Closed)?;
        drop(slot);
        // Calls of other clones that have begun end first; those that wait for records give up.
        store.wake_waiting();
        loop {
            match Arc::try_unwrap(store) {
                Ok(last) => return last.close(),
                Err(shared) => store = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn store(&self) -> Result<Arc<Store>, Error> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone().ok_or(Error::Closed)
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicLog>, Error> {
        self.store()?.core().topic(name)
    }
}
