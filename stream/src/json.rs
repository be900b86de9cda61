//! Records of other producers: JSON objects, read as rows of a stream.
//!
//! A field is a column by its `header`. Numbers keep the digits that they were written with; each value passes the
//! column's own [`ValueParser`], so that the same rules hold as for files.

mod key;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    Column, ColumnSource, ColumnType, Family, Field, FileId, Origin, Reason, Rejection, SchemaId,
    Stream, UnknownPolicy, Value, ValueParser, encode_row, key_text,
};

/// The most digits that a number with an exponent may come to.
const EXPANDED_MAX: usize = 1_000;

/// Reads JSON objects as rows of one stream.
#[derive(Debug, Clone)]
pub struct JsonReader {
    columns: Vec<JsonColumn>,
    /// Position in `columns` by the field's name.
    by_field: HashMap<String, usize>,
    key_indexes: Vec<usize>,
    schema: SchemaId,
    refuses_unknown: bool,
    /// Whether a record without a value deletes the row of its key.
    deletes: bool,
}

#[derive(Debug, Clone)]
struct JsonColumn {
    name: String,
    field: String,
    column_type: ColumnType,
    nullable: bool,
    parser: ValueParser,
    mark: char,
    /// Whether a string may be one of the column's own null texts.
    has_null_texts: bool,
    /// Of a column that is no field.
    given: Option<Value<'static>>,
}

/// Why a record is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonFault {
    /// As dead letters name it: `not_json`, or one of [`Reason`]'s names.
    pub reason: &'static str,
    /// The column at fault, where one is.
    pub column: Option<String>,
    /// What was found and what would have been right, for a person.
    pub detail: String,
}

/// A record of another producer.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonRecord {
    /// A row.
    Row(JsonRow),
    /// The row of this key is to be deleted.
    Deletion(JsonKey),
}

/// The key of a row that is to be deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonKey {
    /// The canonical text of the key's columns.
    pub text: Vec<u8>,
    /// Their values, in the key's order.
    pub values: Vec<Value<'static>>,
}

/// A record's key and payload, as ingest would have written them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JsonRow {
    /// The canonical text of the key's columns; `None` if rows have no key.
    pub key: Option<Vec<u8>>,
    /// The row.
    pub payload: Vec<u8>,
}

impl JsonFault {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            column: None,
            detail: detail.into(),
        }
    }

    fn of_column(column: &JsonColumn, fault: Rejection) -> Self {
        Self {
            reason: fault.reason.as_str(),
            column: Some(column.name.clone()),
            detail: fault.detail,
        }
    }
}

impl JsonReader {
    /// Prepares to read records of a stream.
    ///
    /// # Errors
    /// If a column's conditions are none of its type.
    pub fn new(stream: &Stream) -> Result<Self, Rejection> {
        let columns: Vec<JsonColumn> = stream
            .columns
            .iter()
            .map(|column| JsonColumn::new(column, stream))
            .collect::<Result<_, _>>()?;
        let fields = columns.iter().enumerate();
        let fields = fields.filter(|(_, column)| column.given.is_none());
        Ok(Self {
            by_field: fields
                .map(|(at, column)| (column.field.clone(), at))
                .collect(),
            key_indexes: stream.key_indexes(),
            schema: stream.schema().id(),
            refuses_unknown: stream.csv.unknown == UnknownPolicy::Reject,
            deletes: stream.accept.deletes(),
            columns,
        })
    }

    /// Reads a record: its own key and its value, each `None` if absent.
    ///
    /// # Errors
    /// Why it is neither a row nor a deletion.
    pub fn read(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<JsonRecord, JsonFault> {
        match value {
            Some(value) => {
                let row = self.row(value)?;
                if self.deletes {
                    self.refuse_other_key(key, &row)?;
                }
                Ok(JsonRecord::Row(row))
            }
            None if self.deletes => self.deletion(key).map(JsonRecord::Deletion),
            None => Err(JsonFault::new(
                "not_json",
                "the record has no value; with deletes = true in the stream it would delete the row of its key",
            )),
        }
    }

    fn row(&self, value: &[u8]) -> Result<JsonRow, JsonFault> {
        let text = text_of(value)?;
        let found = self.find(text, "value.converter")?;
        let mut values = Vec::with_capacity(self.columns.len());
        for (column, raw) in self.columns.iter().zip(found) {
            let value = column.value(raw);
            values.push(value.map_err(|fault| JsonFault::of_column(column, fault))?);
        }
        let mut row = JsonRow::default();
        encode_row(&mut row.payload, self.schema, &Origin::ELSEWHERE, &values);
        if !self.key_indexes.is_empty() {
            key_text(row.key.get_or_insert_default(), &values, &self.key_indexes);
        }
        Ok(row)
    }

    /// Finds the columns' fields in the text of an object. `converter` is the setting of Kafka Connect that wraps it.
    fn find<'t>(
        &self,
        text: &'t str,
        converter: &str,
    ) -> Result<Vec<Option<&'t RawValue>>, JsonFault> {
        let Fields(fields) = serde_json::from_str(text).map_err(|error| no_object(text, &error))?;
        self.refuse_envelope(&fields, converter)?;
        let mut found: Vec<Option<&RawValue>> = vec![None; self.columns.len()];
        for (name, raw) in &fields {
            let Some(&at) = self.by_field.get(&**name) else {
                if self.refuses_unknown {
                    return Err(JsonFault::new(
                        Reason::FieldCount.as_str(),
                        format!("no column has the field `{}`", name.escape_debug()),
                    ));
                }
                continue;
            };
            if found[at].replace(raw).is_some() {
                return Err(JsonFault {
                    reason: Reason::BadValue.as_str(),
                    column: Some(self.columns[at].name.clone()),
                    detail: format!("the field `{}` is there twice", name.escape_debug()),
                });
            }
        }
        Ok(found)
    }

    /// Kafka Connect's converter wraps each row unless it is told not to.
    fn refuse_envelope(
        &self,
        fields: &[(Cow<'_, str>, &RawValue)],
        converter: &str,
    ) -> Result<(), JsonFault> {
        let has = |wanted: &str| fields.iter().any(|(name, _)| name == wanted);
        let is_known = |name: &str| self.by_field.contains_key(name);
        if fields.len() == 2 && has("schema") && has("payload") && !is_known("payload") {
            return Err(JsonFault::new(
                "not_json",
                format!(
                    "it is Kafka Connect's envelope of schema and payload; set {converter}.schemas.enable=false there"
                ),
            ));
        }
        Ok(())
    }
}

impl JsonColumn {
    fn new(column: &Column, stream: &Stream) -> Result<Self, Rejection> {
        let parser = ValueParser::new(column, &stream.csv)?;
        let given = match &column.source {
            Some(source @ ColumnSource::Constant(_)) => {
                let value = source.of_file(column, &parser, None);
                Some(value.map_err(|detail| Rejection {
                    reason: Reason::BadValue,
                    detail,
                })?)
            }
            // There is no file that could say more.
            Some(_) => Some(Value::Null),
            None => None,
        };
        Ok(Self {
            name: column.name.clone(),
            field: column.header.clone(),
            column_type: column.column_type.clone(),
            nullable: column.nullable,
            mark: char::from(column.decimal_mark(&stream.csv)),
            has_null_texts: column.null.is_some(),
            parser,
            given,
        })
    }

    fn value<'a>(&self, raw: Option<&'a RawValue>) -> Result<Value<'a>, Rejection> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let text = raw.map_or("null", RawValue::get);
        if text == "null" {
            let what = match raw {
                Some(_) => "null",
                None => "missing",
            };
            return match self.nullable {
                true => Ok(Value::Null),
                false => Err(Rejection {
                    reason: Reason::MissingValue,
                    detail: format!(
                        "the field `{}` is {what}, and the column is not nullable",
                        self.field
                    ),
                }),
            };
        }
        if self.column_type == ColumnType::Json {
            return self.parse(text, true);
        }
        match text.as_bytes().first() {
            Some(b'"') => self.string(text),
            Some(b'{' | b'[') => Err(self.misfit("an object or an array")),
            Some(b't' | b'f') if self.column_type == ColumnType::Bool => {
                Ok(Value::Bool(text == "true"))
            }
            Some(b't' | b'f') if !self.column_type.is_text() => Err(self.misfit("true or false")),
            Some(b't' | b'f') => self.parse(text, true),
            _ => self.number(text),
        }
    }

    fn string<'a>(&self, text: &'a str) -> Result<Value<'a>, Rejection> {
        let decoded: JsonText<'a> = serde_json::from_str(text).map_err(|error| Rejection {
            reason: Reason::BadEncoding,
            detail: format!("a string that cannot be decoded: {error}"),
        })?;
        let quoted = !self.has_null_texts;
        match decoded.0 {
            Cow::Borrowed(text) => self.parse(text, quoted),
            Cow::Owned(text) => self.parse(&text, quoted).map(Value::into_owned),
        }
    }

    fn number<'a>(&self, text: &'a str) -> Result<Value<'a>, Rejection> {
        let is_exact = self.column_type.family() == Family::Exact;
        let plain = match is_exact {
            true => without_exponent(text),
            false => Cow::Borrowed(text),
        };
        if self.mark != '.' && self.column_type.is_number() {
            let marked = plain.replace('.', self.mark.encode_utf8(&mut [0; 4]));
            return self.parse(&marked, true).map(Value::into_owned);
        }
        match plain {
            Cow::Borrowed(text) => self.parse(text, true),
            Cow::Owned(text) => self.parse(&text, true).map(Value::into_owned),
        }
    }

    fn parse<'a>(&self, text: &'a str, quoted: bool) -> Result<Value<'a>, Rejection> {
        self.parser.parse(Field {
            bytes: text.as_bytes(),
            quoted,
        })
    }

    fn misfit(&self, what: &str) -> Rejection {
        Rejection {
            reason: Reason::BadValue,
            detail: format!("{what} is no value of type {}", self.column_type),
        }
    }
}

/// Splits the prefix of Confluent's serializers from a record's value: the number of the schema, and what follows it.
#[must_use]
pub fn split_prefix(value: &[u8]) -> (Option<u32>, &[u8]) {
    match value {
        [0, a, b, c, d, bytes @ ..] => (Some(u32::from_be_bytes([*a, *b, *c, *d])), bytes),
        bytes => (None, bytes),
    }
}

/// The text of a value, without the prefix of Confluent's serializers.
fn text_of(value: &[u8]) -> Result<&str, JsonFault> {
    let (schema, bytes) = split_prefix(value);
    // Some producers begin each text with a byte order mark.
    let bytes = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(object) if object.trim_ascii_start().first() == Some(&b'{') => object,
        _ => bytes,
    };
    if let Some(number) = schema
        && bytes.trim_ascii_start().first() != Some(&b'{')
    {
        return Err(JsonFault::new(
            "not_json",
            format!(
                "it begins with Confluent's prefix (schema {number}) and no JSON object follows: Avro, Protobuf and binary \
                 numbers are not read; have the producer write JSON or JSON Schema"
            ),
        ));
    }
    if bytes.is_empty() {
        return Err(JsonFault::new("not_json", "it is empty, not a JSON object"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        JsonFault::new(
            Reason::BadEncoding.as_str(),
            format!("byte {} is not UTF-8", error.valid_up_to()),
        )
    })
}

fn no_object(text: &str, error: &serde_json::Error) -> JsonFault {
    JsonFault::new(
        "not_json",
        match text.trim_start().bytes().next() {
            Some(b'{') => format!("it is not a JSON object: {error}"),
            _ => "it is not a JSON object".to_owned(),
        },
    )
}

/// A number's digits written out, where it has an exponent and they are not too many.
fn without_exponent(text: &str) -> Cow<'_, str> {
    let expand = || {
        let (digits, exponent) = text.split_once(['e', 'E'])?;
        let exponent: i64 = exponent.parse().ok()?;
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", digits),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
        if point.unsigned_abs() > EXPANDED_MAX as u64 || all.len() > EXPANDED_MAX {
            return None;
        }
        let zeros = |count: usize| "0".repeat(count);
        Some(match usize::try_from(point) {
            Ok(point) if point >= all.len() => format!("{sign}{all}{}", zeros(point - all.len())),
            Ok(point) if point > 0 => format!("{sign}{}.{}", &all[..point], &all[point..]),
            _ => {
                let before = usize::try_from(point.unsigned_abs()).ok()?;
                format!("{sign}0.{}{all}", zeros(before))
            }
        })
    };
    match expand() {
        Some(plain) => Cow::Owned(tidy(&plain)),
        None => Cow::Borrowed(text),
    }
}

/// A plain number without the zeros that its exponent left at either end.
fn tidy(text: &str) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    };
    let rest = digits.trim_start_matches('0');
    match rest.is_empty() || rest.starts_with('.') {
        true => format!("{sign}0{rest}"),
        false => format!("{sign}{rest}"),
    }
}

/// A string that borrows where nothing in it is escaped.
#[derive(Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object's fields in their order, those that are there twice included.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(JsonText(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Collect).map(Fields)
    }
}

impl Origin {
    /// The origin of a record that came from no file.
    pub const ELSEWHERE: Self = Self {
        file: FileId::from_bytes([0; 16]),
        start: 0,
        end: 0,
        line: 0,
    };
}

#[cfg(test)]
mod tests;
