//! Arguments of `bekk offsets`, `bekk replay` and `bekk diff`, and places in a topic.

use std::str::FromStr;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{DryRunArgs, GroupArgs, LogArgs, OutputArgs, PostgresArgs, StreamArgs};

/// Apply the log again; a dry run unless --execute is given.
///
/// A replay to the same table ends with the same rows. Until it has caught up, older versions of rows are
/// visible, unless the stream has newer_by. A table without a key would get every row a second time: it must be empty.
/// A replay only goes back; it refuses to skip records.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk replay --from earliest              print what would happen\n  \
      bekk replay --from earliest --execute    apply the log again to the same table\n  \
      bekk replay --from time:2026-01-31T12:00:00Z --execute\n                                           only from this time on\n  \
      bekk replay --from earliest --into events_v2 --execute\n                                           to a new table\n  \
      bekk diff events events_v2               then compare the two tables")]
pub(crate) struct Replay {
    /// Start: earliest, latest, offset:N, time:2026-01-31T12:00:00Z, shift:-1000
    #[arg(
        long,
        value_name = "WHERE",
        allow_hyphen_values = true,
        env = "BEKK_FROM"
    )]
    pub(crate) from: Where,
    /// Id of the log that the group's offsets belong to; give it only if that log is gone for good
    #[arg(long, value_name = "LOG_ID")]
    pub(crate) instead_of: Option<String>,
    /// Replay into a table without a key, even if that inserts rows a second time
    #[arg(long)]
    pub(crate) allow_duplicates: bool,
    /// Fill this table instead, as group replay-TABLE; a table that does not exist is created like the stream's
    #[arg(long, value_name = "TABLE")]
    pub(crate) into: Option<String>,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) dry_run: DryRunArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(after_help = "Exit codes: 0 the tables are equal; 1 they differ.")]
pub(crate) struct Diff {
    /// Reference table
    #[arg(value_name = "TABLE")]
    pub(crate) first: String,
    /// Table to compare with it
    #[arg(value_name = "OTHER")]
    pub(crate) second: String,
    /// Stream whose key and columns are compared [default: the one that fills either table]
    #[arg(long, value_name = "NAME", env = "BEKK_STREAM")]
    pub(crate) stream: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Subcommand)]
pub(crate) enum Offsets {
    /// List the next offset of each group in each partition
    List(OffsetsList),
    /// Set the next offsets of a group; a dry run unless --execute is given
    Reset(OffsetsReset),
    /// Delete the offsets of a group and its claim on the table; a dry run unless --execute is given
    Delete(OffsetsDelete),
    /// Accept tables that were restored, renamed or moved, and keep the group's offsets
    Adopt(OffsetsAdopt),
}

/// Accept tables that were restored, renamed or moved, and keep the group's offsets.
///
/// Use it after a table was moved with its rows: by dump and restore to another server, to another name, or into a
/// table that was created again. Until then the sink refuses the table, because it may lack rows that the offsets
/// count. To fill the table again from the log instead: bekk replay --from earliest.
#[derive(Args)]
#[command(after_help = "Example: move a database to another server\n  \
      pg_dump -Fc shop | ssh new pg_restore -d shop   copy the rows and schema bekk\n  \
      bekk check --postgres postgres://me@new/shop    report that the server differs\n  \
      bekk adopt --postgres postgres://me@new/shop    keep the offsets\n  \
      bekk up --postgres postgres://me@new/shop\n\n\
    Exit codes: 0 adopted; 1 a table does not exist, or a sink of the group runs.")]
pub(crate) struct OffsetsAdopt {
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args)]
pub(crate) struct OffsetsList {
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk offsets reset --to earliest             print what would happen\n  \
      bekk offsets reset --to shift:-1000 --partition 0 --execute")]
pub(crate) struct OffsetsReset {
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    /// New position: earliest, latest, offset:N, time:2026-01-31T12:00:00Z, shift:-1000
    #[arg(
        long,
        value_name = "WHERE",
        allow_hyphen_values = true,
        env = "BEKK_TO"
    )]
    pub(crate) to: Where,
    /// Only this partition
    #[arg(long, value_name = "N", env = "BEKK_PARTITION")]
    pub(crate) partition: Option<u32>,
    /// Id of the log that the group's offsets belong to; give it only if that log is gone for good
    #[arg(long, value_name = "LOG_ID")]
    pub(crate) instead_of: Option<String>,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) dry_run: DryRunArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
pub(crate) struct OffsetsDelete {
    /// Group to delete
    #[arg(long, value_name = "NAME", env = "BEKK_GROUP")]
    pub(crate) group: String,
    /// Delete the offsets also if a table without a key has rows, which a new group would insert again
    #[arg(long)]
    pub(crate) allow_duplicates: bool,
    /// Only in this stream; without it, in every stream of the configuration
    #[arg(long, value_name = "NAME", env = "BEKK_STREAM")]
    pub(crate) stream: Option<String>,
    #[command(flatten)]
    pub(crate) dry_run: DryRunArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// A place in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// At the oldest record.
    Earliest,
    /// After the newest record.
    Latest,
    /// At this offset of each partition.
    Offset(u64),
    /// At the first record that is not older: milliseconds since 1970-01-01 UTC.
    Time(i64),
    /// This many records forward, or back.
    Shift(i64),
}

impl FromStr for Where {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            "write earliest, latest, offset:N, time:2026-01-31T12:00:00Z or shift:-1000".to_owned()
        };
        match text.split_once(':') {
            None if text == "earliest" => Ok(Self::Earliest),
            None if text == "latest" => Ok(Self::Latest),
            Some(("offset", number)) => number.parse().map(Self::Offset).map_err(|_| wrong()),
            Some(("shift", number)) => number.parse().map(Self::Shift).map_err(|_| wrong()),
            Some(("time", moment)) => {
                let moment: Timestamp = moment.parse().map_err(|_| wrong())?;
                Ok(Self::Time(moment.as_millisecond()))
            }
            _ => Err(wrong()),
        }
    }
}
