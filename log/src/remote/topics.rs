//! Topics on the server: metadata and the administrative requests.

use std::future::Future;
use std::time::Duration;

use rdkafka::admin::{
    AdminOptions, AlterConfig, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::settings::Context;
use super::{Admin, Link};
use crate::{Error, Retention, Topic, TopicConfig, TopicSize};

/// Topics of a cluster's own.
const INTERNAL_PREFIX: &str = "__";

/// Waits for an answer of librdkafka's background thread.
pub(super) fn block_on<T>(answer: impl Future<Output = KafkaResult<T>>) -> KafkaResult<T> {
    // Without timers or sockets there is nothing that could be refused.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_err(|_| KafkaError::Canceled)?.block_on(answer)
}

/// Makes a topic; one that exists keeps its partition count and, on Bekk's server, takes the retention.
pub(super) fn create(
    link: &Link,
    client: &BaseConsumer<Context>,
    name: &str,
    config: TopicConfig,
) -> Result<Topic, Error> {
    // Asked first: on a cluster one may be allowed to use a topic and not to make one.
    match partition_count(link, client, name) {
        Ok(count) => return existing(link, name, count, config.retention),
        Err(Error::UnknownTopic(_)) => {}
        Err(error) => return Err(error),
    }
    let admin = link.admin()?;
    let [age, size] = retention_texts(config.retention);
    let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
    // Of a cluster, its own default replication.
    let replicas = if link.is_bekk { 1 } else { -1 };
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas))
        .set("retention.ms", &age)
        .set("retention.bytes", &size);
    let created = link.attempt("create a topic at", |timeout| {
        block_on(admin.create_topics([&topic], &options(timeout)))
    })?;
    match created.into_iter().next() {
        // By another, or by an attempt whose answer was lost.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => {
            let count = await_topic(link, client, name)?;
            existing(link, name, count, config.retention)
        }
        Some(Err((_, code))) => Err(link.refused("create a topic at", format!("{name}: {code}"))),
    }
}

/// A topic that is there.
fn existing(
    link: &Link,
    name: &str,
    partitions: u32,
    retention: Retention,
) -> Result<Topic, Error> {
    if link.is_bekk {
        let admin = link.admin()?;
        if self::retention(link, &admin, name)? != retention {
            alter_retention(link, &admin, name, retention)?;
        }
    }
    Ok(topic_of(name, partitions, retention))
}

/// The topics, by name.
pub(super) fn list(link: &Link, client: &BaseConsumer<Context>) -> Result<Vec<Topic>, Error> {
    let admin = link.admin()?;
    let metadata = link.attempt("list the topics of", |timeout| {
        client.fetch_metadata(None, timeout)
    })?;
    let mut topics = Vec::new();
    for topic in metadata.topics() {
        if topic.error().is_none() && !topic.name().starts_with(INTERNAL_PREFIX) {
            let count = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
            let retention = retention(link, &admin, topic.name())?;
            topics.push(topic_of(topic.name(), count, retention));
        }
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// What a topic takes on the server's disk.
pub(super) fn size(link: &Link, topic: &str) -> Result<TopicSize, Error> {
    let [segments, bytes] = figures(link, topic, ["bekk.segments", "bekk.bytes"])?;
    Ok(TopicSize {
        segments: u32::try_from(segments).unwrap_or(u32::MAX),
        bytes,
    })
}

/// How many gaps a topic has.
pub(super) fn gap_count(link: &Link, topic: &str) -> Result<u64, Error> {
    let [gaps] = figures(link, topic, ["bekk.gaps"])?;
    Ok(gaps)
}

/// What Bekk's server tells of a topic among its settings.
fn figures<const N: usize>(link: &Link, topic: &str, names: [&str; N]) -> Result<[u64; N], Error> {
    if !link.is_bekk {
        return Err(Error::NotHere {
            what: "what a topic takes on disk",
            address: link.config.hosts.clone(),
        });
    }
    let config = describe(link, &*link.admin()?, topic)?;
    let number = |name: &str| config.get(name)?.value.as_ref()?.parse().ok();
    Ok(names.map(|name| number(name).unwrap_or(0)))
}

/// How many partitions a topic has.
pub(super) fn partition_count(
    link: &Link,
    client: &BaseConsumer<Context>,
    topic: &str,
) -> Result<u32, Error> {
    let metadata = link.attempt("find the partitions of a topic of", |timeout| {
        client.fetch_metadata(Some(topic), timeout)
    })?;
    let found = metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic && found.error().is_none());
    let count = found.map_or(0, |topic| topic.partitions().len());
    match u32::try_from(count) {
        Ok(0) | Err(_) => Err(Error::UnknownTopic(topic.to_owned())),
        Ok(count) => Ok(count),
    }
}

/// Waits until a new topic is known to the server that is asked: in a cluster it may be another.
fn await_topic(link: &Link, client: &BaseConsumer<Context>, name: &str) -> Result<u32, Error> {
    const ATTEMPTS: u32 = 50;
    for _ in 0..ATTEMPTS {
        match partition_count(link, client, name) {
            Err(Error::UnknownTopic(_)) => std::thread::sleep(Duration::from_millis(100)),
            known => return known,
        }
    }
    Err(Error::UnknownTopic(name.to_owned()))
}

fn options(timeout: Duration) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(timeout))
        .operation_timeout(Some(timeout))
}

fn topic_of(name: &str, partitions: u32, retention: Retention) -> Topic {
    Topic {
        name: name.to_owned(),
        config: TopicConfig {
            partitions,
            retention,
        },
    }
}

/// `retention.ms` and `retention.bytes`; -1 is for ever. Kafka's size is a partition's, Bekk's a topic's.
fn retention_texts(retention: Retention) -> [String; 2] {
    let age = retention.age.map(|age| age.as_millis().to_string());
    let size = retention.size.map(|size| size.to_string());
    [age, size].map(|text| text.unwrap_or_else(|| "-1".to_owned()))
}

fn retention(link: &Link, admin: &Admin, topic: &str) -> Result<Retention, Error> {
    let config = describe(link, admin, topic)?;
    let number = |name: &str| config.get(name)?.value.as_ref()?.parse::<u64>().ok();
    Ok(Retention {
        age: number("retention.ms").map(Duration::from_millis),
        size: number("retention.bytes"),
    })
}

fn describe(link: &Link, admin: &Admin, topic: &str) -> Result<ConfigResource, Error> {
    let asked = ResourceSpecifier::Topic(topic);
    let described = link.attempt("read a topic's settings from", |timeout| {
        block_on(admin.describe_configs([&asked], &options(timeout)))
    })?;
    match described.into_iter().next() {
        Some(Ok(config)) => Ok(config),
        Some(Err(code)) => Err(link.refused("read a topic's settings from", code)),
        None => Err(Error::UnknownTopic(topic.to_owned())),
    }
}

fn alter_retention(
    link: &Link,
    admin: &Admin,
    topic: &str,
    retention: Retention,
) -> Result<(), Error> {
    let [age, size] = retention_texts(retention);
    let altered = AlterConfig::new(ResourceSpecifier::Topic(topic))
        .set("retention.ms", &age)
        .set("retention.bytes", &size);
    let altered = link.attempt("change a topic's retention at", |timeout| {
        block_on(admin.alter_configs([&altered], &options(timeout)))
    })?;
    match altered.into_iter().next() {
        Some(Err((_, code))) => Err(link.refused("change a topic's retention at", code)),
        _ => Ok(()),
    }
}
