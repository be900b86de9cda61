//! The parts of the pipeline in words and numbers, from left to right, as the page and `bekk top` show them.

use std::time::Duration;

use bekk_stream::META_TOPIC;

use super::{Level, Snapshot};
use crate::context::Context;
use crate::screen::{counted, grouped, plural};
use crate::stage::Stage;
use crate::units::{bytes, duration, rate, seconds};

/// A part of the pipeline, as drawn on the page.
pub(crate) struct Part {
    pub(crate) stage: Stage,
    pub(crate) title: &'static str,
    pub(crate) place: String,
    pub(crate) figure: Figure,
    pub(crate) lines: Vec<String>,
    pub(crate) age: Option<Duration>,
}

/// The one thing about a part that matters.
pub(crate) enum Figure {
    Number(String, &'static str),
    /// In place of a number that is not known.
    Word(&'static str, Level),
}

/// Describes every part.
pub(crate) fn parts(context: &Context, snapshot: &Snapshot) -> [Part; 5] {
    [
        files(context, snapshot),
        ingest(snapshot),
        log(context, snapshot),
        sink(snapshot),
        postgres(snapshot),
    ]
}

fn files(context: &Context, snapshot: &Snapshot) -> Part {
    let states = &snapshot.status.files.states;
    let count = |state: &str| states.get(state).copied().unwrap_or_default();
    let total = states.values().sum::<u64>() - count("gone");
    let shown = [
        ("following", "followed"),
        ("finished", "finished"),
        ("waiting", "waiting"),
        ("blocked", "set aside"),
        ("unreadable", "unreadable"),
    ];
    let counts: Vec<_> = shown
        .into_iter()
        .filter(|(state, _)| count(state) > 0)
        .map(|(state, shown)| format!("{} {shown}", grouped(count(state))))
        .collect();
    let is_seen = snapshot.ingest.is_known || total > 0;
    let (figure, lines) = match (&snapshot.files_error, snapshot.ages.files) {
        (Some(error), _) => (Figure::Word("unreadable", Level::Bad), vec![error.clone()]),
        (None, None) => (Figure::Word("looking", Level::Unknown), Vec::new()),
        (None, Some(_)) if !is_seen && snapshot.log_opens => {
            (Figure::Word("starting", Level::Unknown), Vec::new())
        }
        (None, Some(_)) if !is_seen && snapshot.ingest.is_running => (
            Figure::Word("none yet", Level::Unknown),
            vec!["ingest looks for new ones".to_owned()],
        ),
        (None, Some(_)) if !is_seen => (
            Figure::Word("none seen here", Level::Unknown),
            vec!["no ingest has run in this directory".to_owned()],
        ),
        _ => {
            let mut lines = Vec::new();
            if !counts.is_empty() {
                lines.push(counts.join(" · "));
            }
            if snapshot.ingest.lag_bytes > 0 {
                lines.push(format!("{} to read", bytes(snapshot.ingest.lag_bytes)));
            }
            (
                Figure::Number(grouped(total), unit(total, "file", "files")),
                lines,
            )
        }
    };
    Part {
        stage: Stage::Files,
        title: "Files",
        place: context.shown_patterns(),
        figure,
        lines,
        age: snapshot.ages.files,
    }
}

fn ingest(snapshot: &Snapshot) -> Part {
    let ingest = &snapshot.ingest;
    let place = match (ingest.is_running, ingest.pid) {
        (true, Some(pid)) if pid == std::process::id() => format!("pid {pid} · this process"),
        (true, Some(pid)) => format!("pid {pid}"),
        (true, None) => "another container".to_owned(),
        (false, _) if snapshot.log_opens => String::new(),
        (false, _) => "no process in this directory".to_owned(),
    };
    let figure = match snapshot.flow.read_rate {
        _ if snapshot.ages.files.is_none() => Figure::Word("looking", Level::Unknown),
        _ if snapshot.log_opens => Figure::Word("starting", Level::Unknown),
        _ if !ingest.is_known && !ingest.is_running => Figure::Word("not known", Level::Unknown),
        _ if !ingest.is_running => Figure::Word("not running", Level::Waiting),
        Some(read) => Figure::Number(rate(read), "records/s"),
        None => Figure::Word("measuring", Level::Unknown),
    };
    let lines = match ingest.is_known {
        true => vec![format!(
            "{} read · {} rejected",
            grouped(ingest.records),
            grouped(ingest.rejects)
        )],
        false => Vec::new(),
    };
    Part {
        stage: Stage::Ingest,
        title: "Ingest",
        place,
        figure,
        lines,
        age: snapshot.ages.files,
    }
}

fn log(context: &Context, snapshot: &Snapshot) -> Part {
    let log = &snapshot.status.log;
    let size: Option<u64> = log.topics.iter().map(|topic| topic.bytes).sum();
    let topics = log.topics.iter().filter(|topic| topic.topic != META_TOPIC);
    let partitions: Vec<_> = topics.flat_map(|topic| &topic.partitions).collect();
    let records = partitions
        .iter()
        .map(|partition| partition.end - partition.start);
    let records: u64 = records.sum();
    let held = format!("{} held", counted(records, "record"));
    let (figure, lines) = match (&log.error, snapshot.ages.log) {
        (Some(error), _) => (Figure::Word("unreachable", Level::Bad), vec![error.clone()]),
        (None, None) => (Figure::Word("looking", Level::Unknown), Vec::new()),
        _ if snapshot.log_opens => (Figure::Word("opening", Level::Unknown), Vec::new()),
        _ if !log.exists => (Figure::Word("none yet", Level::Unknown), Vec::new()),
        _ => match size {
            Some(size) => {
                let text = bytes(size);
                let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
                let unit = ["B", "kB", "MB", "GB", "TB", "PB"]
                    .into_iter()
                    .find(|u| *u == unit);
                let figure = Figure::Number(number.to_owned(), unit.unwrap_or_default());
                let durability = match log.disk.is_some() {
                    true => context.shown_durability(),
                    false => String::new(),
                };
                (figure, vec![held, durability])
            }
            None => (Figure::Number(grouped(records), "records"), Vec::new()),
        },
    };
    let owner = match log.owner_pid {
        Some(pid) => format!(" · served by pid {pid}"),
        None if partitions.is_empty() => String::new(),
        None => {
            let count = partitions.len() as u64;
            format!(" · {count} {}", plural(count, "partition"))
        }
    };
    Part {
        stage: Stage::Log,
        title: "Log",
        place: format!("{}{owner}", log.place),
        figure,
        lines: lines.into_iter().filter(|line| !line.is_empty()).collect(),
        age: snapshot.ages.log,
    }
}

fn sink(snapshot: &Snapshot) -> Part {
    let totals = snapshot.totals();
    let place = match snapshot.has_sink {
        true => format!("group {} · this process", snapshot.flow.group),
        false => format!("group {}", snapshot.flow.group),
    };
    let is_away = snapshot.status.postgres.error.is_some();
    let is_known = snapshot.ages.database.is_some() && snapshot.status.postgres.server.is_some();
    let figure = match snapshot.flow.applied_rate {
        _ if is_away && snapshot.has_sink => Figure::Word("waiting", Level::Waiting),
        _ if snapshot.postgres_starts => Figure::Word("starting", Level::Unknown),
        _ if snapshot.status.postgres.is_stopped => Figure::Word("not running", Level::Waiting),
        _ if is_away || !is_known && !snapshot.has_sink => {
            Figure::Word("not known", Level::Unknown)
        }
        _ if !snapshot.has_sink && totals.held == 0 => Figure::Word("not running", Level::Waiting),
        Some(applied) => Figure::Number(rate(applied), "records/s"),
        None => Figure::Word("measuring", Level::Unknown),
    };
    let lines = match (snapshot.lag_records(), snapshot.lag_seconds()) {
        (Some(0), _) => vec!["lag 0 records".to_owned()],
        (Some(lag), seconds) => {
            let seconds = seconds.map_or_else(String::new, |s| format!(", {}", duration(s)));
            vec![format!("lag {}{seconds}", counted(lag, "record"))]
        }
        (None, _) if snapshot.postgres_starts => Vec::new(),
        (None, _) => vec!["lag not known".to_owned()],
    };
    Part {
        stage: Stage::Sink,
        title: "Sink",
        place,
        figure,
        lines,
        age: snapshot.ages.database.filter(|_| !snapshot.has_sink),
    }
}

fn postgres(snapshot: &Snapshot) -> Part {
    let postgres = &snapshot.status.postgres;
    let totals = snapshot.totals();
    let open = snapshot.open_letters();
    let mut lines = Vec::new();
    if totals.partitions > 0 {
        lines.push(counted(totals.rows, "row"));
        lines.push(counted(open, "open dead letter"));
    }
    let figure = match (&postgres.error, &postgres.server) {
        (Some(error), _) => {
            lines.insert(0, error.clone());
            Figure::Word("unreachable", Level::Bad)
        }
        _ if snapshot.postgres_starts => Figure::Word("starting", Level::Unknown),
        _ if snapshot.ages.database.is_none() => Figure::Word("looking", Level::Unknown),
        _ if postgres.is_stopped => {
            lines.push("private: it runs while a sink uses it".to_owned());
            Figure::Word("stopped", Level::Waiting)
        }
        (None, None) => {
            lines.push("no server is named here, and no private one runs".to_owned());
            Figure::Word("not known", Level::Unknown)
        }
        (None, Some(_)) => match snapshot.flow.visible_after {
            Some(after) => {
                let (number, unit) = seconds(after);
                lines.insert(0, "until the last row was visible".to_owned());
                Figure::Number(number, unit)
            }
            None => Figure::Word("reachable", Level::Good),
        },
    };
    Part {
        stage: Stage::Postgres,
        title: "PostgreSQL",
        place: postgres.server.clone().unwrap_or_default(),
        figure,
        lines,
        age: snapshot.ages.database,
    }
}

fn unit(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}
