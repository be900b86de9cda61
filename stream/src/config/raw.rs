//! The configuration as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::texts::texts;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) log: Log,
    #[serde(default)]
    pub(super) ingest: Ingest,
    #[serde(default)]
    pub(super) postgres: Postgres,
    /// With the place of each, so that they keep the file's order.
    #[serde(default)]
    pub(super) streams: BTreeMap<String, Spanned<Stream>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) dir: Option<String>,
    pub(super) url: Option<String>,
    pub(super) durability: Option<String>,
    #[serde(default)]
    pub(super) kafka: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Ingest {
    pub(super) notify: Option<bool>,
    pub(super) close_after: Option<String>,
    pub(super) partial_after: Option<String>,
    pub(super) open_files_max: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Postgres {
    pub(super) url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stream {
    pub(super) accept: Option<String>,
    pub(super) deletes: Option<bool>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) files: Vec<String>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) exclude: Vec<String>,
    pub(super) finished: Option<String>,
    pub(super) table: Option<String>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) key: Vec<String>,
    pub(super) on_conflict: Option<String>,
    pub(super) newer_by: Option<String>,
    pub(super) partitions: Option<u32>,
    #[serde(default)]
    pub(super) retention: Retention,
    #[serde(default)]
    pub(super) indexes: Vec<Vec<String>>,
    /// The keys that a dialect declares.
    #[serde(default)]
    pub(super) csv: BTreeMap<String, toml::Value>,
    pub(super) columns: Vec<Column>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Retention {
    pub(super) age: Option<String>,
    pub(super) size: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) column_type: String,
    #[serde(default)]
    pub(super) nullable: bool,
    pub(super) header: Option<String>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) allowed: Option<Vec<String>>,
    pub(super) min: Option<String>,
    pub(super) max: Option<String>,
    pub(super) format: Option<String>,
    pub(super) zone: Option<String>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) null: Option<Vec<String>>,
    pub(super) decimal: Option<String>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) strip: Vec<String>,
    pub(super) source: Option<String>,
    pub(super) value: Option<String>,
    #[serde(rename = "true", default, deserialize_with = "texts")]
    pub(super) true_values: Option<Vec<String>>,
    #[serde(rename = "false", default, deserialize_with = "texts")]
    pub(super) false_values: Option<Vec<String>>,
}
