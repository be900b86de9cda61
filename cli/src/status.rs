//! The state of every part as one value, for `bekk status`, the page and `bekk top`.

mod database;
mod findings;
mod removed;
mod unapplied;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use bekk_ingest::FileState;
use bekk_log::{Client, INODES_RESERVE};
use bekk_sink::{ConnectOptions, Misfit, TableFault};
use bekk_stream::Stream;
use serde::Serialize;

use crate::args::{LogArgs, PostgresArgs, TargetArgs};
use crate::context::Context;
use crate::database::shown_from;
use crate::log_place::{LogPlace, holder};
use crate::positions::Line;
use crate::screen::grouped;
use crate::standard_input;
use crate::topics::{TopicLine, losses, topic_lines};
use crate::units::bytes;

pub(crate) use database::{Asked, DatabaseStatus, DeadLetters};
use database::{PostgresStatus, SinkWaits, StreamCounts};
pub(crate) use findings::{Act, DEFAULT_GROUP, Finding};
use removed::Removed;
use unapplied::Unapplied;

/// Free bytes below which ingest may fail to write its checkpoint
const STATE_BYTES_MIN: u64 = 64 << 10;

/// State of every part
#[derive(Serialize)]
pub(crate) struct Status {
    pub(crate) log: LogStatus,
    pub(crate) files: Files,
    pub(crate) postgres: PostgresStatus,
    pub(crate) groups: Vec<Line>,
    /// For each stream, what became of its records.
    pub(crate) streams: Vec<StreamCounts>,
    pub(crate) dead_letters: Vec<DeadLetters>,
    /// Faults of the group's tables
    #[serde(skip)]
    pub(crate) tables: Vec<TableFault>,
    /// Tables that do not fit their streams, which no sink applies
    #[serde(skip)]
    pub(crate) misfits: Vec<Misfit>,
    /// Streams that have records in the log and no offset in the database.
    #[serde(skip)]
    pub(crate) unapplied: Vec<Unapplied>,
    /// Records that wait for a stream that was removed or renamed
    #[serde(skip)]
    pub(crate) removed: Vec<Removed>,
    /// Sinks that wait for PostgreSQL, the longest wait first
    pub(crate) waits: Vec<SinkWaits>,
    /// Faults that someone must act on
    pub(crate) problems: Vec<String>,
    /// The next thing to do
    pub(crate) next: String,
    /// Faults and waits, the most urgent first
    #[serde(skip)]
    pub(crate) findings: Vec<Finding>,
}

#[derive(Clone, Serialize)]
pub(crate) struct LogStatus {
    /// Its directory, or `kafka://` and its hosts.
    pub(crate) place: String,
    pub(crate) exists: bool,
    pub(crate) id: Option<String>,
    /// The other process of this machine that has it, if one does.
    pub(crate) owner_pid: Option<u32>,
    /// Reason why it is unreachable
    pub(crate) error: Option<String>,
    pub(crate) topics: Vec<TopicLine>,
    /// Offsets that have no record any more, and whose records were not appended again.
    pub(crate) lost: u64,
    pub(crate) disk: Option<Disk>,
}

#[derive(Clone, Serialize)]
pub(crate) struct Disk {
    pub(crate) free_bytes: u64,
    /// Ingest waits while less than this is free.
    pub(crate) reserve_bytes: u64,
    /// `None` where the file system counts none.
    #[serde(skip)]
    pub(crate) free_inodes: Option<u64>,
    #[serde(skip)]
    pub(crate) is_read_only: bool,
}

impl Disk {
    /// What it has less of than the log keeps in reserve, each with what to do about it.
    fn lacks(&self) -> Vec<(String, &'static str)> {
        let mut lacks = Vec::new();
        if self.free_bytes < self.reserve_bytes {
            let (free, reserve) = (bytes(self.free_bytes), bytes(self.reserve_bytes));
            lacks.push((
                format!("{free} free, less than the reserve of {reserve}"),
                "free space on the log's disk, or shorten retention",
            ));
        }
        if let Some(free) = self.free_inodes.filter(|free| *free < INODES_RESERVE) {
            lacks.push((
                format!("{free} free inodes, less than the reserve of {INODES_RESERVE}"),
                "delete files on the log's disk; each file takes an inode",
            ));
        }
        lacks
    }
}

/// Files as the ingest of this directory knows them
#[derive(Clone, Default, Serialize)]
pub(crate) struct Files {
    /// Whether an ingest runs.
    pub(crate) running: bool,
    /// Number of files by state
    pub(crate) states: BTreeMap<&'static str, u64>,
    /// Files with bytes that are not in the log, except those that are set aside.
    #[serde(skip)]
    pub(crate) unread: u64,
    /// Why ingest cannot write its state, if it cannot.
    #[serde(skip)]
    pub(crate) unwritable: Option<String>,
    /// Those that are not read until someone acts.
    pub(crate) set_aside: Vec<SetAside>,
    /// Notices about files that are read nevertheless
    pub(crate) notices: Vec<FileNotice>,
}

#[derive(Clone, Serialize)]
pub(crate) struct FileNotice {
    pub(crate) stream: String,
    pub(crate) path: String,
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    /// Whether something is held up by it.
    pub(crate) needs_someone: bool,
}

/// A file that is set aside, or cannot be read.
#[derive(Clone, Serialize)]
pub(crate) struct SetAside {
    pub(crate) stream: String,
    pub(crate) path: String,
    pub(crate) reason: String,
}

pub(crate) struct Sources<'a> {
    pub(crate) place: &'a LogPlace,
    /// The log; none if it does not exist yet, else the reason why it is unreachable.
    pub(crate) log: Result<Option<&'a Client>, String>,
    /// The database; none where it is a private one that has not been made yet, else why it cannot be had.
    pub(crate) postgres: Result<Option<&'a ConnectOptions>, String>,
}

impl Status {
    /// Opens the log, as whoever can have it, and the database, and asks them. Makes neither.
    ///
    /// # Errors
    /// If the arguments are wrong, or what ingest has written down cannot be read.
    pub(crate) fn gather(
        context: &Context,
        log_args: &LogArgs,
        postgres_args: &PostgresArgs,
        (group, target): (&str, &TargetArgs),
    ) -> Result<Self> {
        let streams = context.targets(target)?;
        let place = context.log_place(log_args)?;
        let log = match place.exists() {
            true => place.glance().map(Some),
            false => Ok(None),
        };
        let database = context.database_if_made(postgres_args);
        let shown = |error: &anyhow::Error| format!("{error:#}");
        let status = Self::of(
            context,
            (group, &streams),
            &Sources {
                place: &place,
                log: log.as_ref().map(Option::as_ref).map_err(shown),
                postgres: database
                    .as_ref()
                    .map(|database| database.as_ref().map(|found| &found.options))
                    .map_err(shown),
            },
        );
        if let Ok(Some(client)) = log {
            client.close()?;
        }
        status
    }

    /// Gathers the same from a log and a database that are in use already.
    ///
    /// # Errors
    /// If what ingest has written down cannot be read.
    fn of(
        context: &Context,
        (group, streams): (&str, &[Stream]),
        sources: &Sources<'_>,
    ) -> Result<Self> {
        let files = Files::of(&known_files(context)?, context);
        let log = LogStatus::of(sources.place, sources.log.as_ref().copied());
        let client = sources.log.as_ref().ok().copied().flatten();
        let asked = Asked {
            group,
            streams,
            configured: &context.streams(),
        };
        let database = DatabaseStatus::of(sources.postgres.as_ref().copied(), client, &asked);
        Ok(Self::judged(log, files, database))
    }

    /// Judges what was gathered: what is wrong, and what to do next.
    pub(crate) fn judged(log: LogStatus, files: Files, database: DatabaseStatus) -> Self {
        let mut status = Self {
            log,
            files,
            postgres: database.postgres,
            groups: database.groups,
            streams: database.streams,
            tables: database.tables,
            misfits: database.misfits,
            unapplied: database.unapplied,
            removed: database.removed,
            waits: database.waits,
            dead_letters: database.dead_letters,
            problems: Vec::new(),
            next: String::new(),
            findings: Vec::new(),
        };
        status.findings = findings::of(&status);
        let problems = status.findings.iter().filter(|finding| finding.is_problem);
        status.problems = problems.map(|finding| finding.what.clone()).collect();
        status.next = status
            .findings
            .first()
            .map_or_else(|| "nothing to do".to_owned(), Finding::next);
        status
    }
}

impl LogStatus {
    /// Asks the log at `place`: none if it does not exist yet, else the reason why it is unreachable.
    pub(crate) fn of(place: &LogPlace, log: Result<Option<&Client>, &String>) -> Self {
        let mut status = Self {
            place: place.to_string(),
            exists: place.exists(),
            id: None,
            owner_pid: None,
            error: log.err().cloned(),
            topics: Vec::new(),
            lost: 0,
            disk: disk(place),
        };
        if let Ok(Some(client)) = log {
            if !client.is_owner() {
                status.owner_pid = place.dir().and_then(holder);
            }
            status.id = Some(client.log_id().to_string());
            if let Err(error) = status.ask(client) {
                status.error = Some(format!("{error:#}"));
            }
        }
        status
    }

    fn ask(&mut self, client: &Client) -> Result<()> {
        self.topics = topic_lines(client)?;
        for topic in client.topics()? {
            self.lost += losses(client, &topic.name)?.open;
        }
        Ok(())
    }
}

/// Returns the space on the disk of a log's directory.
pub(crate) fn disk(place: &LogPlace) -> Option<Disk> {
    let LogPlace::Directory { config, .. } = place else {
        return None;
    };
    let stat = rustix::fs::statvfs(&config.dir).ok()?;
    Some(Disk {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        reserve_bytes: config.reserve_bytes,
        free_inodes: bekk_log::free_inodes(&config.dir),
        is_read_only: is_read_only(&stat),
    })
}

/// Returns the files as the ingest of this directory knows them, and the stored standard input.
///
/// # Errors
/// If what ingest has written down cannot be read.
pub(crate) fn known_files(context: &Context) -> Result<bekk_ingest::Files> {
    let state_dir = context.ingest_config(true).state_dir;
    let mut known = bekk_ingest::files(&state_dir, &context.streams())
        .context("read what ingest has written down")?;
    known.files.extend(standard_input::stored(context)?);
    Ok(known)
}

fn is_read_only(stat: &rustix::fs::StatVfs) -> bool {
    stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY)
}

/// Returns why nothing can be written to a directory; `None` if it can.
fn unwritable(dir: &Path) -> Option<String> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    if is_read_only(&stat) {
        return Some("its file system is mounted read-only".to_owned());
    }
    let is_full = free_bytes < STATE_BYTES_MIN;
    is_full.then(|| format!("its disk has {} bytes free", grouped(free_bytes)))
}

impl Files {
    /// Counts files by state, and names those that are set aside.
    pub(crate) fn of(known: &bekk_ingest::Files, context: &Context) -> Self {
        let mut files = Self {
            running: known.running.is_some(),
            unwritable: unwritable(&context.ingest_config(true).state_dir),
            ..Self::default()
        };
        for file in &known.files {
            *files.states.entry(file.state.as_str()).or_default() += 1;
            for notice in file
                .notices
                .iter()
                .filter(|_| file.state != FileState::Gone)
            {
                files.notices.push(FileNotice {
                    stream: file.stream.clone(),
                    path: shown_from(&context.base, &file.path).display().to_string(),
                    kind: notice.kind.as_str(),
                    text: notice.text.clone(),
                    needs_someone: notice.kind.needs_someone(),
                });
            }
            // The next command with `-` reads a stored input; an ingest that runs does not.
            let is_stored = standard_input::is_stored(context, &file.path);
            let is_open =
                !is_stored && matches!(file.state, FileState::Following | FileState::Waiting);
            files.unread += u64::from(is_open && file.lag() > 0);
            if matches!(file.state, FileState::Blocked | FileState::Unreadable) {
                let path = shown_from(&context.base, &file.path);
                files.set_aside.push(SetAside {
                    stream: file.stream.clone(),
                    path: path.display().to_string(),
                    reason: file.why.clone().unwrap_or_default(),
                });
            }
        }
        files
    }
}
