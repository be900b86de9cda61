//! `bekk dead-letters`: what was refused. `retry`, `edit`, `export` and `import` are beside this.

mod chosen;
mod correction;
mod edit;
mod retry;
mod spreadsheet;
mod text;

use anyhow::Result;
use bekk_sink::Letter;
use bekk_stream::{Stream, shown};
use serde::Serialize;

use self::chosen::{chosen, filter, read_one};
use super::{Outcome, print_json, print_result};
use crate::args::{DeadLetters, DeadLettersDiscard, DeadLettersList, DeadLettersShow, Global};
use crate::context::Context;
use crate::letters::{encoding_of, shown_place};
use crate::screen::{Screen, grouped};
use crate::table::{Column, table};

pub(crate) fn run(global: &Global, args: &DeadLetters, screen: &Screen) -> Result<Outcome> {
    let context = Context::load(global)?;
    match args {
        DeadLetters::List(args) => list(&context, args),
        DeadLetters::Show(args) => show(&context, args),
        DeadLetters::Retry(args) => retry::run(&context, args, screen),
        DeadLetters::Edit(args) => edit::run(&context, args, screen),
        DeadLetters::Export(args) => spreadsheet::export(&context, args, screen),
        DeadLetters::Import(args) => spreadsheet::import(&context, args, screen),
        DeadLetters::Discard(args) => discard(&context, args),
    }
}

/// A letter as programs get it.
#[derive(Serialize)]
struct Line<'a> {
    id: i64,
    group: &'a str,
    stream: &'a str,
    partition: u32,
    offset: u64,
    file: Option<&'a str>,
    line: Option<u64>,
    byte_offset: Option<u64>,
    reason: &'a str,
    column: Option<&'a str>,
    sqlstate: Option<&'a str>,
    detail: Option<&'a str>,
    raw: String,
    created_at: &'a str,
    resolved_at: Option<&'a str>,
    resolution: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn new(letter: &'a Letter, streams: &[Stream]) -> Self {
        Self {
            id: letter.id,
            group: &letter.group,
            stream: &letter.stream,
            partition: letter.partition,
            offset: letter.offset,
            file: letter.file.as_deref(),
            line: letter.line,
            byte_offset: letter.byte_offset,
            reason: &letter.reason,
            column: letter.column.as_deref(),
            sqlstate: letter.sqlstate.as_deref(),
            detail: letter.detail.as_deref(),
            raw: encoding_of(streams, letter).shown(&letter.raw),
            created_at: &letter.created_at,
            resolved_at: letter.resolved_at.as_deref(),
            resolution: letter.resolution.as_deref(),
        }
    }
}

fn list(context: &Context, args: &DeadLettersList) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let mut filter = filter(context, &database.options, &args.filter)?;
    filter.resolved = args.resolved;
    let mut letters = bekk_sink::read_letters(&database.options, &filter, 0, args.limit + 1)?;
    let is_cut = letters.len() > args.limit as usize;
    letters.truncate(args.limit as usize);
    let streams = context.streams();
    if args.output.json {
        let lines = letters.iter().map(|letter| Line::new(letter, &streams));
        print_json(&lines.collect::<Vec<_>>())?;
        return Ok(Outcome::Done);
    }
    if letters.is_empty() {
        print_result("no dead letters")?;
        return Ok(Outcome::Done);
    }
    let columns = [
        Column::Number("ID"),
        Column::Text("GROUP"),
        Column::Text("STREAM"),
        Column::Text("REASON"),
        Column::Text("COLUMN"),
        Column::Text("WHERE"),
    ];
    let cells = |letter: &Letter| {
        [
            letter.id.to_string(),
            letter.group.clone(),
            letter.stream.clone(),
            letter.reason.clone(),
            or_dash(letter.column.as_ref()),
            shown_place(letter),
        ]
    };
    let rows: Vec<_> = letters.iter().map(cells).collect();
    let mut lines = table(&columns, &rows).into_iter();
    print_result(&lines.next().unwrap_or_default())?;
    for (line, letter) in lines.zip(&letters) {
        print_result(&line)?;
        // On a line of its own: it is as long as it is.
        let detail = match &letter.resolution {
            Some(resolution) => format!("({resolution}) {}", shown_detail(letter)),
            None => shown_detail(letter),
        };
        print_result(&format!("    {}", shown(&detail)))?;
    }
    if is_cut {
        print_result(&format!(
            "… and more; --limit shows more than {}",
            args.limit
        ))?;
    }
    Ok(Outcome::Done)
}

fn or_dash(fact: Option<impl ToString>) -> String {
    fact.map_or_else(|| "-".to_owned(), |fact| fact.to_string())
}

fn shown_detail(letter: &Letter) -> String {
    letter.detail.clone().unwrap_or_default().replace('\n', " ")
}

fn show(context: &Context, args: &DeadLettersShow) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let letter = read_one(&database.options, args.id)?;
    let streams = context.streams();
    if args.output.json {
        print_json(&Line::new(&letter, &streams))?;
        return Ok(Outcome::Done);
    }
    let state = match (&letter.resolved_at, &letter.resolution) {
        (None, _) => "open".to_owned(),
        (Some(at), Some(resolution)) => format!("{resolution} at {at}"),
        (Some(at), None) => format!("resolved at {at}"),
    };
    let (line, byte) = (or_dash(letter.line), or_dash(letter.byte_offset));
    let facts = [
        ("state", state),
        (
            "met",
            format!("{} by group {}", letter.created_at, letter.group),
        ),
        ("stream", letter.stream.clone()),
        (
            "log",
            format!(
                "{}/{} offset {}",
                letter.topic, letter.partition, letter.offset
            ),
        ),
        ("file", or_dash(letter.file.as_ref())),
        ("line", format!("{line} (byte {byte})")),
        ("reason", letter.reason.clone()),
        ("column", or_dash(letter.column.as_ref())),
        ("sqlstate", or_dash(letter.sqlstate.as_ref())),
        ("detail", letter.detail.clone().unwrap_or_default()),
    ];
    print_result(&format!("dead letter {}", letter.id))?;
    for (name, fact) in facts {
        print_result(&format!("  {name:<9} {}", shown(&fact)))?;
    }
    print_result(&encoding_of(&streams, &letter).shown(&letter.raw))?;
    Ok(Outcome::Done)
}

fn discard(context: &Context, args: &DeadLettersDiscard) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let filter = chosen(context, &database.options, &args.which, &args.filter)?;
    let count = bekk_sink::discard_letters(&database.options, &filter)?;
    if args.output.json {
        print_json(&serde_json::json!({ "discarded": count }))?;
        return Ok(Outcome::Done);
    }
    print_result(&match count {
        0 => "0 discarded; no open dead letter was found, see: bekk dead-letters list --resolved"
            .to_owned(),
        count => format!(
            "{} discarded; bekk dead-letters list --resolved still shows them",
            grouped(count)
        ),
    })?;
    Ok(Outcome::Done)
}
