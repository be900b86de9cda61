//! What records refer to, and what ingest must remember for ever: the records of topic `bekk.meta`.
//!
//! That topic has one partition and is never trimmed. A record's value is one byte 1 (the format's
//! version) and bincode; its key says what it is about, so that a reader who wants the newest of each
//! can keep a map by key.

use bincode::{Decode, Encode};

use crate::payload::{decode, encode};
use crate::schema::SchemaWire;
use crate::{FileId, ParseColumnTypeError, PayloadError, Schema, SchemaColumn, SchemaId};

/// The topic that holds [`Meta`] records.
pub const META_TOPIC: &str = "bekk.meta";

const META_VERSION: u8 = 1;

/// A record of [`META_TOPIC`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meta {
    /// A schema and its id.
    Schema(SchemaId, Schema),
    /// A file that ingest has met.
    File(FileRecord),
    /// A file that ingest has finished.
    Receipt(Receipt),
}

/// A file that ingest has met, as it was then.
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

#[derive(Encode, Decode)]
enum MetaWire {
    Schema(u64, SchemaWire),
    File(FileRecord),
    Receipt(Receipt),
}

impl Meta {
    /// The record's key: `schema/<id>`, `file/<id>` or `receipt/<id>`.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Schema(id, _) => format!("schema/{id}"),
            Self::File(file) => format!("file/{}", file.id),
            Self::Receipt(receipt) => format!("receipt/{}", receipt.file),
        }
    }

    /// The record's value.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = match self.clone() {
            Self::Schema(id, schema) => MetaWire::Schema(id.get(), schema_to_wire(&schema)),
            Self::File(file) => MetaWire::File(file),
            Self::Receipt(receipt) => MetaWire::Receipt(receipt),
        };
        let mut out = vec![META_VERSION];
        encode(&mut out, wire);
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
        if version != META_VERSION {
            return Err(PayloadError::Version(version));
        }
        Ok(match decode::<MetaWire>(rest)? {
            MetaWire::Schema(id, wire) => Self::Schema(SchemaId::new(id), schema_from_wire(wire)?),
            MetaWire::File(file) => Self::File(file),
            MetaWire::Receipt(receipt) => Self::Receipt(receipt),
        })
    }
}

pub(crate) fn encode_schema_body(schema: &Schema) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, schema_to_wire(schema));
    out
}

fn schema_to_wire(schema: &Schema) -> SchemaWire {
    SchemaWire {
        columns: schema
            .columns
            .iter()
            .map(|column| {
                (
                    column.name.clone(),
                    column.column_type.to_string(),
                    column.nullable,
                )
            })
            .collect(),
        key: schema.key.clone(),
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

    #[test]
    fn every_kind_survives() {
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
            id: FileId::random(),
            stream: "events".into(),
            path: b"/data/\xff.csv".to_vec(),
            device: 1,
            inode: u64::MAX,
            head_len: 12,
            head_hash: u128::MAX,
            found_at_ms: -1,
            dialect: String::new(),
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
        for meta in [
            Meta::Schema(schema.id(), schema),
            Meta::File(file),
            Meta::Receipt(receipt),
        ] {
            assert_eq!(Meta::decode(&meta.encode()).unwrap(), meta);
        }
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
