//! The log's two threads: one fsyncs at an interval and writes the durable mark, one makes segments ready,
//! seals and deletes them, which may take longer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::{Durability, Error, retention};

/// The durable mark is written at most this often, but when a segment is sealed.
const MARK_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between copies of the state while only offsets change
const COPY_INTERVAL: Duration = Duration::from_secs(10);
/// A shorter interval of fsyncs is taken for this.
const SYNC_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// How often segments are looked at when nobody asks for it: for their age.
const SEGMENT_INTERVAL: Duration = Duration::from_secs(1);
/// How often retention is applied.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// The threads of an open log.
pub(crate) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    pub(crate) fn start(core: &Arc<Core>) -> Self {
        let spawn = |name: &str, run: fn(&Core)| {
            let core = Arc::clone(core);
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || run(&core))
                .expect("the system starts a thread")
        };
        Self(vec![
            spawn("bekk-log-marks", keep_marks),
            spawn("bekk-log-segments", keep_segments),
        ])
    }

    /// Waits until they have ended; they do once the log is closing.
    pub(crate) fn join(&mut self) {
        for handle in self.0.drain(..) {
            // A panic has been printed by its thread.
            let _ = handle.join();
        }
    }
}

fn keep_marks(core: &Core) {
    let shared = &core.shared;
    let sync_interval = match shared.config.durability {
        Durability::Interval(interval) => Some(interval),
        Durability::Sync | Durability::Os => None,
    };
    let tick = sync_interval.map_or(MARK_INTERVAL, |interval| {
        interval.clamp(SYNC_INTERVAL_MIN, MARK_INTERVAL)
    });
    let mut marked_at = Instant::now();
    let mut report = Report::default();
    let mut copies = Copies::default();
    loop {
        let asked = shared.mark_work.wait(tick);
        if shared.closing.load(Ordering::Acquire) {
            return;
        }
        if sync_interval.is_some() && !shared.poison.is_set() {
            // A failure poisons the log, and is reported there.
            let _ = core.topics().iter().try_for_each(|topic| topic.sync());
        }
        if asked || marked_at.elapsed() >= MARK_INTERVAL {
            report.of("write the durable mark", core.write_mark_if_changed());
            copies.write_if_due(core);
            marked_at = Instant::now();
        }
    }
}

fn keep_segments(core: &Core) {
    let shared = &core.shared;
    let mut spare = Report::default();
    let mut segments = HashMap::<String, Report>::new();
    let mut retention = Report::default();
    let mut retained_at = Instant::now();
    loop {
        shared.segment_work.wait(SEGMENT_INTERVAL);
        if shared.closing.load(Ordering::Acquire) {
            return;
        }
        spare.of("make a spare file", shared.space.keep_spare());
        let topics = core.topics();
        segments.retain(|name, _| topics.iter().any(|topic| topic.name == *name));
        for topic in topics {
            let report = segments.entry(topic.name.clone()).or_default();
            report.of("look after segments", topic.care_for_segments());
        }
        if retained_at.elapsed() >= RETENTION_INTERVAL {
            retention.of("apply retention", retention::apply(core).map(|_bytes| ()));
            retained_at = Instant::now();
        }
    }
}

/// Keeps the copy of the state.
#[derive(Default)]
struct Copies {
    /// The writes that the copy has, and when it was made.
    made: Option<((u64, u64), Instant)>,
    commits: Report,
    report: Report,
}

impl Copies {
    fn write_if_due(&mut self, core: &Core) {
        self.commits
            .of("note what groups have committed", core.put_delayed());
        let state = &core.shared.state;
        let writes = state.writes();
        let is_due = self.made.is_none_or(|((all, durable), at)| {
            durable != writes.1 || (all != writes.0 && at.elapsed() >= COPY_INTERVAL)
        });
        if is_due {
            let written = state.write_copy();
            if written.is_ok() {
                self.made = Some((writes, Instant::now()));
            }
            self.report.of("copy the log's state", written);
        }
    }
}

/// Reports a failure once, and not again each second.
#[derive(Default)]
struct Report(Option<String>);

impl Report {
    fn of(&mut self, act: &str, done: Result<(), Error>) {
        if let Some(error) = self.news(done) {
            tracing::warn!(error, "failed to {act}; tried again");
        }
    }

    /// The text of an error that is not the last one again.
    fn news(&mut self, done: Result<(), Error>) -> Option<String> {
        let Err(error) = done else {
            self.0 = None;
            return None;
        };
        let text = error.with_cause();
        let known = if error.is_no_space() {
            // The number of free bytes is another one each time.
            "no space".to_owned()
        } else {
            text.clone()
        };
        let is_new = self.0.as_ref() != Some(&known);
        self.0 = Some(known);
        is_new.then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_stays_full_is_news_once() {
        let full = |free_bytes| {
            Err(Error::NoSpace {
                path: "log".into(),
                free_bytes,
                reserve_bytes: 10,
            })
        };
        let mut report = Report::default();
        assert!(report.news(full(1)).is_some());
        assert!(report.news(full(2)).is_none());
        assert!(report.news(Err(Error::Closed)).is_some());
        assert!(report.news(Err(Error::Closed)).is_none());
        assert!(report.news(Ok(())).is_none());
        assert!(report.news(full(2)).is_some());
    }
}
