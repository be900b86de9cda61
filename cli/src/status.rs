//! Where everything is, as one value: what `bekk status` prints, and whoever else asks.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use bekk_log::{Client, Offset};
use bekk_stream::{META_TOPIC, Meta};
use serde::Serialize;

use crate::args::{LogArgs, PostgresArgs};
use crate::commands::log::{TopicLine, topic_lines};
use crate::commands::offsets::{Line, lines};
use crate::context::Context;
use crate::database::shown_from;
use crate::log_place::holder;

/// How much of a topic is read at a time, in bytes.
const READ_BYTES_MAX: usize = 1 << 20;

/// Where everything is.
#[derive(Serialize)]
pub(crate) struct Status {
    pub(crate) log: LogStatus,
    /// What the log knows of files; absent while another process has it.
    pub(crate) files: Option<Files>,
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
    pub(crate) dir: String,
    pub(crate) exists: bool,
    /// Whether another process has it, so that its content cannot be told.
    pub(crate) in_use: bool,
    pub(crate) in_use_by_pid: Option<u32>,
    pub(crate) topics: Vec<TopicLine>,
    /// Records that are lost.
    pub(crate) gaps: u64,
}

#[derive(Default, Serialize)]
pub(crate) struct Files {
    pub(crate) met: u64,
    pub(crate) finished: u64,
}

#[derive(Serialize)]
pub(crate) struct PostgresStatus {
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

impl Status {
    /// Asks the log, unless another process has it, and PostgreSQL.
    ///
    /// # Errors
    /// If the log is there and cannot be read.
    pub(crate) fn gather(
        context: &Context,
        log_args: &LogArgs,
        postgres_args: &PostgresArgs,
    ) -> Result<Self> {
        let dir = context.log_dir(log_args)?;
        let mut log = LogStatus {
            dir: shown_from(&context.base, &dir).display().to_string(),
            exists: dir.join("LOCK").exists(),
            in_use: false,
            in_use_by_pid: None,
            topics: Vec::new(),
            gaps: 0,
        };
        let client = if log.exists {
            open(context, log_args, &dir, &mut log)?
        } else {
            None
        };
        let mut files = None;
        let mut log_id = None;
        if let Some(client) = &client {
            log.topics = topic_lines(client)?;
            for topic in client.topics()? {
                log.gaps += client.gap_count(&topic.name)?;
            }
            files = Some(count_files(client)?);
            log_id = Some(client.log_id().to_string());
        }
        let mut status = Self {
            log,
            files,
            postgres: PostgresStatus {
                server: None,
                error: None,
            },
            groups: Vec::new(),
            dead_letters: Vec::new(),
            problems: Vec::new(),
            next: String::new(),
        };
        if let Err(error) =
            status.ask_postgres(context, postgres_args, client.as_ref(), &mut log_id)
        {
            status.postgres.error = Some(format!("{error:#}"));
        }
        if let Some(client) = client {
            client.close()?;
        }
        status.judge(log_id.is_some());
        Ok(status)
    }

    fn ask_postgres(
        &mut self,
        context: &Context,
        args: &PostgresArgs,
        client: Option<&Client>,
        other_log: &mut Option<String>,
    ) -> Result<()> {
        let database = context.database(args)?;
        self.postgres.server = Some(database.options.to_string());
        let offsets = bekk_sink::list_offsets(&database.options)?;
        let strangers = |id: &String| offsets.iter().any(|offset| offset.log_id != *id);
        *other_log = other_log.take().filter(strangers);
        self.groups = lines(offsets, client);
        let counts = bekk_sink::count_letters(&database.options)?;
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
    fn judge(&mut self, other_log: bool) {
        let mut next = Vec::new();
        if let Some(error) = &self.postgres.error {
            self.problems.push(error.clone());
            next.push("start PostgreSQL, or name another with --postgres".to_owned());
        }
        if self.log.gaps > 0 {
            self.problems.push(format!(
                "the log has {} gaps: records are lost",
                self.log.gaps
            ));
            next.push("bekk log verify".to_owned());
        }
        if other_log && self.postgres.error.is_none() {
            self.problems
                .push("a group's offsets count in another log than this".to_owned());
            next.push("bekk offsets reset --group NAME --to earliest".to_owned());
        }
        let waits = |line: &Line| line.lag.is_some_and(|lag| lag > 0) && line.owner.is_none();
        if self.groups.iter().any(waits) {
            next.push("bekk up (records wait, and no sink runs)".to_owned());
        }
        let open: u64 = self.dead_letters.iter().map(|count| count.open).sum();
        if open > 0 {
            next.push(format!("bekk dead-letters list ({open} open)"));
        }
        if !self.log.exists {
            next.push("bekk up (nothing has run here yet)".to_owned());
        }
        next.push("nothing to do".to_owned());
        self.next = next.swap_remove(0);
    }
}

fn open(
    context: &Context,
    args: &LogArgs,
    dir: &Path,
    log: &mut LogStatus,
) -> Result<Option<Client>> {
    match context.open_log(args) {
        Ok(client) => Ok(Some(client)),
        Err(error) if matches!(error.downcast_ref(), Some(bekk_log::Error::Locked { .. })) => {
            log.in_use = true;
            log.in_use_by_pid = holder(dir);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn count_files(log: &Client) -> Result<Files> {
    let mut met = HashSet::new();
    let mut finished = HashSet::new();
    let mut next = Offset::ZERO;
    if log.topics()?.iter().all(|topic| topic.name != META_TOPIC) {
        return Ok(Files::default());
    }
    loop {
        let records = log.read(META_TOPIC, 0, next, READ_BYTES_MAX)?;
        for record in records.iter() {
            match Meta::decode(record.value) {
                Ok(Meta::File(file)) => {
                    met.insert(file.id);
                }
                Ok(Meta::Receipt(receipt)) => {
                    finished.insert(receipt.file);
                }
                _ => {}
            }
        }
        if records.next_offset() <= next {
            break;
        }
        next = records.next_offset();
    }
    Ok(Files {
        met: met.len() as u64,
        finished: finished.len() as u64,
    })
}
