//! DeleteGroups: groups have no members here, so that there is nothing about them but offsets.

use super::Broker;
use super::caller::Caller;
use super::code::Code;
use super::connection::Ended;
use super::group_offsets::Group;
use super::wire::{Reader, Writer};

pub(super) fn delete(
    broker: &Broker,
    caller: &Caller,
    mut body: Reader<'_>,
    out: &mut Writer,
) -> Result<(), Ended> {
    let groups = body.array(Reader::string)?;
    body.end()?;
    out.i32(0); // throttle time
    out.array(&groups, |out, group| {
        let deleted = delete_one(broker, caller, group);
        out.string(group);
        out.i16(deleted.err().unwrap_or(Code::NONE).0);
    });
    Ok(())
}

fn delete_one(broker: &Broker, caller: &Caller, group: &str) -> Result<(), Code> {
    let store = broker.checked(broker.store())?;
    let state = &store.core().shared.state;
    match Group::of(group) {
        Group::Session { .. } => Err(Code::GROUP_AUTHORIZATION_FAILED),
        Group::Hold { holder } => broker.checked(state.remove_held(holder)),
        Group::Plain(group) => {
            if !caller.is_own() && broker.checked(state.is_own_group(group))? {
                return Err(Code::GROUP_AUTHORIZATION_FAILED);
            }
            match broker.checked(state.remove_group(group))? {
                true => Ok(()),
                false => Err(Code::GROUP_ID_NOT_FOUND),
            }
        }
    }
}
