//! Files that go on without a header where another ended: after a rotation the writer may not write it again.

use std::io;

use bekk_stream::{CsvDialect, Stream};

use crate::source::Source;
use crate::text::convert::RawRecord;
use crate::text::decode::header_names;
use crate::text::format::Format;
use crate::text::preamble::{given_header, map_header, unmarked};
use crate::text::split::Splitter;

/// How many bytes of a file are looked at.
const LOOKED_AT: usize = 64 * 1024;

/// Whether a file continues under a header that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continues {
    Yes,
    No,
    /// Its first record is not whole yet.
    Unknown,
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
    let mut bytes = vec![0; LOOKED_AT];
    let read = source.read_full_at(&mut bytes, at)?;
    let text = unmarked(&bytes[..read]);
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
    let mut bytes = vec![0; LOOKED_AT];
    let read = source.read_full_at(&mut bytes, 0)?;
    let first = bytes[..read].iter().position(|byte| *byte != 0);
    let rest = &bytes[first.unwrap_or(read)..read];
    let Ok(mut format) = Format::new(stream, dialect.clone(), stream.partitions) else {
        return Ok(Continues::No);
    };
    if rest.is_empty() {
        return Ok(Continues::Unknown);
    }
    let Some(found) = format.splitter.split(rest, false) else {
        return Ok(match read == LOOKED_AT {
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
