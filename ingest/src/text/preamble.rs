//! What stands before a file's records: byte order mark, lines to skip, comments, and the header.

use bekk_stream::{Column, CsvDialect, Encoding, Stream};

use crate::text::block::Block;
use crate::text::convert::header_names;
use crate::text::format::Format;
use crate::text::header::Header;
use crate::text::split::Span;

pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Takes what stands before the records: byte order mark, lines to skip, comments, blank lines, header.
/// `None` if the block does not hold all of it.
pub(crate) fn take_header(
    format: &mut Format<'_>,
    block: &mut Block<'_>,
) -> Result<Option<Header>, String> {
    let bytes = block.bytes;
    let mut at = match bytes.starts_with(BOM) {
        true => BOM.len(),
        false => 0,
    };
    let line_end = |at: usize| memchr::memchr(b'\n', &bytes[at..]).map(|newline| at + newline + 1);
    for _ in 0..format.dialect.skip_lines {
        match line_end(at) {
            Some(end) => at = end,
            None => return Ok(None),
        }
    }
    loop {
        match &bytes[at..] {
            [] | [b'\r'] => return Ok(None),
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            [first, ..] if Some(*first) == format.dialect.comment => match line_end(at) {
                Some(end) => at = end,
                None => return Ok(None),
            },
            _ => break,
        }
    }
    let Some(found) = format.splitter.split(&bytes[at..], block.last) else {
        return Ok(None);
    };
    if found.fault.is_some() {
        return Err(
            "its header has a stray or unclosed quote; correct the file, or set `quote` in `csv`"
                .to_owned(),
        );
    }
    let record = &bytes[at..at + found.content];
    let spans = format.splitter.spans();
    let header_at = block.coding.file_len(&bytes[..at]) as u64;
    let header = map_header(format.stream, &format.dialect, spans, record, header_at)?;
    block.at = at + found.len;
    Ok(Some(header))
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
    let first = spans.first()?.of(record);
    let first = first.strip_prefix(BOM).unwrap_or(first);
    let is_name = |column: &Column| column.header.as_bytes() == first;
    if !stream.columns.iter().any(is_name) {
        return None;
    }
    let header = map_header(stream, dialect, spans, record, at).ok()?;
    // Every field must be a name that is known, or a record with a word in it would pass for a header.
    let is_known = |name: &String| {
        current.names.contains(name) || stream.columns.iter().any(|column| column.header == *name)
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
    let latin1 = dialect.encoding == Encoding::Latin1;
    let mut names = header_names(record, spans, latin1);
    if let Some(first) = names.first_mut()
        && let Some(text) = first.strip_prefix('\u{feff}')
    {
        *first = text.to_owned();
    }
    let raw = record.strip_prefix(BOM).unwrap_or(record);
    Header::map(stream, dialect.unknown, &names, at, raw)
}
