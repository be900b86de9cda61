//! What a connection sends in all its life, as the fuzzer likes it. A panic anywhere in the server ends the run,
//! as does an answer that takes a minute.
//!
//! `cargo +nightly fuzz run --fuzz-dir log/fuzz requests log/fuzz/corpus log/fuzz/regressions`; what it finds
//! belongs into `log/fuzz/regressions`, which a test of the crate sends too.

#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use bekk_log::{Client, Config, ServeConfig, Server, TopicConfig};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static SERVED: LazyLock<(TempDir, Server)> = LazyLock::new(|| {
    let dir = TempDir::new().expect("a temporary directory");
    let client = Client::open(Config::new(dir.path().join("log"))).expect("a log");
    client.create_topic("t", TopicConfig::new(2)).expect("a topic");
    let config = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = Server::start(client, config).expect("a server");
    (dir, server)
});

fuzz_target!(|bytes: &[u8]| {
    let mut stream = TcpStream::connect(SERVED.1.local_addr()).expect("the server lives");
    let minute = Some(Duration::from_secs(60));
    stream.set_read_timeout(minute).expect("a timeout");
    // The server may have let go before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let ended = stream.read_to_end(&mut Vec::new());
    let is_late = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(!ended.is_err_and(is_late), "no end of the connection");
});
