//! What can be typed.

mod audit;
mod dead_letters;
mod generate;
mod log;
mod offsets;
mod origin;
mod shared;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

pub(crate) use audit::*;
pub(crate) use dead_letters::*;
pub(crate) use generate::*;
pub(crate) use log::*;
pub(crate) use offsets::*;
pub(crate) use origin::{origin_of, parse, wants_json};
pub(crate) use shared::*;

/// CSV files into PostgreSQL through a durable, replayable log.
///
/// `bekk up` runs the whole pipeline in one process. It follows the files that bekk.toml names (data/*.csv of
/// the sample stream if there is no bekk.toml), writes every record to the log, and applies the log to
/// PostgreSQL. Stop or kill it at any moment: the next start continues where this one ended.
#[derive(Parser)]
#[command(name = "bekk", version, term_width = 80, propagate_version = true)]
#[command(after_help = "Start here:\n  \
      bekk up --demo                    sample events, into a private PostgreSQL\n  \
      bekk up my.csv                    load your own file and follow it\n  \
      bekk init my.csv                  only describe it in bekk.toml, to be edited\n  \
      bekk check                        check that bekk.toml fits the database\n  \
      bekk up --once                    load the files that exist now, then stop\n  \
      bekk status                       the state of every part, and what to do next\n\n\
    Exit codes: 0 done; 1 failed, or work is left to do (the output names it);\n\
    2 wrong usage or configuration; 3 dead letters under --strict; 130 after a\n\
    second Ctrl-C. A flag overrides the environment, and the environment\n\
    overrides .env in the working directory.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run ingest, log and sink in one process
    Up(Box<Up>),
    /// Write synthetic e-commerce events as CSV files
    Generate(Generate),
    /// Run ingest alone: CSV files into the log
    Ingest(Ingest),
    /// Run the sink alone: the log into PostgreSQL
    Sink(Sink),
    /// List, read, verify or serve the log
    #[command(subcommand)]
    Log(Log),
    /// Show the state of every part and what to do next
    Status(StatusArgs),
    /// Show rates, lag, files, groups and dead letters in the terminal, continuously
    Top(Top),
    /// Exit with 0 if all is well and 1 if someone must act (for container checks)
    Health(Health),
    /// Apply the log again from an offset or a time, to the same table or a new one
    Replay(Replay),
    /// List the rows in which two tables differ
    Diff(Diff),
    /// Check that every record is a row, superseded or a dead letter, by counts or by content
    Audit(Audit),
    /// Show every version of a row: where it came from and what became of it
    Trace(Trace),
    /// Accept tables that were restored, renamed or moved, and keep the group's offsets
    Adopt(OffsetsAdopt),
    /// List, reset or delete the offsets of sink groups
    #[command(subcommand)]
    Offsets(Offsets),
    /// List, fix and retry the records that did not become rows
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Check the configuration, the database and the tables
    Check(Check),
    /// Write a bekk.toml, inferred from a CSV file if you name one
    Init(Init),
    /// Open psql on the configured database
    Psql(Psql),
    /// Print the completion script of a shell
    Completions(Completions),
    /// Write man pages, one for each command
    Man(Man),
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk up my.csv                      load a file and follow it\n  \
      bekk up                             follow the files of bekk.toml\n  \
      bekk up --postgres postgres://me@host/db\n                                      fill tables on a server of your own\n  \
      bekk up --once                      load what exists now, then stop\n  \
      zcat a.csv.gz | bekk up --once - --stream orders\n                                      load what a program writes\n  \
      bekk up --listen 127.0.0.1:9092     serve the log to Kafka clients, too\n\n\
    Exit codes: 0 done, or stopped; 1 failed, or --once skipped a file;\n\
    3 dead letters under --strict.")]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    /// Also write sample events to data/ every SLEEP_INTERVAL, and use the private server unless --postgres is given
    #[arg(long, conflicts_with = "once", env = "BEKK_DEMO")]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) strict: StrictArgs,
    /// Address at which the log is also served to Kafka clients
    #[arg(long, value_name = "ADDRESS", env = "BEKK_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    // Last: options after these would be listed under their heading.
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 done, or stopped; 1 failed, or --once skipped a file."
)]
pub(crate) struct Ingest {
    #[command(subcommand)]
    pub(crate) command: Option<IngestCommand>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Subcommand)]
pub(crate) enum IngestCommand {
    /// Show the state and position of each file
    Files(IngestFiles),
    /// Read files again from the beginning, with the current configuration; a dry run unless --execute is given
    #[command(after_help = "Examples:\n  \
          bekk ingest reread data/a.csv             show what would be read again\n  \
          bekk ingest reread data/a.csv --execute   have ingest do it")]
    Reread(IngestReread),
}

#[derive(Args)]
pub(crate) struct IngestReread {
    /// Files to read again
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Have ingest read them again; without this flag, only print what that would change
    #[arg(long)]
    pub(crate) execute: bool,
}

#[derive(Args)]
pub(crate) struct IngestFiles {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Also show why each file was resumed, restarted or recognised as rotated
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk sink                                     apply the log until stopped\n  \
      bekk sink --log kafka://log.example.net:9092  apply the log of another host\n  \
      bekk sink --group rebuild --table events_v2   apply it to a second table\n\n\
    Exit codes: 0 done, or stopped; 1 failed; 3 dead letters under --strict.")]
pub(crate) struct Sink {
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    #[command(flatten)]
    pub(crate) strict: StrictArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Start of a new group: earliest, latest, offset:N, time:2026-01-31T12:00:00Z. An existing group
    /// continues at its own offsets
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "earliest",
        env = "BEKK_FROM"
    )]
    pub(crate) from: Where,
}

#[derive(Args)]
pub(crate) struct TargetArgs {
    /// Table that the group fills instead of the stream's. A sink creates it if it does not exist, and
    /// needs a --group of its own for it
    #[arg(long, value_name = "NAME", env = "BEKK_TABLE")]
    pub(crate) table: Option<String>,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
}

#[derive(Args)]
#[command(after_help = "Keys: 1 to 4 or Tab choose the view, the arrows scroll, q or Ctrl-C ends.")]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Refresh every 2 s until stopped
    #[arg(long, env = "BEKK_WATCH")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong; 1 someone must act, or nothing answers at the\n\
    address."
)]
pub(crate) struct Health {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Only check that the bekk at this HTTP address is alive, for a supervisor that restarts it
    #[arg(long, value_name = "ADDRESS", conflicts_with = "ready")]
    pub(crate) alive: Option<SocketAddr>,
    /// Only check that the bekk at this HTTP address makes progress
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ready: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 all fits; 1 a table does not fit, --files found a record or a file\n\
    that does not, or the database is unreachable; 2 the configuration is wrong."
)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) group: GroupArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    /// Also try the first 10,000 records of the files that match, without writing anything
    #[arg(long)]
    pub(crate) files: bool,
    /// First create dropped tables of schema `bekk` again, empty
    #[arg(long, conflicts_with = "offline")]
    pub(crate) repair: bool,
    /// Check only the configuration, without a database
    #[arg(long, env = "BEKK_OFFLINE")]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk init orders.csv           read the file, write bekk.toml\n  \
      bekk init orders.csv --out -   only print it\n  \
      bekk init lines.csv --add      add a stream to the existing bekk.toml\n  \
      bekk init hosts.csv --table net.hosts\n                                 take the types from an existing table")]
#[command(group = clap::ArgGroup::new("source").args(["file", "from"]))]
pub(crate) struct Init {
    /// CSV file to infer the stream from, or `-` for standard input; also --from FILE
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) from: Option<PathBuf>,
    /// Name of the stream and table [default: from the file's name]
    #[arg(long, value_name = "NAME", requires = "source")]
    pub(crate) name: Option<String>,
    /// File to write; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "bekk.toml")]
    pub(crate) out: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    pub(crate) force: bool,
    /// Add the stream to the existing file
    #[arg(long, requires = "source", conflicts_with = "force")]
    pub(crate) add: bool,
    /// Existing table to fill; its column types become the stream's
    #[arg(long, value_name = "NAME", requires = "source")]
    pub(crate) table: Option<String>,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) form: FormArgs,
}

impl Init {
    /// The file to infer the stream from.
    pub(crate) fn source(&self) -> Option<&Path> {
        self.file.as_deref().or(self.from.as_deref())
    }
}

/// How a file is written, where that is not to be guessed.
#[derive(Args)]
#[command(next_help_heading = "File format (guessed unless given)")]
pub(crate) struct FormArgs {
    /// Text between fields, one character or a few; `tab` for a tab, `\x01` for U+0001
    #[arg(long, value_name = "TEXT", requires = "source")]
    pub(crate) delimiter: Option<String>,
    /// Text at the end of a record in place of a line end, one character or a few; `\x1e` for U+001E
    #[arg(long, value_name = "TEXT", requires = "source")]
    pub(crate) record_end: Option<String>,
    /// End of a line: lf (with or without a carriage return before it), or cr
    #[arg(long, value_name = "END", requires = "source", conflicts_with = "record_end", value_parser = ["lf", "cr"])]
    pub(crate) line_end: Option<String>,
    /// Character around fields; empty for none
    #[arg(long, value_name = "CHAR", requires = "source")]
    pub(crate) quote: Option<String>,
    /// Escape character: the character after it has no special meaning; empty for none
    #[arg(long, value_name = "CHAR", requires = "source")]
    pub(crate) escape: Option<String>,
    /// Remove blanks around fields
    #[arg(long, value_name = "BOOL", requires = "source", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) trim: Option<bool>,
    /// Each record ends with a delimiter
    #[arg(long, value_name = "BOOL", requires = "source", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) trailing_delimiter: Option<bool>,
    /// Character at the beginning of lines that are comments
    #[arg(long, value_name = "CHAR", requires = "source")]
    pub(crate) comment: Option<String>,
    /// The file's character encoding
    #[arg(long, value_name = "LABEL", requires = "source")]
    pub(crate) encoding: Option<String>,
    /// Number of lines before the header
    #[arg(long, value_name = "N", requires = "source")]
    pub(crate) skip_lines: Option<u32>,
    /// Whether the file begins with a header
    #[arg(long, value_name = "BOOL", requires = "source")]
    pub(crate) header: Option<bool>,
    /// Compression that the file must have: gzip, zstd, bzip2, xz, zip or none [default: detected]
    #[arg(long, value_name = "KIND", requires = "source", hide_possible_values = true,
        value_parser = ["gzip", "zstd", "bzip2", "xz", "zip", "none"])]
    pub(crate) compression: Option<String>,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk psql\n  \
      bekk psql -c 'SELECT count(*) FROM events'")]
pub(crate) struct Psql {
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    /// Arguments for psql; those that bekk has too, such as -v and -h, after `--`
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub(crate) arguments: Vec<String>,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk completions bash > /etc/bash_completion.d/bekk\n  \
      bekk completions zsh > \"${fpath[1]}/_bekk\"")]
pub(crate) struct Completions {
    /// Shell to complete in
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk man --out /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Directory to write the pages to
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    fn check(command: &clap::Command) {
        let help = command.get_after_help();
        let help = help.map_or_else(String::new, ToString::to_string);
        let is_long = |line: &&str| line.chars().count() > 80;
        let long = help.lines().find(is_long);
        assert_eq!(long, None, "in the help of {}", command.get_name());
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn examples_fit_a_terminal() {
        check(&Cli::command());
    }
}
