//! A Kafka cluster that nobody here wrote: librdkafka's own mock of one. It fences no producer.

use std::time::{Duration, Instant};

use bekk_log::{Client, Error, Offset, RecordBuffer, RemoteConfig, TopicConfig};
use bekk_testing::{MINUTE, assert_matches, assert_says, wait_until};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::append_in;

const TOPIC: &str = "things";
const PARTITIONS: i32 = 3;

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

fn connect(cluster: &MockCluster<'_, DefaultProducerContext>) -> Client {
    let config = RemoteConfig {
        patience: Duration::from_secs(3),
        ..RemoteConfig::new(cluster.bootstrap_servers())
    };
    Client::connect(config, MINUTE).unwrap()
}

fn buffer(numbers: std::ops::Range<u64>) -> RecordBuffer {
    let mut buffer = RecordBuffer::new();
    for number in numbers {
        let text = number.to_string();
        buffer.push(1_000, Some(text.as_bytes()), text.as_bytes());
    }
    buffer
}

/// The numbers that a partition holds, as a reader of committed records sees them.
fn numbers(client: &Client, partition: u32) -> Vec<u64> {
    let ends = client.partition_ends(TOPIC).unwrap()[partition as usize];
    let mut next = ends.start;
    let mut all = Vec::new();
    while next < ends.end {
        let records = client.read(TOPIC, partition, next, 1 << 20).unwrap();
        for record in records.iter() {
            assert!(record.offset >= next, "offsets only grow");
            all.push(std::str::from_utf8(record.value).unwrap().parse().unwrap());
        }
        assert!(records.next_offset() > next, "a read moves on");
        next = records.next_offset();
    }
    all
}

#[test]
fn what_is_appended_is_read_though_the_cluster_stumbles() {
    let cluster = cluster();
    let client = connect(&cluster);
    assert!(!client.is_owner());
    assert_eq!(client.log_id(), connect(&cluster).log_id());
    let topic = client.create_topic(TOPIC, TopicConfig::new(8)).unwrap();
    assert_eq!(topic.config.partitions, PARTITIONS.cast_unsigned());
    let session = client.begin_session("i").unwrap();
    let stumbles = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    for round in 0..5 {
        cluster.request_errors(RDKafkaApiKey::Produce, &stumbles);
        let first = round * 1_000;
        let (one, two) = (
            buffer(first..first + 500),
            buffer(first + 500..first + 1_000),
        );
        client
            .append(Some(&session), TOPIC, &[(0, &one), (2, &two)])
            .unwrap();
    }
    let expected =
        |from: u64| (0..5).flat_map(move |round| round * 1_000 + from..round * 1_000 + from + 500);
    assert_eq!(numbers(&client, 0), expected(0).collect::<Vec<_>>());
    assert!(numbers(&client, 1).is_empty());
    assert_eq!(numbers(&client, 2), expected(500).collect::<Vec<_>>());
}

/// A reader that was stopped fetches nothing, and continues with the next read.
#[test]
fn a_read_after_a_stop_finds_what_has_come_since() {
    let cluster = cluster();
    let client = connect(&cluster);
    let session = client.begin_session("i").unwrap();
    let append = |numbers| {
        append_in(&client, &session, (TOPIC, 0), &buffer(numbers)).unwrap();
    };
    for round in 0..3 {
        append(round * 100..(round + 1) * 100);
        let expected: Vec<u64> = (0..(round + 1) * 100).collect();
        assert_eq!(numbers(&client, 0), expected);
        client.stop_reading().unwrap();
    }
}

/// The accident: the cluster goes away in the middle of it. Calls fail within their patience, and say why; a new
/// client finds everything that was acknowledged.
#[test]
fn a_cluster_that_is_away_is_given_up_in_time() {
    let cluster = cluster();
    let client = connect(&cluster);
    let session = client.begin_session("i").unwrap();
    append_in(&client, &session, (TOPIC, 0), &buffer(0..100)).unwrap();
    cluster.broker_down(1).unwrap();
    let begun = Instant::now();
    let away = append_in(&client, &session, (TOPIC, 0), &buffer(100..200)).unwrap_err();
    assert_matches!(away, Error::Away { .. });
    let away = client.partition_ends(TOPIC).unwrap_err();
    assert_matches!(away, Error::Away { .. });
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    cluster.broker_up(1).unwrap();
    drop(client);
    let client = connect(&cluster);
    let session = client.begin_session("i").unwrap();
    let seen = numbers(&client, 0);
    assert_eq!(seen[..100], (0..100).collect::<Vec<_>>());
    append_in(&client, &session, (TOPIC, 1), &buffer(0..1)).unwrap();
    assert_eq!(numbers(&client, 1), [0]);
}

/// The accident: leaders and coordinators move while everything is asked for. Nothing fails.
#[test]
fn what_kafka_calls_retriable_is_waited_out() {
    use RDKafkaApiKey as Api;
    use RDKafkaRespErr::*;
    let cluster = cluster();
    let client = connect(&cluster);
    let stumble = |api, errors: &[RDKafkaRespErr]| cluster.request_errors(api, errors);
    stumble(
        Api::InitProducerId,
        &[RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS],
    );
    let session = client.begin_session("i").unwrap();
    stumble(Api::EndTxn, &[RD_KAFKA_RESP_ERR_NOT_COORDINATOR]);
    append_in(&client, &session, (TOPIC, 0), &buffer(0..100)).unwrap();
    let moved = [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    ];
    stumble(Api::ListOffsets, &moved);
    let end = client.partition_ends(TOPIC).unwrap()[0].end;
    stumble(Api::ListOffsets, &moved);
    client.high_watermarks(TOPIC).unwrap();
    stumble(Api::ListOffsets, &moved);
    // The mock finds no times.
    client.offset_for_time(TOPIC, 0, 0).unwrap();
    stumble(Api::Fetch, &moved);
    assert_eq!(numbers(&client, 0), (0..100).collect::<Vec<_>>());
    let unsettled = [
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    ];
    client.commit_offset("g", TOPIC, 0, end).unwrap();
    stumble(Api::OffsetFetch, &unsettled);
    wait_until("the commit is taken", MINUTE, || {
        client.committed_offsets("g", TOPIC).unwrap() == [(0, end)]
    });
    assert_eq!(client.waits_for(), None);
}

/// Nobody waits for a commit. One that is refused is reported, and repeated until it is taken.
#[test]
fn a_refused_commit_is_told_and_repeated() {
    use RDKafkaApiKey as Api;
    use RDKafkaRespErr::*;
    let cluster = cluster();
    let client = connect(&cluster);
    let refused = [RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 1_000];
    cluster.request_errors(Api::OffsetCommit, &refused);
    client.commit_offset("g", TOPIC, 0, Offset::new(1)).unwrap();
    let told = || client.waits_for().unwrap_or_default();
    wait_until("the refusal is told", MINUTE, || {
        told().contains("--operation Read --group 'g'")
    });
    client.commit_offset("g", TOPIC, 0, Offset::new(2)).unwrap();
    client.commit_offset("g", TOPIC, 1, Offset::new(3)).unwrap();
    cluster.clear_request_errors(Api::OffsetCommit);
    wait_until("the commits are taken", MINUTE, || {
        let committed = client.committed_offsets("g", TOPIC).unwrap();
        committed == [(0, Offset::new(2)), (1, Offset::new(3))] && client.waits_for().is_none()
    });
}

#[test]
fn a_missing_right_is_named_with_the_command_that_grants_it() {
    use RDKafkaApiKey as Api;
    use RDKafkaRespErr::*;
    let cluster = cluster();
    let client = connect(&cluster);
    let check =
        |api, error: RDKafkaRespErr, expected: &str, ask: &dyn Fn() -> Result<(), Error>| {
            cluster.request_errors(api, &[error; 4]);
            let refused = ask().unwrap_err();
            assert_matches!(refused, Error::NotAuthorized { .. });
            assert!(refused.to_string().contains(expected), "{refused}");
            cluster.clear_request_errors(api);
        };
    check(
        Api::ListOffsets,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        "--operation Read --topic 'things'",
        &|| client.partition_ends(TOPIC).map(drop),
    );
    check(
        Api::FindCoordinator,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
        "--operation Read --group 'g'",
        &|| client.committed_offsets("g", TOPIC).map(drop),
    );
    let session = client.begin_session("i").unwrap();
    check(
        Api::AddPartitionsToTxn,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        "--operation Write --topic 'things'",
        &|| append_in(&client, &session, (TOPIC, 0), &buffer(0..10)).map(drop),
    );
    check(
        Api::InitProducerId,
        RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        "--operation Write --transactional-id bekk-ingest/ --resource-pattern-type prefixed",
        &|| client.begin_session("i").map(drop),
    );
}

#[test]
fn a_record_that_is_refused_is_given_back() {
    let cluster = cluster();
    let client = connect(&cluster);
    let session = client.begin_session("i").unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE],
    );
    let refused = append_in(&client, &session, (TOPIC, 2), &buffer(7..8)).unwrap_err();
    assert_says(&refused, &["max.message.bytes"]);
    match refused {
        Error::RecordRefused {
            partition: 2,
            index: 0,
            value,
            ..
        } => assert_eq!(value, b"7"),
        other => panic!("{other:?}"),
    }
}

/// The accident: the cluster is away for a while. It is said what is waited for, and no more once it answers.
#[test]
fn what_is_waited_for_is_told_to_whoever_asks() {
    let cluster = cluster();
    let config = RemoteConfig::new(cluster.bootstrap_servers());
    let client = Client::connect(config, MINUTE).unwrap();
    let session = client.begin_session("i").unwrap();
    append_in(&client, &session, (TOPIC, 0), &buffer(0..1)).unwrap();
    cluster.broker_down(1).unwrap();
    std::thread::scope(|scope| {
        let append = scope.spawn(|| append_in(&client, &session, (TOPIC, 0), &buffer(1..2)));
        let begun = Instant::now();
        let told = loop {
            assert!(begun.elapsed() < Duration::from_secs(10), "nothing is told");
            match client.waits_for() {
                Some(told) => break told,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        assert!(told.contains("append to topic `things`"), "{told}");
        cluster.broker_up(1).unwrap();
        append.join().unwrap().unwrap();
    });
    assert_eq!(client.waits_for(), None);
}

/// The mock answers no question about settings, which the list does not need.
#[test]
fn of_a_cluster_only_the_topics_that_are_bekks_are_listed() {
    let cluster = cluster();
    cluster.create_topic("others", 1, 1).unwrap();
    let mut config = RemoteConfig::new(cluster.bootstrap_servers());
    config.topics = vec![TOPIC.to_owned(), "not made yet".to_owned()];
    let client = Client::connect(config, MINUTE).unwrap();
    let topics = client.topics().unwrap();
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, [TOPIC]);
}
