//! The file that a dead letter came from, read again for the header that names its fields.

use std::io;
use std::path::{Path, PathBuf};

use bekk_stream::FileId;

use crate::Error;
use crate::ask::place::find_again;
use crate::ask::reparse::InFile;
use crate::source::Source;
use crate::source::fingerprint::Fingerprint;
use crate::text::cursor::Cursor;
use crate::text::format::Format;
use crate::text::header::Header;
use crate::text::parsed_batch::ParsedBatch;
use crate::text::reader::{BlockReader, Outcome};

/// What helps where the file cannot tell.
const ADVICE: &str = "name its header: --header \"…\"";

/// A file and how far it has been read again.
pub(crate) struct Reread<'a> {
    /// Where the file was when it was read first.
    pub(crate) path: PathBuf,
    pub(crate) format: Format<'a>,
    partitions: u32,
    reader: BlockReader,
    reading: Option<Reading>,
}

struct Reading {
    path: PathBuf,
    source: Source,
    cursor: Cursor,
    /// What is read is not wanted, only the header that holds where it ends.
    records: ParsedBatch,
}

impl<'a> Reread<'a> {
    pub(crate) fn new(path: &Path, format: Format<'a>, partitions: u32) -> Self {
        Self {
            path: path.to_owned(),
            format,
            partitions,
            reader: BlockReader::new(),
            reading: None,
        }
    }

    /// The header that holds for the record that begins at `start`; inside, why it cannot be told.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn header_before(
        &mut self,
        place: InFile<'_>,
        start: u64,
    ) -> Result<Result<Header, String>, Error> {
        if self.reading.is_none() {
            self.reading = self.find(place, start)?;
        }
        let Some(reading) = &mut self.reading else {
            return Ok(Err(format!(
                "`{}` is gone, or another file has its name; {ADVICE}",
                self.path.display()
            )));
        };
        if !is_same(&mut reading.source, place, start).map_err(Error::io("read", &reading.path))? {
            self.reading = None;
            return Ok(Err(format!(
                "`{}` has changed since; {ADVICE}",
                self.path.display()
            )));
        }
        if reading.cursor.position > start {
            let seen = reading.cursor.seen.take();
            reading.cursor = Cursor::new(reading.cursor.file);
            reading.cursor.seen = seen;
        }
        let read = reading.read_to(&mut self.reader, &mut self.format, start);
        match read.map_err(Error::io("read", &reading.path))? {
            Err(why) => Ok(Err(why)),
            Ok(()) if reading.cursor.position != start => Ok(Err(format!(
                "no record of `{}` begins at byte {start} any more; {ADVICE}",
                reading.path.display()
            ))),
            Ok(()) => Ok(reading
                .cursor
                .header
                .clone()
                .ok_or_else(|| "it has no header".to_owned())),
        }
    }

    /// Finds the file again, if it still has the record or begins as it did.
    fn find(&self, place: InFile<'_>, start: u64) -> Result<Option<Reading>, Error> {
        let is_it = |source: &mut Source| is_same(source, place, start);
        let found = find_again(place.path, self.format.stream, is_it)
            .map_err(|(path, error)| Error::io("read", &path)(error))?;
        Ok(found.map(|(path, source)| {
            let mut cursor = Cursor::new(FileId::from_bytes([0; 16]));
            cursor.seen = place.file.and_then(|file| file.first.clone());
            Reading {
                path,
                source,
                cursor,
                records: ParsedBatch::new(0, self.partitions),
            }
        }))
    }
}

impl Reading {
    fn read_to(
        &mut self,
        reader: &mut BlockReader,
        format: &mut Format<'_>,
        start: u64,
    ) -> io::Result<Result<(), String>> {
        while self.cursor.position < start {
            let bounds = (start, false);
            let batch = &mut self.records;
            let outcome = reader.read(&mut self.source, &mut self.cursor, format, bounds, batch)?;
            batch.clear();
            match outcome {
                Outcome::More | Outcome::Full => {}
                Outcome::CaughtUp(_) | Outcome::Conflict(_) | Outcome::Rewritten => break,
                Outcome::Blocked(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(()))
    }
}

/// Whether a file has the record where it was, or at least begins as the file did.
fn is_same(source: &mut Source, place: InFile<'_>, start: u64) -> io::Result<bool> {
    let mut bytes = vec![0; place.original.len()];
    let read = source.read_full_at(&mut bytes, start)?;
    if !bytes.is_empty() && read == bytes.len() && bytes == place.original {
        return Ok(true);
    }
    match place.file {
        Some(known) if known.head_len > 0 => {
            let head = Fingerprint {
                len: known.head_len,
                hash: known.head_hash,
            };
            head.matches(source, 0)
        }
        _ => Ok(false),
    }
}
