//! The checkpoint: how far each file is in the log, and where the log ended then.
//!
//! It is a cache: without it the same is found by reading the whole log. Its form, integers little
//! endian: the 8 bytes `bekkckpt`, a version (u32), the length of the body (u64), the body, and the
//! CRC-32C of all before it (u32). A text or list is its length (u32) and its content.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bekk_stream::{FileId, FileRecord};

use crate::Error;
use crate::identity::Fingerprint;
use crate::ranges::Ranges;

const MAGIC: &[u8; 8] = b"bekkckpt";
const VERSION: u32 = 1;
const FRAME_LEN: usize = 8 + 4 + 8;

/// How far ingest has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The log that this tells of.
    pub(crate) log_id: String,
    /// Topics and the ends of their partitions, below which nothing of any file is unknown here.
    pub(crate) ends: Vec<(String, Vec<u64>)>,
    pub(crate) files: Vec<FileEntry>,
}

/// How far a file is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    pub(crate) id: FileId,
    pub(crate) stream: String,
    /// The path's bytes.
    pub(crate) path: Vec<u8>,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// Of the file's first bytes.
    pub(crate) head: Fingerprint,
    /// Of the bytes just before `position`.
    pub(crate) tail: Fingerprint,
    /// All before this byte is in the log, or is none of its records.
    pub(crate) position: u64,
    /// The number of the line that begins there, from 1.
    pub(crate) line: u64,
    /// Where the header that holds from there on stands; none has been read if `position` is 0.
    pub(crate) header_at: u64,
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    /// Partitions with records of the file: the first offset and the one behind the last.
    pub(crate) offsets: Vec<(u32, u64, u64)>,
    pub(crate) dialect: String,
    /// The length that the newest receipt tells of.
    pub(crate) receipt_bytes: Option<u64>,
    /// What else of it is in the log, behind `position`.
    pub(crate) known: Ranges,
}

impl FileEntry {
    /// The entry of a file that has just been met.
    pub(crate) fn new(record: FileRecord) -> Self {
        Self {
            id: record.id,
            stream: record.stream,
            path: record.path,
            device: record.device,
            inode: record.inode,
            head: Fingerprint {
                len: record.head_len,
                hash: record.head_hash,
            },
            tail: Fingerprint::of(&[]),
            position: 0,
            line: 1,
            header_at: 0,
            records: 0,
            rejects: 0,
            offsets: Vec::new(),
            dialect: record.dialect,
            receipt_bytes: None,
            known: Ranges::default(),
        }
    }

    /// Whether all that is in the log of the file is told by its receipt as well.
    pub(crate) fn is_in_receipt(&self) -> bool {
        let end = self
            .known
            .iter()
            .last()
            .map_or(self.position, |(_, end)| end);
        self.receipt_bytes == Some(end.max(self.position))
    }
}

impl Checkpoint {
    /// Reads a checkpoint; `None` if there is none. One that is damaged or of another version is reported
    /// and taken as none: what it tells is in the log.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read checkpoint", path)(error)),
        };
        let checkpoint = Self::decode(&bytes);
        if checkpoint.is_none() {
            tracing::warn!(
                path = %path.display(),
                "the checkpoint is damaged or of another version; the log is read instead, nothing is lost"
            );
        }
        Ok(checkpoint)
    }

    /// Writes the checkpoint durably in place of the one that is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn store(&self, path: &Path) -> Result<(), Error> {
        let beside = path.with_extension("new");
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(&self.encode())?;
            file.sync_all()
        });
        written.map_err(Error::io("write checkpoint", &beside))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::rename(&beside, path)
            .and_then(|()| File::open(directory)?.sync_all())
            .map_err(Error::io("replace checkpoint", path))
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Writer(Vec::new());
        body.bytes(self.log_id.as_bytes());
        body.list(&self.ends, |body, (topic, ends)| {
            body.bytes(topic.as_bytes());
            body.list(ends, |body, end| body.u64(*end));
        });
        body.list(&self.files, write_entry);
        let mut out = Writer(MAGIC.to_vec());
        out.u32(VERSION);
        out.u64(body.0.len() as u64);
        out.0.extend_from_slice(&body.0);
        let crc = crc32c::crc32c(&out.0);
        out.u32(crc);
        out.0
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (framed, crc) = bytes.split_last_chunk::<4>()?;
        let body = framed.get(FRAME_LEN..)?;
        let mut frame = Reader(framed.strip_prefix(MAGIC)?);
        if crc32c::crc32c(framed) != u32::from_le_bytes(*crc)
            || frame.u32()? != VERSION
            || frame.u64()? != body.len() as u64
        {
            return None;
        }
        let mut body = Reader(body);
        let checkpoint = Self {
            log_id: body.text()?,
            ends: body.list(|body| Some((body.text()?, body.list(Reader::u64)?)))?,
            files: body.list(read_entry)?,
        };
        body.0.is_empty().then_some(checkpoint)
    }
}

fn write_entry(out: &mut Writer, entry: &FileEntry) {
    out.0.extend_from_slice(entry.id.as_bytes());
    out.bytes(entry.stream.as_bytes());
    out.bytes(&entry.path);
    out.u64(entry.device);
    out.u64(entry.inode);
    for print in [&entry.head, &entry.tail] {
        out.u64(print.len);
        out.0.extend_from_slice(&print.hash.to_le_bytes());
    }
    for number in [
        entry.position,
        entry.line,
        entry.header_at,
        entry.records,
        entry.rejects,
        // Lengths are shifted by one, so that 0 is none.
        entry.receipt_bytes.map_or(0, |bytes| bytes + 1),
    ] {
        out.u64(number);
    }
    out.list(&entry.offsets, |out, &(partition, first, end)| {
        out.u32(partition);
        out.u64(first);
        out.u64(end);
    });
    out.bytes(entry.dialect.as_bytes());
    let known: Vec<(u64, u64)> = entry.known.iter().collect();
    out.list(&known, |out, &(start, end)| {
        out.u64(start);
        out.u64(end);
    });
}

fn read_entry(body: &mut Reader<'_>) -> Option<FileEntry> {
    Some(FileEntry {
        id: FileId::from_bytes(*body.chunk()?),
        stream: body.text()?,
        path: body.bytes()?.to_vec(),
        device: body.u64()?,
        inode: body.u64()?,
        head: body.fingerprint()?,
        tail: body.fingerprint()?,
        position: body.u64()?,
        line: body.u64()?,
        header_at: body.u64()?,
        records: body.u64()?,
        rejects: body.u64()?,
        receipt_bytes: body.u64()?.checked_sub(1),
        offsets: body.list(|body| Some((body.u32()?, body.u64()?, body.u64()?)))?,
        dialect: body.text()?,
        known: {
            let mut known = Ranges::default();
            for (start, end) in body.list(|body| Some((body.u64()?, body.u64()?)))? {
                known.insert(start, end);
            }
            known
        },
    })
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("lists and texts here are shorter than 4 Gi"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.len(items.len());
        for item in items {
            write(self, item);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(chunk)
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(|chunk| u32::from_le_bytes(*chunk))
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(|chunk| u64::from_le_bytes(*chunk))
    }

    fn fingerprint(&mut self) -> Option<Fingerprint> {
        Some(Fingerprint {
            len: self.u64()?,
            hash: u128::from_le_bytes(*self.chunk()?),
        })
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let len = self.u32()?;
        // Not sized ahead: a damaged length must not ask for memory.
        let mut items = Vec::new();
        for _ in 0..len {
            items.push(read(self)?);
        }
        Some(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let print = |len| Fingerprint {
            len,
            hash: u128::MAX - u128::from(len),
        };
        Checkpoint {
            log_id: "a log".to_owned(),
            ends: vec![
                ("events".to_owned(), vec![1, u64::MAX]),
                (String::new(), vec![]),
            ],
            files: vec![FileEntry {
                id: FileId::from_bytes([3; 16]),
                stream: "events".to_owned(),
                path: b"/\xff\n".to_vec(),
                device: 1,
                inode: 2,
                head: print(5),
                tail: print(6),
                position: 7,
                line: 8,
                header_at: 9,
                records: 10,
                rejects: 11,
                offsets: vec![(12, 13, 14)],
                dialect: "delimiter=".to_owned(),
                receipt_bytes: Some(0),
                known: {
                    let mut known = Ranges::default();
                    known.insert(20, 30);
                    known.insert(40, 50);
                    known
                },
            }],
        }
    }

    #[test]
    fn it_is_what_was_stored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint");
        assert_eq!(Checkpoint::load(&path).unwrap(), None);
        for checkpoint in [Checkpoint::default(), sample()] {
            checkpoint.store(&path).unwrap();
            assert_eq!(Checkpoint::load(&path).unwrap(), Some(checkpoint));
        }
    }

    #[test]
    fn damage_is_seen() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            assert_eq!(Checkpoint::decode(&bytes[..at]), None, "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert_eq!(Checkpoint::decode(&flipped), None, "flipped at {at}");
        }
        assert_eq!(Checkpoint::decode(&[]), None);
    }
}
