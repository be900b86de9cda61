//! What ingest is told.

use std::path::PathBuf;
use std::time::Duration;

/// How ingest runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where ingest keeps its lock, its id and its checkpoint; made if it does not exist.
    pub state_dir: PathBuf,
    /// When it ends.
    pub mode: Mode,
    /// How often a file that changed lately is looked at.
    pub poll_active: Duration,
    /// How often the inbox is listed and every other file looked at; less often where that would cost
    /// more than a hundredth of the time, but at least every tenth time.
    pub poll_idle: Duration,
    /// The size of a batch, in bytes of encoded records, at which it is appended without waiting for more.
    pub batch_bytes: usize,
    /// How often positions are written to the checkpoint while they move.
    pub checkpoint_interval: Duration,
    /// How long a file must have been unchanged to be finished.
    pub close_after: Duration,
    /// How long a file must have been unchanged for its unterminated last record to be taken.
    pub partial_after: Duration,
    /// Whether the system is asked to tell of changes. It is a hint: without it changes are found by looking,
    /// which is later.
    pub notify: bool,
    /// How many files are kept open.
    pub open_files_max: usize,
}

/// When ingest ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// When every file that is there at the start has been read up to the size it has then.
    Once,
    /// When it is told to stop: files may grow, and new ones appear.
    Follow,
}

impl Config {
    /// The defaults: follow, look at active files every 5 ms and at the others every second, batches of
    /// 1 MiB, a checkpoint each second; a file is finished when unchanged for a minute, and an
    /// unterminated last record taken after an hour.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> Self {
        Self {
            state_dir,
            mode: Mode::Follow,
            poll_active: Duration::from_millis(5),
            poll_idle: Duration::from_secs(1),
            batch_bytes: 1 << 20,
            checkpoint_interval: Duration::from_secs(1),
            close_after: Duration::from_secs(60),
            partial_after: Duration::from_secs(60 * 60),
            notify: true,
            open_files_max: 256,
        }
    }
}
