//! Arguments that several commands have, each of which is said once.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::http::HttpAt;

#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The configuration file; without one named, ./bekk.toml, else the built-in sample stream
    #[arg(long, global = true, value_name = "FILE", env = "BEKK_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// How messages are written to standard error
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
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

#[derive(Args)]
pub(crate) struct LogArgs {
    /// The log: a directory, which the first process to come owns and serves to the others, or
    /// kafka://host:port[,host:port]. Without one named, the configuration's
    #[arg(long, value_name = "LOG", env = "BEKK_LOG")]
    pub(crate) log: Option<String>,
}

#[derive(Args)]
pub(crate) struct PostgresArgs {
    /// PostgreSQL server, as psql takes it: postgres://user@host:port/database, or host=… dbname=… .
    /// The password belongs into ~/.pgpass, PGPASSWORD or DATABASE_URL. Default: DATABASE_URL,
    /// POSTGRES_HOST, the configuration, PGHOST, else a private server
    // Not from a BEKK_* variable of its own: DATABASE_URL is that variable.
    #[arg(long, value_name = "URL")]
    pub(crate) postgres: Option<String>,
}

/// Who remembers how far it is.
#[derive(Args)]
pub(crate) struct GroupArgs {
    /// The sink group: who remembers how far the table has come
    #[arg(
        id = "group",
        long = "group",
        value_name = "NAME",
        default_value = "bekk",
        env = "BEKK_GROUP"
    )]
    pub(crate) name: String,
}

#[derive(Args, Clone)]
pub(crate) struct StreamArgs {
    /// Only this stream of the configuration
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
    /// Do it; without this, only say what would be done
    #[arg(long, env = "BEKK_EXECUTE")]
    pub(crate) execute: bool,
}

#[derive(Args)]
pub(crate) struct OnceArgs {
    /// Take what is there now, then stop with a summary: files up to their size now, the log up to its end
    #[arg(long, env = "BEKK_ONCE")]
    pub(crate) once: bool,
    /// With --once: print the summary as JSON
    #[arg(long, requires = "once", env = "BEKK_JSON")]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct StrictArgs {
    /// With --once: exit with 3 if there were dead letters
    #[arg(long, requires = "once", env = "BEKK_STRICT")]
    pub(crate) strict: bool,
}

#[derive(Args)]
pub(crate) struct HttpArgs {
    /// The address that answers /healthz, /readyz and /metrics while it runs, or the next free port if that is
    /// taken; off for none
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
