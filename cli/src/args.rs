//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bekk_stream::parse_duration;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

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
    /// The log's directory; without one named, the configuration's
    #[arg(long, value_name = "DIR", env = "BEKK_LOG")]
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
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) once: OnceArgs,
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
    pub(crate) advertise: AdvertiseArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    /// The sink group: who remembers how far the table has come
    #[arg(long, value_name = "NAME", default_value = "bekk", env = "BEKK_GROUP")]
    pub(crate) group: String,
}

#[derive(Args)]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) once: OnceArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
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

/// Where it goes again; a dry run unless --execute is given.
///
/// Into the same table the replay changes nothing in the end: until it has caught up, older versions of rows
/// show, unless the stream has newer_by. A stream without a key gets every row once more.
#[derive(Args)]
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
    /// Only this stream
    #[arg(long, value_name = "NAME", env = "BEKK_STREAM")]
    pub(crate) stream: Option<String>,
    /// The group that is reset, where no other table is named
    #[arg(long, value_name = "NAME", default_value = "bekk", env = "BEKK_GROUP")]
    pub(crate) group: String,
    /// Do it; without this, only say what would be done
    #[arg(long, env = "BEKK_EXECUTE")]
    pub(crate) execute: bool,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
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
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Args, Clone)]
pub(crate) struct Generate {
    /// The directory to write to
    #[arg(long, value_name = "DIR", default_value = "data", env = "BEKK_OUT")]
    pub(crate) out: PathBuf,
    /// Write this many events and stop; without it, a new file every --interval until stopped
    #[arg(long, value_name = "N", env = "BEKK_ROWS")]
    pub(crate) rows: Option<u64>,
    /// With --rows: over how many files
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "rows",
        env = "BEKK_FILES"
    )]
    pub(crate) files: u32,
    /// The fewest events of a file
    #[arg(long, value_name = "N", default_value_t = 50, env = "MIN_EVENTS")]
    pub(crate) min_events: u32,
    /// The most events of a file
    #[arg(long, value_name = "N", default_value_t = 200, env = "MAX_EVENTS")]
    pub(crate) max_events: u32,
    /// The time between files; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration, env = "SLEEP_INTERVAL")]
    pub(crate) interval: Duration,
    /// Append line by line to this file instead of writing new ones
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "rows",
        env = "BEKK_APPEND"
    )]
    pub(crate) append: Option<PathBuf>,
    /// With --append: lines a second
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10.0,
        requires = "append",
        env = "BEKK_RATE"
    )]
    pub(crate) rate: f64,
    /// The event types to write, separated by commas
    #[arg(
        long,
        value_name = "TYPES",
        value_delimiter = ',',
        default_value = "view,purchase,add_to_cart",
        env = "EVENT_TYPES"
    )]
    pub(crate) event_types: Vec<String>,
    /// The share of events that repeat an earlier one, from 0 to below 1
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        env = "BEKK_DUPLICATES"
    )]
    pub(crate) duplicates: f64,
    /// The same seed gives the same bytes; without one, every run is another
    #[arg(long, value_name = "N", env = "BEKK_SEED")]
    pub(crate) seed: Option<u64>,
}

#[derive(Subcommand)]
pub(crate) enum Log {
    /// List the topics: partitions, offsets, sizes
    Topics(LogTopics),
    /// Print the records of a topic
    Read(LogRead),
    /// Check every batch's CRC and the density of offsets; the log must not be in use
    Verify(LogVerify),
    /// Serve the log to Kafka clients, until stopped
    Serve(LogServe),
}

#[derive(Args)]
pub(crate) struct LogServe {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// The address to listen at; port 0 is any free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9092",
        env = "BEKK_LISTEN"
    )]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) advertise: AdvertiseArgs,
}

#[derive(Args)]
pub(crate) struct AdvertiseArgs {
    /// Where clients are told to connect to; without it, the address that each has reached
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_host_port, env = "BEKK_ADVERTISE")]
    pub(crate) advertise: Option<(String, u16)>,
}

fn parse_host_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || "write HOST:PORT".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || port == 0 {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

#[derive(Args)]
pub(crate) struct LogTopics {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct LogRead {
    /// The topic; without it, the only stream's
    #[arg(long, value_name = "NAME", env = "BEKK_TOPIC")]
    pub(crate) topic: Option<String>,
    /// From here on: earliest, latest, offset:N, time:2026-01-31T12:00:00Z, shift:-10 for the last ten of
    /// each partition
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "earliest",
        allow_hyphen_values = true,
        env = "BEKK_FROM"
    )]
    pub(crate) from: Where,
    /// How a record is written
    #[arg(long, value_enum, default_value = "json", env = "BEKK_FORMAT")]
    pub(crate) format: ReadFormat,
    /// At most so many
    #[arg(long, value_name = "N", env = "BEKK_LIMIT")]
    pub(crate) limit: Option<u64>,
    /// Go on with new records until stopped
    #[arg(long, env = "BEKK_FOLLOW")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadFormat {
    /// One JSON object a line, with offset, key, file and line
    Json,
    /// The values in the stream's order; a reject as it stands in its file
    Csv,
    /// The records' bytes
    Raw,
}

#[derive(Args)]
pub(crate) struct LogVerify {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
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
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct OffsetsReset {
    /// The group
    #[arg(long, value_name = "NAME", default_value = "bekk", env = "BEKK_GROUP")]
    pub(crate) group: String,
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
    /// Do it; without this, only say what would be done
    #[arg(long, env = "BEKK_EXECUTE")]
    pub(crate) execute: bool,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
pub(crate) struct OffsetsDelete {
    /// The group
    #[arg(long, value_name = "NAME", env = "BEKK_GROUP")]
    pub(crate) group: String,
    /// Do it; without this, only say what would be done
    #[arg(long, env = "BEKK_EXECUTE")]
    pub(crate) execute: bool,
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

#[derive(Subcommand)]
pub(crate) enum DeadLetters {
    /// List the open dead letters
    List(DeadLettersList),
    /// Show one whole, with the record's text
    Show(DeadLettersShow),
    /// Try again, after the configuration, the table or the text has been mended
    ///
    /// Each is read again as the stream is configured now, and goes into the table unless a newer record of
    /// its key exists. Those that are no rows still stay open, and the exit code is 1.
    Retry(DeadLettersRetry),
    /// Write them to a CSV file
    Export(DeadLettersExport),
    /// Set them aside: they stay in the table, marked as discarded
    Discard(DeadLettersDiscard),
}

#[derive(Args)]
pub(crate) struct DeadLettersFilter {
    /// Only of this reason, such as bad_value
    #[arg(long, value_name = "REASON", env = "BEKK_REASON")]
    pub(crate) reason: Option<String>,
    /// Only of this stream
    #[arg(long, value_name = "NAME", env = "BEKK_STREAM")]
    pub(crate) stream: Option<String>,
    /// Only those met since then: 2026-01-31T12:00:00Z, or 2h ago as 2h
    #[arg(long, value_name = "TIME", env = "BEKK_SINCE")]
    pub(crate) since: Option<Since>,
}

#[derive(Args)]
pub(crate) struct DeadLettersList {
    #[command(flatten)]
    pub(crate) filter: DeadLettersFilter,
    /// Resolved ones, too
    #[arg(long, env = "BEKK_RESOLVED")]
    pub(crate) resolved: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..1_000_000), env = "BEKK_LIMIT")]
    pub(crate) limit: u32,
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Args)]
pub(crate) struct DeadLettersShow {
    /// Its number
    #[arg(value_name = "ID")]
    pub(crate) id: i64,
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Args)]
pub(crate) struct DeadLettersRetry {
    /// Their numbers
    #[arg(value_name = "ID", conflicts_with = "all")]
    pub(crate) ids: Vec<i64>,
    /// All that are open
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: DeadLettersFilter,
    /// Print the summary as JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Args)]
pub(crate) struct DeadLettersExport {
    /// The file to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: PathBuf,
    #[command(flatten)]
    pub(crate) filter: DeadLettersFilter,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
}

#[derive(Args)]
pub(crate) struct DeadLettersDiscard {
    /// Their numbers
    #[arg(value_name = "ID", conflicts_with = "all")]
    pub(crate) ids: Vec<i64>,
    /// All that are open
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) filter: DeadLettersFilter,
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
