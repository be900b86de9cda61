//! Where everything is, as one value: what `bekk status` prints, and whoever else asks.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bekk_ingest::FileState;
use bekk_log::Client;
use bekk_sink::ConnectOptions;
use serde::Serialize;

use crate::args::{LogArgs, PostgresArgs};
use crate::commands::log::{TopicLine, topic_lines};
use crate::commands::offsets::{Line, lines};
use crate::context::Context;
use crate::database::shown_from;
use crate::log_place::{LogPlace, holder};

/// Where everything is.
#[derive(Serialize)]
pub(crate) struct Status {
    pub(crate) log: LogStatus,
    pub(crate) files: Files,
    pub(crate) postgres: PostgresStatus,
    pub(crate) groups: Vec<Line>,
    pub(crate) dead_letters: Vec<DeadLetters>,
    /// What is wrong: someone must act.
    pub(crate) problems: Vec<String>,
    /// What to do now.
    pub(crate) next: String,
}

#[derive(Serialize)]
pub(crate) struct LogStatus {
    /// Its directory, or `kafka://` and its hosts.
    pub(crate) place: String,
    pub(crate) exists: bool,
    pub(crate) id: Option<String>,
    /// The other process of this machine that has it, if one does.
    pub(crate) owner_pid: Option<u32>,
    /// Why it cannot be asked.
    pub(crate) error: Option<String>,
    pub(crate) topics: Vec<TopicLine>,
    /// Places where records are lost.
    pub(crate) gaps: u64,
    /// The disk that its directory is on.
    pub(crate) disk: Option<Disk>,
}

/// The space on a disk.
#[derive(Serialize)]
pub(crate) struct Disk {
    pub(crate) free_bytes: u64,
    /// Ingest waits while less than this is free.
    pub(crate) reserve_bytes: u64,
}

/// What the ingest of this directory knows of files.
#[derive(Default, Serialize)]
pub(crate) struct Files {
    /// Whether an ingest runs.
    pub(crate) running: bool,
    /// How many there are, by state.
    pub(crate) states: BTreeMap<&'static str, u64>,
    /// Those that are not read until someone acts.
    pub(crate) set_aside: Vec<SetAside>,
    /// What has been noticed of files that stops nothing.
    pub(crate) notices: Vec<FileNotice>,
}

/// What has been noticed of a file.
#[derive(Serialize)]
pub(crate) struct FileNotice {
    pub(crate) stream: String,
    pub(crate) path: String,
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    /// Whether something is held up by it.
    pub(crate) needs_someone: bool,
}

/// A file that is set aside, or cannot be read.
#[derive(Serialize)]
pub(crate) struct SetAside {
    pub(crate) stream: String,
    pub(crate) path: String,
    pub(crate) reason: String,
}

#[derive(Default, Serialize)]
pub(crate) struct PostgresStatus {
    /// The server; `None` if it is the private one and has not been made yet.
    pub(crate) server: Option<String>,
    pub(crate) error: Option<String>,
}

/// Open dead letters.
#[derive(Serialize)]
pub(crate) struct DeadLetters {
    pub(crate) group: String,
    pub(crate) stream: String,
    pub(crate) reason: String,
    pub(crate) open: u64,
}

/// Whom to ask.
pub(crate) struct Sources<'a> {
    pub(crate) place: &'a LogPlace,
    /// The log; none where there is none yet, else why it cannot be had.
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
    ) -> Result<Self> {
        let place = context.log_place(log_args)?;
        let log = match place.exists() {
            true => place.open().map(Some),
            false => Ok(None),
        };
        let database = context.database_if_made(postgres_args);
        let shown = |error: &anyhow::Error| format!("{error:#}");
        let status = Self::of(
            context,
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

    /// The same of a log and a database that are in use already.
    ///
    /// # Errors
    /// If what ingest has written down cannot be read.
    pub(crate) fn of(context: &Context, sources: &Sources<'_>) -> Result<Self> {
        let mut status = Self {
            log: LogStatus::of(sources),
            files: Files::of(context)?,
            postgres: PostgresStatus::default(),
            groups: Vec::new(),
            dead_letters: Vec::new(),
            problems: Vec::new(),
            next: String::new(),
        };
        let client = sources.log.as_ref().ok().copied().flatten();
        match &sources.postgres {
            Err(error) => status.postgres.error = Some(error.clone()),
            Ok(None) => {}
            Ok(Some(postgres)) => {
                status.postgres.server = Some(postgres.to_string());
                if let Err(error) = status.ask_postgres(postgres, client) {
                    status.postgres.error = Some(format!("{error:#}"));
                }
            }
        }
        status.judge();
        Ok(status)
    }

    fn ask_postgres(&mut self, postgres: &ConnectOptions, client: Option<&Client>) -> Result<()> {
        let offsets = bekk_sink::list_offsets(postgres)?;
        self.groups = lines(offsets, client);
        let counts = bekk_sink::count_letters(postgres)?;
        self.dead_letters = counts
            .into_iter()
            .map(|count| DeadLetters {
                group: count.group,
                stream: count.stream,
                reason: count.reason,
                open: count.open,
            })
            .collect();
        Ok(())
    }

    /// Says what is wrong, and what to do next: of several things the first.
    fn judge(&mut self) {
        let mut next = Vec::new();
        let mut problem = |what: String, act: &str| {
            self.problems.push(what);
            next.push(act.to_owned());
        };
        if let Some(error) = &self.log.error {
            problem(error.clone(), "start the log's server, or end it");
        }
        if let Some(error) = &self.postgres.error {
            let act = "see to PostgreSQL, or name another with --postgres";
            problem(error.clone(), act);
        }
        if let Some(disk) = &self.log.disk
            && disk.free_bytes < disk.reserve_bytes
        {
            let what = format!(
                "the log's disk has {} bytes free, less than the reserve of {}: ingest waits",
                disk.free_bytes, disk.reserve_bytes
            );
            problem(what, "free space on the log's disk, or shorten retention");
        }
        if self.log.gaps > 0 {
            let what = format!("the log has {} gaps: records are lost", self.log.gaps);
            problem(what, "bekk log verify");
        }
        if let Some(line) = self.groups.iter().find(|line| line.is_of_other_log) {
            let act = format!("bekk offsets reset --group {} --to earliest", line.group);
            let what = format!("group `{}` counts in another log than this", line.group);
            problem(what, &act);
        }
        next.extend(self.next_step());
        next.push("nothing to do".to_owned());
        self.next = next.swap_remove(0);
    }

    /// What is to be done where nothing is wrong.
    fn next_step(&self) -> Option<String> {
        let waits = |line: &&Line| line.lag.is_some_and(|lag| lag > 0) && line.owner.is_none();
        let waiting: Vec<&Line> = self.groups.iter().filter(waits).collect();
        if waiting.iter().any(|line| line.group == DEFAULT_GROUP) {
            return Some("bekk up (records wait, and no sink runs)".to_owned());
        }
        if let Some(file) = self.files.set_aside.first() {
            return Some(format!("mend `{}`: {}", file.path, file.reason));
        }
        if !self.log.exists {
            return Some("bekk up (nothing has run here yet)".to_owned());
        }
        if !self.files.running && self.files.states.contains_key(FileState::Waiting.as_str()) {
            return Some("bekk up (files wait, and no ingest runs)".to_owned());
        }
        let open: u64 = self.dead_letters.iter().map(|count| count.open).sum();
        if open > 0 {
            return Some(format!("bekk dead-letters list ({open} open)"));
        }
        let urgent = self
            .files
            .notices
            .iter()
            .find(|notice| notice.needs_someone);
        if let Some(notice) = urgent {
            return Some(format!("look at `{}`: {}", notice.path, notice.text));
        }
        let line = waiting.first()?;
        Some(format!(
            "bekk sink --group {0} --table …, or bekk offsets delete --group {0} (records wait for it)",
            line.group
        ))
    }
}

/// The group of whoever names none.
const DEFAULT_GROUP: &str = "bekk";

impl LogStatus {
    fn of(sources: &Sources<'_>) -> Self {
        let place = sources.place;
        let mut status = Self {
            place: place.to_string(),
            exists: place.exists(),
            id: None,
            owner_pid: None,
            error: sources.log.as_ref().err().cloned(),
            topics: Vec::new(),
            gaps: 0,
            disk: disk(place),
        };
        if let Ok(Some(client)) = &sources.log {
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
            // A Kafka cluster knows of none.
            self.gaps += client.gap_count(&topic.name).unwrap_or_default();
        }
        Ok(())
    }
}

fn disk(place: &LogPlace) -> Option<Disk> {
    let LogPlace::Directory { config, .. } = place else {
        return None;
    };
    let stat = rustix::fs::statvfs(&config.dir).ok()?;
    Some(Disk {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        reserve_bytes: config.reserve_bytes,
    })
}

impl Files {
    fn of(context: &Context) -> Result<Self> {
        let state_dir = context.ingest_config(true).state_dir;
        let known = bekk_ingest::files(&state_dir, &context.config.streams)
            .context("read what ingest has written down")?;
        let mut files = Self {
            running: known.running.is_some(),
            ..Self::default()
        };
        for file in known.files {
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
            if matches!(file.state, FileState::Blocked | FileState::Unreadable) {
                let path = shown_from(&context.base, &file.path);
                files.set_aside.push(SetAside {
                    stream: file.stream,
                    path: path.display().to_string(),
                    reason: file.why.unwrap_or_default(),
                });
            }
        }
        Ok(files)
    }
}
