//! What a dead letter is now: its record of the log, or its text read again.

use bekk_log::Record;
use bekk_stream::{Body, FileId, JsonReader, JsonRecord, Origin, Payload};

use super::{Corrected, LetterText, Retry};
use crate::later::Written;
use crate::{Error, Letter, prepare, render};

/// A letter that is a row now, and when it was written where the log still knows.
pub(crate) struct Candidate {
    pub(crate) row: Corrected,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    pub(crate) written: Option<Written>,
    /// The record's own key, if the record deletes the row of its key.
    pub(crate) deletion: Option<Vec<u8>>,
}

impl Retry<'_> {
    /// Reads a letter again: from the log where that has the row as it is, else from its text.
    pub(super) fn candidate(
        &self,
        letter: &Letter,
        parse: &mut dyn FnMut(LetterText<'_>) -> Result<Corrected, String>,
    ) -> Result<Result<Candidate, String>, Error> {
        let candidate = |row, written| Candidate {
            row,
            partition: letter.partition,
            offset: letter.offset,
            written,
            deletion: None,
        };
        let topic = &self.target.stream.name;
        let ends = self
            .log
            .partition_ends(topic)
            .map_err(|error| Error::log(format!("read the ends of topic `{topic}`"), error))?;
        let is_there = self.log.log_id().to_string() == letter.log_id
            && ends.iter().any(|ends| {
                ends.partition == letter.partition
                    && (ends.start.get()..ends.end.get()).contains(&letter.offset)
            });
        let mut written = None;
        let mut origin = origin_of(letter);
        let mut original = letter.raw.clone();
        // Only a reject is in its file's form.
        let mut is_plain = !bekk_stream::Reason::ALL
            .iter()
            .any(|reason| reason.as_str() == letter.reason);
        let records = match is_there {
            true => Some(prepare::read(self.source(letter.partition), letter.offset)?),
            false => None,
        };
        let record = records
            .as_ref()
            .and_then(|records| records.iter().next())
            .filter(|record| record.offset.get() == letter.offset);
        if let (Some(json), None) = (&self.target.json, &letter.file) {
            let deletes = self.target.stream.accept.deletes();
            if record.is_none() && deletes {
                return Ok(Err(
                    "the log no longer has its record, so it is not known whether its row was deleted since; append it \
                     to its topic again"
                        .to_owned(),
                ));
            }
            let read = json_record(json, letter, record.as_ref());
            let written = record.as_ref().map(|record| Written {
                timestamp_ms: record.timestamp_ms,
                origin: Origin::ELSEWHERE,
            });
            return Ok(read.map(|read| {
                let (key, payload, deletion) = match read {
                    JsonRecord::Row(row) => (row.key, row.payload, None),
                    JsonRecord::Deletion(key) => {
                        let own = record.as_ref().and_then(|record| record.key);
                        (Some(key.text), Vec::new(), own.map(<[u8]>::to_vec))
                    }
                };
                let row = Corrected {
                    partition: letter.partition,
                    key,
                    payload,
                };
                Candidate {
                    deletion,
                    ..candidate(row, written)
                }
            }));
        }
        if let Some(record) = record {
            let Ok(payload) = Payload::decode(record.value) else {
                return Ok(Err("it is no record of bekk".to_owned()));
            };
            origin = payload.origin;
            written = Some(Written {
                timestamp_ms: record.timestamp_ms,
                origin,
            });
            is_plain = matches!(payload.body, Body::Row(_));
            if let Body::Reject(reject) = &payload.body {
                original = reject.raw.to_vec();
            }
            if let Body::Row(row) = &payload.body {
                let text = render::csv_line(row.clone()).unwrap_or_default();
                if is_unchanged(&letter.raw, text.as_bytes()) {
                    let row = Corrected {
                        partition: letter.partition,
                        key: record.key.map(<[u8]>::to_vec),
                        payload: record.value.to_vec(),
                    };
                    return Ok(Ok(candidate(row, written)));
                }
            }
        }
        if letter.raw.len() >= bekk_stream::REJECT_RAW_MAX {
            return Ok(Err(
                "only its beginning was kept; correct the record in a file".to_owned(),
            ));
        }
        let text = LetterText {
            letter,
            is_plain,
            original: &original,
            origin,
            partitions: u32::try_from(ends.len()).unwrap_or(u32::MAX),
        };
        Ok(parse(text).map(|row| candidate(row, written)))
    }
}

/// Whether a letter's text is still that of its record, of which only the beginning was kept if it was long.
fn is_unchanged(raw: &[u8], text: &[u8]) -> bool {
    raw == text || raw.len() >= bekk_stream::REJECT_RAW_MAX && text.starts_with(raw)
}

/// Another producer's record: as it is in the log, or as its text has been corrected.
fn json_record(
    json: &JsonReader,
    letter: &Letter,
    record: Option<&Record<'_>>,
) -> Result<JsonRecord, String> {
    let key = record.and_then(|record| record.key);
    let unchanged = record.filter(|record| record.value.starts_with(&letter.raw));
    let read = match unchanged {
        Some(record) => json.read(key, (!record.is_null).then_some(record.value)),
        None if letter.raw.len() >= bekk_stream::REJECT_RAW_MAX => {
            return Err("only its beginning was kept; append it to its topic again".to_owned());
        }
        None => json.read(key, Some(&letter.raw)),
    };
    read.map_err(|fault| match fault.column {
        Some(column) => format!("{} in `{column}`: {}", fault.reason, fault.detail),
        None => format!("{}: {}", fault.reason, fault.detail),
    })
}

/// Where a letter came from, as far as it knows itself.
fn origin_of(letter: &Letter) -> Origin {
    let start = letter.byte_offset.unwrap_or_default();
    Origin {
        file: FileId::from_bytes([0; 16]),
        start,
        end: start + letter.raw.len() as u64,
        line: letter.line.unwrap_or_default(),
    }
}
