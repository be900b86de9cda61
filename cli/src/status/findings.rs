//! Faults and waits, the most urgent first, each with its remedy.

mod waits;

use std::collections::HashSet;

use bekk_sink::{Misfit, WaitCause};

use super::{Disk, Status};
use crate::positions::Line;
use crate::screen::counted;
use crate::stage::Stage;

/// The group of whoever names none.
pub(crate) const DEFAULT_GROUP: &str = "bekk";

/// End of the text of EROFS
const READ_ONLY: &str = "(os error 30)";
/// Age in seconds from which a wait for a lock is reported.
const LOCK_WAIT_SECONDS: u64 = 30;

/// Something that someone should act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) stage: Stage,
    /// Whether the service is at fault; else something waits for a person.
    pub(crate) is_problem: bool,
    /// Title of a few words
    pub(crate) title: String,
    pub(crate) what: String,
    /// Whether `what` is an error, which begins with the act that failed.
    pub(crate) is_error: bool,
    pub(crate) act: Act,
}

/// Remedy of a finding
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Type this.
    Run(String),
    /// Do this.
    Do(String),
    /// Correct a file; `advice` says how, if the file's fault names it.
    Correct {
        what: String,
        advice: Option<String>,
    },
}

impl Finding {
    /// The line that says what to do next.
    pub(crate) fn next(&self) -> String {
        match &self.act {
            Act::Run(command) if self.is_problem => command.clone(),
            Act::Run(command) => format!("{command} ({})", self.what),
            Act::Do(what) | Act::Correct { what, .. } => what.clone(),
        }
    }
}

/// Lists faults first, then waits.
pub(super) fn of(status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    wrong_places(status, &mut findings);
    log_is_gone(status, &mut findings);
    sinks_wait(status, &mut findings);
    wrong_log(status, &mut findings);
    wrong_tables(status, &mut findings);
    wrong_groups(status, &mut findings);
    findings.extend(waits::of(status));
    findings
}

/// A fault of the service.
fn problem(stage: Stage, title: &str, what: String, act: Act) -> Finding {
    Finding {
        stage,
        is_problem: true,
        title: title.to_owned(),
        what,
        is_error: false,
        act,
    }
}

fn unreachable(stage: Stage, title: &str, error: &str, act: &str) -> Finding {
    Finding {
        is_error: true,
        ..problem(stage, title, error.to_owned(), Act::Do(act.to_owned()))
    }
}

/// Finds unreachable parts and a full disk.
fn wrong_places(status: &Status, findings: &mut Vec<Finding>) {
    let disk = status.log.disk.as_ref();
    let is_read_only = disk.is_some_and(|disk| disk.is_read_only);
    match &status.log.error {
        // After an error of the disk the system may refuse to write although the mount is writable.
        error if is_read_only || error.as_ref().is_some_and(|text| text.contains(READ_ONLY)) => {
            let what = match error {
                Some(error) => error.clone(),
                None => "the log's file system is mounted read-only".to_owned(),
            };
            let act =
                "see the system's messages for errors of the disk (dmesg), and mount it writable";
            let title = "The log's disk is read-only";
            findings.push(problem(Stage::Log, title, what, Act::Do(act.to_owned())));
        }
        Some(error) => {
            // `bekk log topics` fails with the same error, and prints a remedy.
            let act = match error.contains("(os error ") {
                _ if status.log.place.starts_with("kafka://") => {
                    "fix what the reason names, or start the log's server; then: bekk status"
                }
                true => "bekk log topics",
                false => {
                    "end the process that the reason names, or start it again; then: bekk status"
                }
            };
            let title = "The log is unreachable";
            findings.push(unreachable(Stage::Log, title, error, act));
        }
        None => {}
    }
    if let Some(error) = &status.postgres.error {
        let (title, act) = match &status.postgres.remedy {
            Some(remedy) => ("The database cannot be read", remedy.as_str()),
            None => (
                "PostgreSQL is unreachable",
                "start PostgreSQL (a private one: bekk psql), or name another with --postgres",
            ),
        };
        findings.push(unreachable(Stage::Postgres, title, error, act));
    }
    for (lack, act) in status.log.disk.iter().flat_map(Disk::lacks) {
        let what = format!("the log's disk has {lack}: ingest waits");
        let act = Act::Do(act.to_owned());
        findings.push(problem(Stage::Log, "The log's disk is full", what, act));
    }
}

/// Finds a log that is not in its directory, though a group has applied records of one.
fn log_is_gone(status: &Status, findings: &mut Vec<Finding>) {
    let applied = status.groups.iter().find(|line| line.next > 0);
    let Some(line) = applied.filter(|_| !status.log.exists) else {
        return;
    };
    let what = format!(
        "no log is in `{}`, and group `{}` has applied records of topic `{}` from one: it was removed, or is elsewhere",
        status.log.place, line.group, line.topic
    );
    let act = "put the log back from a backup, or name its place with --log; if it is gone for good: bekk up (it begins a \
               new log, and says what to type)";
    let title = "The log is gone";
    findings.push(problem(Stage::Log, title, what, Act::Do(act.to_owned())));
}

/// Finds sinks that wait for PostgreSQL, or have stopped a stream. Other programs may hold a lock for a while.
fn sinks_wait(status: &Status, findings: &mut Vec<Finding>) {
    for wait in &status.waits {
        let is_announced = matches!(wait.cause, WaitCause::Refused | WaitCause::Person);
        if !is_announced && wait.seconds < LOCK_WAIT_SECONDS {
            continue;
        }
        let (title, what) = match wait.cause {
            WaitCause::Person => (
                "A stream is stopped",
                format!(
                    "in the sink ({}), since {}: {}",
                    wait.sink, wait.since, wait.reason
                ),
            ),
            _ => (
                "The sink waits for PostgreSQL",
                format!(
                    "the sink ({}) has waited for PostgreSQL since {}: {}",
                    wait.sink, wait.since, wait.reason
                ),
            ),
        };
        let act = match wait.cause {
            WaitCause::Session(pid) => Act::Run(format!(
                "bekk psql -c 'SELECT * FROM pg_stat_activity WHERE pid = {pid}'"
            )),
            WaitCause::Prepared => {
                Act::Run("bekk psql -c 'SELECT * FROM pg_prepared_xacts'".to_owned())
            }
            WaitCause::Standby => Act::Do(
                "start the standby, or correct synchronous_standby_names; the sink then continues by itself".to_owned(),
            ),
            WaitCause::Person => {
                Act::Do("do what the reason says, then restart the sink".to_owned())
            }
            WaitCause::Refused => Act::Do(
                "remove what PostgreSQL reports; the sink then continues by itself".to_owned(),
            ),
        };
        findings.push(problem(Stage::Sink, title, what, act));
    }
}

/// Finds lost records and deleted topics.
fn wrong_log(status: &Status, findings: &mut Vec<Finding>) {
    let lost = status.log.lost;
    if lost > 0 {
        let what = format!(
            "{} of the log {} lost by damage",
            counted(lost, "record"),
            if lost == 1 { "is" } else { "are" }
        );
        let act = Act::Run("bekk log verify".to_owned());
        findings.push(problem(Stage::Log, "Records are lost", what, act));
    }
    let log = &status.log;
    let is_gone = |line: &&Line| {
        log.id.is_some()
            && log.error.is_none()
            && !line.is_of_other_log
            && log.topics.iter().all(|topic| topic.topic != line.topic)
    };
    if let Some(line) = status.groups.iter().find(is_gone) {
        let (topic, group) = (&line.topic, &line.group);
        let what = format!(
            "topic `{topic}`, which group `{group}` applies, is not in the log: it was deleted, with the records that were \
             not applied yet"
        );
        let act = format!(
            "see the log's messages for who deleted topic `{topic}`; then bekk offsets delete --group {group}, and bekk up"
        );
        findings.push(problem(Stage::Log, "A topic is gone", what, Act::Do(act)));
    }
}

/// Finds tables that do not fit their streams or were replaced.
fn wrong_tables(status: &Status, findings: &mut Vec<Finding>) {
    let is_said = |misfit: &&Misfit| {
        let mut waits = status.waits.iter();
        waits.any(|wait| wait.cause == WaitCause::Person && wait.reason.contains(&misfit.what))
    };
    for misfit in status.misfits.iter().filter(|misfit| !is_said(misfit)) {
        let act = Act::Do(format!(
            "{}; then: bekk up (bekk check lists all)",
            misfit.first
        ));
        let title = "A table does not fit its stream";
        findings.push(problem(Stage::Postgres, title, misfit.what.clone(), act));
    }
    for fault in &status.tables {
        let act = Act::Do(fault.advice.clone());
        let title = "A table does not match the offsets";
        findings.push(problem(Stage::Postgres, title, fault.what.clone(), act));
    }
}

/// Finds refused, missing and unexplained offsets.
fn wrong_groups(status: &Status, findings: &mut Vec<Finding>) {
    let mut said = HashSet::new();
    for line in &status.groups {
        // All partitions of a different log give the same reason.
        if let Some(refused) = &line.refused
            && said.insert(&refused.why)
        {
            let act = Act::Do(refused.advice.clone());
            let title = "The log does not match the offsets";
            findings.push(problem(Stage::Sink, title, refused.why.clone(), act));
        }
    }
    for of in status.unapplied.iter().filter(|of| of.is_remembered) {
        let what = format!(
            "the log remembers that group `{}` has applied records of stream `{}`, and the database has no offset of \
             it: it is another database, or rows of bekk.offsets were deleted",
            of.group, of.stream
        );
        let act = Act::Do(format!(
            "check the database's address; to fill `{}` from the beginning, which must be empty or have a key: bekk \
             offsets delete --group {} --stream {} --execute",
            of.table, of.group, of.stream
        ));
        let title = "The database has no offsets";
        findings.push(problem(Stage::Sink, title, what, act));
    }
    for line in status.groups.iter().filter(|line| line.unaccounted != 0) {
        let what = format!(
            "group `{}` passed {} of {}/{} without a row, a superseded record or a dead letter",
            line.group,
            counted(line.unaccounted.unsigned_abs(), "offset"),
            line.topic,
            line.partition
        );
        let act = Act::Run(format!("bekk audit --stream {} --deep", line.topic));
        let title = "Records are unaccounted for";
        findings.push(problem(Stage::Sink, title, what, act));
    }
    for (group, topic, partition) in missing_rows(status) {
        let what =
            format!("the row of group `{group}` for {topic}/{partition} in bekk.offsets is gone");
        let act = Act::Do("bekk up, or bekk sink: it restores the row".to_owned());
        findings.push(problem(Stage::Sink, "An offset is gone", what, act));
    }
}

/// Partitions of the log that a group has no row for, though it has some of the topic.
fn missing_rows(status: &Status) -> Vec<(String, String, u32)> {
    let mut missing = Vec::new();
    for counts in &status.streams {
        let topic = status.log.topics.iter().find(|t| t.topic == counts.stream);
        let Some(topic) = topic else { continue };
        let has_row = |partition: u32| {
            status.groups.iter().any(|line| {
                line.group == counts.group
                    && line.topic == counts.stream
                    && line.partition == partition
            })
        };
        for ends in &topic.partitions {
            if !has_row(ends.partition) {
                missing.push((counts.group.clone(), counts.stream.clone(), ends.partition));
            }
        }
    }
    missing
}
