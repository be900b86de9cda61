//! What can be typed.

mod dead_letters;
mod generate;
mod log;
mod offsets;
mod shared;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use dead_letters::*;
pub(crate) use generate::*;
pub(crate) use log::*;
pub(crate) use offsets::*;
pub(crate) use shared::*;

/// CSV files into PostgreSQL through a durable, replayable log.
///
/// `bekk up` runs the whole line in one process: it follows the files that bekk.toml names (without one:
/// data/*.csv of the sample stream), writes every record to the log, and applies the log to PostgreSQL.
/// It may be stopped or killed at any moment; the next start goes on where it was.
#[derive(Parser)]
#[command(name = "bekk", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Begin here:\n  \
      bekk up --demo                    sample events into a private PostgreSQL, until Ctrl-C\n  \
      bekk init --from my.csv           a bekk.toml for a file of one's own\n  \
      bekk check                        does it fit the database?\n  \
      bekk up --once                    take the files that are there, then stop\n  \
      bekk status                       where everything is, and what to do next\n\n\
    Exit codes: 0 done; 1 failed, or something is left to be done, which is said; 2 wrong usage or\n\
    configuration; 3 dead letters under --strict; 130 after a second Ctrl-C.\n\
    A .env file in the working directory is read; the environment comes before it, flags before both.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run ingest, log and sink in one process
    Up(Up),
    /// Write synthetic e-commerce events as CSV files
    Generate(Generate),
    /// Only ingest: CSV files into the log
    Ingest(Ingest),
    /// Only sink: the log into PostgreSQL
    Sink(Sink),
    /// Look at the log, check it, or serve it
    #[command(subcommand)]
    Log(Log),
    /// Tell where everything is, and what to do next
    Status(StatusArgs),
    /// Exit with 0 if all is well, with 1 if someone must act: for container checks
    Health(Health),
    /// Apply the log again from some place on: into the same table, or into another one
    Replay(Replay),
    /// Tell in which rows two tables differ
    Diff(Diff),
    /// List, reset or forget how far the sink groups have come
    #[command(subcommand)]
    Offsets(Offsets),
    /// Look at what was refused, and try it again
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Check the configuration, and the database and tables it names
    Check(Check),
    /// Write a bekk.toml, inferred from a CSV file if one is given
    Init(Init),
    /// Open psql on the database in use
    Psql(Psql),
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk up                                          follow the files until stopped\n  \
      bekk up --once --postgres postgres://me@host/db  take what is there, then stop\n  \
      bekk up --listen 127.0.0.1:9092                  Kafka clients may read the log meanwhile\n\n\
    Exit codes: 0 done, or stopped; 1 failed, or with --once a file was set aside or could not be read; 3 dead letters under --strict.")]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    /// Also write sample events to data/ every SLEEP_INTERVAL; uses the private server unless --postgres is typed
    #[arg(long, conflicts_with = "once", env = "BEKK_DEMO")]
    pub(crate) demo: bool,
    #[command(flatten)]
    pub(crate) strict: StrictArgs,
    /// Also serve the log to Kafka clients at this address
    #[arg(long, value_name = "ADDRESS", env = "BEKK_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) group: GroupArgs,
}

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 done, or stopped; 1 failed, or with --once a file was set aside or could not be read."
)]
pub(crate) struct Ingest {
    #[command(subcommand)]
    pub(crate) command: Option<IngestCommand>,
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Subcommand)]
pub(crate) enum IngestCommand {
    /// Tell what is known of each file: how far it is, its state, and what was decided about it
    Files(IngestFiles),
}

#[derive(Args)]
pub(crate) struct IngestFiles {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Also tell why each file was resumed, restarted or taken as rotated
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk sink                                        apply the log until stopped\n  \
      bekk sink --log kafka://log.example.net:9092     of a log that another host serves\n  \
      bekk sink --group rebuild --table events_v2      the same log into a second table\n\n\
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
    /// Where a new group starts: earliest, latest, offset:N, time:2026-01-31T12:00:00Z. A group that exists
    /// goes on where it stands
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
    /// Fill this table instead of the stream's, made like it if it does not exist; needs a group of its own
    #[arg(long, value_name = "NAME", env = "BEKK_TABLE")]
    pub(crate) table: Option<String>,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Look again every 2 s until stopped
    #[arg(long, env = "BEKK_WATCH")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(after_help = "Exit codes: 0 nothing is wrong; 1 someone must act, or nobody answers.")]
pub(crate) struct Health {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Ask only whether the bekk that answers HTTP there is alive: a restart mends it if not
    #[arg(long, value_name = "ADDRESS", conflicts_with = "ready")]
    pub(crate) alive: Option<SocketAddr>,
    /// Ask only whether the bekk that answers HTTP there makes progress, and why not
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ready: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 all fits; 1 a table does not, or the database cannot be asked; 2 the configuration is wrong."
)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    /// Check the configuration only, without a database
    #[arg(long, env = "BEKK_OFFLINE")]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk init --from orders.csv            look at the file, write bekk.toml\n  \
      bekk init --from orders.csv --out -    only show it")]
pub(crate) struct Init {
    /// Infer the stream from this CSV file
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// The stream's and table's name; without it, from the file's name
    #[arg(long, value_name = "NAME", requires = "from")]
    pub(crate) name: Option<String>,
    /// Where to write; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "bekk.toml")]
    pub(crate) out: PathBuf,
    /// Replace a file that exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk psql\n  \
      bekk psql -c 'SELECT count(*) FROM events'")]
pub(crate) struct Psql {
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    /// Arguments for psql
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub(crate) arguments: Vec<String>,
}
