//! Arguments of `bekk dead-letters`.

use std::path::PathBuf;
use std::str::FromStr;

use bekk_stream::parse_duration;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{LogArgs, OutputArgs, PostgresArgs, StreamArgs};

#[derive(Subcommand)]
pub(crate) enum DeadLetters {
    /// List the open dead letters
    List(DeadLettersList),
    /// Show one dead letter in full, with the record's text
    Show(DeadLettersShow),
    /// Retry after you have fixed the configuration, the table or the text
    ///
    /// Each text is parsed again under the current configuration and written to the table, unless a newer
    /// record of its key exists. Dead letters that still fail stay open, and the exit code is 1.
    Retry(DeadLettersRetry),
    /// Correct the text of one dead letter in your editor, and retry it
    ///
    /// Opens the text in $VISUAL, else $EDITOR, else vi, and retries it when you have saved it. If the text is unchanged
    /// or still not a row, the dead letter stays open; Bekk keeps a text that you have changed in a file.
    Edit(DeadLettersEdit),
    /// Write dead letters to a CSV file
    Export(DeadLettersExport),
    /// Retry dead letters with the corrected texts of a CSV file that `export` wrote
    ///
    /// Reads the columns `id` and `raw`, and ignores the others. Checks the whole file first, and changes nothing if an
    /// id is unknown or its dead letter was resolved in the meantime. Dead letters whose text is unchanged or still not
    /// a row stay open.
    Import(DeadLettersImport),
    /// Mark dead letters as discarded; they stay in the table
    Discard(DeadLettersDiscard),
}

#[derive(Args)]
pub(crate) struct DeadLettersFilter {
    /// Only dead letters with this reason, such as bad_value
    #[arg(long, value_name = "REASON", env = "BEKK_REASON")]
    pub(crate) reason: Option<String>,
    /// Only dead letters of this sink group
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    /// Only dead letters since this time (2026-01-31T12:00:00Z) or duration (2h)
    #[arg(long, value_name = "TIME", env = "BEKK_SINCE")]
    pub(crate) since: Option<Since>,
}

/// Which of the open ones it is about.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct DeadLettersChoice {
    /// Numbers of the dead letters, as in the list
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<i64>,
    /// All open dead letters that match the other options
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Args)]
pub(crate) struct DeadLettersList {
    #[command(flatten)]
    pub(crate) filter: DeadLettersFilter,
    /// Include resolved dead letters
    #[arg(long, env = "BEKK_RESOLVED")]
    pub(crate) resolved: bool,
    /// Maximum number of dead letters
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..1_000_000), env = "BEKK_LIMIT")]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Args)]
pub(crate) struct DeadLettersShow {
    /// Number of the dead letter, as in the list
    #[arg(value_name = "ID")]
    pub(crate) id: i64,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk dead-letters retry 3 4\n  \
      bekk dead-letters retry --all --reason bad_value --since 2h\n\n\
    Exit codes: 0 every dead letter is resolved; 1 some stay open (the output names\n\
    them).")]
pub(crate) struct DeadLettersRetry {
    #[command(flatten)]
    pub(crate) which: DeadLettersChoice,
    #[command(flatten)]
    pub(crate) filter: DeadLettersFilter,
    #[command(flatten)]
    pub(crate) with: RetryArgs,
}

/// What every retry needs.
#[derive(Args)]
pub(crate) struct RetryArgs {
    /// Header of the dead letters' texts, if the file that held it is gone or has changed
    #[arg(long, value_name = "NAMES", env = "BEKK_HEADER")]
    pub(crate) header: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk dead-letters edit 3\n  \
      bekk dead-letters edit 3 --text corrected.csv\n\n\
    Exit codes: 0 the dead letter is resolved; 1 it stays open (the output says\n\
    why).")]
pub(crate) struct DeadLettersEdit {
    /// Number of the dead letter, as in the list
    #[arg(value_name = "ID")]
    pub(crate) id: i64,
    /// Take the corrected text from this file, without an editor
    #[arg(long, value_name = "FILE")]
    pub(crate) text: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) with: RetryArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk dead-letters export --csv bad.csv   correct column raw in a spreadsheet\n  \
      bekk dead-letters import --csv bad.csv   then retry with the corrected texts\n\n\
    Exit codes: 0 every dead letter of the file is resolved; 1 some stay open, or\n\
    the file was refused (the output says why).")]
pub(crate) struct DeadLettersImport {
    /// File to read; its fields may be separated by commas, semicolons or tabs
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: PathBuf,
    #[command(flatten)]
    pub(crate) with: RetryArgs,
}

#[derive(Args)]
pub(crate) struct DeadLettersExport {
    /// File to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: PathBuf,
    #[command(flatten)]
    pub(crate) filter: DeadLettersFilter,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Args)]
pub(crate) struct DeadLettersDiscard {
    #[command(flatten)]
    pub(crate) which: DeadLettersChoice,
    #[command(flatten)]
    pub(crate) filter: DeadLettersFilter,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

/// A moment: milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since(pub(crate) i64);

impl FromStr for Since {
    type Err = String;

    /// A moment, or how long ago it was.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(Self(moment.as_millisecond()));
        }
        let ago =
            parse_duration(text).map_err(|_| "write 2026-01-31T12:00:00Z or 2h".to_owned())?;
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        Ok(Self(Timestamp::now().as_millisecond().saturating_sub(ago)))
    }
}
