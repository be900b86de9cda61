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
    /// Restore the readable records of damaged segments that were set aside; the log must not be in use
    Salvage(LogSalvage),
    /// Copy the log and ingest's state to a directory, also while they are in use
    Backup(LogBackup),
    /// Copy the log to a Kafka cluster, and let ingest and sinks continue there
    Copy(LogCopy),
    /// Serve the log to Kafka clients, until stopped
    Serve(Box<LogServe>),
}

/// Copy the log and ingest's state to a directory, also while Bekk runs.
///
/// The backup holds the log as it is at one moment: it lacks nothing that was acknowledged before, and no topic is newer
/// than another. Check it with `bekk log verify --log DIR/log`. On the log's own file system it shares the large files
/// with the log (hard links): it takes little time and space, but is lost with the disk, so copy it to another disk. The
/// rows are in PostgreSQL: back up the database first (pg_dump), so that the log is the newer of the two.
#[derive(Args)]
#[command(after_help = "Example, while `bekk up` runs:\n  \
      $ pg_dump --format=custom --file=backup/shop.dump \"$DATABASE_URL\"\n  \
      $ bekk log backup backup/bekk\n  \
      backed up to `backup/bekk`: 14,026 records of 2 topics, 5 segments, …\n  \
      to restore it, while no Bekk runs here:\n    \
      rm -rf .bekk/log && cp -a backup/bekk/log .bekk/log\n    \
      rm -rf .bekk/ingest && cp -a backup/bekk/ingest .bekk/ingest\n\n\
      Exit codes: 0 backed up; 1 not (nothing is left in the directory).")]
pub(crate) struct LogBackup {
    /// Directory to make; if it exists, it must be empty
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Copy the log to a Kafka cluster, and let ingest and sinks continue there.
///
/// Stop ingest and sinks first. Every record keeps its offset, time, key and headers, so that groups, dead letters and
/// ingest's checkpoint continue where they are. A topic that has other records is refused; a copy that was interrupted
/// continues. At the end every record is compared, and only then do the groups move to the cluster. The source log
/// stays as it is. The command copies the topics of the configuration's streams, and bekk.meta.
#[derive(Args)]
#[command(after_help = "Example: outgrow one machine\n  \
      bekk log copy --to kafka://broker1:9092,broker2:9092\n  \
      then, in [log] of bekk.toml: url = \"kafka://broker1:9092,broker2:9092\"\n  \
      and start ingest and sinks\n\n\
      Exit codes: 0 copied and compared; 1 the copy failed or is incomplete.")]
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
    /// Maximum number of records [default: all]
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
    /// Values in the stream's order; the text of a rejected record
    Csv,
    /// Bytes of the record
    Raw,
}

/// Check every record batch's CRC and that no offset is missing.
///
/// It reads the whole log and changes no damaged segment. When the log next reads such a segment, it makes a new one of
/// the batches that are whole, keeps the damaged one beside it, and reports the lost offsets. Ingest then reads lost
/// records again from files that still exist; `bekk log salvage` restores others.
#[derive(Args)]
#[command(
    after_help = "Example: a bad sector; the file with the rows is gone, the log has a backup\n  \
      $ bekk log verify\n  \
      damaged, 1 problem: 4 records in 4 batches, 4 segments, 1,059 bytes\n    \
      events: log `…` is damaged: read: a checksum does not match (`…`)\n  \
      $ bekk up --once --allow-empty\n  \
      done: 0 files, nothing new: the table stays as it is, 0.7 s\n  \
      $ bekk log verify\n  \
      damaged, 749 offsets missing: 2,255 records in 7 batches, 4 segments, …\n    \
      events/0: offsets 0 to 749 are missing since 2026-11-27T14:35:21.098Z: …\n  \
      set aside, and not served:\n    \
      .bekk/log/topics/events/0000000001.damaged-1795790121098\n  \
      to restore what can be read of it: bekk log salvage\n\n\
      Exit codes: 0 no record is missing or damaged; 1 some are (the output names\n\
      them); 2 another process uses the log."
)]
pub(crate) struct LogVerify {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Restore the readable records of damaged segments that were set aside.
///
/// Searches their files batch by batch and puts missing records back at their offsets. Use it after you have restored
/// the disk or a file. A segment that a restore had put in another one's place returns to its own. The command changes
/// nothing in the damaged segments, and you can run it again.
#[derive(Args)]
#[command(
    after_help = "Example, after the example of `bekk log verify`: restore from a backup\n  \
      $ aside=$(echo .bekk/log/topics/events/*.damaged-*)\n  \
      $ cp -r backup/log/topics/events/0000000001/db $aside\n  \
      $ bekk log salvage\n  \
      .bekk/log/topics/events/0000000001.damaged-1795790121098\n    \
      749 records of topic events restored\n    \
      no offset of it is missing; delete it once `bekk log verify` says ok\n  \
      a group that has passed these offsets does not read them by itself: …\n  \
      $ bekk log verify\n  \
      ok: 3,004 records in 8 batches, 4 segments, 305,213 bytes\n  \
      set aside, and not served:\n    \
      .bekk/log/topics/events/0000000001.damaged-1795790121098\n  \
      no offset is missing, so that these directories may be deleted\n\n\
      Exit codes: 0 no offset is missing; 1 some are (the output names them, as\n\
      `bekk log verify` does)."
)]
pub(crate) struct LogSalvage {
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
