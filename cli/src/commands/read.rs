//! `bekk log read`: the records of a topic, as they stand in the log.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bekk_log::{Client, Offset, Record};
use bekk_stream::{Body, Encoding, Payload, split_prefix};
use serde_json::json;

use super::Outcome;
use crate::args::{LogRead, ReadFormat};
use crate::context::Context;
use crate::decoded::{Content, READ_BYTES_MAX, Schemas, canonical, place};
use crate::log_place::has_gone;
use crate::signals;

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
    // A log that grows faster than it is printed still has an end, unless it is followed.
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
        encoding: context.encoding_of(&topic),
        out: io::stdout().lock(),
    };
    loop {
        match reader.read(&mut places, &stop) {
            // Whoever had the log has gone; the next one has the same records.
            Err(error) if args.follow && has_gone(&error) && !signals::is_set(&stop) => {
                let next = context.open_log(&args.log)?;
                ensure!(
                    next.log_id() == log.log_id(),
                    "the log was replaced; run the command again"
                );
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

struct TopicReader<'a> {
    log: Client,
    topic: &'a str,
    format: ReadFormat,
    left: u64,
    /// Where to stop in each partition; none if it continues with new records.
    ends: Option<Vec<Offset>>,
    schemas: Schemas,
    encoding: Encoding,
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
        let decoded = self.schemas.decode(&self.log, record, self.encoding)?;
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
            Body::Reject(reject) => return Ok(self.encoding.shown(&reject.raw).into_bytes()),
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
