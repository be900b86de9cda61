//! The appender: a thread of its own, so that reading continues while an append waits for the disk.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender};

use bekk_log::{Error as LogError, Offset, RecordBuffer};
use bekk_stream::{Origin, Payload};

use crate::ledger::metas::append_metas_with;
use crate::ledger::space::{Append, wait_for_space};
use crate::stats::Stats;
use crate::text::parsed_batch::ParsedBatch;

/// What the reading thread is told.
pub(crate) enum Event {
    /// Files have changed.
    Wake,
    /// A batch is durable; the first offset of each partition that got records of it.
    Appended(ParsedBatch, Vec<(u32, Offset)>),
    /// The disk is full and ingest is to stop; what was on its way is read again next time.
    GaveUp,
    /// An append failed because of a record of this origin; nothing more is appended.
    Refused(LogError, Origin),
    /// An append failed; nothing more is appended.
    Failed(LogError),
}

/// Appends the batches in the order they come, until there are no more, one fails, or `stop` while the
/// disk is full.
pub(crate) fn append_batches(
    batches: &Receiver<ParsedBatch>,
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
            Err(error) => failed(error),
        };
        let is_end = !matches!(event, Event::Appended(..) | Event::Wake);
        // The reading thread may have gone; then nobody needs to know.
        if events.send(event).is_err() || is_end {
            return;
        }
    }
}

/// The event of an append that failed.
fn failed(error: LogError) -> Event {
    let origin = match &error {
        LogError::RecordRefused { value, .. } => Payload::decode(value).ok(),
        _ => None,
    };
    match origin.map(|payload| payload.origin) {
        Some(origin) => Event::Refused(error, origin),
        None => Event::Failed(error),
    }
}

fn append_batch(
    append: &Append<'_>,
    topic: &str,
    batch: &ParsedBatch,
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
