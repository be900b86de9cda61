//! What the log holds of each file: found at start, and after an append whose outcome is unknown.
//!
//! A session is begun first, so that nothing of an earlier one can be appended behind the look. Then
//! `bekk.meta` tells which files there are, the checkpoint how far each was and where the log ended then,
//! and the records behind those ends which ranges of the files are in the log besides.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bekk_log::{Client, Error as LogError, Offset, Retention, Session, TopicConfig};
use bekk_stream::{
    Body, FileId, FileRecord, META_TOPIC, Meta, Payload, Progress, Receipt, SchemaId, Stream,
};

use crate::Error;
use crate::append::wait_for_space;
use crate::checkpoint::Checkpoint;
use crate::entry::FileEntry;
use crate::inbox::Inbox;
use crate::ranges::Ranges;
use crate::run::Identity;
use crate::stats::Stats;

/// How many records of `bekk.meta` are appended at once: each can be as long as a path.
const METAS_PER_BATCH: usize = 1000;
/// How many bytes are read from the log at once.
const READ_BYTES: usize = 1 << 20;

/// What was found.
pub(crate) struct Recovered {
    pub(crate) session: Session,
    /// For each stream, where its partitions end.
    pub(crate) ends: Vec<Vec<Offset>>,
    /// In the order in which they were met: of two with one inode the later is meant.
    pub(crate) files: Vec<FileEntry>,
    /// Those among them that the checkpoint had.
    pub(crate) recent: HashSet<FileId>,
    /// How far `bekk.meta` tells that each file is.
    pub(crate) told: HashMap<FileId, u64>,
    /// Topics and files of streams that are not configured now: kept in the checkpoint as they are.
    pub(crate) others: Checkpoint,
}

/// What the records behind the checkpoint tell of a file.
#[derive(Default)]
struct Seen {
    ranges: Ranges,
    records: u64,
    rejects: u64,
    offsets: Vec<(u32, u64, u64)>,
}

/// What is looked at.
pub(crate) struct Ground<'a> {
    pub(crate) log: &'a Client,
    pub(crate) streams: &'a [Stream],
    pub(crate) inbox: &'a Inbox,
    pub(crate) identity: &'a Identity,
    pub(crate) checkpoint_path: &'a Path,
    pub(crate) stats: &'a Stats,
}

/// Begins a session and finds what the log holds.
///
/// # Errors
/// If the log fails, or the checkpoint belongs to another log.
pub(crate) fn recover(around: &Ground<'_>, stop: &AtomicBool) -> Result<Recovered, Error> {
    let Ground {
        log,
        streams,
        inbox,
        identity,
        checkpoint_path,
        stats,
    } = *around;
    let session = log
        .begin_session(&identity.ingest)
        .map_err(Error::log("begin a session"))?;
    let checkpoint = Checkpoint::load(checkpoint_path)?;
    if let Some(checkpoint) = &checkpoint
        && checkpoint.log_id != log.log_id().to_string()
    {
        return Err(Error::OtherLog {
            path: checkpoint_path.to_owned(),
            found: log.log_id(),
            expected: checkpoint.log_id.clone(),
        });
    }
    let is_without = checkpoint.is_none();
    let checkpoint = checkpoint.unwrap_or_default();
    let mut metas = create_topics(log, &session, streams, stats, stop)?;
    metas.files.retain(|file| identity.can_know(file));
    release_lost(log, &metas.files, inbox, identity)?;
    let bases = bases(&metas, &checkpoint);
    let mut seen: HashMap<FileId, Seen> = HashMap::new();
    let mut ends = Vec::new();
    for stream in streams {
        let known = checkpoint
            .ends
            .iter()
            .find(|(topic, _)| *topic == stream.name);
        let known = known.map_or(&[][..], |(_, ends)| ends);
        ends.push(read_topic(log, &stream.name, known, &bases, &mut seen)?);
    }
    let is_configured = |name: &str| streams.iter().any(|stream| stream.name == name);
    let mut others = Checkpoint {
        log_id: log.log_id().to_string(),
        ..Checkpoint::default()
    };
    others.ends = checkpoint.ends;
    others.ends.retain(|(topic, _)| !is_configured(topic));
    let (entries, other_files): (Vec<_>, Vec<_>) = checkpoint
        .files
        .into_iter()
        .partition(|entry| is_configured(&entry.stream));
    others.files = other_files;
    let mut entries: HashMap<FileId, FileEntry> =
        entries.into_iter().map(|entry| (entry.id, entry)).collect();
    let recent = entries.keys().copied().collect();
    let mut files = Vec::new();
    for record in metas.files {
        let id = record.id;
        let seen = seen.remove(&id).unwrap_or_default();
        if let Some(mut entry) = entries.remove(&id) {
            let receipt = metas.receipts.get(&id).map(|receipt| receipt.bytes);
            entry.receipt_bytes = receipt.or(entry.receipt_bytes);
            // Its content may have been found in another file after the checkpoint was written.
            if entry
                .decisions
                .last()
                .is_some_and(|last| record.found_at_ms > last.at_ms)
            {
                entry.path = record.path;
                (entry.device, entry.inode) = (record.device, record.inode);
            }
            files.push(with_seen(entry, seen));
        } else if is_configured(&record.stream) {
            let receipt = metas.receipts.get(&id);
            let progress = metas.progress.remove(&id);
            files.push(without_checkpoint(record, receipt, progress, seen));
        }
    }
    let mut told: HashMap<FileId, u64> = metas
        .receipts
        .iter()
        .map(|(id, receipt)| (*id, receipt.bytes))
        .collect();
    told.extend(metas.told);
    tracing::info!(
        session = session.number,
        files = files.len(),
        checkpoint = !is_without,
        "what the log holds is known"
    );
    Ok(Recovered {
        session,
        ends,
        files,
        recent,
        told,
        others,
    })
}

/// Adds to an entry what was seen in the log behind the checkpoint.
fn with_seen(mut entry: FileEntry, seen: Seen) -> FileEntry {
    entry.records += seen.records;
    entry.rejects += seen.rejects;
    for (partition, first, end) in seen.offsets {
        widen(&mut entry.offsets, partition, first, end);
    }
    entry.known.extend(&seen.ranges);
    entry
}

/// What `bekk.meta` tells to be in the log of a file that the checkpoint does not have.
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

/// What `bekk.meta` tells of files that the checkpoint does not have: retention may have dropped the records
/// that told the same, or not.
fn bases(metas: &Metas, checkpoint: &Checkpoint) -> HashMap<FileId, Base> {
    let with_entry: HashSet<FileId> = checkpoint.files.iter().map(|entry| entry.id).collect();
    let files = metas.files.iter().map(|file| file.id);
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

/// Lets go of what ingests of lost state directories hold in the log: those that have met files of this inbox,
/// which is ours alone now.
fn release_lost(
    log: &Client,
    files: &[FileRecord],
    inbox: &Inbox,
    identity: &Identity,
) -> Result<(), Error> {
    let lost: HashSet<&str> = files
        .iter()
        .filter(|file| file.ingest != identity.ingest && !file.ingest.is_empty())
        .filter(|file| {
            let path = Path::new(OsStr::from_bytes(&file.path));
            inbox.streams_of(path).next().is_some()
        })
        .map(|file| file.ingest.as_str())
        .collect();
    for ingest in lost {
        log.release(&holder(ingest))
            .map_err(Error::log("let go of what a lost ingest held"))?;
    }
    Ok(())
}

/// The name under which an ingest holds records in the log.
pub(crate) fn holder(ingest: &str) -> String {
    format!("bekk-ingest/{ingest}")
}

/// The entry of a file that the checkpoint does not have. One that has a receipt only is read from its
/// beginning, as its lines must be counted; what the receipt tells of is passed over like what was found in the
/// log.
fn without_checkpoint(
    record: FileRecord,
    receipt: Option<&Receipt>,
    progress: Option<Progress>,
    seen: Seen,
) -> FileEntry {
    let receipt_bytes = receipt.map(|receipt| receipt.bytes);
    let entry = match (progress, receipt) {
        (Some(progress), _) if Some(progress.position) >= receipt_bytes => {
            FileEntry::from_progress(record, progress)
        }
        (_, Some(receipt)) => {
            let mut entry = FileEntry::new(record);
            entry.known.insert(0, receipt.bytes);
            (entry.records, entry.rejects) = (receipt.records, receipt.rejects);
            entry.offsets.clone_from(&receipt.offsets);
            entry
        }
        _ => FileEntry::new(record),
    };
    let mut entry = with_seen(entry, seen);
    entry.receipt_bytes = receipt_bytes;
    entry
}

/// Makes the span of offsets that a partition has of a file hold these as well.
pub(crate) fn widen(offsets: &mut Vec<(u32, u64, u64)>, partition: u32, first: u64, end: u64) {
    match offsets.iter_mut().find(|(known, ..)| *known == partition) {
        Some((_, known_first, known_end)) => {
            *known_first = first.min(*known_first);
            *known_end = end.max(*known_end);
        }
        None => offsets.push((partition, first, end)),
    }
}

#[derive(Default)]
struct Metas {
    schemas: HashSet<SchemaId>,
    /// In the order in which they were met.
    files: Vec<FileRecord>,
    /// How many records there are of each.
    files_of: HashMap<FileId, u32>,
    receipts: HashMap<FileId, Receipt>,
    progress: HashMap<FileId, Progress>,
    /// How far the newest progress says that a file is.
    told: HashMap<FileId, u64>,
}

/// Makes the topics that do not exist, and appends the schemas that `bekk.meta` does not have.
fn create_topics(
    log: &Client,
    session: &Session,
    streams: &[Stream],
    stats: &Stats,
    stop: &AtomicBool,
) -> Result<Metas, Error> {
    let forever = TopicConfig {
        partitions: 1,
        retention: Retention::default(),
    };
    log.create_topic(META_TOPIC, forever)
        .map_err(Error::log("create topic `bekk.meta`"))?;
    let metas = read_metas(log)?;
    let mut missing = Vec::new();
    for stream in streams {
        let config = TopicConfig {
            partitions: stream.partitions,
            retention: Retention {
                age: stream.retention.age,
                size: stream.retention.size,
            },
        };
        let topic = log
            .create_topic(&stream.name, config)
            .map_err(Error::log("create a topic"))?;
        if topic.config.partitions != stream.partitions {
            tracing::warn!(
                topic = topic.name,
                partitions = topic.config.partitions,
                configured = stream.partitions,
                "the topic keeps the partition count that it was made with"
            );
        }
        let schema = stream.schema();
        if !metas.schemas.contains(&schema.id()) {
            missing.push(Meta::Schema(schema.id(), schema));
        }
    }
    append_metas(log, session, &missing, stats, stop)?;
    Ok(metas)
}

/// Appends to `bekk.meta`; durable when it returns. Says `false` if told to stop while the disk was full.
///
/// # Errors
/// If the log fails.
pub(crate) fn append_metas(
    log: &Client,
    session: &Session,
    metas: &[Meta],
    stats: &Stats,
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let mut buffer = bekk_log::RecordBuffer::new();
    for metas in metas.chunks(METAS_PER_BATCH) {
        buffer.clear();
        for meta in metas {
            buffer.push(now_ms(), Some(meta.key().as_bytes()), &meta.encode());
        }
        let append = || log.append(Some(session), META_TOPIC, &[(0, &buffer)]);
        let appended = wait_for_space(stats, stop, append)
            .map_err(Error::log("append to topic `bekk.meta`"))?;
        if appended.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_metas(log: &Client) -> Result<Metas, Error> {
    let mut metas = Metas::default();
    let mut scan = Scan::new(log, META_TOPIC, &[])?;
    while scan.step(log, |_, record| match Meta::decode(record.value) {
        Ok(Meta::Schema(id, _)) => {
            metas.schemas.insert(id);
        }
        Ok(Meta::File(file)) => {
            *metas.files_of.entry(file.id).or_default() += 1;
            metas.files.push(file);
        }
        Ok(Meta::Receipt(receipt)) => {
            metas.receipts.insert(receipt.file, receipt);
        }
        Ok(Meta::Progress(progress)) => {
            metas.told.insert(progress.file, progress.position);
            metas.progress.insert(progress.file, progress);
        }
        Err(error) => tracing::warn!(offset = %record.offset, %error, "a record of `bekk.meta` is passed over"),
    })? {}
    // Of a file that was told of anew, the last record counts, and its place.
    let Metas {
        files, files_of, ..
    } = &mut metas;
    files.retain(|file| {
        let left = files_of.entry(file.id).or_default();
        *left = left.saturating_sub(1);
        *left == 0
    });
    Ok(metas)
}

/// Reads a topic behind the known ends, notes which ranges it has of which files, and returns its ends.
fn read_topic(
    log: &Client,
    topic: &str,
    known_ends: &[u64],
    bases: &HashMap<FileId, Base>,
    seen: &mut HashMap<FileId, Seen>,
) -> Result<Vec<Offset>, Error> {
    let mut scan = Scan::new(log, topic, known_ends)?;
    let ends = scan
        .partitions
        .iter()
        .map(|partition| partition.end)
        .collect();
    while scan.step(log, |partition, record| {
        // What another writer has put there is none of ours; the sink reports it.
        let Ok(payload) = Payload::decode(record.value) else {
            return;
        };
        let origin = payload.origin;
        let base = bases.get(&origin.file);
        if base.is_some_and(|base| base.covers(origin.start)) {
            return;
        }
        let seen = seen.entry(origin.file).or_default();
        seen.ranges.insert(origin.start, origin.end);
        seen.records += 1;
        seen.rejects += u64::from(matches!(payload.body, Body::Reject(_)));
        let offset = record.offset.get();
        widen(&mut seen.offsets, partition, offset, offset + 1);
    })? {}
    Ok(ends)
}

/// Reads all partitions of a topic up to where they end now, always on from the one that is behind in
/// time: so the ranges of a file, whose records lie in all of them, come nearly in order and take little
/// memory.
struct Scan<'t> {
    topic: &'t str,
    partitions: Vec<Partition>,
}

struct Partition {
    number: u32,
    next: Offset,
    end: Offset,
    timestamp_ms: i64,
}

impl<'t> Scan<'t> {
    fn new(log: &Client, topic: &'t str, known_ends: &[u64]) -> Result<Self, Error> {
        let ends = log
            .partition_ends(topic)
            .map_err(Error::log("find the log's ends"))?;
        let partitions = ends.iter().map(|ends| {
            let known = known_ends.get(ends.partition as usize);
            let known = Offset::new(known.copied().unwrap_or(0));
            Partition {
                number: ends.partition,
                next: known.max(ends.start),
                end: ends.end,
                timestamp_ms: i64::MIN,
            }
        });
        Ok(Self {
            topic,
            partitions: partitions.collect(),
        })
    }

    /// Reads on in one partition; says whether there may be more.
    fn step(
        &mut self,
        log: &Client,
        mut take: impl FnMut(u32, bekk_log::Record<'_>),
    ) -> Result<bool, Error> {
        let unread = self
            .partitions
            .iter_mut()
            .filter(|partition| partition.next < partition.end);
        let Some(partition) = unread.min_by_key(|partition| partition.timestamp_ms) else {
            return Ok(false);
        };
        let records = match log.read(self.topic, partition.number, partition.next, READ_BYTES) {
            Ok(records) => records,
            // Retention went past us while we read.
            Err(LogError::OffsetOutOfRange { start, .. }) if start > partition.next => {
                partition.next = start;
                return Ok(true);
            }
            Err(error) => return Err(Error::log("read the log")(error)),
        };
        for record in records.iter() {
            partition.timestamp_ms = record.timestamp_ms;
            take(partition.number, record);
        }
        if records.next_offset() <= partition.next {
            partition.end = partition.next;
        }
        partition.next = records.next_offset();
        Ok(true)
    }
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
