//! `bekk trace`: every version of a row.

use anyhow::{Result, bail};
use bekk_sink::{Fate, Version, What};
use bekk_stream::Stream;
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::{Global, Trace};
use crate::context::Context;
use crate::screen::Screen;

/// A version, for programs.
#[derive(Serialize)]
struct Line<'a> {
    partition: u32,
    offset: u64,
    appended_at: &'a str,
    file: Option<&'a str>,
    line: u64,
    text: &'a str,
    fate: String,
}

#[derive(Serialize)]
struct Report<'a> {
    stream: &'a str,
    key: Option<&'a str>,
    versions: Vec<Line<'a>>,
    /// The table's row.
    row: Option<serde_json::Value>,
}

pub(crate) fn run(global: &Global, args: &Trace, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    let (streams, what) = chosen(&context, args)?;
    let log = context.open_log(&args.log)?;
    let database = context.database(&args.postgres)?;
    screen.say_part(&format!("postgres   {}", database.description));
    let mut is_found = false;
    let mut reports = Vec::new();
    for stream in &streams {
        let group = &args.group.name;
        let trace = bekk_sink::trace(&database.options, &log, group, stream, &what)?;
        if trace.versions.is_empty() && trace.row.is_none() {
            continue;
        }
        is_found = true;
        reports.push((stream, trace));
    }
    log.close()?;
    if args.output.json {
        let reports: Vec<_> = reports
            .iter()
            .map(|(stream, trace)| Report {
                stream: &stream.name,
                key: trace.key.as_deref(),
                versions: trace.versions.iter().map(Line::of).collect(),
                row: trace
                    .row
                    .as_deref()
                    .and_then(|row| serde_json::from_str(row).ok()),
            })
            .collect();
        print_json(&reports)?;
    } else {
        for (stream, trace) in &reports {
            print_trace(stream, trace)?;
        }
        if !is_found {
            print_result("no record of the log, and no row of the table")?;
            if args.key.is_some() {
                print_hints(&streams)?;
            }
        }
    }
    Ok(Outcome::of(is_found))
}

/// The streams that are looked through, and for what.
fn chosen(context: &Context, args: &Trace) -> Result<(Vec<Stream>, What)> {
    let mut streams = context.targets(&args.target)?;
    let what = match (&args.key, &args.at, &args.offset) {
        (Some(key), ..) => What::Key(key.clone()),
        (_, Some(at), _) => What::Line(at.file.clone(), at.line),
        (_, _, Some(place)) => {
            streams.retain(|stream| stream.name == place.topic);
            if streams.is_empty() {
                bail!("the configuration has no stream `{}`", place.topic);
            }
            What::Offset(place.partition, place.offset)
        }
        (None, None, None) => bail!("name a --key, a line with --at, or an --offset"),
    };
    Ok((streams, what))
}

/// Says why a key may not be found.
fn print_hints(streams: &[Stream]) -> Result<()> {
    for stream in streams.iter().filter(|stream| stream.key.len() > 1) {
        let columns = stream.key.join(",");
        print_result(&format!(
            "a key of stream `{}` is a CSV line of {columns}",
            stream.name
        ))?;
    }
    print_result(
        "rejected records have no key; to find one: bekk dead-letters list, then bekk trace --at FILE:LINE",
    )
}

fn print_trace(stream: &Stream, trace: &bekk_sink::Trace) -> Result<()> {
    match &trace.key {
        Some(key) => print_result(&format!("stream {}, key {key}", stream.name))?,
        None => print_result(&format!("stream {}, no key", stream.name))?,
    }
    for version in &trace.versions {
        // Records of other producers come from no file.
        let place = match &version.file {
            Some(file) => format!("{file}:{}", version.line),
            None => "no file".to_owned(),
        };
        print_result(&format!(
            "  {}/{}/{}   {}   {place}   {}",
            stream.name,
            version.partition,
            version.offset,
            version.appended_at,
            fate_text(version)
        ))?;
        print_result(&format!("      {}", printable(version.text.trim_end())))?;
    }
    match &trace.row {
        Some(row) => print_result(&format!("  table {}: {}", stream.table, printable(row))),
        // Nothing says which row a rejected record would be.
        None if trace.key.is_none() => Ok(()),
        None => print_result(&format!("  table {}: no row", stream.table)),
    }
}

/// Without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if bekk_stream::is_deceptive(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn fate_text(version: &Version) -> String {
    match &version.fate {
        Fate::Row => "is the row".to_owned(),
        Fate::Deletion => "deletes the row".to_owned(),
        Fate::Superseded { by, why } => format!("superseded by offset {by}: {why}"),
        Fate::DeadLetter {
            id,
            reason,
            detail,
            resolution,
        } => {
            let resolution = resolution.as_deref().unwrap_or("open");
            format!(
                "dead letter {id} ({resolution}): {reason}, {}",
                printable(detail)
            )
        }
        Fate::Waiting => "waits to be applied".to_owned(),
        Fate::Unknown => "not applied by this group".to_owned(),
    }
}

impl<'a> Line<'a> {
    fn of(version: &'a Version) -> Self {
        Self {
            partition: version.partition,
            offset: version.offset,
            appended_at: &version.appended_at,
            file: version.file.as_deref(),
            line: version.line,
            text: &version.text,
            fate: fate_text(version),
        }
    }
}
