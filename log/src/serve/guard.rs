//! What is Bekk's own in a log, and closed to the programs of others: topics that a sink's group or an ingest still needs,
//! its groups, sessions and holds. Further: how many of each there may be, so that what others make takes no place that
//! Bekk's own need.

use std::collections::HashSet;

use super::Broker;
use super::caller::META_TOPIC;
use super::code::{Code, Refused};
use super::visitor::Sender;
use crate::core::Core;
use crate::state::Position;
use crate::{Error, Offset};

/// The most groups of Bekk's own, groups of others, ingests, and holders that a log remembers.
const NAMES_MAX: usize = 1_000;
/// The most topics that are made while programs of others ask for them: each takes files, memory and a thread.
const TOPICS_MAX: usize = 256;
/// The most partitions of all topics together while programs of others make topics: each takes files.
const PARTITIONS_MAX: u64 = 4_096;
/// The most topics that Bekk's own programs make by request
const OWN_TOPICS_MAX: usize = 1_024;
/// Names of topics that only Bekk's own programs make begin with this.
const OWN_TOPIC_PREFIX: &str = "bekk.";

/// Refuses a topic that is not for this sender to make.
pub(super) fn check_creation(sender: &Sender<'_>, topic: &str) -> Result<(), Refused> {
    if let Err(code) = sender.may_change(Code::TOPIC_AUTHORIZATION_FAILED) {
        return Err((code, "this user may only read".to_owned()));
    }
    if !sender.is_own() && topic.starts_with(OWN_TOPIC_PREFIX) {
        let text = format!("only Bekk's own programs make topics named `{OWN_TOPIC_PREFIX}…`");
        return Err((Code::TOPIC_AUTHORIZATION_FAILED, text));
    }
    Ok(())
}

/// Refuses a new topic beyond the most topics, or beyond the most partitions.
pub(super) fn check_place(
    sender: &Sender<'_>,
    is_new: bool,
    topics: usize,
    partitions: u64,
) -> Result<(), Refused> {
    let max = match sender.is_own() {
        true => OWN_TOPICS_MAX,
        false => TOPICS_MAX,
    };
    if is_new && !sender.is_own() && partitions > PARTITIONS_MAX {
        let text = format!(
            "there would be {partitions} partitions, and {PARTITIONS_MAX} are the most for this client"
        );
        return Err((Code::POLICY_VIOLATION, text));
    }
    if is_new && topics >= max {
        let text = format!("there are {topics} topics, and no more are made for this client");
        return Err((Code::POLICY_VIOLATION, text));
    }
    Ok(())
}

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
    let (mut committed, mut held) = (state.committed()?, state.held()?);
    committed.retain(|position| position.topic == topic);
    held.retain(|position| position.topic == topic);
    Ok(first_needed(&committed, &held, partition))
}

/// The first offset that is needed, given all positions in a topic. Before a sink has come, and in a partition that a
/// sink's group has no position in, everything is.
fn first_needed(
    committed: &[Position],
    held: &[Position],
    partition: Option<u32>,
) -> Option<Offset> {
    let is_asked =
        |position: &&Position| partition.is_none_or(|partition| partition == position.partition);
    let groups: HashSet<&str> = committed.iter().map(|one| one.name.as_str()).collect();
    if groups.is_empty() {
        return (!held.is_empty()).then_some(Offset::ZERO);
    }
    let come: HashSet<&str> = committed
        .iter()
        .filter(is_asked)
        .map(|one| one.name.as_str())
        .collect();
    if come.len() < groups.len() {
        return Some(Offset::ZERO);
    }
    let its = committed.iter().chain(held).filter(is_asked);
    its.map(|position| position.next).min()
}

/// Refuses a group that is not known where as many of its kind are as may be.
pub(super) fn check_group(broker: &Broker, group: &str, kind: GroupKind) -> Result<(), Code> {
    let store = broker.checked(broker.store())?;
    let state = &store.core().shared.state;
    let is_known = match kind {
        GroupKind::Sink => state.is_own_group(group),
        GroupKind::Foreign => state.is_foreign_group(group),
    };
    if broker.checked(is_known)? {
        return Ok(());
    }
    let groups = match kind {
        GroupKind::Sink => state.own_groups(),
        GroupKind::Foreign => state.foreign_groups(),
    };
    check_count(broker.checked(groups)?.len())
}

/// Whose offsets a group's are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupKind {
    Sink,
    Foreign,
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::line_limit::LineLimit;
    use super::super::visitor::{Rights, Visitor};
    use super::*;

    fn at(name: &str, partition: u32, next: u64) -> Position {
        Position {
            name: name.to_owned(),
            topic: "t".to_owned(),
            partition,
            next: Offset::new(next),
            at_ms: 0,
        }
    }

    #[test]
    fn topics_of_others_leave_places_for_bekks_own() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9092));
        let visitor = Visitor {
            peer: address,
            reached: address,
            rights: Rights::All,
        };
        let check = |client_id: &str, topics, expected| {
            let limit = LineLimit::default();
            let sender = Sender::new(visitor, Some(client_id), &limit);
            let done = check_place(&sender, true, topics, 1);
            assert_eq!(done.is_ok(), expected, "{client_id} {topics}");
        };
        check("rdkafka", TOPICS_MAX - 1, true);
        let limit = LineLimit::default();
        let stranger = Sender::new(visitor, Some("rdkafka"), &limit);
        check_place(&stranger, true, 1, PARTITIONS_MAX).unwrap();
        check_place(&stranger, true, 1, PARTITIONS_MAX + 1).unwrap_err();
        check("rdkafka", TOPICS_MAX, false);
        check("bekk-ingest/a/1", TOPICS_MAX, true);
        check("bekk-ingest/a/1", OWN_TOPICS_MAX, false);
    }

    #[test]
    fn what_no_sink_has_applied_is_needed() {
        let check =
            |committed: &[Position], held: &[Position], partition, expected: Option<u64>| {
                let found = first_needed(committed, held, partition);
                assert_eq!(found, expected.map(Offset::new), "{committed:?} {held:?}");
            };
        check(&[], &[], Some(0), None);
        check(&[], &[at("ingest", 0, 9)], Some(0), Some(0));
        check(&[], &[at("ingest", 0, 9)], None, Some(0));
        check(&[at("a", 0, 5)], &[at("ingest", 0, 9)], Some(0), Some(5));
        check(&[at("a", 0, 5)], &[at("ingest", 0, 3)], Some(0), Some(3));
        check(&[at("a", 0, 5)], &[], Some(1), Some(0));
        let two = [at("a", 0, 5), at("a", 1, 7), at("b", 0, 6)];
        check(&two, &[], Some(0), Some(5));
        check(&two, &[], Some(1), Some(0));
        check(&two, &[], None, Some(5));
    }
}
