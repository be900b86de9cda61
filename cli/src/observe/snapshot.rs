//! The known state of the pipeline at one moment.

use std::time::{Duration, Instant};

use bekk_stream::META_TOPIC;
use jiff::Timestamp;

use super::FileList;
use crate::positions::Line;
use crate::service::{Database, Parts, Readiness};
use crate::status::{DEFAULT_GROUP, DatabaseStatus, Files, LogStatus, Status};

/// State of the pipeline at one moment
pub(crate) struct Snapshot {
    /// A snapshot's number; another one has another.
    pub(crate) number: u64,
    pub(crate) taken: Instant,
    pub(crate) at: Timestamp,
    pub(crate) status: Status,
    pub(crate) ages: Ages,
    pub(crate) flow: Flow,
    /// Reasons why this process makes no progress
    pub(crate) readiness: Readiness,
    /// Why the files are not known.
    pub(crate) files_error: Option<String>,
    pub(crate) ingest: Ingest,
    /// Whether a sink runs in this process.
    pub(crate) has_sink: bool,
    /// Whether PostgreSQL is being chosen or started.
    pub(crate) postgres_starts: bool,
    pub(crate) log_opens: bool,
    pub(crate) owns_log: bool,
}

/// Age of each source's answer; `None` before the first
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ages {
    pub(crate) log: Option<Duration>,
    pub(crate) files: Option<Duration>,
    pub(crate) database: Option<Duration>,
}

/// Rates, lag and latency
#[derive(Debug, Clone, Default)]
pub(crate) struct Flow {
    /// Records a second into the log.
    pub(crate) read_rate: Option<f64>,
    /// Records a second applied by the main group.
    pub(crate) applied_rate: Option<f64>,
    /// From the last record's append to its row's visibility, in seconds.
    pub(crate) visible_after: Option<f64>,
    /// Lag of this process's sink, if one runs
    pub(crate) lag_records: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
    /// The group of this process's sink, else the one that most people have.
    pub(crate) group: String,
}

/// The ingest that writes to this log from here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ingest {
    /// Whether an ingest has ever recorded its state.
    pub(crate) is_known: bool,
    pub(crate) is_running: bool,
    pub(crate) pid: Option<u32>,
    /// Records of its files in the log, rejects among them.
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    /// Bytes of its files that are not in the log yet.
    pub(crate) lag_bytes: u64,
}

/// A group's counts over all partitions.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct GroupTotals {
    pub(crate) rows: u64,
    pub(crate) superseded: u64,
    pub(crate) dead_letters: u64,
    /// Offsets that were passed and that the counts do not explain. Anything but 0 is a fault.
    pub(crate) unaccounted: u64,
    /// `None` where the log's end is not known.
    pub(crate) lag: Option<u64>,
    pub(crate) lag_seconds: Option<f64>,
    pub(crate) partitions: u64,
    /// Partitions that a sink holds.
    pub(crate) held: u64,
}

impl Snapshot {
    pub(super) fn new(
        number: u64,
        at: Timestamp,
        ages: Ages,
        flow: Flow,
        log: LogStatus,
        files: Files,
        database: DatabaseStatus,
    ) -> Self {
        Self {
            number,
            taken: Instant::now(),
            at,
            status: Status::judged(log, files, database),
            ages,
            flow,
            readiness: Readiness::default(),
            files_error: None,
            ingest: Ingest::default(),
            has_sink: false,
            postgres_starts: false,
            log_opens: false,
            owns_log: false,
        }
    }

    pub(super) fn with_files(mut self, list: Option<&FileList>, error: Option<String>) -> Self {
        self.files_error = error;
        if let Some(list) = list {
            let files = list.files();
            self.ingest = Ingest {
                is_known: files.as_of.is_some(),
                is_running: files.running.is_some(),
                pid: files.running.and_then(|running| running.pid),
                records: files.files.iter().map(|file| file.records).sum(),
                rejects: files.files.iter().map(|file| file.rejects).sum(),
                lag_bytes: files.files.iter().map(bekk_ingest::FileStatus::lag).sum(),
            };
        }
        self
    }

    pub(super) fn with_parts(mut self, parts: &Parts, readiness: Readiness) -> Self {
        self.has_sink = parts.sink.is_some();
        self.postgres_starts = matches!(parts.postgres, Database::Starting);
        self.log_opens = parts.log.is_none() && parts.log_waits_for.is_none();
        self.owns_log = parts.log.as_ref().is_some_and(bekk_log::Client::is_owner);
        self.readiness = readiness;
        self
    }

    /// Whether every source has answered.
    pub(super) fn is_complete(&self) -> bool {
        let Ages {
            log,
            files,
            database,
        } = self.ages;
        log.is_some() && files.is_some() && database.is_some()
    }

    /// The counts of the main group.
    pub(crate) fn totals(&self) -> GroupTotals {
        GroupTotals::of(self.main_lines())
    }

    /// Number of records that the main group has not applied yet
    pub(crate) fn lag_records(&self) -> Option<u64> {
        self.flow.lag_records.or_else(|| self.totals().lag)
    }

    /// Age of the oldest of them, in seconds
    pub(crate) fn lag_seconds(&self) -> Option<f64> {
        match self.lag_records()? {
            0 => Some(0.0),
            // The last answer of an unreachable database is older than the measurement of this process's sink.
            _ if self.status.postgres.error.is_some() => {
                self.flow.lag_seconds.or(self.totals().lag_seconds)
            }
            _ => self.totals().lag_seconds.or(self.flow.lag_seconds),
        }
    }

    pub(crate) fn main_lines(&self) -> impl Iterator<Item = &Line> {
        let lines = self.status.groups.iter();
        lines.filter(|line| line.group == self.flow.group)
    }

    /// Open dead letters of all groups.
    pub(crate) fn open_letters(&self) -> u64 {
        self.status
            .dead_letters
            .iter()
            .map(|count| count.open)
            .sum()
    }
}

impl GroupTotals {
    pub(crate) fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Self {
        let mut totals = Self {
            lag: Some(0),
            lag_seconds: Some(0.0),
            ..Self::default()
        };
        for line in lines {
            totals.rows += line.rows;
            totals.superseded += line.superseded;
            totals.dead_letters += line.dead_letters;
            totals.unaccounted += line.unaccounted.unsigned_abs();
            totals.lag = totals.lag.zip(line.lag).map(|(a, b)| a + b);
            let seconds = totals.lag_seconds.zip(line.lag_seconds);
            totals.lag_seconds = seconds.map(|(a, b)| a.max(b));
            totals.partitions += 1;
            totals.held += u64::from(line.owner.is_some());
        }
        if totals.partitions == 0 {
            (totals.lag, totals.lag_seconds) = (None, None);
        }
        totals
    }
}

/// Records appended to the topics of streams so far.
pub(super) fn appended(log: &LogStatus) -> u64 {
    let topics = log.topics.iter().filter(|topic| topic.topic != META_TOPIC);
    let partitions = topics.flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.end).sum()
}

/// Sum of a group's next offsets
pub(super) fn next_sum(database: &DatabaseStatus, group: &str) -> u64 {
    let lines = database.groups.iter().filter(|line| line.group == group);
    lines.map(|line| line.next).sum()
}

/// The group of this process's sink, else the default one, else the first.
pub(super) fn main_group(parts: &Parts, database: Option<&DatabaseStatus>) -> String {
    if let Some(sink) = &parts.sink {
        return sink.group.clone();
    }
    let groups = database.map_or(&[][..], |database| &database.groups);
    let is_default = |line: &&Line| line.group == DEFAULT_GROUP;
    let line = groups.iter().find(is_default).or(groups.first());
    line.map_or_else(|| DEFAULT_GROUP.to_owned(), |line| line.group.clone())
}
