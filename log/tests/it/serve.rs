//! The log over the Kafka protocol, with requests written by hand or by `kafka-protocol`; `make test-clients`
//! has the clients that people use.

use std::io::Write;
use std::time::{Duration, Instant};

use bekk_log::{Offset, RecordBuffer};
use kafka_protocol::messages::{
    ApiKey, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse,
    ProduceResponse,
};
use kafka_protocol::records::RecordBatchDecoder;

use crate::served::{Connection, Served, batch, crc32c, encoded, fetch_request, produce_request};

#[test]
fn batches_pass_through_in_every_version() {
    let (served, mut connection) = Served::connected();
    for (version, first) in (3..=8).zip((0..).step_by(3)) {
        assert_eq!(connection.produce(version, batch(None, 0, 3)), (0, first));
    }
    for version in 0..3u8 {
        // kafka-protocol does not know them: acks, timeout, one topic, one partition, no bytes.
        let mut body = vec![0, 0, 0, version, 0, 0, 0, 9, 0xff, 0xff, 0, 1, 0, 0, 0, 0];
        body.extend_from_slice(&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        connection.send(&body);
        let answer = connection.receive();
        assert_eq!(answer[19..21], [0, 35], "{answer:?}");
        assert_eq!(answer.len(), [29, 33, 41][usize::from(version)]);
    }
    for version in 4..=11 {
        let request = fetch_request(4, 1 << 20, 1, 1000);
        let (code, high, records) = connection.fetch(version, &request);
        assert_eq!((code, high), (0, 18));
        // Whole batches: the first one begins below the offset that was asked for.
        let sets = RecordBatchDecoder::decode_all(&mut &records[..]).unwrap();
        let offsets: Vec<_> = sets
            .iter()
            .flat_map(|set| &set.records)
            .map(|record| record.offset)
            .collect();
        assert_eq!(offsets, (3..18).collect::<Vec<_>>());
    }
    // However little is asked for, it is one batch.
    let (_, _, records) = connection.fetch(11, &fetch_request(0, 1, 1, 1000));
    assert_eq!(records.len(), batch(None, 0, 3).len());
    assert_eq!(connection.fetch(11, &fetch_request(19, 1, 1, 0)).0, 1);
    let read = served.client.read("t", 0, Offset::new(17), 1).unwrap();
    assert_eq!(read.iter().next().unwrap().value, b"value 2");
}

#[test]
fn the_cluster_id_names_the_log() {
    let (served, mut connection) = Served::connected();
    let request = MetadataRequest::default().with_topics(None);
    let expected = format!("bekk.{}", served.client.log_id());
    for version in 2..=8 {
        let answer: MetadataResponse = connection.request(ApiKey::Metadata, version, &request);
        assert_eq!(answer.cluster_id.as_deref(), Some(expected.as_str()));
    }
}

#[test]
fn an_idempotent_producer_is_stored_once() {
    let (served, mut connection) = Served::connected();
    let mut ids = Vec::new();
    for version in 0..=4 {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let answer: InitProducerIdResponse =
            connection.request(ApiKey::InitProducerId, version, &request);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        ids.push(answer.producer_id.0);
    }
    ids.dedup();
    assert_eq!(ids.len(), 5, "no id is given twice");
    let producer = Some((ids[0], 0));
    assert_eq!(connection.produce(7, batch(producer, 0, 3)), (0, 0));
    assert_eq!(connection.produce(7, batch(producer, 3, 2)), (0, 3));
    assert_eq!(connection.produce(7, batch(producer, 0, 3)), (0, 0));
    assert_eq!(connection.produce(7, batch(producer, 6, 1)).0, 45);
    let unknown = Some((ids[1], 0));
    assert_eq!(connection.produce(7, batch(unknown, 6, 1)).0, 59);

    // The same behind a restart, and no id comes again.
    let served = served.restart();
    let mut connection = served.connect();
    assert_eq!(connection.produce(7, batch(producer, 3, 2)), (0, 3));
    assert_eq!(connection.produce(7, batch(producer, 5, 1)), (0, 5));
    let later = Some((ids[0], 1));
    assert_eq!(connection.produce(7, batch(later, 0, 1)), (0, 6));
    assert_eq!(connection.produce(7, batch(producer, 6, 1)).0, 47);
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    let answer: InitProducerIdResponse = connection.request(ApiKey::InitProducerId, 4, &request);
    assert!(!ids.contains(&answer.producer_id.0));
    let end = served.client.partition_ends("t").unwrap()[0].end;
    assert_eq!(end, Offset::new(7));
}

#[test]
fn a_fetch_waits_for_records() {
    let (served, mut connection) = Served::connected();
    let begun = Instant::now();
    let (code, _, records) = connection.fetch(11, &fetch_request(0, 1 << 20, 1, 200));
    assert_eq!((code, records.len()), (0, 0));
    assert!(begun.elapsed() >= Duration::from_millis(200));

    let request = fetch_request(0, 1 << 20, 1, 20_000);
    connection.send(&encoded("test", ApiKey::Fetch, 11, &request));
    let mut buffer = RecordBuffer::new();
    buffer.push(1, None, b"late");
    served.client.append(None, "t", &[(0, &buffer)]).unwrap();
    let answer = connection.receive();
    assert!(answer.windows(4).any(|bytes| bytes == b"late"));
    assert!(begun.elapsed() < Duration::from_secs(10));

    // One that waits is answered when the server stops.
    let request = fetch_request(1, 1 << 20, 1, 20_000);
    connection.send(&encoded("test", ApiKey::Fetch, 11, &request));
    drop(served.server);
    served.client.close().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn without_acks_there_is_no_answer() {
    let (_served, mut connection) = Served::connected();
    let silent = produce_request(0, batch(None, 0, 1));
    connection.send(&encoded("test", ApiKey::Produce, 7, &silent));
    let loud = produce_request(1, batch(None, 0, 1));
    let answer: ProduceResponse = connection.request(ApiKey::Produce, 7, &loud);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.base_offset), (0, 1));
    // One that fails can only be told of by going.
    let failing = produce_request(0, b"no batch".to_vec());
    connection.send(&encoded("test", ApiKey::Produce, 7, &failing));
    assert!(connection.is_closed());
}

#[test]
fn hostile_frames_end_their_connection_and_no_other() {
    let served = Served::new(|_| ());
    let mut good = served.connect();
    let mut hostile: Vec<Vec<u8>> = vec![
        vec![0x7f, 0xff, 0xff, 0xff],
        vec![0xff, 0xff, 0xff, 0xff],
        vec![0x80, 0, 0, 0],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 2, 0, 3],
    ];
    // Each API with only a count of two billion after its header.
    for (key, version) in [(0, 7), (1, 4), (2, 5), (3, 8), (8, 2), (9, 5), (19, 4)] {
        let mut body = vec![0, key, 0, version, 0, 0, 0, 1, 0xff, 0xff];
        body.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        let length = u32::try_from(body.len()).unwrap();
        hostile.push([length.to_be_bytes().to_vec(), body].concat());
    }
    for bytes in hostile {
        let mut connection = served.connect();
        connection.stream.write_all(&bytes).unwrap();
        assert!(connection.is_closed(), "{bytes:?}");
        let request = MetadataRequest::default().with_topics(None);
        let answer: MetadataResponse = good.request(ApiKey::Metadata, 8, &request);
        assert_eq!(answer.topics.len(), 1);
    }
}

#[test]
fn connections_beyond_the_most_and_idle_ones_are_closed() {
    let served = Served::new(|config| {
        config.connections_max = 20;
        config.idle_max = Duration::from_secs(2);
    });
    let mut idle: Vec<_> = (0..20).map(|_| served.connect()).collect();
    assert!(served.connect().is_closed());
    assert!(idle.iter_mut().all(Connection::is_closed));
}

#[test]
fn versions_that_do_not_exist_are_answered_in_the_first_ones_form() {
    let (_served, mut connection) = Served::connected();
    connection.send(&[0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0]);
    let answer = connection.receive();
    assert_eq!(answer[..6], [0, 0, 0, 1, 0, 35]);
    connection.send(&[0, 18, 0, 0, 0, 0, 0, 2, 0xff, 0xff]);
    assert_eq!(connection.receive()[..6], [0, 0, 0, 2, 0, 0]);
}

/// A client that uses librdkafka never gets past a batch whose CRC is right but whose content cannot be decoded.
#[test]
fn a_batch_that_no_reader_can_take_apart_is_refused() {
    let (served, mut connection) = Served::connected();
    let refused = |connection: &mut Connection, mut batch: Vec<u8>| {
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(connection.produce(8, batch).0, 87);
    };
    for (at, byte) in [(22, 1), (22, 2), (22, 3), (22, 4), (61, 0xff), (64, 7)] {
        let mut broken = batch(None, 0, 3);
        broken[at] = byte;
        refused(&mut connection, broken);
    }
    let mut garbage = batch(None, 0, 3);
    garbage[61..].fill(0xff);
    for compression in 0..=4 {
        garbage[22] = compression;
        refused(&mut connection, garbage.clone());
    }
    assert_eq!(connection.produce(8, batch(None, 0, 1)), (0, 0));
    let records = served.client.read("t", 0, Offset::ZERO, 1 << 20).unwrap();
    assert_eq!(records.iter().last().unwrap().value, b"value 0");
}

/// The frames of requests, one after the other.
fn frames(requests: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for request in requests {
        bytes.extend_from_slice(&i32::try_from(request.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(request);
    }
    bytes
}

#[test]
fn what_comes_while_one_append_is_written_shares_the_next_write() {
    let (served, mut connection) = Served::connected();
    let writes = served.client.counters().unwrap().writes;
    let sent: Vec<_> = (0..100)
        .map(|i| {
            // One twice, one with a gap before it, and one that wants no answer.
            let (sequence, acks) = match i {
                20 => (19, -1),
                30 => (40, -1),
                40 => (38, 0),
                31.. => (i - 2, -1),
                21.. => (i - 1, -1),
                _ => (i, -1),
            };
            let request = produce_request(acks, batch(Some((7, 0)), sequence, 1));
            let mut request = encoded("test", ApiKey::Produce, 7, &request);
            request[4..8].copy_from_slice(&i.to_be_bytes());
            request
        })
        .collect();
    connection.stream.write_all(&frames(&sent)).unwrap();
    for i in (0..100i32).filter(|i| *i != 40) {
        let answer = connection.receive();
        assert_eq!(answer[..4], i.to_be_bytes(), "answers come in order");
        let code = i16::from_be_bytes(*answer[19..].first_chunk().unwrap());
        let base = i64::from_be_bytes(*answer[21..].first_chunk().unwrap());
        let expected = match i {
            20 => (0, 19),
            30 => (45, -1),
            31.. => (0, i64::from(i) - 2),
            21.. => (0, i64::from(i) - 1),
            _ => (0, i64::from(i)),
        };
        assert_eq!((code, base), expected, "request {i}");
    }
    let writes = served.client.counters().unwrap().writes - writes;
    assert!(writes < 60, "{writes}");
}

#[test]
fn other_requests_wait_for_the_appends_before_them() {
    let (served, mut connection) = Served::connected();
    let produce = encoded(
        "test",
        ApiKey::Produce,
        7,
        &produce_request(-1, batch(None, 0, 1)),
    );
    let fetch = |offset| {
        let request = fetch_request(offset, 1 << 20, 1, 0);
        encoded("test", ApiKey::Fetch, 11, &request)
    };
    let sent = [
        produce.clone(),
        produce.clone(),
        fetch(1),
        produce.clone(),
        fetch(2),
        produce.clone(),
        vec![0, 0, 0, 7, 0, 0, 0, 1, 0xff, 0xff],
        produce,
    ];
    connection.stream.write_all(&frames(&sent)).unwrap();
    let has_record = |answer: &[u8]| answer.windows(7).any(|bytes| bytes == b"value 0");
    assert!(!has_record(&connection.receive()));
    assert!(!has_record(&connection.receive()));
    assert!(has_record(&connection.receive()));
    assert!(!has_record(&connection.receive()));
    assert!(has_record(&connection.receive()));
    assert!(!has_record(&connection.receive()));
    // What is behind a malformed request is not looked at.
    assert!(connection.is_closed());
    let end = served.client.partition_ends("t").unwrap()[0].end;
    assert_eq!(end, Offset::new(4));
}
