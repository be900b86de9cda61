//! What the tests share.

use std::path::Path;

use bekk_log::{Client, Config, Offset, RecordBuffer, Retention, TopicConfig};

pub(crate) const KEEP: Retention = Retention {
    age: None,
    size: None,
};

pub(crate) fn open(dir: &Path) -> Client {
    Client::open(config(dir)).unwrap()
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        reserve_bytes: 0,
        ..Config::new(dir.to_owned())
    }
}

pub(crate) fn topic(client: &Client, name: &str, partitions: u32) {
    let config = TopicConfig {
        partitions,
        retention: KEEP,
    };
    client.create_topic(name, config).unwrap();
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
