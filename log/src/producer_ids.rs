//! Ids of idempotent producers; none is given twice.

use parking_lot::Mutex;

use crate::Error;
use crate::clock::now_ms;
use crate::state::State;

/// So many ids are reserved with one fsync.
const BLOCK: i64 = 1000;
/// Ids begin at the time, in so many parts of a millisecond: above all that an earlier state, if it was
/// lost, may have given.
const IDS_PER_MS: i64 = 1000;

#[derive(Default)]
pub(crate) struct ProducerIds(Mutex<Option<Block>>);

#[derive(Clone, Copy)]
struct Block {
    next: i64,
    end: i64,
}

impl ProducerIds {
    /// An id that was never given.
    pub(crate) fn next(&self, state: &State) -> Result<i64, Error> {
        let mut slot = self.0.lock();
        let mut block = match *slot {
            Some(block) if block.next < block.end => block,
            _ => reserve(state)?,
        };
        let id = block.next;
        block.next += 1;
        *slot = Some(block);
        Ok(id)
    }
}

fn reserve(state: &State) -> Result<Block, Error> {
    let first = state
        .first_free_producer_id()?
        .unwrap_or_else(|| now_ms().saturating_mul(IDS_PER_MS));
    let end = first.saturating_add(BLOCK);
    state.put_first_free_producer_id(end)?;
    Ok(Block { next: first, end })
}
