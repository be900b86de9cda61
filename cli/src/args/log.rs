//! Arguments of `bekk log`, and of whoever serves it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{HttpArgs, LogArgs, OutputArgs, Where};

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
#[command(after_help = "Examples:\n  \
      bekk log serve\n  \
      bekk log serve --listen 0.0.0.0:9092 --advertise log.example.net:9092")]
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
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Args)]
#[command(next_help_heading = "For Kafka clients")]
pub(crate) struct ServeArgs {
    /// Where clients are told to connect to; without it, the address that each has reached
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_host_port, env = "BEKK_ADVERTISE")]
    pub(crate) advertise: Option<(String, u16)>,
    /// Encrypt connections: the certificate and those above it, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "BEKK_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "BEKK_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let in only who knows this name and its password, by SASL/PLAIN; the password is in the environment
    /// variable BEKK_SASL_PASSWORD or in a file
    #[arg(long, value_name = "NAME", env = "BEKK_SASL_USER")]
    pub(crate) sasl_user: Option<String>,
    /// The file with the password
    #[arg(long, value_name = "FILE", env = "BEKK_SASL_PASSWORD_FILE")]
    pub(crate) sasl_password_file: Option<PathBuf>,
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
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk log read --from shift:-10                 the last ten of each partition\n  \
      bekk log read --from latest --follow           new ones until stopped\n  \
      bekk log read --format csv --limit 100")]
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
#[command(after_help = "Exit codes: 0 all is whole; 1 something is wrong, which is said.")]
pub(crate) struct LogVerify {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
