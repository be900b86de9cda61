//! What the topics of a log share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::handle::Handle;
use crate::poison::Poison;
use crate::producer_ids::ProducerIds;
use crate::segment::Segment;
use crate::segment::db::SegmentDb;
use crate::sessions::Sessions;
use crate::space::Space;
use crate::state::State;
use crate::{Config, Counters, Error, Histogram, Latencies, LogId};

/// So many sealed segments stay open for those who read them.
const OPEN_SEGMENTS_MAX: usize = 8;

/// What the topics of a log share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) log_id: LogId,
    pub(crate) state: State,
    pub(crate) sessions: Sessions,
    pub(crate) space: Space,
    pub(crate) poison: Poison,
    pub(crate) open_segments: OpenSegments,
    pub(crate) counts: Counts,
    pub(crate) producer_ids: ProducerIds,
    /// Changes whenever readers may see more, in any topic.
    pub(crate) advanced: tokio::sync::watch::Sender<()>,
    /// Raised when a segment may have to be made ready, or sealed.
    pub(crate) segment_work: Signal,
    /// Raised when the durable mark should be written now.
    pub(crate) mark_work: Signal,
    /// Set when the log is being closed, so that nobody waits for records any more.
    pub(crate) closing: AtomicBool,
}

impl Shared {
    /// Fails if an append has failed: nothing more is written then.
    pub(crate) fn check_appends(&self) -> Result<(), Error> {
        self.poison
            .error("append", &self.config.dir)
            .map_or(Ok(()), Err)
    }

    /// The failed write after which nothing more is written, if there was one.
    pub(crate) fn failed_write(&self) -> Option<Error> {
        let failed = self.check_appends().err();
        failed.or_else(|| self.state.failed_write())
    }
}

/// Wakes a background thread.
#[derive(Default)]
pub(crate) struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    pub(crate) fn notify(&self) {
        *self.raised.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until someone notifies, at most `timeout`; says whether someone has since the last call.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut raised = self.raised.lock();
        (self.changed).wait_while_for(&mut raised, |raised| !*raised, timeout);
        std::mem::take(&mut *raised)
    }
}

/// The sealed segments that were read last.
#[derive(Default)]
pub(crate) struct OpenSegments(Mutex<VecDeque<Arc<Segment>>>);

impl OpenSegments {
    /// Notes that a sealed segment is about to be read, and closes the one that was not for longest if there
    /// are too many. The caller uses no segment's database: it would wait for itself.
    fn touch(&self, segment: &Arc<Segment>) {
        let mut recent = self.0.lock();
        recent.retain(|other| !Arc::ptr_eq(other, segment));
        recent.push_front(Arc::clone(segment));
        let oldest = (recent.len() > OPEN_SEGMENTS_MAX).then(|| recent.pop_back());
        drop(recent);
        if let Some(Some(oldest)) = oldest {
            oldest.close();
        }
    }

    /// The database of a sealed segment that is about to be read. As long as it is open it is listed here: another
    /// reader may close it between the two, and nothing would close it again.
    pub(crate) fn db(&self, segment: &Arc<Segment>) -> Result<Handle<SegmentDb>, Error> {
        self.db_by(segment, || segment.db())
    }

    fn db_by(
        &self,
        segment: &Arc<Segment>,
        open: impl Fn() -> Result<Handle<SegmentDb>, Error>,
    ) -> Result<Handle<SegmentDb>, Error> {
        loop {
            self.touch(segment);
            let db = open()?;
            let recent = self.0.lock();
            if recent.iter().any(|other| Arc::ptr_eq(other, segment)) {
                return Ok(db);
            }
        }
    }

    /// Forgets a segment that is on its way out.
    pub(crate) fn forget(&self, segment: &Arc<Segment>) {
        let mut recent = self.0.lock();
        recent.retain(|other| !Arc::ptr_eq(other, segment));
    }

    pub(crate) fn close(&self) {
        let mut recent = self.0.lock();
        let all = std::mem::take(&mut *recent);
        drop(recent);
        all.iter().for_each(|segment| segment.close());
    }
}

/// What has been done since the log was opened.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) appends: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) fsyncs: AtomicU64,
    /// Shared with each server of the log
    pub(crate) connections_closed: Arc<AtomicU64>,
    pub(crate) append_time: Histogram,
    pub(crate) fsync_time: Histogram,
}

impl Counts {
    pub(crate) fn get(&self) -> Counters {
        Counters {
            appends: self.appends.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            fsyncs: self.fsyncs.load(Ordering::Relaxed),
            connections_closed: self.connections_closed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn latencies(&self) -> Latencies {
        Latencies {
            append: self.append_time.durations(),
            fsync: self.fsync_time.durations(),
        }
    }

    /// Counts an fsync of records that began then.
    pub(crate) fn fsynced(&self, began: Instant) {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.fsync_time.observe(began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Offset;
    use crate::segment::{self, Header, Summary};

    /// More sealed segments than stay open, all empty.
    fn segments(dir: &std::path::Path) -> Vec<Arc<Segment>> {
        let make = |number| {
            let header = Header {
                log_id: LogId::random(),
                topic: "t".to_owned(),
                number,
                partitions: 1,
            };
            let dir = segment::create(dir, &header).unwrap();
            let summary = Summary {
                sealed_at_ms: 0,
                bytes: 0,
                ranges: vec![segment::Range {
                    start: Offset::ZERO,
                    end: Offset::ZERO,
                    newest_ms: None,
                }],
            };
            Arc::new(Segment::sealed(header, dir, summary))
        };
        (0..OPEN_SEGMENTS_MAX as u64 + 3).map(make).collect()
    }

    #[test]
    fn a_segment_that_others_push_out_before_it_is_open_is_listed_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let segments = segments(dir.path());
        let (first, others) = segments.split_first().unwrap();
        let open = OpenSegments::default();
        let is_first = AtomicBool::new(true);
        let by = || {
            if is_first.swap(false, Ordering::Relaxed) {
                for other in others {
                    open.db(other)?;
                }
            }
            first.db()
        };
        drop(open.db_by(first, by).unwrap());
        let are_open = || segments.iter().filter(|segment| segment.is_open()).count();
        assert_eq!(are_open(), OPEN_SEGMENTS_MAX);
        for other in others {
            open.db(other).unwrap();
        }
        assert!(!first.is_open(), "nothing closes it any more");
    }
}
