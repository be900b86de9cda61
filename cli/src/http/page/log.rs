//! The log: topics, partitions and segments, the disk, and a browser of records.

use std::collections::{HashMap, HashSet};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use bekk_log::{Client, Offset, PartitionEnds, Record};
use bekk_stream::{Encoding, META_TOPIC};
use jiff::Timestamp;
use maud::{Markup, html};

use super::layout::{age, nothing, prose, tag};
use super::letters::in_words;
use super::streams::unknown;
use super::view::View;
use super::{Section, Site};
use crate::args::Where;
use crate::database::shown_from;
use crate::decoded::{Content, Decoded, Schemas, place};
use crate::observe::Snapshot;
use crate::screen::{counted, grouped, plural};
use crate::topics::{TopicLine, shown_retention};
use crate::units::bytes;

/// Number of records on one page.
const RECORDS_MAX: usize = 25;
/// Longest search for a key.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(2);
/// Bytes read at once.
const READ_BYTES_MAX: usize = 256 * 1024;
/// Characters shown of a value.
const VALUE_MAX: usize = 300;

pub(super) fn sections(site: &Site, view: &View, snapshot: &Snapshot) -> Vec<Section> {
    vec![
        Section::new("topics", topics(site, view, snapshot)),
        Section::new("segments", segments(site, snapshot)),
        Section::new("clients", clients(site, snapshot)),
    ]
}

fn topics(site: &Site, view: &View, snapshot: &Snapshot) -> Markup {
    let log = &snapshot.status.log;
    if let Some(error) = &log.error {
        return nothing(&format!("The log is unreachable: {error}"));
    }
    if snapshot.log_opens {
        return nothing("The log is being opened.");
    }
    if log.topics.is_empty() {
        return nothing("The log has no topics yet.");
    }
    let owner = match (snapshot.owns_log, log.owner_pid) {
        (true, _) => "owned by this process".to_owned(),
        (false, Some(pid)) => format!("owned by pid {pid}"),
        (false, None) => "served elsewhere".to_owned(),
    };
    html! {
        div .bar-title {
            h2 { (log.place) }
            (tag("flow", &owner))
            (age(snapshot.ages.log))
            @if log.lost > 0 { (tag("bad", &format!("{} lost by damage", counted(log.lost, "record")))) }
            span .note.right {
                @if let Some(id) = &log.id { "log id " code { (id) } }
                @if let Some(disk) = &log.disk {
                    " · " (bytes(disk.free_bytes)) " free on its disk, " (bytes(disk.reserve_bytes)) " kept in reserve"
                }
                @if log.disk.is_some() { " · " (site.observer.context().shown_durability()) }
            }
        }
        div .card tabindex="0" role="region" aria-label="Topics" {
            table .stack {
                thead { tr {
                    th scope="col" { "Partition" } th .n scope="col" { "Starts at" } th .n scope="col" { "Ends at" }
                    th .n scope="col" { "Records" } th .n scope="col" { "Size" } th scope="col" { "Kept for" }
                    th scope="col" { span .sr { "Records" } }
                } }
                @for topic in &log.topics { tbody { (rows(view, topic)) } }
            }
        }
    }
}

fn rows(view: &View, topic: &TopicLine) -> Markup {
    let records = topic
        .partitions
        .iter()
        .map(|partition| partition.end - partition.start);
    html! {
        tr .sum {
            th scope="rowgroup" { (topic.topic) }
            td .gap {} td .gap {}
            td .n data-label="Records" { (grouped(records.sum())) }
            td .n data-label="Size" {
                @match (topic.bytes, topic.segments) {
                    (Some(size), Some(segments)) => { (bytes(size)) " in " (segments) " " (plural(segments.into(), "segment")) }
                    _ => (unknown()),
                }
            }
            td data-label="Kept for" { (shown_retention(topic)) }
            td .gap {}
        }
        @for partition in &topic.partitions {
            @let number = partition.partition.to_string();
            tr {
                th .m scope="row" { (topic.topic) "/" (number) }
                td .n data-label="Starts at" { (grouped(partition.start)) }
                td .n data-label="Ends at" { (grouped(partition.end)) }
                td .n data-label="Records" { (grouped(partition.end - partition.start)) }
                td .gap {} td .gap {}
                td .n {
                    @if topic.topic != META_TOPIC {
                        a href={ (view.link(&[("topic", &topic.topic), ("partition", &number), ("from", ""), ("key", "")])) "#records" } { "browse" }
                    }
                }
            }
        }
    }
}

/// The segments, where this process has them.
fn segments(site: &Site, snapshot: &Snapshot) -> Markup {
    let Some(log) = site.observer.client().filter(|log| log.is_owner()) else {
        return html! {};
    };
    let topics = snapshot.status.log.topics.iter();
    let found: Vec<_> = topics
        .filter_map(|topic| Some((&topic.topic, log.segments(&topic.topic).ok()?)))
        .collect();
    html! {
        details .card.schema {
            summary { b { "Segments" } }
            div .scroll tabindex="0" role="region" aria-label="Segments" {
                table {
                    thead { tr {
                        th scope="col" { "Topic" } th .n scope="col" { "Segment" } th .n scope="col" { "Size" }
                        th scope="col" { "Sealed" } th scope="col" { "Offsets" }
                    } }
                    tbody {
                        @for (topic, segments) in &found {
                            @for segment in segments {
                                tr {
                                    th scope="row" { (topic) } td .n { (segment.number) } td .n { (bytes(segment.bytes)) }
                                    td { @match segment.sealed_at_ms { Some(at) => (time(at)), None => (tag("flow", "written to")) } }
                                    td .m {
                                        @for (partition, (start, end)) in segment.ranges.iter().enumerate() {
                                            @if start < end { (partition) ": " (start) " to " (end) " " }
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

/// The programs that are connected to this process for the log; only its owner knows them.
fn clients(site: &Site, snapshot: &Snapshot) -> Markup {
    let Some(log) = site.observer.client().filter(Client::is_owner) else {
        return html! {
            @if let Some(pid) = snapshot.status.log.owner_pid {
                p .note { "Pid " (pid) " owns the log and knows its clients: see this view on its page." }
            }
        };
    };
    let clients = log.served_clients();
    html! {
        div .bar-title { h2 { "Clients" } }
        @if clients.is_empty() { p .note { "No other program is connected to this log." } }
        @else {
            div .card tabindex="0" role="region" aria-label="Clients" {
                table .stack {
                    thead { tr {
                        th scope="col" { "Client" } th scope="col" { "Host" } th .n scope="col" { "Connections" }
                        th .n scope="col" { "Connected" }
                    } }
                    tbody {
                        @for client in &clients {
                            tr {
                                th .m scope="row" {
                                    @if client.name.is_empty() { (unknown()) } @else { (client.name) }
                                }
                                td .m data-label="Host" {
                                    @if client.is_guest { "this host" } @else { (client.address) }
                                }
                                td .n data-label="Connections" { (grouped(client.connections)) }
                                td .n data-label="Connected" { (minutes(client.connected)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A time in whole minutes, so that the page does not change every second.
fn minutes(time: Duration) -> String {
    match time.as_secs() / 60 {
        0 => "for less than a minute".to_owned(),
        minutes if minutes < 120 => format!("for {minutes} min"),
        minutes => format!("for {} hours", minutes / 60),
    }
}

/// Records that the browser found
struct Page {
    records: Vec<(u64, i64, String, Decoded)>,
    /// Offset at which the next page begins
    next: Offset,
    ends: PartitionEnds,
    /// Records passed over in search of a key, if the search ended before the partition did.
    given_up_after: Option<u64>,
}

/// The browser of records, with the records that are asked for.
pub(super) fn records(site: &Site, view: &View) -> Section {
    let streams = site.observer.context().streams();
    let topic = match view.text("topic") {
        "" => streams.first().map_or("", |stream| stream.name.as_str()),
        topic => topic,
    };
    let partition = view.number("partition").unwrap_or(0);
    let is_asked = !view.text("topic").is_empty();
    let page = is_asked.then(|| browse(site, view, topic, partition));
    Section::new(
        "records",
        html! {
            div .bar-title {
                h2 { "Records" }
                form .search action="/log#records" {
                    label { "Topic " select name="topic" { @for stream in &streams {
                        option value=(stream.name) selected[stream.name == topic] { (stream.name) }
                    } } }
                    label { "Partition " input .short type="number" name="partition" min="0" value=(partition); }
                    label { "From " input name="from" value=(view.text("from")) placeholder="the last 25"
                        title="earliest, latest, offset:N, time:2026-01-31T12:00:00Z or shift:-50 (the last 50 of the partition)"; }
                    label { "Key " input name="key" value=(view.text("key")) placeholder="any"; }
                    button type="submit" { "Show" }
                }
            }
            @match &page {
                None => p .note { "Choose a partition to read its records as they are in the log." },
                Some(Err(error)) => (nothing(&format!("The records cannot be read: {error:#}"))),
                Some(Ok(page)) => (listed(view, page, &names(site, page))),
            }
        },
    )
}

/// The paths of the files that the records came from, as far as ingest knows them here.
fn names(site: &Site, page: &Page) -> HashMap<String, String> {
    let origins = page
        .records
        .iter()
        .filter_map(|(.., decoded)| decoded.origin.as_ref());
    let wanted: HashSet<&str> = origins.map(|(file, _)| file.as_str()).collect();
    let Some(list) = site.observer.file_list() else {
        return HashMap::new();
    };
    let base = &site.observer.context().base;
    let named = list.files().files.iter().filter_map(|file| {
        let id = file.id?.to_string();
        let path = shown_from(base, &file.path).display().to_string();
        wanted.contains(id.as_str()).then_some((id, path))
    });
    named.collect()
}

fn listed(view: &View, page: &Page, names: &HashMap<String, String>) -> Markup {
    let next = format!("offset:{}", page.next);
    html! {
        @if page.records.is_empty() { (nothing("There is no such record.")) }
        @else {
            div .card tabindex="0" role="region" aria-label="Records" {
                table .stack {
                    thead { tr {
                        th .n scope="col" { "Offset" } th scope="col" { "Appended" } th scope="col" { "Key" } th scope="col" { "Record" }
                    } }
                    tbody {
                        @for (offset, at, key, decoded) in &page.records {
                            tr {
                                th .n scope="row" { (grouped(*offset)) }
                                td .m data-label="Appended" { (time(*at)) } td .m.whole data-label="Key" { (cut(key)) }
                                td .record.whole { (content(decoded, names)) }
                            }
                        }
                    }
                }
            }
        }
        @if let Some(count) = page.given_up_after {
            p .note { "The search ended after " (grouped(count)) " records. Continue to search the rest." }
        }
        nav .pager aria-label="Pages" {
            @if page.next < page.ends.end {
                a rel="next" href={ (view.link(&[("from", &next)])) "#records" } { "Continue at offset " (grouped(page.next.get())) " →" }
            } @else { span .note { "end of the partition at offset " (grouped(page.ends.end.get())) } }
        }
    }
}

fn content(decoded: &Decoded, names: &HashMap<String, String>) -> Markup {
    html! {
        @match &decoded.content {
            Content::Row(columns) => {
                @for (name, value) in columns {
                    span .pair { span .name-of { (name) } " " code { (cut(&shown(value))) } } " "
                }
            }
            Content::Reject { reason, column, detail, raw } => {
                (tag("bad", in_words(reason))) @if let Some(column) = column { " column " b { (column) } } " " code { (cut(raw)) }
                @if !detail.is_empty() { div .sub { (prose(&cut(detail))) } }
            }
            Content::Other { text: Some(text), schema } => {
                (tag("", "not written by ingest")) " " code { (cut(text)) }
                @if let Some(schema) = schema { div .sub { "Confluent's schema " (schema) } }
            }
            Content::Other { text: None, .. } => { (tag("", "not written by ingest")) " no value" }
        }
        @if let Some((file, line)) = &decoded.origin {
            div .note { "line " (grouped(*line)) " of " code { (names.get(file).map_or(file.as_str(), String::as_str)) } }
        }
    }
}

fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "∅".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| String::new(), |at| format!("{at:.3}").replace('T', " "))
}

fn browse(site: &Site, view: &View, topic: &str, partition: u32) -> anyhow::Result<Page> {
    let log = site.observer.client();
    let log = log.ok_or_else(|| anyhow::anyhow!("the log is not open"))?;
    let from = match view.text("from") {
        "" => Where::Shift(-(RECORDS_MAX as i64)),
        text => Where::from_str(text).map_err(anyhow::Error::msg)?,
    };
    let ends = log.partition_ends(topic)?;
    let ends = ends.into_iter().find(|ends| ends.partition == partition);
    let ends =
        ends.ok_or_else(|| anyhow::anyhow!("topic `{topic}` has no partition {partition}"))?;
    let encoding = site.observer.context().encoding_of(topic);
    let mut page = Page {
        records: Vec::new(),
        next: place(&log, topic, ends, from)?,
        ends,
        given_up_after: None,
    };
    page.fill(&log, topic, view.text("key"), encoding)?;
    Ok(page)
}

impl Page {
    /// Reads records with a key, or any, until the page is full, the partition ends or the time is over.
    fn fill(
        &mut self,
        log: &Client,
        topic: &str,
        key: &str,
        encoding: Encoding,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + SEARCH_TIME_MAX;
        let mut schemas = Schemas::default();
        let mut passed = 0;
        while self.next < self.ends.end {
            let records = log.read(topic, self.ends.partition, self.next, READ_BYTES_MAX)?;
            for record in records.iter() {
                if self.records.len() == RECORDS_MAX {
                    return Ok(());
                }
                self.next = record.offset.next();
                if key.is_empty() || key_of(&record) == key {
                    let decoded = schemas.decode(log, &record, encoding)?;
                    let row = (
                        record.offset.get(),
                        record.timestamp_ms,
                        key_of(&record),
                        decoded,
                    );
                    self.records.push(row);
                } else {
                    passed += 1;
                }
            }
            let next = records.next_offset();
            if next < self.next || records.iter().next().is_none() && next == self.next {
                break;
            }
            self.next = next;
            if Instant::now() > deadline {
                self.given_up_after = Some(passed);
                break;
            }
        }
        Ok(())
    }
}

/// A record's key as text; the columns of a compound key are separated by a space.
fn key_of(record: &Record<'_>) -> String {
    let key = record.key.map(String::from_utf8_lossy);
    key.map_or_else(String::new, |key| {
        key.replace(char::from(bekk_stream::KEY_SEPARATOR), " ")
    })
}
