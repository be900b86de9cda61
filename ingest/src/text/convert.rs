//! From a record's fields to what the log takes: a row's or reject's payload, its key and partition.

use std::borrow::Cow;

use bekk_stream::{
    Column, ColumnSource, CsvDialect, Field, FileId, FirstSeen, Origin, REJECT_RAW_MAX, Reason,
    Reject, RowHash, SchemaId, Separator, Stream, Value, ValueParser, begin_row, encode_reject,
    join_key, partition_for,
};

use crate::Error;
use crate::text::decode::Decoded;
use crate::text::ends;
use crate::text::header::Header;
use crate::text::split::{QuoteFault, Span, SplitRecord};

/// Converts the records of one stream, written in one dialect. Its buffers are used again for every
/// record, so that none allocates.
pub(crate) struct Converter {
    columns: Vec<InColumn>,
    /// Whether some column has a hash of the record's fields.
    has_hash: bool,
    key_indexes: Vec<usize>,
    schema: SchemaId,
    partitions: u32,
    record_max: usize,
    end: Separator,
    trailing_delimiter: bool,
    decoded: Decoded,
    encoded: Encoded,
    key: Vec<u8>,
}

/// A column and how its values are found.
struct InColumn {
    column: Column,
    parser: ValueParser,
    is_key: bool,
}

/// A record as it is encoded.
struct Encoded {
    payload: Vec<u8>,
    /// For each column of the key, the canonical text of its value; empty for the others.
    key_texts: Vec<Vec<u8>>,
    /// The first 64 columns of which the last record had a text that lost digits, as bits.
    digits_lost: u64,
}

/// A converted record; its bytes are the converter's until the next one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Converted<'a> {
    pub(crate) partition: u32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: &'a [u8],
    pub(crate) is_reject: bool,
    /// Columns in which it lost digits, as bits.
    pub(crate) digits_lost: u64,
}

/// A record as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawRecord<'a> {
    /// Its bytes with the line end.
    pub(crate) bytes: &'a [u8],
    /// Whether there are quotes in it, and what is wrong with them.
    pub(crate) has_quotes: bool,
    pub(crate) fault: Option<QuoteFault>,
    pub(crate) spans: &'a [Span],
    pub(crate) origin: Origin,
}

impl<'a> RawRecord<'a> {
    /// Makes the record that was found at the beginning of `rest`. Its origin is a placeholder: it is not appended.
    pub(crate) fn alone(rest: &'a [u8], found: &SplitRecord, spans: &'a [Span]) -> Self {
        Self {
            bytes: &rest[..found.len],
            has_quotes: found.has_quotes,
            fault: found.fault,
            spans,
            origin: Origin {
                file: FileId::from_bytes([0; 16]),
                start: 0,
                end: found.len as u64,
                line: 1,
            },
        }
    }
}

/// A record longer than may be held: what is kept of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverlongRecord<'a> {
    pub(crate) beginning: &'a [u8],
    pub(crate) length: u64,
    pub(crate) hash: u128,
    /// Whether it is the first line of a record whose quotes are wrong.
    pub(crate) unclosed: bool,
    pub(crate) origin: Origin,
}

/// Why a record is no row.
struct Fault<'a> {
    reason: Reason,
    column: Option<&'a str>,
    detail: Cow<'a, str>,
}

impl Converter {
    /// # Errors
    /// If a column has conditions that its type does not allow.
    pub(crate) fn new(
        stream: &Stream,
        dialect: &CsvDialect,
        partitions: u32,
    ) -> Result<Self, Error> {
        let key_indexes = stream.key_indexes();
        let columns = stream.columns.iter().enumerate().map(|(at, column)| {
            let parser = ValueParser::new(column, dialect).map_err(|rejection| Error::Column {
                stream: stream.name.clone(),
                column: column.name.clone(),
                detail: rejection.detail,
            })?;
            Ok(InColumn {
                column: column.clone(),
                parser,
                is_key: key_indexes.contains(&at),
            })
        });
        Ok(Self {
            has_hash: stream
                .columns
                .iter()
                .any(|column| column.source == Some(ColumnSource::RowHash)),
            columns: columns.collect::<Result<_, Error>>()?,
            key_indexes,
            schema: stream.schema().id(),
            partitions,
            record_max: dialect.record_max,
            end: dialect.end(),
            trailing_delimiter: dialect.trailing_delimiter,
            decoded: Decoded::new(dialect),
            encoded: Encoded {
                payload: Vec::new(),
                key_texts: vec![Vec::new(); stream.columns.len()],
                digits_lost: 0,
            },
            key: Vec::new(),
        })
    }

    /// The values that all records of a file have, by the columns' places; empty if the records share no value.
    ///
    /// # Errors
    /// Why the file has none that fit, and what would help.
    pub(crate) fn given(&self, seen: Option<&FirstSeen>) -> Result<Vec<Value<'static>>, String> {
        let source = |column: &InColumn| {
            column
                .column
                .source
                .clone()
                .filter(ColumnSource::is_of_file)
        };
        if self.columns.iter().all(|column| source(column).is_none()) {
            return Ok(Vec::new());
        }
        let values = self.columns.iter().map(|column| match source(column) {
            None => Ok(Value::Null),
            Some(source) => source.of_file(&column.column, &column.parser, seen),
        });
        values.collect()
    }

    /// Converts a record that has been read whole.
    pub(crate) fn convert(&mut self, header: &Header, record: &RawRecord<'_>) -> Converted<'_> {
        self.decoded.take(record);
        let limits = (self.record_max, self.trailing_delimiter);
        let encoded = check_form(&self.columns, header, record, limits).and_then(|()| {
            let hash = self
                .has_hash
                .then(|| row_hash(record, &self.decoded))
                .transpose()?;
            let row = (header, record, hash.as_ref());
            let out = &mut self.encoded;
            out.payload.clear();
            out.digits_lost = 0;
            begin_row(
                &mut out.payload,
                self.schema,
                &record.origin,
                self.columns.len(),
            );
            encode_values(&self.columns, row, &self.decoded, out)
        });
        if let Err(fault) = encoded {
            let raw = match record.bytes.len() > self.record_max {
                // Length and hash of an over-long record are of all its bytes.
                true => record.bytes,
                false => ends::without(self.end.as_bytes(), record.bytes),
            };
            let reject = Reject::new(raw, fault.reason, fault.column, fault.detail);
            let payload = &mut self.encoded.payload;
            payload.clear();
            encode_reject(payload, self.schema, &record.origin, &reject);
            return self.rejected(record.origin.file);
        }
        let has_key = !self.key_indexes.is_empty();
        self.key.clear();
        let texts = self
            .key_indexes
            .iter()
            .map(|at| &self.encoded.key_texts[*at][..]);
        join_key(&mut self.key, texts);
        Converted {
            partition: match has_key {
                true => partition_for(&self.key, self.partitions),
                // Rows without a key are spread by their place in the file.
                false => partition_for(&record.origin.start.to_le_bytes(), self.partitions),
            },
            key: has_key.then_some(&self.key),
            payload: &self.encoded.payload,
            is_reject: false,
            digits_lost: self.encoded.digits_lost,
        }
    }

    /// The text of a column in the last record, which lost digits, with the column.
    pub(crate) fn digits_lost_in(
        &self,
        column: u32,
        header: &Header,
        record: &RawRecord<'_>,
    ) -> Option<String> {
        let at = column as usize;
        let field = header.columns[at]?;
        let text = self.decoded.text(record, field, &record.spans[field])?;
        let text: String = String::from_utf8_lossy(text).chars().take(40).collect();
        let column = &self.columns[at].column;
        Some(format!(
            "`{text}` in column `{}` ({})",
            column.name, column.column_type
        ))
    }

    /// Converts a record of which only the beginning was kept.
    pub(crate) fn convert_overlong(&mut self, record: &OverlongRecord<'_>) -> Converted<'_> {
        let kept = record.beginning.len().min(REJECT_RAW_MAX);
        let reject = Reject {
            raw: Cow::Borrowed(&record.beginning[..kept]),
            length: record.length,
            hash: (record.length > kept as u64).then_some(record.hash),
            reason: match record.unclosed {
                true => Reason::UnclosedQuote,
                false => Reason::TooLong,
            },
            column: None,
            detail: match record.unclosed {
                true => Cow::Owned(unclosed(None)),
                false => Cow::Owned(too_long(record.length, self.record_max)),
            },
        };
        let payload = &mut self.encoded.payload;
        payload.clear();
        encode_reject(payload, self.schema, &record.origin, &reject);
        self.rejected(record.origin.file)
    }

    fn rejected(&self, file: FileId) -> Converted<'_> {
        Converted {
            partition: partition_for(file.to_string().as_bytes(), self.partitions),
            key: None,
            payload: &self.encoded.payload,
            is_reject: true,
            digits_lost: 0,
        }
    }
}

fn unclosed(field: Option<usize>) -> String {
    let field = field.map_or("a field".to_owned(), |field| format!("field {}", field + 1));
    format!(
        "{field} begins with a quote that is not closed; the lines after this one are read as records"
    )
}

fn too_long(length: u64, record_max: usize) -> String {
    format!("{length} bytes are more than the {record_max} that a record may have")
}

/// Checks what can be said of a record without its values.
fn check_form<'a>(
    columns: &'a [InColumn],
    header: &Header,
    record: &RawRecord<'_>,
    (record_max, trailing_delimiter): (usize, bool),
) -> Result<(), Fault<'a>> {
    let fault = |reason, detail: String| {
        Err(Fault {
            reason,
            column: None,
            detail: Cow::Owned(detail),
        })
    };
    match record.fault {
        Some(QuoteFault::Unclosed(field)) => {
            // The fields of a longer record are not looked at.
            let field = Some(field).filter(|_| record.bytes.len() <= record_max);
            return Err(Fault {
                reason: Reason::UnclosedQuote,
                column: field.and_then(|field| column_of(columns, header, field)),
                detail: Cow::Owned(unclosed(field)),
            });
        }
        _ if record.bytes.len() > record_max => {
            return fault(
                Reason::TooLong,
                too_long(record.bytes.len() as u64, record_max),
            );
        }
        Some(QuoteFault::Stray(field)) => {
            return Err(Fault {
                reason: Reason::BadQuote,
                column: column_of(columns, header, field),
                detail: Cow::Owned(format!("stray quote in field {}", field + 1)),
            });
        }
        None => {}
    }
    let is_surplus = |span: &Span| !span.quoted && span.start == span.end;
    let has_surplus = trailing_delimiter
        && record.spans.len() == header.names.len() + 1
        && record.spans.last().is_some_and(is_surplus);
    if record.spans.len() != header.names.len() && !has_surplus {
        return fault(
            Reason::FieldCount,
            other_count(record.spans.len(), header.names.len()),
        );
    }
    Ok(())
}

#[cold]
fn other_count(fields: usize, names: usize) -> String {
    let fields = match fields {
        1 => "1 field".to_owned(),
        more => format!("{more} fields"),
    };
    format!("{fields} where the header has {names}")
}

/// The name of the column that a field is.
fn column_of<'a>(columns: &'a [InColumn], header: &Header, field: usize) -> Option<&'a str> {
    let column = header.columns.iter().position(|at| *at == Some(field))?;
    Some(columns[column].column.name.as_str())
}

/// Appends the values of a record to its payload, which has begun.
fn encode_values<'a>(
    columns: &'a [InColumn],
    (header, record, hash): (&Header, &RawRecord<'_>, Option<&RowHash>),
    decoded: &Decoded,
    out: &mut Encoded,
) -> Result<(), Fault<'a>> {
    let fields = columns.iter().zip(&header.columns);
    for (at, (column, field)) in fields.enumerate() {
        let row = &mut out.payload;
        let key = column.is_key.then(|| {
            let text = &mut out.key_texts[at];
            text.clear();
            text
        });
        let Some(field) = *field else {
            let value = value_of_no_field(&column.column, (header, record, hash), at);
            value.encode(row, key);
            continue;
        };
        let name = &column.column.name;
        let span = &record.spans[field];
        let Some(bytes) = decoded.text(record, field, span) else {
            return Err(Fault {
                reason: Reason::BadEncoding,
                column: Some(name),
                detail: Cow::Borrowed(decoded.complaint()),
            });
        };
        let quoted = span.quoted;
        if column.parser.loses_digits(bytes) {
            out.digits_lost |= bit_of(at);
        }
        if let Err(rejection) = column.parser.encode(Field { bytes, quoted }, row, key) {
            return Err(Fault {
                reason: rejection.reason,
                column: Some(name),
                detail: Cow::Owned(rejection.detail),
            });
        }
    }
    Ok(())
}

/// The bit of a column; none for those behind the first 64.
#[cold]
fn bit_of(column: usize) -> u64 {
    let column = u32::try_from(column).unwrap_or(u32::MAX);
    1_u64.checked_shl(column).unwrap_or_default()
}

/// The value of a column that is no field of the records.
fn value_of_no_field<'h>(
    column: &Column,
    (header, record, hash): (&'h Header, &RawRecord<'_>, Option<&RowHash>),
    at: usize,
) -> Cow<'h, Value<'static>> {
    match (&column.source, hash) {
        (Some(ColumnSource::Line), _) => {
            let line = i64::try_from(record.origin.line);
            Cow::Owned(Value::Int(line.unwrap_or(i64::MAX)))
        }
        (Some(ColumnSource::RowHash), Some(hash)) => Cow::Owned(hash.value(&column.column_type)),
        _ => Cow::Borrowed(header.given.get(at).unwrap_or(&Value::Null)),
    }
}

/// The hash of a record's fields.
fn row_hash<'a>(record: &RawRecord<'a>, decoded: &Decoded) -> Result<RowHash, Fault<'a>> {
    let mut hash = RowHash::default();
    for (field, span) in record.spans.iter().enumerate() {
        let Some(bytes) = decoded.text(record, field, span) else {
            return Err(Fault {
                reason: Reason::BadEncoding,
                column: None,
                detail: Cow::Owned(decoded.complaint().to_owned()),
            });
        };
        hash.field(Field {
            bytes,
            quoted: span.quoted,
        });
    }
    Ok(hash)
}
