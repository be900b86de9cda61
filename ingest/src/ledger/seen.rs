//! The records after the checkpoint, and what they say of each file.

use std::collections::{HashMap, HashSet};

use bekk_log::Offset;
use bekk_stream::{Body, FileId, Payload, Stream};

use crate::Error;
use crate::file::entry::widen;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::metas::Metas;
use crate::ledger::scan::{Reading, Scan};
use crate::text::ranges::Ranges;

/// Facts about a file from the records after the checkpoint.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) ranges: Ranges,
    pub(super) records: u64,
    pub(super) rejects: u64,
    pub(super) offsets: Vec<(u32, u64, u64)>,
    /// How many of the records are among the file's first ones, which `bekk.meta` reported.
    pub(super) first_records: u64,
    /// Line and length of a record whose dead letter has not all of its bytes.
    pub(super) cut: Option<(u64, u64)>,
}

/// Reads each stream's topic from where the checkpoint ends, and returns where its partitions end.
pub(super) fn read_topics(
    reading: Reading<'_>,
    streams: &[Stream],
    checkpoint: &Checkpoint,
    metas: &Metas,
    seen: &mut HashMap<FileId, Seen>,
) -> Result<Vec<Vec<Offset>>, Error> {
    let bases = bases(metas, checkpoint);
    let ends = streams.iter().map(|stream| {
        let mut known = checkpoint.ends.iter();
        let known = known.find(|(topic, _)| *topic == stream.name);
        let known = known.map_or(&[][..], |(_, ends)| ends);
        let mut found = read_topic(reading, &stream.name, known, (&bases, metas), seen)?;
        found.truncate(placed_in(stream, known.len(), found.len()));
        Ok(found)
    });
    ends.collect()
}

/// The part of a file that is in the log by what `bekk.meta` says, for a file that the checkpoint does not have.
struct Base {
    position: u64,
    known: Ranges,
}

impl Base {
    fn covers(&self, start: u64) -> bool {
        let known = || self.known.next_from(start);
        start < self.position || known().is_some_and(|(known, _)| known <= start)
    }
}

/// Returns what `bekk.meta` says of files that the checkpoint does not have. Retention may have removed the records that
/// say the same.
fn bases(metas: &Metas, checkpoint: &Checkpoint) -> HashMap<FileId, Base> {
    let with_entry: HashSet<FileId> = checkpoint.files.iter().map(|entry| entry.id).collect();
    let files = metas.files.values().map(|file| file.id);
    let without = files.filter(|id| !with_entry.contains(id));
    let bases = without.filter_map(|id| {
        let receipt = metas.receipts.get(&id).map(|receipt| receipt.bytes);
        let progress = metas.progress.get(&id);
        let position = progress.map(|progress| progress.position).max(receipt)?;
        let mut known = Ranges::default();
        for &(start, end) in progress.into_iter().flat_map(|progress| &progress.known) {
            known.insert(start, end);
        }
        Some((id, Base { position, known }))
    });
    bases.collect()
}

/// Returns in how many of a topic's partitions rows are placed. If a topic has grown and the order of a key's rows
/// matters, they are those that it had before, until `bekk.toml` says to use all: otherwise the rows of a key would go to
/// another partition, and might be applied before older ones.
fn placed_in(stream: &Stream, before: usize, now: usize) -> usize {
    let is_wanted = usize::try_from(stream.partitions) == Ok(now);
    let is_ordered = !stream.key.is_empty() && stream.newer_by.is_none();
    if before == 0 || before >= now || is_wanted || !is_ordered {
        return now;
    }
    tracing::warn!(
        topic = stream.name,
        "the topic has {now} partitions now, and had {before}: rows stay in the first {before}, so that those of a key \
         keep their order; to use all, stop ingest, wait until each sink shows lag 0 (bekk status), set partitions = \
         {now} in [streams.{}], and start ingest again",
        stream.name
    );
    before
}

/// Reads a topic after the known ends, collects which ranges of which files it has, and returns its ends.
fn read_topic(
    reading: Reading<'_>,
    topic: &str,
    known_ends: &[u64],
    (bases, metas): (&HashMap<FileId, Base>, &Metas),
    seen: &mut HashMap<FileId, Seen>,
) -> Result<Vec<Offset>, Error> {
    let mut scan = Scan::new(reading, topic, known_ends)?;
    let ends = scan
        .partitions
        .iter()
        .map(|partition| partition.end)
        .collect();
    while scan.step(|partition, record| {
        // Records of other writers are ignored; the sink reports it.
        let Ok(payload) = Payload::decode(record.value) else {
            return;
        };
        let origin = payload.origin;
        let base = bases.get(&origin.file);
        let archived = metas.archived.get(&origin.file);
        let cut = match &payload.body {
            Body::Reject(reject) if reject.hash.is_some() => Some((origin.line, reject.length)),
            _ => None,
        };
        let is_told = base.is_some_and(|base| base.covers(origin.start))
            || archived.is_some_and(|archived| origin.start < archived.bytes);
        if is_told && cut.is_none() {
            return;
        }
        let seen = seen.entry(origin.file).or_default();
        // The file has the rest of the record: it must not go.
        seen.cut = seen.cut.or(cut);
        if is_told {
            return;
        }
        seen.ranges.insert(origin.start, origin.end);
        seen.records += 1;
        let first = metas.begun.get(&origin.file);
        seen.first_records += u64::from(first.is_some_and(|begun| origin.start < begun.position));
        seen.rejects += u64::from(matches!(payload.body, Body::Reject(_)));
        let offset = record.offset.get();
        widen(&mut seen.offsets, partition, offset, offset + 1);
    })? {}
    Ok(ends)
}
