//! The log over the Kafka protocol, with requests written by hand or by `kafka-protocol`; `make test-clients`
//! has the clients that people use.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bekk_log::{Client, Config, Offset, RecordBuffer, Retention, ServeConfig, Server, TopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, InitProducerIdRequest, InitProducerIdResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use tempfile::TempDir;

struct Served {
    server: Server,
    client: Client,
    dir: TempDir,
}

impl Served {
    fn new(change: impl FnOnce(&mut ServeConfig)) -> Self {
        Self::on(TempDir::new().unwrap(), change)
    }

    fn on(dir: TempDir, change: impl FnOnce(&mut ServeConfig)) -> Self {
        let client = Client::open(Config::new(dir.path().join("log"))).unwrap();
        let topic = TopicConfig {
            partitions: 2,
            retention: Retention::default(),
        };
        client.create_topic("t", topic).unwrap();
        let mut config = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut config);
        let server = Server::start(client.clone(), config).unwrap();
        Self {
            server,
            client,
            dir,
        }
    }

    fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.server.local_addr()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Connection(stream)
    }

    fn restart(self) -> Self {
        self.server.stop();
        self.client.close().unwrap();
        Self::on(self.dir, |_| ())
    }
}

struct Connection(TcpStream);

impl Connection {
    fn send(&mut self, body: &[u8]) {
        let length = i32::try_from(body.len()).unwrap();
        self.0.write_all(&length.to_be_bytes()).unwrap();
        self.0.write_all(body).unwrap();
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut body = vec![0; i32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut body).unwrap();
        body
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    fn request<A: Decodable>(&mut self, key: ApiKey, version: i16, request: &impl Encodable) -> A {
        self.send(&encoded(key, version, request));
        let answer = self.receive();
        let flexible = usize::from(key == ApiKey::InitProducerId && version >= 2);
        assert_eq!(answer[..4], 7i32.to_be_bytes());
        let mut body = &answer[4 + flexible..];
        let decoded = A::decode(&mut body, version).unwrap();
        assert!(body.is_empty(), "{body:?}");
        decoded
    }

    fn produce(&mut self, version: i16, records: Vec<u8>) -> (i16, i64) {
        let answer: ProduceResponse =
            self.request(ApiKey::Produce, version, &produce_request(-1, records));
        let partition = &answer.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    fn fetch(&mut self, version: i16, request: &FetchRequest) -> (i16, i64, Vec<u8>) {
        let answer: FetchResponse = self.request(ApiKey::Fetch, version, request);
        assert_eq!((answer.error_code, answer.session_id), (0, 0));
        let partition = &answer.responses[0].partitions[0];
        let records = partition.records.clone().unwrap_or_default().to_vec();
        (partition.error_code, partition.high_watermark, records)
    }
}

fn encoded(key: ApiKey, version: i16, request: &impl Encodable) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    let mut out = Vec::new();
    header
        .encode(&mut out, key.request_header_version(version))
        .unwrap();
    request.encode(&mut out, version).unwrap();
    out
}

fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

fn produce_request(acks: i16, records: Vec<u8>) -> ProduceRequest {
    let partition = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(records.into()));
    let topic = TopicProduceData::default()
        .with_name(topic_name())
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic])
}

fn fetch_request(offset: u64, bytes: i32, min_bytes: i32, wait_ms: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset.cast_signed())
        .with_partition_max_bytes(bytes);
    let topic = FetchTopic::default()
        .with_topic(topic_name())
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(min_bytes)
        .with_max_bytes(bytes)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// A batch of `count` records, numbered from `sequence` on if there is a producer.
fn batch(producer: Option<(i64, i16)>, sequence: i32, count: i32) -> Vec<u8> {
    let (producer_id, producer_epoch) = producer.unwrap_or((-1, -1));
    let record = |i: i32| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id,
        producer_epoch,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(i),
        sequence: if producer.is_some() { sequence + i } else { i },
        timestamp: 1000 + i64::from(i),
        key: None,
        value: Some(format!("value {}", sequence + i).into_bytes().into()),
        headers: Default::default(),
    };
    let records: Vec<_> = (0..count).map(record).collect();
    let mut out = Vec::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut out, &records, &options).unwrap();
    if producer.is_none() {
        out[53..57].fill(0xff); // no sequence
        let crc = crc32c(&out[21..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    out
}

fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1))
        })
    }) ^ !0
}

#[test]
fn batches_pass_through_in_every_version() {
    let served = Served::new(|_| ());
    let mut connection = served.connect();
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
    served.server.stop();
}

#[test]
fn the_cluster_id_names_the_log() {
    let served = Served::new(|_| ());
    let mut connection = served.connect();
    let request = MetadataRequest::default().with_topics(None);
    let expected = format!("bekk.{}", served.client.log_id());
    for version in 2..=8 {
        let answer: MetadataResponse = connection.request(ApiKey::Metadata, version, &request);
        assert_eq!(answer.cluster_id.as_deref(), Some(expected.as_str()));
    }
    served.server.stop();
}

#[test]
fn an_idempotent_producer_is_stored_once() {
    let served = Served::new(|_| ());
    let mut connection = served.connect();
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
    served.server.stop();
}

#[test]
fn a_fetch_waits_for_records() {
    let served = Served::new(|_| ());
    let mut connection = served.connect();
    let begun = Instant::now();
    let (code, _, records) = connection.fetch(11, &fetch_request(0, 1 << 20, 1, 200));
    assert_eq!((code, records.len()), (0, 0));
    assert!(begun.elapsed() >= Duration::from_millis(200));

    let request = fetch_request(0, 1 << 20, 1, 20_000);
    connection.send(&encoded(ApiKey::Fetch, 11, &request));
    let mut buffer = RecordBuffer::new();
    buffer.push(1, None, b"late");
    served.client.append(None, "t", &[(0, &buffer)]).unwrap();
    let answer = connection.receive();
    assert!(answer.windows(4).any(|bytes| bytes == b"late"));
    assert!(begun.elapsed() < Duration::from_secs(10));

    // One that waits is answered when the server stops.
    let request = fetch_request(1, 1 << 20, 1, 20_000);
    connection.send(&encoded(ApiKey::Fetch, 11, &request));
    served.server.stop();
    served.client.close().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[test]
fn without_acks_there_is_no_answer() {
    let served = Served::new(|_| ());
    let mut connection = served.connect();
    let silent = produce_request(0, batch(None, 0, 1));
    connection.send(&encoded(ApiKey::Produce, 7, &silent));
    let loud = produce_request(1, batch(None, 0, 1));
    let answer: ProduceResponse = connection.request(ApiKey::Produce, 7, &loud);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.base_offset), (0, 1));
    // One that fails can only be told of by going.
    let failing = produce_request(0, b"no batch".to_vec());
    connection.send(&encoded(ApiKey::Produce, 7, &failing));
    assert!(connection.is_closed());
    served.server.stop();
}

#[test]
fn hostile_frames_end_their_connection_and_no_other() {
    let served = Served::new(|config| {
        config.connections_max = 20;
        config.idle_max = Duration::from_secs(2);
    });
    let mut good = served.connect();
    let mut hostile: Vec<Vec<u8>> = vec![
        vec![0x7f, 0xff, 0xff, 0xff],
        vec![0xff, 0xff, 0xff, 0xff],
        vec![0x80, 0, 0, 0],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 2, 0, 3],
    ];
    // Each API with nothing but a count of two billion behind its header.
    for (key, version) in [(0, 7), (1, 4), (2, 5), (3, 8), (8, 2), (9, 5), (19, 4)] {
        let mut body = vec![0, key, 0, version, 0, 0, 0, 1, 0xff, 0xff];
        body.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        let length = u32::try_from(body.len()).unwrap();
        hostile.push([length.to_be_bytes().to_vec(), body].concat());
    }
    for bytes in hostile {
        let mut connection = served.connect();
        connection.0.write_all(&bytes).unwrap();
        assert!(connection.is_closed(), "{bytes:?}");
        let request = MetadataRequest::default().with_topics(None);
        let answer: MetadataResponse = good.request(ApiKey::Metadata, 8, &request);
        assert_eq!(answer.topics.len(), 1);
    }
    // Beyond the most connections there is none, and idle ones make room.
    let mut idle: Vec<_> = (0..19).map(|_| served.connect()).collect();
    assert!(served.connect().is_closed());
    assert!(idle.iter_mut().all(Connection::is_closed));
    served.server.stop();
}

#[test]
fn versions_that_do_not_exist_are_answered_in_the_first_ones_form() {
    let served = Served::new(|_| ());
    let mut connection = served.connect();
    connection.send(&[0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0]);
    let answer = connection.receive();
    assert_eq!(answer[..6], [0, 0, 0, 1, 0, 35]);
    connection.send(&[0, 18, 0, 0, 0, 0, 0, 2, 0xff, 0xff]);
    assert_eq!(connection.receive()[..6], [0, 0, 0, 2, 0, 0]);
    served.server.stop();
}

#[test]
fn what_a_client_sends_as_records_does_not_stop_our_readers() {
    let served = Served::new(|_| ());
    let mut connection = served.connect();
    let mut garbage = batch(None, 0, 3);
    garbage[61..].fill(0xff);
    let reseal = |batch: &mut Vec<u8>| {
        let crc = crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    };
    reseal(&mut garbage);
    assert_eq!(connection.produce(8, garbage.clone()), (0, 0));
    for compression in 1..=4 {
        garbage[22] = compression;
        reseal(&mut garbage);
        assert_eq!(connection.produce(8, garbage.clone()).0, 0);
    }
    assert_eq!(connection.produce(8, batch(None, 0, 1)), (0, 15));
    let records = served.client.read("t", 0, Offset::ZERO, 1 << 20).unwrap();
    assert_eq!(records.next_offset(), Offset::new(16));
    let offsets: Vec<_> = records.iter().map(|record| record.offset.get()).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 6, 9, 12, 15]);
    assert_eq!(records.len(), offsets.len());
    let last = records.iter().last().unwrap();
    assert_eq!(last.value, b"value 0");
    assert!(served.client.gaps("t").unwrap().is_empty());
    served.server.stop();
}
