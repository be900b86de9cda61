//! A configuration inferred from a CSV file: how it is written, what its columns hold, and which of them is a key.
//! The file is read by ingest's own reader, so that what is inferred here is accepted there.

mod column;
mod dialect;
mod footer;
mod key;
mod kinds;
mod marks;
mod render;
mod row_width;
mod table;

use std::path::Path;

use anyhow::{Context, Result, bail};
use bekk_ingest::sample;
use bekk_stream::{CsvDialect, Encoding, HeaderRow};

use column::Profile;
use dialect::Guess;
pub(crate) use dialect::Typed;
use footer::Footer;
use key::{Key, Uniqueness};
pub(crate) use table::ExistingTable;

/// The most columns that a table of PostgreSQL has.
const COLUMNS_MAX: usize = 1600;
/// How many records are looked at; more would take long and seldom say more.
const RECORDS_MAX: u64 = 1_000_000;

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
    /// Whether the file holds standard input.
    pub(crate) is_piped: bool,
    pub(crate) table: Option<&'a ExistingTable>,
}

impl Wanted<'_> {
    /// The table's name.
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
    let name: String = column::sql_name(stem)
        .chars()
        .filter(char::is_ascii)
        .collect();
    let trimmed = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// What the records of a file say.
struct Records {
    /// The first record's fields: a header, or values.
    first: Vec<String>,
    columns: Vec<Profile>,
    unique: Uniqueness,
    records: u64,
    uneven: u64,
    /// Records with several fields, all of them empty.
    empty: u64,
    not_utf8: u64,
    whole_file: bool,
    footer: Footer,
    /// The beginning of a line of dashes below the header.
    rule: Option<String>,
    /// How many records have the first one's field, by column.
    recurring: Vec<u64>,
}

impl Records {
    fn none() -> Self {
        Self {
            first: Vec::new(),
            columns: Vec::new(),
            unique: Uniqueness::of(&[]),
            records: 0,
            uneven: 0,
            empty: 0,
            not_utf8: 0,
            whole_file: true,
            footer: Footer::default(),
            rule: None,
            recurring: Vec::new(),
        }
    }
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
    let decimal_comma = columns.iter().any(Profile::needs_decimal_comma);
    if decimal_comma {
        guess.dialect.decimal = b',';
    }
    for column in &mut columns {
        column.settle(decimal_comma);
    }
    let is_named = matches!(guess.dialect.header, HeaderRow::Named(_));
    let header = match is_named {
        true => Header::Sure,
        false => has_header(&first, &columns, (decimal_comma, &found.recurring), typed),
    };
    guess.settle_preamble(header != Header::Absent);
    if header == Header::Unsure && records > 0 {
        guess.remarks.push(format!(
            "the first line is taken as the header, although it looks like the other lines: {}; if it is a record: \
             --header false",
            shown(&first)
        ));
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
        let head = bekk_ingest::head(path, dialect::HEAD_LEN)
            .with_context(|| format!("read `{}`", path.display()))?;
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
    }
    Ok((guess, found))
}

/// Reads the records, the first one as the header.
fn read(path: &Path, dialect: &CsvDialect) -> Result<Records> {
    let mut found = Records::none();
    if let HeaderRow::Named(names) = &dialect.header {
        found.first.clone_from(names);
        found.columns = named(names);
        found.recurring = vec![0; names.len()];
        found.unique = Uniqueness::of(&found.columns);
    }
    let text = |field: Option<(&[u8], bool)>| {
        String::from_utf8_lossy(field.map_or(&[][..], |(text, _)| text)).into_owned()
    };
    let mut width_max = 0;
    sample(path, dialect, |record| {
        if found.columns.is_empty() {
            width_max = record.width();
            if width_max > COLUMNS_MAX {
                return false;
            }
            found.first = (0..record.width())
                .map(|at| text(record.field(at)))
                .collect();
            found.columns = named(&found.first);
            found.recurring = vec![0; found.columns.len()];
            found.unique = Uniqueness::of(&found.columns);
            return true;
        }
        if is_first_again(record, &found.first) {
            // Ingest passes over a header that comes again, as `cat` leaves it.
            return true;
        }
        if found.records == 0 && found.rule.is_none() {
            found.rule = footer::rule(record, dialect);
            if found.rule.is_some() {
                return true;
            }
        }
        found.records += 1;
        let is_alone = record.width() == 1 && found.columns.len() > 1;
        found.footer.see(record, is_alone, dialect);
        for (at, recurring) in found.recurring.iter_mut().enumerate().take(record.width()) {
            let is_first = |(text, _): (&[u8], bool)| text == found.first[at].as_bytes();
            *recurring += u64::from(record.field(at).is_some_and(is_first));
        }
        let width = record.width();
        let is_surplus = dialect.trailing_delimiter && width == found.columns.len() + 1;
        if record.is_bad() || (width != found.columns.len() && !is_surplus) {
            found.uneven += 1;
        } else if is_empty(record) {
            found.empty += 1;
        } else {
            found.not_utf8 += see(&mut found.columns, &mut found.unique, record);
        }
        found.whole_file = found.records < RECORDS_MAX;
        found.whole_file
    })
    .with_context(|| format!("read `{}`", path.display()))?;
    if width_max > COLUMNS_MAX {
        bail!(
            "the first line of `{}` has {width_max} fields, and a table has at most {COLUMNS_MAX} columns; if they are not columns, name the columns' separator: --delimiter",
            path.display()
        );
    }
    Ok(found)
}

/// Whether a record is the header again; numbers that come again are values.
fn is_first_again(record: &bekk_ingest::Sampled<'_>, first: &[String]) -> bool {
    let mark = b"\xef\xbb\xbf";
    let is_same = |at: usize| {
        let (text, _) = record.field(at).unwrap_or((b"", false));
        let name = first[at].as_bytes();
        text.strip_prefix(mark).unwrap_or(text) == name.strip_prefix(mark).unwrap_or(name)
    };
    record.width() == first.len()
        && (0..record.width()).all(is_same)
        && !first.iter().any(|name| name.parse::<f64>().is_ok())
}

/// Whether a record has several fields, all of them empty.
fn is_empty(record: &bekk_ingest::Sampled<'_>) -> bool {
    record.width() > 1
        && (0..record.width()).all(|at| record.field(at).is_some_and(|(text, _)| text.is_empty()))
}

/// Takes note of a record's fields; how many of them are not UTF-8.
fn see(columns: &mut [Profile], unique: &mut Uniqueness, record: &bekk_ingest::Sampled<'_>) -> u64 {
    let mut not_utf8 = 0;
    for (at, column) in columns.iter_mut().enumerate() {
        let (text, quoted) = record.field(at).unwrap_or((b"?", false));
        not_utf8 += u64::from(std::str::from_utf8(text).is_err());
        column.see(text, quoted);
    }
    unique.see(|at| record.field(at).map_or(&[][..], |(text, _)| text));
    not_utf8
}

/// The columns that a header names; one without a name of its own is known by its place.
fn named(header: &[String]) -> Vec<Profile> {
    let mut columns = Vec::new();
    for (at, name) in header.iter().enumerate() {
        let name = name.strip_prefix('\u{feff}').unwrap_or(name);
        let is_own = !name.is_empty() && header.iter().filter(|other| *other == name).count() == 1;
        columns.push(Profile::new(name, (!is_own).then_some(at + 1), &columns));
    }
    columns
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
    })
    .with_context(|| format!("read `{}`", path.display()))?;
    for column in &mut columns {
        column.settle(decimal_comma);
        if names.is_none() {
            // The columns are the fields, in their order.
            column.header.clone_from(&column.name);
        }
    }
    Ok((columns, records))
}

#[cfg(test)]
mod tests;
