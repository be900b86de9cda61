//! What the tests share.

use std::path::Path;
use std::time::Duration;

use bekk_log::{Client, Config, Error, Offset, RecordBuffer, Retention, Session, TopicConfig};
use bekk_testing::{MINUTE, wait_until};
use tempfile::TempDir;

pub(crate) fn by_size(bytes: u64) -> Retention {
    Retention {
        size: Some(bytes),
        ..Retention::default()
    }
}

pub(crate) fn by_age(age: Duration) -> Retention {
    Retention {
        age: Some(age),
        ..Retention::default()
    }
}

pub(crate) fn open(dir: &Path) -> Client {
    Client::open(config(dir)).unwrap()
}

/// Opens a log whose configuration is changed first.
pub(crate) fn open_with(dir: &Path, change: impl FnOnce(&mut Config)) -> Client {
    let mut config = config(dir);
    change(&mut config);
    Client::open(config).unwrap()
}

/// A new log with topic `t`.
pub(crate) fn with_topic(partitions: u32) -> (TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    let client = open(dir.path());
    topic(&client, "t", partitions);
    (dir, client)
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        reserve_bytes: 0,
        retention_delay: Duration::ZERO,
        ..Config::new(dir.to_owned())
    }
}

/// Opens a log whose segments are small.
pub(crate) fn open_small(dir: &Path, segment_bytes: u64) -> Client {
    Client::open(small(dir, segment_bytes)).unwrap()
}

pub(crate) fn small(dir: &Path, segment_bytes: u64) -> Config {
    Config {
        segment_bytes,
        ..config(dir)
    }
}

pub(crate) fn topic(client: &Client, name: &str, partitions: u32) {
    topic_with(client, name, partitions, Retention::default());
}

pub(crate) fn topic_with(client: &Client, name: &str, partitions: u32, retention: Retention) {
    let config = TopicConfig {
        partitions,
        retention,
    };
    client.create_topic(name, config).unwrap();
}

/// Waits until all segments of a topic but the last one are sealed.
pub(crate) fn await_sealing(client: &Client, topic: &str) {
    wait_until("sealing", MINUTE, || {
        let segments = client.segments(topic).unwrap();
        segments.iter().filter(|s| s.sealed_at_ms.is_none()).count() == 1
    });
}

/// Appends values to a partition of topic `t`; returns the offset of the first.
pub(crate) fn append<T: AsRef<[u8]>>(
    client: &Client,
    partition: u32,
    values: impl IntoIterator<Item = T>,
) -> Offset {
    try_append(client, None, partition, values).unwrap()
}

pub(crate) fn try_append<T: AsRef<[u8]>>(
    client: &Client,
    session: Option<&Session>,
    partition: u32,
    values: impl IntoIterator<Item = T>,
) -> Result<Offset, Error> {
    let offsets = client.append(session, "t", &[(partition, &buffer(values))])?;
    Ok(offsets[0])
}

/// Appends records to a partition in a session.
pub(crate) fn append_in(
    client: &Client,
    session: &Session,
    (topic, partition): (&str, u32),
    records: &RecordBuffer,
) -> Result<(), Error> {
    let batches = [(partition, records)];
    client.append(Some(session), topic, &batches).map(drop)
}

/// A buffer of these values, each with the timestamp 1,000 and the key `k`.
pub(crate) fn buffer<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> RecordBuffer {
    let mut buffer = RecordBuffer::new();
    for value in values {
        buffer.push(1_000, Some(b"k"), value.as_ref());
    }
    buffer
}

/// Every record of a partition from `from` on: offset and value.
pub(crate) fn read_all(
    client: &Client,
    topic: &str,
    partition: u32,
    from: Offset,
) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut from = from;
    loop {
        let records = client.read(topic, partition, from, 1 << 20).unwrap();
        let read = records
            .iter()
            .map(|record| (record.offset.get(), record.value.to_vec()));
        let before = all.len();
        all.extend(read);
        assert_eq!(all.len() - before, records.len());
        if records.next_offset() == from {
            return all;
        }
        from = records.next_offset();
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// The paths below a directory whose names hold `part`.
pub(crate) fn find(dir: &Path, part: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, part));
        }
        if path.file_name().unwrap().to_str().unwrap().contains(part) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A copy of a directory, as a crash would leave it: what the log has written is with the system.
pub(crate) fn copy(from: &Path) -> tempfile::TempDir {
    fn copy_into(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy_into(&entry.path(), &to);
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}
