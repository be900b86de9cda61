//! `bekk log read`: the records of a topic, as they stand in the log.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bekk_log::{Client, Offset, PartitionEnds, Record};
use bekk_stream::{
    Body, META_TOPIC, Meta, Payload, Schema, SchemaId, Value, key_text, split_prefix,
};
use serde_json::json;

use super::Outcome;
use crate::args::{LogRead, ReadFormat, Where};
use crate::context::Context;
use crate::log_place::has_gone;
use crate::signals;

/// How much is read at a time, in bytes.
const READ_BYTES_MAX: usize = 1 << 20;
/// How long a wait for new records lasts before the signals are looked at.
const WAIT: Duration = Duration::from_millis(200);

pub(crate) fn run(context: &Context, args: &LogRead) -> Result<Outcome> {
    let stop = signals::stop_flag().context("listen for signals")?;
    let mut log = context.open_log(&args.log)?;
    let topic = match &args.topic {
        Some(topic) => topic.clone(),
        None => {
            let streams = &context.config.streams;
            ensure!(streams.len() == 1, "choose one of the streams with --topic");
            streams[0].name.clone()
        }
    };
    let mut places = Vec::new();
    // A log that grows faster than it is printed has an end all the same, unless it is followed.
    let mut ends_at_start = Vec::new();
    for ends in log.partition_ends(&topic)? {
        places.push((ends.partition, place(&log, &topic, ends, args.from)?));
        ends_at_start.push(ends.end);
    }
    let mut reader = TopicReader {
        log: log.clone(),
        topic: &topic,
        format: args.format,
        left: args.limit.unwrap_or(u64::MAX),
        ends: (!args.follow).then_some(ends_at_start),
        schemas: Schemas::default(),
        out: io::stdout().lock(),
    };
    loop {
        match reader.read(&mut places, &stop) {
            // Whoever had the log has gone; the next one has the same records.
            Err(error) if args.follow && has_gone(&error) && !signals::is_set(&stop) => {
                let next = context.open_log(&args.log)?;
                ensure!(next.log_id() == log.log_id(), "this is another log now");
                reader.log = next.clone();
                log = next;
            }
            done => break done?,
        }
    }
    drop(reader);
    log.close()?;
    Ok(Outcome::Done)
}

/// The offset that a place means in a partition.
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
        // The last so many of each partition.
        Where::Shift(by) => Offset::new(ends.end.get().saturating_add_signed(by)),
    };
    Ok(at.clamp(ends.start, ends.end))
}

struct TopicReader<'a> {
    log: Client,
    topic: &'a str,
    format: ReadFormat,
    left: u64,
    /// Where to stop in each partition; none if it continues with new records.
    ends: Option<Vec<Offset>>,
    schemas: Schemas,
    out: io::StdoutLock<'static>,
}

impl TopicReader<'_> {
    fn read(&mut self, places: &mut [(u32, Offset)], stop: &AtomicBool) -> Result<()> {
        loop {
            for (at, (partition, next)) in places.iter_mut().enumerate() {
                let end = self.ends.as_ref().map(|ends| ends[at]);
                self.read_partition(*partition, next, end, stop)?;
            }
            self.out.flush().context("write the records")?;
            if self.ends.is_some() || self.left == 0 {
                return Ok(());
            }
            while !self.log.wait_for_records(self.topic, places, WAIT)? {
                if signals::is_set(stop) {
                    return Ok(());
                }
            }
        }
    }

    fn read_partition(
        &mut self,
        partition: u32,
        next: &mut Offset,
        end: Option<Offset>,
        stop: &AtomicBool,
    ) -> Result<()> {
        while self.left > 0 && end.is_none_or(|end| *next < end) && !signals::is_set(stop) {
            let records = self
                .log
                .read(self.topic, partition, *next, READ_BYTES_MAX)?;
            for record in records.iter() {
                if self.left == 0 || end.is_some_and(|end| record.offset >= end) {
                    return Ok(());
                }
                self.write(partition, &record)?;
                self.left -= 1;
            }
            if records.next_offset() <= *next {
                break;
            }
            *next = records.next_offset();
        }
        Ok(())
    }

    fn write(&mut self, partition: u32, record: &Record<'_>) -> Result<()> {
        let mut line = match self.format {
            ReadFormat::Raw => record.value.to_vec(),
            ReadFormat::Json => self.json(partition, record)?.to_string().into_bytes(),
            ReadFormat::Csv => self.csv(record)?,
        };
        line.push(b'\n');
        self.out.write_all(&line).context("write a record")
    }

    fn json(&mut self, partition: u32, record: &Record<'_>) -> Result<serde_json::Value> {
        let mut found = json!({
            "partition": partition,
            "offset": record.offset.get(),
            "timestamp_ms": record.timestamp_ms,
            "key": record.key.map(String::from_utf8_lossy),
        });
        let decoded = self.schemas.decode(&self.log, record)?;
        if let Some((file, line)) = &decoded.origin {
            found["file"] = json!(file);
            found["line"] = json!(line);
        }
        match decoded.content {
            Content::Row(columns) => {
                found["row"] = columns
                    .into_iter()
                    .collect::<serde_json::Map<_, _>>()
                    .into();
            }
            Content::Reject {
                reason,
                column,
                detail,
                raw,
            } => {
                found["reject"] = json!({
                    "reason": reason,
                    "column": column,
                    "detail": detail,
                    "raw": raw,
                });
            }
            Content::Other { text, schema } => {
                found["value"] = json!(text);
                if let Some(schema) = schema {
                    found["confluent_schema"] = json!(schema);
                }
            }
        }
        Ok(found)
    }

    /// A row's values in the order of its schema; the text of any other record, without Confluent's prefix.
    fn csv(&self, record: &Record<'_>) -> Result<Vec<u8>> {
        let Ok(payload) = Payload::decode(record.value) else {
            return Ok(split_prefix(record.value).1.to_vec());
        };
        let values = match payload.body {
            Body::Reject(reject) => return Ok(reject.raw.into_owned()),
            Body::Row(values) => values,
        };
        let mut fields = Vec::new();
        for value in values {
            fields.push(canonical(&value?));
        }
        let mut writer = csv::WriterBuilder::new()
            .terminator(csv::Terminator::Any(b'\n'))
            .from_writer(Vec::new());
        writer.write_record(&fields)?;
        let mut line = writer.into_inner().context("write a record")?;
        line.pop();
        Ok(line)
    }
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

fn canonical(value: &Value<'_>) -> Vec<u8> {
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

/// What a record holds.
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
        /// Its value, if it has one.
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

/// Schemas by their ids, read on from the log when one is met that is not known.
#[derive(Default)]
pub(crate) struct Schemas {
    next: u64,
    known: HashMap<SchemaId, Schema>,
}

impl Schemas {
    /// Decodes a record; one that is no payload is a text.
    ///
    /// # Errors
    /// If the schemas cannot be read from the log.
    pub(crate) fn decode(&mut self, log: &Client, record: &Record<'_>) -> Result<Decoded> {
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
                raw: String::from_utf8_lossy(&reject.raw).into_owned(),
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
