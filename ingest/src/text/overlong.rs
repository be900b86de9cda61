//! Records longer than are held: their beginning is kept, the rest is passed until their end.

use bekk_stream::{Origin, REJECT_RAW_MAX};
use xxhash_rust::xxh3::Xxh3;

use crate::text::batch::Batch;
use crate::text::block::Block;
use crate::text::coding::Coding;
use crate::text::convert::OverlongRecord;
use crate::text::cursor::Cursor;
use crate::text::format::Format;
use crate::text::split::{EndFinder, count_newlines};

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
            "a record is longer than record_max: it becomes a reject; if a quote is never closed, that is the rest \
             of the file"
        );
    }
    let quote = format.dialect.quote.filter(|_| !is_comment);
    let mut record = Overlong {
        finder: EndFinder::new(format.dialect.delimiter, quote),
        beginning: Vec::new(),
        length: 0,
        file_length: 0,
        lines: 0,
        hash: Xxh3::new(),
        is_comment,
    };
    let end = record.take(rest, block.coding);
    debug_assert_eq!(end, None, "the splitter has found no end either");
    cursor.overlong = Some(Box::new(record));
    block.scanned = block.bytes.len();
}

impl Overlong {
    /// Takes the record's next bytes; says where it ends if it does there.
    fn take(&mut self, bytes: &[u8], coding: Coding) -> Option<usize> {
        let end = self.finder.feed(bytes);
        let bytes = &bytes[..end.unwrap_or(bytes.len())];
        let room = (REJECT_RAW_MAX - self.beginning.len()).min(bytes.len());
        self.beginning.extend_from_slice(&bytes[..room]);
        self.length += bytes.len() as u64;
        self.file_length += coding.file_len(bytes) as u64;
        self.lines += count_newlines(bytes);
        self.hash.update(bytes);
        end
    }
}

/// Goes on passing an over-long record, and rejects it where it ends.
pub(crate) fn take_overlong(
    cursor: &mut Cursor,
    format: &mut Format<'_>,
    block: &mut Block<'_>,
    batch: &mut Batch,
) {
    let Some(mut record) = cursor.overlong.take() else {
        return;
    };
    let end = record.take(block.bytes, block.coding);
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
    cursor.position += record.file_length;
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
            end: start + record.file_length,
            line: cursor.line,
        },
    });
    match &mut cursor.trial {
        Some(trial) => trial.push(timestamp_ms, &converted),
        None => batch.push(timestamp_ms, &converted),
    }
}
