//! A topic in use: where appends get their offsets and readers see them.

mod append;
mod read;
mod salvage;
mod segments;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::group_commit::AppendQueue;
use crate::recovery::{self, Recovered};
use crate::segment::Segment;
use crate::shared::Shared;
use crate::writer::{Prepared, Writer};
use crate::{Durability, Error, Gap, Offset, PartitionEnds, SegmentInfo, Topic, TopicConfig};

/// A topic in use.
///
/// Locks are taken in the order of the fields that hold them.
pub(crate) struct TopicLog {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    /// Held while a segment is rebuilt, or deleted.
    repairing: Mutex<()>,
    queue: AppendQueue,
    /// Whether segments cannot be sealed for now; held while an append waits for them.
    sealing_fails: Mutex<bool>,
    /// Raised when one was sealed.
    sealed: Condvar,
    /// Set, with the writer locked, when the topic is deleted; from then on nothing is appended.
    is_deleted: AtomicBool,
    writer: Mutex<Writer>,
    /// Held also while it is made.
    next: Mutex<Option<Prepared>>,
    /// The segments in order; the last one is written to.
    chain: RwLock<Arc<Vec<Arc<Segment>>>>,
    view: Mutex<View>,
    advanced: Condvar,
    config: Mutex<TopicConfig>,
    gaps: Mutex<Vec<Gap>>,
}

/// What readers may see.
#[derive(Clone)]
pub(crate) struct View {
    /// Log start offset of each partition.
    pub(crate) starts: Vec<Offset>,
    /// High watermark of each partition.
    pub(crate) highs: Vec<Offset>,
}

impl TopicLog {
    /// Opens a topic with what its directory holds, making what is missing.
    pub(crate) fn open(
        shared: Arc<Shared>,
        topic: Topic,
        mark: Option<&[Offset]>,
        clean: bool,
    ) -> Result<Self, Error> {
        let dir = shared.config.dir.join("topics").join(&topic.name);
        let recovered = recovery::recover(&shared, &topic, &dir, mark, clean)?;
        let Recovered {
            mut chain,
            writer,
            next,
            starts,
            gaps,
        } = recovered;
        if chain
            .last()
            .is_none_or(|last| !Arc::ptr_eq(last, &writer.segment))
        {
            chain.push(Arc::clone(&writer.segment));
        }
        Ok(Self {
            name: topic.name,
            dir,
            shared,
            repairing: Mutex::default(),
            queue: AppendQueue::default(),
            sealing_fails: Mutex::default(),
            sealed: Condvar::new(),
            is_deleted: AtomicBool::new(false),
            view: Mutex::new(View {
                starts,
                highs: writer.ends.clone(),
            }),
            writer: Mutex::new(writer),
            next: Mutex::new(next),
            chain: RwLock::new(Arc::new(chain)),
            advanced: Condvar::new(),
            config: Mutex::new(topic.config),
            gaps: Mutex::new(gaps),
        })
    }

    pub(crate) fn topic(&self) -> Topic {
        Topic {
            name: self.name.clone(),
            config: *self.config.lock(),
        }
    }

    pub(crate) fn set_config(&self, config: TopicConfig) {
        *self.config.lock() = config;
    }

    pub(crate) fn view(&self) -> View {
        self.view.lock().clone()
    }

    pub(crate) fn chain(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.chain.read())
    }

    pub(crate) fn gaps(&self) -> Vec<Gap> {
        self.gaps.lock().clone()
    }

    /// The gaps that readers come upon: not those below the log start.
    pub(crate) fn gaps_above_start(&self) -> Vec<Gap> {
        let starts = self.view().starts;
        let mut gaps = self.gaps();
        for gap in &mut gaps {
            let start = starts.get(gap.partition as usize).copied();
            gap.start = gap.start.max(start.unwrap_or(Offset::ZERO));
        }
        gaps.retain(|gap| gap.start < gap.end);
        gaps.sort_by_key(|gap| (gap.partition, gap.start));
        gaps
    }

    /// About how large the segment is that is written to.
    pub(crate) fn active_bytes(&self) -> u64 {
        self.writer.lock().bytes
    }

    pub(crate) fn segment_infos(&self) -> Vec<SegmentInfo> {
        let highs = self.view().highs;
        let chain = self.chain();
        let infos = chain.iter().enumerate().map(|(i, segment)| {
            let summary = segment.summary();
            let next_starts = chain.get(i + 1).map(|next| next.starts());
            let ends = next_starts.unwrap_or(&highs).iter();
            let ranges = segment.starts().iter().zip(ends);
            let bytes = summary.map_or_else(|| self.active_bytes(), |summary| summary.bytes);
            SegmentInfo {
                number: segment.number(),
                path: segment.dir().to_owned(),
                sealed_at_ms: summary.map(|summary| summary.sealed_at_ms),
                bytes,
                ranges: ranges.map(|(start, end)| (*start, *end)).collect(),
            }
        });
        infos.collect()
    }

    /// Makes what has been written durable and lets readers see it.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.shared.check_appends()?;
        let (db, ends) = {
            let writer = self.writer.lock();
            (writer.db.clone(), writer.ends.clone())
        };
        if self.shared.config.durability != Durability::Os && self.view.lock().highs == ends {
            return Ok(());
        }
        let began = Instant::now();
        db.sync()
            .inspect_err(|error| self.shared.poison.set(error))?;
        self.shared.counts.fsynced(began);
        self.raise(&ends);
        Ok(())
    }

    /// Moves the high watermarks.
    fn raise(&self, ends: &[Offset]) {
        let mut view = self.view.lock();
        for (high, end) in view.highs.iter_mut().zip(ends) {
            *high = (*high).max(*end);
        }
        drop(view);
        self.advanced.notify_all();
        self.shared.advanced.send_replace(());
    }

    /// Lets nothing be appended any more, once `persist` has noted where the partitions end.
    pub(crate) fn end_for_good(
        &self,
        persist: impl FnOnce(&[Offset]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let writer = self.writer.lock();
        persist(&writer.ends)?;
        self.is_deleted.store(true, Ordering::Release);
        Ok(())
    }

    /// Closes its segments. Nobody else uses the topic any more.
    pub(crate) fn close(self) {
        for segment in self.chain().iter() {
            self.shared.open_segments.forget(segment);
        }
    }

    /// Wakes everyone who waits for records.
    pub(crate) fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        let _view = self.view.lock();
        self.advanced.notify_all();
        self.shared.advanced.send_replace(());
    }

    pub(crate) fn partition_ends(&self) -> Vec<PartitionEnds> {
        let View { starts, highs } = self.view();
        let ends = (0..).zip(starts.into_iter().zip(highs));
        ends.map(|(partition, (start, end))| PartitionEnds {
            partition,
            start,
            end,
        })
        .collect()
    }

    pub(crate) fn wait_for_records(
        &self,
        behind: &[(u32, Offset)],
        timeout: Duration,
    ) -> Result<bool, Error> {
        let deadline = Instant::now().checked_add(timeout);
        let mut view = self.view.lock();
        loop {
            let has = |(partition, offset): &(u32, Offset)| {
                let high = view.highs.get(*partition as usize);
                high.is_some_and(|high| high > offset)
            };
            if behind.iter().any(has) {
                return Ok(true);
            }
            if self.shared.closing.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            if self.is_deleted.load(Ordering::Acquire) {
                return Err(Error::UnknownTopic(self.name.clone()));
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Ok(false);
            }
            match deadline {
                Some(deadline) => drop(self.advanced.wait_until(&mut view, deadline)),
                None => self.advanced.wait(&mut view),
            }
        }
    }

    fn unknown_partition(&self, partition: u32) -> Error {
        Error::UnknownPartition {
            topic: self.name.clone(),
            partition,
        }
    }
}
