//! What this ingest appended last to each partition, so that a log that went backwards is recognised.
//!
//! The checkpoint says how far each file is in the log. That holds for the log that acknowledged it: one that was put
//! back from an older copy, or lost its disk, does not have those records, and would be continued without them.
//! Its form: the 8 bytes `bekkimrk`, a version (u32), the length of the body (u64), the body, and the CRC-32C of all
//! before it (u32). It is a cache like the checkpoint: without it nothing is compared.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bekk_log::{Client, Difference, MarkCheck, MarkLookup, Offset, RecordMark, judge_mark};
use bekk_stream::Stream;

use crate::Error;
use crate::file::replace::replace;
use crate::ledger::codec::{FieldWriter, frame, unframe};

const MAGIC: &[u8; 8] = b"bekkimrk";
const VERSION: u32 = 1;
/// How long a log elsewhere that ends before a mark is asked again before it is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(3);
const ASK_PAUSE: Duration = Duration::from_millis(250);

/// The last record appended to each partition, by topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) log_id: String,
    pub(crate) topics: HashMap<String, HashMap<u32, RecordMark>>,
}

/// A topic of which the log has lost records that it had acknowledged, or that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicLoss {
    pub(crate) topic: String,
    /// How the log differs from what was appended, for people.
    pub(crate) what: String,
}

impl Marks {
    /// Reads what was written down of this log; nothing if it is missing or damaged.
    pub(crate) fn load(path: &Path, log_id: &str) -> Self {
        let read = bekk_log::read_plain(path).ok();
        let marks = read.as_deref().and_then(Self::decode);
        marks
            .filter(|marks| marks.log_id == log_id)
            .unwrap_or_else(|| Self {
                log_id: log_id.to_owned(),
                ..Self::default()
            })
    }

    /// Replaces what is written down. Not synced: after a power cut an older one, or none, harms nobody.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn store(&self, path: &Path) -> Result<(), Error> {
        let beside = path.with_extension("new");
        fs::write(&beside, self.encode()).map_err(Error::io("write", &beside))?;
        replace(&beside, path).map_err(Error::io("replace", path))
    }

    /// Notes the last record that was appended to a partition.
    pub(crate) fn note(&mut self, topic: &str, partition: u32, mark: RecordMark) {
        match self.topics.get_mut(topic) {
            Some(marks) => {
                marks.insert(partition, mark);
            }
            None => {
                let marks = HashMap::from([(partition, mark)]);
                self.topics.insert(topic.to_owned(), marks);
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = FieldWriter(Vec::new());
        body.bytes(self.log_id.as_bytes());
        let mut topics: Vec<_> = self.topics.iter().collect();
        topics.sort_unstable_by_key(|(topic, _)| *topic);
        body.list(&topics, |body, (topic, marks)| {
            body.bytes(topic.as_bytes());
            let mut marks: Vec<_> = marks.iter().collect();
            marks.sort_unstable_by_key(|(partition, _)| **partition);
            body.list(&marks, |body, (partition, mark)| {
                body.u32(**partition);
                body.u64(mark.offset.get());
                body.i64(mark.timestamp_ms);
                body.u32(mark.crc);
            });
        });
        frame(MAGIC, VERSION, &body)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, mut body) = unframe(MAGIC, bytes)?;
        if version != VERSION {
            return None;
        }
        let log_id = body.text()?;
        let topics = body.list(|body| {
            let topic = body.text()?;
            let marks = body.list(|body| {
                let partition = body.u32()?;
                let mark = RecordMark {
                    offset: Offset::new(body.u64()?),
                    timestamp_ms: body.i64()?,
                    crc: body.u32()?,
                };
                Some((partition, mark))
            })?;
            Some((topic, marks.into_iter().collect()))
        })?;
        body.0.is_empty().then(|| Self {
            log_id,
            topics: topics.into_iter().collect(),
        })
    }

    /// The streams' topics of which the log has lost records that were appended.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn lost(&self, log: &Client, streams: &[Stream]) -> Result<Vec<TopicLoss>, Error> {
        let mut lost = Vec::new();
        for stream in streams {
            let topic = &stream.name;
            let marks = self.topics.get(topic);
            let mut marks: Vec<_> = marks.into_iter().flatten().collect();
            marks.sort_unstable_by_key(|(partition, _)| **partition);
            // All at once: over a network each takes as long as a fetch waits.
            let places: Vec<(u32, Offset)> = marks
                .iter()
                .map(|(partition, mark)| (**partition, mark.offset))
                .collect();
            match log.read_ahead(topic, &places) {
                // The comparison says which partition that is.
                Ok(()) | Err(bekk_log::Error::UnknownPartition { .. }) => {}
                Err(error) => {
                    return Err(Error::log("compare the log with what was appended")(error));
                }
            }
            for (partition, mark) in marks {
                if let Some(what) = differs(log, topic, *partition, mark)? {
                    let topic = topic.clone();
                    lost.push(TopicLoss { topic, what });
                    break;
                }
            }
        }
        Ok(lost)
    }
}

/// What differs from a mark in a partition, if something does.
fn differs(
    log: &Client,
    topic: &str,
    partition: u32,
    mark: &RecordMark,
) -> Result<Option<String>, Error> {
    let begun = Instant::now();
    loop {
        let at = match log.at_mark(topic, partition, Some(mark)) {
            Err(bekk_log::Error::UnknownPartition { .. }) => {
                let offset = mark.offset;
                return Ok(Some(format!(
                    "{topic} has no partition {partition}, and a record was appended there at {offset}"
                )));
            }
            at => at.map_err(Error::log("compare the log with what was appended"))?,
        };
        // A topic may give records its own times.
        if matches!(at.found, MarkLookup::Record(found) if found.crc == mark.crc) {
            return Ok(None);
        }
        let (offset, end) = (mark.offset, at.ends.end);
        match judge_mark(mark.offset.next(), Some(mark), &at) {
            // Retention has taken it.
            MarkCheck::Differs(Difference::BeginsAfter) | MarkCheck::Same | MarkCheck::KeptBack => {
                return Ok(None);
            }
            MarkCheck::Differs(Difference::EndsBefore)
                if !log.is_owner() && begun.elapsed() < BELIEVED_AFTER =>
            {
                std::thread::sleep(ASK_PAUSE);
            }
            MarkCheck::Differs(Difference::EndsBefore) => {
                return Ok(Some(format!(
                    "{topic}/{partition} ends at offset {end}, and a record was appended at {offset}"
                )));
            }
            MarkCheck::Differs(Difference::OtherRecord { .. }) => {
                return Ok(Some(format!(
                    "offset {offset} of {topic}/{partition} holds another record than the one appended"
                )));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_back_and_damage_is_seen() {
        let mut marks = Marks {
            log_id: "a log".to_owned(),
            ..Marks::default()
        };
        let mark = |offset| RecordMark {
            offset: Offset::new(offset),
            timestamp_ms: -5,
            crc: u32::MAX,
        };
        marks.note("events", 0, mark(7));
        marks.note("events", 3, mark(u64::MAX));
        marks.note("orders", 0, mark(1));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marks");
        assert!(Marks::load(&path, "a log").topics.is_empty());
        marks.store(&path).unwrap();
        assert_eq!(Marks::load(&path, "a log"), marks);
        assert!(Marks::load(&path, "another").topics.is_empty());
        let bytes = marks.encode();
        for at in 0..bytes.len() {
            assert_eq!(Marks::decode(&bytes[..at]), None, "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert_eq!(Marks::decode(&flipped), None, "flipped at {at}");
        }
    }
}
