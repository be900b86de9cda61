//! What ingest says of itself while it runs and when it ends.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counts of a running ingest, for other threads to read at any time. Several runs, one after the other, may use the same
/// value, which then counts the records and logged bytes of all of them.
#[derive(Debug, Default)]
pub struct Stats {
    /// Files met in this run.
    pub files_found: AtomicU64,
    /// Files read to their end, all of it durable in the log.
    pub files_finished: AtomicU64,
    /// Files that have been deleted and are still held open, which keeps their space in use: they are let go when
    /// nobody has written to them for five seconds.
    pub files_deleted_open: AtomicU64,
    /// Files set aside at this moment.
    pub files_blocked: AtomicU64,
    /// Notices about files in this run, such as header names that nearly match and columns that files lack.
    pub notices: AtomicU64,
    /// Records read in this run: rows and rejects.
    pub records_read: AtomicU64,
    /// Records that the log has acknowledged in this run.
    pub records_logged: AtomicU64,
    /// Records among those logged that are rejects.
    pub rejects_logged: AtomicU64,
    /// Bytes of the files whose records the log has acknowledged in this run.
    pub bytes_logged: AtomicU64,
    /// Bytes of the files that have been passed, those of earlier runs included.
    pub bytes_read: AtomicU64,
    /// Bytes of the files that are known: what `bytes_read` grows towards.
    pub bytes_known: AtomicU64,
    /// Whether the checkpoint could not be written when it was last tried.
    pub checkpoint_is_late: AtomicBool,
    waits_for: Mutex<Option<String>>,
}

impl Stats {
    /// What ingest waits for, as long as it cannot go on: space on the log's disk.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        let reason = self.waits_for.lock();
        reason.clone()
    }

    pub(crate) fn set_waits_for(&self, reason: Option<String>) {
        let mut waits_for = self.waits_for.lock();
        *waits_for = reason;
    }

    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn subtract(counter: &AtomicU64, count: u64) {
        counter.fetch_sub(count, Ordering::Relaxed);
    }
}

/// What a run of ingest has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files met.
    pub files: u64,
    /// Records appended to the log, rejects among them.
    pub records: u64,
    /// How many of them were rejects.
    pub rejects: u64,
    /// Bytes of the files that were read and are now in the log.
    pub bytes: u64,
    /// Records of these files that were in the log before.
    pub already: u64,
    /// Files set aside, and why.
    pub blocked: Vec<(PathBuf, String)>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
    /// Files of which something was left for later, and what.
    pub left: Vec<(PathBuf, String)>,
    /// Files of which something was noticed that stops nothing, and what.
    pub notices: Vec<(PathBuf, String)>,
}

impl Summary {
    /// Reports the files that a person must look at in warnings, for a run that fails before it prints a summary.
    pub fn warn(&self) {
        let files = [&self.blocked, &self.unreadable, &self.left, &self.notices];
        for (path, what) in files.into_iter().flatten() {
            tracing::warn!(path = %path.display(), "{what}");
        }
    }

    /// Adds a further session of the same run: what it met again, the first one had met.
    pub(crate) fn add(&mut self, later: Self) {
        let is_first = self.files == 0;
        self.files = self.files.max(later.files);
        self.records += later.records;
        self.rejects += later.rejects;
        self.bytes += later.bytes;
        if is_first {
            self.already = later.already;
        }
        self.blocked = later.blocked;
        self.unreadable = later.unreadable;
        self.left = later.left;
        self.notices.extend(later.notices);
    }
}
