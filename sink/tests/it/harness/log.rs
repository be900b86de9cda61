//! A log of a test's own, and what its ingest would have written.

use std::sync::atomic::{AtomicU64, Ordering};

use bekk_log::{Client, RecordBuffer, TopicConfig};
use bekk_stream::{
    FileId, FileRecord, META_TOPIC, Meta, Origin, Reject, Schema, Stream, Value, encode_reject,
    encode_row,
};
use tempfile::TempDir;

/// A log in a directory of its own.
pub(crate) struct Log {
    pub(crate) client: Client,
    dir: TempDir,
    pub(crate) file: FileId,
    /// The line of the next row.
    line: AtomicU64,
}

impl Log {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = bekk_log::Config::new(dir.path().join("log"));
        config.durability = bekk_log::Durability::Os;
        let client = Client::open(config).unwrap();
        client
            .create_topic(META_TOPIC, TopicConfig::new(1))
            .unwrap();
        let log = Self {
            client,
            dir,
            file: FileId::random(),
            line: AtomicU64::new(2),
        };
        log.rename_file("/data/events.csv");
        log
    }

    /// Says where the file of the records is.
    pub(crate) fn rename_file(&self, path: &str) {
        self.append_meta(&Meta::File(FileRecord {
            id: self.file,
            stream: "events".to_owned(),
            path: path.as_bytes().to_vec(),
            device: 1,
            inode: 2,
            head_len: 0,
            head_hash: 0,
            found_at_ms: 0,
            dialect: String::new(),
            ingest: String::new(),
            host: String::new(),
            first: None,
        }));
    }

    /// Gives the log up, and returns its directory for another process.
    pub(crate) fn close(self) -> LogDir {
        self.client.close().unwrap();
        LogDir(self.dir)
    }

    pub(crate) fn append_meta(&self, meta: &Meta) {
        let mut buffer = RecordBuffer::new();
        buffer.push(now_ms(), Some(meta.key().as_bytes()), &meta.encode());
        self.client
            .append(None, META_TOPIC, &[(0, &buffer)])
            .unwrap();
    }

    pub(crate) fn declare(&self, schema: &Schema) {
        self.append_meta(&Meta::Schema(schema.id(), schema.clone()));
    }

    /// Makes the stream's topic and declares its schema.
    pub(crate) fn open_stream(&self, stream: &Stream) {
        self.client
            .create_topic(&stream.name, TopicConfig::new(stream.partitions))
            .unwrap();
        self.declare(&stream.schema());
    }

    /// Appends values as they are.
    pub(crate) fn append_raw(&self, topic: &str, partition: u32, values: &[Vec<u8>]) {
        let mut buffer = RecordBuffer::new();
        for value in values {
            buffer.push(now_ms(), None, value);
        }
        self.client
            .append(None, topic, &[(partition, &buffer)])
            .unwrap();
    }

    /// Appends rows of a stream as the next lines of the file; the first line is 2.
    pub(crate) fn append(&self, stream: &Stream, partition: u32, rows: &[Vec<Value<'_>>]) {
        self.append_rows(&stream.name, partition, &stream.schema(), rows);
    }

    /// Appends rows of a schema, which need not be the stream's.
    pub(crate) fn append_rows(
        &self,
        topic: &str,
        partition: u32,
        schema: &Schema,
        rows: &[Vec<Value<'_>>],
    ) {
        let first = self.line.fetch_add(rows.len() as u64, Ordering::Relaxed);
        let values: Vec<Vec<u8>> = rows
            .iter()
            .zip(first..)
            .map(|(row, line)| self.row(schema, line, row))
            .collect();
        self.append_raw(topic, partition, &values);
    }

    pub(crate) fn row(&self, schema: &Schema, line: u64, values: &[Value<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_row(&mut out, schema.id(), &self.origin(line), values);
        out
    }

    pub(crate) fn reject(&self, schema: &Schema, line: u64, reject: &Reject<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        encode_reject(&mut out, schema.id(), &self.origin(line), reject);
        out
    }

    fn origin(&self, line: u64) -> Origin {
        Origin {
            file: self.file,
            start: line * 100,
            end: line * 100 + 100,
            line,
        }
    }
}

/// The directory of a log that has been given up.
pub(crate) struct LogDir(TempDir);

impl LogDir {
    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.0.path().join("log")
    }
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_millis()).unwrap()
}
