//! The reader of one partition: where it is, what it has taken from its queue, and what it keeps.

use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use super::context::Context;
use super::place::{number, to_kafka};
use super::window::Window;
use crate::destination::Destination as _;
use crate::headers::{self, Headers};
use crate::{Offset, Record, Records};

/// How much a piece may have, in bytes of records, and how much of it may wait to be asked for.
const PIECE_BYTES_MAX: usize = 2 << 20;
/// How long one attempt to seek may take.
const SEEK_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct PartitionReader {
    topic: String,
    partition: u32,
    queue: PartitionQueue<Context>,
    /// Taken from the queue and not asked for yet.
    pending: Records,
    /// The offset behind what has been taken from the queue.
    next: Offset,
    window: Window,
    /// The server has said that there is nothing behind `next`.
    is_at_end: bool,
    /// An error that came behind the records that are pending.
    failure: Option<KafkaError>,
    /// Everything that it has, and the end that the server reported, was requested after this.
    since: Instant,
    /// How often the log may have been replaced when what it has was fetched.
    doubts: u64,
}

/// What a look into the queue gave.
pub(super) enum Step {
    Records(Records),
    /// The server has said, since the last seek or record, that there is nothing more.
    AtEnd,
    Nothing,
}

impl PartitionReader {
    pub(super) fn new(
        topic: &str,
        partition: u32,
        queue: PartitionQueue<Context>,
        from: Offset,
        (doubts, since): (u64, Instant),
    ) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            queue,
            pending: Records::new(from),
            next: from,
            window: Window::default(),
            is_at_end: false,
            failure: None,
            since,
            doubts,
        }
    }

    /// Whether it began to fetch after the given time.
    pub(super) fn is_newer_than(&self, time: Instant) -> bool {
        self.since >= time
    }

    /// Whether what it has was fetched before the log may have been replaced.
    pub(super) fn is_stale(&self, doubts: u64) -> bool {
        self.doubts != doubts
    }

    /// What is kept from `from` on.
    pub(super) fn kept(&self, from: Offset) -> Option<Records> {
        self.window.get(from)
    }

    /// Whether an error came behind records that nobody has asked for: librdkafka may fetch no more.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some() && self.pending.is_empty()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end && self.pending.is_empty()
    }

    /// Whether the next record that comes will be that of `offset`.
    pub(super) fn is_at(&self, offset: Offset) -> bool {
        self.next == offset
    }

    /// Whether it has records at `offset` or behind; takes in what has come.
    pub(super) fn is_behind(&mut self, offset: Offset) -> bool {
        if self.next >= offset {
            self.fill(PIECE_BYTES_MAX);
        }
        self.next > offset || self.failure.is_some()
    }

    /// Whether `from` is what is read next without a seek.
    pub(super) fn is_there(&self, from: Offset) -> bool {
        match self.pending.is_empty() {
            true => self.next == from,
            false => self.pending.first_offset() == from,
        }
    }

    /// Fetches from `from` on anew.
    ///
    /// # Errors
    /// If librdkafka has given the partition up, or has not begun to fetch.
    pub(super) fn seek(
        &mut self,
        consumer: &BaseConsumer<Context>,
        from: Offset,
        doubts: u64,
    ) -> KafkaResult<()> {
        // What librdkafka has fetched from the old place it drops by itself.
        self.doubts = doubts;
        let since = Instant::now();
        consumer.seek(
            &self.topic,
            number(self.partition),
            to_kafka(from),
            SEEK_TIMEOUT,
        )?;
        self.since = since;
        self.window.clear();
        self.pending = Records::new(from);
        self.next = from;
        self.is_at_end = false;
        self.failure = None;
        Ok(())
    }

    /// Takes what has come; waits for something at most `wait`.
    pub(super) fn take(&mut self, bytes_max: usize, wait: Duration) -> KafkaResult<Step> {
        let was_at_end = self.is_at_end;
        self.fill(bytes_max.min(PIECE_BYTES_MAX));
        if self.pending.is_empty() && self.failure.is_none() && !wait.is_zero() {
            if self.is_at_end == was_at_end {
                self.take_one(wait);
                self.fill(bytes_max.min(PIECE_BYTES_MAX));
            }
            if self.pending.is_empty() && self.failure.is_none() {
                let has_ended = self.is_at_end && !was_at_end;
                return Ok(if has_ended {
                    Step::AtEnd
                } else {
                    Step::Nothing
                });
            }
        }
        if !self.pending.is_empty() {
            let records = std::mem::replace(&mut self.pending, Records::new(self.next));
            self.window.push(records.clone());
            return Ok(Step::Records(records));
        }
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(Step::Nothing),
        }
    }

    /// Moves behind what is no records; says so as a read does.
    pub(super) fn pass_to(&mut self, next: Offset) -> Records {
        let mut passed = Records::new(self.next);
        passed.pass_to(next);
        self.next = self.next.max(next);
        self.pending = Records::new(self.next);
        // The next read of this offset need not wait again for the server to report the end.
        self.window.push(passed.clone());
        passed
    }

    /// Takes in what is there without waiting, up to a bound.
    fn fill(&mut self, bytes_max: usize) {
        while self.pending.size() < bytes_max && self.failure.is_none() {
            if !self.take_one(Duration::ZERO) {
                break;
            }
        }
    }

    /// Takes one event from the queue; says whether there was one.
    fn take_one(&mut self, wait: Duration) -> bool {
        let Self {
            queue,
            pending,
            next,
            is_at_end,
            failure,
            ..
        } = self;
        match queue.poll(wait) {
            None => return false,
            Some(Ok(message)) => {
                *is_at_end = false;
                push(pending, next, &message);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => *is_at_end = true,
            Some(Err(error)) => *failure = Some(error),
        }
        true
    }
}

fn push(pending: &mut Records, next: &mut Offset, message: &BorrowedMessage<'_>) {
    let Ok(offset) = u64::try_from(message.offset()).map(Offset::new) else {
        return;
    };
    // A batch is sent whole, also the part before the offset that was asked for.
    if offset < *next {
        return;
    }
    let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
    let encoded = message.headers().map(|headers| {
        let all = headers
            .iter()
            .map(|header| (header.key.as_bytes(), header.value));
        headers::encode(headers.count(), all)
    });
    pending.push_record(&Record {
        offset,
        timestamp_ms,
        key: message.key(),
        value: message.payload().unwrap_or_default(),
        is_null: message.payload().is_none(),
        headers: Headers::of_encoded(encoded.as_deref().unwrap_or_default()),
    });
    *next = offset.next();
}
