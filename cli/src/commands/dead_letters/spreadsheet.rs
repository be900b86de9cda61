//! `bekk dead-letters export` and `import`: dead letters as a CSV file that a person corrects in a spreadsheet.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bekk_sink::{ConnectOptions, Letter, LetterFilter};
use bekk_stream::Encoding;
use serde::Serialize;

use super::chosen::filter;
use super::correction::{check_text, with_own_line_ends};
use super::text::{for_person, from_person};
use crate::args::{DeadLettersExport, DeadLettersImport};
use crate::commands::{Outcome, print_json, print_result};
use crate::context::Context;
use crate::letters::{PAGE, check_letter, encoding_of, for_each_page};
use crate::retrier::{Retrier, Tally, tell};
use crate::screen::{Screen, counted, grouped};

/// Number of problems of a file that are named.
const PROBLEMS_NAMED_MAX: usize = 20;
/// Number of characters that a cell of Excel holds.
const EXCEL_CELL_MAX: usize = 32_767;

pub(super) fn export(
    context: &Context,
    args: &DeadLettersExport,
    screen: &Screen,
) -> Result<Outcome> {
    let database = context.database(&args.postgres)?;
    let filter = filter(context, &database.options, &args.filter)?;
    let to_stdout = args.csv == Path::new("-");
    let out: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout())
    } else {
        let file = bekk_ingest::create_file(&args.csv);
        Box::new(file.with_context(|| format!("write `{}`", args.csv.display()))?)
    };
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record([
        "id", "group", "stream", "file", "line", "reason", "column", "sqlstate", "detail", "met",
        "raw",
    ])?;
    let mut count = 0u64;
    let streams = context.streams();
    for_each_page(&database.options, &filter, |letters| {
        for letter in letters {
            let letter = for_person(encoding_of(&streams, letter), letter.clone());
            writer.write_record(cells(&letter).map(no_formula))?;
            count += 1;
        }
        Ok(())
    })?;
    writer.flush().context("write the dead letters")?;
    if !to_stdout {
        screen.say(&format!(
            "wrote {} to {}",
            counted(count, "dead letter"),
            args.csv.display()
        ));
    }
    Ok(Outcome::Done)
}

fn cells(letter: &Letter) -> [Vec<u8>; 11] {
    let line = letter.line.map(|line| line.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    [
        letter.id.to_string().into_bytes(),
        letter.group.clone().into_bytes(),
        letter.stream.clone().into_bytes(),
        text(&letter.file),
        text(&line),
        letter.reason.clone().into_bytes(),
        text(&letter.column),
        text(&letter.sqlstate),
        text(&letter.detail),
        letter.created_at.clone().into_bytes(),
        letter.raw.clone(),
    ]
}

/// A cell that a spreadsheet shows and does not compute: what would begin a formula gets a `'` in front (OWASP, CSV
/// injection). A number stays as it is.
fn no_formula(mut cell: Vec<u8>) -> Vec<u8> {
    const BEGINNINGS: [&str; 11] = [
        "=", "+", "-", "@", "\t", "\r", "\n", "\u{ff1d}", "\u{ff0b}", "\u{ff0d}", "\u{ff20}",
    ];
    let is_number = std::str::from_utf8(&cell).is_ok_and(|text| text.parse::<f64>().is_ok());
    let begins = |text: &&str| cell.starts_with(text.as_bytes());
    if !is_number && BEGINNINGS.iter().any(begins) {
        cell.insert(0, b'\'');
    }
    cell
}

/// A letter's text as its cell of an exported file has it now. Whether a `'` in front is the export's is decided by
/// the letter's own text, so that no `'` of a record is lost.
fn text_of_cell(letter: &Letter, mut cell: Vec<u8>) -> Vec<u8> {
    let was_quoted = no_formula(letter.raw.clone()) != letter.raw;
    if was_quoted && cell.first() == Some(&b'\'') {
        cell.remove(0);
    }
    with_own_line_ends(letter, cell)
}

/// What became of the letters of a file.
#[derive(Serialize)]
struct Imported<'a> {
    #[serde(flatten)]
    tally: &'a Tally,
    /// Letters whose text is the same as in the database, and that stay open.
    unchanged: u64,
    /// Letters that are resolved with the text of the file, as by an earlier import of it.
    already_resolved: u64,
}

pub(super) fn import(
    context: &Context,
    args: &DeadLettersImport,
    screen: &Screen,
) -> Result<Outcome> {
    let (name, database) = (args.csv.display(), context.database(&args.with.postgres)?);
    let texts = read_texts(&args.csv)?;
    let plan = plan(context, &database.options, texts)?;
    if !plan.problems.is_empty() {
        for problem in plan.problems.iter().take(PROBLEMS_NAMED_MAX) {
            screen.say(problem);
        }
        let count = plan.problems.len() as u64;
        let more = match count.saturating_sub(PROBLEMS_NAMED_MAX as u64) {
            0 => String::new(),
            more => format!(" ({} more are not shown)", grouped(more)),
        };
        bail!(
            "`{name}` has {}{more}, and nothing was changed; correct or remove these lines, and import it again",
            counted(count, "problem"),
        );
    }
    let log = context.open_log(&args.with.log)?;
    let header = args.with.header.as_deref();
    let retrier = Retrier::new(context, &database.options, &log, header)?;
    let mut tally = Tally::default();
    for letters in plan.corrected.chunks(PAGE as usize) {
        let retried = retrier.retry(letters, &mut tally, &mut |letter, retried| {
            tell(letter, retried, screen);
        });
        retried.with_context(|| {
            format!("retry the rest of `{name}` ({tally}); import it again, and it continues")
        })?;
    }
    log.close()?;
    if args.with.output.json {
        print_json(&Imported {
            tally: &tally,
            unchanged: plan.unchanged,
            already_resolved: plan.already_resolved,
        })?;
    } else {
        let (same, closed) = (grouped(plan.unchanged), grouped(plan.already_resolved));
        print_result(&format!(
            "{tally}, {same} unchanged, {closed} resolved before"
        ))?;
    }
    Ok(match plan.unchanged {
        0 => tally.outcome(),
        _ => Outcome::Incomplete,
    })
}

/// A letter's text in a file, and the line of it.
struct Cell {
    text: Vec<u8>,
    line: u64,
}

/// Reads the columns `id` and `raw` of an exported file.
fn read_texts(path: &Path) -> Result<BTreeMap<i64, Cell>> {
    let name = path.display();
    let bytes = std::fs::read(path).with_context(|| format!("read `{name}`"))?;
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let end = text.iter().position(|&byte| byte == b'\n');
    let first = &text[..end.unwrap_or(text.len())];
    let count = |separator: u8| first.iter().filter(|&&byte| byte == separator).count();
    let separator = *b",;\t"
        .iter()
        .max_by_key(|&&separator| count(separator))
        .unwrap_or(&b',');
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .from_reader(text);
    let header = reader
        .byte_headers()
        .with_context(|| format!("read `{name}`"))?
        .clone();
    let column = |wanted: &str| {
        let at = header
            .iter()
            .position(|field| field.trim_ascii() == wanted.as_bytes());
        at.with_context(|| {
            format!(
                "`{name}` has no column `{wanted}`: it must be what `bekk dead-letters export --csv` wrote, saved as CSV \
                 (UTF-8)"
            )
        })
    };
    let (id_at, raw_at) = (column("id")?, column("raw")?);
    let mut texts = BTreeMap::new();
    for record in reader.byte_records() {
        let record = record.with_context(|| format!("read `{name}`"))?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.iter().all(<[u8]>::is_empty) {
            continue;
        }
        let id = record
            .get(id_at)
            .and_then(|id| std::str::from_utf8(id).ok());
        let id = id.and_then(|id| id.trim().parse::<i64>().ok());
        let id = id.with_context(|| {
            format!("`{name}`, line {line}: column `id` is not a number; nothing was changed")
        })?;
        let raw = record.get(raw_at);
        let text = raw.with_context(|| {
            format!("`{name}`, line {line} has no field `raw`; nothing was changed")
        })?;
        let text = text.to_vec();
        if let Some(Cell { line: before, .. }) = texts.insert(id, Cell { text, line }) {
            bail!(
                "`{name}`: lines {before} and {line} both have id {id}; remove one (nothing was changed)"
            );
        }
    }
    Ok(texts)
}

/// What an import does, decided before it does anything.
#[derive(Default)]
struct Plan {
    /// Open letters, each with its text of the file.
    corrected: Vec<Letter>,
    unchanged: u64,
    already_resolved: u64,
    problems: Vec<String>,
}

fn plan(
    context: &Context,
    postgres: &ConnectOptions,
    mut texts: BTreeMap<i64, Cell>,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let streams = context.streams();
    let ids: Vec<i64> = texts.keys().copied().collect();
    for ids in ids.chunks(PAGE as usize) {
        let filter = LetterFilter {
            ids: Some(ids.to_vec()),
            resolved: true,
            ..LetterFilter::default()
        };
        for letter in bekk_sink::read_letters(postgres, &filter, 0, PAGE)? {
            if let Some(cell) = texts.remove(&letter.id) {
                let encoding = encoding_of(&streams, &letter);
                plan.add(for_person(encoding, letter), cell, encoding);
            }
        }
    }
    for (id, Cell { line, .. }) in texts {
        plan.problems.push(format!(
            "line {line}: there is no dead letter {id} in this database"
        ));
    }
    Ok(plan)
}

impl Plan {
    /// Adds a letter whose text is for a person, as that of the cell is.
    fn add(&mut self, letter: Letter, cell: Cell, encoding: Encoding) {
        let is_resolved = letter.resolved_at.is_some();
        // The text that landed need not be one that the export puts a `'` in front of.
        let without_quote = cell.text.strip_prefix(b"'").unwrap_or(&cell.text);
        let has_landed = is_resolved && without_quote == letter.raw;
        let text = text_of_cell(&letter, cell.text);
        if text == letter.raw || has_landed {
            match is_resolved {
                true => self.already_resolved += 1,
                false => self.unchanged += 1,
            }
            return;
        }
        let cut = std::str::from_utf8(&text)
            .is_ok_and(|text| text.chars().count() == EXCEL_CELL_MAX)
            && letter.raw.starts_with(&text);
        let checked = match cut {
            true => Err(format!(
                "the text of dead letter {} was cut to {EXCEL_CELL_MAX} characters, which is all that a cell of Excel \
                 holds; correct it with: bekk dead-letters edit {}",
                letter.id, letter.id
            )),
            false => check_letter(&letter).and_then(|()| check_text(&letter, &text)),
        };
        let corrected = Letter {
            raw: text,
            ..letter
        };
        match checked.and_then(|()| from_person(encoding, corrected)) {
            Ok(letter) => self.corrected.push(letter),
            Err(why) => self.problems.push(format!("line {}: {why}", cell.line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::no_formula;

    #[test]
    fn no_cell_is_a_formula() {
        let check = |cell: &str, expected: &str| {
            assert_eq!(no_formula(cell.into()), expected.as_bytes(), "{cell}");
        };
        check("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0");
        check("@SUM(1)", "'@SUM(1)");
        check("-1+2", "'-1+2");
        check("\n=1+1", "'\n=1+1");
        check("\u{ff1d}1+1", "'\u{ff1d}1+1");
        check("-1.5", "-1.5");
        check("plain", "plain");
        check("", "");
    }
}
