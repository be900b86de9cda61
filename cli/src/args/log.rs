//! Arguments of `bekk log`, and of whoever serves it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{HttpArgs, LogArgs, OutputArgs, PostgresArgs, Where};

#[derive(Subcommand)]
pub(crate) enum Log {
    /// List topics, partitions, offsets and sizes
    Topics(LogTopics),
    /// Print the records of a topic
    Read(LogRead),
    /// Check every batch's CRC and that no offset is missing; the log must not be in use
    Verify(LogVerify),
    /// Restore what can be read of damaged segments that were set aside; the log must not be in use
    Salvage(LogSalvage),
    /// Copy the log to a Kafka cluster, and let ingest and sinks continue there
    Copy(LogCopy),
    /// Serve the log to Kafka clients, until stopped
    Serve(Box<LogServe>),
}

/// Copy the log to a Kafka cluster, and let ingest and sinks continue there.
///
/// Stop ingest and sinks first. Every record keeps its offset, time, key and headers, so that groups, dead letters and
/// ingest's checkpoint continue where they are. A topic that has other records is refused; a copy that was interrupted
/// continues. At the end every record is compared, and only then do the groups move to the cluster. The log here stays
/// as it is. Copied are the topics of the configuration's streams, and bekk.meta.
#[derive(Args)]
#[command(after_help = "Example: outgrow one machine\n  \
      bekk log copy --to kafka://broker1:9092,broker2:9092\n  \
      then, in [log] of bekk.toml: url = \"kafka://broker1:9092,broker2:9092\"\n  \
      and start ingest and sinks\n\n\
      Exit codes: 0 copied and compared; 1 not, or not all of it.")]
pub(crate) struct LogCopy {
    /// Log to copy to: kafka://host:port[,host:port], with the settings of [log.kafka]
    #[arg(long, value_name = "LOG")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) postgres: PostgresArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
      bekk log serve\n  \
      bekk log serve --listen 0.0.0.0:9092 --advertise log.example.net:9092")]
pub(crate) struct LogServe {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// Address to listen at; port 0 takes any free port
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
    /// Address for clients to connect to [default: the address they reached]
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_host_port, env = "BEKK_ADVERTISE")]
    pub(crate) advertise: Option<(String, u16)>,
    /// Certificate chain in PEM; connections are then encrypted
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "BEKK_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "BEKK_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// User that clients must authenticate as; its password is in BEKK_SASL_PASSWORD or in a file
    #[arg(long, value_name = "NAME", env = "BEKK_SASL_USER")]
    pub(crate) sasl_user: Option<String>,
    /// File that holds the password
    #[arg(long, value_name = "FILE", env = "BEKK_SASL_PASSWORD_FILE")]
    pub(crate) sasl_password_file: Option<PathBuf>,
    /// User that may only read; its password is in BEKK_SASL_READ_PASSWORD or in a file
    #[arg(long, value_name = "NAME", env = "BEKK_SASL_READ_USER")]
    pub(crate) sasl_read_user: Option<String>,
    /// File that holds the password of the user that may only read
    #[arg(long, value_name = "FILE", env = "BEKK_SASL_READ_PASSWORD_FILE")]
    pub(crate) sasl_read_password_file: Option<PathBuf>,
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
      bekk log read --from shift:-10         the last ten records of each partition\n  \
      bekk log read --from latest --follow   new records, until stopped\n  \
      bekk log read --format csv --limit 100")]
pub(crate) struct LogRead {
    /// Topic [default: that of the only stream]
    #[arg(long, value_name = "NAME", env = "BEKK_TOPIC")]
    pub(crate) topic: Option<String>,
    /// Start: earliest, latest, offset:N, time:2026-01-31T12:00:00Z, or shift:-10 for the last ten records
    /// of each partition
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "earliest",
        allow_hyphen_values = true,
        env = "BEKK_FROM"
    )]
    pub(crate) from: Where,
    /// Format of a record
    #[arg(long, value_enum, default_value = "json", env = "BEKK_FORMAT")]
    pub(crate) format: ReadFormat,
    /// Maximum number of records
    #[arg(long, value_name = "N", env = "BEKK_LIMIT")]
    pub(crate) limit: Option<u64>,
    /// Continue with new records until stopped
    #[arg(long, env = "BEKK_FOLLOW")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadFormat {
    /// One JSON object per line, with offset, key, file and line
    Json,
    /// Values in the stream's order; a rejected line as it is in its file
    Csv,
    /// Bytes of the record
    Raw,
}

/// Checks every record batch's CRC and that no offset is missing.
///
/// The log makes a damaged segment anew from the batches that are whole when it next reads it, and keeps what is
/// damaged beside it.
#[derive(Args)]
#[command(after_help = "Example, after a bad sector:\n  \
      $ bekk log verify\n  \
      damaged, 987 offsets missing: 7,013 records in 14 batches, …\n    \
      events/0: offsets 0 to 987 are missing since 2026-11-26T21:30:00Z: …\n  \
      set aside, and not served:\n    \
      .bekk/log/topics/events/0000000001.damaged-1795732841681\n  \
      to restore what can be read of it: bekk log salvage\n\n\
      Exit codes: 0 no record is missing or damaged; 1 some are (the output names\n\
      them); 2 another process uses the log.")]
pub(crate) struct LogVerify {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Restores what can be read of damaged segments that were set aside.
///
/// Searches their files batch by batch, and puts the records that are missing in the log back in their places: for
/// use after the disk or a file was restored. It changes nothing of what was set aside, and may be run again.
#[derive(Args)]
#[command(
    after_help = "Example, after the damaged file was restored from a backup:\n  \
      $ aside=.bekk/log/topics/events/0000000001.damaged-1795732841681\n  \
      $ cp backup/1 $aside/db/keyspaces/2/tables/1\n  \
      $ bekk log salvage\n  \
      .bekk/log/topics/events/0000000001.damaged-1795732841681\n    \
      987 records of topic events restored\n    \
      no offset of it is missing; delete it once `bekk log verify` says ok\n  \
      a group that has passed these offsets does not read them by itself: …\n\n\
      Exit codes: 0 no offset is missing; 1 some are (the output names them, as\n\
      `bekk log verify` does)."
)]
pub(crate) struct LogSalvage {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
