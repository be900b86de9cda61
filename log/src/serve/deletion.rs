//! DeleteTopics and DeleteRecords. An explicit deletion is one, whoever still needs what is deleted; only what
//! records refer to stays.

use super::Broker;
use super::caller::META_TOPIC;
use super::code::Code;
use super::connection::Ended;
use super::wire::{Reader, Writer};
use crate::Offset;

/// Asks for the deletion of all records.
const ALL: i64 = -1;

pub(super) fn delete_topics(
    broker: &Broker,
    mut body: Reader<'_>,
    out: &mut Writer,
) -> Result<(), Ended> {
    let names = body.array(Reader::string)?;
    let _timeout_ms = body.i32()?;
    body.end()?;
    out.i32(0); // throttle time
    out.array(&names, |out, name| {
        let deleted = check(name).and_then(|()| {
            let store = broker.checked(broker.store())?;
            broker.checked(store.core().delete_topic(name))
        });
        out.string(name);
        out.i16(deleted.err().unwrap_or(Code::NONE).0);
    });
    Ok(())
}

fn check(topic: &str) -> Result<(), Code> {
    match topic {
        META_TOPIC => Err(Code::TOPIC_AUTHORIZATION_FAILED),
        _ => Ok(()),
    }
}

pub(super) fn delete_records(
    broker: &Broker,
    mut body: Reader<'_>,
    out: &mut Writer,
) -> Result<(), Ended> {
    let topics = body.array(|body| {
        let topic = body.string()?;
        Ok((topic, body.array(|body| Ok((body.i32()?, body.i64()?)))?))
    })?;
    let _timeout_ms = body.i32()?;
    body.end()?;
    out.i32(0); // throttle time
    out.array(&topics, |out, (topic, partitions)| {
        out.string(topic);
        out.array(partitions, |out, (partition, before)| {
            let start = delete_before(broker, topic, *partition, *before);
            out.i32(*partition);
            out.i64(start.map_or(-1, |start| start.get().cast_signed()));
            out.i16(start.err().unwrap_or(Code::NONE).0);
        });
    });
    Ok(())
}

fn delete_before(
    broker: &Broker,
    topic: &str,
    partition: i32,
    before: i64,
) -> Result<Offset, Code> {
    check(topic)?;
    let partition = u32::try_from(partition).map_err(|_| Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let before = match before {
        ALL => None,
        offset => Some(u64::try_from(offset).map_err(|_| Code::OFFSET_OUT_OF_RANGE)?),
    };
    let store = broker.checked(broker.store())?;
    let before = before.map(Offset::new);
    broker.checked(store.core().delete_records(topic, partition, before))
}
