//! The configuration of a command and the places that it names.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use bekk_log::{Client, RemoteConfig};
use bekk_postgres::Server;
use bekk_stream::{
    Config, ConfigError, Durability, Encoding, LogLocation, META_TOPIC, Retention, Stream,
    TableName, kafka_hosts,
};
use parking_lot::Mutex;

use crate::args::{Global, LogArgs, PostgresArgs, StreamArgs, TargetArgs};
use crate::database::{Choice, Database, private_options};
use crate::environment;
use crate::found_file::{self, Owners};
use crate::log_place::LogPlace;
use crate::open_files;
use crate::outcome::{WrongUsage, check_name};
use crate::screen::plural;
use crate::secrets;

/// The file that is the configuration where none is named.
const CONFIG_FILE: &str = "bekk.toml";

/// Reads a table's name as it is typed: `table` or `schema.table`.
///
/// # Errors
/// If it is neither.
pub(crate) fn table_name(text: &str) -> Result<TableName, WrongUsage> {
    TableName::parse(text).ok_or_else(|| {
        WrongUsage(format!(
            "`{text}` is not a table name; write name or schema.name, and a name with a dot in double quotes"
        ))
    })
}

/// The configuration in use.
pub(crate) struct Context {
    pub(crate) config: Config,
    /// Directory of relative paths and of `.bekk`: the configuration's, else the working directory.
    pub(crate) base: PathBuf,
    /// The file it was read from; `None` for the built-in sample.
    pub(crate) file: Option<PathBuf>,
    /// Its streams, with what was applied while the command runs.
    streams: Mutex<Vec<Stream>>,
    generation: AtomicU64,
}

/// The text of `./bekk.toml`, if there is one.
fn read_found() -> Result<Option<String>, ConfigError> {
    let path = Path::new(CONFIG_FILE);
    found_file::read(path, Owners::OfPlace).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

impl Context {
    /// Reads the configuration that the arguments name, else `./bekk.toml`, else the built-in sample.
    ///
    /// # Errors
    /// If it is not valid.
    pub(crate) fn load(global: &Global) -> Result<Self, ConfigError> {
        let variable = |name: &str| environment::referred(name);
        let here = || std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let found = match global.config {
            Some(_) => None,
            None => read_found()?,
        };
        let file = global
            .config
            .clone()
            .or_else(|| found.is_some().then(|| CONFIG_FILE.into()));
        let (config, base) = match &file {
            Some(path) => {
                let config = match &found {
                    Some(text) => Config::parse(text, path, &here(), &variable)?,
                    None => Config::load(path, &variable)?,
                };
                if config.has_plain_secret {
                    secrets::warn_if_open(path);
                }
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                (config, absolute.parent().map_or_else(here, Path::to_owned))
            }
            None => (Config::sample(&here(), &variable)?, here()),
        };
        Ok(Self {
            streams: Mutex::new(config.streams.clone()),
            generation: AtomicU64::new(0),
            config,
            base,
            file,
        })
    }

    /// The streams in use: those of the configuration, with what SIGHUP has applied since the command began.
    pub(crate) fn streams(&self) -> Vec<Stream> {
        self.streams.lock().clone()
    }

    /// The encoding in which the records that are no rows of a topic are.
    pub(crate) fn encoding_of(&self, topic: &str) -> Encoding {
        let streams = self.streams.lock();
        let stream = streams.iter().find(|stream| stream.name == topic);
        stream.map_or(Encoding::Utf8, |stream| stream.csv.encoding)
    }

    /// Notes the retention that was applied to a stream's topic.
    pub(crate) fn set_retention(&self, stream: &str, retention: Retention) {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.iter_mut().find(|own| own.name == stream) {
            stream.retention = retention;
        }
    }

    /// Takes other streams into use. A pipeline, which watches [`Self::generation`], starts its parts with them.
    pub(crate) fn set_streams(&self, streams: Vec<Stream>) {
        *self.streams.lock() = streams;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Number of times that other streams were taken into use.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Where the log is, by the argument or the configuration.
    ///
    /// # Errors
    /// If it is on a network file system, or a property is not the user's to set.
    pub(crate) fn log_place(&self, args: &LogArgs) -> Result<LogPlace> {
        let location = match args.log.as_deref() {
            Some(text) => match kafka_hosts(text) {
                Some(Err(why)) => return Err(WrongUsage(format!("--log: {why}")).into()),
                Some(Ok(hosts)) => LogLocation::Kafka(hosts.to_owned()),
                None if text.contains("://") => {
                    let why = "it is not the address of a log; write kafka://host:port";
                    return Err(WrongUsage(format!("--log: {why}")).into());
                }
                None => LogLocation::Directory(
                    std::path::absolute(text).with_context(|| format!("find `{text}`"))?,
                ),
            },
            None => self.config.log.clone(),
        };
        secrets::close_state(&self.base)?;
        match location {
            LogLocation::Directory(dir) => {
                let mut config = bekk_log::Config::new(dir);
                config.durability = match self.config.durability {
                    Durability::Sync => bekk_log::Durability::Sync,
                    Durability::Interval(interval) => bekk_log::Durability::Interval(interval),
                    Durability::Os => bekk_log::Durability::Os,
                };
                Ok(LogPlace::Directory {
                    config,
                    base: self.base.clone(),
                })
            }
            LogLocation::Kafka(hosts) => {
                let mut config = RemoteConfig::new(hosts);
                config.properties.clone_from(&self.config.kafka);
                config.topics = self.topics();
                if let Some(property) = config.reserved_property() {
                    let text = format!("[log.kafka] `{property}` is Bekk's to set; remove it");
                    return Err(WrongUsage(text).into());
                }
                Ok(LogPlace::Kafka(config))
            }
        }
    }

    /// The topics that are Bekk's own: the streams', and `bekk.meta`.
    pub(crate) fn topics(&self) -> Vec<String> {
        let streams = self.streams().into_iter();
        let topics = streams.map(|stream| stream.name);
        topics.chain([META_TOPIC.to_owned()]).collect()
    }

    /// The log's directory, for what is done with its files.
    ///
    /// # Errors
    /// If the log is served elsewhere.
    pub(crate) fn log_dir(&self, args: &LogArgs) -> Result<PathBuf> {
        let place = self.log_place(args)?;
        let dir = place.dir().map(Path::to_owned);
        dir.with_context(|| format!("{place} is served elsewhere; run this where its directory is"))
    }

    /// The log, for a command that is soon done: as its owner, as a guest, or over a network.
    ///
    /// # Errors
    /// If it does not exist, or cannot be had.
    pub(crate) fn open_log(&self, args: &LogArgs) -> Result<Client> {
        let place = self.log_place(args)?;
        // A directory of other files is refused when it is opened.
        if !place.has_files() {
            place.check_exists()?;
        }
        place.open()
    }

    /// The database, by the argument, the environment or the configuration.
    ///
    /// # Errors
    /// If what names it is wrong, or the private server cannot be had.
    pub(crate) fn database(&self, args: &PostgresArgs) -> Result<Database> {
        Database::choose(&self.choice(args))
    }

    /// Finds the same database, but creates no private server.
    ///
    /// # Errors
    /// As [`Self::database`].
    pub(crate) fn database_if_made(&self, args: &PostgresArgs) -> Result<Option<Database>> {
        Database::choose_if_made(&self.choice(args))
    }

    /// Finds the same database, but neither creates nor starts a private server.
    ///
    /// # Errors
    /// As [`Self::database`].
    pub(crate) fn database_if_running(&self, args: &PostgresArgs) -> Result<Option<Database>> {
        Database::choose_if_running(&self.choice(args))
    }

    /// Whether the database is a private server of this directory that does not run.
    pub(crate) fn has_stopped_database(&self) -> bool {
        let is_named = Database::is_named(&self.choice(&PostgresArgs { postgres: None }));
        let options = private_options(&self.base);
        let is_stopped = options.is_ok_and(|options| {
            options.directory.exists() && matches!(Server::runs(&options), Ok(false))
        });
        !is_named && is_stopped
    }

    fn choice<'a>(&'a self, args: &'a PostgresArgs) -> Choice<'a> {
        Choice {
            typed: args.postgres.as_deref(),
            demo: false,
            config: &self.config,
            base: &self.base,
        }
    }

    /// The names of all streams.
    pub(crate) fn stream_names(&self) -> Vec<String> {
        let streams = self.streams().into_iter();
        streams.map(|stream| stream.name).collect()
    }

    /// All streams, or the one that is named.
    ///
    /// # Errors
    /// If there is no such stream.
    pub(crate) fn streams_of(&self, args: &StreamArgs) -> Result<Vec<Stream>> {
        let mut streams = self.streams();
        if let Some(name) = &args.name {
            check_name("--stream", name, streams.iter().map(|stream| &*stream.name))?;
            streams.retain(|stream| stream.name == *name);
        }
        Ok(streams)
    }

    /// The streams to apply: all, or the one that is named; into another table if one is named.
    ///
    /// # Errors
    /// If there is no such stream, or several would fill the one table.
    pub(crate) fn targets(&self, args: &TargetArgs) -> Result<Vec<Stream>> {
        let mut streams = self.streams_of(&args.stream)?;
        if let Some(table) = &args.table {
            let [stream] = streams.as_mut_slice() else {
                let text = format!("--table `{table}` takes one stream; name it with --stream");
                return Err(WrongUsage(text).into());
            };
            stream.table = table_name(table)?;
        }
        Ok(streams)
    }

    /// Ingest's configuration.
    pub(crate) fn ingest_config(&self, once: bool) -> bekk_ingest::Config {
        let mut config = bekk_ingest::Config::new(self.base.join(".bekk/ingest"));
        config.mode = if once {
            bekk_ingest::Mode::Once
        } else {
            bekk_ingest::Mode::Follow
        };
        let options = &self.config.ingest;
        config.notify = options.notify.unwrap_or(config.notify);
        config.close_after = options.close_after.unwrap_or(config.close_after);
        config.partial_after = options.partial_after.unwrap_or(config.partial_after);
        if let Some(max) = options.open_files_max {
            config.open_files_max = max as usize;
        }
        config.open_files_max = config.open_files_max.min(open_files::followed_max());
        config
    }

    /// The patterns of all streams' files, as they are shortest to read.
    pub(crate) fn shown_patterns(&self) -> String {
        let streams = self.streams().into_iter();
        let shown = streams.map(|stream| self.shown_files(&stream.files));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Patterns of files, as they are shortest to read.
    pub(crate) fn shown_files(&self, patterns: &[String]) -> String {
        let shown = patterns.iter().map(|pattern| {
            let path = crate::database::shown_from(&self.base, Path::new(pattern));
            path.display().to_string()
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The streams' topics and partition counts, for a person.
    pub(crate) fn shown_topics(&self) -> String {
        let topics = self.streams().into_iter().map(|stream| {
            let count = stream.partitions;
            format!(
                "{}: {count} {}",
                stream.name,
                plural(count.into(), "partition")
            )
        });
        topics.collect::<Vec<_>>().join(", ")
    }

    /// The log's place and topics, for a person; with the numbers of partitions, if the log is in a directory.
    pub(crate) fn shown_log(&self, place: &LogPlace) -> String {
        let names = self.config.streams.iter();
        let names = names.map(|stream| stream.name.as_str());
        match place.dir() {
            Some(_) => format!("{place}   {}", self.shown_topics()),
            None => format!("{place}   {}", names.collect::<Vec<_>>().join(", ")),
        }
    }

    /// The log's durability, for a person.
    pub(crate) fn shown_durability(&self) -> String {
        match self.config.durability {
            Durability::Sync => "fsync on every append".to_owned(),
            Durability::Interval(interval) => format!("fsync every {interval:?}"),
            Durability::Os => "no fsync: the system decides when to write".to_owned(),
        }
    }
}
