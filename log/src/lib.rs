//! The durable log: Kafka's model (topics, partitions, dense offsets, record batches) on fjall.
//!
//! **Invariant:** this crate never parses CSV, knows no column and no PostgreSQL; a record's key and
//! value are bytes. No fjall type stands in a public signature.

mod append;
mod background;
mod batch;
mod client;
mod database;
mod error;
mod files;
mod gap;
mod identity;
mod journal;
mod lz4;
mod mark;
mod offset;
mod record;
mod recovery;
mod retention;
mod segment;
mod segment_db;
mod sessions;
mod shared;
mod space;
mod state;
mod store;
mod topic;
mod varint;
mod verify;
mod wire;
mod writer;

pub use client::{
    Client, Config, Counters, Durability, PartitionEnds, Retention, SegmentInfo, Session, Topic,
    TopicConfig, TopicSize,
};
pub use error::Error;
pub use gap::Gap;
pub use offset::{LogId, Offset, ParseLogIdError};
pub use record::{Record, RecordBuffer, Records};
pub use verify::{Problem, VerifyReport, verify};
