//! Keeps account of what the log has acknowledged: in memory, in the checkpoint, and in the log's holds.

use std::time::{Duration, Instant};

use bekk_log::Offset;

use crate::Error;
use crate::batch::Batch;
use crate::engine::Engine;
use crate::recover::widen;
use crate::stats::Stats;
use crate::tracked::Tracked;

/// How often the log is told what the checkpoint needs of it.
const HOLD_INTERVAL: Duration = Duration::from_secs(60);

impl Engine<'_> {
    /// Takes note that a batch is in the log.
    pub(crate) fn acknowledge(&mut self, mut batch: Batch, offsets: &[(u32, Offset)]) {
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
            let Some(tracked) = self.files.get_mut(&progress.file) else {
                continue;
            };
            let entry = &mut tracked.entry;
            self.summary.bytes += progress.position - entry.position;
            Stats::add(&stats.bytes_read, progress.position - entry.position);
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
        batch.clear();
        self.spare.push(batch);
    }

    pub(crate) fn store_if_due(&mut self) -> Result<(), Error> {
        match self.is_dirty && Instant::now() >= self.checkpoint_at {
            true => self.store_checkpoint(),
            false => Ok(()),
        }
    }

    /// Tells the log from where on the checkpoint needs it: retention must not go past that. Each call is
    /// durable and takes its time, and retention works in days, so this need not be exact.
    fn hold(&mut self) -> Result<(), Error> {
        let holder = format!("bekk-ingest/{}", self.session.ingest);
        for (stream, ends) in self.around.streams.iter().zip(&self.ends) {
            let ends: Vec<(u32, Offset)> = (0..).zip(ends.iter().copied()).collect();
            self.around
                .log
                .hold(&holder, &stream.name, &ends)
                .map_err(Error::log("hold the log for the checkpoint"))?;
        }
        self.held_at = Some(Instant::now());
        Ok(())
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
            .extend(self.files.values().map(Tracked::saved));
        let unmet = self.known.values().flatten();
        checkpoint.files.extend(
            unmet
                .filter(|entry| !entry.is_in_receipt() || self.ended.contains(&entry.id))
                .cloned(),
        );
        checkpoint.store(&self.around.checkpoint_path)?;
        if self.held_at.is_none_or(|at| at.elapsed() > HOLD_INTERVAL) {
            self.hold()?;
        }
        self.is_dirty = false;
        // A checkpoint of very many files takes its time; it must not take more than a part of ours.
        let pause = self
            .around
            .config
            .checkpoint_interval
            .max(began.elapsed() * 10);
        self.checkpoint_at = Instant::now() + pause;
        Ok(())
    }
}
