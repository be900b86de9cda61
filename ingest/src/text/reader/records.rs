//! One record, blank line, comment or repeated header of a block.

use bekk_stream::{CsvDialect, Origin, REJECT_RAW_MAX};

use super::ZEROS_MIN;
use crate::text::block::Block;
use crate::text::coding::Coding;
use crate::text::convert::{Converted, Converter, RawRecord};
use crate::text::cursor::Cursor;
use crate::text::ends;
use crate::text::format::Format;
use crate::text::notice::{NoticeKind, letter_cut};
use crate::text::parsed_batch::ParsedBatch;
use crate::text::preamble::{other_header, unmarked};
use crate::text::ranges::Ranges;
use crate::text::split::{SplitRecord, count_newlines};

pub(super) enum Taken {
    Yes,
    Incomplete,
    Conflict,
}

/// Passes over bytes that are in the log; says whether there were some.
pub(super) fn pass_known(cursor: &mut Cursor, block: &mut Block<'_>) -> bool {
    let Some((start, end)) = cursor.known.next_from(cursor.position) else {
        cursor.known = Ranges::default();
        return false;
    };
    if start > cursor.position {
        return false;
    }
    let rest = &block.bytes[block.at..];
    let file_len = usize::try_from(end - cursor.position).unwrap_or(usize::MAX);
    let len = block.coding.text_len(rest, file_len);
    if len == 0 {
        return false;
    }
    cursor.line += count_newlines(&rest[..len]);
    advance(cursor, block, len);
    cursor.known.forget_before(cursor.position);
    true
}

/// Takes the record, blank line, comment or repeated header at the block's place.
pub(super) fn take_record(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    block: &mut Block<'_>,
    batch: &mut ParsedBatch,
) -> Taken {
    let rest = &block.bytes[block.at..];
    if rest.starts_with(&[0; ZEROS_MIN]) && block.coding == Coding::Bytes {
        return take_zeros(cursor, block);
    }
    if let Some(taken) = take_non_record(cursor, &format.dialect, block) {
        return taken;
    }
    let start = cursor.position;
    let found = match cursor.broken_at == Some(start) {
        false => format.splitter.split(rest, block.last),
        true => format.splitter.split_line(rest, block.last),
    };
    let end = format.dialect.end();
    let is_open = |found: &SplitRecord| found.len == rest.len() && !rest.ends_with(end.as_bytes());
    let may_be_filled =
        || block.coding == Coding::Bytes && cursor.hole_at != Some(start) && ends_in_zeros(rest);
    let Some(found) = found.filter(|found| !(is_open(found) && may_be_filled())) else {
        block.ends_in_zeros = may_be_filled();
        return Taken::Incomplete;
    };
    let end = start + block.coding.file_len(&rest[..found.len]) as u64;
    if !cursor.known.is_empty()
        && cursor
            .known
            .next_from(start)
            .is_some_and(|(known, _)| known < end)
    {
        return Taken::Conflict;
    }
    take_found(cursor, format, block, batch, &found, end);
    cursor.line += found.lines;
    cursor.position = end;
    block.at += found.len;
    Taken::Yes
}

/// Takes a record that has been found whole and ends at `end`: a row, a reject, or a header.
fn take_found(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    block: &Block<'_>,
    batch: &mut ParsedBatch,
    found: &SplitRecord,
    end: u64,
) {
    let rest = &block.bytes[block.at..];
    let start = cursor.position;
    let header = cursor
        .header
        .as_ref()
        .expect("records are taken behind a header only");
    let content = &rest[..found.content];
    let unmarked = unmarked(content);
    if unmarked == header.raw {
        return cursor.note_repeated_header();
    }
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
    if converted.is_reject && found.len > REJECT_RAW_MAX {
        let len = found.len as u64;
        cursor
            .notices
            .set(NoticeKind::LetterCut, letter_cut(cursor.line, len));
    }
    if converted.is_reject
        && let Some(mut other) = other_header(
            format.stream,
            &format.dialect,
            header,
            record.spans,
            content,
            start,
        )
    {
        tracing::info!(file = %cursor.file, position = start, "another header begins here");
        other.given.clone_from(&header.given);
        cursor.set_header(other);
    } else {
        if unmarked.len() < content.len() {
            cursor.note_mark();
        }
        let digits_lost = cursor.new_digits_lost(converted.digits_lost);
        push(cursor, batch, block.timestamp_ms, &converted);
        if digits_lost != 0 {
            note_digits_lost(cursor, &format.converter, &record, digits_lost);
        }
    }
}

/// Takes note of the columns, as bits, in which a record was the first one of its file to lose digits of a number.
#[cold]
fn note_digits_lost(
    cursor: &mut Cursor,
    converter: &Converter,
    record: &RawRecord<'_>,
    columns: u64,
) {
    for column in (0..u64::BITS).filter(|column| columns & (1 << column) != 0) {
        let header = cursor.header.as_ref();
        let what = header.and_then(|header| converter.digits_lost_in(column, header, record));
        if let Some(what) = what {
            cursor.note_digits_lost(column, &what);
        }
    }
}

/// Puts a record into the batch, or to those on trial, unless later ones of its key are in the log.
fn push(
    cursor: &mut Cursor,
    batch: &mut ParsedBatch,
    timestamp_ms: i64,
    converted: &Converted<'_>,
) {
    if cursor.is_superseded(converted.partition, converted.key) {
        return;
    }
    match &mut cursor.trial {
        Some(trial) => trial.push(timestamp_ms, converted),
        None => batch.push(timestamp_ms, converted),
    }
}

/// Takes a blank line or a comment, if one is there.
fn take_non_record(
    cursor: &mut Cursor,
    dialect: &CsvDialect,
    block: &mut Block<'_>,
) -> Option<Taken> {
    let rest = &block.bytes[block.at..];
    let is_footer = ends::is_footer(dialect, rest);
    let is_comment = dialect.comment.is_some() && rest.first().copied() == dialect.comment;
    let len = match (ends::blank_len(dialect, rest), rest) {
        (Some(len), _) => len,
        (None, [b'\r']) if block.last => 1,
        (None, _) if is_comment || is_footer => match ends::behind_first(dialect, rest) {
            Some(end) => end,
            None if block.last => rest.len(),
            None => return Some(Taken::Incomplete),
        },
        _ => return None,
    };
    if is_footer {
        cursor.note_passed();
    }
    cursor.line += ends::count(dialect.end().as_bytes(), &rest[..len]);
    advance(cursor, block, len);
    Some(Taken::Yes)
}

/// Passes over zeros where a record should begin: the hole that is left where a file was emptied and its writer went
/// on behind, or space that was reserved. Those at the end wait, as a writer may fill them.
pub(super) fn take_zeros(cursor: &mut Cursor, block: &mut Block<'_>) -> Taken {
    let rest = &block.bytes[block.at..];
    let Some(len) = rest.iter().position(|byte| *byte != 0) else {
        block.ends_in_zeros = true;
        return Taken::Incomplete;
    };
    cursor.note_zeros(len as u64);
    advance(cursor, block, len);
    Taken::Yes
}

/// Whether what is left of a block ends in zeros, which a writer may fill yet.
fn ends_in_zeros(rest: &[u8]) -> bool {
    rest.ends_with(&[0; ZEROS_MIN])
}

fn advance(cursor: &mut Cursor, block: &mut Block<'_>, len: usize) {
    let taken = &block.bytes[block.at..block.at + len];
    cursor.position += block.coding.file_len(taken) as u64;
    block.at += len;
}
