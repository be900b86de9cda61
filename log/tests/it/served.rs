//! A served log, and connections to it whose requests are written by hand or by `kafka-protocol`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::Path;

use bekk_log::{Client, Config, RemoteConfig, ServeConfig, Server, TopicConfig};
use bekk_testing::MINUTE;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, DeleteGroupsRequest, DeleteGroupsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, FetchRequest, FetchResponse, GroupId,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    ProduceRequest, ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, Record, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use tempfile::TempDir;

/// A log of topic `t` with two partitions, and its server.
pub(crate) struct Served {
    pub(crate) server: Stopping,
    pub(crate) client: Client,
    pub(crate) log: Config,
    /// Removed when all is over.
    dir: Option<TempDir>,
}

/// A server that is stopped when its test ends.
pub(crate) struct Stopping(Option<Server>);

impl Deref for Stopping {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.0.as_ref().expect("only `drop` takes it")
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Server::stop);
    }
}

impl Served {
    pub(crate) fn new(change: impl FnOnce(&mut ServeConfig)) -> Self {
        let dir = TempDir::new().unwrap();
        Self::on(log_in(dir.path()), Some(dir), change)
    }

    /// A served log, and a connection to it.
    pub(crate) fn connected() -> (Self, Connection) {
        let served = Self::new(|_| ());
        let connection = served.connect();
        (served, connection)
    }

    pub(crate) fn of_log(change: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = log_in(dir.path());
        change(&mut config);
        Self::on(config, Some(dir), |_| ())
    }

    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self::changed_in_dir(dir, |_| ())
    }

    pub(crate) fn changed_in_dir(dir: &Path, change: impl FnOnce(&mut ServeConfig)) -> Self {
        Self::on(log_in(dir), None, change)
    }

    fn on(log: Config, dir: Option<TempDir>, change: impl FnOnce(&mut ServeConfig)) -> Self {
        let client = Client::open(log.clone()).unwrap();
        if client.topics().unwrap().is_empty() {
            client.create_topic("t", TopicConfig::new(2)).unwrap();
        }
        let mut config = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut config);
        let server = Server::start(client.clone(), config).unwrap();
        Self {
            server: Stopping(Some(server)),
            client,
            log,
            dir,
        }
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.server.local_addr()).unwrap();
        stream.set_read_timeout(Some(MINUTE)).unwrap();
        Connection {
            stream,
            client_id: "test",
        }
    }

    /// A client of Bekk over the network.
    pub(crate) fn remote(&self) -> Client {
        let config = RemoteConfig::new(self.server.local_addr().to_string());
        Client::connect(config, MINUTE).unwrap()
    }

    pub(crate) fn connect_as(&self, client_id: &'static str) -> Connection {
        Connection {
            client_id,
            ..self.connect()
        }
    }

    pub(crate) fn restart(self) -> Self {
        drop(self.server);
        self.client.close().unwrap();
        Self::on(self.log, self.dir, |_| ())
    }
}

fn log_in(dir: &Path) -> Config {
    Config {
        retention_delay: std::time::Duration::ZERO,
        ..Config::new(dir.join("log"))
    }
}

/// A connection whose requests have a client id.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    client_id: &'static str,
}

impl Connection {
    pub(crate) fn send(&mut self, body: &[u8]) {
        let length = i32::try_from(body.len()).unwrap();
        self.stream.write_all(&length.to_be_bytes()).unwrap();
        self.stream.write_all(body).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; i32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn request<A: Decodable>(
        &mut self,
        key: ApiKey,
        version: i16,
        request: &impl Encodable,
    ) -> A {
        self.send(&encoded(self.client_id, key, version, request));
        let answer = self.receive();
        let flexible = usize::from(key == ApiKey::InitProducerId && version >= 2);
        assert_eq!(answer[..4], 7i32.to_be_bytes());
        let mut body = &answer[4 + flexible..];
        let decoded = A::decode(&mut body, version).unwrap();
        assert!(body.is_empty(), "{body:?}");
        decoded
    }

    /// Sends a request whose body is already encoded; the API has no tagged fields in this version.
    pub(crate) fn send_call(&mut self, key: i16, version: i16, body: &[u8]) {
        let client_id = self.client_id.as_bytes();
        let length = u16::try_from(client_id.len()).unwrap();
        let mut request = [key.to_be_bytes(), version.to_be_bytes()].concat();
        request.extend(7i32.to_be_bytes());
        request.extend(length.to_be_bytes());
        request.extend(client_id);
        request.extend(body);
        self.send(&request);
    }

    /// The same, and returns the answer's body.
    pub(crate) fn call(&mut self, key: i16, version: i16, body: &[u8]) -> Vec<u8> {
        self.send_call(key, version, body);
        let answer = self.receive();
        assert_eq!(answer[..4], 7i32.to_be_bytes());
        answer[4..].to_vec()
    }

    pub(crate) fn produce(&mut self, version: i16, records: Vec<u8>) -> (i16, i64) {
        let answer: ProduceResponse =
            self.request(ApiKey::Produce, version, &produce_request(-1, records));
        let partition = &answer.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    pub(crate) fn fetch(&mut self, version: i16, request: &FetchRequest) -> (i16, i64, Vec<u8>) {
        let answer: FetchResponse = self.request(ApiKey::Fetch, version, request);
        assert_eq!((answer.error_code, answer.session_id), (0, 0));
        let partition = &answer.responses[0].partitions[0];
        let records = partition.records.clone().unwrap_or_default().to_vec();
        (partition.error_code, partition.high_watermark, records)
    }

    pub(crate) fn commit(
        &mut self,
        group: &'static str,
        topic: &'static str,
        offsets: &[(i32, i64)],
    ) -> Vec<i16> {
        let one = |(partition, offset): &(i32, i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(*offset)
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(topic)))
            .with_partitions(offsets.iter().map(one).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let answer: OffsetCommitResponse = self.request(ApiKey::OffsetCommit, 7, &request);
        let partitions = answer.topics[0].partitions.iter();
        partitions.map(|partition| partition.error_code).collect()
    }

    pub(crate) fn committed(
        &mut self,
        group: &'static str,
        topic: &'static str,
        partition: i32,
    ) -> i64 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(topic)))
            .with_partition_indexes(vec![partition]);
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str(group)))
            .with_topics(Some(vec![topic]));
        let answer: OffsetFetchResponse = self.request(ApiKey::OffsetFetch, 5, &request);
        let found = &answer.topics[0].partitions[0];
        assert_eq!((answer.error_code, found.error_code), (0, 0));
        found.committed_offset
    }

    pub(crate) fn delete_group(&mut self, version: i16, group: &'static str) -> i16 {
        let request = DeleteGroupsRequest::default()
            .with_groups_names(vec![GroupId(StrBytes::from_static_str(group))]);
        let answer: DeleteGroupsResponse = self.request(ApiKey::DeleteGroups, version, &request);
        assert_eq!(answer.results[0].group_id.as_str(), group);
        answer.results[0].error_code
    }

    pub(crate) fn delete_topic(&mut self, version: i16, name: &'static str) -> i16 {
        let name = TopicName(StrBytes::from_static_str(name));
        let request = DeleteTopicsRequest::default().with_topic_names(vec![name]);
        let answer: DeleteTopicsResponse = self.request(ApiKey::DeleteTopics, version, &request);
        answer.responses[0].error_code
    }

    /// The code and the low watermark.
    pub(crate) fn delete_records(
        &mut self,
        version: i16,
        topic: &'static str,
        partition: i32,
        before: i64,
    ) -> (i16, i64) {
        let partition = DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(before);
        let topic = DeleteRecordsTopic::default()
            .with_name(TopicName(StrBytes::from_static_str(topic)))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
        let answer: DeleteRecordsResponse = self.request(ApiKey::DeleteRecords, version, &request);
        let result = &answer.topics[0].partitions[0];
        (result.error_code, result.low_watermark)
    }
}

pub(crate) fn encoded(
    client_id: &'static str,
    key: ApiKey,
    version: i16,
    request: &impl Encodable,
) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str(client_id)));
    let mut out = Vec::new();
    header
        .encode(&mut out, key.request_header_version(version))
        .unwrap();
    request.encode(&mut out, version).unwrap();
    out
}

pub(crate) fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

pub(crate) fn produce_request(acks: i16, records: Vec<u8>) -> ProduceRequest {
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

pub(crate) fn fetch_request(offset: u64, bytes: i32, min_bytes: i32, wait_ms: i32) -> FetchRequest {
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
pub(crate) fn batch(producer: Option<(i64, i16)>, sequence: i32, count: i32) -> Vec<u8> {
    let values = (0..count).map(|i| format!("value {}", sequence + i).into_bytes());
    batch_of(producer, sequence, values)
}

/// A batch of records with the given values.
pub(crate) fn batch_of(
    producer: Option<(i64, i16)>,
    sequence: i32,
    values: impl Iterator<Item = Vec<u8>>,
) -> Vec<u8> {
    let (producer_id, producer_epoch) = producer.unwrap_or((-1, -1));
    let record = |(i, value): (i32, Vec<u8>)| Record {
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
        value: Some(value.into()),
        headers: Default::default(),
    };
    let records: Vec<_> = (0..).zip(values).map(record).collect();
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

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1))
        })
    }) ^ !0
}
