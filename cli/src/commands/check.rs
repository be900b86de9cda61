//! `bekk check`: what is wrong with the configuration, the database and its tables.

use anyhow::Result;
use bekk_sink::{Report, TableReport};
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::{Check, Global};
use crate::context::Context;
use crate::screen::Screen;

/// What was found, for programs.
#[derive(Serialize)]
struct Checked {
    ok: bool,
    /// The file; none of the built-in sample.
    config: Option<String>,
    streams: Vec<CheckedStream>,
    /// PostgreSQL's version; none if it was not asked.
    server_version: Option<String>,
    /// What the database does not allow.
    problems: Vec<String>,
    tables: Vec<CheckedTable>,
}

#[derive(Serialize)]
struct CheckedStream {
    stream: String,
    partitions: u32,
    columns: usize,
    table: String,
}

#[derive(Serialize)]
struct CheckedTable {
    table: String,
    stream: String,
    exists: bool,
    problems: Vec<String>,
    warnings: Vec<String>,
}

pub(crate) fn run(global: &Global, args: &Check, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    if !args.output.json {
        print_config(&context)?;
    }
    let report = match args.offline {
        true => None,
        false => {
            let database = context.database(&args.postgres)?;
            screen.say(&format!("postgres   {}", database.description));
            let streams = &context.config.streams;
            Some(bekk_sink::check(&database.options, streams)?)
        }
    };
    let is_good = report.as_ref().is_none_or(Report::is_good);
    if args.output.json {
        print_json(&Checked::of(&context, report.as_ref(), is_good))?;
    } else if let Some(report) = &report {
        print_report(report)?;
    }
    Ok(match is_good {
        true => Outcome::Done,
        false => Outcome::Incomplete,
    })
}

fn print_config(context: &Context) -> Result<()> {
    let origin = context.file.as_ref().map_or_else(
        || "built-in sample".to_owned(),
        |path| path.display().to_string(),
    );
    print_result(&format!(
        "config     {origin}: ok, {}",
        context.shown_topics()
    ))?;
    for stream in &context.config.streams {
        print_result(&format!(
            "stream     {}: {} columns into table {}",
            stream.name,
            stream.columns.len(),
            stream.table
        ))?;
    }
    Ok(())
}

fn print_report(report: &Report) -> Result<()> {
    print_result(&format!("server     PostgreSQL {}", report.server_version))?;
    for problem in &report.problems {
        print_result(&format!("  problem  {problem}"))?;
    }
    for table in &report.tables {
        let state = match (table.exists, table.problems.is_empty()) {
            (false, false) => "does not exist and cannot be made",
            (false, true) => "does not exist; the sink makes it",
            (true, true) => "fits",
            (true, false) => "does not fit",
        };
        print_result(&format!(
            "table      {}: {state} (stream {})",
            table.table, table.stream
        ))?;
        for problem in &table.problems {
            print_result(&format!("  problem  {problem}"))?;
        }
        for warning in &table.warnings {
            print_result(&format!("  warning  {warning}"))?;
        }
    }
    Ok(())
}

impl Checked {
    fn of(context: &Context, report: Option<&Report>, ok: bool) -> Self {
        let streams = context.config.streams.iter().map(|stream| CheckedStream {
            stream: stream.name.clone(),
            partitions: stream.partitions,
            columns: stream.columns.len(),
            table: stream.table.to_string(),
        });
        let tables = report.into_iter().flat_map(|report| &report.tables);
        Self {
            ok,
            config: context.file.as_ref().map(|path| path.display().to_string()),
            streams: streams.collect(),
            server_version: report.map(|report| report.server_version.clone()),
            problems: report.map_or_else(Vec::new, |report| report.problems.clone()),
            tables: tables.map(CheckedTable::of).collect(),
        }
    }
}

impl CheckedTable {
    fn of(table: &TableReport) -> Self {
        Self {
            table: table.table.clone(),
            stream: table.stream.clone(),
            exists: table.exists,
            problems: table.problems.clone(),
            warnings: table.warnings.clone(),
        }
    }
}
