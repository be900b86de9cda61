//! Who may ask for anything, where the server has credentials.

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bekk_log::{Client, Credentials, Error, RemoteConfig, ServeConfig};
use bekk_testing::assert_matches;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use sha2::{Digest as _, Sha256};

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
    let offered = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
    assert!(answer.mechanisms.iter().eq(offered));
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
        assert_eq!(handshake(&mut connection, 1, "GSSAPI"), 33);
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
}

/// What a client of SCRAM-SHA-256 sends for its password, and the proof that it expects of the server.
fn last_messages(bare: &str, before: &str, password: &str, answer: &str) -> (String, String) {
    let field = |at: usize| answer.split(',').nth(at).unwrap()[2..].to_owned();
    let (nonce, salt, iterations) = (field(0), field(1), field(2).parse::<u32>().unwrap());
    let hmac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.chain_update(text).finalize().into_bytes().into()
    };
    let xor = |a: [u8; 32], b: [u8; 32]| std::array::from_fn(|at| a[at] ^ b[at]);
    let salt = BASE64.decode(salt).unwrap();
    let mut block = hmac(password.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
    let mut salted: [u8; 32] = block;
    for _ in 1..iterations {
        block = hmac(password.as_bytes(), &block);
        salted = xor(salted, block);
    }
    let unproved = format!("c=biws,r={before}{nonce}");
    let said = format!("{bare},{answer},{unproved}");
    let client_key = hmac(&salted, b"Client Key");
    let stored_key = Sha256::digest(client_key);
    let proof: [u8; 32] = xor(client_key, hmac(&stored_key, said.as_bytes()));
    let server = hmac(&hmac(&salted, b"Server Key"), said.as_bytes());
    let (proof, server) = (BASE64.encode(proof), BASE64.encode(server));
    (format!("{unproved},p={proof}"), format!("v={server}"))
}

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

/// Logs in by SCRAM; returns Kafka's code, and whether the server has proved that it knows the password.
fn scram(connection: &mut Connection, version: i16, user: &str, password: &str) -> (i16, bool) {
    scram_with(connection, version, user, password, "")
}

/// The same with something before the nonce in the last message.
fn scram_with(
    connection: &mut Connection,
    version: i16,
    user: &str,
    password: &str,
    before: &str,
) -> (i16, bool) {
    assert_eq!(handshake(connection, version, "SCRAM-SHA-256"), 0);
    let mut send = |message: &str| {
        if version == 0 {
            connection.send(message.as_bytes());
            return (0, connection.receive());
        }
        let token = message.as_bytes().to_vec();
        let request = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
        let answer: SaslAuthenticateResponse =
            connection.request(ApiKey::SaslAuthenticate, 1, &request);
        (answer.error_code, answer.auth_bytes.to_vec())
    };
    let bare = format!("n={user},r={NONCE}");
    let (code, answer) = send(&format!("n,,{bare}"));
    assert_eq!(code, 0);
    let answer = String::from_utf8(answer).unwrap();
    let (last, expected) = last_messages(&bare, before, password, &answer);
    let (code, proof) = send(&last);
    (code, proof == expected.as_bytes())
}

#[test]
fn who_proves_to_know_the_password_may_go_on() {
    let served = Served::new(closed_to_strangers);
    for version in [1, 0] {
        let mut connection = served.connect();
        assert_eq!(scram(&mut connection, version, "bekk", "brook"), (0, true));
        assert!(has_topics(&mut connection));
    }
    // As librdkafka before 2.6.1 does.
    let mut connection = served.connect();
    let doubled = scram_with(&mut connection, 1, "bekk", "brook", NONCE);
    assert_eq!(doubled, (0, true));
    for (user, password) in [("bekk", "creek"), ("nobody", "brook")] {
        let mut connection = served.connect();
        assert_eq!(scram(&mut connection, 1, user, password), (58, false));
        assert!(connection.is_closed(), "{user} {password}");
    }
    // A proof is of one exchange only.
    let mut connection = served.connect();
    assert_eq!(handshake(&mut connection, 1, "SCRAM-SHA-256"), 0);
    assert_eq!(authenticate(&mut connection, 1, b"n,,n=bekk,r=x"), 0);
    assert_eq!(authenticate(&mut connection, 1, b"n,,n=bekk,r=x"), 58);
    assert!(connection.is_closed());
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
}

#[test]
fn without_credentials_there_is_no_handshake() {
    let (_served, mut connection) = Served::connected();
    assert!(!apis(&mut connection).contains(&17));
    let request =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
    connection.send(&encoded("test", ApiKey::SaslHandshake, 1, &request));
    assert!(connection.is_closed());
}

/// Each of several servers refuses the login, which is reported within the time of one attempt.
#[test]
fn a_wrong_password_is_reported_though_several_servers_are_named() {
    let servers: Vec<Served> = (0..3).map(|_| Served::new(closed_to_strangers)).collect();
    let hosts: Vec<String> = servers
        .iter()
        .map(|served| served.server.local_addr().to_string())
        .collect();
    let mut config = RemoteConfig::new(hosts.join(","));
    for (key, value) in [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "bekk"),
        ("sasl.password", "wrong"),
    ] {
        config.properties.insert(key.to_owned(), value.to_owned());
    }
    let refused = Client::connect(config, Duration::from_secs(5)).unwrap_err();
    assert_matches!(refused, Error::NotAuthenticated { .. });
}
