//! A schema: what the values of a record are called and typed.

use std::fmt;

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64;

use crate::ColumnType;
use crate::wire::encode;

/// A schema's id: a hash of its content, so that every process gives the same schema the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaId(u64);

impl SchemaId {
    /// Makes an id of its number.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The id's number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What the values of a record are called and typed, and which of them are its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The columns, in the order of a row's values.
    pub columns: Vec<SchemaColumn>,
    /// The names of the key columns, in order.
    pub key: Vec<String>,
}

/// A column of a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaColumn {
    /// The column's name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether its values may be null.
    pub nullable: bool,
}

impl Schema {
    /// The schema's id: xxh3 (64 bits) of its encoded form.
    #[must_use]
    pub fn id(&self) -> SchemaId {
        let mut body = Vec::new();
        encode(&mut body, SchemaWire::of(self));
        SchemaId(xxh3_64(&body))
    }
}

/// A schema as it is encoded: types by name, so that new ones need no new format.
#[derive(Encode, Decode)]
pub(crate) struct SchemaWire {
    pub(crate) columns: Vec<(String, String, bool)>,
    pub(crate) key: Vec<String>,
}

impl SchemaWire {
    pub(crate) fn of(schema: &Schema) -> Self {
        let columns = schema.columns.iter().map(|column| {
            let column_type = column.column_type.to_string();
            (column.name.clone(), column_type, column.nullable)
        });
        Self {
            columns: columns.collect(),
            key: schema.key.clone(),
        }
    }
}
