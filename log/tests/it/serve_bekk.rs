//! What Bekk's own programs ask of a served log, by client ids and groups of certain names.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bekk_log::{Client, Error, Offset, RecordBuffer, RemoteConfig};
use bekk_testing::{MINUTE, assert_matches, wait_until};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::served::{Connection, Served, batch};
use crate::support::{by_size, topic, topic_with};

/// Produces a batch of `records` to each of some partitions; the code and the base offset of each.
fn produce(
    connection: &mut Connection,
    topic: &'static str,
    partitions: &[i32],
    records: &[u8],
) -> Vec<(i16, i64)> {
    let of = |partition: &i32| {
        PartitionProduceData::default()
            .with_index(*partition)
            .with_records(Some(records.to_vec().into()))
    };
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(topic)))
        .with_partition_data(partitions.iter().map(of).collect());
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic]);
    let answer: ProduceResponse = connection.request(ApiKey::Produce, 8, &request);
    let stored = answer.responses[0].partition_responses.iter();
    stored
        .map(|stored| (stored.error_code, stored.base_offset))
        .collect()
}

fn ends(client: &Client, topic: &str) -> Vec<u64> {
    let ends = client.partition_ends(topic).unwrap();
    ends.iter().map(|ends| ends.end.get()).collect()
}

#[test]
fn an_ingest_appends_in_its_session() {
    let served = Served::new(|_| ());
    let first = served.client.begin_session("a").unwrap();
    assert_eq!(first.number, 1);
    let mut of_first = served.connect_as("bekk-ingest/a/1");
    let sent = batch(None, 0, 3);
    assert_eq!(
        produce(&mut of_first, "t", &[0, 1], &sent),
        [(0, 0), (0, 0)]
    );
    served.client.begin_session("a").unwrap();
    // One request, one append: nothing of it is stored.
    assert_eq!(
        produce(&mut of_first, "t", &[0, 1], &sent),
        [(29, -1), (29, -1)]
    );
    let mut of_second = served.connect_as("bekk-ingest/a/2");
    assert_eq!(produce(&mut of_second, "t", &[0], &sent), [(0, 3)]);
    let mut of_other = served.connect_as("bekk-ingest/b/1");
    assert_eq!(produce(&mut of_other, "t", &[0], &sent), [(0, 6)]);
    assert_eq!(ends(&served.client, "t"), [9, 3]);
    let mut buffer = RecordBuffer::new();
    buffer.push(1, None, b"late");
    let late = served.client.append(Some(&first), "t", &[(0, &buffer)]);
    assert_matches!(late, Err(Error::Fenced { .. }));
}

#[test]
fn only_an_ingest_writes_what_records_refer_to() {
    let served = Served::new(|_| ());
    topic(&served.client, "bekk.meta", 1);
    for client_id in ["rdkafka", "bekk-sink/main", "bekk-ingest/a/x"] {
        let mut connection = served.connect_as(client_id);
        let stored = produce(&mut connection, "bekk.meta", &[0], &batch(None, 0, 1));
        assert_eq!(stored, [(29, -1)], "{client_id}");
    }
    let mut connection = served.connect_as("bekk-ingest/a/1");
    let stored = produce(&mut connection, "bekk.meta", &[0], &batch(None, 0, 1));
    assert_eq!(stored, [(0, 0)]);
    let records = served.client.read("bekk.meta", 0, Offset::ZERO, 1).unwrap();
    assert_eq!(records.len(), 1);
}

#[test]
fn a_session_begins_by_a_commit() {
    let served = Served::new(|_| ());
    let mut connection = served.connect_as("bekk-join");
    let group = "bekk-session/a";
    assert_eq!(connection.committed(group, "bekk.meta", 0), -1);
    assert_eq!(connection.commit(group, "bekk.meta", &[(0, 0)]), [82]);
    assert_eq!(connection.commit(group, "bekk.meta", &[(0, 1)]), [0]);
    assert_eq!(connection.commit(group, "bekk.meta", &[(0, 1)]), [82]);
    assert_eq!(connection.commit(group, "bekk.meta", &[(1, 2)]), [3]);
    assert_eq!(connection.commit(group, "t", &[(0, 2)]), [3]);
    assert_eq!(connection.delete_group(1, group), 30);
    assert_eq!(connection.committed(group, "bekk.meta", 0), 1);

    let mut ingest = served.connect_as("bekk-ingest/a/1");
    let sent = batch(None, 0, 1);
    assert_eq!(produce(&mut ingest, "t", &[0], &sent), [(0, 0)]);
    // No number is left out: one far above would leave none for later sessions.
    assert_eq!(connection.commit(group, "bekk.meta", &[(0, 3)]), [82]);
    let last = i64::MAX;
    assert_eq!(connection.commit(group, "bekk.meta", &[(0, last)]), [82]);
    assert_eq!(produce(&mut ingest, "t", &[0], &sent), [(0, 1)]);
    assert_eq!(connection.commit(group, "bekk.meta", &[(0, 2)]), [0]);
    assert_eq!(produce(&mut ingest, "t", &[0], &sent), [(29, -1)]);

    let served = served.restart();
    let mut connection = served.connect_as("bekk-join");
    assert_eq!(connection.committed(group, "bekk.meta", 0), 2);
    assert_eq!(connection.commit(group, "bekk.meta", &[(0, 2)]), [82]);
    assert_eq!(served.client.begin_session("a").unwrap().number, 3);
    assert_eq!(connection.committed(group, "bekk.meta", 0), 3);
}

/// The ingest that appends at the very moment in which its successor begins: what it was told is stored is
/// seen by the successor, and nothing of it comes later.
#[test]
fn a_session_sees_all_that_its_predecessor_has_stored() {
    let served = Served::new(|_| ());
    let mut connection = served.connect_as("bekk-join");
    let group = "bekk-session/a";
    assert_eq!(connection.commit(group, "bekk.meta", &[(0, 1)]), [0]);
    let mut ingest = served.connect_as("bekk-ingest/a/1");
    let (begun, stored) = std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            let sent = batch(None, 0, 1);
            let all = std::iter::from_fn(|| Some(produce(&mut ingest, "t", &[0], &sent)[0]));
            all.take_while(|(code, _)| *code == 0).count() as u64
        });
        while ends(&served.client, "t")[0] < 20 {
            std::thread::yield_now();
        }
        assert_eq!(connection.commit(group, "bekk.meta", &[(0, 2)]), [0]);
        (ends(&served.client, "t")[0], appending.join().unwrap())
    });
    assert_eq!(begun, stored);
    assert_eq!(ends(&served.client, "t")[0], stored);
}

#[test]
fn holds_are_made_by_commits() {
    let served = Served::of_log(|config| config.segment_bytes = 1);
    topic_with(&served.client, "held", 1, by_size(1));
    let mut buffer = RecordBuffer::new();
    buffer.push(1, None, b"x");
    for _ in 0..6 {
        served.client.append(None, "held", &[(0, &buffer)]).unwrap();
    }
    let mut sink = served.connect_as("bekk-sink/main");
    assert_eq!(sink.commit("g", "held", &[(0, 5)]), [0]);
    let mut ingest = served.connect_as("bekk-ingest/a/1");
    let group = "bekk-hold/a";
    assert_eq!(ingest.commit(group, "held", &[(0, 2), (1, 0)]), [3, 3]);
    assert_eq!(ingest.committed(group, "held", 0), -1);
    assert_eq!(ingest.commit(group, "held", &[(0, 2)]), [0]);
    assert_eq!(ingest.committed(group, "held", 0), 2);
    let start = || {
        served.client.apply_retention().unwrap();
        served.client.partition_ends("held").unwrap()[0].start.get()
    };
    wait_until("the segments are sealed", MINUTE, || {
        let segments = served.client.segments("held").unwrap();
        segments
            .iter()
            .filter(|one| one.sealed_at_ms.is_some())
            .count()
            >= 5
    });
    assert_eq!(start(), 2);
    assert_eq!(ingest.delete_group(0, group), 0);
    assert_eq!(ingest.delete_group(0, group), 0);
    assert_eq!(ingest.committed(group, "held", 0), -1);
    assert_eq!(start(), 5);
}

#[test]
fn the_groups_of_sinks_are_theirs() {
    let served = Served::new(|_| ());
    let mut foreign = served.connect();
    let mut sink = served.connect_as("bekk-sink/main");
    assert_eq!(foreign.commit("g", "t", &[(0, 3), (7, 3)]), [0, 3]);
    assert_eq!(foreign.committed("g", "t", 0), 3);
    assert_eq!(sink.commit("main", "t", &[(1, 4)]), [0]);
    assert_eq!(foreign.commit("main", "t", &[(1, 5)]), [30]);
    assert_eq!(foreign.committed("main", "t", 1), 4);
    let found = served.client.committed_offsets("main", "t").unwrap();
    assert_eq!(found, [(1, Offset::new(4))]);

    assert_eq!(foreign.delete_group(1, "main"), 30);
    assert_eq!(foreign.delete_group(1, "g"), 0);
    assert_eq!(foreign.delete_group(1, "g"), 69);
    let mut offsets = served.connect_as("bekk-offsets");
    assert_eq!(offsets.delete_group(1, "main"), 0);
    let found = served.client.committed_offsets("main", "t").unwrap();
    assert_eq!(found, []);
}

/// A server gives clients an address where nobody listens: a short command ends soon and names it.
#[test]
fn a_short_command_names_an_address_that_is_unreachable() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let advertise = Some(("127.0.0.1".to_owned(), port));
    let served = Served::new(|config| config.advertise = advertise);
    let config = RemoteConfig {
        is_brief: true,
        ..RemoteConfig::new(served.server.local_addr().to_string())
    };
    let client = Client::connect(config, MINUTE).unwrap();
    let begun = Instant::now();
    for _ in 0..2 {
        let error = client.partition_ends("t").unwrap_err();
        assert_matches!(error, Error::Away { .. });
        let named = format!("its address as 127.0.0.1:{port} (bekk log serve --advertise)");
        assert!(error.to_string().contains(&named), "{error}");
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}
