//! Clients of a served log that are not Bekk's own: what they may not do, and what they cannot keep others from.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use bekk_log::{Credentials, ServeConfig};
use bekk_testing::{MINUTE, wait_until};
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, ApiKey, CreateTopicsRequest, CreateTopicsResponse,
    InitProducerIdRequest, InitProducerIdResponse, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::served::{Connection, Served, batch, crc32c, fetch_request, topic_name};

pub(crate) const PASSWORD: &str = "brook";
pub(crate) const READ_PASSWORD: &str = "pond";

pub(crate) fn with_two_users(config: &mut ServeConfig) {
    let user = |name: &str, password: &str| {
        Some(Credentials {
            username: name.to_owned(),
            password: password.to_owned(),
        })
    };
    config.credentials = user("bekk", PASSWORD);
    config.read_credentials = user("reader", READ_PASSWORD);
}

pub(crate) fn log_in(connection: &mut Connection, user: &str, password: &str) -> i16 {
    let handshake =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
    let answer: SaslHandshakeResponse = connection.request(ApiKey::SaslHandshake, 1, &handshake);
    assert_eq!(answer.error_code, 0);
    let token = format!("\0{user}\0{password}").into_bytes();
    let request = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
    let answer: SaslAuthenticateResponse =
        connection.request(ApiKey::SaslAuthenticate, 1, &request);
    answer.error_code
}

fn create_topic(connection: &mut Connection) -> i16 {
    create_topic_named(connection, "new")
}

pub(crate) fn create_topic_named(connection: &mut Connection, name: &str) -> i16 {
    let mut topic = CreatableTopic::default()
        .with_num_partitions(1)
        .with_replication_factor(1);
    topic.name.0 = StrBytes::from_string(name.to_owned());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let answer: CreateTopicsResponse = connection.request(ApiKey::CreateTopics, 4, &request);
    answer.topics[0].error_code
}

pub(crate) fn alter_retention(connection: &mut Connection) -> i16 {
    let config = AlterableConfig::default()
        .with_name(StrBytes::from_static_str("retention.ms"))
        .with_value(Some(StrBytes::from_static_str("1")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(topic_name().0)
        .with_configs(vec![config]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let answer: AlterConfigsResponse = connection.request(ApiKey::AlterConfigs, 1, &request);
    answer.responses[0].error_code
}

#[test]
fn what_a_sink_or_an_ingest_needs_is_not_for_others_to_change() {
    let served = Served::new(|_| ());
    let mut stranger = served.connect();
    let mut sink = served.connect_as("bekk-sink/main");
    assert_eq!(stranger.produce(7, batch(None, 0, 10)), (0, 0));
    assert_eq!(alter_retention(&mut stranger), 0);
    assert_eq!(sink.commit("main", "t", &[(0, 4)]), [0]);

    assert_eq!(stranger.delete_topic(1, "t"), 29);
    assert_eq!(alter_retention(&mut stranger), 29);
    assert_eq!(stranger.delete_group(1, "main"), 30);
    assert_eq!(stranger.delete_records(1, "t", 0, 5), (29, -1));
    assert_eq!(stranger.delete_records(1, "t", 0, -1), (29, -1));
    // What has been applied may go.
    assert_eq!(stranger.delete_records(1, "t", 0, 4), (0, 4));
    assert_eq!(sink.commit("bekk-hold/a", "t", &[(0, 9), (1, 0)]), [0, 0]);
    assert_eq!(sink.delete_group(1, "main"), 0);
    assert_eq!(stranger.delete_topic(1, "t"), 29);
    // An ingest has written it all, and no sink has come yet.
    assert_eq!(stranger.delete_records(1, "t", 0, 6), (29, -1));
    assert_eq!(stranger.delete_group(1, "bekk-hold/a"), 30);
    assert_eq!(sink.delete_group(1, "bekk-hold/a"), 0);
    assert_eq!(stranger.delete_topic(1, "t"), 0);
}

#[test]
fn sessions_and_holds_are_not_for_others() {
    let served = Served::new(|_| ());
    let mut stranger = served.connect();
    let last = i64::MAX;
    assert_eq!(
        stranger.commit("bekk-session/a", "bekk.meta", &[(0, 1)]),
        [30]
    );
    assert_eq!(
        stranger.commit("bekk-session/a", "bekk.meta", &[(0, last)]),
        [30]
    );
    assert_eq!(stranger.commit("bekk-hold/a", "t", &[(0, 0)]), [30]);
    assert_eq!(served.client.begin_session("a").unwrap().number, 1);
}

/// A stranger commits for a group before the sink of that name has run. The sink must not believe that it has applied
/// those records, nor that they are another database's.
#[test]
fn a_sink_is_told_its_own_offsets_only() {
    let served = Served::new(|_| ());
    let mut stranger = served.connect();
    let mut sink = served.connect_as("bekk-sink/main");
    assert_eq!(stranger.produce(7, batch(None, 0, 10)), (0, 0));
    assert_eq!(stranger.commit("main", "t", &[(0, 9)]), [0]);
    assert_eq!(stranger.committed("main", "t", 0), 9);
    assert_eq!(sink.committed("main", "t", 0), -1);
    assert_eq!(sink.commit("main", "t", &[(0, 2)]), [0]);
    assert_eq!(sink.committed("main", "t", 0), 2);
}

#[test]
fn topics_named_like_bekks_own_are_not_for_others_to_make() {
    let served = Served::new(|_| ());
    let mut stranger = served.connect();
    assert_eq!(create_topic_named(&mut stranger, "bekk.meta"), 29);
    let mut ingest = served.connect_as("bekk-ingest/a/1");
    assert_eq!(create_topic_named(&mut ingest, "bekk.meta"), 0);
}

#[test]
fn who_may_only_read_reads_and_remembers_how_far() {
    let served = Served::new(with_two_users);
    let mut owner = served.connect();
    assert_eq!(log_in(&mut owner, "bekk", PASSWORD), 0);
    assert_eq!(owner.produce(7, batch(None, 0, 3)), (0, 0));
    // Its name does not make it Bekk's.
    for client_id in ["rdkafka", "bekk-sink/main"] {
        let mut reader = served.connect_as(client_id);
        assert_eq!(log_in(&mut reader, "reader", READ_PASSWORD), 0);
        let (code, end, records) = reader.fetch(11, &fetch_request(0, 1 << 20, 1, 100));
        assert_eq!((code, end, records.is_empty()), (0, 3, false));
        assert_eq!(reader.commit("g", "t", &[(0, 2)]), [0]);
        assert_eq!(reader.committed("g", "t", 0), 2);

        assert_eq!(reader.produce(7, batch(None, 0, 1)), (29, -1));
        assert_eq!(create_topic(&mut reader), 29);
        assert_eq!(alter_retention(&mut reader), 29);
        assert_eq!(reader.delete_topic(1, "t"), 29);
        assert_eq!(reader.delete_records(1, "t", 0, 1), (29, -1));
        assert_eq!(reader.delete_group(1, "g"), 30);
        assert_eq!(
            reader.commit("bekk-session/a", "bekk.meta", &[(0, 1)]),
            [30]
        );
        assert_eq!(reader.commit("bekk-hold/a", "t", &[(0, 0)]), [30]);
        let request = InitProducerIdRequest::default().with_transaction_timeout_ms(1000);
        let answer: InitProducerIdResponse = reader.request(ApiKey::InitProducerId, 1, &request);
        assert_eq!(answer.error_code, 31);
    }
    assert_eq!(served.client.partition_ends("t").unwrap()[0].end.get(), 3);
    assert_eq!(served.client.committed_offsets("g", "t").unwrap(), []);
    let mut nobody = served.connect();
    assert_eq!(log_in(&mut nobody, "reader", PASSWORD), 58);
    assert!(nobody.is_closed());
}

#[test]
fn who_does_not_say_who_it_is_keeps_nobody_out() {
    let mut served_max = 0;
    let served = Served::new(|config| {
        with_two_users(config);
        served_max = config.connections_max;
    });
    let address = served.server.local_addr();
    // Each beyond the most closes another one, or is closed.
    let await_closed = |count: usize| {
        wait_until("all are accepted", MINUTE, || {
            let closed = served.client.counters().unwrap().connections_closed;
            closed >= (count - served_max).try_into().unwrap()
        });
    };
    let mut silent: Vec<_> = (0..620).map(|_| TcpStream::connect(address)).collect();
    await_closed(620);
    // So long they may keep their places.
    std::thread::sleep(Duration::from_millis(1_200));
    let mut owner = served.connect();
    assert_eq!(log_in(&mut owner, "bekk", PASSWORD), 0);
    silent.extend((0..620).map(|_| TcpStream::connect(address)));
    assert_eq!(owner.produce(7, batch(None, 0, 3)), (0, 0));
    await_closed(620 + 1 + 620);
    std::thread::sleep(Duration::from_millis(1_200));
    let mut second = served.connect();
    assert_eq!(log_in(&mut second, "bekk", PASSWORD), 0);
    drop(silent);
}

#[test]
fn a_batch_that_unpacks_to_too_much_is_refused() {
    let served = Served::new(|_| ());
    let mut gzip = Vec::new();
    for _ in 0..65 {
        gzip.extend_from_slice(&one_mebibyte_of_zeros());
    }
    let mut sent = batch(None, 0, 1);
    sent.truncate(61);
    sent.extend_from_slice(&gzip);
    let length = u32::try_from(sent.len() - 12).unwrap();
    sent[8..12].copy_from_slice(&length.to_be_bytes());
    sent[22] = 1; // gzip
    let crc = crc32c(&sent[21..]);
    sent[17..21].copy_from_slice(&crc.to_be_bytes());
    let mut stranger = served.connect();
    assert_eq!(stranger.produce(7, sent).0, 10);
    assert_eq!(served.client.partition_ends("t").unwrap()[0].end.get(), 0);
}

/// A gzip member; several behind each other are one stream.
fn one_mebibyte_of_zeros() -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![0; 1 << 20]).unwrap();
    gzip.finish().unwrap()
}
