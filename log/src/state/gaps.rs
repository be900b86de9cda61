//! Gaps: offsets whose records are lost.

use std::collections::HashSet;

use fjall::PersistMode;

use super::{State, key};
use crate::wire::Fields;
use crate::{Applied, Error, Gap, Offset};

impl State {
    pub(crate) fn gaps(&self, topic: &str) -> Result<Vec<Gap>, Error> {
        self.scan(&key(b'g', &[topic, ""]), |rest, value| {
            let (mut rest, mut value) = (Fields::of(rest), Fields::of(value));
            let (end, found_at_ms) = (Offset::new(value.u64()?), value.i64()?);
            let (applied, reason) = match value.rest() {
                [1, reason @ ..] => (Applied::ByNone, reason),
                [2, reason @ ..] => (Applied::ByAll, reason),
                [3, reason @ ..] => (Applied::Again, reason),
                reason => (Applied::Unknown, reason),
            };
            Some(Gap {
                partition: rest.u32()?,
                start: Offset::new(rest.u64()?),
                end,
                found_at_ms,
                applied,
                reason: std::str::from_utf8(reason).ok()?.to_owned(),
            })
        })
    }

    pub(crate) fn put_gaps(&self, topic: &str, gaps: &[Gap]) -> Result<(), Error> {
        if gaps.is_empty() {
            return Ok(());
        }
        let mut batch = self.db.batch();
        for gap in gaps {
            batch.insert(&self.keys, gap_key(topic, gap), gap_value(gap));
        }
        self.commit(batch, PersistMode::SyncAll)
    }

    /// Adds to gaps that were just found which groups had applied their records.
    pub(crate) fn with_applied(&self, topic: &str, mut gaps: Vec<Gap>) -> Result<Vec<Gap>, Error> {
        if gaps.is_empty() {
            return Ok(gaps);
        }
        let mut committed = self.committed()?;
        let groups: HashSet<_> = committed
            .iter()
            .map(|position| position.name.clone())
            .collect();
        committed.retain(|position| position.topic == topic);
        let committed: Vec<_> = committed
            .iter()
            .map(|one| (one.partition, one.next))
            .collect();
        for gap in &mut gaps {
            gap.set_applied(&committed, groups.len());
        }
        Ok(gaps)
    }

    /// Replaces gaps by others, in one write.
    pub(crate) fn replace_gaps(&self, topic: &str, old: &[Gap], new: &[Gap]) -> Result<(), Error> {
        let mut batch = self.db.batch();
        for gap in old {
            batch.remove(&self.keys, gap_key(topic, gap));
        }
        for gap in new {
            batch.insert(&self.keys, gap_key(topic, gap), gap_value(gap));
        }
        self.commit(batch, PersistMode::SyncAll)
    }
}

fn gap_key(topic: &str, gap: &Gap) -> Vec<u8> {
    let mut key = key(b'g', &[topic, ""]);
    key.extend_from_slice(&gap.partition.to_be_bytes());
    key.extend_from_slice(&gap.start.get().to_be_bytes());
    key
}

fn gap_value(gap: &Gap) -> Vec<u8> {
    let mut value = gap.end.get().to_be_bytes().to_vec();
    value.extend_from_slice(&gap.found_at_ms.to_be_bytes());
    // No text begins with these.
    match gap.applied {
        Applied::Unknown => {}
        Applied::ByNone => value.push(1),
        Applied::ByAll => value.push(2),
        Applied::Again => value.push(3),
    }
    value.extend_from_slice(gap.reason.as_bytes());
    value
}
