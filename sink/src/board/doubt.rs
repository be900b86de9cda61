//! Records or table: what to believe when every record of a batch is refused.
//!
//! If a few records are refused and no other passes, either these records are bad, or the table refuses everything (a
//! trigger, a constraint that was added). So nothing is written until the other partitions of the stream have results. If
//! a record passes in any of them, the refused ones become dead letters. If very many are refused and none passes, the
//! sink stops, and no good record has become a dead letter.

use super::{Board, State};

/// Number of records of a stream that are refused in a row before the sink stops: single bad records are not so many.
pub(super) const REFUSED_MAX: u64 = 100;

/// What to do with a batch of which every record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Try again when it is this slot's turn: with more records, or as dead letters.
    Again,
    /// The table is at fault; with the count of the stream's refused records.
    Table(u64),
}

impl Board {
    /// Notes that all `refused` records of a slot's batch, `records` with rejects, up to `next`, were refused.
    pub(crate) fn doubt(&self, slot: usize, records: usize, refused: u64, next: u64) -> Doubt {
        let mut state = self.slots.lock();
        let own = &mut state.slots[slot];
        if own.end > next && refused < REFUSED_MAX && !own.is_grown {
            // The records that follow may tell more.
            own.is_grown = true;
            own.records_max = own.records_max.max(records.saturating_mul(4)).max(1_024);
            return Doubt::Again;
        }
        own.refused_alone = refused;
        own.waits_for_others = true;
        let stream = own.stream;
        state.settle_doubt(stream)
    }

    /// Has a slot's refused records tried again, whatever other slots say.
    pub(crate) fn try_again(&self, slot: usize) {
        let mut state = self.slots.lock();
        let own = &mut state.slots[slot];
        (own.refused_alone, own.waits_for_others) = (0, false);
    }

    /// Forgets all doubts about a stream: a record has passed.
    pub(super) fn trust(state: &mut State, stream: usize) {
        for slot in state.slots.iter_mut().filter(|slot| slot.stream == stream) {
            if slot.waits_for_others {
                slot.waits_for_others = false;
                slot.may_be_refused = true;
            }
            slot.refused_alone = 0;
        }
        state.refused.insert(stream, 0);
    }
}

impl State {
    /// Decides about the slots of a stream that wait, once no other slot of it has work.
    pub(super) fn settle_doubt(&mut self, stream: usize) -> Doubt {
        let slots = || self.slots.iter().filter(|slot| slot.stream == stream);
        let is_open = slots().any(|slot| {
            slot.epoch.is_some()
                && !slot.waits_for_others
                && slot.wait.is_none()
                && (slot.busy || slot.next < slot.end)
        });
        if is_open || !slots().any(|slot| slot.waits_for_others) {
            return Doubt::Again;
        }
        let written = self.refused.get(&stream).copied().unwrap_or_default();
        let total = written + slots().map(|slot| slot.refused_alone).sum::<u64>();
        if total >= REFUSED_MAX {
            return Doubt::Table(total);
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.stream == stream) {
            slot.may_be_refused |= slot.waits_for_others;
            slot.waits_for_others = false;
        }
        Doubt::Again
    }
}
