//! Blanks around fields, and the escapes in dumps of databases.

use std::path::Path;

use anyhow::Result;
use bekk_ingest::{Sampled, sample};
use bekk_stream::CsvDialect;

use super::tried::{RECORDS_MAX, tried};
use super::{Guess, Typed};

/// Fields of a column, in numbers
#[derive(Clone, Copy, Default)]
struct Padded {
    /// Fields with blanks around a number or a date
    numbers: usize,
    /// Fields that are neither empty, nor a number or a date
    others: usize,
}

impl Guess {
    /// Removes the blanks around fields if they make texts of numbers or dates, or if each field begins with one.
    pub(super) fn padding(&mut self, path: &Path, typed: &Typed) -> Result<()> {
        let is_blank = |byte: u8| matches!(byte, b' ' | b'\t');
        let delimiter = self.dialect.delimiter.as_bytes();
        if typed.trim.is_some() || self.dialect.trim || delimiter.iter().copied().any(is_blank) {
            return Ok(());
        }
        let mut columns: Vec<Padded> = Vec::new();
        let (mut records, mut begin_with_blank, mut values) = (0, true, 0);
        sample(path, &self.dialect, |record| {
            let is_header = records == 0;
            records += 1;
            columns.resize(columns.len().max(record.width()), Padded::default());
            for (at, (text, quoted)) in fields(record).enumerate() {
                let trimmed = text.trim_ascii();
                let is_padded = trimmed.len() < text.len();
                if quoted && is_padded {
                    // Blanks inside quotes are kept, so this is not a number.
                    columns[at].others += 1;
                }
                if trimmed.is_empty() || quoted {
                    continue;
                }
                if at > 0 {
                    begin_with_blank &= is_blank(text[0]);
                    values += 1;
                }
                // This is a header, or a line of dashes below it.
                if is_header || trimmed.iter().all(|byte| *byte == b'-') {
                    continue;
                }
                let is_number = trimmed.iter().any(u8::is_ascii_digit)
                    && trimmed
                        .iter()
                        .all(|byte| b"0123456789.,-+:/".contains(byte));
                columns[at].numbers += usize::from(is_number && is_padded);
                columns[at].others += usize::from(!is_number);
            }
            records < RECORDS_MAX
        })?;
        let has_numbers = columns
            .iter()
            .any(|column| column.numbers > 0 && column.others == 0);
        if has_numbers || (begin_with_blank && records > 1 && values > 1) {
            self.dialect.trim = true;
            self.remarks.push(
                "blanks around fields are not taken as part of their values; if they are: --trim=false".to_owned(),
            );
        }
        Ok(())
    }

    /// Takes a backslash as an escape, and quotes as plain characters, if the file looks as MySQL's `INTO OUTFILE` or
    /// PostgreSQL's COPY writes it by default: tabs between fields, `\N` for null, and no backslash that means itself.
    pub(super) fn text_format(&mut self, path: &Path, typed: &Typed) -> Result<()> {
        let is_typed = typed.quote.is_some() || typed.escape.is_some();
        if is_typed || self.dialect.escape.is_some() || self.dialect.delimiter != b'\t' {
            return Ok(());
        }
        let (mut nulls, mut is_escaped, mut records) = (0, true, 0);
        sample(path, &self.dialect, |record| {
            for (text, quoted) in fields(record) {
                nulls += usize::from(text == b"\\N");
                is_escaped &= !quoted && has_escapes_only(text);
            }
            records += 1;
            is_escaped && records < RECORDS_MAX
        })?;
        if nulls == 0 || !is_escaped {
            return Ok(());
        }
        let escaped = CsvDialect {
            quote: None,
            escape: Some(b'\\'),
            ..self.dialect.clone()
        };
        if uneven(path, &escaped)? <= uneven(path, &self.dialect)? {
            self.dialect = escaped;
            self.remarks.push(
                "backslashes are taken as escapes, as MySQL and PostgreSQL write them; if they mean themselves: --escape ''"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Takes a backslash as an escape if more records have the same number of fields with it, as where Redshift's UNLOAD
    /// writes one before a delimiter inside a field.
    pub(super) fn escaped_separators(&mut self, path: &Path, typed: &Typed) -> Result<()> {
        if typed.escape.is_some() || self.dialect.escape.is_some() {
            return Ok(());
        }
        let plain = tried(path, &self.dialect)?;
        let escaped = CsvDialect {
            escape: Some(b'\\'),
            ..self.dialect.clone()
        };
        let found = tried(path, &escaped)?;
        if found.uneven() < plain.uneven() && found.bad <= plain.bad {
            self.dialect = escaped;
            self.remarks.push(
                "backslashes are taken as escapes, because more records have the same number of fields with them; if \
                 they mean themselves: --escape ''"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// The number of records whose width is not the most common one.
fn uneven(path: &Path, dialect: &CsvDialect) -> Result<usize> {
    Ok(tried(path, dialect)?.uneven())
}

fn fields<'a>(record: &'a Sampled<'_>) -> impl Iterator<Item = (&'a [u8], bool)> {
    (0..record.width()).filter_map(|at| record.field(at))
}

/// Whether each backslash of a text is one that MySQL or PostgreSQL writes: before a letter for a control character, before
/// another backslash, or at the end, before a delimiter or a line end.
fn has_escapes_only(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        match rest.get(at + 1) {
            None => return true,
            Some(
                b'N' | b'Z' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\\' | b'0'..=b'7' | b'.',
            ) => {
                rest = &rest[at + 2..];
            }
            Some(_) => return false,
        }
    }
    true
}
