//! Where records end.

use bekk_stream::CsvDialect;
use memchr::memmem;
use memchr::{memchr, memchr_iter};

/// Where the first record end lies in some bytes.
pub(crate) fn find(end: &[u8], bytes: &[u8]) -> Option<usize> {
    match end {
        [byte] => memchr(*byte, bytes),
        end => memmem::find(bytes, end),
    }
}

/// Behind the first record end of some bytes.
pub(crate) fn behind_first(dialect: &CsvDialect, bytes: &[u8]) -> Option<usize> {
    let end = dialect.end();
    find(end.as_bytes(), bytes).map(|at| at + end.as_bytes().len())
}

/// How many record ends there are in some bytes.
pub(crate) fn count(end: &[u8], bytes: &[u8]) -> u64 {
    match end {
        [byte] => memchr_iter(*byte, bytes).count() as u64,
        end => memmem::find_iter(bytes, end).count() as u64,
    }
}

/// The length of the record end that bytes begin with: of a blank line, if a record should begin there. A line feed may
/// have a carriage return before it.
pub(crate) fn blank_len(dialect: &CsvDialect, bytes: &[u8]) -> Option<usize> {
    let end = dialect.end();
    match (end.byte(), bytes) {
        (Some(b'\n'), [b'\r', b'\n', ..]) => Some(2),
        (Some(byte), [first, ..]) => (byte == *first).then_some(1),
        _ => bytes
            .starts_with(end.as_bytes())
            .then_some(end.as_bytes().len()),
    }
}

/// Whether a line begins with one of the stream's texts for lines to skip.
pub(crate) fn is_footer(dialect: &CsvDialect, line: &[u8]) -> bool {
    let mut texts = dialect.footer.iter();
    texts.any(|text| line.starts_with(text.as_bytes()))
}

/// A record without its end.
pub(crate) fn without<'a>(end: &[u8], record: &'a [u8]) -> &'a [u8] {
    let line = record.strip_suffix(end).unwrap_or(record);
    match end {
        b"\n" => line.strip_suffix(b"\r").unwrap_or(line),
        _ => line,
    }
}
