//! A configuration inferred from a CSV file: how it is written, what its columns hold, and which of them is a key.
//! The file is read by ingest's own reader, so that what is inferred here is accepted there.

mod column;
mod dialect;
mod footer;
mod key;
mod kinds;
mod marks;
mod records;
mod render;
mod row_width;
mod second_header;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bekk_ingest::sample;
use bekk_stream::{CsvDialect, Encoding, HeaderRow};

use column::Profile;
use dialect::Guess;
pub(crate) use dialect::Typed;
use key::{Key, Uniqueness};
use records::{RECORDS_MAX, Records, is_empty, named, read, see};
use second_header::SecondHeader;
pub(crate) use table::ExistingTable;

/// What was found out about a file.
struct Inferred {
    dialect: CsvDialect,
    columns: Vec<Profile>,
    key: Option<Key>,
    records: u64,
    /// Records with another number of fields than the header, or wrong quotes.
    uneven: u64,
    whole_file: bool,
    /// What is unsure about the file as a whole.
    remarks: Vec<String>,
}

/// The wanted stream: its name, its files, and the table that it fills, if that exists.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    /// The value of `files`.
    pub(crate) patterns: &'a [String],
    /// Its other files
    pub(crate) others: &'a [PathBuf],
    /// Whether the file holds standard input.
    pub(crate) is_piped: bool,
    pub(crate) table: Option<&'a ExistingTable>,
}

impl Wanted<'_> {
    fn table_name(&self) -> &str {
        self.table.map_or(self.name, |table| &table.name)
    }
}

/// The text of a configuration for a CSV file, with the guesses in comments.
///
/// # Errors
/// If the file cannot be read, is empty, or is no CSV.
pub(crate) fn config_text(path: &Path, wanted: &Wanted<'_>, typed: &Typed) -> Result<String> {
    let inferred = infer(path, wanted, typed)?;
    Ok(render::config(&inferred, wanted, path))
}

/// The text of a stream for a CSV file, to be added to a configuration.
///
/// # Errors
/// If the file cannot be read, is empty, or is no CSV.
pub(crate) fn stream_text(path: &Path, wanted: &Wanted<'_>, typed: &Typed) -> Result<String> {
    let inferred = infer(path, wanted, typed)?;
    Ok(render::stream(&inferred, wanted, path))
}

/// A name for a stream and its table, from a file's name: `Orders 2026-01.csv` becomes `orders`. If the file's name is only
/// a date, the directory gives the name: `sales/2026-01-31.csv` becomes `sales`.
pub(crate) fn stream_name(path: &Path) -> String {
    let file = name_from(path);
    let directory = || path.parent().and_then(name_from);
    let name = file.or_else(directory);
    name.unwrap_or_else(|| "rows".to_owned())
}

/// A name from the last part of a path; `None` if that has no letter.
fn name_from(path: &Path) -> Option<String> {
    let last = path.file_name()?.to_string_lossy().into_owned();
    let stem = last.split('.').next().unwrap_or_default();
    if !stem.contains(char::is_alphabetic) {
        return None;
    }
    // A topic's name is ASCII.
    let mut name = String::new();
    for c in column::sql_name(stem).chars() {
        match plain_letters(c) {
            Some(letters) => name.push_str(letters),
            None if c.is_ascii() => name.push(c),
            None => {}
        }
    }
    let trimmed = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// The ASCII letters for a small letter of a Western European language.
fn plain_letters(c: char) -> Option<&'static str> {
    Some(match c {
        'ä' | 'æ' => "ae",
        'ö' | 'œ' => "oe",
        'ü' => "ue",
        'ß' => "ss",
        'à' | 'á' | 'â' | 'ã' | 'å' => "a",
        'ç' => "c",
        'è' | 'é' | 'ê' | 'ë' => "e",
        'ì' | 'í' | 'î' | 'ï' => "i",
        'ñ' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ø' => "o",
        'ù' | 'ú' | 'û' => "u",
        _ => return None,
    })
}

fn infer(path: &Path, wanted: &Wanted<'_>, typed: &Typed) -> Result<Inferred> {
    let (mut guess, found) = read_as_guessed(path, typed)?;
    guess.remarks.extend(directories(wanted.patterns));
    let Records {
        first,
        mut columns,
        mut records,
        ..
    } = found;
    if columns.is_empty() {
        bail!(
            "`{}` has no record, only blank lines and comments; give a file with a header and some records",
            path.display()
        );
    }
    for other in wanted.others {
        records::see_also(other, &guess.dialect, &first, &mut columns)?;
    }
    let decimal_comma = columns.iter().any(Profile::needs_decimal_comma);
    if decimal_comma {
        guess.dialect.decimal = b',';
    }
    let is_semicolon = guess.dialect.delimiter == b';';
    column::settle(&mut columns, decimal_comma, is_semicolon);
    let is_named = matches!(guess.dialect.header, HeaderRow::Named(_));
    let header = match is_named {
        true => Header::Sure,
        false => has_header(&first, &columns, (decimal_comma, &found.recurring), typed),
    };
    guess.settle_preamble(header != Header::Absent);
    if !is_named {
        let second = found.second.as_ref();
        let remark = header_remark(header, path, (&first, second), &columns)?;
        guess.remarks.extend(remark.filter(|_| records > 0));
    }
    if header == Header::Absent {
        (columns, records) = without_header(&first, path, &mut guess, decimal_comma)?;
    } else if records == 0 {
        guess
            .remarks
            .push("there is no record after the first line, so the columns are text".to_owned());
    }
    guess.remarks.extend(empty_remark(found.empty));
    if let Some(table) = wanted.table {
        guess.remarks.extend(table::take_types(&mut columns, table));
    }
    let of_table = wanted
        .table
        .and_then(|table| table::primary_key(&columns, table));
    let key = match of_table {
        Some(places) => Some(Key::OfTable(places)),
        None => key::find(&columns, &found.unique, wanted.name),
    };
    // A delimiter at the end of each record makes a field, but no column.
    if columns.len() > 1
        && columns
            .last()
            .is_some_and(|last| last.header.starts_with('#') && last.is_all_empty())
    {
        columns.pop();
        guess.dialect.trailing_delimiter = true;
    }
    guess.remarks.extend(row_width::warning(&columns));
    Ok(Inferred {
        dialect: guess.dialect,
        columns,
        key,
        records,
        uneven: found.uneven,
        whole_file: found.whole_file,
        remarks: guess.remarks,
    })
}

/// A remark on a line that may be a second header, or on a header that may be a record.
fn header_remark(
    header: Header,
    path: &Path,
    (first, second): (&[String], Option<&SecondHeader>),
    columns: &[Profile],
) -> Result<Option<String>> {
    if header == Header::Absent {
        return Ok(None);
    }
    let head = bekk_ingest::head(path, dialect::HEAD_LEN)?;
    let remark = second.and_then(|second| second.remark(columns, &head.bytes));
    let unsure = || {
        format!(
            "the first line is taken as the header, although it looks like the other lines: {}; if it is a record: \
             --header false; if a later line has the names: --skip-lines with the number of lines before it",
            shown(first)
        )
    };
    Ok(remark.or_else(|| (header == Header::Unsure).then(unsure)))
}

/// A remark on records whose fields are all empty, if there are some.
fn empty_remark(records: u64) -> Option<String> {
    let have = match records {
        0 => return None,
        1 => "record has",
        _ => "records have",
    };
    Some(format!(
        "{records} {have} fields that are all empty, as spreadsheets write below a table; columns and key are guessed \
         without them, and where a column takes no null they are dead letters"
    ))
}

/// Guesses the dialect and reads the records; reads them again if they correct the guess.
fn read_as_guessed(path: &Path, typed: &Typed) -> Result<(Guess, Records)> {
    let mut guess = dialect::guess(path, typed)?;
    let mut found = read(path, &guess.dialect)?;
    if found.not_utf8 > 0 && guess.dialect.encoding == Encoding::Utf8 && typed.encoding.is_none() {
        let head = bekk_ingest::head(path, dialect::HEAD_LEN)?;
        guess.dialect.encoding = guess.not_utf8(&head.bytes);
        if guess.dialect.encoding != Encoding::Utf8 {
            found = read(path, &guess.dialect)?;
        }
    }
    if let Some(rule) = found.rule.take() {
        guess
            .remarks
            .push("the line of dashes below the header is skipped".to_owned());
        guess.dialect.footer.push(rule);
    }
    if let Some(texts) = found.footer.texts().filter(|_| found.whole_file) {
        guess.remarks.push(format!(
            "the last lines are not records, and are skipped: those that begin with {}",
            shown(&texts)
        ));
        guess.dialect.footer.extend(texts);
        found = read(path, &guess.dialect)?;
    } else if found.whole_file {
        guess.remarks.extend(found.footer.remark());
    }
    Ok((guess, found))
}

/// Whether a file begins with a header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    Sure,
    Unsure,
    Absent,
}

/// Whether the first record is a header: not if each of its fields is a value of its column, and some column is of a
/// type that names are not of, or if other records have the same field.
fn has_header(
    first: &[String],
    columns: &[Profile],
    (decimal_comma, recurring): (bool, &[u64]),
    typed: &Typed,
) -> Header {
    if let Some(has_header) = typed.header {
        return match has_header {
            true => Header::Sure,
            false => Header::Absent,
        };
    }
    let taken: Vec<bool> = first
        .iter()
        .zip(columns)
        .filter_map(|(text, column)| column.takes(text, decimal_comma))
        .collect();
    // Years side by side are names of columns more often than values.
    let years: Vec<u32> = first
        .iter()
        .filter_map(|text| text.parse().ok().filter(|year| (1900..2100).contains(year)))
        .collect();
    let is_timeline = years.len() > 1
        && years.len() == taken.len()
        && years.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    // A name is seldom a value of its own column.
    let is_value = |(text, count): (&String, &u64)| *count > 0 && !text.is_empty();
    let recurs = first.iter().zip(recurring).any(is_value);
    match () {
        () if is_timeline || taken.contains(&false) => Header::Sure,
        () if !taken.is_empty() || recurs => Header::Absent,
        () => Header::Unsure,
    }
}

/// Remarks on the values that a file's path holds, as in `dt=2025-01-01/a.csv`.
fn directories(patterns: &[String]) -> Vec<String> {
    let first = patterns.first().map_or("", String::as_str);
    let parts: Vec<&str> = first.split('/').collect();
    let above = parts.split_last().map_or(&[][..], |(_, above)| above);
    let values = above.iter().filter_map(|part| part.split_once('='));
    let remark = |(name, value): (&str, &str)| {
        let column_type = match value {
            _ if value.parse::<i64>().is_ok() && !value.starts_with('0') => "int8",
            _ if value.parse::<jiff::civil::Date>().is_ok() => "date",
            _ => "text",
        };
        let column = column::sql_name(name);
        format!(
            "the directory `{name}={value}` is not a column yet; to add it: \
             {{ name = \"{column}\", type = \"{column_type}\", nullable = true, source = \"directory:{name}\" }}"
        )
    };
    let plain = |(name, value): &(&str, &str)| {
        !name.is_empty() && !name.contains(['"', '\\']) && !value.contains(char::is_control)
    };
    values.filter(plain).map(remark).collect()
}

/// Some texts of a file, for a person: the first few.
fn shown(texts: &[String]) -> String {
    const SHOWN_MAX: usize = 4;
    let shown = texts.iter().take(SHOWN_MAX).map(|text| {
        let text: String = text.chars().take(40).collect();
        format!("`{}`", text.escape_debug())
    });
    let more = if texts.len() > SHOWN_MAX { ", …" } else { "" };
    shown.collect::<Vec<_>>().join(", ") + more
}

/// The columns of a file without a header, by their places, and the number of records that they were found in.
fn without_header(
    first: &[String],
    path: &Path,
    guess: &mut Guess,
    decimal_comma: bool,
) -> Result<(Vec<Profile>, u64)> {
    let mut columns = Vec::new();
    let names = guess
        .names
        .take()
        .filter(|names| names.len() == first.len());
    match &names {
        Some(names) => {
            guess.remarks.push(
                "the file seems to have no header; the columns' names come from its last comment"
                    .to_owned(),
            );
            guess.dialect.header = HeaderRow::Named(names.clone());
            columns = named(names);
        }
        None => {
            guess.dialect.header = HeaderRow::Absent;
            guess.remarks.push(
                "the file seems to have no header: its first line has values like the others; give the columns names"
                    .to_owned(),
            );
            for at in 0..first.len() {
                columns.push(Profile::new("", Some(at + 1), &columns));
            }
        }
    }
    let mut unique = Uniqueness::of(&columns);
    let mut records = 0;
    sample(path, &guess.dialect, |record| {
        records += 1;
        if !record.is_bad() && record.width() == columns.len() && !is_empty(record) {
            see(&mut columns, &mut unique, record);
        }
        records < RECORDS_MAX
    })?;
    let is_semicolon = guess.dialect.delimiter == b';';
    column::settle(&mut columns, decimal_comma, is_semicolon);
    for column in &mut columns {
        if names.is_none() {
            // The columns are the fields, in their order.
            column.header.clone_from(&column.name);
        }
    }
    Ok((columns, records))
}

#[cfg(test)]
mod tests;
