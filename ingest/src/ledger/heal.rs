//! Records that damage has taken from the log, found again in the files that they came from.
//!
//! The checkpoint knows how many records of each file there were, the log how many there are. Where it has fewer, and
//! the file still has, byte by byte, all that was read of it, the file is read again, and the reader passes over what
//! the log has.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bekk_log::{Client, Losses, Offset};
use bekk_stream::{Body, FileId, OnConflict, Payload, Stream};

use crate::Error;
use crate::file::entry::FileEntry;
use crate::file::evidence::has_text;
use crate::file::replace::replace;
use crate::ledger::scan::{Reading, Scan};
use crate::source::{Source, open};
use crate::text::later::{Later, ReadAgain};
use crate::text::ranges::Ranges;

/// The first line of the file that tells which losses were looked after.
const FORMAT: &str = "bekk healed 1";

/// The losses of each topic that were looked after: a file beside the checkpoint, and a cache as that is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Healed {
    path: PathBuf,
    topics: Vec<(String, u64)>,
    /// Topics of which all that was lost is read again.
    settled: Vec<String>,
}

/// What the log has of a file below the ends that the checkpoint knows.
#[derive(Default)]
struct Held {
    ranges: Ranges,
    records: u64,
    rejects: u64,
}

impl Healed {
    /// What the file beside a checkpoint says; nothing if it cannot be read.
    pub(crate) fn load(checkpoint_path: &Path) -> Self {
        let path = checkpoint_path.with_file_name("healed");
        let bytes = bekk_log::read_plain(&path).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        let mut lines = text.lines();
        let is_known = lines.next() == Some(FORMAT);
        let topics = lines.take_while(|_| is_known).filter_map(|line| {
            let (topic, unapplied) = line.rsplit_once(' ')?;
            Some((topic.to_owned(), unapplied.parse().ok()?))
        });
        Self {
            topics: topics.collect(),
            settled: Vec::new(),
            path,
        }
    }

    /// Writes it down, and tells the log what is settled. If this record is lost, the same is done once more.
    pub(crate) fn store(&self, log: &Client) {
        for topic in &self.settled {
            if let Err(error) = log.settle_losses(topic) {
                tracing::warn!(%error, topic, "cannot record that the log has its lost records again");
            }
        }
        self.write();
    }

    fn write(&self) {
        let lines = self
            .topics
            .iter()
            .map(|(topic, unapplied)| format!("{topic} {unapplied}\n"));
        let text = format!("{FORMAT}\n{}", lines.collect::<String>());
        let beside = self.path.with_extension("new");
        let written = fs::write(&beside, text).and_then(|()| replace(&beside, &self.path));
        if let Err(error) = written {
            tracing::debug!(%error, path = %self.path.display(), "cannot be written");
        }
    }

    fn of(&self, topic: &str) -> u64 {
        let found = self.topics.iter().find(|(known, _)| known == topic);
        found.map_or(0, |(_, unapplied)| *unapplied)
    }

    fn set(&mut self, topic: &str, unapplied: u64) {
        self.topics.retain(|(known, _)| known != topic);
        self.topics.push((topic.to_owned(), unapplied));
    }
}

/// Lets files be read again of which the log has lost records that were not applied everywhere; says what comes back
/// and what does not. `None` if nothing was lost since the last time.
///
/// # Errors
/// If the log fails.
pub(crate) fn heal(
    reading: Reading<'_>,
    streams: &[Stream],
    ends: &[(String, Vec<u64>)],
    entries: &mut HashMap<FileId, FileEntry>,
    checkpoint_path: &Path,
) -> Result<Option<Healed>, Error> {
    let mut healed = Healed::load(checkpoint_path);
    let before = healed.clone();
    for stream in streams {
        let Some(losses) = losses(reading.log, &stream.name)? else {
            continue;
        };
        let is_known = losses.unapplied <= healed.of(&stream.name);
        healed.set(&stream.name, losses.unapplied);
        let known = ends.iter().find(|(topic, _)| *topic == stream.name);
        let Some((_, ends)) = known else {
            continue;
        };
        if is_known {
            if losses.all > 0 {
                go_on(reading, stream, ends, entries)?;
            }
            continue;
        }
        if stream.key.is_empty() && losses.untouched < losses.unapplied {
            tracing::error!(
                stream = stream.name,
                lost = losses.unapplied,
                "the log has lost records that the table may or may not have: the stream has no key, so \
                ingest does not read them again; compare the table with the files, and insert missing rows by hand"
            );
            continue;
        }
        if heal_stream(reading, stream, ends, entries)? {
            healed.settled.push(stream.name.clone());
        }
    }
    Ok((healed != before).then_some(healed))
}

/// What a topic has lost; `None` if nobody can say.
fn losses(log: &Client, topic: &str) -> Result<Option<Losses>, Error> {
    match log.losses(topic) {
        Ok(losses) => Ok(Some(losses)),
        Err(bekk_log::Error::NotHere { .. }) => Ok(None),
        Err(error) => Err(Error::log("look for gaps in the log")(error)),
    }
}

/// Lets the files of a stream be read again of which the log lacks records; says whether that is all that it lacks.
fn heal_stream(
    reading: Reading<'_>,
    stream: &Stream,
    ends: &[u64],
    entries: &mut HashMap<FileId, FileEntry>,
) -> Result<bool, Error> {
    let starts = starts(reading, stream)?;
    let (mut held, later) = held(reading, &stream.name, &starts, ends)?;
    let later = is_ordered_by_log(stream).then_some(later);
    let mut is_all = true;
    let of_stream = entries
        .values_mut()
        .filter(|entry| entry.stream == stream.name);
    for entry in of_stream {
        let held = held.remove(&entry.id).unwrap_or_default();
        let lost = entry.records.saturating_sub(held.records);
        if lost == 0 {
            continue;
        }
        let is_trimmed = entry.offsets.iter().any(|(partition, first, _)| {
            starts
                .get(*partition as usize)
                .is_none_or(|start| *first < start.get())
        });
        let path = entry.path().display().to_string();
        is_all &= !is_trimmed && is_whole(entry);
        if is_trimmed {
            tracing::error!(
                path,
                records = lost,
                "records of this file are not in the log: retention has removed some, and others may be lost; \
                ingest cannot distinguish them and does not read the file again"
            );
        } else if is_all || is_whole(entry) {
            tracing::warn!(
                path,
                records = lost,
                "records of this file are lost from the log; the file has them still, and they are read again"
            );
            read_again(entry, held, later.as_ref());
        } else {
            tracing::error!(
                path,
                records = lost,
                "records of this file are lost from the log, and the file is gone or has changed: put it back as it \
                 was and start again, or accept the loss"
            );
        }
    }
    Ok(is_all)
}

fn starts(reading: Reading<'_>, stream: &Stream) -> Result<Vec<Offset>, Error> {
    let ends = reading
        .log
        .partition_ends(&stream.name)
        .map_err(Error::log("find the log's starts"))?;
    Ok(ends.iter().map(|ends| ends.start).collect())
}

/// Lets files that are being read again since an earlier run be read on with what the log tells of later records.
fn go_on(
    reading: Reading<'_>,
    stream: &Stream,
    ends: &[u64],
    entries: &mut HashMap<FileId, FileEntry>,
) -> Result<(), Error> {
    let is_again = |entry: &&mut FileEntry| entry.stream == stream.name && !entry.known.is_empty();
    let mut again: Vec<_> = entries.values_mut().filter(is_again).collect();
    if again.is_empty() || !is_ordered_by_log(stream) {
        return Ok(());
    }
    let starts = starts(reading, stream)?;
    let (_, later) = held(reading, &stream.name, &starts, ends)?;
    for entry in &mut again {
        let last = entry.known.iter().last();
        entry.again = last.map(|(_, until)| ReadAgain {
            later: Arc::clone(&later),
            until,
        });
    }
    Ok(())
}

/// Whether the last record of a key is the one that counts.
fn is_ordered_by_log(stream: &Stream) -> bool {
    !stream.key.is_empty() && stream.on_conflict == OnConflict::Update && stream.newer_by.is_none()
}

/// What the log has of each file below the ends, and which keys have records behind what it has lost.
fn held(
    reading: Reading<'_>,
    topic: &str,
    starts: &[Offset],
    ends: &[u64],
) -> Result<(HashMap<FileId, Held>, Arc<Later>), Error> {
    let mut held: HashMap<FileId, Held> = HashMap::new();
    let mut later = Later::default();
    let mut scan = Scan::new(reading, topic, &[])?;
    let at = |offsets: &[u64], partition: u32| offsets.get(partition as usize).copied();
    let starts: Vec<u64> = starts.iter().map(|start| start.get()).collect();
    while scan.step(|partition, record| {
        let offset = record.offset.get();
        let end = at(ends, partition).unwrap_or(0);
        let start = at(&starts, partition).unwrap_or(0);
        if offset >= end {
            later.note_end(partition, end);
        }
        later.note(partition, start, offset, record.key);
        let payload = Payload::decode(record.value).ok();
        let Some(payload) = payload.filter(|_| offset < end) else {
            return;
        };
        let origin = payload.origin;
        let held = held.entry(origin.file).or_default();
        held.ranges.insert(origin.start, origin.end);
        held.records += 1;
        held.rejects += u64::from(matches!(payload.body, Body::Reject(_)));
    })? {}
    for (partition, end) in (0..).zip(ends) {
        later.note_end(partition, *end);
    }
    Ok((held, later.finish()))
}

/// Whether the file is where it was and has all that was read of it.
fn is_whole(entry: &FileEntry) -> bool {
    let text = open::file(entry.path()).and_then(Source::new);
    text.and_then(|mut source| has_text(&mut source, entry))
        .unwrap_or(false)
}

fn read_again(entry: &mut FileEntry, held: Held, later: Option<&Arc<Later>>) {
    entry.again = later.map(|later| ReadAgain {
        later: Arc::clone(later),
        until: entry.position,
    });
    entry.begin_again();
    entry.known.extend(&held.ranges);
    (entry.records, entry.rejects) = (held.records, held.rejects);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_after_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = dir.path().join("checkpoint");
        let mut healed = Healed::load(&checkpoint);
        assert_eq!(healed.of("events"), 0);
        healed.set("events", 3);
        healed.set("orders", 5);
        healed.set("events", 7);
        healed.write();
        let again = Healed::load(&checkpoint);
        assert_eq!(again, healed);
        assert_eq!((again.of("events"), again.of("orders")), (7, 5));
        fs::write(&healed.path, "torn").unwrap();
        assert_eq!(Healed::load(&checkpoint).of("events"), 0);
    }
}
