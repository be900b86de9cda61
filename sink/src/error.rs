//! What stops a sink.

mod postgres;

use std::path::PathBuf;

pub use self::postgres::PostgresError;
use crate::Refusal;
use crate::sqlstate::{MISSING, NO_LOCK};

/// An error that stops a sink. A lost connection or a bad row does not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused to let us in, or refused a statement for a reason that waiting does not cure.
    #[error("{act}: {cause}")]
    Postgres {
        /// What was tried, as a verb phrase.
        act: String,
        /// What the server said.
        cause: Box<PostgresError>,
    },
    /// The address is that of a pooler that gives each transaction another session.
    #[error(
        "{server} is a connection pooler that gives each transaction another session (PgBouncer: pool_mode = transaction \
         or statement), or sessions as others left them (an empty server_reset_query), and a sink needs its own session: \
         leases, temporary tables and settings are tied to it. Give the server's own address, or one of a pool with \
         pool_mode = session and the default server_reset_query"
    )]
    TransactionPooler {
        /// The address.
        server: String,
    },
    /// The certificates of `sslrootcert` cannot be used.
    #[error("read the certificates in `{path}`: {detail}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The connection options contradict each other.
    #[error("{0}")]
    Options(&'static str),
    /// A table does not fit its stream.
    #[error("table `{table}` does not fit stream `{stream}`:\n  {}", problems.join("\n  "))]
    TableMismatch {
        /// The table.
        table: String,
        /// The stream.
        stream: String,
        /// Every mismatch, each naming its column.
        problems: Vec<String>,
    },
    /// The group counts its offsets in another log.
    #[error(
        "group `{group}` has applied topic `{topic}` from log {remembered}, and this is log {found}: another project or \
         host may be using the group, which this one must not take over (use another: --group NAME); {advice}"
    )]
    OtherLog {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The log that its offsets count in.
        remembered: String,
        /// The log that was opened.
        found: String,
        /// What can be typed if the other log is gone for good.
        advice: Box<str>,
    },
    /// The table is not the one that the group has filled, or has lost its rows.
    #[error("group `{group}`, stream `{topic}`: {what}; {advice}")]
    OtherTarget {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// What differs.
        what: String,
        /// What can be typed.
        advice: String,
    },
    /// The row of a partition's offset was deleted, and rows of the table have no key.
    #[error(
        "the row of group `{group}` for {topic}/{partition} in bekk.offsets was deleted, so that it is not known which \
         records have been applied; {advice}"
    )]
    OffsetGone {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What can be typed.
        advice: String,
    },
    /// The offsets count in a log that the command did not name.
    #[error(
        "the offsets of group `{group}` in topic `{topic}` belong to log {remembered}, not to this one: another \
         project or host may be using the group. If that log is gone for good, add --instead-of {remembered}"
    )]
    CountsInOtherLog {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The log that its offsets count in.
        remembered: String,
    },
    /// A table that was to be adopted or audited does not exist.
    #[error("table `{table}` of stream `{stream}` does not exist")]
    NoTable {
        /// The table.
        table: String,
        /// The stream.
        stream: String,
    },
    /// The log differs from what the group has applied; nothing more is applied until a person has decided.
    #[error("group `{group}` is refused at {topic}/{partition}: {}; {advice}", refusal.detail)]
    Refused {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What differs.
        refusal: Refusal,
        /// What can be typed.
        advice: String,
    },
    /// The group's offset is not, or no longer, in the log.
    #[error(
        "group `{group}` is at offset {next} of {topic}/{partition}, and the log holds {start} to {end}"
    )]
    OutsideLog {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The group's offset.
        next: u64,
        /// Log start offset.
        start: u64,
        /// Log end offset.
        end: u64,
    },
    /// A column of a stream that accepts JSON has a condition that its type does not have.
    #[error("stream `{stream}`: {detail}")]
    JsonColumns {
        /// The stream.
        stream: String,
        /// Which condition.
        detail: String,
    },
    /// Records refer to columns that damage has taken from the log.
    #[error(
        "records of stream `{stream}` have columns (schema {schema}) that are lost with damaged records of topic \
         `bekk.meta`; none of them is applied. Put the stream's columns back as they were when the records were \
         read and run: bekk ingest --once"
    )]
    SchemaLost {
        /// The stream.
        stream: String,
        /// The schema's id.
        schema: String,
    },
    /// The session was not in the transaction that had moved the offset when it was to be committed.
    #[error(
        "the transaction that applies {topic}/{partition} from offset {from} on was gone before its COMMIT, and \
         nothing of it was applied; does a connection pooler switch servers within a transaction?"
    )]
    TransactionLost {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first offset of the batch.
        from: u64,
    },
    /// Records of one key lie in several partitions, because the stream had another key when they were written.
    #[error(
        "record {offset} of {topic}/{partition} was written under another key than ({key}), by which it would be in \
         partition {wanted}: records of one key have no common order now, and an older one could win. Set `key` and \
         the key columns' types back, name a version with `newer_by`, or ingest the files again under another \
         stream name"
    )]
    KeyChanged {
        /// The topic.
        topic: String,
        /// The partition that the record is in.
        partition: u32,
        /// Its offset.
        offset: u64,
        /// The stream's key columns.
        key: String,
        /// The partition that it would be in.
        wanted: u32,
    },
    /// Another sink of the group has the stream with other columns, another key or another rule.
    #[error(
        "stream `{stream}`: another sink of group `{group}` ({sink}) fills it with other columns, another key, \
         `on_conflict`, `newer_by` or `deletes`, so that rows would depend on which sink applies them. Stop that sink first, or \
         give both the same configuration"
    )]
    OtherDefinition {
        /// The group.
        group: String,
        /// The stream.
        stream: String,
        /// The other sink's process and host.
        sink: String,
    },
    /// The table was altered while a command used it.
    #[error("table `{table}` was altered meanwhile; try again")]
    TableAltered {
        /// The table.
        table: String,
    },
    /// The table was dropped, has another name or schema, or another one has its name.
    #[error(
        "table `{table}` was dropped, renamed, moved or replaced while the sink ran; nothing was written to a new one. To \
         see how the table now fits stream `{stream}`: bekk check"
    )]
    TableReplaced {
        /// The table.
        table: String,
        /// The stream.
        stream: String,
    },
    /// The group's offset was moved under a lease that this sink holds, and not by this sink.
    #[error(
        "the offset of group `{group}` in {topic}/{partition} {} while this sink held the partition{}, continue where this \
         sink left it: bekk offsets reset --group {group} --stream {topic} --partition {partition} --to {from} --execute",
        moved(*from, *next),
        cause_of_move(*from, *next)
    )]
    OffsetMoved {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// Where the sink had left it.
        from: u64,
        /// Where it is now.
        next: u64,
    },
    /// The server was set back to a time before the group had an offset.
    #[error(
        "PostgreSQL has lost its latest transactions, and with them the offsets of group `{group}` in topic `{topic}`: \
         an older backup was restored, or a standby without them became the primary. Start the sink again: it says how \
         to fill the table"
    )]
    GroupLost {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
    },
    /// The address leads to another server or database than at the start.
    #[error(
        "{server} is another server or database ({found}) than when the sink started ({was}), and nothing was written \
         to it. Give the address of the former one; or, if that one's rows were moved here, start the sink again: it \
         says how to continue"
    )]
    OtherServer {
        /// The address.
        server: String,
        /// The server and database at the start.
        was: String,
        /// The server and database found there now.
        found: String,
    },
    /// The table refuses everything, so that nothing can be told about a single record.
    #[error(
        "table `{table}` refused {records} records of topic `{topic}` in a row and accepted none, the first in this batch \
         at offset {from} of partition {partition}; the last refusal: {cause}"
    )]
    EveryRecordRefused {
        /// The table.
        table: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first of them.
        from: u64,
        /// How many.
        records: u64,
        /// What the server said of the last one.
        cause: Box<PostgresError>,
    },
    /// Bekk's schema in the database was made by a newer version.
    #[error("schema `bekk` in {database} has version {found}; this bekk knows up to {known}")]
    NewerSchema {
        /// The database.
        database: String,
        /// The version found.
        found: i32,
        /// The newest one known.
        known: i32,
    },
    /// Schema `bekk` is another one than when the sink started.
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
    OffsetsLeftOut {
        /// The statement that drops the trigger.
        advice: String,
    },
    /// Something of schema `bekk` is missing.
    #[error("{what}; {advice}")]
    SchemaIncomplete {
        /// What is missing.
        what: String,
        /// What can be typed.
        advice: String,
    },
    /// Something in schema `bekk` belongs to a role that is not trusted.
    #[error(
        "{object} belongs to role `{owner}`, which could run any code with the rights of role `{role}`; have \
        a superuser or the database's owner drop it, or check it and take it over (ALTER ... OWNER TO)"
    )]
    ForeignObject {
        /// What it is, its name as SQL writes it, and in which database: `schema bekk in ...`.
        object: String,
        /// The role that owns it.
        owner: String,
        /// Bekk's own role.
        role: String,
    },
    /// Anybody may have prepared a table that bekk.toml names without its schema.
    #[error("{0}")]
    PreparedTable(String),
    /// A sink of the group is running, so its offsets cannot be set or forgotten.
    #[error(
        "a sink of group `{group}` runs and holds {topic}/{partition}; stop the group's sinks, then try again"
    )]
    GroupInUse {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
    /// The group has not come anywhere in a partition.
    #[error("group `{group}` has no offset in {topic}/{partition}; see: bekk offsets list")]
    NoOffset {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
    },
    /// The log failed.
    #[error("{act}")]
    Log {
        /// What was tried, as a verb phrase.
        act: String,
        /// Why.
        source: bekk_log::Error,
    },
    /// The audit's working files could not be written or read.
    #[error(
        "write the audit's working files, about {needed_mb} MB, in `{dir}`; to name a directory with room for them: --dir DIR"
    )]
    WorkingFiles {
        /// The directory.
        dir: PathBuf,
        /// About what they need.
        needed_mb: u64,
        /// Why.
        source: std::io::Error,
    },
    /// A thread or runtime could not be started.
    #[error("{act}")]
    Io {
        /// What was tried, as a verb phrase.
        act: &'static str,
        /// Why.
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
