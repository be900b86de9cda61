//! A Kafka cluster that nobody here wrote: librdkafka's own mock of one. It fences no producer.

use std::time::{Duration, Instant};

use bekk_log::{Client, Error, RecordBuffer, RemoteConfig, Retention, TopicConfig};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

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
    Client::connect(config, Duration::from_secs(10)).unwrap()
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
    let config = TopicConfig {
        partitions: 8,
        retention: Retention::default(),
    };
    let topic = client.create_topic(TOPIC, config).unwrap();
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

/// The accident: the cluster goes away in the middle of it. Calls fail within their patience, and say why; a new
/// client finds everything that was acknowledged.
#[test]
fn a_cluster_that_is_away_is_given_up_in_time() {
    let cluster = cluster();
    let client = connect(&cluster);
    let session = client.begin_session("i").unwrap();
    client
        .append(Some(&session), TOPIC, &[(0, &buffer(0..100))])
        .unwrap();
    cluster.broker_down(1).unwrap();
    let begun = Instant::now();
    let away = client
        .append(Some(&session), TOPIC, &[(0, &buffer(100..200))])
        .unwrap_err();
    assert!(matches!(away, Error::Away { .. }), "{away}");
    let away = client.partition_ends(TOPIC).unwrap_err();
    assert!(matches!(away, Error::Away { .. }), "{away}");
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
    client
        .append(Some(&session), TOPIC, &[(1, &buffer(0..1))])
        .unwrap();
    assert_eq!(numbers(&client, 1), [0]);
}
