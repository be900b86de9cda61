//! The Kafka protocol over TLS, with a certificate made by openssl.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bekk_log::{Client, Config, Credentials, Error, ServeConfig, Server, TlsConfig};
use kafka_protocol::messages::{
    ApiKey, MetadataRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
};

use crate::served::{Served, encoded};

fn certificate(dir: &Path) -> TlsConfig {
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2".split(' '))
        .args([
            "-subj",
            "/CN=bekk",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    TlsConfig {
        cert: dir.join("cert"),
        key: dir.join("key"),
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(served: &Served, cert: &Path) -> Tls {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(cert).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::from(served.server.local_addr().ip());
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(served.server.local_addr()).unwrap();
    let timeout = Some(Duration::from_secs(10));
    stream.set_read_timeout(timeout).unwrap();
    StreamOwned::new(connection, stream)
}

/// Sends a request and returns its answer's body.
fn ask(stream: &mut Tls, request: &[u8]) -> Vec<u8> {
    let length = i32::try_from(request.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    stream.write_all(request).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer.split_off(4)
}

#[test]
fn requests_are_answered_over_tls() {
    let dir = TempDir::new().unwrap();
    let tls = certificate(dir.path());
    let served = Served::new(|config| {
        config.tls = Some(tls.clone());
        config.credentials = Some(Credentials {
            username: "bekk".to_owned(),
            password: "brook".to_owned(),
        });
    });
    let mut stream = connect(&served, &tls.cert);
    let plain = StrBytes::from_static_str("PLAIN");
    let request = SaslHandshakeRequest::default().with_mechanism(plain);
    let request = encoded("test", ApiKey::SaslHandshake, 1, &request);
    assert_eq!(ask(&mut stream, &request)[..2], [0, 0]);
    let token = b"\0bekk\0brook".as_slice().into();
    let request = SaslAuthenticateRequest::default().with_auth_bytes(token);
    let request = encoded("test", ApiKey::SaslAuthenticate, 1, &request);
    assert_eq!(ask(&mut stream, &request)[..2], [0, 0]);
    let request = MetadataRequest::default().with_topics(None);
    let request = encoded("test", ApiKey::Metadata, 8, &request);
    let answer = ask(&mut stream, &request);
    let log_id = served.client.log_id().to_string();
    assert!(answer.windows(36).any(|bytes| bytes == log_id.as_bytes()));

    // Who speaks no TLS hears none of Kafka's either: an alert at most, and is let go.
    let mut connection = served.connect();
    connection.send(&request);
    let mut heard = Vec::new();
    let _reset_or_end = connection.stream.read_to_end(&mut heard);
    assert!(heard.len() < 10, "{heard:?}");
    assert_eq!(ask(&mut stream, &request).len(), answer.len());

    // The end of a stream is said, so that nobody can cut it off unseen.
    stream.write_all(&[0xff; 4]).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let dir = TempDir::new().unwrap();
    certificate(dir.path());
    let client = Client::open(Config::new(dir.path().join("log"))).unwrap();
    let check = |tls: TlsConfig, named: &str| {
        let mut config = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.tls = Some(tls);
        let refused = Server::start(client.clone(), config);
        let Err(Error::Certificate { path, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(path, dir.path().join(named));
    };
    let with = |cert: &str, key: &str| TlsConfig {
        cert: dir.path().join(cert),
        key: dir.path().join(key),
    };
    check(with("missing", "key"), "missing");
    check(with("cert", "missing"), "missing");
    check(with("key", "key"), "key");
    check(with("cert", "cert"), "cert");
    let of_another = TempDir::new().unwrap();
    certificate(of_another.path());
    std::fs::copy(of_another.path().join("key"), dir.path().join("other")).unwrap();
    check(with("cert", "other"), "other");
}
