//! Stopping a sink from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const STOP: u8 = 1;
const DRAIN: u8 = 2;

/// Stops a running sink. Clones control the same one.
#[derive(Debug, Clone, Default)]
pub struct Control {
    asked: Arc<AtomicU8>,
}

impl Control {
    /// A control that has asked for nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks it to finish the batches in flight and return.
    pub fn stop(&self) {
        self.asked.fetch_or(STOP, Ordering::AcqRel);
    }

    /// Asks it to return when every partition's offset, whoever moved it, has reached the end that is seen
    /// now.
    pub fn drain(&self) {
        self.asked.fetch_or(DRAIN, Ordering::AcqRel);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.asked.load(Ordering::Acquire) & STOP != 0
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.asked.load(Ordering::Acquire) & DRAIN != 0
    }
}
