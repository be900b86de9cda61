//! Arguments of `bekk audit` and `bekk trace`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{GroupArgs, LogArgs, OutputArgs, PostgresArgs, TargetArgs};

/// Check that every record is a row, superseded or a dead letter, by counts or by content.
///
/// Without --deep the audit compares counts: for each partition, the records that the group passed with its rows,
/// superseded records and dead letters; and for each file, the records that ingest read with those in the log. It takes
/// a moment.
///
/// With --deep it trusts no count. It reads the log up to the group's offsets, works out what each key's row must be,
/// and compares it with the table, in one snapshot of the database, so that it can run beside a live pipeline. Memory
/// does not grow with the table: records and rows go into files under --dir, which are removed at the end (about 80
/// bytes for each record and each row).
///
/// It reports rows that are missing (the table lacks what a record says), changed (the row differs from the record that
/// wins its key) and extra (no record is that row), each with its key, and the offset, file and line of the record. It
/// also reports rejected records without a dead letter, and a log that is not the one that the group has applied.
/// Files that are still there unchanged are read again, and each of their records is compared with the log's.
/// Where retention has removed the log's beginning, rows without a record are counted as unexplained, not as extra.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk audit                           compare the counts of every stream\n  \
      bekk audit --stream events --deep    compare files, log and table, row by row\n  \
      bekk trace --key 4711                then look at one of the rows that differ\n\n\
    Exit codes: 0 nothing differs; 1 something differs, or a part is unreachable.")]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Compare the content of the files, the log and the table, not only counts
    #[arg(long)]
    pub(crate) deep: bool,
    /// Directory for the working files of --deep [default: .bekk/tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Show every version of a row: where it came from and what became of it.
///
/// Reads the topic from its beginning and lists each record of the key in log order: when it was appended, its file and
/// line, its values, and whether it is the table's row, was superseded (by which record, and why), is a dead letter, or
/// waits to be applied. The last line is the table's row as it is now.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk trace --key 4711                    all versions of the row with this key\n  \
      bekk trace --stream lines --key 4711,2   a key of two columns\n  \
      bekk trace --at data/orders.csv:17       the key of the record at line 17\n  \
      bekk trace --offset events/0/1234        the key of a record of the log\n\n\
    Exit codes: 0 found; 1 not found, or a part is unreachable.")]
#[command(
    override_usage = "bekk trace [OPTIONS] --key <KEY>\n       bekk trace [OPTIONS] --at <FILE:LINE>\n       \
                      bekk trace [OPTIONS] --offset <TOPIC/PARTITION/OFFSET>"
)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["key", "at", "offset"])))]
pub(crate) struct Trace {
    /// Key of the row; a key of several columns is a CSV line, with quotes around values that contain commas
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: Option<String>,
    /// Line of a file; the last part of its path is enough
    #[arg(long, value_name = "FILE:LINE")]
    pub(crate) at: Option<FileLine>,
    /// Record of the log
    #[arg(long, value_name = "TOPIC/PARTITION/OFFSET")]
    pub(crate) offset: Option<RecordPlace>,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileLine {
    pub(crate) file: String,
    pub(crate) line: u64,
}

impl FromStr for FileLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "write FILE:LINE, as in data/orders.csv:17".to_owned();
        let (file, line) = text.rsplit_once(':').ok_or_else(wrong)?;
        Ok(Self {
            file: file.to_owned(),
            line: line.parse().map_err(|_| wrong())?,
        })
    }
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordPlace {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
}

impl FromStr for RecordPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "write TOPIC/PARTITION/OFFSET, as in events/0/1234".to_owned();
        let mut parts = text.rsplitn(3, '/');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (offset, partition) = (number().ok_or_else(wrong)?, number().ok_or_else(wrong)?);
        Ok(Self {
            topic: parts.next().ok_or_else(wrong)?.to_owned(),
            partition: u32::try_from(partition).map_err(|_| wrong())?,
            offset,
        })
    }
}
