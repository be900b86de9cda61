//! What can go wrong with a log.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::full::{Full, INODES_RESERVE};
use crate::{LogId, Offset};

/// An error of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process holds the log.
    #[error("log `{path}` is open in another process")]
    Locked {
        /// The log's directory.
        path: PathBuf,
    },
    /// The directory is on a network's file system, where other hosts could open it too.
    #[error(
        "log `{path}` is on a network file system ({kind}); keep it on a local disk, run `bekk log serve` there, \
         and reach it with --log kafka://host:port"
    )]
    NetworkFileSystem {
        /// The log's directory.
        path: PathBuf,
        /// Which file system.
        kind: &'static str,
    },
    /// The topic does not exist.
    #[error("topic `{0}` does not exist")]
    UnknownTopic(String),
    /// The topic has fewer partitions.
    #[error("topic `{topic}` has no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: u32,
    },
    /// A name or count is not allowed.
    #[error("{what} `{value}` is not allowed; {allowed} are")]
    Invalid {
        /// What it was meant to be.
        what: &'static str,
        /// The name or count.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The log was closed by another of its clients.
    #[error("the log has been closed")]
    Closed,
    /// The offset is not, or no longer, in the partition.
    #[error(
        "offset {offset} of {topic}/{partition} is outside the log, which holds {start} to {end}"
    )]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What was asked for.
        offset: Offset,
        /// Log start offset.
        start: Offset,
        /// High watermark.
        end: Offset,
    },
    /// The server of the log does not answer; of an append it is unknown whether it happened. The client is to
    /// be given up and made anew.
    #[error("log at `{address}` cannot be reached: {detail}")]
    Away {
        /// Where it should be.
        address: String,
        /// What was seen.
        detail: String,
    },
    /// The server of the log refused a request. If that was an append, it may have happened in part.
    #[error("{request} (log at `{address}`): {detail}")]
    Remote {
        /// What was asked for, as a verb phrase with its object.
        request: String,
        /// Where it is.
        address: String,
        /// The server's answer.
        detail: String,
    },
    /// The server of the log refused the login, or did not prove who it is.
    #[error("log at `{address}`: authentication failed: {detail}; {remedy}")]
    NotAuthenticated {
        /// Where it is.
        address: String,
        /// The server's answer.
        detail: String,
        /// What to do about it.
        remedy: String,
    },
    /// A right is missing on a Kafka cluster. An append that needs it has written nothing.
    #[error(
        "not authorized by the log at `{address}`: the right {right} on {resource} is missing; to grant it: {remedy}"
    )]
    NotAuthorized {
        /// The right, as Kafka names it.
        right: &'static str,
        /// What it is missing on.
        resource: String,
        /// Where the log is.
        address: String,
        /// The command that grants it.
        remedy: String,
    },
    /// A topic of a Kafka cluster has a setting with which records would be refused or lost.
    #[error("topic `{topic}` of the log at `{address}` has {setting}: {why}")]
    TopicSetting {
        /// The topic.
        topic: String,
        /// Where the log is.
        address: String,
        /// The setting and its value, as Kafka writes them.
        setting: String,
        /// What is wrong with it, and the command that changes it.
        why: String,
    },
    /// A topic is not copied to another log.
    #[error("topic `{topic}` is not copied: {why}")]
    NotCopied {
        /// The topic.
        topic: String,
        /// Why, and what to do.
        why: String,
    },
    /// The server of the log refused one record of an append; nothing of the append can be read.
    #[error("topic `{topic}` refuses a record with a value of {} bytes: {why}", value.len())]
    RecordRefused {
        /// The topic.
        topic: String,
        /// The partition of the record.
        partition: u32,
        /// The record's place among those that were appended to the partition.
        index: u32,
        /// The value.
        value: Vec<u8>,
        /// The server's answer, and what to do about it.
        why: String,
    },
    /// The retention of a topic of a log that another process, or a Kafka cluster, serves.
    #[error(
        "the retention of topic `{topic}` is set where the log is served, at `{address}`: send SIGHUP to the process \
         that owns the log, or use `kafka-configs.sh` for a Kafka cluster"
    )]
    RetentionElsewhere {
        /// The topic.
        topic: String,
        /// Where the log is served.
        address: String,
    },
    /// A question that only the log's own process can answer.
    #[error(
        "the log at `{address}` does not report {what}; run the command on the host of its directory"
    )]
    NotHere {
        /// What was asked for.
        what: &'static str,
        /// Where the log is served.
        address: String,
    },
    /// A newer session of the same ingest has begun; this one must not write any more.
    #[error("session {session} of ingest `{ingest}` was replaced by session {newest}")]
    Fenced {
        /// The ingest's id.
        ingest: String,
        /// The session that tried.
        session: u64,
        /// The newest one.
        newest: u64,
    },
    /// The disk has less free space than the log keeps in reserve; try again later.
    #[error(
        "disk of log `{path}` has {free_bytes} bytes free, less than the reserve of {reserve_bytes}"
    )]
    NoSpace {
        /// The log's directory.
        path: PathBuf,
        /// Free bytes.
        free_bytes: u64,
        /// What must stay free.
        reserve_bytes: u64,
    },
    /// The disk has fewer free inodes than the log keeps in reserve; try again later.
    #[error(
        "disk of log `{path}` has fewer free inodes than the reserve of {INODES_RESERVE}, though it may have free bytes"
    )]
    NoInodes {
        /// The log's directory.
        path: PathBuf,
    },
    /// An append of more bytes than one batch may have.
    #[error("a batch of {bytes} bytes is larger than the {max} that are allowed")]
    BatchTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A log of a newer version of bekk.
    #[error("log `{path}` has format version {found}; this bekk reads up to {known}")]
    Version {
        /// The log's directory.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The log was replaced: it has another id than the one remembered.
    #[error("log `{path}` has id {found}, not {expected}")]
    OtherLog {
        /// The log's directory.
        path: PathBuf,
        /// The id found.
        found: LogId,
        /// The id expected.
        expected: LogId,
    },
    /// Everybody may write to a directory that belongs to another user.
    #[error(
        "every user may write to `{path}` (mode {mode:04o}), which belongs to user id {owner}, and could take \
        over the log; use a directory below it, or have its owner run: chmod go-rwx '{path}'"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory, or a link with its name, belongs to another user, who could have prepared it.
    #[error(
        "`{path}` belongs to user id {owner}, who could redirect what is written there; run this as that user \
         (sudo -u '#{owner}' bekk …), or use a directory of your own"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// The directory has other files, and nothing of a log.
    #[error("`{path}` is not the directory of a log: it has other files, such as `{found}`")]
    OtherFiles {
        /// The directory.
        path: PathBuf,
        /// One of them.
        found: PathBuf,
    },
    /// The server serves another log than when it was connected to.
    #[error("`{address}` serves log {found} now, and served log {expected} before")]
    Replaced {
        /// Where the log is served.
        address: String,
        /// The id that is served now.
        found: LogId,
        /// The id that was served before.
        expected: LogId,
    },
    /// Stored bytes are damaged.
    #[error("log `{path}` is damaged: {detail}")]
    Corrupt {
        /// The file or directory.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The address cannot be listened at.
    #[error("listen at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server's certificate or its key cannot be used.
    #[error("use certificate file `{path}`: {detail}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The system refused a read or write.
    #[error("{act} `{path}`")]
    Io {
        /// What was tried, as a verb phrase: "write".
        act: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store failed; after a failed write nothing more is written, and the process should stop.
    #[error("{act} in log `{path}`: {detail}")]
    Store {
        /// What was tried.
        act: &'static str,
        /// The log's directory.
        path: PathBuf,
        /// Why.
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
