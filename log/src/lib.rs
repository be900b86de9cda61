//! The durable log: Kafka's model (topics, partitions, dense offsets, record batches) on fjall.
//!
//! **Invariant:** this crate never parses CSV, knows no column and no PostgreSQL; a record's key and
//! value are bytes. No fjall type stands in a public signature.

mod append;
mod batch;
mod client;
mod database;
mod error;
mod files;
mod identity;
mod lz4;
mod offset;
mod record;
mod segment;
mod sessions;
mod state;
mod store;
mod topic;
mod varint;
mod wire;

pub use client::{
    Client, Config, Durability, PartitionEnds, Retention, Session, Topic, TopicConfig, TopicSize,
};
pub use error::Error;
pub use offset::{LogId, Offset, ParseLogIdError};
pub use record::{Record, RecordBuffer, Records};
