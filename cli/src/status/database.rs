//! Status of the database: its groups, the outcome of the streams' records, waiting sinks and open dead letters.

use anyhow::Result;
use bekk_log::Client;
use bekk_sink::{ConnectOptions, Misfit, TableFault, WaitCause};
use bekk_stream::Stream;
use serde::Serialize;

use super::removed::Removed;
use super::unapplied::{self, Unapplied};
use crate::positions::{Line, lines};
use crate::remedy::remedy_for_login;

#[derive(Default, Clone)]
pub(crate) struct DatabaseStatus {
    pub(crate) postgres: PostgresStatus,
    pub(crate) groups: Vec<Line>,
    pub(crate) streams: Vec<StreamCounts>,
    pub(crate) dead_letters: Vec<DeadLetters>,
    pub(crate) tables: Vec<TableFault>,
    pub(crate) misfits: Vec<Misfit>,
    pub(crate) unapplied: Vec<Unapplied>,
    pub(crate) removed: Vec<Removed>,
    pub(crate) waits: Vec<SinkWaits>,
}

#[derive(Clone, Default, Serialize)]
pub(crate) struct PostgresStatus {
    /// The server; `None` if it is the private one and has not been made yet.
    pub(crate) server: Option<String>,
    pub(crate) error: Option<String>,
    /// What to do about the error of a server that answers; absent if it does not answer.
    #[serde(skip)]
    pub(crate) remedy: Option<String>,
    /// Whether it is a private server that does not run; looking at it does not start it.
    #[serde(skip)]
    pub(crate) is_stopped: bool,
}

/// Outcome of a stream's records by the counts of a group
#[derive(Clone, Serialize)]
pub(crate) struct StreamCounts {
    pub(crate) group: String,
    pub(crate) stream: String,
    pub(crate) rows: u64,
    pub(crate) superseded: u64,
    pub(crate) dead_letters: u64,
    /// Records that wait in the log; absent where the log is not known.
    pub(crate) waiting: Option<u64>,
    /// Offsets that were passed and that the counts do not explain. Anything but 0 is a fault.
    pub(crate) unaccounted: i64,
}

#[derive(Clone, Serialize)]
pub(crate) struct SinkWaits {
    /// Its process and host
    pub(crate) sink: String,
    pub(crate) reason: String,
    /// Begin of the wait, in ISO 8601
    pub(crate) since: String,
    pub(crate) seconds: u64,
    /// Process id of the session that holds the lock for which it waits
    pub(crate) blocked_by: Option<i32>,
    #[serde(skip)]
    pub(crate) cause: WaitCause,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetters {
    pub(crate) group: String,
    pub(crate) stream: String,
    pub(crate) reason: String,
    pub(crate) open: u64,
}

/// What a database is asked about
pub(crate) struct Asked<'a> {
    pub(crate) group: &'a str,
    pub(crate) streams: &'a [Stream],
    /// All streams of the configuration
    pub(crate) configured: &'a [Stream],
}

impl DatabaseStatus {
    /// Asks a database about a group and the streams of this configuration; others may use it as well. None where it
    /// is a private one that has not been made yet, else why it cannot be had.
    pub(crate) fn of(
        postgres: Result<Option<&ConnectOptions>, &String>,
        log: Option<&Client>,
        asked: &Asked<'_>,
    ) -> Self {
        let mut status = Self::default();
        match postgres {
            Err(error) => status.postgres.error = Some(error.clone()),
            Ok(None) => status.ask_log(log, asked),
            Ok(Some(options)) => {
                status.postgres.server = Some(options.to_string());
                if let Err(error) = status.ask(options, log, asked) {
                    status.postgres.tell(&error, options, asked.streams);
                }
            }
        }
        status
    }

    fn ask_log(&mut self, log: Option<&Client>, asked: &Asked<'_>) {
        self.unapplied = log.map_or_else(Vec::new, |log| {
            unapplied::find(log, asked.group, asked.streams, &self.groups)
        });
    }

    fn ask(
        &mut self,
        postgres: &ConnectOptions,
        log: Option<&Client>,
        asked: &Asked<'_>,
    ) -> Result<()> {
        let (group, streams) = (asked.group, asked.streams);
        let is_ours = |topic: &str| streams.iter().any(|stream| stream.name == topic);
        let mut offsets = bekk_sink::list_offsets(postgres)?;
        self.removed = Removed::of(&offsets, log, asked.configured);
        offsets.retain(|offset| is_ours(&offset.topic));
        self.groups = lines(offsets, log, streams);
        self.streams = StreamCounts::of(&self.groups);
        self.ask_log(log, asked);
        // A log that is not known counts as another one than those of the offsets.
        let log_id = log.map_or_else(String::new, |log| log.log_id().to_string());
        self.tables = bekk_sink::table_faults(postgres, (group, Some(&log_id)), streams)?;
        let is_held = |stream: &str| {
            let mut lines = self.groups.iter();
            lines.any(|line| line.group == group && line.topic == stream && line.owner.is_some())
        };
        // A sink that runs knows its tables, and may have another configuration.
        self.tables
            .retain(|fault| !(fault.is_another_table && is_held(&fault.stream)));
        let idle = streams.iter().filter(|stream| !is_held(&stream.name));
        self.misfits = bekk_sink::misfits(postgres, idle)?;
        let topics: Vec<String> = streams.iter().map(|stream| stream.name.clone()).collect();
        let waits = bekk_sink::sink_waits(postgres, group, &topics)?;
        self.waits = waits.into_iter().map(SinkWaits::of).collect();
        let counts = bekk_sink::count_letters(postgres)?;
        self.dead_letters = counts
            .into_iter()
            .filter(|count| is_ours(&count.stream))
            .map(|count| DeadLetters {
                group: count.group,
                stream: count.stream,
                reason: count.reason,
                open: count.open,
            })
            .collect();
        Ok(())
    }
}

impl PostgresStatus {
    /// Keeps an error, and what to do about it.
    fn tell(&mut self, error: &anyhow::Error, postgres: &ConnectOptions, streams: &[Stream]) {
        (self.error, self.remedy) = match error.downcast_ref() {
            Some(bekk_sink::Error::SchemaIncomplete { what, advice }) => {
                (Some(what.clone()), Some(advice.clone()))
            }
            _ => (
                Some(format!("{error:#}")),
                remedy_of(error, postgres, streams),
            ),
        };
    }
}

impl StreamCounts {
    fn of(lines: &[Line]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for line in lines {
            let at = all
                .iter()
                .position(|counts| counts.group == line.group && counts.stream == line.topic);
            let at = at.unwrap_or_else(|| {
                all.push(Self {
                    group: line.group.clone(),
                    stream: line.topic.clone(),
                    rows: 0,
                    superseded: 0,
                    dead_letters: 0,
                    waiting: Some(0),
                    unaccounted: 0,
                });
                all.len() - 1
            });
            let counts = &mut all[at];
            counts.rows += line.rows;
            counts.superseded += line.superseded;
            counts.dead_letters += line.dead_letters;
            counts.waiting = counts.waiting.zip(line.lag).map(|(sum, lag)| sum + lag);
            counts.unaccounted += line.unaccounted.abs();
        }
        all
    }
}

impl SinkWaits {
    fn of(found: bekk_sink::SinkWait) -> Self {
        let waited = found.wait.since.elapsed().unwrap_or_default();
        Self {
            since: found.wait.since_text(),
            seconds: waited.as_secs(),
            sink: found.sink,
            reason: found.wait.reason,
            blocked_by: match found.cause {
                WaitCause::Session(pid) => Some(pid),
                _ => None,
            },
            cause: found.cause,
        }
    }
}

/// Returns what to do about the error of a server that has answered; `None` if it has not.
fn remedy_of(
    error: &anyhow::Error,
    postgres: &ConnectOptions,
    streams: &[Stream],
) -> Option<String> {
    let bekk_sink::Error::Postgres { cause, .. } = error.downcast_ref()? else {
        return Some("do what the message says, then: bekk check".to_owned());
    };
    let sqlstate = cause.sqlstate.as_deref()?;
    let class = sqlstate.get(..2).unwrap_or_default();
    if let Some(remedy) = remedy_for_login(sqlstate) {
        return Some(remedy.to_owned());
    }
    Some(match (sqlstate, class) {
        ("42501", _) => {
            let report = bekk_sink::check(postgres, streams).ok();
            let problems = report.map(|report| report.problems).unwrap_or_default();
            let first = problems.into_iter().next();
            first.unwrap_or_else(|| "bekk check (it names each missing right)".to_owned())
        }
        ("55P03", _) => {
            "bekk psql -c 'SELECT * FROM pg_locks WHERE NOT granted' (another session holds a lock)"
                .to_owned()
        }
        (_, "53") => {
            "end sessions that are not needed, or raise max_connections or the role's CONNECTION LIMIT"
                .to_owned()
        }
        // The connection failed, or the server starts or stops.
        (_, "08" | "57") => return None,
        _ => "bekk check".to_owned(),
    })
}
