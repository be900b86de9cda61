//! CreateTopics.

use std::time::Duration;

use super::Broker;
use super::code::Code;
use super::connection::Ended;
use super::metadata::BROKER_ID;
use super::wire::{Malformed, Reader, Writer};
use crate::{Retention, TopicConfig};

/// More topics than a log's owner has reason to make are refused: each takes files, memory and a thread.
const TOPICS_MAX: usize = 256;

struct Wanted<'a> {
    name: &'a str,
    partitions: i32,
    replication_factor: i16,
    has_assignments: bool,
    configs: Vec<(&'a str, Option<&'a str>)>,
}

type Refused = (Code, String);

pub(super) fn answer(
    broker: &Broker,
    version: i16,
    mut body: Reader<'_>,
    out: &mut Writer,
) -> Result<(), Ended> {
    debug_assert!(version >= 2, "from then on there is a throttle time");
    let wanted = body.array(decode)?;
    let _timeout_ms = body.i32()?;
    let validate_only = body.bool()?;
    body.end()?;
    out.i32(0); // throttle time
    out.array(&wanted, |out, wanted| {
        let made = create(broker, version, wanted, validate_only);
        let refused = made.err();
        let code = refused.as_ref().map_or(Code::NONE, |(code, _)| *code);
        out.string(wanted.name);
        out.i16(code.0);
        out.nullable_string(refused.as_ref().map(|(_, message)| message.as_str()));
    });
    Ok(())
}

fn decode<'a>(body: &mut Reader<'a>) -> Result<Wanted<'a>, Malformed> {
    let name = body.string()?;
    let partitions = body.i32()?;
    let replication_factor = body.i16()?;
    let assignments = body.array(|body| {
        body.i32()?;
        body.array(Reader::i32)
    })?;
    let configs = body.array(|body| Ok((body.string()?, body.nullable_string()?)))?;
    Ok(Wanted {
        name,
        partitions,
        replication_factor,
        has_assignments: !assignments.is_empty(),
        configs,
    })
}

fn create(
    broker: &Broker,
    version: i16,
    wanted: &Wanted<'_>,
    validate_only: bool,
) -> Result<(), Refused> {
    if wanted.has_assignments {
        let text = format!("all partitions are on broker {BROKER_ID}; assign none");
        return Err((Code::INVALID_REPLICA_ASSIGNMENT, text));
    }
    // From version 4 on, -1 is the broker's default.
    let or_default = |number: i32| match number {
        -1 if version >= 4 => 1,
        number => number,
    };
    if or_default(i32::from(wanted.replication_factor)) != 1 {
        let text = "there is one broker; the replication factor is 1".to_owned();
        return Err((Code::INVALID_REPLICATION_FACTOR, text));
    }
    let partitions = u32::try_from(or_default(wanted.partitions)).unwrap_or(0);
    let config = TopicConfig {
        partitions,
        retention: retention(&wanted.configs)?,
    };
    let failed = |error: crate::Error| (Code::from(&error), error.to_string());
    let topics = broker.client.topics().map_err(failed)?;
    let is_new = broker
        .client
        .check_new_topic(wanted.name, config)
        .map_err(failed)?;
    if is_new && topics.len() >= TOPICS_MAX {
        let text = format!("there are {TOPICS_MAX} topics, and no more are made for clients");
        return Err((Code::POLICY_VIOLATION, text));
    }
    let made = match validate_only {
        true => is_new,
        false => broker
            .client
            .create_new_topic(wanted.name, config)
            .map_err(failed)?,
    };
    if made {
        return Ok(());
    }
    let text = format!("topic `{}` exists", wanted.name);
    Err((Code::TOPIC_ALREADY_EXISTS, text))
}

/// Takes what a topic can have of Kafka's settings; -1 is without bound.
fn retention(configs: &[(&str, Option<&str>)]) -> Result<Retention, Refused> {
    let mut retention = Retention::default();
    for (name, value) in configs {
        let wrong = || {
            let text = format!("{name} = {} is not supported", value.unwrap_or("null"));
            (Code::INVALID_CONFIG, text)
        };
        let value = value.ok_or_else(wrong)?;
        let bound = || match value.parse::<i64>() {
            Ok(-1) => Ok(None),
            Ok(number) => u64::try_from(number).map(Some).map_err(|_| wrong()),
            Err(_) => Err(wrong()),
        };
        match *name {
            "retention.ms" => retention.age = bound()?.map(Duration::from_millis),
            "retention.bytes" => retention.size = bound()?,
            "cleanup.policy" if value == "delete" => {}
            "compression.type" if value == "producer" => {}
            _ => return Err(wrong()),
        }
    }
    Ok(retention)
}
