//! What is printed when a run with `--once` is done.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::pipeline::Summary;
use crate::screen::{Screen, counted, grouped};

/// A run's result, for people and programs.
#[derive(Serialize)]
pub(crate) struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    ingest: Option<Ingested>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<Applied>,
    seconds: f64,
    /// Whether it was stopped before all was done.
    stopped: bool,
}

#[derive(Serialize)]
struct Ingested {
    files: u64,
    bytes: u64,
    records: u64,
    rejects: u64,
    records_already_logged: u64,
    blocked: Vec<FileNote>,
    unreadable: Vec<FileNote>,
    left: Vec<FileNote>,
    notices: Vec<FileNote>,
}

#[derive(Serialize)]
struct Applied {
    records: u64,
    rows: u64,
    superseded: u64,
    dead_letters: u64,
    rows_per_second: u64,
}

/// A file of which something is to be said.
#[derive(Serialize)]
struct FileNote {
    path: String,
    reason: String,
}

impl FileNote {
    fn new((path, reason): &(impl AsRef<Path>, String)) -> Self {
        Self {
            path: path.as_ref().display().to_string(),
            reason: reason.clone(),
        }
    }
}

impl Report {
    pub(crate) fn new(summary: &Summary, took: Duration, stopped: bool) -> Self {
        let seconds = took.as_secs_f64();
        let ingest = summary.ingest.as_ref().map(|ingest| Ingested {
            files: ingest.files,
            bytes: ingest.bytes,
            records: ingest.records,
            rejects: ingest.rejects,
            records_already_logged: ingest.already,
            blocked: ingest.blocked.iter().map(FileNote::new).collect(),
            unreadable: ingest.unreadable.iter().map(FileNote::new).collect(),
            left: ingest.left.iter().map(FileNote::new).collect(),
            notices: ingest.notices.iter().map(FileNote::new).collect(),
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rounded positive rate"
        )]
        let sink = summary.sink.as_ref().map(|sink| Applied {
            records: sink.records,
            rows: sink.rows,
            superseded: sink.superseded,
            dead_letters: sink.dead,
            rows_per_second: (sink.records as f64 / seconds).round() as u64,
        });
        Self {
            ingest,
            sink,
            seconds,
            stopped,
        }
    }

    /// How many files were met.
    pub(crate) fn files(&self) -> u64 {
        self.ingest.as_ref().map_or(0, |ingest| ingest.files)
    }

    /// Whether the run was stopped before all was done.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether there were files that were not taken, and that someone must look at.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.ingest.as_ref().is_some_and(|ingest| {
            let notes = [&ingest.blocked, &ingest.unreadable, &ingest.left];
            notes.iter().any(|notes| !notes.is_empty())
        })
    }

    fn has_dead_letters(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.dead_letters > 0)
    }

    fn text(&self) -> String {
        let begin = if self.stopped {
            "stopped before the end"
        } else {
            "done"
        };
        let mut parts = Vec::new();
        if let Some(ingest) = &self.ingest {
            parts.push(counted(ingest.files, "file"));
        }
        match (&self.sink, &self.ingest) {
            (Some(sink), _) if sink.records == 0 && self.stopped => {
                parts.push("nothing was applied; the next run continues here".to_owned());
            }
            (Some(sink), ingest) if sink.records == 0 => {
                let logged = ingest
                    .as_ref()
                    .map_or(0, |ingest| ingest.records_already_logged);
                let known = match logged {
                    0 => String::new(),
                    1 => " (its 1 record is in the log)".to_owned(),
                    more => format!(" (all {} records are in the log)", grouped(more)),
                };
                parts.push(format!("nothing new{known}: the table stays as it is"));
            }
            (Some(sink), _) => parts.push(format!(
                "{} = {} + {} superseded + {}",
                counted(sink.records, "record"),
                counted(sink.rows, "row"),
                grouped(sink.superseded),
                counted(sink.dead_letters, "dead letter"),
            )),
            (None, Some(ingest)) => parts.push(format!(
                "{} logged, {} of them rejects",
                counted(ingest.records, "record"),
                grouped(ingest.rejects)
            )),
            (None, None) => {}
        }
        parts.push(format!("{:.1} s", self.seconds));
        if let Some(sink) = self.sink.as_ref().filter(|sink| sink.records > 0) {
            parts.push(format!("{} rows/s", grouped(sink.rows_per_second)));
        }
        format!("{begin}: {}", parts.join(", "))
    }
}

/// Prints the report, and says what was left and what to do about it.
pub(crate) fn print(report: &Report, json: bool, strict: bool, screen: &Screen) -> Result<Outcome> {
    if json {
        print_json(report)?;
    } else {
        print_result(&report.text())?;
    }
    if let Some(ingest) = &report.ingest {
        for (what, notes) in [
            ("blocked", &ingest.blocked),
            ("unreadable", &ingest.unreadable),
            ("left", &ingest.left),
            ("noticed", &ingest.notices),
        ] {
            for note in notes {
                screen.warn(&format!("{what}: {}: {}", note.path, note.reason));
            }
        }
    }
    if report.has_dead_letters() {
        screen.say("to see the records and the reasons: bekk dead-letters list");
    }
    Ok(if report.is_incomplete() {
        Outcome::Incomplete
    } else if strict && report.has_dead_letters() {
        Outcome::DeadLetters
    } else {
        Outcome::Done
    })
}
