//! The durable log: Kafka's model (topics, partitions, dense offsets, record batches) on fjall.
//!
//! **Invariant:** this crate never parses CSV, knows no column and no PostgreSQL; a record's key and
//! value are bytes. No fjall type stands in a public signature.
//!
//! # Numbers
//!
//! | | |
//! |---|---|
//! | topics' names | 1 to 249 bytes of `[a-zA-Z0-9._-]` |
//! | partitions of a topic | 1 to 1,024, for ever |
//! | a batch, before compression | 16 MiB ([`Config::batch_bytes_max`]) |
//! | appends written together | up to 32 MiB, or one |
//! | a segment | 512 MB or a day ([`Config`]) |
//! | kept free on the disk | 256 MB ([`Config::reserve_bytes`]), looked at each 100 ms |
//! | the durable mark is behind by | at most about a second |
//! | memory of an open segment | 8 MiB for each partition that is written to, less if there are more than seven; a cache of 1 MiB for each partition, up to 4 MiB |
//! | segments of a topic that wait to be sealed | 16 MiB in memory; an append that would begin another segment waits |
//! | sealed segments open for readers | 8 |
//! | a group that holds records past their retention is named | 7 days after its last commit |
//! | an end is raised beyond the mark, where the mark may not know all | by 2^24 |
//!
//! # Layout
//!
//! `docs/format.md` has every file and key. In short: a directory has a lock (`LOCK`), an identity
//! (`format`), the durable mark (`ends`), the state (`state`, a fjall database: topics, sessions, groups'
//! offsets, holds, log starts, known gaps) and `topics/<topic>/<number>`, a segment: its header (`segment`),
//! once it is sealed its summary (`sealed`), and `db`, a fjall database with a keyspace for each partition
//! (base offset to record batch) and one for what is written with them.
//!
//! # Who has the log
//!
//! The process that holds the lock owns the log, and serves others on the same machine, its guests, over a loopback
//! port that `DIR/owner` names; a guest that finds the lock free joins anew and may become the owner. A [`Client`]
//! is an owner, a guest, or the client of a log elsewhere ([`Client::join`], [`Client::connect`]).
//!
//! # Life of an append
//!
//! The caller encodes, compresses and checksums each buffer as a record batch at offset 0. It queues; whoever
//! finds nobody writing writes for all that wait. Under the topic's writer lock, with no session able to
//! begin: each append's session is checked, its batches get their offsets (in front of the CRC), all of it
//! becomes one fjall batch with the partitions' ends and the time index, and is fsynced once. Then the high
//! watermark moves, and readers who wait are woken. After a failed write or fsync nothing more is written.
//!
//! A segment that is full or old when an append comes is followed by the next one, which a background thread
//! has made ready; the same thread then seals it: writes everything into tables, closes it, empties its
//! journal, notes what it holds.
//!
//! # Life of a read
//!
//! The high watermark and the chain of segments are looked up, the segment that holds the offset is found by
//! its start, opened if it is sealed and nobody read it lately, and its batches are visited from the one that
//! holds the offset on. Each is checked (its CRC, and that it is the one that was written there) and decompressed
//! into one buffer, which [`Records`] owns and iterates without copying. Offsets that no record has are passed; such
//! a gap is reported once and kept.
//!
//! # Life of a crash
//!
//! What fjall has written to its journal survives the process; what was fsynced survives the machine. At the
//! next opening, if the log was not closed in order, each journal is read first, cut behind its last whole
//! batch, and what is cut off is kept. Then fjall opens what is not sealed; the last batch of each partition
//! must be where its end is noted. An end below the durable mark is raised to it: what lies between is a gap,
//! reported and kept in the state, and no offset is given twice. A segment that is damaged is renamed to
//! `<number>.damaged-<ms>`, which is never served and never deleted; so is one that turns out to be damaged
//! when it is read.

mod background;
mod backup;
mod batch;
mod client;
mod clock;
mod codec;
mod config;
mod content;
mod copy;
mod core;
mod database;
mod deletion;
mod destination;
mod error;
mod facts;
mod files;
mod full;
mod gap;
mod group_commit;
mod guest_token;
mod handle;
mod headers;
mod histogram;
mod identity;
mod join;
mod journal;
mod lock;
mod lz4;
mod mark;
mod network_fs;
mod notes;
mod offset;
mod owner;
mod owner_watch;
mod peer;
mod places;
mod poison;
mod produced;
mod producer_ids;
mod producers;
mod raw;
mod readers;
mod record;
mod record_mark;
mod records;
mod recovery;
mod relay;
mod remains;
mod remote;
mod retention;
mod salvage;
mod segment;
mod serve;
mod sessions;
mod shared;
mod snapshot;
mod space;
mod state;
mod store;
mod topic;
mod varint;
mod verify;
mod wire;
mod writer;

pub use backup::Backup;
pub use client::Client;
pub use config::{Config, Durability, Retention, TopicConfig};
pub use copy::{Copied, TopicCopy};
pub use error::Error;
pub use facts::{
    Commit, Counters, DiskSpace, Latencies, PartitionEnds, Salvaged, SegmentInfo, Session, Topic,
    TopicSize,
};
pub use files::{check_directory, create_dir, is_trusted_user, make_private, read_plain};
pub use full::{Full, INODES_RESERVE, free_inodes};
pub use gap::{Applied, Gap, Losses};
pub use headers::Headers;
pub use histogram::{Durations, Histogram};
pub use offset::{LogId, Offset, ParseLogIdError};
pub use peer::peer_user;
pub use places::ServedClient;
pub use readers::GROUP_ACTIVE;
pub use record::{Record, RecordBuffer};
pub use record_mark::{AtMark, Difference, MarkCheck, MarkLookup, RecordMark, judge_mark};
pub use records::Records;
pub use remote::{RemoteConfig, Waits};
pub use salvage::salvage;
pub use serve::{Credentials, ServeConfig, Server, TlsConfig};
pub use verify::{Problem, VerifyReport, verify};
