//! One file per command, or a folder; and the parts that several commands share.

pub(crate) mod adopt;
pub(crate) mod audit;
mod backup;
pub(crate) mod check;
mod copy;
pub(crate) mod dead_letters;
pub(crate) mod diff;
pub(crate) mod files;
pub(crate) mod generate;
pub(crate) mod ingest;
pub(crate) mod init;
mod live;
pub(crate) mod log;
pub(crate) mod matched;
mod moves;
mod named_files;
mod new_stream;
pub(crate) mod offsets;
pub(crate) mod psql;
pub(crate) mod read;
pub(crate) mod reference;
pub(crate) mod replay;
pub(crate) mod reread;
mod running;
mod salvage;
mod serve;
mod served;
pub(crate) mod sink;
pub(crate) mod status;
mod summary;
pub(crate) mod top;
pub(crate) mod trace;
pub(crate) mod up;
mod verify;

use std::io::Write;

use anyhow::{Context, Result};
use bekk_stream::shown_lines;
use serde::Serialize;

use crate::outcome::{Outcome, WrongUsage, check_name};

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
