//! Keeps account of what the log has acknowledged: in memory, in the checkpoint, and in the log's holds.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bekk_log::{Client, Offset, Session};
use bekk_stream::{FileId, Meta, Progress, Stream};

use crate::Error;
use crate::file::entry::{FileEntry, widen};
use crate::follow::catalog::Catalog;
use crate::follow::tracked::Tracked;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::heal::Healed;
use crate::ledger::hold::{holder, persist};
use crate::ledger::marks::{Marks, TopicLoss};
use crate::ledger::metas::append_metas;
use crate::stats::{Stats, Summary};
use crate::text::parsed_batch::ParsedBatch;

/// How often the log is told what the checkpoint needs of it,
const HOLD_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// and how often if so many bytes of files have been read since.
const HOLD_PAUSE: Duration = Duration::from_secs(10);
const HOLD_BYTES: u64 = 256 << 20;

/// What is written down of a session, and when.
pub(crate) struct Account {
    /// Where the partitions of each stream's topic end, as far as this session knows.
    ends: Vec<Vec<Offset>>,
    /// Topics and files of streams that are not configured now.
    others: Checkpoint,
    /// What was appended last to each partition.
    marks: Marks,
    /// How far `bekk.meta` tells that each file is.
    told: HashMap<FileId, u64>,
    /// Whether there is something that the checkpoint does not have.
    is_dirty: bool,
    /// Whether the checkpoint could not be written when it was last tried.
    is_late: bool,
    checkpoint_at: Instant,
    /// Before this time the next checkpoint would take too much of ours.
    checkpoint_from: Instant,
    /// When the log was last told what is needed of it, and how much had been read then.
    held_at: Option<(Instant, u64)>,
    /// Bytes of files that the log has acknowledged in this session.
    bytes: u64,
    /// Which losses of the log were looked after, as long as no checkpoint has what follows from it.
    healed: Option<Healed>,
}

/// What an account is written with.
pub(crate) struct Place<'a> {
    pub(crate) path: &'a Path,
    pub(crate) interval: Duration,
    pub(crate) streams: &'a [Stream],
    pub(crate) log: &'a Client,
    pub(crate) session: &'a Session,
    pub(crate) stats: &'a Stats,
    pub(crate) stop: &'a AtomicBool,
}

impl Account {
    pub(crate) fn new(
        ends: Vec<Vec<Offset>>,
        others: Checkpoint,
        told: HashMap<FileId, u64>,
        healed: Option<Healed>,
        marks: Marks,
    ) -> Self {
        let now = Instant::now();
        Self {
            ends,
            others,
            marks,
            told,
            is_dirty: true,
            is_late: false,
            checkpoint_at: now,
            checkpoint_from: now,
            held_at: None,
            bytes: 0,
            healed,
        }
    }

    /// Notes that the checkpoint is to be written again.
    pub(crate) fn touch(&mut self) {
        self.is_dirty = true;
    }

    /// Lets the next checkpoint come as soon as may be.
    pub(crate) fn hasten(&mut self) {
        self.checkpoint_at = self.checkpoint_at.min(self.checkpoint_from);
    }

    /// Whether the checkpoint is to be written now.
    pub(crate) fn is_due(&self) -> bool {
        self.is_dirty && Instant::now() >= self.checkpoint_at
    }

    /// The loss of a topic in which an append got an offset that an earlier one had already.
    pub(crate) fn set_back(&self, topic: &str, offsets: &[(u32, Offset)]) -> Option<TopicLoss> {
        let marks = self.marks.topics.get(topic)?;
        offsets.iter().find_map(|(partition, offset)| {
            let before = marks.get(partition)?.offset;
            (*offset <= before).then(|| TopicLoss {
                topic: topic.to_owned(),
                what: format!("{topic}/{partition} gave offset {offset} again; a record was appended at {before}"),
            })
        })
    }

    /// Takes note that a batch is in the log, with the first offset of each partition that got records of it.
    pub(crate) fn acknowledge(
        &mut self,
        batch: &ParsedBatch,
        offsets: &[(u32, Offset)],
        topic: &str,
        catalog: &mut Catalog,
        (summary, stats): (&mut Summary, &Stats),
    ) {
        let base = |partition: u32| {
            let found = offsets
                .iter()
                .find(|(with_records, _)| *with_records == partition);
            found.map_or(0, |(_, offset)| offset.get())
        };
        for &(partition, offset) in offsets {
            let buffer = &batch.buffers[partition as usize];
            let len = buffer.len();
            if let Some(mark) = buffer.last_mark(offset) {
                self.marks.note(topic, partition, mark);
            }
            self.ends[batch.stream][partition as usize] = offset.plus(u64::from(len));
        }
        for progress in &batch.progress {
            // A file may have been replaced while its last records were on their way.
            let Some(tracked) = catalog.get_mut(progress.file) else {
                continue;
            };
            let entry = &mut tracked.entry;
            if entry.position == 0 {
                // From its first checkpoint on it is known what was read of it, wherever that is found again.
                self.hasten();
            }
            let bytes = progress.position - entry.position;
            self.bytes += bytes;
            summary.bytes += bytes;
            Stats::add(&stats.bytes_read, bytes);
            Stats::add(&stats.bytes_logged, bytes);
            entry.position = progress.position;
            entry.line = progress.line;
            entry.header_at = progress.header_at;
            entry.tail = progress.tail;
            entry.crc = progress.crc;
            entry.known.forget_before(progress.position);
            entry.records += progress.records;
            entry.rejects += progress.rejects;
            for &(partition, first, end) in &progress.spans {
                let base = base(partition);
                let (first, end) = (base + u64::from(first), base + u64::from(end));
                widen(&mut entry.offsets, partition, first, end);
            }
        }
        summary.records += batch.records;
        summary.rejects += batch.rejects;
        Stats::add(&stats.records_logged, batch.records);
        Stats::add(&stats.rejects_logged, batch.rejects);
        self.touch();
    }

    /// Writes down how far each file is and where the log ends.
    ///
    /// # Errors
    /// If the log fails. A checkpoint that cannot be written is late, and tried again.
    pub(crate) fn store(&mut self, catalog: &Catalog, place: &Place<'_>) -> Result<(), Error> {
        let began = Instant::now();
        let checkpoint = self.checkpoint(catalog, place.streams);
        // What it says to be in the log stays there, also if the power is lost.
        persist(place.log)?;
        let stored = checkpoint
            .store(place.path)
            .and_then(|()| self.marks.store(&place.path.with_file_name("marks")));
        let pause = began.elapsed() * 10;
        self.note_stored(stored);
        let is_late = &place.stats.checkpoint_is_late;
        is_late.store(self.is_late, Ordering::Relaxed);
        if !self.is_late
            && let Some(healed) = self.healed.take()
        {
            healed.store(place.log);
        }
        // The log holds what the checkpoint that is there needs.
        if !self.is_late && self.is_hold_due() && self.hold(catalog, place)? {
            self.held_at = Some((Instant::now(), self.bytes));
        }
        self.is_dirty = self.is_late;
        // A checkpoint of very many files takes its time; it must not take more than a part of ours.
        self.checkpoint_from = Instant::now() + pause;
        let usual = Instant::now() + place.interval;
        self.checkpoint_at = self.checkpoint_from.max(usual);
        Ok(())
    }

    /// Says once that the checkpoint cannot be written: it is a cache, so that ingest continues.
    fn note_stored(&mut self, stored: Result<(), Error>) {
        let was_late = std::mem::replace(&mut self.is_late, stored.is_err());
        match stored {
            Err(error) if !was_late => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(
                    %error, cause,
                    "the checkpoint cannot be written and is tried again; ingest continues, and after a restart reads \
                     more of the log"
                );
            }
            Ok(()) if was_late => tracing::info!("the checkpoint can be written again"),
            _ => {}
        }
    }

    fn checkpoint(&self, catalog: &Catalog, streams: &[Stream]) -> Checkpoint {
        let mut checkpoint = self.others.clone();
        for (stream, ends) in streams.iter().zip(&self.ends) {
            let ends = ends.iter().map(|end| end.get()).collect();
            checkpoint.ends.push((stream.name.clone(), ends));
        }
        let followed = catalog.followed().map(Tracked::saved);
        checkpoint.files.extend(followed);
        let unmet = catalog.known.saved();
        checkpoint.files.extend(unmet.cloned());
        checkpoint
    }

    /// The topics of which the log has lost records that it had acknowledged.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn lost(&self, log: &Client, streams: &[Stream]) -> Result<Vec<TopicLoss>, Error> {
        self.marks.lost(log, streams)
    }

    /// Whether the holds in the log need an update.
    fn is_hold_due(&self) -> bool {
        self.held_at.is_none_or(|(at, bytes)| {
            let is_much = self.bytes - bytes >= HOLD_BYTES;
            at.elapsed() > if is_much { HOLD_PAUSE } else { HOLD_INTERVAL }
        })
    }

    /// Tells the log from where on the checkpoint needs it: retention must not go past that. What the records
    /// before told of the files, `bekk.meta` tells from then on, so that the checkpoint stays a cache. Each call
    /// is durable and takes its time, and retention works in hours, so this need not be exact.
    fn hold(&mut self, catalog: &Catalog, place: &Place<'_>) -> Result<bool, Error> {
        let entries = catalog.followed().map(|tracked| &tracked.entry);
        let untold = entries.chain(catalog.known.iter()).filter(|entry| {
            let is_told = self.told.get(&entry.id) == Some(&entry.position);
            entry.position > 0 && !(is_told && entry.known.is_empty()) && !entry.is_in_receipt()
        });
        let progress: Vec<_> = untold.map(FileEntry::progress).collect();
        self.told
            .extend(progress.iter().map(|news| (news.file, news.position)));
        let metas: Vec<Meta> = progress.into_iter().map(Meta::Progress).collect();
        let (log, session) = (place.log, place.session);
        if !append_metas(log, session, &metas, place.stats, place.stop)? {
            return Ok(false);
        }
        let holder = holder(&session.ingest);
        for (stream, ends) in place.streams.iter().zip(&self.ends) {
            let ends: Vec<(u32, Offset)> = (0..).zip(ends.iter().copied()).collect();
            log.hold(&holder, &stream.name, &ends)
                .map_err(Error::log("hold the log for the checkpoint"))?;
        }
        Ok(true)
    }
}

/// The records of the files whose first records a batch has: how far they are read, and the CRC of that,
/// once it is in the log. A kill may come before the checkpoint knows, and the file be copied or compressed before
/// it is looked at again; what was read of it is then known by its content.
pub(crate) fn begun_with(batch: &ParsedBatch, catalog: &mut Catalog) -> Vec<Meta> {
    let mut begun: HashMap<FileId, Progress> = HashMap::new();
    for progress in &batch.progress {
        let Some(tracked) = catalog.get_mut(progress.file) else {
            continue;
        };
        let told = progress.to_be_told(tracked.entry.head);
        if let Some(first) = begun.get_mut(&told.file) {
            *first = Progress {
                records: first.records + told.records,
                rejects: first.rejects + told.rejects,
                ..told
            };
        } else if !tracked.is_begun && told.records > 0 {
            tracked.is_begun = true;
            begun.insert(told.file, told);
        }
    }
    begun.into_values().map(Meta::Begun).collect()
}
