//! Reads a block of a file: finds its records, passes over those that are in the log, and converts the
//! others into a batch.
//!
//! A block is read from the next record's beginning each time, so that nothing of a file is held between
//! two turns but its cursor.

use std::fs::File;
use std::io;

use bekk_stream::{CsvDialect, FileId, Origin, Stream};
use xxhash_rust::xxh3::Xxh3;

use crate::Error;
use crate::batch::{Batch, Mark, Progress};
use crate::convert::{Converter, RawRecord};
use crate::header::Header;
use crate::identity::{Fingerprint, TAIL_MAX, read_full_at};
use crate::overlong::{Overlong, begin_overlong, take_overlong};
use crate::preamble::{BOM, map_header, other_header, take_header};
use crate::ranges::Ranges;
use crate::recover::now_ms;
use crate::split::{Splitter, count_newlines};
use crate::trial::Trial;

/// How large a batch may grow within a block: records of two bytes take many times that in the log.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How many bytes are read at once.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;

/// Where the reading of a file stands.
pub(crate) struct Cursor {
    pub(crate) file: FileId,
    /// The first byte that has not been taken: where a record begins.
    pub(crate) position: u64,
    /// The number of the line that begins there.
    pub(crate) line: u64,
    pub(crate) header: Option<Header>,
    /// Of the bytes just before the position.
    pub(crate) tail: Fingerprint,
    /// What is in the log already, to be passed over.
    pub(crate) known: Ranges,
    /// The first records of a file that may yet be set aside.
    pub(crate) trial: Option<Box<Trial>>,
    /// Of all bytes so far, if the file was read from its beginning without a break.
    pub(crate) hash: Option<Box<Xxh3>>,
    pub(crate) overlong: Option<Box<Overlong>>,
}

/// How a stream's files are read: its columns and a dialect.
pub(crate) struct Format<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) dialect: CsvDialect,
    pub(crate) splitter: Splitter,
    pub(crate) converter: Converter,
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
    /// Records were taken, and the batch is as large as it may be.
    Full,
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
            tail: Fingerprint::of(&[]),
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
pub(crate) struct Block<'b> {
    pub(crate) bytes: &'b [u8],
    /// How many of them have been taken: where the next record begins.
    pub(crate) at: usize,
    /// How many of them need not be read again, those of an over-long record included.
    pub(crate) scanned: usize,
    /// Whether the file ends with them for good.
    pub(crate) last: bool,
    pub(crate) timestamp_ms: i64,
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
                if taken > 0 {
                    cursor.tail = tail;
                }
                outcome = end_trial(cursor, batch, outcome);
                note(cursor, batch, &mark, before);
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

/// Reads the header at a file's beginning; inside, why it does not fit the stream.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn header_of(
    file: &File,
    format: &mut Format<'_>,
) -> io::Result<Result<Header, String>> {
    let mut bytes = vec![0; format.dialect.record_max + BLOCK_BYTES];
    let read = read_full_at(file, &mut bytes, 0)?;
    let mut block = Block {
        bytes: &bytes[..read],
        at: 0,
        scanned: 0,
        last: true,
        timestamp_ms: 0,
    };
    let header = take_header(format, &mut block);
    Ok(header.and_then(|header| header.ok_or_else(|| "it has no header".to_owned())))
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
fn note(cursor: &Cursor, batch: &mut Batch, mark: &Mark, before: u64) {
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
            tail: cursor.tail,
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
        let held = cursor.trial.as_ref().map_or(0, |trial| trial.bytes());
        if batch.bytes() + held >= BATCH_BYTES_MAX {
            return Outcome::Full;
        }
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

#[cfg(test)]
mod tests;
