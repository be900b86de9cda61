//! Records taken from librdkafka and kept a little while: a reader that stopped in the middle of what it was
//! given comes back for the rest, and fetching it again would cost a round trip.

use std::collections::VecDeque;

use crate::{Offset, Records};

/// How much is kept, in bytes of records, beside the last piece.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// Pieces of a partition that follow on each other.
#[derive(Default)]
pub(super) struct Window {
    pieces: VecDeque<Records>,
    bytes: usize,
}

impl Window {
    /// What there is from `from` on, if anything: up to the end of one piece.
    pub(super) fn get(&self, from: Offset) -> Option<Records> {
        let piece = self
            .pieces
            .iter()
            .find(|piece| (piece.first_offset()..piece.next_offset()).contains(&from))?;
        Some(piece.starting_at(from))
    }

    /// Keeps a piece that follows on the last one, and drops the oldest.
    pub(super) fn push(&mut self, piece: Records) {
        while self.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.pieces.pop_front() else {
                break;
            };
            self.bytes -= oldest.size();
        }
        self.bytes += piece.size();
        self.pieces.push_back(piece);
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
    }
}
