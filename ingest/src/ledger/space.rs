//! Appends that wait while the log's disk is full.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bekk_log::{Error as LogError, Offset, RecordBuffer};

use crate::stats::Stats;

/// How long to wait before an append is tried again that found the disk full.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// How batches get into the log: topic and buffers by partition. A function, so that a test can lose an
/// append's answer.
pub(crate) type Append<'a> =
    dyn Fn(&str, &[(u32, &RecordBuffer)]) -> Result<Vec<Offset>, LogError> + Sync + 'a;

/// Appends, and while the disk is full says so and tries again; `None` if told to stop meanwhile.
pub(crate) fn wait_for_space<T>(
    stats: &Stats,
    stop: &AtomicBool,
    append: impl Fn() -> Result<T, LogError>,
) -> Result<Option<T>, LogError> {
    let mut is_full = false;
    loop {
        match append() {
            Err(error) if error.is_retriable() => {
                if !std::mem::replace(&mut is_full, true) {
                    tracing::warn!(%error, "ingest pauses until there is space; nothing is lost");
                    stats.set_waits_for(Some(error.to_string()));
                }
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                thread::sleep(RETRY_INTERVAL);
            }
            ended => {
                if is_full {
                    tracing::info!("the log has space again; ingest continues");
                    stats.set_waits_for(None);
                }
                return ended.map(Some);
            }
        }
    }
}
