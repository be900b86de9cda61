//! What stands before a file's records: byte order mark, lines to skip, comments, and the header.

use bekk_stream::{Column, CsvDialect, HeaderRow, Stream};

use crate::text::block::Block;
use crate::text::decode::header_names;
use crate::text::ends;
use crate::text::format::Format;
use crate::text::header::Header;
use crate::text::split::Span;

pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Takes what stands before the records: byte order mark, lines to skip, comments, blank lines, header.
/// `None` if the block does not hold all of it. It runs once for a file, and stays out of the loop that takes records.
#[inline(never)]
pub(crate) fn take_header(
    format: &mut Format<'_>,
    block: &mut Block<'_>,
) -> Result<Option<Header>, String> {
    let bytes = block.bytes;
    let dialect = &format.dialect;
    let Some(mut at) = take_mark(dialect, block)? else {
        return Ok(None);
    };
    let is_plain = dialect.end() == b'\n';
    let line_end = |at: usize| ends::behind_first(dialect, &bytes[at..]).map(|end| at + end);
    for _ in 0..dialect.skip_lines {
        match line_end(at) {
            Some(end) => at = end,
            None => return Ok(None),
        }
    }
    if dialect.skip_lines == 0
        && let Some(end) = line_end(at)
        && names_delimiter(dialect, &bytes[at..end])?
    {
        at = end;
    }
    if dialect.header != HeaderRow::InFile {
        // Without a header after it, the first line may be incomplete.
        let is_cut = dialect.skip_lines == 0 && line_end(at).is_none() && !block.last;
        if is_cut && may_name_separator(&bytes[at..]) {
            return Ok(None);
        }
        block.at = at;
        let at = block.coding.file_len(&bytes[..at]) as u64;
        return given_header(format.stream, dialect, at).map(Some);
    }
    loop {
        let rest = &bytes[at..];
        match (ends::blank_len(dialect, rest), rest) {
            (Some(len), _) => at += len,
            (None, [] | [b'\r']) => return Ok(None),
            (None, [first, ..]) if Some(*first) == dialect.comment => match line_end(at) {
                Some(end) => at = end,
                None => return Ok(None),
            },
            _ => break,
        }
    }
    let Some(found) = format.splitter.split(&bytes[at..], block.last) else {
        return match is_plain && has_bare_returns(&bytes[at..]) {
            true => Err(BARE_RETURNS.to_owned()),
            false => Ok(None),
        };
    };
    if found.fault.is_some() {
        return Err(
            "its header has a stray or unclosed quote; correct the file, or set `quote` in `csv`"
                .to_owned(),
        );
    }
    let record = &bytes[at..at + found.content];
    if is_plain && !found.has_quotes && has_bare_returns(record) {
        return Err(BARE_RETURNS.to_owned());
    }
    let spans = format.splitter.spans();
    let header_at = block.coding.file_len(&bytes[..at]) as u64;
    let header = map_header(format.stream, dialect, spans, record, header_at).map_err(|why| {
        match has_bare_returns(record) {
            true => BARE_RETURNS.to_owned(),
            false => why,
        }
    })?;
    block.at = at + found.len;
    Ok(Some(header))
}

const BARE_RETURNS: &str = "its lines end in carriage returns only; convert it (tr '\\r' '\\n'), or set `line_end = \
                            \"cr\"` in `csv`";

/// Whether lines seem to end in carriage returns alone.
fn has_bare_returns(bytes: &[u8]) -> bool {
    let inner = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    memchr::memchr(b'\r', inner).is_some_and(|at| inner.get(at + 1) != Some(&b'\n'))
}

/// A record without the byte order marks at its beginning, which it has where files were concatenated.
pub(crate) fn unmarked(mut record: &[u8]) -> &[u8] {
    while let Some(rest) = record.strip_prefix(BOM) {
        record = rest;
    }
    record
}

/// The length of the byte order mark; `None` if that cannot be said yet.
fn take_mark(dialect: &CsvDialect, block: &Block<'_>) -> Result<Option<usize>, String> {
    let is_marked = block.bytes.starts_with(BOM);
    if is_marked && dialect.encoding.decoder().is_some() {
        return Err(
            "it begins with the byte order mark of UTF-8, and the stream's `encoding` in `csv` is another; put it into \
             a stream of its own, or convert it"
                .to_owned(),
        );
    }
    Ok(
        match (is_marked, BOM.starts_with(block.bytes) && !block.last) {
            (true, _) => Some(BOM.len()),
            (false, true) => None,
            (false, false) => Some(0),
        },
    )
}

/// The delimiter that a line for spreadsheets names: `sep=;`.
#[must_use]
pub fn separator_of(line: &[u8]) -> Option<u8> {
    let line = line.trim_ascii_end();
    let line = line
        .strip_prefix(b"\"")
        .and_then(|line| line.strip_suffix(b"\""))
        .unwrap_or(line);
    match line.strip_prefix(b"sep=")? {
        [separator] => Some(*separator),
        // What is trimmed may be what is meant.
        [] => Some(b'\t'),
        _ => None,
    }
}

/// Whether a line names the delimiter.
///
/// # Errors
/// If it names another one than the dialect's.
fn names_delimiter(dialect: &CsvDialect, line: &[u8]) -> Result<bool, String> {
    match separator_of(line) {
        Some(separator) if dialect.delimiter != separator => Err(format!(
            "its first line names `{}` as the separator; set `delimiter` in `csv`, and use another stream for files with another separator",
            char::from(separator).escape_debug()
        )),
        named => Ok(named.is_some()),
    }
}

/// Whether the beginning of a line may become one that names the delimiter.
fn may_name_separator(begin: &[u8]) -> bool {
    const NAMES: &[u8] = b"sep=";
    let begin = begin.strip_prefix(b"\"").unwrap_or(begin);
    let len = begin.len().min(NAMES.len());
    begin[..len] == NAMES[..len]
}

/// The header of a file that has none: the stream's columns, or what the stream says.
pub(crate) fn given_header(
    stream: &Stream,
    dialect: &CsvDialect,
    at: u64,
) -> Result<Header, String> {
    let delimiter = dialect.delimiter.text();
    match &dialect.header {
        HeaderRow::Named(names) => {
            let raw = names.join(&delimiter);
            Header::map(stream, dialect, names, at, raw.as_bytes())
        }
        _ => {
            let mut header = Header::in_column_order(stream);
            header.raw = header.names.join(&delimiter).into_bytes();
            header.at = at;
            Ok(header)
        }
    }
}

/// The header that a rejected record is, where files with different headers were concatenated.
pub(crate) fn other_header(
    stream: &Stream,
    dialect: &CsvDialect,
    current: &Header,
    spans: &[Span],
    record: &[u8],
    at: u64,
) -> Option<Header> {
    if dialect.header != HeaderRow::InFile {
        return None;
    }
    let first = spans.first()?.of(record);
    let first = unmarked(first);
    let is_name = |column: &Column| column.header.as_bytes() == first;
    if !stream.fields().any(is_name) {
        return None;
    }
    let header = map_header(stream, dialect, spans, record, at).ok()?;
    // Every field must be a name that is known, or a record with a word in it would pass for a header.
    let is_known = |name: &String| {
        current.names.contains(name) || stream.fields().any(|column| column.header == *name)
    };
    header.names.iter().all(is_known).then_some(header)
}

/// Maps the names of a header record to the stream's columns.
pub(crate) fn map_header(
    stream: &Stream,
    dialect: &CsvDialect,
    spans: &[Span],
    record: &[u8],
    at: u64,
) -> Result<Header, String> {
    let mut names = header_names(record, spans, dialect);
    if let Some(first) = names.first_mut()
        && first.starts_with('\u{feff}')
    {
        *first = first.trim_start_matches('\u{feff}').to_owned();
    }
    Header::map(stream, dialect, &names, at, unmarked(record))
}
