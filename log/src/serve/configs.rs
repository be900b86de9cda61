//! DescribeConfigs and AlterConfigs: what a topic and the broker are set to, of which a topic's retention can be
//! changed. What a topic takes on disk is told the same way, as Kafka's protocol has no place for it that old
//! clients know.

use std::time::Duration;

use super::Broker;
use super::caller::META_TOPIC;
use super::code::{Code, Refused};
use super::connection::Ended;
use super::guard;
use super::metadata::BROKER_ID;
use super::named::Named;
use super::requests::Request;
use super::visitor::Sender;
use super::wire::{Malformed, Reader, Writer};
use crate::{Durability, Retention};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Where a value comes from, as Kafka numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
enum Source {
    Topic = 1,
    Broker = 4,
    Default = 5,
}

struct Config {
    name: &'static str,
    value: String,
    source: Source,
    is_read_only: bool,
}

type Resource<'a> = (i8, &'a str);

pub(super) fn describe(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, _, version, mut body) = request;
    let mut asked = body.array(|body| {
        let resource = (body.i8()?, body.string()?);
        Ok((resource, body.nullable_array(Reader::string)?))
    })?;
    let _with_synonyms = body.when(version >= 1, Reader::bool)?; // there are none
    body.end()?;
    // Each once: many times the same name would make a great answer of a small request.
    asked.sort_unstable();
    asked.dedup_by_key(|(resource, _)| *resource);
    out.i32(0); // throttle time
    out.array(&asked, |out, (resource, names)| {
        let found = configs(broker, *resource).map(|mut configs| {
            let is_asked = |name: &str| names.as_ref().is_none_or(|names| names.contains(&name));
            configs.retain(|config| is_asked(config.name));
            configs
        });
        put_result(*resource, found.as_ref().err(), out);
        out.array(&found.unwrap_or_default(), |out, config| {
            put_config(version, config, out);
        });
    });
    Ok(())
}

fn put_result((kind, name): Resource<'_>, refused: Option<&Refused>, out: &mut Writer) {
    out.i16(refused.map_or(Code::NONE, |(code, _)| *code).0);
    out.nullable_string(refused.map(|(_, message)| message.as_str()));
    out.i8(kind);
    out.string(name);
}

fn put_config(version: i16, config: &Config, out: &mut Writer) {
    out.string(config.name);
    out.nullable_string(Some(&config.value));
    out.bool(config.is_read_only);
    if version >= 1 {
        out.i8(config.source as i8);
    } else {
        out.bool(config.source == Source::Default);
    }
    out.bool(false); // sensitive
    out.when(version >= 1, |out| out.count(0)); // synonyms
}

fn configs(broker: &Broker, (kind, name): Resource<'_>) -> Result<Vec<Config>, Refused> {
    match kind {
        TOPIC => topic_configs(broker, name),
        BROKER if name == BROKER_ID.to_string() => broker_configs(broker),
        _ => Err(unknown(kind, name)),
    }
}

fn unknown(kind: i8, name: &str) -> Refused {
    let text = format!("there is no resource `{name}` of type {kind}");
    (Code::INVALID_REQUEST, text)
}

fn topic_configs(broker: &Broker, name: &str) -> Result<Vec<Config>, Refused> {
    let client = &broker.client;
    let Retention { age, size } = client.topic_named(name)?.config.retention;
    let on_disk = client.topic_size(name)?;
    let gaps = client.gap_count(name)?;
    let losses = client.losses(name)?;
    let bound = |name, bound: Option<u64>| Config {
        name,
        value: bound.map_or_else(|| "-1".to_owned(), |bound| bound.to_string()),
        source: bound.map_or(Source::Default, |_| Source::Topic),
        is_read_only: false,
    };
    let fixed = |name, value: String| Config {
        name,
        value,
        source: Source::Default,
        is_read_only: true,
    };
    let age_ms = age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    Ok(vec![
        bound("retention.ms", age_ms),
        bound("retention.bytes", size),
        fixed("cleanup.policy", "delete".to_owned()),
        fixed("compression.type", "producer".to_owned()),
        fixed("max.message.bytes", client.batch_bytes_max().to_string()),
        // As defaults, since clients set again what is not one.
        fixed("bekk.segments", on_disk.segments.to_string()),
        fixed("bekk.bytes", on_disk.bytes.to_string()),
        fixed("bekk.gaps", gaps.to_string()),
        fixed("bekk.lost", losses.all.to_string()),
        fixed("bekk.lost.open", losses.open.to_string()),
        fixed("bekk.lost.unapplied", losses.unapplied.to_string()),
        fixed("bekk.lost.untouched", losses.untouched.to_string()),
    ])
}

fn broker_configs(broker: &Broker) -> Result<Vec<Config>, Refused> {
    let store = broker.store()?;
    let log = &store.core().shared.config;
    let serve = &broker.config;
    let ms = |duration: Duration| duration.as_millis().to_string();
    let durability = match log.durability {
        Durability::Sync => "sync".to_owned(),
        Durability::Interval(interval) => format!("{}ms", ms(interval)),
        Durability::Os => "os".to_owned(),
    };
    let values = [
        ("bekk.durability", durability),
        ("message.max.bytes", log.batch_bytes_max.to_string()),
        ("log.segment.bytes", log.segment_bytes.to_string()),
        ("log.roll.ms", ms(log.segment_age)),
        ("auto.create.topics.enable", false.to_string()),
        ("num.partitions", 1.to_string()),
        ("default.replication.factor", 1.to_string()),
        ("max.connections", serve.connections_max.to_string()),
        ("connections.max.idle.ms", ms(serve.idle_max)),
        (
            "socket.request.max.bytes",
            serve.request_bytes_max.to_string(),
        ),
    ];
    let configs = values.into_iter().map(|(name, value)| Config {
        name,
        value,
        source: Source::Broker,
        is_read_only: true,
    });
    Ok(configs.collect())
}

pub(super) fn alter(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, _, mut body) = request;
    let wanted = body.array(|body| {
        let resource = (body.i8()?, body.string()?);
        Ok((resource, decode_configs(body)?))
    })?;
    let validate_only = body.bool()?;
    body.end()?;
    out.i32(0); // throttle time
    let mut named = Named::default();
    out.array(&wanted, |out, (resource, configs)| {
        let again = |code| (code, "the request names the resource twice".to_owned());
        let altered = named
            .partition(resource.1, i32::from(resource.0))
            .map_err(again)
            .and_then(|()| alter_one(broker, sender, *resource, configs, validate_only));
        if !validate_only {
            let code = altered.as_ref().err().map_or(Code::NONE, |(code, _)| *code);
            sender.note("alter settings", resource.1, code);
        }
        put_result(*resource, altered.err().as_ref(), out);
    });
    Ok(())
}

/// Names and values of settings.
pub(super) type Configs<'a> = Vec<(&'a str, Option<&'a str>)>;

pub(super) fn decode_configs<'a>(body: &mut Reader<'a>) -> Result<Configs<'a>, Malformed> {
    body.array(|body| Ok((body.string()?, body.nullable_string()?)))
}

/// Sets a topic's retention: as Kafka has it, what is not named is set back.
fn alter_one(
    broker: &Broker,
    sender: &Sender<'_>,
    (kind, name): Resource<'_>,
    configs: &Configs<'_>,
    validate_only: bool,
) -> Result<(), Refused> {
    match kind {
        TOPIC => {}
        BROKER => {
            let text = "the broker's settings are set when it is started";
            return Err((Code::INVALID_REQUEST, text.to_owned()));
        }
        _ => return Err(unknown(kind, name)),
    }
    let retention = retention(name, configs)?;
    guard::check_topic(broker, sender, name).map_err(|code| {
        let text = format!("topic `{name}` is needed by Bekk, and only its own programs change it");
        (code, text)
    })?;
    let store = broker.store()?;
    match validate_only {
        true => store.core().topic(name).map(drop)?,
        false => store.core().set_retention(name, retention)?,
    }
    Ok(())
}

/// Takes what a topic can have of Kafka's settings; -1 is without bound.
pub(super) fn retention(topic: &str, configs: &Configs<'_>) -> Result<Retention, Refused> {
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
    if topic == META_TOPIC && retention != Retention::default() {
        let text = format!("`{META_TOPIC}` has no retention");
        return Err((Code::POLICY_VIOLATION, text));
    }
    Ok(retention)
}
