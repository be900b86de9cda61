//! What can go wrong with ingest.

use std::path::{Path, PathBuf};

use bekk_log::LogId;

/// An error that stops ingest.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages name what happened, and each field"
)]
#[non_exhaustive]
pub enum Error {
    #[error("another ingest{holder} is running with state directory `{path}`")]
    Locked {
        path: PathBuf,
        /// Its process, as text; empty if it cannot be seen.
        holder: String,
    },
    #[error(
        "another ingest{holder} reads the files of `{path}`: a directory feeds one ingest, which may have several \
         streams"
    )]
    InboxLocked {
        path: PathBuf,
        /// Its process, as text; empty if it cannot be seen.
        holder: String,
    },
    /// The log has lost records that this ingest had appended, and its beginning is gone, so that what is missing cannot
    /// be told from what retention removed.
    #[error(
        "the log has lost records of topic `{topic}` that were appended before ({what}), or was replaced, and its \
         beginning was removed by retention, so that it is not known which lines of the files are missing; compare \
         with: bekk audit --stream {topic} --deep. To continue with new lines only, remove `marks` from `.bekk/ingest`"
    )]
    RecordsLost { topic: String, what: String },
    #[error(
        "a later ingest has taken over: two ingests run with copies of the same state; stop one of them, and \
        move its `.bekk/ingest` away before it reads other files"
    )]
    Fenced { session: u64, newest: u64 },
    /// The checkpoint tells of another log.
    #[error("checkpoint `{path}` belongs to log {expected}, but the log in use is {found}")]
    OtherLog {
        path: PathBuf,
        found: LogId,
        /// The log it was written with, as text.
        expected: String,
    },
    /// It was told to stop before it knew what the log holds.
    #[error("stopped while reading what the log already holds")]
    Stopped,
    #[error("pattern `{pattern}` of stream `{stream}`: {detail}")]
    Pattern {
        stream: String,
        pattern: String,
        detail: String,
    },
    /// A stream's column has conditions that no value can meet.
    #[error("column `{column}` of stream `{stream}`: {detail}")]
    Column {
        stream: String,
        column: String,
        detail: String,
    },
    /// The log refused a record for good.
    #[error("append the record of `{path}` at line {line}")]
    RecordRefused {
        path: PathBuf,
        line: u64,
        source: Box<bekk_log::Error>,
    },
    /// The log failed.
    #[error("{act}")]
    Log {
        act: &'static str,
        source: bekk_log::Error,
    },
    /// The system refused something on ingest's own files.
    #[error("{act} `{path}`")]
    Io {
        act: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

impl Error {
    /// Makes the wrapper of a log's error; a fenced session is an error of its own.
    pub(crate) fn log(act: &'static str) -> impl FnOnce(bekk_log::Error) -> Self {
        move |source| match source {
            bekk_log::Error::Fenced {
                session, newest, ..
            } => Self::Fenced { session, newest },
            source => Self::Log { act, source },
        }
    }

    /// Makes the wrapper of a system's error.
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            act,
            path: path.to_owned(),
            source,
        }
    }
}
