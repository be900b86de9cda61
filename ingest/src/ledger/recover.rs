//! What the log holds of each file: found at start, and after an append whose outcome is unknown.
//!
//! A session begins first, so that no earlier one can append after the search. Then `bekk.meta` names the files, the
//! checkpoint says how far each was and where the log ended then, and the records after those ends say which further
//! ranges of the files are in the log.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bekk_log::{Client, Offset, Session};
use bekk_stream::{FileId, FileRecord, Meta, Progress, Receipt, Stream};

use crate::Error;
use crate::file::entry::{FileEntry, widen};
use crate::file::owner::Identity;
use crate::inbox::Inbox;
use crate::ledger::archive::{Archive, finished_entry};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::heal::{Healed, heal};
use crate::ledger::hold::holder;
use crate::ledger::marks::{Marks, TopicLoss};
use crate::ledger::metas::{Metas, Needed, append_metas, create_topics, read_and_complete};
use crate::ledger::scan::Reading;
use crate::ledger::seen::{Seen, read_topics};
use crate::ledger::space::wait_for_space;
use crate::stats::Stats;
use crate::text::notice::{Notice, NoticeKind, letter_cut};

/// What was found.
pub(crate) struct Recovered {
    pub(crate) session: Session,
    /// Which losses of the log were looked after just now; to be noted once the checkpoint has what follows from it.
    pub(crate) healed: Option<Healed>,
    /// For each stream, where its partitions end.
    pub(crate) ends: Vec<Vec<Offset>>,
    /// In the order in which they were met: of two with one inode the later is meant.
    pub(crate) files: Vec<FileEntry>,
    /// Those among them that the last run had to do with: the checkpoint has them, or they were begun after it.
    pub(crate) recent: HashSet<FileId>,
    /// How far `bekk.meta` tells that each file is.
    pub(crate) told: HashMap<FileId, u64>,
    /// Topics and files of streams that are not configured now: kept in the checkpoint as they are.
    pub(crate) others: Checkpoint,
    /// Finished files that nobody has met lately.
    pub(crate) archive: Archive,
    /// What was appended last to each partition.
    pub(crate) marks: Marks,
}

/// What is looked at.
pub(crate) struct Ground<'a> {
    pub(crate) log: &'a Client,
    pub(crate) streams: &'a [Stream],
    pub(crate) inbox: &'a Inbox,
    pub(crate) identity: &'a Identity,
    pub(crate) checkpoint_path: &'a Path,
    pub(crate) stats: &'a Stats,
    /// What the last session found lost.
    pub(crate) lost: Vec<TopicLoss>,
}

/// Makes the topics, begins a session, and finds what the log holds.
///
/// # Errors
/// If the log fails, or the checkpoint belongs to another log; [`Error::Stopped`] if told to stop while a transaction
/// keeps records back.
pub(crate) fn recover(around: &Ground<'_>, stop: &AtomicBool) -> Result<Recovered, Error> {
    let Ground {
        log,
        streams,
        inbox,
        identity,
        checkpoint_path,
        stats,
        ..
    } = *around;
    let loaded = load_checkpoint(log, checkpoint_path)?;
    // Before the session: what a batch may have depends on the topics.
    create_topics(log, streams)?;
    let begun = wait_for_space(stats, stop, || log.begin_session(&identity.ingest));
    let session = begun.map_err(Error::log("begin a session"))?;
    let session = session.ok_or(Error::Stopped)?;
    let reading = Reading { log, stats, stop };
    let has_checkpoint = loaded.is_some();
    let mut checkpoint = loaded.unwrap_or_default();
    let with_entry: HashSet<FileId> = checkpoint.files.iter().map(|entry| entry.id).collect();
    let needed = Needed {
        files: &with_entry,
        ingest: &identity.ingest,
        streams,
    };
    let mut metas = read_and_complete(reading, &session, &needed)?;
    let marks = forget_lost(around, &mut checkpoint, &mut metas)?;
    metas.files.retain(|_, file| identity.can_know(file));
    release_lost(log, metas.files.values(), inbox, identity)?;
    let mut seen: HashMap<FileId, Seen> = HashMap::new();
    let ends = read_topics(reading, streams, &checkpoint, &metas, &mut seen)?;
    let further: Vec<FileId> = seen.keys().copied().collect();
    metas.restore(log, further)?;
    let checkpoint_ends = checkpoint.ends.clone();
    let (mut entries, others) = split_off_others(checkpoint, streams, log);
    let healed = heal(
        reading,
        streams,
        &checkpoint_ends,
        &mut entries,
        checkpoint_path,
    )?;
    let mut recent: HashSet<FileId> = entries.keys().copied().collect();
    let mut files = merge(streams, &mut metas, &mut entries, &mut seen, &mut recent);
    let forgotten = forgotten(entries, &mut seen);
    restore_metas(reading, &session, &forgotten, identity)?;
    files.extend(forgotten);
    let receipts = metas.receipts.iter();
    let mut told: HashMap<FileId, u64> =
        receipts.map(|(id, receipt)| (*id, receipt.bytes)).collect();
    told.extend(metas.told);
    // What ingest appends from now on need not be fetched.
    log.stop_reading().map_err(Error::log("read the log"))?;
    tracing::info!(
        session = session.number,
        files = files.len(),
        checkpoint = has_checkpoint,
        "read what the log already holds"
    );
    Ok(Recovered {
        session,
        ends,
        files,
        recent,
        told,
        others,
        healed,
        archive: Archive::new(metas.archived),
        marks,
    })
}

/// Loads the checkpoint, if there is one, and checks that it is of this log.
fn load_checkpoint(log: &Client, path: &Path) -> Result<Option<Checkpoint>, Error> {
    let checkpoint = Checkpoint::load_own(path);
    if let Some(checkpoint) = &checkpoint
        && checkpoint.log_id != log.log_id().to_string()
    {
        return Err(Error::OtherLog {
            path: path.to_owned(),
            found: log.log_id(),
            expected: checkpoint.log_id.clone(),
        });
    }
    Ok(checkpoint)
}

/// Loads the marks of what was appended last, and forgets the files of topics that have lost it.
fn forget_lost(
    around: &Ground<'_>,
    checkpoint: &mut Checkpoint,
    metas: &mut Metas,
) -> Result<Marks, Error> {
    let Ground { log, streams, .. } = *around;
    let marks_path = around.checkpoint_path.with_file_name("marks");
    let mut marks = Marks::load(&marks_path, &log.log_id().to_string());
    let mut lost = around.lost.clone();
    let found = marks.lost(log, streams)?.into_iter();
    // The stored marks may be older than what the last session found.
    let is_new = |loss: &TopicLoss| !around.lost.iter().any(|known| known.topic == loss.topic);
    lost.extend(found.filter(is_new));
    for loss in lost {
        metas.recall_archived(log, &loss.topic, streams)?;
        read_again(log, &loss, checkpoint, metas, around.identity)?;
        marks.topics.remove(&loss.topic);
    }
    Ok(marks)
}

/// Parts a checkpoint into the entries of the configured streams' files, and what belongs to other streams.
fn split_off_others(
    checkpoint: Checkpoint,
    streams: &[Stream],
    log: &Client,
) -> (HashMap<FileId, FileEntry>, Checkpoint) {
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
    let entries = entries.into_iter().map(|entry| (entry.id, entry));
    (entries.collect(), others)
}

/// Makes an entry of each file that `bekk.meta` names, from the checkpoint's entry and the records after it.
fn merge(
    streams: &[Stream],
    metas: &mut Metas,
    entries: &mut HashMap<FileId, FileEntry>,
    seen: &mut HashMap<FileId, Seen>,
    recent: &mut HashSet<FileId>,
) -> Vec<FileEntry> {
    let mut files = Vec::new();
    for record in std::mem::take(&mut metas.files).into_values() {
        let id = record.id;
        let seen = seen.remove(&id).unwrap_or_default();
        let begun = metas.begun.remove(&id);
        let begun = begun.filter(|begun| begun.records == seen.first_records);
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
            files.push(with_begun(with_seen(entry, seen), begun));
        } else if streams.iter().any(|stream| stream.name == record.stream) {
            let receipt = metas.receipts.get(&id);
            let progress = metas.progress.remove(&id);
            if begun.is_some() {
                // It was begun after the checkpoint was written.
                recent.insert(id);
            }
            let entry = without_checkpoint(record, receipt, progress, seen);
            files.push(with_begun(entry, begun));
        }
    }
    files
}

/// Forgets what is known of a topic's files but the log: the log has lost records that it had acknowledged. All that
/// the files still have of them is appended again, and nothing twice, since each record names its range.
fn read_again(
    log: &Client,
    TopicLoss { topic, what }: &TopicLoss,
    checkpoint: &mut Checkpoint,
    metas: &mut Metas,
    identity: &Identity,
) -> Result<(), Error> {
    let ends = log
        .partition_ends(topic)
        .map_err(Error::log("find the log's ends"))?;
    if ends.iter().any(|ends| ends.start > Offset::ZERO) {
        // What retention has removed could not be told from what was lost.
        return Err(Error::RecordsLost {
            topic: topic.clone(),
            what: what.clone(),
        });
    }
    tracing::warn!(
        topic,
        what,
        "the log has lost acknowledged records, or was replaced; ingest appends again those that the files \
        still have"
    );
    checkpoint.ends.retain(|(known, _)| known != topic);
    let known: HashSet<FileId> = metas.files.values().map(|file| file.id).collect();
    checkpoint.files.retain_mut(|entry| {
        if entry.stream == *topic && !known.contains(&entry.id) {
            // The log has lost what it told of the file, too.
            *entry = FileEntry::new(entry.record(identity));
            return true;
        }
        entry.stream != *topic
    });
    let of_topic = metas.files.values().filter(|file| file.stream == *topic);
    for id in of_topic.map(|file| file.id).collect::<Vec<_>>() {
        metas.receipts.remove(&id);
        metas.progress.remove(&id);
        metas.begun.remove(&id);
        metas.told.remove(&id);
    }
    Ok(())
}

/// The files that the checkpoint has and `bekk.meta` not any more: its records are damaged.
fn forgotten(
    entries: HashMap<FileId, FileEntry>,
    seen: &mut HashMap<FileId, Seen>,
) -> Vec<FileEntry> {
    let forgotten = entries.into_values();
    let mut forgotten: Vec<_> = forgotten
        .map(|entry| {
            let seen = seen.remove(&entry.id).unwrap_or_default();
            with_seen(entry, seen)
        })
        .collect();
    forgotten.sort_by_key(|entry| entry.id);
    forgotten
}

/// Tells `bekk.meta` again of files that it does not know any more.
fn restore_metas(
    reading: Reading<'_>,
    session: &Session,
    forgotten: &[FileEntry],
    identity: &Identity,
) -> Result<(), Error> {
    if forgotten.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        files = forgotten.len(),
        "topic `bekk.meta` has lost records of some files; ingest writes them again from the checkpoint"
    );
    let metas: Vec<Meta> = forgotten
        .iter()
        .map(|entry| Meta::File(entry.record(identity)))
        .collect();
    append_metas(reading.log, session, &metas, reading.stats, reading.stop)?;
    Ok(())
}

/// Adds to an entry what was seen in the log behind the checkpoint.
fn with_seen(mut entry: FileEntry, seen: Seen) -> FileEntry {
    entry.records += seen.records;
    entry.rejects += seen.rejects;
    for (partition, first, end) in seen.offsets {
        widen(&mut entry.offsets, partition, first, end);
    }
    entry.known.extend(&seen.ranges);
    let is_told = |notice: &Notice| notice.kind == NoticeKind::LetterCut;
    if let Some((line, len)) = seen.cut
        && !entry.notices.iter().any(is_told)
    {
        entry.notices.push(Notice {
            kind: NoticeKind::LetterCut,
            text: letter_cut(line, len),
        });
    }
    entry
}

/// Takes a file's first records for read, now that all of them have been seen in the log.
fn with_begun(mut entry: FileEntry, begun: Option<Progress>) -> FileEntry {
    if let Some(begun) = begun
        && entry.position == 0
    {
        entry.stand_at(&begun);
    }
    entry
}

/// Releases the holds of ingests whose state directories are lost: those that have met files of this inbox,
/// which is ours alone now.
fn release_lost<'a>(
    log: &Client,
    files: impl Iterator<Item = &'a FileRecord>,
    inbox: &Inbox,
    identity: &Identity,
) -> Result<(), Error> {
    let lost: HashSet<&str> = files
        .filter(|file| file.ingest != identity.ingest && !file.ingest.is_empty())
        .filter(|file| {
            let path = Path::new(OsStr::from_bytes(&file.path));
            inbox.streams_of(path).next().is_some()
        })
        .map(|file| file.ingest.as_str())
        .collect();
    for ingest in lost {
        log.release(&holder(ingest))
            .map_err(Error::log("release the records that a lost ingest held"))?;
    }
    Ok(())
}

/// The entry of a file that the checkpoint does not have. One that has a receipt only is read from its
/// beginning, as its lines must be counted; the records that its receipt covers are skipped, like those found in the
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
        (_, Some(receipt)) => finished_entry(record, receipt),
        _ => FileEntry::new(record),
    };
    let mut entry = with_seen(entry, seen);
    entry.receipt_bytes = receipt_bytes;
    entry
}
