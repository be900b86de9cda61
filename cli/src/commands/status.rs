//! `bekk status` and `bekk health`: where everything is, and whether it is well.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Outcome, print_json, print_result};
use crate::args::{Global, Health, StatusArgs};
use crate::context::Context;
use crate::screen::grouped;
use crate::signals;
use crate::status::Status;

/// How often `--watch` looks.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Clears a terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(crate) fn run(global: &Global, args: &StatusArgs) -> Result<Outcome> {
    let context = Context::load(global)?;
    let stop = signals::stop_flag().context("listen for signals")?;
    loop {
        let status = Status::gather(&context, &args.log, &args.postgres)?;
        if args.json {
            print_json(&status)?;
        } else {
            let clear = if args.watch && stdout().is_terminal() {
                CLEAR
            } else {
                ""
            };
            print_result(&format!("{clear}{}", text(&status)))?;
        }
        let mut waited = Duration::ZERO;
        while args.watch && waited < WATCH_EVERY && !signals::is_set(&stop) {
            std::thread::sleep(Duration::from_millis(100));
            waited += Duration::from_millis(100);
        }
        if !args.watch || signals::is_set(&stop) {
            return Ok(Outcome::Done);
        }
    }
}

pub(crate) fn health(global: &Global, args: &Health) -> Result<Outcome> {
    let context = Context::load(global)?;
    let status = Status::gather(&context, &args.log, &args.postgres)?;
    if status.problems.is_empty() {
        print_result("healthy")?;
        return Ok(Outcome::Done);
    }
    for problem in &status.problems {
        print_result(&format!("unhealthy: {problem}"))?;
    }
    Ok(Outcome::Incomplete)
}

fn text(status: &Status) -> String {
    let mut lines = vec![log_line(status)];
    for topic in &status.log.topics {
        lines.push(format!("  {topic}"));
    }
    if let Some(files) = &status.files {
        let (met, finished) = (grouped(files.met), grouped(files.finished));
        lines.push(format!("files      {met} met, {finished} finished"));
    }
    lines.push(match (&status.postgres.server, &status.postgres.error) {
        (_, Some(_)) => "postgres   away".to_owned(),
        (Some(server), None) => format!("postgres   {server}"),
        (None, None) => "postgres   not asked".to_owned(),
    });
    for group in &status.groups {
        let lag = group.lag.map_or_else(|| "?".to_owned(), grouped);
        let seconds = group
            .lag_seconds
            .map_or_else(String::new, |seconds| format!(", {seconds:.1} s"));
        let held = if group.owner.is_some() {
            ", a sink runs"
        } else {
            ""
        };
        lines.push(format!(
            "group      {} {}/{}: next {}, lag {lag}{seconds}{held}",
            group.group,
            group.topic,
            group.partition,
            grouped(group.next)
        ));
    }
    for count in &status.dead_letters {
        lines.push(format!(
            "refused    {} {}: {} {}",
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
    lines.join("\n")
}

fn log_line(status: &Status) -> String {
    let log = &status.log;
    let state = match (log.exists, log.in_use, log.in_use_by_pid) {
        (false, ..) => "does not exist yet".to_owned(),
        (true, true, Some(pid)) => {
            format!("in use by another bekk (pid {pid}), which knows its content")
        }
        (true, true, None) => "in use by another bekk, which knows its content".to_owned(),
        (true, false, _) => "not in use".to_owned(),
    };
    format!("log        {}: {state}", log.dir)
}
