//! `bekk check`: what is wrong with the configuration, the database and its tables.

use anyhow::{Context as _, Result};
use bekk_sink::{Report, TableReport};
use bekk_stream::shown;
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::{Check, Global};
use crate::context::Context;
use crate::database::shown_from;
use crate::screen::{Screen, counted, grouped};

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
    files: Vec<TriedFile>,
}

/// What would become of a file's first records.
#[derive(Serialize)]
struct TriedFile {
    stream: String,
    path: String,
    records: u64,
    rejects: u64,
    blocked: Option<String>,
    first_rejects: Vec<String>,
    notices: Vec<String>,
}

/// How many records of each file are tried.
const TRIED_MAX: u64 = 10_000;

fn try_files(context: &Context) -> Result<Vec<TriedFile>> {
    let streams = &context.config.streams;
    let matched = bekk_ingest::matched_files(streams).context("look for files")?;
    let mut tried = Vec::new();
    for (stream, paths) in streams.iter().zip(matched) {
        for path in paths {
            let shown = shown_from(&context.base, &path).display().to_string();
            let found = match bekk_ingest::preview_first(&path, stream, TRIED_MAX) {
                Ok(found) => found,
                Err(error) => bekk_ingest::Preview {
                    blocked: Some(format!("{:#}", anyhow::Error::from(error))),
                    ..Default::default()
                },
            };
            tried.push(TriedFile {
                stream: stream.name.clone(),
                path: shown,
                records: found.records,
                rejects: found.rejects,
                blocked: found.blocked,
                first_rejects: found.first_rejects,
                notices: found.notices,
            });
        }
    }
    Ok(tried)
}

impl TriedFile {
    fn text(&self) -> String {
        let mut lines = vec![match &self.blocked {
            Some(why) => format!("file       {}: it would be set aside: {why}", self.path),
            None => format!(
                "file       {}: {} tried, {} rejected",
                self.path,
                counted(self.records, "record"),
                grouped(self.rejects)
            ),
        }];
        let rejects = self
            .first_rejects
            .iter()
            .map(|reject| format!("  reject   {reject}"));
        lines.extend(rejects);
        lines.extend(
            self.notices
                .iter()
                .map(|notice| format!("  noticed  {notice}")),
        );
        lines.join("\n")
    }
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
            screen.say_part(&format!("postgres   {}", database.description));
            if args.repair {
                repair(&database.options, screen)?;
            }
            let streams = &context.targets(&args.target)?;
            let mut report = bekk_sink::check(&database.options, streams)?;
            // A role that lacks rights to schema `bekk`, which the report names, can read nothing there.
            let faults = match report.problems.is_empty() {
                true => {
                    // The log is not opened: several projects may fill one table.
                    let group = (args.group.name.as_str(), None);
                    bekk_sink::table_faults(&database.options, group, streams)?
                }
                false => Vec::new(),
            };
            for fault in faults {
                let table = report.tables.iter_mut().find(|t| t.stream == fault.stream);
                let Some(table) = table else { continue };
                let text = format!("{}; {}", fault.what, fault.advice);
                match fault.is_a_warning {
                    true => table.warnings.push(text),
                    false => table.problems.push(text),
                }
            }
            Some(report)
        }
    };
    let tried = match args.files {
        true => try_files(&context)?,
        false => Vec::new(),
    };
    let is_good = report.as_ref().is_none_or(Report::is_good)
        && tried
            .iter()
            .all(|file| file.blocked.is_none() && file.rejects == 0);
    if args.output.json {
        let mut checked = Checked::of(&context, report.as_ref(), is_good);
        checked.files = tried;
        print_json(&checked)?;
    } else {
        if let Some(report) = &report {
            print_report(report)?;
        }
        for file in &tried {
            print_result(&file.text())?;
        }
        if args.files && tried.is_empty() {
            print_result("files      none matches the patterns")?;
        }
    }
    Ok(Outcome::of(is_good))
}

fn repair(postgres: &bekk_sink::ConnectOptions, screen: &Screen) -> Result<()> {
    let made = bekk_sink::repair_schema(postgres)?;
    for table in &made {
        screen.say(&format!("created    bekk.{table}, empty"));
    }
    if made.is_empty() {
        screen.say("created    nothing: schema bekk lacks no table that it had");
    }
    Ok(())
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
            "stream     {}: {} into table {}",
            stream.name,
            counted(stream.columns.len() as u64, "column"),
            stream.table
        ))?;
    }
    Ok(())
}

fn print_report(report: &Report) -> Result<()> {
    print_result(&format!("server     PostgreSQL {}", report.server_version))?;
    for problem in &report.problems {
        print_result(&format!("  problem  {}", shown(problem)))?;
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
            print_result(&format!("  problem  {}", shown(problem)))?;
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
            files: Vec::new(),
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
