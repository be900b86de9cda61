//! One record again: a dead letter's bytes after the configuration or the text was corrected.

use std::path::Path;

use bekk_stream::{Body, CsvDialect, FileRecord, Origin, Payload, Stream};

use crate::Error;
use crate::ask::reread::Reread;
use crate::text::convert::RawRecord;
use crate::text::format::Format;
use crate::text::header::Header;
use crate::text::preamble::map_header;

/// How a record's text is written.
#[derive(Debug, Clone, Copy)]
pub enum TextForm<'a> {
    /// As it stands in its file, if that is still there: the header before it names its fields.
    InFile(InFile<'a>),
    /// As the stream's files are, under this header.
    Under(&'a str),
    /// As dead letters have rows that the table refused: the stream's order, commas, ISO 8601.
    Plain,
}

/// Where a record's text came from.
#[derive(Debug, Clone, Copy)]
pub struct InFile<'a> {
    /// Where the file was.
    pub path: &'a Path,
    /// What the file was known by, if that is known.
    pub file: Option<&'a FileRecord>,
    /// The record's bytes as they were read then.
    pub original: &'a [u8],
}

/// A record that is a row now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reparsed {
    /// The partition that its key belongs to.
    pub partition: u32,
    /// Its key, if rows of the stream have one.
    pub key: Option<Vec<u8>>,
    /// Its payload, as a record of the log has it.
    pub payload: Vec<u8>,
}

/// Reads records of one stream again, as the stream is configured now. Keeps its place in a file, so that
/// records in the order in which they stand there cost one reading of it.
pub struct Reparser<'a> {
    stream: &'a Stream,
    partitions: u32,
    /// Of the file that was read last, one for each dialect that was tried.
    files: Vec<Reread<'a>>,
}

impl<'a> Reparser<'a> {
    /// For a stream whose topic has so many partitions.
    #[must_use]
    pub const fn new(stream: &'a Stream, partitions: u32) -> Self {
        Self {
            stream,
            partitions,
            files: Vec::new(),
        }
    }

    /// Reads the text of one record. Inside is why it is no row still.
    ///
    /// # Errors
    /// If the file cannot be read, or a column has conditions that its type does not allow.
    pub fn reparse(
        &mut self,
        form: TextForm<'_>,
        text: &[u8],
        origin: Origin,
    ) -> Result<Result<Reparsed, String>, Error> {
        match form {
            TextForm::Plain => {
                let plain = written_plainly(self.stream);
                let mut format = Format::new(&plain, plain.csv.clone(), self.partitions)?;
                let header = Header::in_column_order(&plain);
                Ok(convert(&mut format, &header, text, origin))
            }
            TextForm::Under(names) => {
                let dialect = self.stream.csv.clone();
                let mut format = Format::new(self.stream, dialect, self.partitions)?;
                Ok(header_named(&mut format, names).and_then(|mut header| {
                    header.given = format.converter.given(None)?;
                    convert(&mut format, &header, text, origin)
                }))
            }
            TextForm::InFile(place) => self.reparse_in_file(place, text, origin),
        }
    }

    /// The configuration may have been corrected for this very file, or changed for others since: what it says
    /// now is tried first, then the way in which the file was begun to be split.
    fn reparse_in_file(
        &mut self,
        place: InFile<'_>,
        text: &[u8],
        origin: Origin,
    ) -> Result<Result<Reparsed, String>, Error> {
        let now = &self.stream.csv;
        let begun = place
            .file
            .and_then(|file| CsvDialect::from_text(&file.dialect));
        let as_begun = begun.map(|begun| CsvDialect {
            delimiter: begun.delimiter,
            quote: begun.quote,
            encoding: begun.encoding,
            skip_lines: begun.skip_lines,
            comment: begun.comment,
            ..now.clone()
        });
        let mut dialects = vec![now.clone()];
        dialects.extend(as_begun.filter(|dialect| dialect != now));
        let mut first = None;
        for dialect in dialects {
            let file = self.file(place, dialect)?;
            let parsed = match file.header_before(place, origin.start)? {
                Ok(header) => convert(&mut file.format, &header, text, origin),
                Err(why) => Err(why),
            };
            if parsed.is_ok() {
                return Ok(parsed);
            }
            first.get_or_insert(parsed);
        }
        Ok(first.expect("there is at least one dialect"))
    }

    fn file(&mut self, place: InFile<'_>, dialect: CsvDialect) -> Result<&mut Reread<'a>, Error> {
        self.files.retain(|file| file.path == place.path);
        let known = |file: &Reread<'_>| file.format.dialect == dialect;
        let at = match self.files.iter().position(known) {
            Some(at) => at,
            None => {
                let format = Format::new(self.stream, dialect, self.partitions)?;
                self.files
                    .push(Reread::new(place.path, format, self.partitions));
                self.files.len() - 1
            }
        };
        Ok(&mut self.files[at])
    }
}

/// The header that a text is.
fn header_named(format: &mut Format<'_>, names: &str) -> Result<Header, String> {
    let bytes = names.as_bytes();
    let found = (!bytes.is_empty()).then(|| format.splitter.split(bytes, true));
    let Some(found) = found.flatten() else {
        return Err("the header is empty".to_owned());
    };
    let spans = format.splitter.spans();
    map_header(
        format.stream,
        &format.dialect,
        spans,
        &bytes[..found.content],
        0,
    )
}

/// The stream, if its files were written as dead letters write rows.
fn written_plainly(stream: &Stream) -> Stream {
    let mut plain = stream.clone();
    plain.csv = CsvDialect::default();
    for column in &mut plain.columns {
        column.format = None;
        (column.decimal, column.strip, column.source) = (None, Vec::new(), None);
        column.zone = None;
        column.true_values = None;
        column.false_values = None;
    }
    plain
}

fn convert(
    format: &mut Format<'_>,
    header: &Header,
    text: &[u8],
    origin: Origin,
) -> Result<Reparsed, String> {
    if text.is_empty() {
        return Err("there is no text".to_owned());
    }
    let Some(found) = format.splitter.split(text, true) else {
        return Err("there is no record".to_owned());
    };
    if found.len < text.len() {
        return Err("the text is more than one record".to_owned());
    }
    let record = RawRecord {
        bytes: text,
        has_quotes: found.has_quotes,
        fault: found.fault,
        spans: format.splitter.spans(),
        origin,
    };
    let converted = format.converter.convert(header, &record);
    match Payload::decode(converted.payload) {
        Ok(Payload {
            body: Body::Reject(reject),
            ..
        }) => Err(match &reject.column {
            Some(column) => format!("{} in `{column}`: {}", reject.reason, reject.detail),
            None => format!("{}: {}", reject.reason, reject.detail),
        }),
        _ => Ok(Reparsed {
            partition: converted.partition,
            key: converted.key.map(<[u8]>::to_vec),
            payload: converted.payload.to_vec(),
        }),
    }
}

#[cfg(test)]
mod tests;
