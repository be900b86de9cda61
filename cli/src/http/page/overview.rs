//! The overview: the pipeline from left to right, charts, and what each stream has come to.

use bekk_ingest::{FileState, FileStatus};
use bekk_stream::META_TOPIC;
use maud::{Markup, html};

use super::chart::{Chart, Series};
use super::view::{Kind, View, link_to};
use super::{Section, Site, files, letters, streams};
use crate::observe::{Health, Level, Point, Snapshot, Span};
use crate::screen::{grouped, plural};
use crate::status::Stage;
use crate::units::{ago, bytes, duration, rate, seconds, whole};

/// Age from which a fact says how old it is.
const AGE_SHOWN_FROM: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) fn sections(site: &Site, view: &View, snapshot: &Snapshot) -> Vec<Section> {
    let points = site.observer.history().points(view.span());
    vec![
        Section::new("pipeline", pipeline(site, snapshot)),
        Section::new("charts", charts(view.span(), &points)),
        Section::new("streams", streams::table(site, snapshot)),
        Section::new("growing", growing(site)),
        Section::new("letters", letters(snapshot)),
    ]
}

/// A part of the pipeline as it is drawn.
struct Part {
    stage: Stage,
    title: &'static str,
    place: String,
    figure: Figure,
    lines: Vec<String>,
    age: Option<std::time::Duration>,
}

/// The one thing about a part that matters.
enum Figure {
    Number(String, &'static str),
    /// In place of a number that is not known.
    Word(&'static str, Level),
}

fn pipeline(site: &Site, snapshot: &Snapshot) -> Markup {
    let health = Health::of(snapshot);
    let parts = [
        files(site, snapshot),
        ingest(snapshot),
        log(site, snapshot),
        sink(snapshot),
        postgres(snapshot),
    ];
    html! {
        h2 .sr { "Pipeline" }
        ol .pipe {
            @for part in parts {
                @let level = health.level.as_str();
                @let is_meant = health.stage == Some(part.stage);
                li .stage.(if is_meant { level } else { "" }) {
                    h3 { (part.title) }
                    div .where title=(part.place) { (part.place) }
                    @match &part.figure {
                        Figure::Number(number, unit) => div .big { (number) " " span .unit { (unit) } },
                        Figure::Word(word, level) => div .big.word.(level.as_str()) { (word) },
                    }
                    @for line in &part.lines { div .sub { (line) } }
                    @if let Some(age) = part.age.filter(|age| *age >= AGE_SHOWN_FROM) {
                        div .old { "as of " (ago(age)) }
                    }
                }
            }
        }
    }
}

fn files(site: &Site, snapshot: &Snapshot) -> Part {
    let states = &snapshot.status.files.states;
    let count = |state: &str| states.get(state).copied().unwrap_or_default();
    let total = states.values().sum::<u64>() - count("gone");
    let mut line = vec![format!("{} growing", grouped(count("following")))];
    for (state, shown) in [
        ("waiting", "waiting"),
        ("blocked", "set aside"),
        ("unreadable", "unreadable"),
    ] {
        if count(state) > 0 {
            line.push(format!("{} {shown}", grouped(count(state))));
        }
    }
    let is_seen = snapshot.ingest.is_known || total > 0;
    let (figure, lines) = match (&snapshot.files_error, snapshot.ages.files) {
        (Some(error), _) => (Figure::Word("unreadable", Level::Bad), vec![error.clone()]),
        (None, None) => (Figure::Word("looking", Level::Unknown), Vec::new()),
        (None, Some(_)) if !is_seen => (
            Figure::Word("none seen here", Level::Unknown),
            vec!["no ingest has run in this directory".to_owned()],
        ),
        _ => {
            let mut lines = vec![line.join(" · ")];
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
        place: site.observer.context().shown_patterns(),
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
        (false, _) => "not in this directory".to_owned(),
    };
    let figure = match snapshot.flow.read_rate {
        _ if snapshot.ages.files.is_none() => Figure::Word("looking", Level::Unknown),
        _ if ingest.is_known && !ingest.is_running => Figure::Word("not running", Level::Waiting),
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

fn log(site: &Site, snapshot: &Snapshot) -> Part {
    let log = &snapshot.status.log;
    let size: Option<u64> = log.topics.iter().map(|topic| topic.bytes).sum();
    let topics = log.topics.iter().filter(|topic| topic.topic != META_TOPIC);
    let partitions: Vec<_> = topics.flat_map(|topic| &topic.partitions).collect();
    let records = partitions
        .iter()
        .map(|partition| partition.end - partition.start);
    let records: u64 = records.sum();
    let held = format!("{} {} held", grouped(records), plural(records, "record"));
    let (figure, lines) = match (&log.error, snapshot.ages.log) {
        (Some(error), _) => (Figure::Word("unreachable", Level::Bad), vec![error.clone()]),
        (None, None) => (Figure::Word("looking", Level::Unknown), Vec::new()),
        _ if !log.exists => (Figure::Word("none yet", Level::Unknown), Vec::new()),
        _ if snapshot.log_opens => (Figure::Word("opening", Level::Waiting), Vec::new()),
        _ => match size {
            Some(size) => {
                let text = bytes(size);
                let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
                let unit = ["B", "kB", "MB", "GB", "TB", "PB"]
                    .into_iter()
                    .find(|u| *u == unit);
                let figure = Figure::Number(number.to_owned(), unit.unwrap_or_default());
                let durability = match log.disk.is_some() {
                    true => site.observer.context().shown_durability(),
                    false => String::new(),
                };
                (figure, vec![held, durability])
            }
            None => (Figure::Number(grouped(records), "records"), Vec::new()),
        },
    };
    let owner = match log.owner_pid {
        Some(pid) => format!(" · served by pid {pid}"),
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
            vec![format!(
                "lag {} {}{seconds}",
                grouped(lag),
                plural(lag, "record")
            )]
        }
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
        lines.push(format!(
            "{} {}",
            grouped(totals.rows),
            plural(totals.rows, "row")
        ));
        lines.push(format!(
            "{} open {}",
            grouped(open),
            plural(open, "dead letter")
        ));
    }
    let figure = match (&postgres.error, &postgres.server) {
        (Some(error), _) => {
            lines.insert(0, error.clone());
            Figure::Word("unreachable", Level::Bad)
        }
        _ if snapshot.postgres_starts => Figure::Word("starting", Level::Waiting),
        _ if snapshot.ages.database.is_none() => Figure::Word("looking", Level::Unknown),
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

fn charts(span: Span, points: &[Point]) -> Markup {
    let times: Vec<u64> = points.iter().map(|point| point.at).collect();
    let series = |name, is_filled, is_mean, value: fn(&Point) -> Option<f64>| Series {
        name,
        is_filled,
        is_mean,
        values: points.iter().map(value).collect(),
    };
    let throughput = Chart {
        id: "throughput",
        title: "Throughput",
        unit: "records/s",
        span,
        times: &times,
        series: vec![
            series("applied", true, true, |point| point.sample.applied_rate),
            series("read", false, true, |point| point.sample.read_rate),
        ],
        top_min: 2.0,
        format: rate,
    };
    let lag = Chart {
        id: "lag",
        title: "Lag",
        unit: "records",
        span,
        times: &times,
        series: vec![series("lag", true, false, |point| point.sample.lag_records)],
        top_min: 2.0,
        format: whole,
    };
    let latency = Chart {
        id: "latency",
        title: "Append to visible",
        unit: "",
        span,
        times: &times,
        series: vec![
            series("median", true, true, |point| point.sample.visible_median),
            series("p99", false, false, |point| point.sample.visible_p99),
        ],
        top_min: 0.01,
        format: duration,
    };
    html! {
        div .bar-title {
            h2 { "History" }
            nav .spans aria-label="Time span" {
                a href="/" aria-current=[(span == Span::QuarterHour).then_some("true")] { "15 min" }
                a href="/?span=24h" aria-current=[(span == Span::Day).then_some("true")] { "24 h" }
            }
        }
        div .charts { (throughput.markup()) (lag.markup()) (latency.markup()) }
    }
}

/// Number of files that the overview lists.
const FILES_SHOWN: usize = 5;

/// The files that are read now or need someone.
fn growing(site: &Site) -> Markup {
    let Some(list) = site.observer.file_list() else {
        return html! {};
    };
    let is_shown =
        |file: &&FileStatus| !matches!(file.state, FileState::Finished | FileState::Gone);
    let mut files: Vec<_> = list.files().files.iter().filter(is_shown).collect();
    let count = files.len() as u64;
    files.sort_by_key(|file| {
        (
            file.state == FileState::Following,
            std::cmp::Reverse(file.lag()),
        )
    });
    html! {
        @if count > 0 {
            div .bar-title { h2 { "Open files" } a .note.right href=(Kind::Files.path()) { "all files" } }
            div .card tabindex="0" role="region" aria-label="Open files" {
                table { tbody {
                    @for file in files.iter().take(FILES_SHOWN) { (files::short_row(site, &list, file)) }
                } }
            }
            @if count > FILES_SHOWN as u64 { p .note { "and " (grouped(count - FILES_SHOWN as u64)) " more" } }
        }
    }
}

/// The open dead letters by stream and reason.
fn letters(snapshot: &Snapshot) -> Markup {
    html! {
        @if snapshot.open_letters() > 0 {
            div .bar-title { h2 { "Open dead letters" } a .note.right href=(Kind::DeadLetters.path()) { "all dead letters" } }
            div .card tabindex="0" role="region" aria-label="Open dead letters" {
                table { tbody {
                    @for count in &snapshot.status.dead_letters {
                        tr {
                            th scope="row" { a href=(link_to(Kind::DeadLetters, "reason", &count.reason)) { (letters::in_words(&count.reason)) } }
                            td { "stream " (count.stream) } td { "group " (count.group) }
                            td .n { (grouped(count.open)) " open" }
                        }
                    }
                } }
            }
        }
    }
}
