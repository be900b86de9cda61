//! Topics' settings on the server, and what they mean for records.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AlterConfig, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::metadata::Metadata;

use super::link::{self, Admin, Link};
use super::request::Request;
use super::settings;
use super::topics::{block_on, options, partition_count};
use crate::config::META_TOPIC;
use crate::{Error, Retention};

/// Records that a cluster deletes sooner than this cannot be relied on to reach a sink that starts again.
const RETENTION_MIN: Duration = Duration::from_secs(60);

/// How long a cluster is asked for settings.
const ASK_FOR: Duration = Duration::from_secs(3);

/// Refuses settings with which records would be refused or lost, and warns once of those that are less safe than they
/// might be. A cluster that does not let us ask is not checked, nor is Bekk's server.
pub(crate) fn check(link: &Link, topic: &str, wished: Retention) -> Result<(), Error> {
    if link.is_bekk {
        return Ok(());
    }
    let Some(config) = ask(link, topic)? else {
        return Ok(());
    };
    let hosts = &link.config.hosts;
    let bad = |name: &str, value: &str, better: &str, why: &str| Error::TopicSetting {
        topic: topic.to_owned(),
        address: hosts.clone(),
        setting: format!("{name}={value}"),
        why: format!(
            "{why}; to change it: {}",
            settings::alter_topic(hosts, topic, &format!("{name}={better}"))
        ),
    };
    if let Some(policy) = setting(&config, "cleanup.policy")
        && policy.contains("compact")
    {
        let why = "it takes no record without a key, and rejected lines have none; and of the records of a key all but \
                   the last may be gone before a sink reads them";
        return Err(bad("cleanup.policy", policy, "delete", why));
    }
    let age = number(&config, "retention.ms");
    if let Some(age) = age.filter(|age| Duration::from_millis(*age) < RETENTION_MIN) {
        let wished = wished.age.unwrap_or(Duration::from_secs(7 * 86_400));
        let why = "records are deleted before a sink that starts again can read them";
        let better = wished.as_millis().to_string();
        return Err(bad("retention.ms", &age.to_string(), &better, why));
    }
    let metadata = link
        .asker
        .fetch_metadata(Some(topic), link::TROUBLE_TIMEOUT);
    let Ok(metadata) = metadata else {
        return Ok(());
    };
    if let Some(least) = replicas(&metadata)
        && let Some(in_sync) = number(&config, "min.insync.replicas")
        && in_sync > least
    {
        let why = format!(
            "a partition of it has {least} {}, so every append is refused",
            if least == 1 { "replica" } else { "replicas" }
        );
        let better = least.saturating_sub(1).max(1).to_string();
        return Err(bad(
            "min.insync.replicas",
            &in_sync.to_string(),
            &better,
            &why,
        ));
    }
    for warning in warnings((link, &metadata), topic, wished, &config) {
        link.config.waits.warn_once(&warning);
    }
    Ok(())
}

/// The number of replicas of the partition that has the fewest.
fn replicas(metadata: &Metadata) -> Option<u64> {
    let topics = metadata.topics().iter();
    let partitions = topics.flat_map(|topic| topic.partitions());
    let least = partitions
        .map(|partition| partition.replicas().len())
        .min()?;
    u64::try_from(least).ok()
}

/// What is less safe with a topic than it might be.
fn warnings(
    (link, metadata): (&Link, &Metadata),
    topic: &str,
    wished: Retention,
    config: &ConfigResource,
) -> Vec<String> {
    let hosts = &link.config.hosts;
    let mut warnings = Vec::new();
    let alter = |setting: &str| settings::alter_topic(hosts, topic, setting);
    let age = number(config, "retention.ms");
    let wished_ms = wished.age.map(|age| age.as_millis());
    if let Some(age) = age.filter(|age| wished_ms.is_none_or(|wished| u128::from(*age) < wished)) {
        let wished = wished_ms.map_or("-1".to_owned(), |wished| wished.to_string());
        let harm = match topic {
            META_TOPIC => "Bekk needs every record of this topic, however old",
            _ => {
                "that is shorter than in bekk.toml, and a sink that is stopped for longer loses records"
            }
        };
        let remedy = alter(&format!("retention.ms={wished}"));
        warnings.push(format!(
            "topic `{topic}` has retention.ms={age}: {harm}; to change it: {remedy}"
        ));
    }
    let topics = metadata.topics().iter();
    let partitions = topics.flat_map(|topic| topic.partitions()).count();
    warnings.extend(small(config, wished, partitions).map(|bytes| {
        format!(
            "topic `{topic}` has retention.bytes={bytes} for each of its {partitions} partitions: that is less than in \
             bekk.toml, and a sink that is further behind loses records; to change it: {}",
            alter("retention.bytes=-1")
        )
    }));
    let in_sync = number(config, "min.insync.replicas");
    match (replicas(metadata), in_sync) {
        (Some(1), _) if metadata.brokers().len() > 1 => warnings.push(format!(
            "topic `{topic}` has one replica: if its broker's disk is lost, so are the records; \
             kafka-reassign-partitions.sh gives it more"
        )),
        (Some(replicas), Some(1)) if replicas > 1 => warnings.push(format!(
            "topic `{topic}` has min.insync.replicas=1: an append is acknowledged when one of {replicas} replicas \
             has it, and lost with that one; to change it: {}",
            alter("min.insync.replicas=2")
        )),
        _ => {}
    }
    warnings
}

/// The topic's `retention.bytes` if all its partitions together keep less than the wished size.
fn small(config: &ConfigResource, wished: Retention, partitions: usize) -> Option<u64> {
    let partitions = u64::try_from(partitions).unwrap_or(u64::MAX);
    number(config, "retention.bytes").filter(|bytes| {
        let all = bytes.saturating_mul(partitions);
        wished.size.is_none_or(|wished| all < wished)
    })
}

/// The least `max.message.bytes` of Bekk's topics that exist on a cluster, as far as it may be asked.
pub(super) fn message_bytes_max(link: &Link) -> Result<Option<u64>, Error> {
    if link.is_bekk {
        return Ok(None);
    }
    let mut known = Vec::new();
    for topic in &link.config.topics {
        match partition_count(link, &link.asker, topic) {
            Ok(_) => known.push(topic.as_str()),
            Err(Error::UnknownTopic(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let all = ask_all(link, &known)?;
    let limits = all.values();
    Ok(limits
        .filter_map(|config| number(config, "max.message.bytes"))
        .min())
}

/// A topic's settings on a cluster, if it tells them.
fn ask(link: &Link, topic: &str) -> Result<Option<ConfigResource>, Error> {
    Ok(ask_all(link, &[topic])?.remove(topic))
}

/// Topics' settings on a cluster, of those that it tells: to read them is a right of its own, which nothing else needs,
/// and not every server of the protocol knows the request.
pub(super) fn ask_all(
    link: &Link,
    topics: &[&str],
) -> Result<HashMap<String, ConfigResource>, Error> {
    if topics.is_empty() {
        return Ok(HashMap::new());
    }
    let admin = link.admin()?;
    let begun = Instant::now();
    let mut timeout = link::ATTEMPT_TIMEOUT;
    loop {
        link.check()?;
        match describe_all(link, &admin, topics, timeout) {
            Ok(all) => return Ok(all),
            Err(error) if !link.is_away(&error) || begun.elapsed() >= ASK_FOR => {
                tracing::debug!(?topics, %error, "the topics' settings are not known");
                return Ok(HashMap::new());
            }
            Err(_) => {
                link.check_direction(begun.elapsed())?;
                std::thread::sleep(link::ATTEMPT_PAUSE);
            }
        }
        timeout *= 2;
    }
}

/// Asks for the settings of several topics once. A refusal of one topic does not hide the others.
fn describe_all(
    link: &Link,
    admin: &Admin,
    topics: &[&str],
    timeout: Duration,
) -> KafkaResult<HashMap<String, ConfigResource>> {
    let asked: Vec<_> = topics
        .iter()
        .map(|topic| ResourceSpecifier::Topic(topic))
        .collect();
    let mut all = HashMap::new();
    for described in block_on(admin.describe_configs(&asked, &options(timeout)))? {
        match described.map_err(KafkaError::AdminOp) {
            // A client without the right to read the settings gets an empty list, and no error.
            Ok(config) if config.entries.is_empty() => {}
            Ok(config) => {
                if let OwnedResourceSpecifier::Topic(topic) = &config.specifier {
                    all.insert(topic.clone(), config);
                }
            }
            Err(error) if link.is_away(&error) => return Err(error),
            Err(error) => tracing::debug!(%error, "the settings of a topic are not known"),
        }
    }
    Ok(all)
}

fn setting<'a>(config: &'a ConfigResource, name: &str) -> Option<&'a str> {
    config.get(name)?.value.as_deref()
}

/// The value of a setting that is a number; none of -1, which is for ever.
fn number(config: &ConfigResource, name: &str) -> Option<u64> {
    setting(config, name)?.parse().ok()
}

/// `retention.ms` and `retention.bytes`; -1 is for ever. Kafka's size is a partition's, Bekk's a topic's.
pub(super) fn retention_texts(retention: Retention) -> [String; 2] {
    let age = retention.age.map(|age| age.as_millis().to_string());
    let size = retention.size.map(|size| size.to_string());
    [age, size].map(|text| text.unwrap_or_else(|| "-1".to_owned()))
}

pub(super) fn retention_of(link: &Link, admin: &Admin, topic: &str) -> Result<Retention, Error> {
    Ok(retention(&describe(link, admin, topic)?))
}

/// How long the settings have records kept.
pub(super) fn retention(config: &ConfigResource) -> Retention {
    Retention {
        age: number(config, "retention.ms").map(Duration::from_millis),
        size: number(config, "retention.bytes"),
    }
}

pub(super) fn describe(link: &Link, admin: &Admin, topic: &str) -> Result<ConfigResource, Error> {
    let request = Request::topic("read the settings of", topic, "DescribeConfigs");
    let described = link.attempt(request, |timeout| describe_once(admin, topic, timeout))?;
    described.ok_or_else(|| Error::UnknownTopic(topic.to_owned()))
}

fn describe_once(
    admin: &Admin,
    topic: &str,
    timeout: Duration,
) -> KafkaResult<Option<ConfigResource>> {
    let asked = ResourceSpecifier::Topic(topic);
    let described = block_on(admin.describe_configs([&asked], &options(timeout)))?;
    let described = described.into_iter().next().transpose();
    // A client without the right to read the settings gets an empty list, and no error.
    let described = described.map(|config| config.filter(|config| !config.entries.is_empty()));
    described.map_err(KafkaError::AdminOp)
}

pub(super) fn alter_retention(
    link: &Link,
    admin: &Admin,
    topic: &str,
    retention: Retention,
) -> Result<(), Error> {
    let [age, size] = retention_texts(retention);
    let altered = AlterConfig::new(ResourceSpecifier::Topic(topic))
        .set("retention.ms", &age)
        .set("retention.bytes", &size);
    let request = Request::topic("change the retention of", topic, "AlterConfigs");
    link.attempt(request, |timeout| {
        let altered = block_on(admin.alter_configs([&altered], &options(timeout)))?;
        match altered.into_iter().next() {
            Some(Err((_, code))) => Err(KafkaError::AdminOp(code)),
            _ => Ok(()),
        }
    })
}
