//! One file per command.

pub(crate) mod adopt;
pub(crate) mod audit;
pub(crate) mod check;
mod copy;
mod correction;
pub(crate) mod dead_letters;
pub(crate) mod diff;
mod edit;
pub(crate) mod files;
pub(crate) mod generate;
pub(crate) mod ingest;
pub(crate) mod init;
pub(crate) mod log;
pub(crate) mod matched;
mod moves;
mod named_files;
pub(crate) mod offsets;
pub(crate) mod psql;
pub(crate) mod read;
pub(crate) mod reference;
pub(crate) mod replay;
pub(crate) mod reread;
pub(crate) mod retry;
mod running;
mod salvage;
mod serve;
pub(crate) mod sink;
mod spreadsheet;
pub(crate) mod status;
mod summary;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod up;
mod verify;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bekk_stream::shown_lines;
use serde::Serialize;

use crate::screen::Screen;
use crate::signals::TimeLimit;

/// How a command ended, if it did not fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is done.
    Done,
    /// All is done but something was left or set aside, which was said.
    Incomplete,
    /// All is done, there were dead letters, and `--strict` was given.
    DeadLetters,
    /// Another program's exit code.
    Code(u8),
}

impl Outcome {
    /// This outcome, unless the time ran out first.
    fn within(self, limit: &TimeLimit, screen: &Screen) -> Self {
        if !limit.has_expired() {
            return self;
        }
        screen.say("the time limit (--timeout) ran out first; run it again, and it continues");
        Self::Incomplete
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Incomplete => Self::from(1),
            Outcome::DeadLetters => Self::from(3),
            Outcome::Code(code) => Self::from(code),
        }
    }
}

/// An argument that the command line's own check cannot refuse, such as a stream that is not configured.
#[derive(Debug)]
pub(crate) struct WrongUsage(pub(crate) String);

impl std::fmt::Display for WrongUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUsage {}

/// Returns a result whose error is a mistake of whoever typed or configured it, with [`WrongUsage`] for its text.
pub(crate) fn as_usage<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| WrongUsage(format!("{error:#}")).into())
}

/// Checks that `name`, an argument of `option`, is one of the `known` ones.
///
/// # Errors
/// [`WrongUsage`], which lists them.
pub(crate) fn check_name<'a>(
    option: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let known: BTreeSet<&str> = known.into_iter().collect();
    if known.contains(name) {
        return Ok(());
    }
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    let list = if known.is_empty() { "none" } else { &known };
    let text = format!("{option}: there is no `{name}`; known: {list}");
    Err(WrongUsage(text).into())
}

/// Writes a result to standard output.
fn print_result(text: &str) -> Result<()> {
    write_result(&shown_lines(text))
}

fn write_result(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("write the result")
}

/// Writes a result to standard output as JSON.
fn print_json(value: &impl Serialize) -> Result<()> {
    // As it is: JSON escapes in its own way.
    write_result(&serde_json::to_string_pretty(value).context("write the result as JSON")?)
}
