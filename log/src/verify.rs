//! `bekk log verify`: reads every batch of a log and says what is wrong.

use std::path::{Path, PathBuf};

use crate::batch::BatchView;
use crate::content::check_records;
use crate::core::Core;
use crate::files::{self, DAMAGED, io_error};
use crate::gap::are_covered;
use crate::segment::Segment;
use crate::store::Store;
use crate::topic::TopicLog;
use crate::{Config, Error, Gap, Offset};

/// What a verification has read and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Topics read.
    pub topics: u64,
    /// Their partitions.
    pub partitions: u64,
    /// Segments read.
    pub segments: u64,
    /// Record batches read.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// The batches' size in bytes, as they are stored.
    pub bytes: u64,
    /// Gaps that were found before and are noted in the log, by topic: offsets that no record has. Those below the
    /// log start are left out.
    pub gaps: Vec<(String, Gap)>,
    /// Damaged segments that were set aside.
    pub set_aside: Vec<PathBuf>,
    /// What is wrong beside those.
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    /// Whether no record is missing or damaged.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.gaps.is_empty()
    }
}

/// Something that is wrong in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The topic.
    pub topic: String,
    /// The segment's directory.
    pub path: PathBuf,
    /// The partition, where it is known.
    pub partition: Option<u32>,
    /// The offset at or before which it was found, where it is known.
    pub offset: Option<Offset>,
    /// What is wrong.
    pub detail: String,
}

/// Verifies the log in a directory that no process has open. `progress` is called after each segment.
///
/// The log is opened for it as it is for any other use, so that ends below the durable mark are noted as gaps
/// first, and an unfinished write is cut off.
///
/// # Errors
/// If there is no log in the directory, or it cannot be opened.
pub fn verify(dir: &Path, progress: &mut dyn FnMut(&VerifyReport)) -> Result<VerifyReport, Error> {
    let format = dir.join("format");
    std::fs::metadata(&format).map_err(|source| io_error("read", &format, source))?;
    let store = Store::open(Config::new(dir.to_owned()))?;
    let report = verify_core(store.core(), progress);
    store.close()?;
    Ok(report)
}

/// Verifies an open log.
pub(crate) fn verify_core(core: &Core, progress: &mut dyn FnMut(&VerifyReport)) -> VerifyReport {
    let mut report = VerifyReport::default();
    for topic in core.topics() {
        let view = topic.view();
        let chain = topic.chain();
        // The first segment may hold records that are deleted.
        let first = chain.first().map_or(&[][..], |first| first.starts());
        let pairs = view.starts.iter().zip(first);
        let mut check = TopicCheck {
            at: pairs.map(|(start, first)| *start.min(first)).collect(),
            ends: view.highs,
            gaps: topic.gaps(),
            topic: &topic,
            report: &mut report,
        };
        for gap in topic.gaps_above_start() {
            check.report.gaps.push((topic.name.clone(), gap));
        }
        check.report.set_aside.extend(set_aside(&topic.dir));
        check.report.topics += 1;
        check.report.partitions += check.at.len() as u64;
        for segment in chain.iter() {
            check.segment(segment);
            progress(check.report);
        }
        check.end();
    }
    report
}

/// The damaged segments of a topic that were set aside.
fn set_aside(dir: &Path) -> Vec<PathBuf> {
    let mut aside = files::entries(dir).unwrap_or_default();
    aside.retain(|path| path.to_string_lossy().contains(DAMAGED));
    aside.sort_unstable();
    aside
}

/// A topic being read.
struct TopicCheck<'a> {
    topic: &'a TopicLog,
    report: &'a mut VerifyReport,
    /// The offset that comes next in each partition.
    at: Vec<Offset>,
    ends: Vec<Offset>,
    gaps: Vec<Gap>,
}

impl TopicCheck<'_> {
    fn segment(&mut self, segment: &Segment) {
        self.report.segments += 1;
        let db = match segment.db() {
            Ok(db) => db,
            Err(error) => {
                self.problem(segment.dir(), None, None, error.to_string());
                if let Some(summary) = segment.summary() {
                    self.at = summary.ranges.iter().map(|range| range.end).collect();
                }
                return;
            }
        };
        let mut records = Vec::new();
        for partition in 0..u32::try_from(self.at.len()).unwrap_or(u32::MAX) {
            db.for_each_batch(partition, |batch, bytes| match batch {
                Ok(batch) => self.batch(segment, partition, &batch, bytes, &mut records),
                Err(error) => {
                    let at = self.at[partition as usize];
                    self.problem(segment.dir(), Some(partition), Some(at), error.to_string());
                }
            });
            let summary = segment
                .summary()
                .map(|summary| summary.ranges[partition as usize]);
            if let Some(range) = summary {
                self.move_to(segment.dir(), partition, range.end);
            }
        }
        drop(db);
        if segment.summary().is_some() {
            segment.close();
        }
    }

    fn batch(
        &mut self,
        segment: &Segment,
        partition: u32,
        batch: &BatchView<'_>,
        bytes: usize,
        records: &mut Vec<u8>,
    ) {
        let (base, end) = (batch.base_offset(), batch.end_offset());
        if base >= self.ends[partition as usize] {
            return; // not durable yet
        }
        if base < self.at[partition as usize] {
            let detail = format!("offsets from {base} on are stored twice");
            self.problem(segment.dir(), Some(partition), Some(base), detail);
        }
        self.move_to(segment.dir(), partition, base);
        records.clear();
        let checked = batch
            .decompress_into(records)
            .and_then(|()| check_records(records, batch.records()));
        if let Err(detail) = checked {
            self.problem(segment.dir(), Some(partition), Some(base), detail);
        }
        self.at[partition as usize] = end;
        self.report.batches += 1;
        self.report.records += u64::from(batch.records());
        self.report.bytes += bytes as u64;
    }

    /// Continues at `to`; what lies before it must be a gap that is noted.
    fn move_to(&mut self, path: &Path, partition: u32, to: Offset) {
        let at = self.at[partition as usize];
        if at >= to {
            return;
        }
        if !are_covered(&self.gaps, partition, at, to) {
            let detail = format!("offsets {at} to {to} are missing");
            self.problem(path, Some(partition), Some(at), detail);
        }
        self.at[partition as usize] = to;
    }

    fn end(&mut self) {
        let dir = self.topic.dir.clone();
        let ends = self.ends.clone();
        for (partition, end) in (0..).zip(ends) {
            self.move_to(&dir, partition, end);
        }
    }

    fn problem(
        &mut self,
        path: &Path,
        partition: Option<u32>,
        offset: Option<Offset>,
        detail: String,
    ) {
        self.report.problems.push(Problem {
            topic: self.topic.name.clone(),
            path: path.to_owned(),
            partition,
            offset,
            detail,
        });
    }
}
