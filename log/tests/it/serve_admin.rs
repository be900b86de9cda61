//! Topics, settings and groups over the Kafka protocol.

use std::time::Duration;

use bekk_log::Retention;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ApiKey, CreateTopicsRequest, CreateTopicsResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::served::{Connection, Served};
use crate::support::{by_age, topic};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// The settings of a resource, or the code.
fn describe(
    connection: &mut Connection,
    version: i16,
    kind: i8,
    name: &'static str,
    keys: Option<&[&'static str]>,
) -> Result<Vec<(String, String)>, i16> {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer: DescribeConfigsResponse =
        connection.request(ApiKey::DescribeConfigs, version, &request);
    let [result] = answer.results.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!(
        (result.resource_type, result.resource_name.as_str()),
        (kind, name)
    );
    if result.error_code != 0 {
        assert!(result.error_message.is_some() && result.configs.is_empty());
        return Err(result.error_code);
    }
    let configs = result.configs.iter();
    let pairs = configs.map(|config| {
        assert!(!config.is_sensitive);
        let value = config.value.clone().unwrap();
        (config.name.to_string(), value.to_string())
    });
    Ok(pairs.collect())
}

fn alter(
    connection: &mut Connection,
    version: i16,
    (kind, name): (i8, &'static str),
    configs: &[(&'static str, &'static str)],
    validate_only: bool,
) -> i16 {
    let config = |(name, value): &(&'static str, &'static str)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.iter().map(config).collect());
    let request = AlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    let answer: AlterConfigsResponse = connection.request(ApiKey::AlterConfigs, version, &request);
    let result = &answer.responses[0];
    assert_eq!(
        (result.resource_type, result.resource_name.as_str()),
        (kind, name)
    );
    assert_eq!(result.error_message.is_some(), result.error_code != 0);
    result.error_code
}

fn retention_of(served: &Served, name: &str) -> Retention {
    let topics = served.client.topics().unwrap();
    let topic = topics.into_iter().find(|topic| topic.name == name);
    topic.unwrap().config.retention
}

/// Without numbers of its own a client asks for the broker's, also in versions that did not have that yet.
#[test]
fn topics_are_made_with_default_numbers() {
    let (_served, mut connection) = Served::connected();
    let mut create = |version, name: &'static str, partitions, factor| {
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(factor);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let answer: CreateTopicsResponse =
            connection.request(ApiKey::CreateTopics, version, &request);
        answer.topics[0].error_code
    };
    for (version, name) in [(2, "two"), (3, "three"), (4, "four")] {
        assert_eq!(create(version, name, -1, -1), 0);
        assert_eq!(create(version, name, -1, -1), 36, "it exists");
    }
    assert_eq!(create(3, "many", 1, 2), 38, "there is one broker");
    assert_eq!(create(3, "none", 0, 1), 37, "a topic has partitions");
}

#[test]
fn settings_are_told() {
    let (served, mut connection) = Served::connected();
    for version in 1..=2 {
        let told = describe(&mut connection, version, TOPIC, "t", None).unwrap();
        let size = served.client.topic_size("t").unwrap();
        let expected = [
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("cleanup.policy", "delete"),
            ("compression.type", "producer"),
            ("max.message.bytes", "16777216"),
            ("bekk.segments", &size.segments.to_string()),
            ("bekk.bytes", &size.bytes.to_string()),
            ("bekk.gaps", "0"),
            ("bekk.lost", "0"),
            ("bekk.lost.open", "0"),
            ("bekk.lost.unapplied", "0"),
            ("bekk.lost.untouched", "0"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(told, expected);
        let keys = ["retention.ms", "no.such"];
        let told = describe(&mut connection, version, TOPIC, "t", Some(&keys)).unwrap();
        assert_eq!(told, expected[..1]);
        let told = describe(&mut connection, version, BROKER, "0", None).unwrap();
        let durability = ("bekk.durability".to_owned(), "sync".to_owned());
        assert!(told.contains(&durability));
    }
    // kafka-protocol does not know version 0: one topic, one name.
    let mut body = vec![
        0, 32, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 0, 0, 0, 1, 2, 0, 1, b't',
    ];
    body.extend_from_slice(&[0, 0, 0, 1, 0, 14]);
    body.extend_from_slice(b"cleanup.policy");
    connection.send(&body);
    let answer = connection.receive();
    let end = b"\0\x0ecleanup.policy\0\x06delete\x01\x01\0";
    assert!(answer.ends_with(end), "{answer:?}");
    assert_eq!(describe(&mut connection, 2, TOPIC, "u", None), Err(3));
    assert_eq!(describe(&mut connection, 2, BROKER, "1", None), Err(42));
    assert_eq!(describe(&mut connection, 2, 99, "t", None), Err(42));
}

#[test]
fn retention_can_be_changed() {
    let served = Served::new(|_| ());
    topic(&served.client, "bekk.meta", 1);
    let mut connection = served.connect();
    let day = [("retention.ms", "86400000"), ("retention.bytes", "-1")];
    assert_eq!(alter(&mut connection, 1, (TOPIC, "t"), &day, true), 0);
    assert_eq!(retention_of(&served, "t"), Retention::default());
    assert_eq!(alter(&mut connection, 1, (TOPIC, "t"), &day, false), 0);
    let of_a_day = by_age(Duration::from_secs(86_400));
    assert_eq!(retention_of(&served, "t"), of_a_day);
    let served = served.restart();
    let mut connection = served.connect();
    assert_eq!(retention_of(&served, "t"), of_a_day);
    let told = describe(&mut connection, 1, TOPIC, "t", Some(&["retention.ms"]));
    assert_eq!(told.unwrap()[0].1, "86400000");

    let mut check = |resource, name, value, code| {
        for validate_only in [true, false] {
            let configs = [("retention.bytes", "1000"), (name, value)];
            let altered = alter(&mut connection, 0, resource, &configs, validate_only);
            assert_eq!(altered, code, "{name} = {value} of {resource:?}");
        }
    };
    check((TOPIC, "t"), "cleanup.policy", "compact", 40);
    check((TOPIC, "t"), "retention.ms", "-2", 40);
    check((TOPIC, "t"), "retention.ms", "a day", 40);
    check((TOPIC, "t"), "max.message.bytes", "1", 40);
    check((TOPIC, "t"), "bekk.bytes", "1", 40);
    check((TOPIC, "bekk.meta"), "retention.ms", "1", 44);
    check((TOPIC, "u"), "retention.ms", "1", 3);
    check((BROKER, "0"), "retention.ms", "1", 42);
    assert_eq!(retention_of(&served, "t"), of_a_day);
    // What is not named is set back.
    assert_eq!(alter(&mut connection, 0, (TOPIC, "t"), &[], false), 0);
    // The topic that records refer to is Bekk's own.
    let meta = (TOPIC, "bekk.meta");
    assert_eq!(alter(&mut connection, 0, meta, &[], false), 29);
    let mut tool = served.connect_as("bekk-tool");
    assert_eq!(alter(&mut tool, 0, meta, &[], false), 0);
    assert_eq!(retention_of(&served, "t"), Retention::default());
}

fn groups(connection: &mut Connection, version: i16) -> Vec<String> {
    let request = ListGroupsRequest::default();
    let answer: ListGroupsResponse = connection.request(ApiKey::ListGroups, version, &request);
    assert_eq!(answer.error_code, 0);
    let groups = answer.groups.iter();
    groups.map(|group| group.group_id.to_string()).collect()
}

fn state_of(connection: &mut Connection, version: i16, group: &'static str) -> String {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    let answer: DescribeGroupsResponse =
        connection.request(ApiKey::DescribeGroups, version, &request);
    let group = &answer.groups[0];
    assert_eq!((group.error_code, group.members.len()), (0, 0));
    group.group_state.to_string()
}

/// The code of the whole, and those of the partitions.
fn delete_offsets(
    connection: &mut Connection,
    group: &'static str,
    partitions: &[i32],
) -> (i16, Vec<i16>) {
    let partition =
        |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(TopicName(text("t")))
        .with_partitions(partitions.iter().map(partition).collect());
    let request = OffsetDeleteRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_topics(vec![topic]);
    let answer: OffsetDeleteResponse = connection.request(ApiKey::OffsetDelete, 0, &request);
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let codes = partitions.map(|partition| partition.error_code);
    (answer.error_code, codes.collect())
}

#[test]
fn groups_are_what_has_been_committed() {
    let (served, mut connection) = Served::connected();
    assert_eq!(groups(&mut connection, 0), [""; 0]);
    let mut sink = served.connect_as("bekk-sink/main");
    assert_eq!(sink.commit("main", "t", &[(0, 1)]), [0]);
    assert_eq!(sink.commit("bekk-session/a", "bekk.meta", &[(0, 1)]), [0]);
    assert_eq!(sink.commit("bekk-hold/a", "t", &[(0, 1)]), [0]);
    assert_eq!(connection.commit("g", "t", &[(0, 1), (1, 2)]), [0, 0]);
    for version in 0..=2 {
        assert_eq!(groups(&mut connection, version), ["g", "main"]);
    }
    for version in 0..=4 {
        assert_eq!(state_of(&mut connection, version, "g"), "Empty");
        assert_eq!(state_of(&mut connection, version, "other"), "Dead");
    }
    assert_eq!(delete_offsets(&mut connection, "other", &[0]), (69, vec![]));
    assert_eq!(
        delete_offsets(&mut connection, "bekk-hold/a", &[0]),
        (24, vec![])
    );
    assert_eq!(delete_offsets(&mut connection, "main", &[0]), (30, vec![]));
    assert_eq!(
        delete_offsets(&mut connection, "g", &[0, -1]),
        (0, vec![0, 3])
    );
    assert_eq!(connection.committed("g", "t", 0), -1);
    assert_eq!(connection.committed("g", "t", 1), 2);
    let mut offsets = served.connect_as("bekk-offsets");
    assert_eq!(delete_offsets(&mut offsets, "main", &[0]), (0, vec![0]));
    assert_eq!(groups(&mut connection, 2), ["g"]);
}
