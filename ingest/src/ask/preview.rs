//! Reads a file as ingest would, without a log: what would become of it.

use std::path::Path;

use bekk_stream::{FileId, Stream};

use crate::Error;
use crate::source::stat::{Stat, first_seen};
use crate::source::{Source, open};
use crate::text::cursor::Cursor;
use crate::text::format::Format;
use crate::text::parsed_batch::ParsedBatch;
use crate::text::reader::{BlockReader, Outcome};
use crate::text::trial::Trial;

/// How large the records held at once grow.
const BATCH_BYTES: usize = 1 << 20;

/// What would become of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// Records, rejects among them.
    pub records: u64,
    /// How many of them are rejects.
    pub rejects: u64,
    /// The file's bytes.
    pub bytes: u64,
    /// The size of the records as they would be appended.
    pub encoded_bytes: u64,
    /// Why the file would be set aside, if it would.
    pub blocked: Option<String>,
    /// What the first rejects are.
    pub first_rejects: Vec<String>,
    /// What would be noticed of it that stops nothing.
    pub notices: Vec<String>,
}

/// Reads a file as it is now, as a stream's, and says what would become of it. Nothing is written.
///
/// # Errors
/// If the file cannot be read, or a column has conditions that its type does not allow.
pub fn preview(path: &Path, stream: &Stream) -> Result<Preview, Error> {
    preview_first(path, stream, u64::MAX)
}

/// The same of a file's first records, some more than that many.
///
/// # Errors
/// As of [`preview`].
pub fn preview_first(path: &Path, stream: &Stream, records_max: u64) -> Result<Preview, Error> {
    let file = open::file(path).map_err(Error::io("open", path))?;
    let mut source = Source::new(file).map_err(Error::io("read", path))?;
    let mut format = Format::new(stream, stream.csv.clone(), stream.partitions)?;
    let mut cursor = Cursor::new(FileId::random());
    let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
    cursor.seen = Some(first_seen(path, &Stat::of(&metadata)));
    cursor.trial = Some(Box::<Trial>::default());
    let mut reader = BlockReader::new();
    let mut batch = ParsedBatch::new(0, stream.partitions);
    batch.told = Some(Vec::new());
    let mut preview = Preview::default();
    loop {
        let outcome = reader
            .read(
                &mut source,
                &mut cursor,
                &mut format,
                (u64::MAX, true),
                &mut batch,
            )
            .map_err(Error::io("read", path))?;
        let is_end = !matches!(outcome, Outcome::More | Outcome::Full);
        if is_end || batch.records >= records_max || batch.bytes() >= BATCH_BYTES {
            preview.records += batch.records;
            preview.rejects += batch.rejects;
            preview.encoded_bytes += batch
                .buffers
                .iter()
                .map(|buffer| buffer.size() as u64)
                .sum::<u64>();
            batch.clear();
        }
        if let Outcome::Blocked(why) = outcome {
            preview.blocked = Some(why);
        }
        if is_end || preview.records >= records_max {
            preview.bytes = cursor.position;
            preview.first_rejects = batch.told.take().unwrap_or_default();
            let notices = cursor.notices.all().iter();
            preview.notices = notices.map(|notice| notice.text.clone()).collect();
            return Ok(preview);
        }
    }
}
