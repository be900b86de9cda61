//! What stops a sink.

mod postgres;

use std::path::PathBuf;

pub use self::postgres::PostgresError;
use crate::Refusal;
use crate::sqlstate::{MISSING, NO_LOCK};

/// An error that stops a sink. A lost connection or a bad row does not.
/// In each, `act` is what was tried, as a verb phrase, and `advice` what can be typed.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages name what happened, and each field"
)]
#[non_exhaustive]
pub enum Error {
    /// The server refused to let us in, or refused a statement for a reason that waiting does not cure.
    #[error("{act}: {cause}")]
    Postgres {
        act: String,
        cause: Box<PostgresError>,
    },
    /// The address is that of a pooler that gives each transaction another session.
    #[error(
        "{server} is a connection pooler that gives each transaction another session (PgBouncer: pool_mode = transaction \
         or statement), or sessions as others left them (an empty server_reset_query), and a sink needs its own session: \
         leases, temporary tables and settings are tied to it. Give the server's own address, or one of a pool with \
         pool_mode = session and the default server_reset_query"
    )]
    TransactionPooler { server: String },
    #[error("read the certificates in `{path}`: {detail}")]
    Certificates { path: PathBuf, detail: String },
    /// The connection options contradict each other.
    #[error("{0}")]
    Options(&'static str),
    #[error("table `{table}` does not fit stream `{stream}`:\n  {}", problems.join("\n  "))]
    TableMismatch {
        table: String,
        stream: String,
        problems: Vec<String>,
    },
    #[error(
        "group `{group}` has applied topic `{topic}` from log {remembered}, and this is log {found}: another project or \
         host may be using the group, which this one must not take over (use another: --group NAME); {advice}"
    )]
    OtherLog {
        group: String,
        topic: String,
        remembered: String,
        found: String,
        advice: Box<str>,
    },
    /// The table is not the one that the group has filled, or has lost its rows.
    #[error("group `{group}`, stream `{topic}`: {what}; {advice}")]
    OtherTarget {
        group: String,
        topic: String,
        what: String,
        advice: String,
    },
    /// The row of a partition's offset was deleted, and rows of the table have no key.
    #[error(
        "the row of group `{group}` for {topic}/{partition} in bekk.offsets was deleted, so that it is not known which \
         records have been applied; {advice}"
    )]
    OffsetGone {
        group: String,
        topic: String,
        partition: u32,
        advice: String,
    },
    /// The offsets count in a log that the command did not name.
    #[error(
        "the offsets of group `{group}` in topic `{topic}` belong to log {remembered}, not to this one: another \
         project or host may be using the group. If that log is gone for good, add --instead-of {remembered}"
    )]
    CountsInOtherLog {
        group: String,
        topic: String,
        remembered: String,
    },
    #[error("table `{table}` of stream `{stream}` does not exist")]
    NoTable { table: String, stream: String },
    /// The log differs from what the group has applied; nothing more is applied until a person has decided.
    #[error("group `{group}` is refused at {topic}/{partition}: {}; {advice}", refusal.detail)]
    Refused {
        group: String,
        topic: String,
        partition: u32,
        refusal: Refusal,
        advice: String,
    },
    #[error(
        "group `{group}` is at offset {next} of {topic}/{partition}, and the log holds {start} to {end}"
    )]
    OutsideLog {
        group: String,
        topic: String,
        partition: u32,
        next: u64,
        start: u64,
        end: u64,
    },
    /// A column of a stream that accepts JSON has a condition that its type does not have.
    #[error("stream `{stream}`: {detail}")]
    JsonColumns { stream: String, detail: String },
    /// Records refer to columns that damage has taken from the log.
    #[error(
        "records of stream `{stream}` have columns (schema {schema}) that are lost with damaged records of topic \
         `bekk.meta`; none of them is applied. Put the stream's columns back as they were when the records were \
         read and run: bekk ingest --once"
    )]
    SchemaLost { stream: String, schema: String },
    /// The session was not in the transaction that had moved the offset when it was to be committed.
    #[error(
        "the transaction that applies {topic}/{partition} from offset {from} on was gone before its COMMIT, and \
         nothing of it was applied; does a connection pooler switch servers within a transaction?"
    )]
    TransactionLost {
        topic: String,
        partition: u32,
        from: u64,
    },
    #[error(
        "record {offset} of {topic}/{partition} was written under another key than ({key}), by which it would be in \
         partition {wanted}: records of one key have no common order now, and an older one could win. Set `key` and \
         the key columns' types back, name a version with `newer_by`, or ingest the files again under another \
         stream name"
    )]
    KeyChanged {
        topic: String,
        partition: u32,
        offset: u64,
        key: String,
        wanted: u32,
    },
    #[error(
        "stream `{stream}`: another sink of group `{group}` ({sink}) fills it with other columns, another key, \
         `on_conflict`, `newer_by` or `deletes`, so that rows would depend on which sink applies them. Stop that sink first, or \
         give both the same configuration"
    )]
    OtherDefinition {
        group: String,
        stream: String,
        sink: String,
    },
    #[error("table `{table}` was altered meanwhile; try again")]
    TableAltered { table: String },
    #[error(
        "table `{table}` was dropped, renamed, moved or replaced while the sink ran; nothing was written to a new one. To \
         see how the table now fits stream `{stream}`: bekk check"
    )]
    TableReplaced { table: String, stream: String },
    /// The group's offset was moved under a lease that this sink holds, and not by this sink.
    #[error(
        "the offset of group `{group}` in {topic}/{partition} {} while this sink held the partition{}, continue where this \
         sink left it: bekk offsets reset --group {group} --stream {topic} --partition {partition} --to {from} --execute",
        moved(*from, *next),
        cause_of_move(*from, *next)
    )]
    OffsetMoved {
        group: String,
        topic: String,
        partition: u32,
        from: u64,
        next: u64,
    },
    #[error(
        "PostgreSQL has lost its latest transactions, and with them the offsets of group `{group}` in topic `{topic}`: \
         an older backup was restored, or a standby without them became the primary. Start the sink again: it says how \
         to fill the table"
    )]
    GroupLost { group: String, topic: String },
    #[error(
        "{server} is another server or database ({found}) than when the sink started ({was}), and nothing was written \
         to it. Give the address of the former one; or, if that one's rows were moved here, start the sink again: it \
         says how to continue"
    )]
    OtherServer {
        server: String,
        was: String,
        found: String,
    },
    /// The table refuses everything, so that nothing can be told about a single record.
    #[error(
        "table `{table}` refused {records} records of topic `{topic}` in a row and accepted none, the first in this batch \
         at offset {from} of partition {partition}; the last refusal: {cause}"
    )]
    EveryRecordRefused {
        table: String,
        topic: String,
        partition: u32,
        from: u64,
        records: u64,
        cause: Box<PostgresError>,
    },
    #[error("schema `bekk` in {database} has version {found}; this bekk knows up to {known}")]
    NewerSchema {
        database: String,
        found: i32,
        known: i32,
    },
    #[error(
        "table bekk.offsets was dropped and made again, or restored, while the sink ran, and nothing was written to it; \
         start the sink again: it compares the offsets with log and tables, and says how to continue"
    )]
    SchemaReplaced,
    /// Something keeps dead letters out of their table.
    #[error(
        "a trigger of table bekk.dead_letters drops rows or their updates, so that rejected records would be lost; drop \
         the trigger. To remove dead letters, use: bekk dead-letters discard"
    )]
    LettersLeftOut,
    /// A trigger of bekk.offsets keeps an offset or a lease from being written.
    #[error(
        "a trigger of table bekk.offsets drops updates or changes the offset, so that records would be applied again; \
         nothing was applied; {advice}"
    )]
    OffsetsLeftOut { advice: String },
    /// Something of schema `bekk` is missing.
    #[error("{what}; {advice}")]
    SchemaIncomplete { what: String, advice: String },
    /// Something in schema `bekk` belongs to a role that is not trusted.
    #[error(
        "{object} belongs to role `{owner}`, which could run any code with the rights of role `{role}`; have \
        a superuser or the database's owner drop it, or check it and take it over (ALTER ... OWNER TO)"
    )]
    ForeignObject {
        /// What it is, its name as SQL writes it, and in which database: `schema bekk in ...`.
        object: String,
        owner: String,
        role: String,
    },
    /// Anybody may have prepared a table that bekk.toml names without its schema.
    #[error("{0}")]
    PreparedTable(String),
    #[error(
        "a sink of group `{group}` runs and holds {topic}/{partition}; stop the group's sinks, then try again"
    )]
    GroupInUse {
        group: String,
        topic: String,
        partition: u32,
    },
    #[error("group `{group}` has no offset in {topic}/{partition}; see: bekk offsets list")]
    NoOffset {
        group: String,
        topic: String,
        partition: u32,
    },
    /// The log failed.
    #[error("{act}")]
    Log {
        act: String,
        source: bekk_log::Error,
    },
    /// The audit's working files could not be written or read.
    #[error(
        "write the audit's working files, about {needed_mb} MB, in `{dir}`; to name a directory with room for them: --dir DIR"
    )]
    WorkingFiles {
        dir: PathBuf,
        needed_mb: u64,
        source: std::io::Error,
    },
    /// A thread or runtime could not be started.
    #[error("{act}")]
    Io {
        act: &'static str,
        source: std::io::Error,
    },
}

impl Error {
    /// The same with the count of all records that were refused.
    pub(crate) fn with_refused(mut self, refused: u64) -> Self {
        if let Self::EveryRecordRefused { records, .. } = &mut self {
            *records = refused;
        }
        self
    }

    pub(crate) fn postgres(act: impl Into<String>, error: &tokio_postgres::Error) -> Self {
        Self::Postgres {
            act: act.into(),
            cause: Box::new(PostgresError::from(error)),
        }
    }

    /// Whether the server refused every record, with this SQLSTATE the last one.
    pub(crate) fn is_refusal_of(&self, sqlstate: &str) -> bool {
        matches!(self, Self::EveryRecordRefused { cause, .. } if cause.sqlstate.as_deref() == Some(sqlstate))
    }

    /// Whether the server said that a table, a column, a unique index or a schema does not exist.
    pub(crate) fn names_what_is_missing(&self) -> bool {
        let sqlstate = match self {
            Self::Postgres { cause, .. } => cause.sqlstate.as_deref(),
            _ => None,
        };
        sqlstate.is_some_and(|code| MISSING.contains(&code))
    }

    /// Whether a wait for a lock ended in vain.
    pub(crate) fn is_of_a_lock(&self) -> bool {
        matches!(self, Self::Postgres { cause, .. } if cause.sqlstate.as_deref() == Some(NO_LOCK))
    }

    /// The same, with what is locked, by whom.
    pub(crate) fn with_lock_holder(mut self, holder: &str) -> Self {
        if let Self::Postgres { cause, .. } = &mut self {
            cause.detail = Some(holder.to_owned());
        }
        self
    }

    /// Whether it is about one stream's table or partitions, so that other streams can continue.
    pub(crate) fn is_of_one_stream(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::TableMismatch { .. }
            | Self::OtherLog { .. }
            | Self::OtherTarget { .. }
            | Self::OffsetGone { .. }
            | Self::TableReplaced { .. }
            | Self::OtherDefinition { .. }
            | Self::EveryRecordRefused { .. } => true,
            Self::Postgres { cause, .. } => cause.is_about_a_table(),
            _ => false,
        }
    }

    pub(crate) fn log(act: impl Into<String>, source: bekk_log::Error) -> Self {
        Self::Log {
            act: act.into(),
            source,
        }
    }
}

fn moved(from: u64, next: u64) -> String {
    match next < from {
        true => format!("went back from {from} to {next}"),
        false => format!("was set from {from} to {next}"),
    }
}

fn cause_of_move(from: u64, next: u64) -> &'static str {
    if next < from {
        ", and the server has lost no transaction: somebody set it, or restored schema bekk from a dump. If the table \
         was restored with it, start the sink again, which applies the records between the two again; if their rows \
         are in the table"
    } else {
        "; the records between the two may not have been applied. If that is meant, start the sink again; if not"
    }
}
