//! Positions in the log.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A position in a partition. It always names the *next* record: the one to be read, or written, next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Self = Self(0);

    /// Makes an offset of its number.
    #[must_use]
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// The offset's number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The offset `records` behind this one.
    #[must_use]
    pub const fn plus(self, records: u64) -> Self {
        Self(self.0 + records)
    }

    /// How many records lie from `start` up to this offset; 0 if it is not behind `start`.
    #[must_use]
    pub const fn since(self, start: Self) -> u64 {
        self.0.saturating_sub(start.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Prefix of the log's id in the cluster id of Bekk's own server; a Kafka cluster does not have it.
const CLUSTER_ID_PREFIX: &str = "bekk.";

/// The random id of a log, made with it: whatever remembers an offset remembers whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(Uuid);

/// The text is not a log id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log id; a log id is a UUID")]
pub struct ParseLogIdError(String);

impl LogId {
    /// Makes a new id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The cluster id of Bekk's own server of this log.
    pub(crate) fn cluster_id(self) -> String {
        format!("{CLUSTER_ID_PREFIX}{self}")
    }

    /// Returns the id of the log that a server with this cluster id serves, and whether the server is Bekk's own.
    pub(crate) fn of_server(cluster_id: &str) -> (Self, bool) {
        let own = cluster_id.strip_prefix(CLUSTER_ID_PREFIX);
        match own.and_then(|id| id.parse().ok()) {
            Some(id) => (id, true),
            None => (Self::of_cluster(cluster_id), false),
        }
    }

    /// The id of a Kafka cluster: the same for the same cluster.
    fn of_cluster(cluster_id: &str) -> Self {
        Self(Uuid::from_u128(xxhash_rust::xxh3::xxh3_128(
            cluster_id.as_bytes(),
        )))
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub(crate) const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LogId {
    type Err = ParseLogIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| ParseLogIdError(text.to_owned()))
    }
}
