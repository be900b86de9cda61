//! The reports of librdkafka on the records of an append.

use parking_lot::{Condvar, Mutex};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;
use rdkafka::statistics::Statistics;

use crate::remote::context::Heard;
use crate::remote::reaction::{Reaction, code};

/// What became of an append's records so far.
pub(super) struct Deliveries {
    heard: Heard,
    pub(super) append: Mutex<Append>,
    pub(super) settled: Condvar,
}

#[derive(Default)]
pub(super) struct Append {
    /// Number of queued records that have been neither acknowledged nor refused
    pub(super) waiting: u64,
    pub(super) parts: Vec<Part>,
}

#[derive(Default)]
pub(super) struct Part {
    pub(super) first: Option<u64>,
    /// The first refusal that is about the record itself, else the first one.
    pub(super) failure: Option<Failure>,
}

#[derive(Clone)]
pub(super) struct Failure {
    pub(super) error: KafkaError,
    /// The record's place in its part.
    pub(super) index: u32,
}

/// A record's part and its place there, as librdkafka hands them back.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) part: u32,
    pub(super) index: u32,
}

impl Place {
    pub(super) const fn to_opaque(self) -> usize {
        (self.part as usize) << 32 | self.index as usize
    }

    /// Both halves have 32 bits.
    #[expect(clippy::cast_possible_truncation)]
    const fn from_opaque(opaque: usize) -> Self {
        Self {
            part: (opaque >> 32) as u32,
            index: opaque as u32,
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.heard.note_throttle(&statistics);
    }
}

impl ProducerContext for Deliveries {
    /// The record's [`Place`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let Place { part, index } = Place::from_opaque(opaque);
        let mut append = self.append.lock();
        append.waiting = append.waiting.saturating_sub(1);
        if append.waiting == 0 {
            self.settled.notify_all();
        }
        let Some(part) = append.parts.get_mut(part as usize) else {
            return;
        };
        match result {
            Ok(message) => {
                // -1 if it is not known, as for a duplicate that the server had already.
                if let Ok(offset) = u64::try_from(message.offset()) {
                    part.first = Some(part.first.map_or(offset, |first| first.min(offset)));
                }
            }
            Err((error, _)) => part.failed(Failure {
                error: error.clone(),
                index,
            }),
        }
    }
}

impl Part {
    fn failed(&mut self, failure: Failure) {
        match &self.failure {
            Some(first) if first.weight() >= failure.weight() => {}
            _ => self.failure = Some(failure),
        }
    }
}

impl Failure {
    /// How much it says about the record itself.
    pub(super) fn weight(&self) -> u8 {
        match (code(&self.error), Reaction::of(&self.error)) {
            // The batch was refused because of another record in it, or because of its transaction.
            (Some(RDKafkaErrorCode::InvalidDifferentRecord), _) | (_, Reaction::Session) => 0,
            (_, Reaction::Record) => 2,
            _ => 1,
        }
    }
}

impl Deliveries {
    pub(super) fn new(heard: &Heard) -> Self {
        Self {
            heard: heard.clone(),
            append: Mutex::default(),
            settled: Condvar::new(),
        }
    }
}
