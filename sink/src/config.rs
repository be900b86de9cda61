//! How a sink runs.

use crate::ConnectOptions;

/// How a sink runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server.
    pub postgres: ConnectOptions,
    /// The group whose offsets it moves.
    pub group: String,
    /// All streams of the configuration, also those that this sink does not apply; empty if they are not known.
    pub configured: Vec<String>,
    /// How many connections apply batches, each of another partition; one more renews leases.
    pub connections: usize,
    /// Where a group starts that has no offsets yet.
    pub from: Start,
    /// The most records of a batch.
    pub batch_records_max: usize,
    /// The most bytes of a batch, encoded.
    pub batch_bytes_max: usize,
}

/// Where a group starts that has no offsets yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record.
    Earliest,
    /// Behind the newest record.
    Latest,
    /// At this offset of each partition, or the nearest that it has.
    Offset(u64),
    /// At the first record that is not older than this: milliseconds since 1970-01-01 UTC.
    Time(i64),
}

impl Config {
    /// The defaults: group `bekk`, two connections, from the oldest record, batches up to 32,768 records or
    /// 4 MiB.
    #[must_use]
    pub fn new(postgres: ConnectOptions) -> Self {
        Self {
            postgres,
            group: "bekk".to_owned(),
            configured: Vec::new(),
            connections: 2,
            from: Start::Earliest,
            batch_records_max: 32_768,
            batch_bytes_max: 4 << 20,
        }
    }
}
