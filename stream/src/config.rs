//! `bekk.toml`: the log, the database and any number of streams.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Stream;

/// The sample configuration, used where there is no `bekk.toml`: the one at the project's root.
pub const SAMPLE_CONFIG: &str = include_str!("../../bekk.toml");

/// A whole configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the log is.
    pub log: LogLocation,
    /// When an append is acknowledged.
    pub durability: Durability,
    /// The database named in `[postgres]`, if one is.
    pub postgres_url: Option<String>,
    /// The streams, in the order of the file; at least one.
    pub streams: Vec<Stream>,
}

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLocation {
    /// A directory, absolute.
    Directory(PathBuf),
    /// `kafka://host:port[,host:port]`, without the scheme.
    Kafka(String),
}

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After fsync.
    Sync,
    /// At once; fsync follows at this interval.
    Interval(Duration),
    /// At once; the operating system writes when it likes.
    Os,
}
