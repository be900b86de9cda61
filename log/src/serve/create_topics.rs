//! CreateTopics.

use super::Broker;
use super::code::{Code, Refused};
use super::configs::{self, Configs};
use super::connection::Ended;
use super::guard;
use super::metadata::BROKER_ID;
use super::named::Named;
use super::requests::Request;
use super::visitor::Sender;
use super::wire::{Malformed, Reader, Writer};
use crate::TopicConfig;

struct Wanted<'a> {
    name: &'a str,
    partitions: i32,
    replication_factor: i16,
    has_assignments: bool,
    configs: Configs<'a>,
}

pub(super) fn answer(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, _version, mut body) = request;
    let wanted = body.array(decode)?;
    let _timeout_ms = body.i32()?;
    let validate_only = body.bool()?;
    body.end()?;
    out.i32(0); // throttle time, which every version has that is answered
    let mut named = Named::default();
    out.array(&wanted, |out, wanted| {
        let again = |code| (code, "the request names the topic twice".to_owned());
        let made = named
            .whole(wanted.name)
            .map_err(again)
            .and_then(|()| create(broker, sender, wanted, validate_only));
        let refused = made.err();
        let code = refused.as_ref().map_or(Code::NONE, |(code, _)| *code);
        if !validate_only {
            sender.note("create topic", wanted.name, code);
        }
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
    let configs = configs::decode_configs(body)?;
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
    sender: &Sender<'_>,
    wanted: &Wanted<'_>,
    validate_only: bool,
) -> Result<(), Refused> {
    guard::check_creation(sender, wanted.name)?;
    if wanted.has_assignments {
        let text = format!("all partitions are on broker {BROKER_ID}; assign none");
        return Err((Code::INVALID_REPLICA_ASSIGNMENT, text));
    }
    // -1 is the broker's default: in the protocol from version 4 on, but Kafka's brokers take it in any, and KafkaJS asks
    // so in version 3.
    let or_default = |number: i32| match number {
        -1 => 1,
        number => number,
    };
    if or_default(i32::from(wanted.replication_factor)) != 1 {
        let text = "there is one broker; the replication factor is 1".to_owned();
        return Err((Code::INVALID_REPLICATION_FACTOR, text));
    }
    let partitions = u32::try_from(or_default(wanted.partitions)).unwrap_or(0);
    let config = TopicConfig {
        partitions,
        retention: configs::retention(wanted.name, &wanted.configs)?,
    };
    let topics = broker.client.topics()?;
    let is_new = broker.client.check_new_topic(wanted.name, config)?;
    let all = topics
        .iter()
        .map(|topic| u64::from(topic.config.partitions));
    let all = all.sum::<u64>() + u64::from(config.partitions);
    guard::check_place(sender, is_new, topics.len(), all)?;
    let made = match validate_only {
        true => is_new,
        false => broker.client.create_new_topic(wanted.name, config)?,
    };
    if made {
        return Ok(());
    }
    let text = format!("topic `{}` exists", wanted.name);
    Err((Code::TOPIC_ALREADY_EXISTS, text))
}
