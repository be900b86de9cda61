//! The streams: where each comes from and goes to, what became of its records, and its schema.

use bekk_stream::{Column, OnConflict, Stream};
use maud::{Markup, html};

use super::layout::{age, tag};
use super::view::{Kind, link_to};
use super::{Section, Site};
use crate::observe::{GroupTotals, Snapshot};
use crate::screen::{grouped, plural};

/// Number of streams up to which their schemas are shown at once
const SCHEMAS_OPEN: usize = 2;

pub(super) fn sections(site: &Site, snapshot: &Snapshot) -> Vec<Section> {
    vec![
        Section::new("streams", table(site, snapshot)),
        Section::new("schemas", schemas(site)),
    ]
}

/// Renders the outcome of each stream's records, for the overview.
pub(super) fn short_table(site: &Site, snapshot: &Snapshot) -> Markup {
    let streams = site.observer.context().streams();
    html! {
        (title(snapshot))
        div .card tabindex="0" role="region" aria-label="Streams" {
            table .stack {
                thead { tr {
                    th scope="col" { "Stream" }
                    th .n scope="col" { "Rows" } th .n scope="col" { "Superseded" } th .n scope="col" { "Dead letters" }
                    th .n scope="col" { "Lag" } th .n scope="col" { "Unaccounted" }
                } }
                tbody { @for stream in &streams {
                    tr {
                        th scope="row" { (stream.name) div .sub.m { "→ " (stream.table) } }
                        (outcome(snapshot, stream))
                    }
                } }
            }
        }
    }
}

fn title(snapshot: &Snapshot) -> Markup {
    html! {
        div .bar-title {
            h2 { "Streams" }
            span .note { "as applied by group " b { (snapshot.flow.group) } }
            (age(snapshot.ages.database))
        }
    }
}

/// The cells of a stream's rows, superseded records, dead letters, lag, and what is unaccounted for.
fn outcome(snapshot: &Snapshot, stream: &Stream) -> Markup {
    let totals = totals(snapshot, stream);
    let is_known = totals.partitions > 0 || has_applied_nothing(snapshot);
    let lag = totals.lag.or_else(|| {
        let appended = appended(snapshot, &stream.name);
        appended.filter(|count| is_known && *count == 0)
    });
    let open = open(snapshot, &stream.name);
    html! {
        td .n data-label="Rows" { @if is_known { (grouped(totals.rows)) } @else { (unknown()) } }
        td .n data-label="Superseded" { @if is_known { (grouped(totals.superseded)) } @else { (unknown()) } }
        td .n data-label="Dead letters" {
            @if open > 0 {
                a href=(link_to(Kind::DeadLetters, "stream", &stream.name)) { (grouped(open)) " open" }
            } @else if is_known { span .zero { "0 open" } } @else { (unknown()) }
        }
        td .n data-label="Lag" {
            @match lag { Some(0) => span .zero { "0" }, Some(lag) => (grouped(lag)), None => (unknown()) }
        }
        td .n data-label="Unaccounted" { @if is_known { (unaccounted(totals.unaccounted)) } @else { (unknown()) } }
    }
}

/// Whether the sink of this process has reached the database and found no record to apply yet.
fn has_applied_nothing(snapshot: &Snapshot) -> bool {
    let postgres = &snapshot.status.postgres;
    let is_reached = postgres.server.is_some() && postgres.error.is_none();
    snapshot.has_sink && is_reached && snapshot.ages.database.is_some()
}

/// Renders the outcome of each stream's records.
fn table(site: &Site, snapshot: &Snapshot) -> Markup {
    let streams = site.observer.context().streams();
    html! {
        (title(snapshot))
        div .card tabindex="0" role="region" aria-label="Streams" {
            table .stack {
                thead { tr {
                    th scope="col" { "Stream" } th scope="col" { "Table" }
                    th .n scope="col" { "In the log" } th .n scope="col" { "Rows" }
                    th .n scope="col" { "Superseded" } th .n scope="col" { "Dead letters" } th .n scope="col" { "Lag" }
                    th .n scope="col" { "Unaccounted" }
                } }
                tbody {
                    @for stream in &streams {
                        tr {
                            th scope="row" { (stream.name) }
                            td .m data-label="Table" { (stream.table) }
                            td .n data-label="In the log" {
                                @match appended(snapshot, &stream.name) { Some(count) => (grouped(count)), None => (unknown()) }
                            }
                            (outcome(snapshot, stream))
                        }
                    }
                }
            }
        }
    }
}

/// Offsets that the counts do not explain.
pub(super) fn unaccounted(count: u64) -> Markup {
    match count {
        0 => html! { span .zero { "0" } },
        count => tag("bad", &grouped(count)),
    }
}

/// Placeholder for a number that is not known
pub(super) fn unknown() -> Markup {
    html! { span .unknown { "not known" } }
}

fn totals(snapshot: &Snapshot, stream: &Stream) -> GroupTotals {
    let lines = snapshot.main_lines();
    GroupTotals::of(lines.filter(|line| line.topic == stream.name))
}

/// Records appended to a stream's topic so far; as they were counted together with the rows, if they were.
fn appended(snapshot: &Snapshot, stream: &str) -> Option<u64> {
    let lines = snapshot.main_lines().filter(|line| line.topic == stream);
    let ends: Vec<_> = lines.map(|line| line.end).collect();
    if !ends.is_empty() && ends.iter().all(Option::is_some) {
        return Some(ends.into_iter().flatten().sum());
    }
    let mut topics = snapshot.status.log.topics.iter();
    let topic = topics.find(|topic| topic.topic == stream)?;
    Some(topic.partitions.iter().map(|partition| partition.end).sum())
}

fn open(snapshot: &Snapshot, stream: &str) -> u64 {
    let counts = snapshot.status.dead_letters.iter();
    let of_stream = counts.filter(|count| count.stream == stream);
    of_stream.map(|count| count.open).sum()
}

fn schemas(site: &Site) -> Markup {
    let streams = site.observer.context().streams();
    html! {
        @for stream in &streams {
            details .card.schema open[streams.len() <= SCHEMAS_OPEN] {
                summary { b { (stream.name) } " " span .note { (described(site, stream)) } }
                div .scroll tabindex="0" role="region" aria-label=(format!("Columns of {}", stream.name)) {
                    table {
                        thead { tr {
                            th scope="col" { "Column" } th scope="col" { "Type" } th scope="col" { "Accepted" } th scope="col" { "Header" }
                        } }
                        tbody {
                            @for column in &stream.columns {
                                tr {
                                    th .m scope="row" { (column.name) @if stream.key.contains(&column.name) { " " span .tag.flow { "key" } } }
                                    td .m { (column.column_type) @if column.nullable { " " span .tag { "nullable" } } }
                                    td { (accepted(column)) }
                                    td .m {
                                        @match &column.source {
                                            None => (column.header),
                                            Some(source) => (source),
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn described(site: &Site, stream: &Stream) -> String {
    let files = site.observer.context().shown_files(&stream.files);
    let conflict = match stream.on_conflict {
        OnConflict::Update => "a later record replaces the row of its key",
        OnConflict::Ignore => "the first row of a key stays",
        OnConflict::Append => "every record is a row",
    };
    format!(
        "{files} → {} · {} {} · {conflict}",
        stream.table,
        stream.partitions,
        plural(stream.partitions.into(), "partition")
    )
}

fn accepted(column: &Column) -> String {
    let mut parts = Vec::new();
    if let Some(allowed) = &column.allowed {
        parts.push(allowed.join(", "));
    }
    match (&column.min, &column.max) {
        (Some(min), Some(max)) => parts.push(format!("{min} to {max}")),
        (Some(min), None) => parts.push(format!("from {min}")),
        (None, Some(max)) => parts.push(format!("up to {max}")),
        (None, None) => {}
    }
    if let Some(format) = &column.format {
        parts.push(format.clone());
    }
    if let Some(zone) = &column.zone {
        parts.push(zone.clone());
    }
    if !column.strip.is_empty() {
        parts.push(format!("without {}", column.strip.join(" ")));
    }
    parts.join(" · ")
}
