//! A server in a process of its own, under everything that a client should not send: it lives, takes no more
//! memory than its limits say, and disconnects malformed, silent or slow clients.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiKey, MetadataRequest, ProduceRequest};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

use crate::served::{Served, batch, batch_of, encoded, fetch_request, produce_request};

const DIR: &str = "BEKK_LOG_HOSTILE";
/// What the server of these tests may have for requests, and as much again for answers.
const MEMORY_BYTES: usize = 32 << 20;
const TRANSFER_MAX: Duration = Duration::from_secs(2);

/// Not a test of its own: the server. Without the variable it does nothing.
#[test]
fn server() {
    let Some(dir) = env::var_os(DIR) else {
        return;
    };
    let served = Served::changed_in_dir(Path::new(&dir), |config| {
        config.memory_bytes_max = MEMORY_BYTES;
        config.request_bytes_max = MEMORY_BYTES / 4;
        config.transfer_max = TRANSFER_MAX;
        config.connections_max = 64;
    });
    println!("\n{}", served.server.local_addr());
    // Until the test ends, which closes this end of it.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

struct Victim {
    process: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Victim {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "hostile::server", "--nocapture"])
            .env(DIR, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.map(Result::unwrap).find_map(|line| line.parse().ok());
        Self {
            process,
            address: address.unwrap(),
            _dir: dir,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Sends what a connection sends in all its life, and takes what comes back until the server ends it.
    fn send(&self, bytes: &[u8]) {
        let mut stream = self.connect();
        // The server may have let go before all is sent.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answers = Vec::new();
        match stream.read_to_end(&mut answers) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{bytes:?}"),
        }
    }

    /// Asks a question that is in order.
    fn check_alive(&self) {
        let mut stream = self.connect();
        let request = MetadataRequest::default().with_topics(None);
        stream
            .write_all(&frame(&encoded("test", ApiKey::Metadata, 8, &request)))
            .unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        assert!(i32::from_be_bytes(length) > 20);
    }

    /// The most memory that the server has had.
    fn most_memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
        kilobytes.parse::<usize>().unwrap() << 10
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn frame(request: &[u8]) -> Vec<u8> {
    let length = i32::try_from(request.len()).unwrap();
    [&length.to_be_bytes(), request].concat()
}

/// A header, and a body as it could be: counts that are small, names that exist.
fn body(key: u8, version: u8, pieces: &[&[u8]]) -> Vec<u8> {
    let header = [0, key, 0, version, 0, 0, 0, 1, 0, 4];
    [&header[..], b"test", &pieces.concat()].concat()
}

/// A request of each API that is whole or nearly so.
fn whole_requests() -> Vec<Vec<u8>> {
    const ONE: &[u8] = &[0, 0, 0, 1];
    const ZERO: &[u8] = &[0, 0, 0, 0];
    const T: &[u8] = &[0, 1, b't'];
    const LONG: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 1];
    const NONE: &[u8] = &[0xff, 0xff];
    let two = ProduceRequest::default().with_acks(-1);
    vec![
        encoded(
            "test",
            ApiKey::Produce,
            7,
            &produce_request(-1, batch(Some((7, 0)), 0, 3)),
        ),
        encoded(
            "bekk-ingest/a/1",
            ApiKey::Produce,
            8,
            &produce_request(0, batch(None, 0, 1)),
        ),
        encoded("test", ApiKey::Produce, 3, &two),
        encoded("test", ApiKey::Fetch, 11, &fetch_request(0, 1 << 20, 1, 10)),
        encoded(
            "test",
            ApiKey::Metadata,
            8,
            &MetadataRequest::default().with_topics(None),
        ),
        body(2, 5, &[ZERO, &[0], ONE, T, ONE, ZERO, NONE, NONE, LONG]),
        body(
            8,
            2,
            &[T, &[0xff; 4], &[0, 0], LONG, ONE, T, ONE, ZERO, LONG, NONE],
        ),
        body(9, 5, &[T, ONE, T, ONE, ZERO]),
        body(10, 2, &[T, &[0]]),
        body(15, 4, &[ONE, T, &[0]]),
        body(16, 2, &[]),
        body(18, 3, &[&[0, 2, b'a', 2, b'b', 0]]),
        body(
            19,
            4,
            &[ONE, &[0, 1, b'u'], ONE, &[0, 1], ZERO, ZERO, ZERO, &[1]],
        ),
        body(21, 1, &[ONE, T, ONE, ZERO, LONG, ZERO]),
        body(22, 4, &[&[0, 0, 0, 0, 0, 0], &[0xff; 10], &[0]]),
        body(32, 2, &[ONE, &[2], T, &[0xff; 4], &[0]]),
        body(
            33,
            1,
            &[
                ONE,
                &[2],
                T,
                ONE,
                &[0, 12],
                b"retention.ms",
                &[0, 1, b'9'],
                &[1],
            ],
        ),
        body(42, 1, &[ONE, T]),
        body(47, 0, &[T, ONE, T, ONE, ZERO]),
    ]
}

/// Something done to a request on its way.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    /// Four bytes that are a number of importance somewhere.
    Number(Index, i32),
    /// A length in front that is not its own.
    Length(i32),
}

fn damage() -> impl Strategy<Value = Damage> {
    let number = prop_oneof![
        any::<i32>(),
        Just(i32::MAX),
        Just(i32::MIN),
        Just(-1),
        (0i32..100_000),
    ];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        4 => (any::<Index>(), number.clone()).prop_map(|(at, number)| Damage::Number(at, number)),
        1 => number.prop_map(Damage::Length),
    ]
}

fn damaged(request: &[u8], all: &[Damage]) -> Vec<u8> {
    let mut request = request.to_vec();
    let mut length = None;
    for damage in all {
        let end = request.len() + 1;
        match damage {
            Damage::Set(at, byte) => {
                let at = at.index(end);
                request.splice(at..(at + 1).min(end - 1), [*byte]);
            }
            Damage::Cut(at) => request.truncate(at.index(end)),
            Damage::Insert(at, bytes) => {
                let at = at.index(end);
                request.splice(at..at, bytes.iter().copied());
            }
            Damage::Number(at, number) => {
                let at = at.index(end);
                request.splice(at..(at + 4).min(end - 1), number.to_be_bytes());
            }
            Damage::Length(given) => length = Some(*given),
        }
    }
    let mut bytes = frame(&request);
    if let Some(length) = length {
        bytes[..4].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

#[test]
fn no_frame_ends_the_server_or_takes_its_memory() {
    let victim = Victim::start();
    let whole = whole_requests();
    for request in &whole {
        victim.send(&frame(request));
    }
    victim.check_alive();
    let begun_with = victim.most_memory();
    let one = (0..whole.len(), prop::collection::vec(damage(), 0..4));
    let requests = prop::collection::vec(one, 1..5);
    let mut runner = TestRunner::new(Config {
        cases: 1500,
        failure_persistence: None,
        ..Config::default()
    });
    let ran = runner.run(&requests, |requests| {
        let frames = requests
            .iter()
            .map(|(which, all)| damaged(&whole[*which], all));
        victim.send(&frames.collect::<Vec<_>>().concat());
        Ok(())
    });
    ran.unwrap();
    victim.check_alive();
    let grown = victim.most_memory() - begun_with;
    assert!(grown < 4 * MEMORY_BYTES, "{grown} bytes more");
}

/// Each file in `log/fuzz/regressions` is what a connection sent that once did harm, or is like it.
#[test]
fn what_fuzzing_has_found_does_no_harm() {
    let victim = Victim::start();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    let files: Vec<_> = fs::read_dir(dir).unwrap().collect();
    assert!(!files.is_empty());
    for file in files {
        victim.send(&fs::read(file.unwrap().path()).unwrap());
        victim.check_alive();
    }
}

#[test]
fn who_is_slow_is_let_go_and_leaves_room_for_others() {
    let victim = Victim::start();
    let mut filler = victim.connect();
    let large = produce_request(-1, large_batch());
    for _ in 0..8 {
        let request = encoded("test", ApiKey::Produce, 7, &large);
        filler.write_all(&frame(&request)).unwrap();
        let mut length = [0; 4];
        filler.read_exact(&mut length).unwrap();
        let mut answer = vec![0; i32::from_be_bytes(length) as usize];
        filler.read_exact(&mut answer).unwrap();
        assert_eq!(answer[19..21], [0, 0], "it is stored: {answer:?}");
    }
    // Answers that nobody takes: twenty of 12 MiB on each connection.
    let request = fetch_request(0, i32::MAX, 1, 100);
    let fetch = frame(&encoded("test", ApiKey::Fetch, 11, &request));
    let mut deaf: Vec<_> = (0..4).map(|_| victim.connect()).collect();
    for stream in &mut deaf {
        stream.write_all(&fetch.repeat(20)).unwrap();
    }
    // Large requests of which only the lengths come: they have all the memory for requests.
    let length = i32::try_from(MEMORY_BYTES / 4).unwrap().to_be_bytes();
    let mut silent: Vec<_> = (0..4).map(|_| victim.connect()).collect();
    for stream in &mut silent {
        stream.write_all(&length).unwrap();
    }
    let begun = Instant::now();
    for stream in &mut silent {
        assert_eq!(
            stream.read(&mut [0; 1]).unwrap(),
            0,
            "the silent are let go"
        );
    }
    victim.check_alive();
    assert!(begun.elapsed() < 3 * TRANSFER_MAX);
    // Nothing tells that an answer has been given up but the bytes that do not come; to look for them is to
    // take them. Two of the deaf may have waited for the memory of the two others first.
    std::thread::sleep(3 * TRANSFER_MAX);
    for stream in &mut deaf {
        let mut taken = Vec::new();
        let _end_or_reset = stream.read_to_end(&mut taken);
        assert!(taken.len() < 4 * large_batch().len(), "{}", taken.len());
    }
    victim.check_alive();
}

/// A batch of one record of 4 MiB.
fn large_batch() -> Vec<u8> {
    batch_of(None, 0, std::iter::once(vec![0; 4 << 20]))
}

/// A client that is gone while its fetch waits leaves its place to others.
#[test]
fn who_is_gone_is_not_waited_for() {
    let served = Served::new(|config| config.connections_max = 1);
    let wait = || fetch_request(0, 1 << 20, 1, 60_000);
    for _ in 0..3 {
        let begun = Instant::now();
        let connection = loop {
            let mut connection = served.connect();
            connection.send(&encoded("test", ApiKey::Fetch, 11, &wait()));
            let brief = Some(Duration::from_millis(100));
            connection.stream.set_read_timeout(brief).unwrap();
            // One that found no place is closed at once; the other waits.
            match connection.stream.read(&mut [0; 1]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break connection,
                _ => assert!(begun.elapsed() < Duration::from_secs(20)),
            }
        };
        assert!(begun.elapsed() < Duration::from_secs(20));
        drop(connection);
    }
}
