//! A file's records, read again from its beginning to its position.

use std::io;

use bekk_stream::{CsvDialect, Stream};

use super::Item;
use crate::Error;
use crate::ask::place::find_again;
use crate::file::entry::FileEntry;
use crate::source::Source;
use crate::text::cursor::Cursor;
use crate::text::format::Format;
use crate::text::parsed_batch::ParsedBatch;
use crate::text::reader::{BlockReader, Outcome};

/// Gives each record that a file has before its position. Returns whether its bytes are known to be those that were read,
/// or why it cannot be compared.
pub(super) fn each_of_file(
    entry: &FileEntry,
    stream: &Stream,
    mut take: impl FnMut(Item),
) -> Result<Result<bool, String>, Error> {
    let dialect = CsvDialect::from_text(&entry.dialect).unwrap_or_else(|| stream.csv.clone());
    let mut format = Format::new(stream, dialect, 1)?;
    let is_it = |source: &mut Source| entry.head.matches(source, 0);
    let mut source = match find_again(entry.path(), stream, is_it) {
        Ok(Some((_, source))) => source,
        Ok(None) => {
            return Ok(Err("it is gone, or another file has its name".to_owned()));
        }
        Err((_, error)) => return Ok(Err(format!("it cannot be read: {error}"))),
    };
    match read_again(entry, &mut source, &mut format, &mut take) {
        Ok(read) => Ok(read),
        Err(error) => Ok(Err(format!("it cannot be read: {error}"))),
    }
}

fn read_again(
    entry: &FileEntry,
    source: &mut Source,
    format: &mut Format<'_>,
    take: &mut impl FnMut(Item),
) -> io::Result<Result<bool, String>> {
    let changed = || Ok(Err("it has changed since it was read".to_owned()));
    let mut cursor = Cursor::new(entry.id);
    cursor.seen.clone_from(&entry.first);
    let mut reader = BlockReader::new();
    let mut batch = ParsedBatch::new(0, 1);
    while cursor.position < entry.position {
        batch.payloads = Some(Vec::new());
        let bounds = (entry.position, true);
        let outcome = reader.read(source, &mut cursor, format, bounds, &mut batch)?;
        batch.clear();
        let payloads = batch.payloads.take().unwrap_or_default();
        payloads
            .iter()
            .filter_map(|bytes| Item::of(bytes))
            .for_each(&mut *take);
        match outcome {
            Outcome::More | Outcome::Full => {}
            Outcome::CaughtUp(_) | Outcome::Conflict(_) | Outcome::Rewritten => break,
            Outcome::Blocked(why) => {
                return Ok(Err(format!(
                    "it does not fit the current configuration: {why}"
                )));
            }
        }
    }
    let is_tail = |source: &mut Source| match entry.position.checked_sub(entry.tail.len) {
        Some(start) => entry.tail.matches(source, start),
        None => Ok(false),
    };
    if !is_tail(source)? {
        return changed();
    }
    match (entry.crc, cursor.crc) {
        (Some(known), Some(crc)) if cursor.position == entry.position => match known == crc {
            true => Ok(Ok(true)),
            false => changed(),
        },
        _ => Ok(Ok(false)),
    }
}
