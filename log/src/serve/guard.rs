//! What is Bekk's own in a log, and closed to the programs of others: topics that a sink's group or an ingest still needs,
//! its groups, sessions and holds. Further: how many of each there may be.

use std::collections::HashSet;

use super::Broker;
use super::caller::META_TOPIC;
use super::code::Code;
use super::visitor::Sender;
use crate::store::Core;
use crate::{Error, Offset};

/// The most groups, ingests and holders that a log remembers.
const NAMES_MAX: usize = 1_000;

/// Refuses to change a topic of Bekk's own for a program of others.
pub(super) fn check_topic(broker: &Broker, sender: &Sender<'_>, topic: &str) -> Result<(), Code> {
    sender.may_change(Code::TOPIC_AUTHORIZATION_FAILED)?;
    if sender.is_own() {
        return Ok(());
    }
    if topic == META_TOPIC {
        return Err(Code::TOPIC_AUTHORIZATION_FAILED);
    }
    let store = broker.checked(broker.store())?;
    let is_needed = broker.checked(needed(store.core(), topic, None))?.is_some();
    match is_needed {
        true => Err(Code::TOPIC_AUTHORIZATION_FAILED),
        false => Ok(()),
    }
}

/// Refuses to delete a topic of Bekk's own for a program of others; the one that records refer to stays for all.
pub(super) fn check_deletion(
    broker: &Broker,
    sender: &Sender<'_>,
    topic: &str,
) -> Result<(), Code> {
    match topic {
        META_TOPIC => Err(Code::TOPIC_AUTHORIZATION_FAILED),
        _ => check_topic(broker, sender, topic),
    }
}

/// Refuses to delete records that a sink's group or an ingest still needs, for a program of others. `before`: `None` for
/// all records.
pub(super) fn check_records(
    broker: &Broker,
    sender: &Sender<'_>,
    topic: &str,
    partition: u32,
    before: Option<Offset>,
) -> Result<(), Code> {
    sender.may_change(Code::TOPIC_AUTHORIZATION_FAILED)?;
    if topic == META_TOPIC {
        return Err(Code::TOPIC_AUTHORIZATION_FAILED);
    }
    if sender.is_own() {
        return Ok(());
    }
    let store = broker.checked(broker.store())?;
    let needed = broker.checked(needed(store.core(), topic, Some(partition)))?;
    let before = match before {
        Some(before) => before,
        None => {
            let ends = broker.checked(broker.client.partition_ends(topic))?;
            let end = ends.iter().find(|ends| ends.partition == partition);
            end.map_or(Offset::ZERO, |ends| ends.end)
        }
    };
    match needed {
        Some(from) if before > from => Err(Code::TOPIC_AUTHORIZATION_FAILED),
        _ => Ok(()),
    }
}

/// The first offset of a topic that one of Bekk's own still needs; `None` if none of them has to do with it.
fn needed(core: &Core, topic: &str, partition: Option<u32>) -> Result<Option<Offset>, Error> {
    let state = &core.shared.state;
    let mut positions = state.committed()?;
    positions.extend(state.held()?);
    let its = positions.iter().filter(|position| {
        let is_asked = partition.is_none_or(|partition| partition == position.partition);
        position.topic == topic && is_asked
    });
    Ok(its.map(|position| position.next).min())
}

/// Refuses a group that is not known where as many are as may be.
pub(super) fn check_group(broker: &Broker, group: &str) -> Result<(), Code> {
    let store = broker.checked(broker.store())?;
    let state = &store.core().shared.state;
    if !broker.checked(state.commits_of(group))?.is_empty() {
        return Ok(());
    }
    check_count(broker.checked(state.groups())?.len())
}

/// Refuses an ingest that is not known where as many are as may be.
pub(super) fn check_ingest(broker: &Broker, ingest: &str) -> Result<(), Code> {
    let store = broker.checked(broker.store())?;
    let sessions = &store.core().shared.sessions;
    if sessions.is_known(ingest) {
        return Ok(());
    }
    check_count(sessions.count())
}

/// Refuses a holder that is not known where as many are as may be.
pub(super) fn check_holder(broker: &Broker, holder: &str) -> Result<(), Code> {
    let store = broker.checked(broker.store())?;
    let held = broker.checked(store.core().shared.state.held())?;
    let holders: HashSet<&str> = held.iter().map(|held| held.name.as_str()).collect();
    match holders.contains(holder) {
        true => Ok(()),
        false => check_count(holders.len()),
    }
}

fn check_count(count: usize) -> Result<(), Code> {
    match count < NAMES_MAX {
        true => Ok(()),
        false => Err(Code::POLICY_VIOLATION),
    }
}
