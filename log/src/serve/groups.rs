//! ListGroups, DescribeGroups, DeleteGroups and OffsetDelete: groups have no members here, so that there is
//! nothing about them but offsets.

use super::Broker;
use super::code::Code;
use super::connection::Ended;
use super::group_offsets::Group;
use super::named::Named;
use super::requests::Request;
use super::visitor::Sender;
use super::wire::{Reader, Writer};

/// The state of a group without members,
const EMPTY: &str = "Empty";
/// and of one that does not exist.
const DEAD: &str = "Dead";
/// Placeholder for the client's rights, which the request did not ask for
const NO_OPERATIONS: i32 = i32::MIN;

pub(super) fn list(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, _, version, body) = request;
    body.end()?;
    out.when(version >= 1, |out| out.i32(0)); // throttle time
    let groups = names(broker);
    out.i16(groups.as_ref().err().unwrap_or(&Code::NONE).0);
    out.array(&groups.unwrap_or_default(), |out, group| {
        out.string(group);
        out.string(""); // the protocol of its members
    });
    Ok(())
}

fn names(broker: &Broker) -> Result<Vec<String>, Code> {
    let store = broker.checked(broker.store())?;
    broker.checked(store.core().shared.state.groups())
}

pub(super) fn describe(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, _, version, mut body) = request;
    let asked = body.array(Reader::string)?;
    let _with_operations = body.when(version >= 3, Reader::bool)?;
    body.end()?;
    out.when(version >= 1, |out| out.i32(0)); // throttle time
    let groups = names(broker);
    let code = groups.as_ref().err().copied().unwrap_or(Code::NONE);
    let groups = groups.unwrap_or_default();
    out.array(&asked, |out, group| {
        let is_known = groups.binary_search_by(|known| known.as_str().cmp(group));
        out.i16(code.0);
        out.string(group);
        out.string(is_known.map_or(DEAD, |_| EMPTY));
        out.string(""); // the protocol of its members,
        out.string(""); // the one they have chosen,
        out.count(0); // and the members
        out.when(version >= 3, |out| out.i32(NO_OPERATIONS));
    });
    Ok(())
}

pub(super) fn delete(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, _, mut body) = request;
    let groups = body.array(Reader::string)?;
    body.end()?;
    out.i32(0); // throttle time
    let mut named = Named::default();
    out.array(&groups, |out, group| {
        let deleted = named
            .whole(group)
            .and_then(|()| delete_one(broker, sender, group));
        let code = deleted.err().unwrap_or(Code::NONE);
        sender.note("delete group", group, code);
        out.string(group);
        out.i16(code.0);
    });
    Ok(())
}

fn delete_one(broker: &Broker, sender: &Sender<'_>, group: &str) -> Result<(), Code> {
    sender.may_change(Code::GROUP_AUTHORIZATION_FAILED)?;
    let store = broker.checked(broker.store())?;
    let state = &store.core().shared.state;
    match Group::of(group) {
        Group::Session { .. } | Group::Persist | Group::Snapshot { .. } => {
            Err(Code::GROUP_AUTHORIZATION_FAILED)
        }
        Group::Hold { .. } if !sender.is_own() => Err(Code::GROUP_AUTHORIZATION_FAILED),
        Group::Hold { holder } => broker.checked(state.remove_held(holder)),
        Group::Plain(group) => {
            check_owner(broker, sender, group)?;
            match broker.checked(state.remove_group(group))? {
                true => Ok(()),
                false => Err(Code::GROUP_ID_NOT_FOUND),
            }
        }
    }
}

/// What is known of a sink's group is only for Bekk's own programs to delete.
fn check_owner(broker: &Broker, sender: &Sender<'_>, group: &str) -> Result<(), Code> {
    let store = broker.checked(broker.store())?;
    if !sender.is_own() && broker.checked(store.core().shared.state.is_own_group(group))? {
        return Err(Code::GROUP_AUTHORIZATION_FAILED);
    }
    Ok(())
}

pub(super) fn delete_offsets(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, _, mut body) = request;
    let group = body.string()?;
    let topics = body.array(|body| Ok((body.string()?, body.array(Reader::i32)?)))?;
    body.end()?;
    let checked = check_deletable(broker, sender, group);
    let code = checked.err().unwrap_or(Code::NONE);
    sender.note("delete offsets of group", group, code);
    out.i16(code.0);
    out.i32(0); // throttle time
    if checked.is_err() {
        out.count(0);
        return Ok(());
    }
    let mut named = Named::default();
    out.array(&topics, |out, (topic, partitions)| {
        out.string(topic);
        out.array(partitions, |out, partition| {
            let deleted = named
                .partition(topic, *partition)
                .and_then(|()| delete_offset(broker, group, topic, *partition));
            out.i32(*partition);
            out.i16(deleted.err().unwrap_or(Code::NONE).0);
        });
    });
    Ok(())
}

fn check_deletable(broker: &Broker, sender: &Sender<'_>, group: &str) -> Result<(), Code> {
    sender.may_change(Code::GROUP_AUTHORIZATION_FAILED)?;
    if Group::of(group) != Group::Plain(group) {
        return Err(Code::INVALID_GROUP_ID);
    }
    check_owner(broker, sender, group)?;
    match names(broker)?.iter().any(|known| known == group) {
        true => Ok(()),
        false => Err(Code::GROUP_ID_NOT_FOUND),
    }
}

fn delete_offset(broker: &Broker, group: &str, topic: &str, partition: i32) -> Result<(), Code> {
    let partition = u32::try_from(partition).map_err(|_| Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let store = broker.checked(broker.store())?;
    let state = &store.core().shared.state;
    broker.checked(state.remove_commit(group, topic, partition))
}
