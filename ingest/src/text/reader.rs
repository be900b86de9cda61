//! Reads a block of a file: finds its records, passes over those that are in the log, and converts the
//! others into a batch.
//!
//! A block is read from the next record's beginning each time, so that nothing of a file is held between
//! two turns but its cursor.

mod records;

use std::io;

use bekk_stream::HeaderRow;

use self::records::{Taken, pass_known, take_record, take_zeros};
use crate::clock::now_ms;
use crate::source::{BLOCK_BYTES, Source};
use crate::text::block::Block;
use crate::text::coding::Coding;
use crate::text::cursor::{Cursor, find_coding};
use crate::text::ends;
use crate::text::format::Format;
use crate::text::header::Header;
use crate::text::overlong::{begin_overlong, take_overlong};
use crate::text::parsed_batch::{Mark, ParsedBatch, Progress};
use crate::text::preamble::{given_header, map_header, take_header};

/// How large a batch may grow within a block: records of two bytes take many times that in the log.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How many zeros in a row are no text.
const ZEROS_MIN: usize = 4;
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
    /// The bytes before the position are not those that were read. Nothing was taken.
    Rewritten,
}

pub(crate) struct BlockReader {
    block: Vec<u8>,
    /// The block's text, if it does not stand there as it is.
    text: Vec<u8>,
}

impl BlockReader {
    pub(crate) fn new() -> Self {
        Self {
            block: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Reads the next block of a file, up to the byte `until`, and takes its records into `batch`. With
    /// `last` the file ends there for good, and so does its last record.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn read(
        &mut self,
        source: &mut Source,
        cursor: &mut Cursor,
        format: &mut Format<'_>,
        (until, last): (u64, bool),
        batch: &mut ParsedBatch,
    ) -> io::Result<Outcome> {
        let coding = match find_coding(source, cursor, format.dialect.encoding)? {
            Ok(coding) => coding,
            Err(why) => return Ok(Outcome::Blocked(why)),
        };
        let mark = batch.mark();
        let before = cursor.position;
        let mut outcome = Outcome::More;
        // A record may be longer than a block: then once more with room for the longest.
        for text_max in [BLOCK_BYTES, format.dialect.record_max + BLOCK_BYTES] {
            let capacity = coding.enough(text_max);
            let start = cursor.scanned();
            let wanted =
                capacity.min(usize::try_from(until.saturating_sub(start)).unwrap_or(capacity));
            let read = self.fill(source, coding, (start, wanted), last.then_some(until))?;
            if !cursor.is_as_read(source)? {
                return Ok(Outcome::Rewritten);
            }
            let is_end = read < wanted || start + read as u64 >= until;
            let mut block = Block {
                bytes: match coding {
                    Coding::Bytes => &self.block[..read],
                    _ => &self.text,
                },
                coding,
                at: 0,
                scanned: 0,
                last: last && is_end,
                again: false,
                ends_in_zeros: false,
                timestamp_ms: now_ms(),
            };
            outcome = take_block(cursor, format, &mut block, batch);
            if block.again {
                block.scanned = 0;
            }
            let scanned = coding.file_len(&block.bytes[..block.scanned.max(block.at)]);
            let (again, in_zeros) = (block.again, block.ends_in_zeros);
            cursor.scan(start, &self.block[..scanned]);
            if in_zeros && coding == Coding::Bytes && outcome == Outcome::More {
                let read_to = start + read as u64;
                outcome = self.pass_zeros(source, cursor, (read_to, until))?;
                let outcome = end_trial(cursor, batch, outcome);
                note(cursor, batch, &mark, before);
                return Ok(outcome);
            }
            if outcome == Outcome::More && is_end && !again {
                outcome = Outcome::CaughtUp(start + read as u64 - cursor.position);
            }
            if scanned > 0 || is_end || again {
                outcome = end_trial(cursor, batch, outcome);
                note(cursor, batch, &mark, before);
                break;
            }
        }
        Ok(outcome)
    }

    /// Skips zeros that continue after a block, up to the first other byte. If only zeros follow, they wait.
    fn pass_zeros(
        &mut self,
        source: &mut Source,
        cursor: &mut Cursor,
        (read_to, until): (u64, u64),
    ) -> io::Result<Outcome> {
        let mut first = [0];
        source.read_full_at(&mut first, cursor.position)?;
        let mut end = read_to;
        let mut found = None;
        while found.is_none() && end < until {
            let wanted = usize::try_from(until - end)
                .unwrap_or(usize::MAX)
                .min(BLOCK_BYTES);
            self.block.resize(wanted.max(self.block.len()), 0);
            let read = source.read_full_at(&mut self.block[..wanted], end)?;
            if read == 0 {
                break;
            }
            let bytes = &self.block[..read];
            found = bytes
                .iter()
                .position(|byte| *byte != 0)
                .map(|at| end + at as u64);
            end += read as u64;
        }
        let Some(found) = found else {
            return Ok(Outcome::CaughtUp(end - cursor.position));
        };
        if first != [0] {
            cursor.hole_at = Some(cursor.position);
            return Ok(Outcome::More);
        }
        cursor.note_zeros(found - cursor.position);
        let zeros = vec![0; BLOCK_BYTES];
        while cursor.position < found {
            let start = cursor.position;
            let len = usize::try_from(found - start)
                .unwrap_or(usize::MAX)
                .min(zeros.len());
            cursor.position += len as u64;
            cursor.scan(start, &zeros[..len]);
        }
        Ok(Outcome::More)
    }

    /// Reads the header that is valid at the cursor's position again.
    ///
    /// # Errors
    /// If the file cannot be read; inside, why its header does not fit the stream.
    pub(crate) fn reload_header(
        &mut self,
        source: &mut Source,
        cursor: &mut Cursor,
        format: &mut Format<'_>,
        header_at: u64,
    ) -> io::Result<Result<(), String>> {
        let coding = match find_coding(source, cursor, format.dialect.encoding)? {
            Ok(coding) => coding,
            Err(why) => return Ok(Err(why)),
        };
        if format.dialect.header != HeaderRow::InFile {
            let header = given_header(format.stream, &format.dialect, header_at);
            return Ok(header.and_then(|header| set_header(cursor, format, header)));
        }
        let wanted = coding.enough(format.dialect.record_max + BLOCK_BYTES);
        let read = self.fill(source, coding, (header_at, wanted), Some(u64::MAX))?;
        let bytes = match coding {
            Coding::Bytes => &self.block[..read],
            _ => &self.text[..],
        };
        if bytes.is_empty() {
            return Ok(Err("its header is gone".to_owned()));
        }
        let Some(found) = format.splitter.split(bytes, true) else {
            return Ok(Err("its header is gone".to_owned()));
        };
        let (record, spans) = (&bytes[..found.content], format.splitter.spans());
        let header = map_header(format.stream, &format.dialect, spans, record, header_at);
        Ok(header.and_then(|header| set_header(cursor, format, header)))
    }

    /// Reads `wanted` bytes of the file from `start` on, as far as it has them, and makes them text. `end`:
    /// where the file ends for good, or before.
    fn fill(
        &mut self,
        source: &mut Source,
        coding: Coding,
        (start, wanted): (u64, usize),
        end: Option<u64>,
    ) -> io::Result<usize> {
        self.block.resize(wanted.max(self.block.len()), 0);
        let read = source.read_full_at(&mut self.block[..wanted], start)?;
        if coding != Coding::Bytes {
            let is_end = end.is_some_and(|end| read < wanted || start + read as u64 >= end);
            self.text.clear();
            coding.decode(&self.block[..read], is_end, &mut self.text);
        }
        Ok(read)
    }
}

/// Takes a header with the values that are the same in all records of the file; inside, why it has none that fit.
fn set_header(cursor: &mut Cursor, format: &Format<'_>, mut header: Header) -> Result<(), String> {
    header.given = format.converter.given(cursor.seen.as_ref())?;
    cursor.set_header(header);
    Ok(())
}

/// Decides about a file on trial where what came of the block allows it.
fn end_trial(cursor: &mut Cursor, batch: &mut ParsedBatch, outcome: Outcome) -> Outcome {
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
fn note(cursor: &Cursor, batch: &mut ParsedBatch, mark: &Mark, before: u64) {
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
            crc: cursor.crc,
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
    batch: &mut ParsedBatch,
) -> Outcome {
    if cursor.overlong.is_some() {
        take_overlong(cursor, format, block, batch);
        if cursor.overlong.is_some() || block.again {
            return Outcome::More;
        }
    }
    if cursor.header.is_none() {
        if block.bytes.starts_with(&[0; ZEROS_MIN]) && block.coding == Coding::Bytes {
            // Behind them the block is read again, for the header.
            block.again = matches!(take_zeros(cursor, block), Taken::Yes);
            return Outcome::More;
        }
        match take_header(format, block) {
            Ok(Some(mut header)) => {
                header.at += cursor.position;
                header.given = match format.converter.given(cursor.seen.as_ref()) {
                    Ok(given) => given,
                    Err(why) => return Outcome::Blocked(why),
                };
                cursor.set_header(header);
                cursor.position += block.coding.file_len(&block.bytes[..block.at]) as u64;
                let end = format.dialect.end();
                cursor.line += ends::count(end.as_bytes(), &block.bytes[..block.at]);
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
    cursor.is_quote_open = false;
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
                cursor.is_quote_open =
                    ends::behind_first(&format.dialect, &block.bytes[block.at..]).is_some();
                if rest > format.dialect.record_max && !block.ends_in_zeros {
                    begin_overlong(cursor, format, block);
                }
                break;
            }
            Taken::Conflict => return Outcome::Conflict(cursor.position),
        }
    }
    Outcome::More
}

#[cfg(test)]
mod tests;
