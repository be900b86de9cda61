//! Arguments of `bekk offsets`, `bekk replay` and `bekk diff`, and places in a topic.

use std::str::FromStr;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{DryRunArgs, GroupArgs, LogArgs, OutputArgs, PostgresArgs, StreamArgs};

/// Where it goes again; a dry run unless --execute is given.
///
/// Into the same table the replay changes nothing in the end: until it has caught up, older versions of rows
/// show, unless the stream has newer_by. A stream without a key gets every row once more.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk replay --from earliest                              what would be done\n  \
      bekk replay --from time:2026-01-31T12:00:00Z --execute   into the same table\n  \
      bekk replay --from earliest --into events_v2 --execute   into another one, then: bekk diff events events_v2")]
pub(crate) struct Replay {
    /// From here on: earliest, latest, offset:N, time:2026-01-31T12:00:00Z, shift:-1000
    #[arg(
        long,
        value_name = "WHERE",
        allow_hyphen_values = true,
        env = "BEKK_FROM"
    )]
    pub(crate) from: Where,
    /// Into this table, made like the stream's if it does not exist, as group replay-NAME
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
#[command(after_help = "Exit codes: 0 they are equal; 1 they differ.")]
pub(crate) struct Diff {
    /// The table as it should be
    #[arg(value_name = "TABLE")]
    pub(crate) first: String,
    /// The table to be compared with it
    #[arg(value_name = "OTHER")]
    pub(crate) second: String,
    /// The stream whose key and columns are compared; without it, the one that fills one of the tables
    #[arg(long, value_name = "NAME", env = "BEKK_STREAM")]
    pub(crate) stream: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Subcommand)]
pub(crate) enum Offsets {
    /// List each group's next offset in each partition
    List(OffsetsList),
    /// Set where a group goes on; a dry run unless --execute is given
    Reset(OffsetsReset),
    /// Forget a group: its offsets and which table it fills; a dry run unless --execute is given
    Delete(OffsetsDelete),
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
      bekk offsets reset --to earliest                        what would be done\n  \
      bekk offsets reset --to shift:-1000 --partition 0 --execute")]
pub(crate) struct OffsetsReset {
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    /// Where it goes on: earliest, latest, offset:N, time:2026-01-31T12:00:00Z, shift:-1000
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
    /// The group that is forgotten
    #[arg(long, value_name = "NAME", env = "BEKK_GROUP")]
    pub(crate) group: String,
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
    /// Behind the newest record.
    Latest,
    /// At this offset of each partition.
    Offset(u64),
    /// At the first record that is not older: milliseconds since 1970-01-01 UTC.
    Time(i64),
    /// So many records on, or back.
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
