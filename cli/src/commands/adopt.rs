//! `bekk adopt`: the tables as they are are those that the group has filled.

use anyhow::Result;
use serde::Serialize;

use super::{Outcome, print_json, print_result};
use crate::args::{Global, OffsetsAdopt};
use crate::context::Context;
use crate::outcome::check_name;
use crate::screen::{Screen, counted};

/// What was adopted, for programs.
#[derive(Serialize)]
struct Line {
    stream: String,
    table: String,
    /// What differed from the table before.
    differed: Option<String>,
    rows_about: Option<u64>,
    records_applied: u64,
    /// Rows of applied records that the table lacks; known where the stream has no key.
    rows_lacking: u64,
}

pub(crate) fn run(global: &Global, args: &OffsetsAdopt, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    in_context(&context, args, screen)
}

pub(super) fn in_context(
    context: &Context,
    args: &OffsetsAdopt,
    screen: &Screen,
) -> Result<Outcome> {
    let streams = context.streams_of(&args.stream)?;
    let database = context.database(&args.postgres)?;
    screen.say_part(&format!("postgres   {}", database.description));
    let group = &args.group.name;
    let offsets = bekk_sink::list_offsets(&database.options)?;
    check_name("--group", group, offsets.iter().map(|of| of.group.as_str()))?;
    let adopted = bekk_sink::adopt(&database.options, group, &streams)?;
    if args.output.json {
        let lines = adopted.into_iter().map(|line| Line {
            stream: line.stream,
            table: line.table,
            differed: line.what,
            rows_about: line.rows,
            records_applied: line.placed,
            rows_lacking: line.lacking.map_or(0, |(rows, _)| rows),
        });
        print_json(&lines.collect::<Vec<_>>())?;
        return Ok(Outcome::Done);
    }
    for line in adopted {
        let rows = line.rows.map_or_else(
            || "PostgreSQL has no estimate of its rows yet".to_owned(),
            |rows| format!("it has about {}", counted(rows, "row")),
        );
        print_result(&format!(
            "{}: table `{}` is group `{group}`'s from now on; {rows}, and the group has applied {}",
            line.stream,
            line.table,
            counted(line.placed, "record")
        ))?;
        if let Some((rows, advice)) = line.lacking {
            let what = format!("the table lacks {}", counted(rows, "row"));
            print_result(&format!("{}: {what}; {advice}", line.stream))?;
        }
    }
    Ok(Outcome::Done)
}
