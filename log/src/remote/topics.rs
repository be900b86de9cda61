//! Topics on the server: metadata and the administrative requests.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::TopicPartitionListElem;

use super::context::Context;
use super::link::Link;
use super::place::{self, to_kafka};
use super::reaction::Reaction;
use super::request::Request;
use super::topic_settings;
use super::topic_settings::{alter_retention, describe, retention_of, retention_texts};
use crate::{Error, Losses, Offset, Retention, Topic, TopicConfig, TopicSize};

/// Topics of a cluster's own.
const INTERNAL_PREFIX: &str = "__";
/// Most partitions in trouble that a message names
const TROUBLES_MAX: usize = 3;

/// Waits for an answer of librdkafka's background thread.
pub(super) fn block_on<T>(answer: impl Future<Output = KafkaResult<T>>) -> KafkaResult<T> {
    // Without timers or sockets there is nothing that could be refused.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_err(|_| KafkaError::Canceled)?.block_on(answer)
}

/// Makes a topic; one that exists keeps its partition count and, on Bekk's server, takes the retention.
pub(crate) fn create(link: &Link, name: &str, config: TopicConfig) -> Result<Topic, Error> {
    // Asked first: on a cluster one may be allowed to use a topic and not to make one.
    match partition_count(link, &link.asker, name) {
        Ok(count) => return existing(link, name, count, config.retention),
        Err(Error::UnknownTopic(_)) => {}
        Err(error) => return Err(error),
    }
    let admin = link.admin()?;
    let [age, size] = retention_texts(config.retention);
    let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
    // -1 is a cluster's own default replication.
    let replicas = if link.is_bekk { 1 } else { -1 };
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas))
        .set("retention.ms", &age)
        .set("retention.bytes", &size);
    if !link.is_bekk {
        // Whatever the cluster's default is: it may delete by key.
        topic = topic.set("cleanup.policy", "delete");
    }
    let request = Request::topic("create", name, "Create");
    link.attempt(request, |timeout| {
        let created = block_on(admin.create_topics([&topic], &options(timeout)))?;
        match created.into_iter().next() {
            // By another, or by an attempt whose answer was lost.
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => Ok(()),
            Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
        }
    })?;
    let count = await_topic(link, name)?;
    existing(link, name, count, config.retention)
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
        if retention_of(link, &admin, name)? != retention {
            alter_retention(link, &admin, name, retention)?;
        }
    }
    Ok(topic_of(name, partitions, retention))
}

/// The topics, by name; of a cluster only those that are Bekk's, so that others' cannot disturb.
pub(crate) fn list(link: &Link) -> Result<Vec<Topic>, Error> {
    let admin = link.admin()?;
    let found = if link.is_bekk || link.config.topics.is_empty() {
        all(link)?
    } else {
        let mut found = Vec::new();
        for name in &link.config.topics {
            match partition_count(link, &link.asker, name) {
                Ok(count) => found.push((name.clone(), count)),
                Err(Error::UnknownTopic(_)) => {}
                Err(error) => return Err(error),
            }
        }
        found
    };
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    let settings = match link.is_bekk {
        true => HashMap::new(),
        false => topic_settings::ask_all(link, &names)?,
    };
    let mut topics = Vec::new();
    for (name, count) in found {
        let retention = match link.is_bekk {
            true => retention_of(link, &admin, &name)?,
            false => settings
                .get(&name)
                .map_or_else(Retention::default, topic_settings::retention),
        };
        topics.push(topic_of(&name, count, retention));
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// All topics but the server's own, with their partition counts.
fn all(link: &Link) -> Result<Vec<(String, u32)>, Error> {
    let metadata = link.attempt(Request::cluster("list topics"), |timeout| {
        link.asker.fetch_metadata(None, timeout)
    })?;
    let topics = metadata.topics().iter();
    let own = topics.filter(|topic| !topic.name().starts_with(INTERNAL_PREFIX));
    let known = own.filter(|topic| topic.error().is_none());
    let counted = known.map(|topic| {
        let count = u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
        (topic.name().to_owned(), count)
    });
    Ok(counted.collect())
}

/// Removes what lies below an offset.
pub(crate) fn delete_before(
    link: &Link,
    topic: &str,
    partition: u32,
    offset: Offset,
) -> Result<(), Error> {
    let admin = link.admin()?;
    let request = Request::topic("delete records of", topic, "Delete");
    link.attempt(request, |timeout| {
        let places = place::list(topic, [(partition, to_kafka(offset))])?;
        let deleted = block_on(admin.delete_records(&places, &options(timeout)))?;
        deleted
            .elements()
            .iter()
            .try_for_each(TopicPartitionListElem::error)
    })
}

/// What a topic takes on the server's disk.
pub(crate) fn size(link: &Link, topic: &str) -> Result<TopicSize, Error> {
    let [segments, bytes] = figures(link, topic, ["bekk.segments", "bekk.bytes"])?;
    Ok(TopicSize {
        segments: u32::try_from(segments).unwrap_or(u32::MAX),
        bytes,
    })
}

pub(crate) fn gap_count(link: &Link, topic: &str) -> Result<u64, Error> {
    let [gaps] = figures(link, topic, ["bekk.gaps"])?;
    Ok(gaps)
}

/// How many offsets of a topic have no record any more.
pub(crate) fn losses(link: &Link, topic: &str) -> Result<Losses, Error> {
    let names = [
        "bekk.lost",
        "bekk.lost.open",
        "bekk.lost.unapplied",
        "bekk.lost.untouched",
    ];
    let [all, open, unapplied, untouched] = figures(link, topic, names)?;
    Ok(Losses {
        all,
        open,
        unapplied,
        untouched,
    })
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
///
/// # Errors
/// [`Error::UnknownTopic`] if the broker that is asked does not know it.
pub(super) fn partition_count(
    link: &Link,
    client: &BaseConsumer<Context>,
    topic: &str,
) -> Result<u32, Error> {
    let request = Request::topic("find the partitions of", topic, "Describe");
    let count = link.attempt(request, |timeout| {
        let metadata = client.fetch_metadata(Some(topic), timeout)?;
        let topics = metadata.topics();
        let Some(found) = topics.iter().find(|found| found.name() == topic) else {
            return Ok(0);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(found.partitions().len()),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Ok(0)
            }
            Some(code) => Err(KafkaError::MetadataFetch(code)),
        }
    })?;
    match u32::try_from(count) {
        Ok(0) | Err(_) => Err(Error::UnknownTopic(topic.to_owned())),
        Ok(count) => {
            link.see(topic);
            Ok(count)
        }
    }
}

/// The leaders of a topic's partitions, by partition; -1 if absent.
pub(super) fn leaders(link: &Link, topic: &str) -> Result<Vec<i32>, Error> {
    let request = Request::topic("find the leaders of", topic, "Describe");
    link.attempt(request, |timeout| {
        let metadata = link.asker.fetch_metadata(Some(topic), timeout)?;
        let topics = metadata.topics().iter();
        let found = topics.into_iter().find(|found| found.name() == topic);
        let mut leaders: Vec<(i32, i32)> = found
            .into_iter()
            .flat_map(|found| found.partitions())
            .map(|partition| (partition.id(), partition.leader()))
            .collect();
        leaders.sort_unstable();
        Ok(leaders.into_iter().map(|(_, leader)| leader).collect())
    })
}

/// The error of a topic that the client may not see.
pub(super) fn refusal(metadata: &Metadata, topic: &str) -> Option<RDKafkaErrorCode> {
    let mut topics = metadata.topics().iter();
    let found = topics.find(|found| found.name() == topic)?;
    let code = found.error().map(RDKafkaErrorCode::from)?;
    (Reaction::of_code(code) == Reaction::Right).then_some(code)
}

/// Waits until a new topic is known to the server that is asked: in a cluster it may be another.
fn await_topic(link: &Link, name: &str) -> Result<u32, Error> {
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        match partition_count(link, &link.asker, name) {
            Err(Error::UnknownTopic(_)) => std::thread::sleep(Duration::from_millis(100)),
            known => return known,
        }
    }
    let request = Request::topic("find", name, "Describe");
    Err(link.away(
        request,
        "the topic was just created, and the cluster does not list it yet",
    ))
}

/// What is wrong with the partitions of a topic at this moment, in words.
pub(super) fn trouble(metadata: &Metadata, topic: &str) -> Option<String> {
    let found = metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic)?;
    let code = found.error().map(RDKafkaErrorCode::from);
    if code == Some(RDKafkaErrorCode::UnknownTopicOrPartition) {
        return Some(format!(
            "the cluster has no topic `{topic}`; if it was deleted, ingest creates it again"
        ));
    }
    let broker = |id: i32| {
        let brokers = metadata.brokers().iter();
        let found = brokers.into_iter().find(|broker| broker.id() == id);
        found.map(|broker| format!("{}:{}", broker.host(), broker.port()))
    };
    let mut all = Vec::new();
    let mut is_short = false;
    for partition in found.partitions() {
        let (id, replicas) = (partition.id(), partition.replicas());
        match broker(partition.leader()) {
            None => all.push(format!(
                "partition {id} has no leader (its replicas are on brokers {replicas:?})"
            )),
            Some(leader) if partition.isr().len() < replicas.len() => {
                is_short = true;
                all.push(format!(
                    "partition {id} has {} of {} replicas in sync (leader {leader})",
                    partition.isr().len(),
                    replicas.len(),
                ));
            }
            Some(_) => {}
        }
    }
    let rest = all.len().saturating_sub(TROUBLES_MAX);
    all.truncate(TROUBLES_MAX);
    if rest > 0 {
        all.push(format!("and {rest} more"));
    }
    if is_short {
        all.push("and an append needs min.insync.replicas of them".to_owned());
    }
    (!all.is_empty()).then(|| format!("of topic `{topic}`, {}", all.join(", ")))
}

pub(super) fn options(timeout: Duration) -> AdminOptions {
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
