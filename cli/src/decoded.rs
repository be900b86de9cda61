//! Records of the log in the form that people read.

use std::collections::HashMap;

use anyhow::Result;
use bekk_log::{Client, Offset, PartitionEnds, Record};
use bekk_stream::{
    Body, Encoding, META_TOPIC, Meta, Payload, Schema, SchemaId, Value, key_text, split_prefix,
};
use serde_json::json;

use crate::args::Where;

/// Bytes that are read from the log at a time
pub(crate) const READ_BYTES_MAX: usize = 1 << 20;

/// Returns the offset of a place in a partition.
///
/// # Errors
/// If the log cannot be read.
pub(crate) fn place(log: &Client, topic: &str, ends: PartitionEnds, from: Where) -> Result<Offset> {
    let at = match from {
        Where::Earliest => ends.start,
        Where::Latest => ends.end,
        Where::Offset(offset) => Offset::new(offset),
        Where::Time(milliseconds) => log
            .offset_for_time(topic, ends.partition, milliseconds)?
            .unwrap_or(ends.end),
        // The last records of each partition, by their number.
        Where::Shift(by) => Offset::new(ends.end.get().saturating_add_signed(by)),
    };
    Ok(at.clamp(ends.start, ends.end))
}

fn json_value(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Float4(value) => json!(value),
        Value::Float8(value) => json!(value),
        // Digits that a JSON number would lose, and everything that is text.
        other => json!(String::from_utf8_lossy(&canonical(other))),
    }
}

pub(crate) fn canonical(value: &Value<'_>) -> Vec<u8> {
    // A key's text has no zeros after the last digit.
    if let Value::Numeric(digits) = value {
        return digits.as_bytes().to_vec();
    }
    let mut text = Vec::new();
    key_text(&mut text, std::slice::from_ref(value), &[0]);
    text
}

/// A record in the form that people read.
pub(crate) struct Decoded {
    /// The id of its file, and its line there.
    pub(crate) origin: Option<(String, u64)>,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    /// Columns in the order of the schema.
    Row(Vec<(String, serde_json::Value)>),
    Reject {
        reason: &'static str,
        column: Option<String>,
        detail: String,
        raw: String,
    },
    /// A record that another program wrote, not Bekk's ingest.
    Other {
        text: Option<String>,
        /// The number of its schema, which Confluent's serializers write before the text.
        schema: Option<u32>,
    },
}

impl Content {
    fn other(record: &Record<'_>) -> Self {
        let (schema, bytes) = split_prefix(record.value);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        match schema {
            _ if record.is_null => Self::Other {
                text: None,
                schema: None,
            },
            // The bytes after the prefix are not always text.
            Some(schema) if std::str::from_utf8(bytes).is_ok() => Self::Other {
                text: Some(text(bytes)),
                schema: Some(schema),
            },
            _ => Self::Other {
                text: Some(text(record.value)),
                schema: None,
            },
        }
    }
}

/// Schemas by their ids, read from the log as far as they are needed.
#[derive(Default)]
pub(crate) struct Schemas {
    next: u64,
    known: HashMap<SchemaId, Schema>,
}

impl Schemas {
    /// Decodes a record; a record that is not a payload is a text. The text of a reject is in `encoding`.
    ///
    /// # Errors
    /// If the schemas cannot be read from the log.
    pub(crate) fn decode(
        &mut self,
        log: &Client,
        record: &Record<'_>,
        encoding: Encoding,
    ) -> Result<Decoded> {
        let Ok(payload) = Payload::decode(record.value) else {
            return Ok(Decoded {
                origin: None,
                content: Content::other(record),
            });
        };
        let origin = Some((payload.origin.file.to_string(), payload.origin.line));
        let content = match payload.body {
            Body::Row(values) => {
                let schema = self.find(log, payload.schema)?;
                let mut row = Vec::new();
                for (at, value) in values.enumerate() {
                    let column = schema.and_then(|schema| schema.columns.get(at));
                    let name = column.map_or_else(|| at.to_string(), |c| c.name.clone());
                    row.push((name, json_value(&value?)));
                }
                Content::Row(row)
            }
            Body::Reject(reject) => Content::Reject {
                reason: reject.reason.as_str(),
                column: reject.column.as_deref().map(str::to_owned),
                detail: reject.detail.clone().into_owned(),
                raw: encoding.shown(&reject.raw),
            },
        };
        Ok(Decoded { origin, content })
    }

    fn find(&mut self, log: &Client, id: SchemaId) -> Result<Option<&Schema>> {
        while !self.known.contains_key(&id) {
            let records = log.read(META_TOPIC, 0, Offset::new(self.next), READ_BYTES_MAX)?;
            for record in records.iter() {
                if let Ok(Meta::Schema(id, schema)) = Meta::decode(record.value) {
                    self.known.insert(id, schema);
                }
            }
            let next = records.next_offset().get();
            if next <= self.next {
                break;
            }
            self.next = next;
        }
        Ok(self.known.get(&id))
    }
}

#[cfg(test)]
mod tests {
    use bekk_log::Headers;

    use super::*;

    #[test]
    fn other_programs_records_are_texts() {
        let check = |value: &[u8], is_null, expected: (Option<&str>, Option<u32>)| {
            let record = Record {
                offset: Offset::ZERO,
                timestamp_ms: 0,
                key: None,
                value,
                is_null,
                headers: Headers::default(),
            };
            let Content::Other { text, schema } = Content::other(&record) else {
                panic!("it is no payload")
            };
            assert_eq!((text.as_deref(), schema), expected);
        };
        check(b"{}", false, (Some("{}"), None));
        check(b"", false, (Some(""), None));
        check(b"", true, (None, None));
        check(b"\0\0\0\x01\x02{}", false, (Some("{}"), Some(258)));
        check(
            b"\0\0\0\x01\x02\xff",
            false,
            (Some("\0\0\0\u{1}\u{2}\u{fffd}"), None),
        );
    }
}
