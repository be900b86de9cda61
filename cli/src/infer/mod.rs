//! A configuration inferred from a CSV file: what its columns hold, and which of them is a key.

mod column;
mod dialect;
mod key;
mod render;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use csv::{ByteRecord, Reader, ReaderBuilder};

use column::Profile;
use dialect::Dialect;

/// How many records are looked at; more would take long and seldom say more.
const RECORDS_MAX: u64 = 1_000_000;
/// How much of the file the delimiter is guessed from, in bytes.
const HEAD_LEN: u64 = 64 * 1024;

/// What was found out about a file.
struct Inferred {
    dialect: Dialect,
    columns: Vec<Profile>,
    /// Indexes of the columns that identify a record.
    key: Vec<usize>,
    records: u64,
    /// Records with another number of fields than the header.
    uneven: u64,
    whole_file: bool,
}

/// The text of a configuration for a CSV file, with the guesses in comments. `name` is the stream's and
/// table's name, `pattern` what stands under `files`.
///
/// # Errors
/// If the file cannot be read, is empty or has no header.
pub(crate) fn config_text(path: &Path, name: &str, pattern: &str) -> Result<String> {
    let inferred = infer(path)?;
    Ok(render::config(&inferred, name, pattern, path))
}

/// A name for a stream and its table, from a file's name: `Orders 2026-01.csv` becomes `orders`.
pub(crate) fn stream_name(path: &Path) -> String {
    let file = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let stem = file.split('.').next().unwrap_or_default();
    // A topic's name is ASCII.
    let name: String = column::sql_name(stem)
        .chars()
        .filter(char::is_ascii)
        .collect();
    let trimmed = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    if trimmed.is_empty() {
        "rows".to_owned()
    } else {
        trimmed.to_owned()
    }
}

fn infer(path: &Path) -> Result<Inferred> {
    let mut head = Vec::new();
    let file = File::open(path).with_context(|| format!("open `{}`", path.display()))?;
    file.take(HEAD_LEN)
        .read_to_end(&mut head)
        .with_context(|| format!("read `{}`", path.display()))?;
    if head.is_empty() {
        bail!(
            "`{}` is empty; give a file with a header and some records",
            path.display()
        );
    }
    let mut dialect = dialect::guess(&head);
    let (mut columns, records, uneven, whole_file) = profile(path, &dialect)?;
    dialect.decimal_comma = columns.iter().any(Profile::needs_decimal_comma);
    for column in &mut columns {
        column.settle(dialect.decimal_comma);
    }
    let key = key::find(path, &dialect, &columns, RECORDS_MAX)?;
    Ok(Inferred {
        dialect,
        columns,
        key,
        records,
        uneven,
        whole_file,
    })
}

fn open(path: &Path, dialect: &Dialect) -> Result<Reader<File>> {
    ReaderBuilder::new()
        .delimiter(dialect.delimiter)
        .flexible(true)
        .from_path(path)
        .with_context(|| format!("open `{}`", path.display()))
}

fn profile(path: &Path, dialect: &Dialect) -> Result<(Vec<Profile>, u64, u64, bool)> {
    let mut reader = open(path, dialect)?;
    let headers = reader
        .byte_headers()
        .with_context(|| format!("read the header of `{}`", path.display()))?;
    let mut columns = Vec::new();
    for header in headers {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let Ok(header) = std::str::from_utf8(header) else {
            bail!(
                "the header of `{}` is not UTF-8; convert the file or set csv.encoding by hand",
                path.display()
            );
        };
        if header.is_empty()
            || columns
                .iter()
                .any(|column: &Profile| column.header == header)
        {
            bail!(
                "the header of `{}` has an empty or repeated name `{header}`",
                path.display()
            );
        }
        columns.push(Profile::new(header, &columns));
    }
    let (mut records, mut uneven) = (0, 0);
    let mut record = ByteRecord::new();
    while records < RECORDS_MAX {
        let more = reader
            .read_byte_record(&mut record)
            .with_context(|| format!("read `{}`", path.display()))?;
        if !more {
            return Ok((columns, records, uneven, true));
        }
        records += 1;
        if record.len() != columns.len() {
            uneven += 1;
            continue;
        }
        for (column, field) in columns.iter_mut().zip(&record) {
            column.see(field);
        }
    }
    Ok((columns, records, uneven, false))
}

#[cfg(test)]
mod tests;
