//! A record for the tests of files that are read again.

use bekk_stream::{FileId, FileRecord, Stream};

use crate::source::fingerprint::Fingerprint;

/// The record in `bekk.meta` of a file of this stream that begins with these bytes.
pub(super) fn record(stream: &Stream, head: &[u8]) -> FileRecord {
    let head = Fingerprint::of(head);
    FileRecord {
        id: FileId::from_bytes([1; 16]),
        stream: stream.name.clone(),
        path: Vec::new(),
        device: 0,
        inode: 0,
        head_len: head.len,
        head_hash: head.hash,
        found_at_ms: 0,
        dialect: stream.csv.to_text(),
        ingest: String::new(),
        host: String::new(),
        first: None,
    }
}
