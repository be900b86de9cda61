//! Which segments may go.

use std::time::Duration;

use crate::clock::now_ms;
use crate::core::Core;
use crate::readers::Readers;
use crate::segment::{Segment, Summary};
use crate::state::Position;
use crate::topic::TopicLog;
use crate::{Error, GROUP_ACTIVE, Retention};

/// Deletes the segments that are no longer needed, and returns the freed bytes.
pub(crate) fn apply(core: &Core) -> Result<u64, Error> {
    let _retaining = core.retaining.lock();
    let active_ms = i64::try_from(GROUP_ACTIVE.as_millis()).unwrap_or(i64::MAX);
    core.shared.state.expire_foreign(now_ms() - active_ms)?;
    let committed = core.settled.of(
        core.shared.state.committed()?,
        core.shared.config.retention_delay,
    );
    let mut bytes = 0;
    for topic in core.topics() {
        bytes += drop_deleted(&topic)?;
        let retention = topic.topic().config.retention;
        if retention != Retention::default() {
            bytes += apply_to(core, &topic, retention, committed.clone())?;
        }
    }
    Ok(bytes)
}

fn apply_to(
    core: &Core,
    topic: &TopicLog,
    retention: Retention,
    mut committed: Vec<Position>,
) -> Result<u64, Error> {
    let state = &core.shared.state;
    committed.retain(|position| position.topic == topic.name);
    let mut held = state.held()?;
    held.retain(|position| position.topic == topic.name);
    let now = now_ms();
    let Some(readers) = Readers::new(committed, held) else {
        return Ok(0); // no group has read it yet
    };
    let starts = topic.view().starts;
    let chain = topic.chain();
    let sealed: Vec<_> = chain
        .iter()
        .map_while(|segment| segment.summary())
        .collect();
    let mut bytes_kept = sealed.iter().map(|summary| summary.bytes).sum::<u64>();
    bytes_kept += topic.active_bytes();
    let mut count = 0;
    for summary in sealed {
        let too_many = retention.size.is_some_and(|size| bytes_kept > size);
        let too_old = retention.age.is_some_and(|age| is_older(summary, age, now));
        if !(too_many || too_old) {
            break;
        }
        if !readers.are_done_with(&summary.ranges, &starts) {
            core.idle_holders
                .report(&topic.name, readers.idle_groups(now));
            break;
        }
        bytes_kept -= summary.bytes;
        count += 1;
    }
    match chain.get(count) {
        Some(first) if count > 0 => topic.drop_segments_before(first),
        _ => Ok(0),
    }
}

/// Deletes the segments that hold only deleted records: the next one begins at or before the log start. A segment that
/// damage has emptied holds nothing either, but the log start must not pass its gap, which would then be forgotten.
pub(crate) fn drop_deleted(topic: &TopicLog) -> Result<u64, Error> {
    let starts = topic.view().starts;
    let is_deleted = |segment: &Segment, next: &Segment| {
        let mut pairs = next.starts().iter().zip(&starts);
        segment.summary().is_some() && pairs.all(|(next, start)| next <= start)
    };
    let chain = topic.chain();
    let below = chain
        .windows(2)
        .take_while(|pair| is_deleted(&pair[0], &pair[1]))
        .count();
    match chain.get(below) {
        Some(first) if below > 0 => topic.drop_segments_before(first),
        _ => Ok(0),
    }
}

fn is_older(summary: &Summary, age: Duration, now_ms: i64) -> bool {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    now_ms.saturating_sub(summary.sealed_at_ms) >= age_ms
}
