//! Reads the log and applies it to PostgreSQL, exactly once in effect.
//!
//! **Invariant:** rows, dead letters, counts and the next offset of a partition are one transaction
//! (`apply.rs`), whose first statement moves the offset and fails unless this sink still holds the
//! partition's lease. Everything else here only decides when and with what that transaction runs.
//!
//! **Invariant:** the result in a table equals applying the log's records one by one in log order.
//! Deduplication, sorting and the two paths into the table are optimisations that never change it; where
//! they could (a second unique constraint, a trigger), records go in log order.
//!
//! **Invariant:** this crate never reads a CSV file. No tokio-postgres type stands in a public signature.
//!
//! Reading order: [`run`] starts everything, once `setup` has made what must be there; `board` says which partition has work; `worker` takes a
//! batch from the log (`prepare`, `batch`, `encode`) while the one before is in flight, and applies it
//! (`apply`, `write`, `isolate`); `keeper` holds the leases; `target` makes and checks tables.

mod connect_options;
mod error;
mod sqlstate;

mod search_path;
mod server_id;
mod session;
mod tls;
mod trust;

mod catalog;
mod command;
mod ddl;
mod lock_holder;
mod migrations;
mod own_schema;
mod repair;
mod taken;
mod target;

mod encode;
mod meta_cache;
mod numeric;
mod render;

mod batch;
mod encode_only;
mod prepare;

mod apply;
mod audit;
mod dead_letter;
mod groups;
mod identity;
mod input;
mod isolate;
mod job;
mod offsets;
mod refusal;
mod write;

mod letters;
mod moved;
mod parents;
mod retry;
mod tables;

mod backoff;
mod board;
mod config;
mod context;
mod control;
mod keeper;
mod member;
mod run;
mod setup;
mod stats;
mod trace;
mod wait;
mod watch;
mod worker;

pub use audit::{
    DeepAudit, FINDINGS_MAX, FileCounts, Finding, FindingKind, PartitionCounts, audit_content,
    audit_counts,
};
pub use config::{Config, Start};
pub use connect_options::{
    ChannelBinding, ConnectOptions, ConnectOptionsError, Host, SslMode, TargetSession,
};
pub use control::Control;
pub use ddl::{create_table_sql, quote_table};
pub use encode_only::{Encoded, encode_only};
pub use error::{Error, PostgresError};
pub use groups::{
    GroupOffset, Reset, delete_group, forget_in_log, list_offsets, partitions_in_log, reset_offsets,
};
pub use identity::{Adopted, TableFault, adopt, table_faults, tables_with_rows};
pub use letters::{
    Letter, LetterCount, LetterFilter, LetterNames, count_letters, discard_letters, latest_letters,
    letter_names, read_letters,
};
pub use member::Member;
pub use moved::{Moved, move_to_log};
pub use own_schema::SchemaFault;
pub use refusal::{Refusal, RefusalKind, advice_for_lost_log, fill_anew, replay_command};
pub use repair::{repair_schema, schema_fault};
pub use retry::{Corrected, LetterText, Retried, retry_letters};
pub use run::{Summary, run};
pub use stats::{Position, State, Stats};
pub use tables::{
    Difference, Differing, ExistingColumn, create_like, diff_tables, existing_columns,
};
pub use target::{Misfit, Report, TableReport, check, misfits};
pub use trace::{Fate, Trace, Version, What, trace};
pub use wait::{SinkWait, Wait, WaitCause, sink_waits};
