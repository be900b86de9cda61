//! Record batches that a client produces: each gets the right length and CRC, so that the log checks its content, and the
//! last records of the log are read back. The first two bytes are the batch's attributes, the third is its number of
//! records.

#![no_main]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use bekk_log::{Client, Config, Retention, ServeConfig, Server, TopicConfig};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

struct Served {
    _dir: TempDir,
    client: Client,
    _server: Server,
    stream: Mutex<TcpStream>,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let dir = TempDir::new_in("/dev/shm").expect("a temporary directory");
    let client = Client::open(Config::new(dir.path().join("log"))).expect("a log");
    let topic = TopicConfig {
        partitions: 1,
        retention: Retention {
            age: None,
            size: Some(1 << 20),
        },
    };
    client.create_topic("t", topic).expect("a topic");
    let config = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = Server::start(client.clone(), config).expect("a server");
    let stream = TcpStream::connect(server.local_addr()).expect("the server lives");
    let minute = Some(Duration::from_secs(60));
    stream.set_read_timeout(minute).expect("a timeout");
    Served {
        _dir: dir,
        client,
        _server: server,
        stream: Mutex::new(stream),
    }
});

/// A batch with this content.
fn batch(attributes: [u8; 2], records: u32, content: &[u8]) -> Vec<u8> {
    let mut batch = vec![0; 8];
    batch.extend((49 + content.len() as u32).to_be_bytes());
    batch.extend([0, 0, 0, 0, 2]);
    let mut checked = attributes.to_vec();
    checked.extend(records.wrapping_sub(1).to_be_bytes());
    checked.extend(1_700_000_000_000i64.to_be_bytes());
    checked.extend(1_700_000_000_000i64.to_be_bytes());
    checked.extend([0xff; 14]);
    checked.extend(records.to_be_bytes());
    checked.extend(content);
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fuzz_target!(|bytes: &[u8]| {
    let Some((head, content)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let batch = batch([head[0], head[1]], u32::from(head[2]), content);
    // Produce, version 3.
    let mut body = vec![0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    body.extend([0, 0, 0x27, 0x10, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0]);
    body.extend((batch.len() as u32).to_be_bytes());
    body.extend(batch);
    let mut stream = SERVED.stream.lock().expect("no panic before");
    // In one write: a second one would wait for the acknowledgement of the first.
    let frame = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
    stream.write_all(&frame).expect("the server reads");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).expect("an answer");
    let ends = SERVED.client.partition_ends("t").expect("the log lives");
    let (start, end) = (ends[0].start, ends[0].end);
    if end.get().saturating_sub(start.get()) > 0 {
        let from = bekk_log::Offset::new(end.get().saturating_sub(300).max(start.get()));
        if let Ok(records) = SERVED.client.read("t", 0, from, 1 << 20) {
            let _ = records.iter().map(|record| record.value.len()).sum::<usize>();
        }
    }
});
