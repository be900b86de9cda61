//! Reads a block of a file: finds its records, passes over those that are in the log, and converts the
//! others into a batch.
//!
//! A block is read from the next record's beginning each time, so that nothing of a file is held between
//! two turns but its cursor.

use std::fs::File;
use std::io;

use bekk_stream::{Column, CsvDialect, Encoding, FileId, Origin, REJECT_RAW_MAX, Stream};
use xxhash_rust::xxh3::Xxh3;

use crate::Error;
use crate::batch::{Batch, Mark, Progress};
use crate::convert::{Converter, OverlongRecord, RawRecord, header_names};
use crate::header::Header;
use crate::identity::{Fingerprint, TAIL_MAX, read_full_at};
use crate::ranges::Ranges;
use crate::recover::now_ms;
use crate::split::{EndFinder, Span, Splitter, count_newlines};
use crate::trial::Trial;

/// How many bytes are read at once.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where the reading of a file stands.
pub(crate) struct Cursor {
    pub(crate) file: FileId,
    /// The first byte that has not been taken: where a record begins.
    pub(crate) position: u64,
    /// The number of the line that begins there.
    pub(crate) line: u64,
    pub(crate) header: Option<Header>,
    /// What is in the log already, to be passed over.
    pub(crate) known: Ranges,
    /// The first records of a file that may yet be set aside.
    pub(crate) trial: Option<Box<Trial>>,
    /// Of all bytes so far, if the file was read from its beginning without a break.
    pub(crate) hash: Option<Box<Xxh3>>,
    overlong: Option<Box<Overlong>>,
}

/// A record longer than is held, being passed.
struct Overlong {
    finder: EndFinder,
    beginning: Vec<u8>,
    length: u64,
    lines: u64,
    hash: Xxh3,
    /// It is a comment: nothing comes of it.
    is_comment: bool,
}

/// How a stream's files are read: its columns and a dialect.
pub(crate) struct Format<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) dialect: CsvDialect,
    splitter: Splitter,
    converter: Converter,
}

impl<'a> Format<'a> {
    /// # Errors
    /// If a column's conditions are none of its type.
    pub(crate) fn new(
        stream: &'a Stream,
        dialect: CsvDialect,
        partitions: u32,
    ) -> Result<Self, Error> {
        Ok(Self {
            stream,
            splitter: Splitter::new(dialect.delimiter, dialect.quote),
            converter: Converter::new(stream, &dialect, partitions)?,
            dialect,
        })
    }
}

/// What a block brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Records were taken; there may be more.
    More,
    /// Every complete record has been taken; so many bytes of an incomplete one remain.
    CaughtUp(u64),
    /// The file is to be set aside.
    Blocked(String),
    /// At this byte the file does not have the record that the log has.
    Conflict(u64),
}

impl Cursor {
    pub(crate) fn new(file: FileId) -> Self {
        Self {
            file,
            position: 0,
            line: 1,
            header: None,
            known: Ranges::default(),
            trial: None,
            hash: Some(Box::default()),
            overlong: None,
        }
    }

    /// The first byte that has not been looked at.
    fn scanned(&self) -> u64 {
        self.position + self.overlong.as_ref().map_or(0, |record| record.length)
    }
}

/// Reads blocks; one for all files.
pub(crate) struct Reader {
    block: Vec<u8>,
}

/// A block being taken apart.
struct Block<'b> {
    bytes: &'b [u8],
    /// How many of them have been taken: where the next record begins.
    at: usize,
    /// How many of them need not be read again, those of an over-long record included.
    scanned: usize,
    /// Whether the file ends with them for good.
    last: bool,
    timestamp_ms: i64,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { block: Vec::new() }
    }

    /// Reads the next block of a file, up to the byte `until`, and takes its records into `batch`. With
    /// `last` the file ends there for good, and so does its last record.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read(
        &mut self,
        file: &File,
        cursor: &mut Cursor,
        format: &mut Format<'_>,
        (until, last): (u64, bool),
        batch: &mut Batch,
    ) -> io::Result<Outcome> {
        let mark = batch.mark();
        let before = cursor.position;
        let mut outcome = Outcome::More;
        // A record may be longer than a block: then once more with room for the longest.
        for capacity in [BLOCK_BYTES, format.dialect.record_max + BLOCK_BYTES] {
            self.block.resize(capacity.max(self.block.len()), 0);
            let start = cursor.scanned();
            let wanted =
                capacity.min(usize::try_from(until.saturating_sub(start)).unwrap_or(capacity));
            let read = read_full_at(file, &mut self.block[..wanted], start)?;
            let is_end = read < wanted || start + read as u64 >= until;
            let mut block = Block {
                bytes: &self.block[..read],
                at: 0,
                scanned: 0,
                last: last && is_end,
                timestamp_ms: now_ms(),
            };
            outcome = take_block(cursor, format, &mut block, batch);
            if outcome == Outcome::More && is_end {
                let partial = cursor.overlong.as_ref().map(|record| record.length);
                outcome = Outcome::CaughtUp(partial.unwrap_or((read - block.at) as u64));
            }
            let (taken, scanned) = (block.at, block.scanned.max(block.at));
            if let Some(hash) = &mut cursor.hash {
                hash.update(&self.block[..scanned]);
            }
            if scanned > 0 || is_end {
                let tail = Fingerprint::of(&self.block[taken.saturating_sub(TAIL_MAX)..taken]);
                outcome = end_trial(cursor, batch, outcome);
                note(cursor, batch, &mark, before, tail);
                break;
            }
        }
        Ok(outcome)
    }

    /// Reads again the header that holds at the cursor's position, from where it stands.
    ///
    /// # Errors
    /// If the file cannot be read; inside, why its header does not fit the stream.
    pub(crate) fn reload_header(
        &mut self,
        file: &File,
        cursor: &mut Cursor,
        format: &mut Format<'_>,
        header_at: u64,
    ) -> io::Result<Result<(), String>> {
        let capacity = format.dialect.record_max + BLOCK_BYTES;
        self.block.resize(capacity.max(self.block.len()), 0);
        let read = read_full_at(file, &mut self.block[..capacity], header_at)?;
        let bytes = &self.block[..read];
        let Some(found) = format.splitter.split(bytes, true) else {
            return Ok(Err("its header is gone".to_owned()));
        };
        let (record, spans) = (&bytes[..found.content], format.splitter.spans());
        let header = map_header(format.stream, &format.dialect, spans, record, header_at);
        Ok(header.map(|header| cursor.header = Some(header)))
    }
}

/// Decides about a file on trial where what came of the block allows it.
fn end_trial(cursor: &mut Cursor, batch: &mut Batch, outcome: Outcome) -> Outcome {
    let Some(trial) = &cursor.trial else {
        return outcome;
    };
    let is_end = matches!(outcome, Outcome::CaughtUp(_));
    match trial.verdict(is_end) {
        None => outcome,
        Some(Ok(())) => {
            trial.release(batch);
            cursor.trial = None;
            outcome
        }
        Some(Err(why)) => Outcome::Blocked(why),
    }
}

/// Notes in the batch how far the file is, unless its records are still on trial.
fn note(cursor: &Cursor, batch: &mut Batch, mark: &Mark, before: u64, tail: Fingerprint) {
    let is_unmoved = cursor.position == before && batch.records == mark.records();
    let Some(header) = &cursor.header else { return };
    if is_unmoved || cursor.trial.is_some() {
        return;
    }
    batch.note(
        mark,
        Progress {
            file: cursor.file,
            position: cursor.position,
            line: cursor.line,
            header_at: header.at,
            tail,
            records: 0,
            rejects: 0,
            spans: Vec::new(),
        },
    );
}

/// Takes the block's records; what it leaves of the block has to be read again with more behind it.
fn take_block(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    block: &mut Block<'_>,
    batch: &mut Batch,
) -> Outcome {
    if cursor.overlong.is_some() {
        take_overlong(cursor, format, block, batch);
        if cursor.overlong.is_some() {
            return Outcome::More;
        }
    }
    if cursor.header.is_none() {
        match take_header(format, block) {
            Ok(Some(header)) => {
                cursor.header = Some(header);
                cursor.position += block.at as u64;
                cursor.line += count_newlines(&block.bytes[..block.at]);
            }
            Ok(None) if block.bytes.len() >= format.dialect.record_max + BLOCK_BYTES => {
                return Outcome::Blocked(format!(
                    "it has no header in its first {} bytes; correct the file or the stream's `csv` in the \
                     configuration",
                    block.bytes.len()
                ));
            }
            Ok(None) => return Outcome::More,
            Err(why) => return Outcome::Blocked(why),
        }
    }
    while block.at < block.bytes.len() {
        if !cursor.known.is_empty() && pass_known(cursor, block) {
            continue;
        }
        match take_record(cursor, format, block, batch) {
            Taken::Yes => {}
            Taken::Incomplete => {
                let rest = block.bytes.len() - block.at;
                if rest > format.dialect.record_max {
                    begin_overlong(cursor, format, block);
                }
                break;
            }
            Taken::Conflict => return Outcome::Conflict(cursor.position),
        }
    }
    Outcome::More
}

enum Taken {
    Yes,
    Incomplete,
    Conflict,
}

/// Passes over bytes that are in the log; says whether there were some.
fn pass_known(cursor: &mut Cursor, block: &mut Block<'_>) -> bool {
    let Some((start, end)) = cursor.known.next_from(cursor.position) else {
        cursor.known = Ranges::default();
        return false;
    };
    if start > cursor.position {
        return false;
    }
    let rest = &block.bytes[block.at..];
    let len = rest
        .len()
        .min(usize::try_from(end - cursor.position).unwrap_or(usize::MAX));
    cursor.line += count_newlines(&rest[..len]);
    advance(cursor, block, len);
    cursor.known.forget_before(cursor.position);
    true
}

/// Takes the record, blank line, comment or repeated header at the block's place.
fn take_record(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    block: &mut Block<'_>,
    batch: &mut Batch,
) -> Taken {
    let rest = &block.bytes[block.at..];
    if let Some(taken) = take_non_record(cursor, &format.dialect, block) {
        return taken;
    }
    let Some(found) = format.splitter.split(rest, block.last) else {
        return Taken::Incomplete;
    };
    let start = cursor.position;
    let end = start + found.len as u64;
    if !cursor.known.is_empty()
        && cursor
            .known
            .next_from(start)
            .is_some_and(|(known, _)| known < end)
    {
        return Taken::Conflict;
    }
    let header = cursor
        .header
        .as_ref()
        .expect("records are taken behind a header only");
    let content = &rest[..found.content];
    if content.strip_prefix(BOM).unwrap_or(content) != header.raw {
        let record = RawRecord {
            bytes: &rest[..found.len],
            has_quotes: found.has_quotes,
            fault: found.fault,
            spans: format.splitter.spans(),
            origin: Origin {
                file: cursor.file,
                start,
                end,
                line: cursor.line,
            },
        };
        let converted = format.converter.convert(header, &record);
        if converted.is_reject
            && let Some(other) = other_header(
                format.stream,
                &format.dialect,
                header,
                record.spans,
                content,
                start,
            )
        {
            tracing::info!(file = %cursor.file, position = start, "another header begins here");
            cursor.header = Some(other);
        } else if let Some(trial) = &mut cursor.trial {
            trial.push(block.timestamp_ms, &converted);
        } else {
            batch.push(block.timestamp_ms, &converted);
        }
    }
    cursor.line += found.lines;
    advance(cursor, block, found.len);
    Taken::Yes
}

/// Takes a blank line or a comment, if one is there.
fn take_non_record(
    cursor: &mut Cursor,
    dialect: &CsvDialect,
    block: &mut Block<'_>,
) -> Option<Taken> {
    let rest = &block.bytes[block.at..];
    let len = match rest {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        [b'\r'] if block.last => 1,
        [first, ..] if Some(*first) == dialect.comment => match memchr::memchr(b'\n', rest) {
            Some(newline) => newline + 1,
            None if block.last => rest.len(),
            None => return Some(Taken::Incomplete),
        },
        _ => return None,
    };
    cursor.line += count_newlines(&rest[..len]);
    advance(cursor, block, len);
    Some(Taken::Yes)
}

fn advance(cursor: &mut Cursor, block: &mut Block<'_>, len: usize) {
    block.at += len;
    cursor.position += len as u64;
}

/// The header that a rejected record is, where files with different headers were concatenated.
fn other_header(
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

/// Takes what stands before the records: byte order mark, lines to skip, comments, blank lines, header.
/// `None` if the block does not hold all of it.
fn take_header(format: &mut Format<'_>, block: &mut Block<'_>) -> Result<Option<Header>, String> {
    if format.dialect.encoding == Encoding::Utf16 {
        return Err("files in UTF-16 are not read yet; convert it to UTF-8".to_owned());
    }
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
    let header = map_header(format.stream, &format.dialect, spans, record, at as u64)?;
    block.at = at + found.len;
    Ok(Some(header))
}

/// Maps the names of a header record to the stream's columns.
fn map_header(
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

/// Begins to pass a record of which the rest of the block is only a part, and more than is held.
fn begin_overlong(cursor: &mut Cursor, format: &Format<'_>, block: &mut Block<'_>) {
    let rest = &block.bytes[block.at..];
    let is_comment =
        format.dialect.comment.is_some() && rest.first().copied() == format.dialect.comment;
    if !is_comment {
        tracing::warn!(
            file = %cursor.file,
            line = cursor.line,
            position = cursor.position,
            "a record is longer than record_max: it becomes a reject; if a quote is never closed, that is the rest \
             of the file"
        );
    }
    let quote = format.dialect.quote.filter(|_| !is_comment);
    let mut record = Overlong {
        finder: EndFinder::new(format.dialect.delimiter, quote),
        beginning: Vec::new(),
        length: 0,
        lines: 0,
        hash: Xxh3::new(),
        is_comment,
    };
    let end = record.take(rest);
    debug_assert_eq!(end, None, "the splitter has found no end either");
    cursor.overlong = Some(Box::new(record));
    block.scanned = block.bytes.len();
}

impl Overlong {
    /// Takes the record's next bytes; says where it ends if it does there.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = self.finder.feed(bytes);
        let bytes = &bytes[..end.unwrap_or(bytes.len())];
        let room = (REJECT_RAW_MAX - self.beginning.len()).min(bytes.len());
        self.beginning.extend_from_slice(&bytes[..room]);
        self.length += bytes.len() as u64;
        self.lines += count_newlines(bytes);
        self.hash.update(bytes);
        end
    }
}

/// Goes on passing an over-long record, and rejects it where it ends.
fn take_overlong(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    block: &mut Block<'_>,
    batch: &mut Batch,
) {
    let Some(mut record) = cursor.overlong.take() else {
        return;
    };
    let end = record.take(block.bytes);
    block.at = end.unwrap_or(block.bytes.len());
    if end.is_none() && !block.last {
        cursor.overlong = Some(record);
        return;
    }
    if !record.is_comment {
        reject_overlong(
            cursor,
            format,
            &record,
            end.is_none(),
            block.timestamp_ms,
            batch,
        );
    }
    cursor.position += record.length;
    cursor.line += record.lines;
}

fn reject_overlong(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    record: &Overlong,
    is_unended: bool,
    timestamp_ms: i64,
    batch: &mut Batch,
) {
    let start = cursor.position;
    let converted = format.converter.convert_overlong(&OverlongRecord {
        beginning: &record.beginning,
        length: record.length,
        hash: record.hash.digest128(),
        unclosed: is_unended && record.finder.in_quotes(),
        origin: Origin {
            file: cursor.file,
            start,
            end: start + record.length,
            line: cursor.line,
        },
    });
    match &mut cursor.trial {
        Some(trial) => trial.push(timestamp_ms, &converted),
        None => batch.push(timestamp_ms, &converted),
    }
}

#[cfg(test)]
mod tests;
