//! `bekk status` and `bekk health`: where everything is, and whether it is well.

use std::io::{IsTerminal, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bekk_stream::{shown, shown_indented};

use super::{Outcome, print_json, print_result, write_result};
use crate::args::{Global, Health, StatusArgs};
use crate::context::Context;
use crate::database::shown_from;
use crate::http;
use crate::screen::{counted, grouped};
use crate::signals;
use crate::status::{Files, LogStatus, Status};
use crate::units::bytes;

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How many notices of files are shown.
const NOTICES_MAX: usize = 10;
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) fn run(global: &Global, args: &StatusArgs) -> Result<Outcome> {
    let context = Context::load(global)?;
    let stop = signals::stop_flag().context("listen for signals")?;
    loop {
        let of = (&*args.group.name, &args.target);
        let status = Status::gather(&context, &args.log, &args.postgres, of)?;
        if args.output.json {
            print_json(&status)?;
        } else {
            let clear = if args.watch && stdout().is_terminal() {
                CLEAR
            } else {
                ""
            };
            let lines = [config_lines(&context), lines(&status)].concat();
            // Each may hold a name that others gave.
            let lines: Vec<_> = lines.iter().map(|line| shown_indented(line)).collect();
            write_result(&format!("{clear}{}", lines.join("\n")))?;
        }
        let mut waited = Duration::ZERO;
        while args.watch && waited < WATCH_EVERY && !signals::is_set(&stop) {
            std::thread::sleep(Duration::from_millis(100));
            waited += Duration::from_millis(100);
        }
        if signals::is_set(&stop) {
            return Ok(Outcome::Done);
        }
        if !args.watch {
            let is_known = status.log.error.is_none() && status.postgres.error.is_none();
            return Ok(Outcome::of(is_known));
        }
    }
}

pub(crate) fn health(global: &Global, args: &Health) -> Result<Outcome> {
    if let Some(address) = args.alive {
        return health_of(address, "/healthz");
    }
    if let Some(address) = args.ready {
        return health_of(address, "/readyz");
    }
    let context = Context::load(global)?;
    let of = (&*args.group.name, &args.target);
    let status = Status::gather(&context, &args.log, &args.postgres, of)?;
    let is_healthy = status.problems.is_empty();
    if args.output.json {
        print_json(&serde_json::json!({ "healthy": is_healthy, "problems": status.problems }))?;
    } else if is_healthy {
        print_result("healthy")?;
    } else {
        for problem in &status.problems {
            print_result(&format!("unhealthy: {}", shown_indented(problem)))?;
        }
        print_result(&format!("next: {}", status.next))?;
    }
    Ok(Outcome::of(is_healthy))
}

/// What the bekk at an address says of itself.
fn health_of(address: SocketAddr, path: &str) -> Result<Outcome> {
    let answer = http::ask(address, path)?;
    print_result(&answer.body)?;
    Ok(Outcome::of(answer.is_ok))
}

/// What is configured, whether or not anything has run.
fn config_lines(context: &Context) -> Vec<String> {
    let file = match &context.file {
        Some(file) => file.display().to_string(),
        None => "no bekk.toml here; this is the built-in sample stream".to_owned(),
    };
    let streams = context.config.streams.iter().map(|stream| {
        let shown = |pattern: &String| {
            shown_from(&context.base, Path::new(pattern))
                .display()
                .to_string()
        };
        let patterns: Vec<_> = stream.files.iter().map(shown).collect();
        format!(
            "  {}: {} into table {}",
            stream.name,
            patterns.join(", "),
            stream.table
        )
    });
    std::iter::once(format!("config     {file}"))
        .chain(streams)
        .collect()
}

fn lines(status: &Status) -> Vec<String> {
    let mut lines = log_lines(&status.log);
    lines.extend(file_lines(&status.files));
    lines.push(match (&status.postgres.server, &status.postgres.error) {
        (Some(server), Some(_)) if status.postgres.remedy.is_some() => {
            format!("postgres   {server}: cannot be read")
        }
        (_, Some(_)) => "postgres   unreachable".to_owned(),
        (Some(server), None) => format!("postgres   {server}"),
        (None, None) => "postgres   a private one, not made yet".to_owned(),
    });
    for group in &status.groups {
        let lag = group.lag.map_or_else(|| "?".to_owned(), grouped);
        let seconds = group
            .lag_seconds
            .map_or_else(String::new, |seconds| format!(", {seconds:.1} s"));
        let held = group.owner.as_ref().map_or("", |_| ", a sink runs");
        lines.push(format!(
            "group      {} {}/{}: next {}, lag {lag}{seconds}{held}",
            group.group,
            group.topic,
            group.partition,
            grouped(group.next)
        ));
    }
    for counts in &status.streams {
        let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), grouped);
        lines.push(format!(
            "stream     {} {}: {}, {} superseded, {}, {} waiting, unaccounted {}",
            counts.group,
            counts.stream,
            counted(counts.rows, "row"),
            grouped(counts.superseded),
            counted(counts.dead_letters, "dead letter"),
            number(counts.waiting),
            counts.unaccounted
        ));
    }
    for count in &status.dead_letters {
        lines.push(format!(
            "letters    {} {}: {} open, {}",
            count.group,
            count.stream,
            grouped(count.open),
            count.reason
        ));
    }
    for problem in &status.problems {
        lines.push(format!("problem    {problem}"));
    }
    lines.push(format!("next: {}", status.next));
    lines
}

fn log_lines(log: &LogStatus) -> Vec<String> {
    let state = match (log.exists, &log.error, log.owner_pid) {
        (false, ..) => "does not exist yet".to_owned(),
        (true, Some(_), _) => "unreachable".to_owned(),
        (true, None, Some(pid)) => format!("in use by process {pid}"),
        (true, None, None) if log.disk.is_none() => "answers".to_owned(),
        (true, None, None) => "not in use".to_owned(),
    };
    let mut lines = vec![format!("log        {}: {state}", log.place)];
    if let Some(disk) = log.disk.as_ref().filter(|_| log.exists) {
        lines.push(format!(
            "  disk: {} free, {} kept in reserve",
            bytes(disk.free_bytes),
            bytes(disk.reserve_bytes)
        ));
    }
    lines.extend(log.topics.iter().map(|topic| format!("  {topic}")));
    lines
}

fn file_lines(files: &Files) -> Vec<String> {
    let states = files.states.iter();
    let counts: Vec<_> = states
        .map(|(state, count)| format!("{} {state}", grouped(*count)))
        .collect();
    let counts = match counts.is_empty() {
        true => "none".to_owned(),
        false => counts.join(", "),
    };
    let running = if files.running {
        "; an ingest runs"
    } else {
        ""
    };
    let mut lines = vec![format!("files      {counts}{running}")];
    for file in &files.set_aside {
        let (path, reason) = (shown(&file.path), shown(&file.reason));
        lines.push(format!("set aside  {path}: {reason}"));
    }
    for notice in files.notices.iter().take(NOTICES_MAX) {
        lines.push(format!("noticed    {}: {}", notice.path, notice.text));
    }
    if let Some(more @ 1..) = files.notices.len().checked_sub(NOTICES_MAX) {
        lines.push(format!("noticed    {more} more: bekk ingest files"));
    }
    lines
}
