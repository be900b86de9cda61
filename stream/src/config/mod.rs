//! `bekk.toml`: the log, the database and any number of streams.

mod build;
mod check;
mod keys;
mod lines;
mod raw;
mod texts;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Stream;

pub use build::{escape_pattern, pattern_glob};
pub use check::SYSTEM_COLUMNS;
pub use lines::line_of_stream;

/// Returns the hosts of a `kafka://` URL; `None` for another text.
///
/// # Errors
/// If it has a user, a password or parameters, which are not shown, or no hosts.
pub fn kafka_hosts(url: &str) -> Option<Result<&str, &'static str>> {
    let rest = url.strip_prefix("kafka:")?;
    let Some(hosts) = rest.strip_prefix("//") else {
        // Else a slash that was forgotten would make a log in a directory of that name.
        return Some(Err("write kafka://host:port, with two slashes"));
    };
    if hosts.contains('@') {
        return Some(Err(
            "a kafka:// URL takes no user and no password; write them into [log.kafka] as `sasl.username` and \
             `sasl.password` (\"${NAME}\" takes a variable of the environment)",
        ));
    }
    let is_of_host = |c: char| c.is_alphanumeric() || ".-_:,[]%".contains(c);
    Some(if !hosts.chars().all(is_of_host) {
        Err(
            "a kafka:// URL has hosts and ports only, kafka://host:port[,host:port]; write properties into [log.kafka]",
        )
    } else if !hosts.split(',').all(is_place) {
        Err("each part of kafka://host:port[,host:port] needs a host, and a port from 1 to 65535")
    } else {
        Ok(hosts)
    })
}

/// Whether a text is a host, or a host and a port.
fn is_place(text: &str) -> bool {
    match text.rsplit_once(':') {
        // The colons of an address in brackets.
        Some((_, end)) if end.ends_with(']') => true,
        Some((host, port)) => !host.is_empty() && port.parse().is_ok_and(|port: u16| port > 0),
        None => !text.is_empty(),
    }
}

/// The sample configuration, used where there is no `bekk.toml`: the one at the project's root.
pub const SAMPLE_CONFIG: &str = include_str!("../../../bekk.toml");

/// A whole configuration, checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the log is.
    pub log: LogLocation,
    /// librdkafka's properties for a log that is served elsewhere: authentication and encryption.
    pub kafka: BTreeMap<String, String>,
    /// When an append is acknowledged.
    pub durability: Durability,
    /// How files are followed, where that is said.
    pub ingest: IngestOptions,
    /// The database named in `[postgres]`, if one is.
    pub postgres_url: Option<String>,
    /// Whether a password stands in the file itself.
    pub has_plain_secret: bool,
    /// The streams, in the order of the file; at least one.
    pub streams: Vec<Stream>,
}

/// Without the values that may be secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("log", &self.log)
            .field("kafka", &self.kafka.keys())
            .field("durability", &self.durability)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

/// What `[ingest]` says; ingest's own defaults hold where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestOptions {
    /// Whether the system is asked to tell of changes; without that, files are only looked at.
    pub notify: Option<bool>,
    /// How long a file must have been unchanged to be finished.
    pub close_after: Option<Duration>,
    /// How long a file must have been unchanged for its unterminated last record to be taken.
    pub partial_after: Option<Duration>,
    /// How many files are kept open.
    pub open_files_max: Option<u32>,
}

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLocation {
    /// A directory, absolute.
    Directory(PathBuf),
    /// `kafka://host:port[,host:port]`, without the scheme.
    Kafka(String),
}

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After fsync.
    Sync,
    /// At once; fsync follows at this interval.
    Interval(Duration),
    /// At once; the operating system writes when it likes.
    Os,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read config `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or a value is of the wrong type; the text shows the place.
    #[error("config `{path}`: {detail}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        detail: String,
    },
    /// A value makes no sense.
    #[error("config `{path}`, {place}: {detail}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where: `line 7, streams.items.files`.
        place: String,
        /// What is wrong and what would be right.
        detail: String,
    },
}

/// Looks a variable of the environment up.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads a configuration file; its relative paths start at its directory.
    ///
    /// # Errors
    /// If it cannot be read or is not right; the error names file, place and remedy.
    pub fn load(path: &Path, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let read_error = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(read_error)?;
        let absolute = std::path::absolute(path).map_err(read_error)?;
        let base = absolute.parent().unwrap_or(Path::new("/"));
        Self::parse(&text, path, base, environment)
    }

    /// The sample configuration, as if it stood in `base`.
    ///
    /// # Errors
    /// Never, for an absolute `base`: the sample is right.
    pub fn sample(base: &Path, environment: Environment<'_>) -> Result<Self, ConfigError> {
        Self::parse(SAMPLE_CONFIG, Path::new("(built in)"), base, environment)
    }

    /// Reads a configuration's text; relative paths start at `base`, `path` stands in errors.
    ///
    /// # Errors
    /// If it is not right; the error names file, place and remedy.
    pub fn parse(
        text: &str,
        path: &Path,
        base: &Path,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigError> {
        keys::check(text, path)?;
        let raw: raw::Config = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            detail: without_values(text, &error),
        })?;
        let invalid = |fault: Fault| ConfigError::Invalid {
            path: path.to_owned(),
            place: match lines::line_of(text, &fault.place) {
                Some(line) => format!("line {line}, {}", fault.place),
                None => fault.place,
            },
            detail: fault.detail,
        };
        let config = build::config(raw, base, environment).map_err(invalid)?;
        check::config(&config).map_err(invalid)?;
        Ok(config)
    }
}

/// The place and the parser's words, without the text of the line: it may be a connection with its password.
fn without_values(text: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    // A value of the wrong type is quoted.
    let message = match (message.find(['"', '`']), message.rfind(['"', '`'])) {
        (Some(first), Some(last)) if message.starts_with("invalid") && first < last => {
            format!("{}…{}", &message[..=first], &message[last..])
        }
        _ => message.to_owned(),
    };
    let message = in_words(message);
    let Some(span) = error.span() else {
        return message;
    };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count())
        + 1;
    format!("line {line}, column {column}: {message}")
}

/// A message about a value of the wrong type, in TOML's words and not in Rust's.
fn in_words(message: String) -> String {
    if !message.starts_with("invalid") {
        return message;
    }
    [
        ("struct Retention", "a table, such as { age = \"7d\" }"),
        ("expected struct", "expected a table, struct"),
        ("u32", "a whole number of 0 or more"),
        ("a sequence", "a list, such as [\"a\"]"),
        ("sequence", "list"),
        ("type: map", "type: table"),
        ("a map", "a table"),
        ("a boolean", "true or false"),
    ]
    .iter()
    .fold(message, |message, (rust, toml)| message.replace(rust, toml))
}

/// An invalid value and its place.
struct Fault {
    place: String,
    detail: String,
}

impl Fault {
    fn new(place: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            detail: detail.into(),
        }
    }
}

#[cfg(test)]
mod tests;
