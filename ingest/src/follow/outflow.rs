//! Batches on their way into the log: those being filled, and those that the appender has.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use bekk_stream::Meta;

use crate::ledger::appender::Event;
use crate::text::parsed_batch::ParsedBatch;

/// How many batches are on their way at once: one being appended, one waiting.
const IN_FLIGHT_MAX: usize = 2;

/// The reading thread's end of the two channels to the appender.
pub(crate) struct Outflow<'a> {
    batches: Sender<ParsedBatch>,
    events: &'a Receiver<Event>,
    /// The batch of each stream that is being filled.
    pending: Vec<ParsedBatch>,
    /// Empty batches whose memory is used again.
    spare: Vec<ParsedBatch>,
    in_flight: usize,
}

impl<'a> Outflow<'a> {
    /// For streams whose topics have so many partitions.
    pub(crate) fn new(
        partitions: &[u32],
        batches: Sender<ParsedBatch>,
        events: &'a Receiver<Event>,
    ) -> Self {
        Self {
            batches,
            events,
            pending: (0..)
                .zip(partitions)
                .map(|(stream, count)| ParsedBatch::new(stream, *count))
                .collect(),
            spare: Vec::new(),
            in_flight: 0,
        }
    }

    /// The batch that a stream's records go into.
    pub(crate) fn pending_mut(&mut self, stream: usize) -> &mut ParsedBatch {
        &mut self.pending[stream]
    }

    /// The batches being filled, by stream.
    pub(crate) fn pending(&self) -> &[ParsedBatch] {
        &self.pending
    }

    /// Whether another batch may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < IN_FLIGHT_MAX
    }

    /// Whether the appender has batches that it has not answered for.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight > 0
    }

    /// Sends the batch of a stream, with what `bekk.meta` is told before it.
    pub(crate) fn send(&mut self, stream: usize, begun: Vec<Meta>) {
        let spare = self.spare.iter().position(|batch| batch.stream == stream);
        let empty = match spare {
            Some(index) => self.spare.swap_remove(index),
            None => self.pending[stream].new_alike(),
        };
        let mut batch = std::mem::replace(&mut self.pending[stream], empty);
        batch.begun = begun;
        // If the appender has gone, an event says why.
        if self.batches.send(batch).is_ok() {
            self.in_flight += 1;
        }
    }

    /// Takes a batch back whose records are in the log.
    pub(crate) fn recycle(&mut self, mut batch: ParsedBatch) {
        batch.clear();
        self.spare.push(batch);
    }

    /// The next event; `None` if the appender has gone.
    pub(crate) fn recv(&mut self) -> Option<Event> {
        let event = self.events.recv().ok()?;
        Some(self.noted(event))
    }

    /// The next event if there is one already.
    pub(crate) fn try_recv(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok()?;
        Some(self.noted(event))
    }

    /// The next event within a time.
    ///
    /// # Errors
    /// If none comes.
    pub(crate) fn recv_timeout(&mut self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        let event = self.events.recv_timeout(timeout)?;
        Ok(self.noted(event))
    }

    fn noted(&mut self, event: Event) -> Event {
        match event {
            Event::Appended(..) => self.in_flight -= 1,
            Event::GaveUp => self.in_flight = 0,
            Event::Wake | Event::Refused(..) | Event::Failed(_) => {}
        }
        event
    }
}
