//! Arguments that several commands have, each of which is said once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bekk_stream::parse_duration;
use clap::{Args, ValueEnum};

#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file [default: ./bekk.toml, else the built-in sample stream]
    #[arg(long, global = true, value_name = "FILE", env = "BEKK_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Format of messages on standard error
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "text",
        env = "BEKK_LOG_FORMAT"
    )]
    pub(crate) log_format: LogFormat,
    /// Increase verbosity (-vv: debug)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Args)]
pub(crate) struct LogArgs {
    /// Log: a directory, or kafka://host:port[,host:port] [default: the configuration's].
    /// The first process to open a directory owns it and serves it to the others
    #[arg(long, value_name = "LOG", env = "BEKK_LOG")]
    pub(crate) log: Option<String>,
}

#[derive(Args)]
pub(crate) struct PostgresArgs {
    /// PostgreSQL server, in any form that psql accepts: postgres://user@host:port/database or
    /// "host=… dbname=…" [default: DATABASE_URL, POSTGRES_HOST, the configuration, PGHOST, else a
    /// private server]. Keep the password in ~/.pgpass, PGPASSWORD or DATABASE_URL
    // Not from a BEKK_* variable of its own: DATABASE_URL is that variable.
    #[arg(long, value_name = "URL")]
    pub(crate) postgres: Option<String>,
}

/// The sink group of those who name none.
pub(crate) const DEFAULT_GROUP: &str = "bekk";

/// Which sink group.
#[derive(Args)]
pub(crate) struct GroupArgs {
    /// Sink group; each group keeps its own offsets
    #[arg(
        id = "group",
        long = "group",
        value_name = "NAME",
        default_value = DEFAULT_GROUP,
        env = "BEKK_GROUP"
    )]
    pub(crate) name: String,
}

#[derive(Args, Clone)]
pub(crate) struct StreamArgs {
    /// Only this stream
    #[arg(
        id = "stream",
        long = "stream",
        value_name = "NAME",
        env = "BEKK_STREAM"
    )]
    pub(crate) name: Option<String>,
}

#[derive(Args)]
pub(crate) struct OutputArgs {
    /// Print JSON
    #[arg(long, env = "BEKK_JSON")]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct DryRunArgs {
    /// Make the change; without this flag, only print it
    // Never from the environment: a variable that is set once would make every dry run real.
    #[arg(long)]
    pub(crate) execute: bool,
}

#[derive(Args)]
pub(crate) struct OnceArgs {
    /// Process what exists at the start (files up to their size, the log up to its end), then stop with a summary
    #[arg(long, env = "BEKK_ONCE")]
    pub(crate) once: bool,
    /// With --once: print the summary as JSON
    #[arg(long, requires = "once", env = "BEKK_JSON")]
    pub(crate) json: bool,
    /// With --once: stop after this time, such as 10m, and exit with 1
    #[arg(long, value_name = "TIME", requires = "once", value_parser = parse_duration, env = "BEKK_TIMEOUT")]
    pub(crate) timeout: Option<Duration>,
}

/// Files, which the configuration need not name yet, or standard input
#[derive(Args)]
pub(crate) struct InputArgs {
    /// CSV files. If no stream of bekk.toml takes a file, a stream for it is inferred and added, as by `bekk init`.
    /// To fill a table that exists, describe the file first: bekk init FILE --table NAME.
    /// With --once, `-` loads standard input instead of the streams' files
    #[arg(id = "input", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// With `-`: the stream of the input, if the configuration has several
    #[arg(
        id = "input_stream",
        long = "stream",
        value_name = "NAME",
        requires = "input"
    )]
    pub(crate) stream: Option<String>,
    /// With `-`: a name for the input. If the input starts with the whole previous input of that name, only the rest is
    /// loaded [default: stdin]
    #[arg(
        id = "input_name",
        long = "name",
        value_name = "NAME",
        requires = "input",
        value_parser = input_name
    )]
    pub(crate) name: Option<String>,
    /// With --once: exit with 0 even if no file has ever matched, or standard input is empty
    #[arg(long, requires = "once", env = "BEKK_ALLOW_EMPTY")]
    pub(crate) allow_empty: bool,
}

impl InputArgs {
    /// Whether standard input is loaded.
    pub(crate) fn has_dash(&self) -> bool {
        self.files.iter().any(|file| file == Path::new("-"))
    }
}

fn input_name(name: &str) -> Result<String, &'static str> {
    bekk_ingest::check_input_name(name).map(|()| name.to_owned())
}

#[derive(Args)]
pub(crate) struct StrictArgs {
    /// With --once: exit with 3 if there are new dead letters
    #[arg(long, requires = "once", env = "BEKK_STRICT")]
    pub(crate) strict: bool,
}

#[derive(Args)]
pub(crate) struct HttpArgs {
    /// Address of the live page, /metrics, /healthz and /readyz, or `off`. If the port is taken, Bekk uses the next
    /// free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8080",
        env = "BEKK_HTTP"
    )]
    pub(crate) http: HttpAt,

    /// Let every user of this machine see the page, which contains rows; without this option only the user that runs
    /// bekk sees it
    #[arg(long, env = "BEKK_HTTP_OPEN")]
    pub(crate) http_open: bool,

    /// File with a token of 16 bytes or more. A viewer who signs in with it may retry and discard dead letters and
    /// pause the sink; without this option the page is read-only
    #[arg(long, value_name = "FILE", env = "BEKK_HTTP_TOKEN_FILE")]
    pub(crate) http_token_file: Option<PathBuf>,
}

impl HttpArgs {
    /// Where it answers; nowhere if it ends by itself.
    pub(crate) fn unless(&self, once: bool) -> HttpAt {
        if once { HttpAt::Off } else { self.http }
    }
}

/// Address of a command's HTTP server
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpAt {
    Off,
    Address(SocketAddr),
}

impl FromStr for HttpAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse();
        address
            .map(Self::Address)
            .map_err(|_| "write ADDRESS:PORT, such as 127.0.0.1:8080, or off".to_owned())
    }
}
