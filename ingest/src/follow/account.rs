//! Keeps account of what the log has acknowledged: in memory, in the checkpoint, and in the log's holds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bekk_log::Offset;
use bekk_stream::{FileId, Meta, Progress};

use crate::Error;
use crate::file::entry::FileEntry;
use crate::file::entry::widen;
use crate::follow::engine::Engine;
use crate::follow::tracked::Tracked;
use crate::ledger::hold::holder;
use crate::ledger::metas::append_metas;
use crate::stats::Stats;
use crate::text::batch::Batch;

/// How often the log is told what the checkpoint needs of it,
const HOLD_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// and how often if so many bytes of files have been read since.
const HOLD_PAUSE: Duration = Duration::from_secs(10);
const HOLD_BYTES: u64 = 256 << 20;

impl Engine<'_> {
    /// What is to be told of the files whose first records the pending batch of a stream has: how far they are read, and the CRC of that,
    /// once it is in the log. A kill may come before the checkpoint knows, and the file be copied or compressed before
    /// it is looked at again; what was read of it is then known by its content.
    pub(crate) fn begun_with(&mut self, stream: usize) -> Vec<Meta> {
        let mut begun: HashMap<FileId, Progress> = HashMap::new();
        for progress in &self.outflow.pending()[stream].progress {
            let Some(tracked) = self.catalog.get_mut(progress.file) else {
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

    /// Takes note that a batch is in the log.
    pub(crate) fn acknowledge(&mut self, batch: Batch, offsets: &[(u32, Offset)]) {
        let stats = self.around.stats;
        let base = |partition: u32| {
            let found = offsets
                .iter()
                .find(|(with_records, _)| *with_records == partition);
            found.map_or(0, |(_, offset)| offset.get())
        };
        for &(partition, offset) in offsets {
            let len = batch.buffers[partition as usize].len();
            self.ends[batch.stream][partition as usize] = offset.plus(u64::from(len));
        }
        for progress in &batch.progress {
            // A file may have been replaced while its last records were on their way.
            let Some(tracked) = self.catalog.get_mut(progress.file) else {
                continue;
            };
            let entry = &mut tracked.entry;
            if entry.position == 0 {
                // From its first checkpoint on it is known what was read of it, wherever that is found again.
                self.checkpoint_at = self.checkpoint_at.min(self.checkpoint_from);
            }
            let bytes = progress.position - entry.position;
            self.summary.bytes += bytes;
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
        self.summary.records += batch.records;
        self.summary.rejects += batch.rejects;
        Stats::add(&stats.records_logged, batch.records);
        Stats::add(&stats.rejects_logged, batch.rejects);
        self.is_dirty = true;
        self.outflow.recycle(batch);
    }

    pub(crate) fn store_if_due(&mut self) -> Result<(), Error> {
        match self.is_dirty && Instant::now() >= self.checkpoint_at {
            true => self.store_checkpoint(),
            false => Ok(()),
        }
    }

    /// Tells the log from where on the checkpoint needs it: retention must not go past that. What the records
    /// before told of the files, `bekk.meta` tells from then on, so that the checkpoint stays a cache. Each call
    /// is durable and takes its time, and retention works in hours, so this need not be exact.
    fn hold(&mut self) -> Result<bool, Error> {
        let unmet = self.catalog.known.iter();
        let entries = self.catalog.followed().map(|tracked| &tracked.entry);
        let untold = entries.chain(unmet).filter(|entry| {
            let is_told = self.told.get(&entry.id) == Some(&entry.position);
            entry.position > 0 && !(is_told && entry.known.is_empty()) && !entry.is_in_receipt()
        });
        let progress: Vec<_> = untold.map(FileEntry::progress).collect();
        self.told
            .extend(progress.iter().map(|news| (news.file, news.position)));
        let metas: Vec<Meta> = progress.into_iter().map(Meta::Progress).collect();
        let around = &self.around;
        if !append_metas(around.log, &self.session, &metas, around.stats, around.stop)? {
            return Ok(false);
        }
        let holder = holder(&self.session.ingest);
        for (stream, ends) in self.around.streams.iter().zip(&self.ends) {
            let ends: Vec<(u32, Offset)> = (0..).zip(ends.iter().copied()).collect();
            self.around
                .log
                .hold(&holder, &stream.name, &ends)
                .map_err(Error::log("hold the log for the checkpoint"))?;
        }
        Ok(true)
    }

    /// Whether the log is to be told again what is needed of it.
    fn is_hold_due(&self) -> bool {
        self.held_at.is_none_or(|(at, bytes)| {
            let is_much = self.summary.bytes - bytes >= HOLD_BYTES;
            at.elapsed() > if is_much { HOLD_PAUSE } else { HOLD_INTERVAL }
        })
    }

    /// Writes down how far each file is and where the log ends.
    pub(crate) fn store_checkpoint(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let mut checkpoint = self.others.clone();
        for (stream, ends) in self.around.streams.iter().zip(&self.ends) {
            let ends = ends.iter().map(|end| end.get()).collect();
            checkpoint.ends.push((stream.name.clone(), ends));
        }
        checkpoint
            .files
            .extend(self.catalog.followed().map(Tracked::saved));
        let unmet = self.catalog.known.saved();
        checkpoint.files.extend(unmet.cloned());
        checkpoint.store(&self.around.checkpoint_path)?;
        let pause = began.elapsed() * 10;
        if self.is_hold_due() && self.hold()? {
            self.held_at = Some((Instant::now(), self.summary.bytes));
        }
        self.is_dirty = false;
        // A checkpoint of very many files takes its time; it must not take more than a part of ours.
        self.checkpoint_from = Instant::now() + pause;
        let usual = Instant::now() + self.around.config.checkpoint_interval;
        self.checkpoint_at = self.checkpoint_from.max(usual);
        Ok(())
    }
}
