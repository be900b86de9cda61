//! Metadata and FindCoordinator: which topics there are, and where. There is one broker, which leads all.

use std::net::SocketAddr;

use super::Broker;
use super::code::Code;
use super::connection::Ended;
use super::requests::Request;
use super::wire::{Reader, Writer};
use crate::batch::LEADER_EPOCH;
use crate::{Error, Topic};

pub(super) const BROKER_ID: i32 = 0;
/// Placeholder for the client's rights, which the request did not ask for
const NO_OPERATIONS: i32 = i32::MIN;
/// A group's coordinator is looked for.
const GROUP: i8 = 0;

/// Writes host and port of the broker.
fn address(broker: &Broker, reached: SocketAddr, out: &mut Writer) {
    let (host, port) = match &broker.config.advertise {
        Some((host, port)) => (host.clone(), *port),
        None => (reached.ip().to_canonical().to_string(), reached.port()),
    };
    out.string(&host);
    out.i32(i32::from(port));
}

pub(super) fn answer(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, version, mut body) = request;
    let reached = sender.visitor.reached;
    let asked = body.nullable_array(Reader::string)?;
    let _allow_auto_topic_creation = body.when(version >= 4, Reader::bool)?; // topics are never made by being asked for
    let _cluster_operations = body.when(version >= 8, Reader::bool)?;
    let _topic_operations = body.when(version >= 8, Reader::bool)?;
    body.end()?;
    // In version 0 an empty list asks for all topics.
    let asked = asked.filter(|asked| version > 0 || !asked.is_empty());
    let topics = find_topics(broker, asked)?;

    out.when(version >= 3, |out| out.i32(0)); // throttle time
    out.count(1);
    out.i32(BROKER_ID);
    address(broker, reached, out);
    out.when(version >= 1, |out| out.nullable_string(None)); // rack
    out.when(version >= 2, |out| {
        out.string(&broker.client.log_id().cluster_id())
    });
    out.when(version >= 1, |out| out.i32(BROKER_ID)); // controller
    out.array(&topics, |out, (name, found)| {
        let code = found.as_ref().map_or_else(Code::from, |_| Code::NONE);
        out.i16(code.0);
        out.string(name);
        out.when(version >= 1, |out| out.bool(false)); // internal
        let partitions = found.as_ref().map_or(0, |topic| topic.config.partitions);
        out.count(partitions as usize);
        for partition in 0..partitions {
            put_partition(partition, version, out);
        }
        out.when(version >= 8, |out| out.i32(NO_OPERATIONS));
    });
    out.when(version >= 8, |out| out.i32(NO_OPERATIONS));
    Ok(())
}

type NamedTopic = (String, Result<Topic, Error>);

fn find_topics(broker: &Broker, asked: Option<Vec<&str>>) -> Result<Vec<NamedTopic>, Ended> {
    let Some(mut asked) = asked else {
        let all = broker.client.topics().map_err(|_| Ended::Closed)?;
        return Ok(all
            .into_iter()
            .map(|topic| (topic.name.clone(), Ok(topic)))
            .collect());
    };
    // Each once: many times the same name would make a great answer of a small request.
    asked.sort_unstable();
    asked.dedup();
    let found = asked
        .into_iter()
        .map(|name| (name.to_owned(), broker.client.topic_named(name)));
    Ok(found.collect())
}

fn put_partition(partition: u32, version: i16, out: &mut Writer) {
    out.i16(Code::NONE.0);
    out.i32(partition.cast_signed());
    out.i32(BROKER_ID); // leader
    out.when(version >= 7, |out| out.i32(LEADER_EPOCH));
    for _replicas_then_in_sync in 0..2 {
        out.count(1);
        out.i32(BROKER_ID);
    }
    out.when(version >= 5, |out| out.count(0)); // replicas that are offline
}

pub(super) fn find_coordinator(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, version, mut body) = request;
    let reached = sender.visitor.reached;
    let _name = body.string()?;
    let kind = if version >= 1 { body.i8()? } else { GROUP };
    body.end()?;
    out.when(version >= 1, |out| out.i32(0)); // throttle time
    let is_group = kind == GROUP;
    let code = if is_group {
        Code::NONE
    } else {
        Code::INVALID_REQUEST
    };
    out.i16(code.0);
    out.when(version >= 1, |out| {
        out.nullable_string((!is_group).then_some("there are no transactions here"))
    });
    if is_group {
        out.i32(BROKER_ID);
        address(broker, reached, out);
    } else {
        out.i32(-1);
        out.string("");
        out.i32(-1);
    }
    Ok(())
}
