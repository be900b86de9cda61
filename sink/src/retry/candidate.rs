//! What a dead letter is now: its record of the log, or its text read again.

use bekk_log::Record;
use bekk_stream::{Body, FileId, JsonReader, JsonRecord, Origin, Payload};

use super::later::Written;
use super::{Corrected, LetterText, Retry};
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

/// A letter's record as the log has it, or else the letter itself.
struct Known {
    origin: Origin,
    written: Option<Written>,
    /// The record's text before anyone corrected it.
    original: Vec<u8>,
    /// Whether the text is a CSV line of Bekk's own; a reject has the form of its file.
    is_plain: bool,
    /// The record's row, if the letter's text is unchanged.
    row: Option<Corrected>,
}

impl Retry<'_> {
    /// Reads a letter again: from the log where that has the row as it is, else from its text.
    pub(super) fn candidate(
        &self,
        letter: &Letter,
        parse: &mut dyn FnMut(LetterText<'_>) -> Result<Corrected, String>,
    ) -> Result<Result<Candidate, String>, Error> {
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
        let records = match is_there {
            true => Some(prepare::read(self.source(letter.partition), letter.offset)?),
            false => None,
        };
        let record = records
            .as_ref()
            .and_then(|records| records.iter().next())
            .filter(|record| record.offset.get() == letter.offset);
        if let (Some(json), None) = (&self.target.json, &letter.file) {
            return Ok(self.of_other_producer(json, letter, record.as_ref()));
        }
        let partitions = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        Ok(of_text(letter, record.as_ref(), partitions, parse))
    }

    /// Reads the letter of another producer's record again.
    fn of_other_producer(
        &self,
        json: &JsonReader,
        letter: &Letter,
        record: Option<&Record<'_>>,
    ) -> Result<Candidate, String> {
        if record.is_none() && self.target.stream.accept.deletes() {
            return Err(
                "the log no longer has its record, so it is not known whether its row was deleted since; append it \
                 to its topic again"
                    .to_owned(),
            );
        }
        let (key, payload, deletion) = match json_record(json, letter, record)? {
            JsonRecord::Row(row) => (row.key, row.payload, None),
            JsonRecord::Deletion(key) => {
                let own = record.and_then(|record| record.key);
                (Some(key.text), Vec::new(), own.map(<[u8]>::to_vec))
            }
        };
        let row = Corrected {
            partition: letter.partition,
            key,
            payload,
        };
        let written = record.map(|record| Written {
            timestamp_ms: record.timestamp_ms,
            origin: Origin::ELSEWHERE,
        });
        Ok(Candidate {
            deletion,
            ..Candidate::new(letter, row, written)
        })
    }
}

impl Candidate {
    fn new(letter: &Letter, row: Corrected, written: Option<Written>) -> Self {
        Self {
            row,
            partition: letter.partition,
            offset: letter.offset,
            written,
            deletion: None,
        }
    }
}

/// Takes the row that the log has, or parses the letter's text.
fn of_text(
    letter: &Letter,
    record: Option<&Record<'_>>,
    partitions: u32,
    parse: &mut dyn FnMut(LetterText<'_>) -> Result<Corrected, String>,
) -> Result<Candidate, String> {
    let known = match record {
        Some(record) => Known::of_record(letter, record)?,
        None => Known::of_letter(letter),
    };
    if let Some(row) = known.row {
        return Ok(Candidate::new(letter, row, known.written));
    }
    if letter.raw.len() >= bekk_stream::REJECT_RAW_MAX {
        return Err("only its beginning was kept; correct the record in a file".to_owned());
    }
    let row = parse(LetterText {
        letter,
        is_plain: known.is_plain,
        original: &known.original,
        origin: known.origin,
        partitions,
    })?;
    Ok(Candidate::new(letter, row, known.written))
}

impl Known {
    fn of_letter(letter: &Letter) -> Self {
        let mut reasons = bekk_stream::Reason::ALL.iter();
        Self {
            origin: origin_of(letter),
            written: None,
            original: letter.raw.clone(),
            is_plain: !reasons.any(|reason| reason.as_str() == letter.reason),
            row: None,
        }
    }

    fn of_record(letter: &Letter, record: &Record<'_>) -> Result<Self, String> {
        let payload = Payload::decode(record.value);
        let payload = payload.map_err(|_| "it is no record of bekk".to_owned())?;
        let mut known = Self {
            origin: payload.origin,
            written: Some(Written {
                timestamp_ms: record.timestamp_ms,
                origin: payload.origin,
            }),
            original: letter.raw.clone(),
            is_plain: true,
            row: None,
        };
        match payload.body {
            Body::Row(row) => {
                let text = render::csv_line(row).unwrap_or_default();
                known.row = is_unchanged(&letter.raw, text.as_bytes()).then(|| Corrected {
                    partition: letter.partition,
                    key: record.key.map(<[u8]>::to_vec),
                    payload: record.value.to_vec(),
                });
            }
            Body::Reject(reject) => {
                known.is_plain = false;
                known.original = reject.raw.to_vec();
            }
        }
        Ok(known)
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
