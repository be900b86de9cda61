//! Files that go on without a header where another ended: after a rotation the writer may not write it again.

use std::io;

use bekk_stream::{CsvDialect, Encoding, FileId, Stream};

use crate::source::Source;
use crate::text::coding::Coding;
use crate::text::convert::RawRecord;
use crate::text::cursor::{Cursor, find_coding};
use crate::text::decode::header_names;
use crate::text::format::Format;
use crate::text::preamble::{given_header, map_header, unmarked};
use crate::text::split::Splitter;

/// How many bytes of a file are looked at.
const LOOKED_AT: usize = 64 * 1024;
/// How many zeros are looked at at a time.
const ZEROS_LOOKED_AT: usize = 1 << 20;

/// Whether a file continues under a header that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continues {
    Yes,
    No,
    /// Its first record is not whole yet.
    Unknown,
}

/// Returns a file's text from a byte on, and whether more may follow it; `None` if the dialect's encoding does not fit.
fn text_at(
    source: &mut Source,
    dialect: &CsvDialect,
    at: u64,
) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut cursor = Cursor::new(FileId::from_bytes([0; 16]));
    let Ok(coding) = find_coding(source, &mut cursor, dialect.encoding)? else {
        return Ok(None);
    };
    let mut bytes = vec![0; LOOKED_AT];
    let read = source.read_full_at(&mut bytes, at)?;
    bytes.truncate(read);
    let has_more = read == LOOKED_AT;
    if coding == Coding::Bytes {
        return Ok(Some((bytes, has_more)));
    }
    let mut text = Vec::new();
    coding.decode(&bytes, false, &mut text);
    Ok(Some((text, has_more)))
}

/// The place where the text of a file begins, behind the zeros that are left where a file was emptied and its writer kept
/// its position: as many as the file had bytes.
fn behind_zeros(source: &mut Source, dialect: &CsvDialect) -> io::Result<u64> {
    if matches!(
        dialect.encoding,
        Encoding::Utf16 | Encoding::Utf16Le | Encoding::Utf16Be
    ) {
        return Ok(0);
    }
    let mut bytes = vec![0; ZEROS_LOOKED_AT];
    let mut at = 0;
    loop {
        let read = source.read_full_at(&mut bytes, at)?;
        let zeros = bytes[..read].iter().take_while(|byte| **byte == 0).count();
        at += zeros as u64;
        if zeros < read || read < bytes.len() {
            return Ok(at);
        }
    }
}

/// The names in the header that begins at a byte of a file, if it is there.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn header_at(
    source: &mut Source,
    dialect: &CsvDialect,
    at: u64,
) -> io::Result<Option<Vec<String>>> {
    let Some((text, _)) = text_at(source, dialect, at)? else {
        return Ok(None);
    };
    let text = unmarked(&text);
    let mut splitter = Splitter::new(dialect);
    let found = match text.is_empty() {
        true => None,
        false => splitter.split(text, false),
    };
    Ok(found.map(|found| header_names(&text[..found.content], splitter.spans(), dialect)))
}

/// Says whether a file's first record is no header, and a row under the header that the dialect names.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn continues(
    source: &mut Source,
    stream: &Stream,
    dialect: &CsvDialect,
) -> io::Result<Continues> {
    let begin = behind_zeros(source, dialect)?;
    let Some((text, has_more)) = text_at(source, dialect, begin)? else {
        return Ok(Continues::No);
    };
    let first = text.iter().position(|byte| *byte != 0);
    let rest = unmarked(&text[first.unwrap_or(text.len())..]);
    let Ok(mut format) = Format::new(stream, dialect.clone(), stream.partitions) else {
        return Ok(Continues::No);
    };
    if rest.is_empty() {
        return Ok(Continues::Unknown);
    }
    let Some(found) = format.splitter.split(rest, false) else {
        return Ok(match has_more {
            true => Continues::No,
            false => Continues::Unknown,
        });
    };
    let content = &rest[..found.content];
    let spans = format.splitter.spans();
    if map_header(stream, dialect, spans, content, 0).is_ok() {
        return Ok(Continues::No);
    }
    let Ok(header) = given_header(stream, dialect, 0) else {
        return Ok(Continues::No);
    };
    let record = RawRecord::alone(rest, &found, spans);
    Ok(match format.converter.convert(&header, &record).is_reject {
        true => Continues::No,
        false => Continues::Yes,
    })
}
