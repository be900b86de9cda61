//! What records refer to, and what ingest must remember for ever: the records of topic `bekk.meta`.
//!
//! That topic has one partition and is never trimmed. A record's value is one byte (the format's version) and
//! bincode; its key says what it is about, so that a reader who wants the newest of each can keep a map by
//! key. Version 2 has a kind more, and files name the ingest that met them; version 3 has another. Each kind is
//! written in the lowest version that has it as it is, which older readers know. Version 4 has what a file was when it was
//! met, for streams that ask for it.

use bincode::{Decode, Encode};

use crate::payload::decode;
use crate::schema::SchemaWire;
use crate::wire::encode;
use crate::{
    FileId, FirstSeen, ParseColumnTypeError, PayloadError, Schema, SchemaColumn, SchemaId,
};

/// The topic that holds [`Meta`] records.
pub const META_TOPIC: &str = "bekk.meta";

const VERSION_1: u8 = 1;
const VERSION_2: u8 = 2;
const VERSION_3: u8 = 3;
const VERSION_4: u8 = 4;

/// A record of [`META_TOPIC`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meta {
    /// A schema and its id.
    Schema(SchemaId, Schema),
    /// A file that ingest has met.
    File(FileRecord),
    /// A file that ingest has finished.
    Receipt(Receipt),
    /// How far a file was when ingest let go of the records before.
    Progress(Progress),
    /// How far a file is if the first records of it are in the log, all of them: written before they are.
    Begun(Progress),
}

/// A file that ingest has met, as it was then. A later record of the same file has its new place or name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FileRecord {
    /// The id that records carry.
    pub id: FileId,
    /// The stream it feeds.
    pub stream: String,
    /// Its path, as the bytes that the system gave.
    pub path: Vec<u8>,
    /// The device that holds it.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// How many of its first bytes `head_hash` covers.
    pub head_len: u64,
    /// xxh3 (128 bits) of those bytes.
    pub head_hash: u128,
    /// When it was met: milliseconds since 1970-01-01 UTC.
    pub found_at_ms: i64,
    /// The dialect it was begun with, which it keeps: a canonical text of the settings.
    pub dialect: String,
    /// The id of the ingest that met it; empty in records of version 1.
    pub ingest: String,
    /// What tells its host from others; empty in records of version 1, and where that is not known.
    pub host: String,
    /// What it was when it was met first, if its stream asks for that.
    pub first: Option<FirstSeen>,
}

/// How far a file is in the log: all before `position`, and `known`. Written before the records that tell the
/// same may be dropped by retention.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Progress {
    /// The file.
    pub file: FileId,
    /// All records before this byte are in the log.
    pub position: u64,
    /// The number of the line that begins there, from 1.
    pub line: u64,
    /// Where the header that holds from there on stands.
    pub header_at: u64,
    /// How many records that is, rejects among them.
    pub records: u64,
    /// How many of them are rejects.
    pub rejects: u64,
    /// The CRC-32C of all before the position, if it is known.
    pub crc: Option<u32>,
    /// Length and xxh3 (128 bits) of the file's first bytes.
    pub head: (u64, u128),
    /// Length and xxh3 (128 bits) of the bytes just before the position.
    pub tail: (u64, u128),
    /// For each partition that has records of it: the partition, the first offset and the one behind the last.
    pub offsets: Vec<(u32, u64, u64)>,
    /// Ranges behind the position that are in the log.
    pub known: Vec<(u64, u64)>,
}

/// What became of a file: written when it is finished and all of it is durable in the log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// The file.
    pub file: FileId,
    /// The stream it fed.
    pub stream: String,
    /// How many records it held, rejects among them.
    pub records: u64,
    /// How many of them were rejects.
    pub rejects: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// xxh3 (128 bits) of its content.
    pub hash: u128,
    /// For each partition that got records of it: the partition, the first offset and the one behind
    /// the last.
    pub offsets: Vec<(u32, u64, u64)>,
    /// When it was finished: milliseconds since 1970-01-01 UTC.
    pub finished_at_ms: i64,
}

/// A record as it is encoded, with files as one of the versions has them.
#[derive(Encode, Decode)]
enum MetaWire<F> {
    Schema(u64, SchemaWire),
    File(F),
    Receipt(Receipt),
    Progress(Progress),
    Begun(Progress),
}

impl<F> MetaWire<F> {
    fn with_file<G>(self, convert: impl FnOnce(F) -> G) -> MetaWire<G> {
        match self {
            Self::Schema(id, schema) => MetaWire::Schema(id, schema),
            Self::File(file) => MetaWire::File(convert(file)),
            Self::Receipt(receipt) => MetaWire::Receipt(receipt),
            Self::Progress(progress) => MetaWire::Progress(progress),
            Self::Begun(progress) => MetaWire::Begun(progress),
        }
    }
}

/// A file in versions 2 and 3.
#[derive(Encode, Decode)]
struct FileRecord2 {
    file: FileRecord1,
    ingest: String,
    host: String,
}

#[derive(Encode, Decode)]
struct FileRecord1 {
    id: FileId,
    stream: String,
    path: Vec<u8>,
    device: u64,
    inode: u64,
    head_len: u64,
    head_hash: u128,
    found_at_ms: i64,
    dialect: String,
}

impl From<FileRecord1> for FileRecord {
    fn from(file: FileRecord1) -> Self {
        Self {
            id: file.id,
            stream: file.stream,
            path: file.path,
            device: file.device,
            inode: file.inode,
            head_len: file.head_len,
            head_hash: file.head_hash,
            found_at_ms: file.found_at_ms,
            dialect: file.dialect,
            ingest: String::new(),
            host: String::new(),
            first: None,
        }
    }
}

impl From<FileRecord2> for FileRecord {
    fn from(file: FileRecord2) -> Self {
        Self {
            ingest: file.ingest,
            host: file.host,
            ..file.file.into()
        }
    }
}

/// Without what the file was when it was met.
impl From<FileRecord> for FileRecord2 {
    fn from(file: FileRecord) -> Self {
        Self {
            file: FileRecord1 {
                id: file.id,
                stream: file.stream,
                path: file.path,
                device: file.device,
                inode: file.inode,
                head_len: file.head_len,
                head_hash: file.head_hash,
                found_at_ms: file.found_at_ms,
                dialect: file.dialect,
            },
            ingest: file.ingest,
            host: file.host,
        }
    }
}

impl Meta {
    /// The record's key: `schema/<id>`, or `file/`, `receipt/`, `progress/` or `begun/` and the file's id.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Schema(id, _) => format!("schema/{id}"),
            Self::File(file) => format!("file/{}", file.id),
            Self::Receipt(receipt) => format!("receipt/{}", receipt.file),
            Self::Progress(progress) => format!("progress/{}", progress.file),
            Self::Begun(progress) => format!("begun/{}", progress.file),
        }
    }

    /// The file that the record is about; `None` for a schema.
    #[must_use]
    pub fn file(&self) -> Option<FileId> {
        match self {
            Self::Schema(..) => None,
            Self::File(file) => Some(file.id),
            Self::Receipt(receipt) => Some(receipt.file),
            Self::Progress(progress) | Self::Begun(progress) => Some(progress.file),
        }
    }

    /// The record's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        type Wire = MetaWire<FileRecord2>;
        let mut out = Vec::new();
        match self.clone() {
            Self::Schema(id, schema) => {
                out.push(VERSION_1);
                encode(&mut out, Wire::Schema(id.get(), SchemaWire::of(&schema)));
            }
            Self::Receipt(receipt) => {
                out.push(VERSION_1);
                encode(&mut out, Wire::Receipt(receipt));
            }
            Self::File(file) if file.first.is_none() => {
                out.push(VERSION_2);
                encode(&mut out, Wire::File(file.into()));
            }
            Self::File(file) => {
                out.push(VERSION_4);
                encode(&mut out, MetaWire::File(file));
            }
            Self::Progress(progress) => {
                out.push(VERSION_2);
                encode(&mut out, Wire::Progress(progress));
            }
            Self::Begun(progress) => {
                out.push(VERSION_3);
                encode(&mut out, Wire::Begun(progress));
            }
        }
        out
    }

    /// Decodes a record's value.
    ///
    /// # Errors
    /// If the bytes are no meta record of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        let (&version, rest) = bytes
            .split_first()
            .ok_or_else(|| PayloadError::Malformed("empty".to_owned()))?;
        let wire = match version {
            VERSION_1 => decode::<MetaWire<FileRecord1>>(rest)?.with_file(FileRecord::from),
            VERSION_2 | VERSION_3 => {
                decode::<MetaWire<FileRecord2>>(rest)?.with_file(FileRecord::from)
            }
            VERSION_4 => decode::<MetaWire<FileRecord>>(rest)?,
            other => return Err(PayloadError::Version(other)),
        };
        Ok(match wire {
            MetaWire::Schema(id, wire) => Self::Schema(SchemaId::new(id), schema_from_wire(wire)?),
            MetaWire::File(file) => Self::File(file),
            MetaWire::Receipt(receipt) => Self::Receipt(receipt),
            MetaWire::Progress(progress) => Self::Progress(progress),
            MetaWire::Begun(progress) => Self::Begun(progress),
        })
    }
}

fn schema_from_wire(wire: SchemaWire) -> Result<Schema, PayloadError> {
    let columns = wire
        .columns
        .into_iter()
        .map(|(name, column_type, nullable)| {
            let column_type = column_type.parse().map_err(|error: ParseColumnTypeError| {
                PayloadError::Malformed(error.to_string())
            })?;
            Ok(SchemaColumn {
                name,
                column_type,
                nullable,
            })
        })
        .collect::<Result<_, PayloadError>>()?;
    Ok(Schema {
        columns,
        key: wire.key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ColumnType;

    fn samples() -> Vec<Meta> {
        let schema = Schema {
            columns: vec![SchemaColumn {
                name: "price".into(),
                column_type: ColumnType::Decimal {
                    precision: 12,
                    scale: 2,
                },
                nullable: true,
            }],
            key: vec!["price".into()],
        };
        let file = FileRecord {
            id: FileId::from_bytes([7; 16]),
            stream: "events".into(),
            path: b"/data/\xff.csv".to_vec(),
            device: 1,
            inode: u64::MAX,
            head_len: 12,
            head_hash: u128::MAX,
            found_at_ms: -1,
            dialect: String::new(),
            ingest: "an ingest".into(),
            host: "a host".into(),
            first: None,
        };
        let renamed = FileRecord {
            first: Some(FirstSeen {
                path: b"/first".to_vec(),
                modified_us: -5,
            }),
            ..file.clone()
        };
        let progress = Progress {
            file: file.id,
            position: 1000,
            line: 11,
            header_at: 0,
            records: 10,
            rejects: 1,
            crc: Some(u32::MAX),
            head: (100, 1),
            tail: (64, u128::MAX),
            offsets: vec![(0, 1, 5)],
            known: vec![(1100, 1200)],
        };
        let receipt = Receipt {
            file: file.id,
            stream: "events".into(),
            records: 10,
            rejects: 1,
            bytes: 1000,
            hash: 5,
            offsets: vec![(0, 1, 5), (3, 0, 6)],
            finished_at_ms: 1,
        };
        vec![
            Meta::Schema(schema.id(), schema),
            Meta::File(file),
            Meta::Receipt(receipt),
            Meta::Progress(progress.clone()),
            Meta::Begun(progress),
            Meta::File(renamed),
        ]
    }

    #[test]
    fn every_kind_survives() {
        for meta in samples() {
            assert_eq!(Meta::decode(&meta.encode()).unwrap(), meta);
        }
    }

    /// The bytes that the first version wrote are read, and those of the kinds that have not changed written.
    #[test]
    fn version_1_is_read() {
        let mut expected = samples();
        if let Meta::File(file) = &mut expected[1] {
            (file.ingest, file.host) = (String::new(), String::new());
        }
        let schema = include_bytes!("../tests/fixtures/meta-schema.v1");
        let file = include_bytes!("../tests/fixtures/meta-file.v1");
        let receipt = include_bytes!("../tests/fixtures/meta-receipt.v1");
        for (bytes, expected) in [&schema[..], file, receipt].into_iter().zip(&expected) {
            assert_eq!(Meta::decode(bytes).unwrap(), *expected);
        }
        assert_eq!(expected[0].encode(), schema);
        assert_eq!(expected[2].encode(), receipt);
    }

    /// The bytes of the later versions are what they were.
    #[test]
    fn later_versions_are_read_and_written() {
        let fixtures: [(&[u8], usize); 4] = [
            (include_bytes!("../tests/fixtures/meta-file.v4"), 5),
            (include_bytes!("../tests/fixtures/meta-file.v2"), 1),
            (include_bytes!("../tests/fixtures/meta-progress.v2"), 3),
            (include_bytes!("../tests/fixtures/meta-begun.v3"), 4),
        ];
        for (bytes, index) in fixtures {
            let expected = &samples()[index];
            assert_eq!(Meta::decode(bytes).unwrap(), *expected);
            assert_eq!(expected.encode(), bytes);
        }
        assert!(Meta::decode(&[5, 0]).is_err());
    }

    #[test]
    fn a_schemas_id_is_its_content() {
        let column = |nullable| SchemaColumn {
            name: "a".into(),
            column_type: ColumnType::Int8,
            nullable,
        };
        let schema = |nullable| Schema {
            columns: vec![column(nullable)],
            key: Vec::new(),
        };
        assert_eq!(schema(true).id(), schema(true).id());
        assert_ne!(schema(true).id(), schema(false).id());
        // Logs remember it for ever.
        assert_eq!(schema(true).id().get(), 2_991_939_857_929_812_787);
    }
}
