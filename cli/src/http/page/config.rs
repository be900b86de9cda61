//! The effective configuration, and where each value comes from. Values that may be secret are hidden.

use std::fmt::Display;

use bekk_stream::{Config, Finished, LogLocation, OnConflict, Stream};
use maud::{Markup, html};

use super::{Section, Site};
use crate::args::origin_of;
use crate::context::Context;
use crate::service::Database;
use crate::units::{bytes, duration};

pub(super) fn sections(site: &Site) -> Vec<Section> {
    vec![Section::new("config", config(site))]
}

/// A value and where it comes from.
struct Row {
    name: String,
    value: String,
    origin: String,
}

/// The file's text, which shows the values that it sets.
struct File<'a> {
    name: &'a str,
    table: toml::Table,
}

fn config(site: &Site) -> Markup {
    let context = site.observer.context();
    let name = context.file.as_ref().map(|file| file.display().to_string());
    let name = name.unwrap_or_else(|| "built-in sample".to_owned());
    let text = match &context.file {
        Some(path) => std::fs::read_to_string(path).unwrap_or_default(),
        None => bekk_stream::SAMPLE_CONFIG.to_owned(),
    };
    let file = File {
        name: &name,
        table: text.parse().unwrap_or_default(),
    };
    html! {
        div .bar-title { h2 { "This process" } span .note { "configuration: " code { (name) } } }
        (table("This process", &process(site, context, &file)))
        @for stream in &context.streams() {
            div .bar-title.later { h2 { "Stream " (stream.name) } }
            (table(&stream.name, &of_stream(context, stream, &file)))
        }
        p .note { "Passwords and properties of a Kafka cluster are not shown. SIGHUP applies new streams and other patterns, retention and the log level; everything else takes effect at the next start." }
    }
}

fn table(label: &str, rows: &[Row]) -> Markup {
    html! {
        div .card tabindex="0" role="region" aria-label=(label) {
            table .settings.stack {
                thead { tr { th scope="col" { "Setting" } th scope="col" { "Value" } th scope="col" { "From" } } }
                tbody {
                    @for row in rows {
                        tr { th .m scope="row" { (row.name) } td .m { (row.value) } td .note { (row.origin) } }
                    }
                }
            }
        }
    }
}

impl File<'_> {
    /// Returns the origin of a value that only the file can set.
    fn origin(&self, path: &[&str]) -> String {
        let mut names = path.iter();
        let first = names.next().and_then(|name| self.table.get(*name));
        let found = names.fold(first, |value, name| value?.as_table()?.get(*name));
        match found {
            Some(_) => self.name.to_owned(),
            None => "default".to_owned(),
        }
    }

    fn row(&self, path: &[&str], value: impl Display) -> Row {
        Row {
            name: path.join("."),
            value: value.to_string(),
            origin: self.origin(path),
        }
    }
}

fn process(site: &Site, context: &Context, file: &File<'_>) -> Vec<Row> {
    let config = &context.config;
    let typed = |name: &str, value: String, otherwise: String| Row {
        name: name.to_owned(),
        value,
        origin: origin_of(name).unwrap_or(otherwise),
    };
    let log = match &config.log {
        LogLocation::Kafka(_) => file.origin(&["log", "url"]),
        LogLocation::Directory(_) => file.origin(&["log", "dir"]),
    };
    let default = || "default".to_owned();
    let mut rows = vec![
        typed("log", site.observer.place(), log),
        file.row(&["log", "durability"], context.shown_durability()),
    ];
    let postgres = |value, origin| Row {
        name: "postgres".to_owned(),
        value,
        origin,
    };
    rows.push(match site.observer.service().parts().postgres {
        Database::InUse { description, .. } => postgres(description.place, description.origin),
        Database::Starting => postgres("being started".to_owned(), String::new()),
        Database::NotNeeded => postgres("not needed by this command".to_owned(), String::new()),
    });
    if let Some(sink) = site.observer.service().parts().sink {
        rows.push(typed("group", sink.group, default()));
    }
    rows.extend(ingest(context, file));
    rows.extend(kafka(config, file));
    rows.push(typed("http", site.address.clone(), default()));
    rows
}

fn ingest(context: &Context, file: &File<'_>) -> Vec<Row> {
    let ingest = context.ingest_config(false);
    let row = |name: &str, value: String| file.row(&["ingest", name], value);
    vec![
        row("notify", ingest.notify.to_string()),
        row("close_after", duration(ingest.close_after.as_secs_f64())),
        row(
            "partial_after",
            duration(ingest.partial_after.as_secs_f64()),
        ),
        row("open_files_max", ingest.open_files_max.to_string()),
    ]
}

fn kafka(config: &Config, file: &File<'_>) -> Vec<Row> {
    let names = config.kafka.keys();
    names
        .map(|name| file.row(&["log", "kafka", name], "hidden"))
        .collect()
}

fn of_stream(context: &Context, stream: &Stream, file: &File<'_>) -> Vec<Row> {
    let row = |name: &str, value: String| {
        let origin = file.origin(&["streams", &stream.name, name]);
        Row {
            name: name.to_owned(),
            value,
            origin,
        }
    };
    let list = |items: &[String]| match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(", "),
    };
    let age = stream
        .retention
        .age
        .map(|age| format!("{} days", age.as_secs_f64() / 86_400.0));
    let size = stream.retention.size.map(bytes);
    let kept: Vec<_> = age.into_iter().chain(size).collect();
    vec![
        row("files", context.shown_files(&stream.files)),
        row(
            "exclude",
            match stream.exclude.is_empty() {
                true => "none".to_owned(),
                false => context.shown_files(&stream.exclude),
            },
        ),
        row(
            "finished",
            match &stream.finished {
                Finished::Keep => "keep".to_owned(),
                Finished::Delete => "delete".to_owned(),
                Finished::Move(place) => format!("move:{}", place.display()),
            },
        ),
        row("table", stream.table.to_string()),
        row("key", list(&stream.key)),
        row(
            "on_conflict",
            match stream.on_conflict {
                OnConflict::Update => "update",
                OnConflict::Ignore => "ignore",
                OnConflict::Append => "append",
            }
            .to_owned(),
        ),
        row(
            "newer_by",
            stream.newer_by.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        row("partitions", stream.partitions.to_string()),
        row(
            "retention",
            if kept.is_empty() {
                "for ever".to_owned()
            } else {
                kept.join(" or ")
            },
        ),
    ]
}
