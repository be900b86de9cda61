//! Records longer than are held: their beginning is kept, the rest is passed until their end.
//!
//! A quote that is never closed begins such a record, too. So one that spans lines is looked at ahead, and read
//! again from its beginning if its quotes are wrong: then only its first line is lost.

use bekk_stream::{Origin, REJECT_RAW_MAX};
use xxhash_rust::xxh3::Xxh3;

use crate::text::block::Block;
use crate::text::coding::Coding;
use crate::text::convert::OverlongRecord;
use crate::text::cursor::Cursor;
use crate::text::format::Format;
use crate::text::notice::{NoticeKind, letter_cut};
use crate::text::parsed_batch::ParsedBatch;
use crate::text::split::{EndFinder, Ended, count_newlines};

/// How many bytes are looked at ahead for a quote that closes a field: more than a record may have.
const QUOTED_MAX: u64 = 9_000_000;

/// A record longer than is held, being passed.
pub(crate) struct Overlong {
    finder: EndFinder,
    beginning: Vec<u8>,
    /// Of its text.
    length: u64,
    /// In the file.
    pub(crate) file_length: u64,
    lines: u64,
    hash: Xxh3,
    /// It is a comment: nothing comes of it.
    is_comment: bool,
    /// The file's hash before it, once the block in which it begins has been scanned.
    pub(crate) hash_before: Option<Box<Xxh3>>,
}

/// Begins to pass a record of which the rest of the block is only a part, and more than is held.
pub(crate) fn begin_overlong(cursor: &mut Cursor, format: &Format<'_>, block: &mut Block<'_>) {
    let rest = &block.bytes[block.at..];
    let is_comment =
        format.dialect.comment.is_some() && rest.first().copied() == format.dialect.comment;
    if !is_comment {
        tracing::warn!(
            file = %cursor.file,
            line = cursor.line,
            position = cursor.position,
            "a record is longer than record_max: it becomes a reject"
        );
    }
    let is_line = cursor.broken_at == Some(cursor.position);
    let mut record = Overlong {
        finder: EndFinder::new(&format.dialect, is_line || is_comment),
        beginning: Vec::new(),
        length: 0,
        file_length: 0,
        lines: 0,
        hash: Xxh3::new(),
        is_comment,
        hash_before: None,
    };
    let ended = record.take(rest, block.coding);
    assert!(
        !matches!(ended, Ended::At(_)),
        "the splitter has found no end either"
    );
    if ended == Ended::Broken {
        cursor.broken_at = Some(cursor.position);
        block.again = true;
        return;
    }
    cursor.overlong = Some(Box::new(record));
    block.scanned = block.bytes.len();
}

impl Overlong {
    /// Takes the record's next bytes; says whether it ends there.
    fn take(&mut self, bytes: &[u8], coding: Coding) -> Ended {
        let ended = self.finder.feed(bytes);
        let bytes = match ended {
            Ended::At(end) => &bytes[..end],
            _ => bytes,
        };
        let room = (REJECT_RAW_MAX - self.beginning.len()).min(bytes.len());
        self.beginning.extend_from_slice(&bytes[..room]);
        self.length += bytes.len() as u64;
        self.file_length += coding.file_len(bytes) as u64;
        self.lines += count_newlines(bytes);
        self.hash.update(bytes);
        ended
    }

    /// Whether it is inside quotes, and has lines behind its first.
    pub(crate) fn is_open_quote(&self) -> bool {
        self.finder.is_open() && self.lines > 0
    }
}

/// Continues passing an over-long record, and rejects it where it ends.
pub(crate) fn take_overlong(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    block: &mut Block<'_>,
    batch: &mut ParsedBatch,
) {
    let Some(mut record) = cursor.overlong.take() else {
        return;
    };
    let ended = record.take(block.bytes, block.coding);
    let is_hopeless = ended == Ended::NotYet
        && record.is_open_quote()
        && (block.last || record.length > QUOTED_MAX);
    if ended == Ended::Broken || is_hopeless {
        cursor.rewind(record.hash_before);
        block.again = true;
        return;
    }
    block.at = match ended {
        Ended::At(end) => end,
        _ => block.bytes.len(),
    };
    if ended == Ended::NotYet && !block.last {
        cursor.overlong = Some(record);
        return;
    }
    if !record.is_comment {
        reject_overlong(cursor, format, &record, block.timestamp_ms, batch);
    }
    cursor.position += record.file_length;
    cursor.line += record.lines;
}

fn reject_overlong(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    record: &Overlong,
    timestamp_ms: i64,
    batch: &mut ParsedBatch,
) {
    let start = cursor.position;
    if record.length > REJECT_RAW_MAX as u64 {
        let text = letter_cut(cursor.line, record.length);
        cursor.notices.set(NoticeKind::LetterCut, text);
    }
    let converted = format.converter.convert_overlong(&OverlongRecord {
        beginning: &record.beginning,
        length: record.length,
        hash: record.hash.digest128(),
        unclosed: record.finder.is_open(),
        origin: Origin {
            file: cursor.file,
            start,
            end: start + record.file_length,
            line: cursor.line,
        },
    });
    match &mut cursor.trial {
        Some(trial) => trial.push(timestamp_ms, &converted),
        None => batch.push(timestamp_ms, &converted),
    }
}
