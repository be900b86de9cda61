//! What can go wrong with a log.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::full::{Full, INODES_RESERVE};
use crate::{LogId, Offset};

/// An error of the log.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages name what happened, and each field"
)]
#[non_exhaustive]
pub enum Error {
    #[error("log `{path}` is open in another process")]
    Locked { path: PathBuf },
    /// The directory is on a network's file system, where other hosts could open it too.
    #[error(
        "log `{path}` is on a network file system ({kind}); keep it on a local disk, run `bekk log serve` there, \
         and reach it with --log kafka://host:port"
    )]
    NetworkFileSystem { path: PathBuf, kind: &'static str },
    #[error("topic `{0}` does not exist")]
    UnknownTopic(String),
    #[error("topic `{topic}` has no partition {partition}")]
    UnknownPartition { topic: String, partition: u32 },
    #[error("{what} `{value}` is not allowed; {allowed} are")]
    Invalid {
        what: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error("the log has been closed")]
    Closed,
    /// The offset is not, or no longer, in the partition.
    #[error(
        "offset {offset} of {topic}/{partition} is outside the log, which holds {start} to {end}"
    )]
    OffsetOutOfRange {
        topic: String,
        partition: u32,
        offset: Offset,
        start: Offset,
        end: Offset,
    },
    /// The server of the log does not answer; of an append it is unknown whether it happened. The client is to
    /// be given up and made anew.
    #[error("log at `{address}` cannot be reached: {detail}")]
    Away { address: String, detail: String },
    /// The server of the log refused a request. If that was an append, it may have happened in part.
    #[error("{request} (log at `{address}`): {detail}")]
    Remote {
        request: String,
        address: String,
        detail: String,
    },
    /// The server of the log refused the login, or did not prove who it is.
    #[error("log at `{address}`: authentication failed: {detail}; {remedy}")]
    NotAuthenticated {
        address: String,
        detail: String,
        remedy: String,
    },
    /// A right is missing on a Kafka cluster. An append that needs it has written nothing.
    #[error(
        "not authorized by the log at `{address}`: the right {right} on {resource} is missing; to grant it: {remedy}"
    )]
    NotAuthorized {
        /// The right, as Kafka names it.
        right: &'static str,
        resource: String,
        address: String,
        /// The command that grants it.
        remedy: String,
    },
    /// A topic of a Kafka cluster has a setting with which records would be refused or lost.
    #[error("topic `{topic}` of the log at `{address}` has {setting}: {why}")]
    TopicSetting {
        topic: String,
        address: String,
        /// The setting and its value, as Kafka writes them.
        setting: String,
        /// What is wrong with it, and the command that changes it.
        why: String,
    },
    /// A topic is not copied to another log.
    #[error("topic `{topic}` is not copied: {why}")]
    NotCopied { topic: String, why: String },
    /// The server of the log refused one record of an append; nothing of the append can be read.
    #[error("topic `{topic}` refuses a record with a value of {} bytes: {why}", value.len())]
    RecordRefused {
        topic: String,
        partition: u32,
        /// The record's place among those that were appended to the partition.
        index: u32,
        value: Vec<u8>,
        why: String,
    },
    /// The retention of a topic of a log that another process, or a Kafka cluster, serves.
    #[error(
        "the retention of topic `{topic}` is set where the log is served, at `{address}`: send SIGHUP to the process \
         that owns the log, or use `kafka-configs.sh` for a Kafka cluster"
    )]
    RetentionElsewhere { topic: String, address: String },
    /// A question that only the log's own process can answer.
    #[error(
        "the log at `{address}` does not report {what}; run the command on the host of its directory"
    )]
    NotHere { what: &'static str, address: String },
    /// A newer session of the same ingest has begun; this one must not write any more.
    #[error("session {session} of ingest `{ingest}` was replaced by session {newest}")]
    Fenced {
        ingest: String,
        session: u64,
        newest: u64,
    },
    /// The disk has less free space than the log keeps in reserve; try again later.
    #[error(
        "disk of log `{path}` has {free_bytes} bytes free, less than the reserve of {reserve_bytes}"
    )]
    NoSpace {
        path: PathBuf,
        free_bytes: u64,
        reserve_bytes: u64,
    },
    /// The disk has fewer free inodes than the log keeps in reserve; try again later.
    #[error(
        "disk of log `{path}` has fewer free inodes than the reserve of {INODES_RESERVE}, though it may have free bytes"
    )]
    NoInodes { path: PathBuf },
    #[error("a batch of {bytes} bytes is larger than the {max} that are allowed")]
    BatchTooLarge { bytes: usize, max: usize },
    #[error("log `{path}` has format version {found}; this bekk reads up to {known}")]
    Version {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// The log was replaced: it has another id than the one remembered.
    #[error("log `{path}` has id {found}, not {expected}")]
    OtherLog {
        path: PathBuf,
        found: LogId,
        expected: LogId,
    },
    /// Everybody may write to a directory that belongs to another user.
    #[error(
        "every user may write to `{path}` (mode {mode:04o}), which belongs to user id {owner}, and could take \
        over the log; use a directory below it, or have its owner run: chmod go-rwx '{path}'"
    )]
    Open {
        path: PathBuf,
        owner: u32,
        mode: u32,
    },
    /// The directory, or a link with its name, belongs to another user, who could have prepared it.
    #[error(
        "`{path}` belongs to user id {owner}, who could redirect what is written there; run this as that user \
         (sudo -u '#{owner}' bekk …), or use a directory of your own"
    )]
    Foreign { path: PathBuf, owner: u32 },
    #[error("`{path}` is not the directory of a log: it has other files, such as `{found}`")]
    OtherFiles { path: PathBuf, found: PathBuf },
    /// The server serves another log than when it was connected to.
    #[error("`{address}` serves log {found} now, and served log {expected} before")]
    Replaced {
        address: String,
        found: LogId,
        expected: LogId,
    },
    #[error("log `{path}` is damaged: {detail}")]
    Corrupt { path: PathBuf, detail: String },
    /// The address cannot be listened at.
    #[error("listen at {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    /// The server's certificate or its key cannot be used.
    #[error("use certificate file `{path}`: {detail}")]
    Certificate { path: PathBuf, detail: String },
    /// The system refused a read or write.
    #[error("{act} `{path}`")]
    Io {
        act: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// The store failed; after a failed write nothing more is written, and the process should stop.
    #[error("{act} in log `{path}`: {detail}")]
    Store {
        act: &'static str,
        path: PathBuf,
        detail: String,
        /// What the disk had run out of, if that was the reason.
        full: Option<Full>,
    },
}

impl Error {
    pub(crate) fn corrupt(path: impl Into<PathBuf>, detail: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.into(),
            detail: detail.into(),
        }
    }

    /// Whether the same call may succeed later, with nothing changed by the caller.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::NoInodes { .. })
    }

    /// Whether the store failed because the disk, or a quota on it, was full while it wrote. Nothing more is written until
    /// the log is closed and opened again.
    #[must_use]
    pub const fn needs_reopening(&self) -> bool {
        matches!(self, Self::Store { full: Some(_), .. })
    }

    /// The text, with that of its cause.
    pub(crate) fn with_cause(&self) -> String {
        match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    /// Whether the disk, or a quota on it, is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        !matches!(self, Self::Store { .. }) && self.full().is_some()
    }

    /// What the disk has run out of, if that is the reason.
    #[must_use]
    pub fn full(&self) -> Option<Full> {
        match self {
            Self::NoSpace { .. } => Some(Full::Space),
            Self::NoInodes { .. } => Some(Full::Inodes),
            Self::Io { source, path, .. } => Full::of(source, path),
            Self::Store { full, .. } => *full,
            _ => None,
        }
    }
}
