//! DeleteTopics and DeleteRecords. Other programs may not delete what a sink's group or an ingest still needs, and nobody
//! may delete what records refer to.

use super::Broker;
use super::code::Code;
use super::connection::Ended;
use super::guard;
use super::named::Named;
use super::requests::Request;
use super::visitor::Sender;
use super::wire::{Reader, Writer};
use crate::Offset;

/// Asks for the deletion of all records.
const ALL: i64 = -1;

pub(super) fn delete_topics(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, _, mut body) = request;
    let names = body.array(Reader::string)?;
    let _timeout_ms = body.i32()?;
    body.end()?;
    out.i32(0); // throttle time
    let mut named = Named::default();
    out.array(&names, |out, name| {
        let checked = named.whole(name);
        let checked = checked.and_then(|()| guard::check_deletion(broker, sender, name));
        let deleted = checked.and_then(|()| {
            let store = broker.checked(broker.store())?;
            broker.checked(store.core().delete_topic(name))
        });
        let code = deleted.err().unwrap_or(Code::NONE);
        sender.note("delete topic", name, code);
        out.string(name);
        out.i16(code.0);
    });
    Ok(())
}

pub(super) fn delete_records(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, _, mut body) = request;
    let topics = body.array(|body| {
        let topic = body.string()?;
        Ok((topic, body.array(|body| Ok((body.i32()?, body.i64()?)))?))
    })?;
    let _timeout_ms = body.i32()?;
    body.end()?;
    out.i32(0); // throttle time
    let mut named = Named::default();
    out.array(&topics, |out, (topic, partitions)| {
        out.string(topic);
        out.array(partitions, |out, (partition, before)| {
            let start = named
                .partition(topic, *partition)
                .and_then(|()| delete_before(broker, sender, topic, *partition, *before));
            let code = start.err().unwrap_or(Code::NONE);
            sender.note("delete records", &format!("{topic}/{partition}"), code);
            out.i32(*partition);
            out.i64(start.map_or(-1, |start| start.get().cast_signed()));
            out.i16(code.0);
        });
    });
    Ok(())
}

fn delete_before(
    broker: &Broker,
    sender: &Sender<'_>,
    topic: &str,
    partition: i32,
    before: i64,
) -> Result<Offset, Code> {
    let partition = u32::try_from(partition).map_err(|_| Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let before = match before {
        ALL => None,
        offset => Some(u64::try_from(offset).map_err(|_| Code::OFFSET_OUT_OF_RANGE)?),
    };
    let before = before.map(Offset::new);
    guard::check_records(broker, sender, topic, partition, before)?;
    let store = broker.checked(broker.store())?;
    broker.checked(store.core().delete_records(topic, partition, before))
}
