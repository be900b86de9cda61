//! The appender: a thread of its own, so that reading goes on while an append waits for the disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use bekk_log::{Error as LogError, Offset, RecordBuffer};

use crate::ledger::metas::append_metas_with;
use crate::stats::Stats;
use crate::text::batch::Batch;

/// How long to wait before an append is tried again that found the disk full.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// What the reading thread is told.
pub(crate) enum Event {
    /// Files have changed.
    Wake,
    /// A batch is durable; the first offset of each partition that got records of it.
    Appended(Batch, Vec<(u32, Offset)>),
    /// The disk is full and ingest is to stop; what was on its way is read again next time.
    GaveUp,
    /// An append failed; nothing more is appended.
    Failed(LogError),
}

/// How batches get into the log: topic and buffers by partition. A function, so that a test can lose an
/// append's answer.
pub(crate) type Append<'a> =
    dyn Fn(&str, &[(u32, &RecordBuffer)]) -> Result<Vec<Offset>, LogError> + Sync + 'a;

/// Appends the batches in the order they come, until there are no more, one fails, or `stop` while the
/// disk is full.
pub(crate) fn append_batches(
    batches: &Receiver<Batch>,
    events: &Sender<Event>,
    append: &Append<'_>,
    topics: &[String],
    stats: &Stats,
    stop: &AtomicBool,
) {
    for batch in batches {
        let append_batch = || append_batch(append, &topics[batch.stream], &batch);
        let appended = match append_metas_with(append, &batch.begun, stats, stop) {
            Ok(true) => wait_for_space(stats, stop, append_batch),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        let event = match appended {
            Ok(Some(offsets)) => Event::Appended(batch, offsets),
            Ok(None) => Event::GaveUp,
            Err(error) => Event::Failed(error),
        };
        let is_end = matches!(event, Event::Failed(_) | Event::GaveUp);
        // The reading thread may have gone; then nobody needs to know.
        if events.send(event).is_err() || is_end {
            return;
        }
    }
}

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
                    tracing::info!("the log has space again; ingest goes on");
                    stats.set_waits_for(None);
                }
                return ended.map(Some);
            }
        }
    }
}

fn append_batch(
    append: &Append<'_>,
    topic: &str,
    batch: &Batch,
) -> Result<Vec<(u32, Offset)>, LogError> {
    let buffers: Vec<(u32, &RecordBuffer)> = (0..)
        .zip(&batch.buffers)
        .filter(|(_, buffer)| !buffer.is_empty())
        .collect();
    if buffers.is_empty() {
        return Ok(Vec::new());
    }
    let offsets = append(topic, &buffers)?;
    Ok(buffers
        .iter()
        .map(|(partition, _)| *partition)
        .zip(offsets)
        .collect())
}
