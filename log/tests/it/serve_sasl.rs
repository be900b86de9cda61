//! Who may ask for anything, where the server has credentials.

use std::io::Write;

use bekk_log::{Credentials, ServeConfig};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::served::{Connection, Served, encoded};

fn closed_to_strangers(config: &mut ServeConfig) {
    config.credentials = Some(Credentials {
        username: "bekk".to_owned(),
        password: "brook".to_owned(),
    });
}

fn handshake(connection: &mut Connection, version: i16, mechanism: &'static str) -> i16 {
    let request =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    let answer: SaslHandshakeResponse =
        connection.request(ApiKey::SaslHandshake, version, &request);
    assert!(answer.mechanisms.iter().eq(["PLAIN"]));
    answer.error_code
}

fn authenticate(connection: &mut Connection, version: i16, token: &'static [u8]) -> i16 {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
    let answer: SaslAuthenticateResponse =
        connection.request(ApiKey::SaslAuthenticate, version, &request);
    assert_eq!(answer.error_message.is_some(), answer.error_code != 0);
    answer.error_code
}

fn has_topics(connection: &mut Connection) -> bool {
    let request = MetadataRequest::default().with_topics(None);
    let answer: MetadataResponse = connection.request(ApiKey::Metadata, 8, &request);
    answer.topics.len() == 1
}

fn apis(connection: &mut Connection) -> Vec<i16> {
    let answer: ApiVersionsResponse =
        connection.request(ApiKey::ApiVersions, 0, &ApiVersionsRequest::default());
    answer.api_keys.iter().map(|api| api.api_key).collect()
}

#[test]
fn who_knows_the_password_may_go_on() {
    let served = Served::new(closed_to_strangers);
    for version in 0..=1 {
        let mut connection = served.connect();
        assert!(apis(&mut connection).ends_with(&[17, 36]));
        assert_eq!(handshake(&mut connection, 1, "SCRAM-SHA-256"), 33);
        assert_eq!(handshake(&mut connection, 1, "PLAIN"), 0);
        assert_eq!(authenticate(&mut connection, version, b"\0bekk\0brook"), 0);
        assert!(has_topics(&mut connection));
        assert_eq!(handshake(&mut connection, 1, "PLAIN"), 34);
        assert_eq!(authenticate(&mut connection, 1, b"\0bekk\0brook"), 34);
        assert!(has_topics(&mut connection));
    }
    // Behind version 0 of the handshake come bare bytes, answered with none.
    let mut connection = served.connect();
    assert_eq!(handshake(&mut connection, 0, "PLAIN"), 0);
    connection.send(b"\0bekk\0brook");
    assert!(connection.receive().is_empty());
    assert!(has_topics(&mut connection));
    served.server.stop();
}

#[test]
fn who_does_not_is_let_go() {
    let served = Served::new(closed_to_strangers);
    let metadata = MetadataRequest::default().with_topics(None);
    let metadata = encoded("test", ApiKey::Metadata, 8, &metadata);

    let mut connection = served.connect();
    connection.send(&metadata);
    assert!(connection.is_closed(), "before a word");

    let mut connection = served.connect();
    assert_eq!(handshake(&mut connection, 1, "PLAIN"), 0);
    connection.send(&metadata);
    assert!(connection.is_closed(), "behind half of it");

    let mut connection = served.connect();
    assert_eq!(authenticate(&mut connection, 1, b"\0bekk\0brook"), 34);
    assert!(connection.is_closed(), "without a handshake");

    let mut connection = served.connect();
    assert_eq!(handshake(&mut connection, 1, "PLAIN"), 0);
    assert_eq!(authenticate(&mut connection, 1, b"\0bekk\0creek"), 58);
    assert!(connection.is_closed(), "with a wrong password");

    let mut connection = served.connect();
    assert_eq!(handshake(&mut connection, 0, "PLAIN"), 0);
    connection.send(b"\0bekk\0creek");
    assert!(connection.is_closed(), "with a wrong password, bare");

    let mut connection = served.connect();
    connection
        .stream
        .write_all(&(1i32 << 20).to_be_bytes())
        .unwrap();
    assert!(connection.is_closed(), "with a large request");
    served.server.stop();
}

#[test]
fn without_credentials_there_is_no_handshake() {
    let served = Served::new(|_| ());
    let mut connection = served.connect();
    assert!(!apis(&mut connection).contains(&17));
    let request =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
    connection.send(&encoded("test", ApiKey::SaslHandshake, 1, &request));
    assert!(connection.is_closed());
    served.server.stop();
}
