//! `bekk ingest files`: what ingest knows of each file, whether one runs or not.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use bekk_ingest::{Decision, FileState, FileStatus, Files};
use bekk_stream::{shown, shown_path};
use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::{Global, IngestFiles};
use crate::context::Context;
use crate::database::shown_from;
use crate::screen::grouped;
use crate::status::known_files;
use crate::table::{Column, table};

pub(crate) fn run(global: &Global, args: &IngestFiles) -> Result<Outcome> {
    let context = Context::load(global)?;
    let files = known_files(&context)?;
    if args.output.json {
        print_json(&Report::new(&files))?;
    } else {
        print_result(&text(&files, &context.base, args.explain))?;
    }
    Ok(Outcome::Done)
}

/// How many hidden or temporary files are named.
const SKIPPED_NAMED_MAX: usize = 5;

#[derive(Serialize)]
struct Report<'a> {
    /// Whether an ingest runs, and which process it is if it can be seen.
    running: bool,
    pid: Option<u32>,
    /// When an ingest last wrote down what it knows.
    as_of: Option<String>,
    files: Vec<FileReport<'a>>,
    /// What matches but for its hidden or temporary name, and is not read.
    skipped: Vec<String>,
}

#[derive(Serialize)]
struct FileReport<'a> {
    id: Option<String>,
    stream: &'a str,
    path: String,
    /// The path's bytes as hex, if they are no UTF-8.
    path_hex: Option<String>,
    device: u64,
    inode: u64,
    compression: Option<&'static str>,
    position: u64,
    size: u64,
    lag_bytes: u64,
    records: u64,
    rejects: u64,
    state: &'static str,
    why: Option<&'a str>,
    decisions: Vec<DecisionReport<'a>>,
    notices: Vec<NoticeReport<'a>>,
}

#[derive(Serialize)]
struct NoticeReport<'a> {
    kind: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
struct DecisionReport<'a> {
    at: Option<String>,
    what: &'static str,
    why: &'a str,
}

impl<'a> Report<'a> {
    fn new(files: &'a Files) -> Self {
        Self {
            running: files.running.is_some(),
            pid: files.running.and_then(|running| running.pid),
            as_of: files
                .as_of
                .and_then(|at| Timestamp::try_from(at).ok())
                .map(|at| at.to_string()),
            files: files.files.iter().map(FileReport::new).collect(),
            skipped: files
                .skipped
                .iter()
                .map(|path| path.to_string_lossy().into_owned())
                .collect(),
        }
    }
}

impl<'a> FileReport<'a> {
    fn new(file: &'a FileStatus) -> Self {
        let bytes = file.path.as_os_str().as_bytes();
        Self {
            id: file.id.map(|id| id.to_string()),
            stream: &file.stream,
            path: file.path.to_string_lossy().into_owned(),
            path_hex: file.path.to_str().is_none().then(|| hex(bytes)),
            device: file.device,
            inode: file.inode,
            compression: file.packing.map(|packing| packing.as_str()),
            position: file.position,
            size: file.size,
            lag_bytes: file.lag(),
            records: file.records,
            rejects: file.rejects,
            state: file.state.as_str(),
            why: file.why.as_deref(),
            decisions: file.decisions.iter().map(DecisionReport::new).collect(),
            notices: file
                .notices
                .iter()
                .map(|notice| NoticeReport {
                    kind: notice.kind.as_str(),
                    text: &notice.text,
                })
                .collect(),
        }
    }
}

impl<'a> DecisionReport<'a> {
    fn new(decision: &'a Decision) -> Self {
        Self {
            at: Timestamp::from_millisecond(decision.at_ms)
                .ok()
                .map(|at| at.to_string()),
            what: decision.what.as_str(),
            why: &decision.why,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // A String takes every text.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn text(files: &Files, base: &Path, explain: bool) -> String {
    let columns = [
        Column::Text("STATE"),
        Column::Number("RECORDS"),
        Column::Number("REJECTS"),
        Column::Number("POSITION"),
        Column::Number("LAG"),
        Column::Text("STREAM"),
        Column::Text("FILE"),
    ];
    let rows: Vec<_> = files.files.iter().map(|file| cells(file, base)).collect();
    let mut rows = table(&columns, &rows).into_iter();
    let mut lines = vec![said_of_ingest(files)];
    lines.extend(rows.next());
    for (file, row) in files.files.iter().zip(rows) {
        lines.push(row);
        let needs_reason = explain || file.state != FileState::Following;
        if let Some(why) = file.why.as_deref().filter(|_| needs_reason) {
            lines.push(format!("    {why}"));
        }
        for notice in &file.notices {
            lines.push(format!("    {}: {}", notice.kind, shown(&notice.text)));
        }
        if explain {
            let id = file
                .id
                .map_or_else(|| "none yet".to_owned(), |id| id.to_string());
            lines.push(format!(
                "    id {id}, device {}, inode {}",
                file.device, file.inode
            ));
            lines.extend(file.decisions.iter().map(said));
        }
    }
    if files.files.is_empty() {
        lines.push("no file is known, and none matches the patterns".to_owned());
    }
    if !files.skipped.is_empty() {
        let names = files.skipped.iter().take(SKIPPED_NAMED_MAX);
        let names: Vec<_> = names
            .map(|path| format!("`{}`", shown_path(shown_from(base, path))))
            .collect();
        let more = match files.skipped.len().saturating_sub(SKIPPED_NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        lines.push(format!(
            "not read, because the names are hidden or temporary (a pattern that names them reads them): {}{more}",
            names.join(", ")
        ));
    }
    lines.join("\n")
}

fn said_of_ingest(files: &Files) -> String {
    let age = files
        .as_of
        .and_then(|at| SystemTime::now().duration_since(at).ok());
    let as_of = match age {
        Some(age) => format!(", as it was {} s ago", grouped(age.as_secs())),
        None => String::new(),
    };
    match files.running.map(|running| running.pid) {
        Some(Some(pid)) => format!("an ingest runs (pid {pid}){as_of}"),
        Some(None) => format!("an ingest runs{as_of}"),
        None => format!("no ingest runs{as_of}"),
    }
}

fn said(decision: &Decision) -> String {
    let at = Timestamp::from_millisecond(decision.at_ms)
        .map_or_else(|_| "?".to_owned(), |at| format!("{at:.0}"));
    format!("    {at} {}: {}", decision.what, shown(&decision.why))
}

fn cells(file: &FileStatus, base: &Path) -> [String; 7] {
    let mut name = shown_path(shown_from(base, &file.path));
    if let Some(packing) = file.packing {
        name.push_str(&format!(" ({})", packing.as_str()));
    }
    [
        file.state.as_str().to_owned(),
        grouped(file.records),
        grouped(file.rejects),
        grouped(file.position),
        grouped(file.lag()),
        file.stream.clone(),
        name,
    ]
}
