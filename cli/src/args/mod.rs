//! What can be typed.

mod dead_letters;
mod generate;
mod log;
mod offsets;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use dead_letters::*;
pub(crate) use generate::*;
pub(crate) use log::*;
pub(crate) use offsets::*;

use crate::http::HttpAt;

/// CSV files into PostgreSQL through a durable, replayable log.
///
/// `bekk up` runs the whole line in one process: it follows the files that bekk.toml names (without one:
/// data/*.csv of the sample stream), writes every record to the log, and applies the log to PostgreSQL.
/// It may be stopped or killed at any moment; the next start goes on where it was.
#[derive(Parser)]
#[command(name = "bekk", version, max_term_width = 100, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 dead letters under --strict.\n\
    A .env file in the working directory is read; the environment comes before it, flags before both."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
pub(crate) struct Global {
    /// The configuration file; without one named, ./bekk.toml, else the built-in sample stream
    #[arg(long, global = true, value_name = "FILE", env = "BEKK_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// How messages are written to standard error
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "BEKK_LOG_FORMAT"
    )]
    pub(crate) log_format: LogFormat,
    /// Say more; twice: say everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
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
    /// List or reset how far the sink groups have come
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
pub(crate) struct LogArgs {
    /// The log: a directory, which the first process to come owns and serves to the others, or
    /// kafka://host:port[,host:port]. Without one named, the configuration's
    #[arg(long, value_name = "LOG", env = "BEKK_LOG")]
    pub(crate) log: Option<String>,
}

#[derive(Args)]
pub(crate) struct PostgresArgs {
    /// The PostgreSQL to write to, as postgres://user:password@host:port/database?sslmode=… .
    /// Without it: DATABASE_URL, POSTGRES_HOST and its kin, the configuration's, else a private server
    // Not from a BEKK_* variable of its own: DATABASE_URL is that variable.
    #[arg(long, value_name = "URL")]
    pub(crate) postgres: Option<String>,
}

#[derive(Args)]
pub(crate) struct OnceArgs {
    /// Take what is there now, then stop: every file matched at start up to its size then
    #[arg(long, env = "BEKK_ONCE")]
    pub(crate) once: bool,
    /// With --once: print the summary as JSON
    #[arg(long, requires = "once", env = "BEKK_JSON")]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct HttpArgs {
    /// Where it answers /healthz, /readyz and /metrics, but with --once: an address, or the next free port
    /// if that is taken, or off
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        env = "BEKK_HTTP"
    )]
    pub(crate) http: HttpAt,
}

impl HttpArgs {
    /// Where it answers; nowhere if it ends by itself.
    pub(crate) fn unless(&self, once: bool) -> HttpAt {
        if once { HttpAt::Off } else { self.http }
    }
}

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    /// Also write sample events to data/ every SLEEP_INTERVAL; uses the private server unless --postgres is typed
    #[arg(long, conflicts_with = "once", env = "BEKK_DEMO")]
    pub(crate) demo: bool,
    /// With --once: exit with 3 if there were dead letters
    #[arg(long, requires = "once", env = "BEKK_STRICT")]
    pub(crate) strict: bool,
    /// Also serve the log to Kafka clients at this address
    #[arg(long, value_name = "ADDRESS", env = "BEKK_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    /// The sink group: who remembers how far the table has come
    #[arg(long, value_name = "NAME", default_value = "bekk", env = "BEKK_GROUP")]
    pub(crate) group: String,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
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
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also tell why each file was resumed, restarted or taken as rotated
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Args)]
pub(crate) struct Sink {
    /// Apply what the log holds now, then stop
    #[arg(long, env = "BEKK_ONCE")]
    pub(crate) once: bool,
    /// With --once: print the summary as JSON
    #[arg(long, requires = "once", env = "BEKK_JSON")]
    pub(crate) json: bool,
    /// With --once: exit with 3 if there were dead letters
    #[arg(long, requires = "once", env = "BEKK_STRICT")]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    /// The sink group: who remembers how far the table has come
    #[arg(long, value_name = "NAME", default_value = "bekk", env = "BEKK_GROUP")]
    pub(crate) group: String,
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
    /// Only this stream
    #[arg(long, value_name = "NAME", env = "BEKK_STREAM")]
    pub(crate) stream: Option<String>,
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
    /// Look again every 2 s until stopped
    #[arg(long, env = "BEKK_WATCH")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
pub(crate) struct Health {
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
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
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    /// Check the configuration only, without a database
    #[arg(long, env = "BEKK_OFFLINE")]
    pub(crate) offline: bool,
}

#[derive(Args)]
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
