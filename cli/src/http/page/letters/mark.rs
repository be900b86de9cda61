//! Finds the field at fault in a dead letter's raw text.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use bekk_sink::Letter;
use bekk_stream::{CsvDialect, Stream};

use crate::context::Context;
use crate::letters::encoding_of;
use crate::observe::FileList;

/// Bytes of a file in which its header is looked for.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Characters shown of a text, on each side of the field.
const SHOWN_MAX: usize = 600;

/// A text with the field at fault in the middle; without one, all is before it.
pub(super) struct Marked {
    pub(super) before: String,
    pub(super) field: Option<String>,
    pub(super) after: String,
}

/// Marks the fields of letters; keeps the headers that it has read.
pub(super) struct Marker<'a> {
    context: &'a Context,
    files: Option<FileList>,
    headers: HashMap<String, Option<Vec<String>>>,
}

impl<'a> Marker<'a> {
    pub(super) fn new(context: &'a Context, files: Option<FileList>) -> Self {
        Self {
            context,
            files,
            headers: HashMap::new(),
        }
    }

    /// Splits a letter's text at the field that its column names; a field that cannot be identified with certainty is not
    /// marked.
    pub(super) fn mark(&mut self, letter: &Letter) -> Marked {
        let streams = self.context.streams();
        let text = encoding_of(&streams, letter).shown(&letter.raw);
        match self.field(letter, &text, &streams) {
            Some(range) => Marked {
                before: end_of(&text[..range.start]),
                field: Some(start_of(&text[range.clone()])),
                after: start_of(&text[range.end..]),
            },
            None => Marked {
                before: start_of(&text),
                field: None,
                after: String::new(),
            },
        }
    }

    fn field(&mut self, letter: &Letter, text: &str, streams: &[Stream]) -> Option<Range<usize>> {
        let column = letter.column.as_deref()?;
        let stream = streams.iter().find(|stream| stream.name == letter.stream)?;
        // A row that PostgreSQL refused is written in the stream's order.
        if letter.reason == "refused" {
            let at = stream.columns.iter().position(|own| own.name == column)?;
            return fields(text, b',', Some(b'"')).nth(at);
        }
        let own = stream.columns.iter().find(|own| own.name == column)?;
        let header = self.header(letter.file.as_deref()?, stream)?;
        let at = header.iter().position(|name| *name == own.header)?;
        let (delimiter, quote) = separators(&stream.csv)?;
        fields(text, delimiter, quote).nth(at)
    }

    /// The names in the header of a file that ingest knows.
    fn header(&mut self, path: &str, stream: &Stream) -> Option<&Vec<String>> {
        if !self.headers.contains_key(path) {
            let files = self.files.as_ref().map(|list| list.files());
            let known = files.and_then(|files| {
                let mut files = files.files.iter();
                files.find(|file| file.path == Path::new(path) && file.packing.is_none())
            });
            let header = known.and_then(|file| read_header(&file.path, &stream.csv));
            self.headers.insert(path.to_owned(), header);
        }
        self.headers.get(path)?.as_ref()
    }
}

fn read_header(path: &Path, dialect: &CsvDialect) -> Option<Vec<String>> {
    let bytes = bekk_ingest::head(path, HEADER_BYTES_MAX).ok()?.bytes;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let is_comment = |line: &&[u8]| {
        dialect
            .comment
            .is_some_and(|mark| line.first() == Some(&mark))
    };
    let line = bytes
        .split(|byte| *byte == b'\n')
        .skip(dialect.skip_lines as usize)
        .find(|line| !is_comment(line))?;
    let line = dialect.encoding.decode(line)?;
    let line = line.strip_suffix('\r').unwrap_or(&line);
    let (delimiter, quote) = separators(dialect)?;
    let names = fields(line, delimiter, quote).map(|range| {
        let name = &line[range];
        let inside = quote.and_then(|quote| {
            let quote = char::from(quote);
            name.strip_prefix(quote)?.strip_suffix(quote)
        });
        inside.unwrap_or(name).trim_ascii().to_owned()
    });
    Some(names.collect())
}

/// Returns the delimiter and the quote, if they are the same byte in UTF-8.
fn separators(dialect: &CsvDialect) -> Option<(u8, Option<u8>)> {
    let delimiter = dialect.delimiter.byte()?;
    let is_ascii = delimiter.is_ascii() && dialect.quote.is_none_or(|quote| quote.is_ascii());
    is_ascii.then_some((delimiter, dialect.quote))
}

/// Returns the ranges of a record's fields, quotes included. Delimiter and quote are ASCII.
fn fields(record: &str, delimiter: u8, quote: Option<u8>) -> impl Iterator<Item = Range<usize>> {
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let begin = start?;
        let mut is_quoted = false;
        for (at, byte) in record.bytes().enumerate().skip(begin) {
            if quote == Some(byte) {
                is_quoted = !is_quoted;
            } else if byte == delimiter && !is_quoted {
                start = Some(at + 1);
                return Some(begin..at);
            }
        }
        start = None;
        Some(begin..record.len())
    })
}

fn start_of(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn end_of(text: &str) -> String {
    match text.char_indices().rev().nth(SHOWN_MAX) {
        Some((start, _)) => format!("…{}", &text[start..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_between_quotes() {
        let record = r#"1,"a,""b",,x"#;
        let found: Vec<_> = fields(record, b',', Some(b'"')).collect();
        let texts: Vec<_> = found.iter().map(|range| &record[range.clone()]).collect();
        assert_eq!(texts, ["1", r#""a,""b""#, "", "x"]);
        assert_eq!(fields("", b',', None).next(), Some(0..0));
        assert_eq!(fields("a,", b',', None).count(), 2);
    }

    #[test]
    fn long_texts_are_cut_at_characters() {
        let long = "ü".repeat(5000);
        assert_eq!(start_of(&long).chars().count(), SHOWN_MAX + 1);
        assert!(end_of(&long).starts_with('…'));
        assert_eq!(start_of("short"), "short");
    }
}
