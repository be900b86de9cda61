//! One record again: a dead letter's bytes after the configuration or the text was mended.

use std::fs::File;
use std::path::Path;

use bekk_stream::{Body, CsvDialect, Origin, Payload, Stream};

use crate::Error;
use crate::convert::RawRecord;
use crate::header::Header;
use crate::reader::{Format, header_of};
use crate::source::Source;

/// How a record's text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextForm<'a> {
    /// As the stream's files are: under the header of this file, or without a file in the stream's order.
    AsInFile(Option<&'a Path>),
    /// As dead letters have rows that the table refused: the stream's order, commas, ISO 8601.
    Plain,
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

/// Reads the text of one record as the stream is configured now. Inside is why it is no row still.
///
/// # Errors
/// If the file cannot be read, or a column's conditions are none of its type.
pub fn reparse(
    stream: &Stream,
    partitions: u32,
    form: TextForm<'_>,
    text: &[u8],
    origin: Origin,
) -> Result<Result<Reparsed, String>, Error> {
    let plain;
    let stream = match form {
        TextForm::AsInFile(_) => stream,
        TextForm::Plain => {
            plain = written_plainly(stream);
            &plain
        }
    };
    let mut format = Format::new(stream, stream.csv.clone(), partitions)?;
    let header = match form {
        TextForm::AsInFile(Some(path)) => {
            let file = File::open(path).map_err(Error::io("open", path))?;
            let mut source = Source::new(file).map_err(Error::io("read", path))?;
            match header_of(&mut source, &mut format).map_err(Error::io("read", path))? {
                Ok(header) => header,
                Err(why) => return Ok(Err(format!("`{}`: {why}", path.display()))),
            }
        }
        _ => Header::in_column_order(stream),
    };
    Ok(convert(&mut format, &header, text, origin))
}

/// The stream, if its files were written as dead letters write rows.
fn written_plainly(stream: &Stream) -> Stream {
    let mut plain = stream.clone();
    plain.csv = CsvDialect::default();
    for column in &mut plain.columns {
        column.format = None;
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
mod tests {
    use std::io::Write as _;

    use bekk_stream::FileId;

    use super::*;
    use crate::testing::stream;

    fn check(form: TextForm<'_>, text: &str, expected: Result<&str, &str>) {
        let origin = Origin {
            file: FileId::from_bytes([0; 16]),
            start: 7,
            end: 8,
            line: 2,
        };
        let found = reparse(&stream(), 4, form, text.as_bytes(), origin).unwrap();
        match (&found, expected) {
            (Ok(row), Ok(key)) => assert_eq!(row.key.as_deref(), Some(key.as_bytes())),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            _ => panic!("{text} gave {found:?}"),
        }
    }

    #[test]
    fn a_record_is_read_again_under_its_header() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"name,Price,id\nx,1,2\n").unwrap();
        let in_file = TextForm::AsInFile(Some(file.path()));
        check(in_file, "lamp,1.5,7", Ok("7"));
        check(in_file, "lamp,1.5,7\r\n", Ok("7"));
        check(in_file, "7,1.5,lamp", Err("bad_value in `id`"));
        check(in_file, "lamp,1.5,7\nlamp,1.5,8", Err("more than one"));
        check(TextForm::AsInFile(None), "7,lamp,1.5", Ok("7"));
        check(TextForm::Plain, "7,\"a, b\",1.5", Ok("7"));
        check(TextForm::Plain, "7", Err("field_count"));
        check(TextForm::Plain, "", Err("no text"));
    }
}
