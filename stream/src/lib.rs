//! What a stream is: its configuration, columns and types, the values of a row, and the bytes that
//! carry a row through the log.
//!
//! **Invariant:** this crate touches no file but the configuration it is asked to load, no network
//! and no clock. It knows neither the log nor PostgreSQL.
//!
//! Reading order: [`Stream`] (what the configuration says), [`Column`] and [`ColumnType`], [`Value`],
//! [`ValueParser`] (text to value, checked once at the edge), [`Payload`] (value to bytes and back),
//! [`Meta`] (the records that other records refer to).

mod config;
mod decimal;
mod dialect;
mod json;
mod key;
mod meta;
mod parse;
mod partitioner;
mod payload;
mod postgres_type;
mod reject;
mod schema;
mod shown;
mod source;
mod stream;
mod table_name;
mod types;
mod units;
mod wire;

#[cfg(test)]
mod testing;

pub use config::{
    Config, ConfigError, Durability, Environment, IngestOptions, LogLocation, SAMPLE_CONFIG,
    SYSTEM_COLUMNS, escape_pattern, kafka_hosts, line_of_stream, pattern_glob,
};
pub use decimal::Decimal;
pub use dialect::{
    CsvDialect, Encoding, HeaderMatch, HeaderRow, LineEnd, NulPolicy, Separator, UnknownPolicy,
};
pub use json::{JsonFault, JsonKey, JsonReader, JsonRecord, JsonRow, split_prefix};
pub use key::{KEY_SEPARATOR, join_key, key_shown, key_text};
pub use meta::{FileRecord, META_TOPIC, Meta, Progress, Receipt};
pub use parse::{Field, ValueParser};
pub use partitioner::{murmur2, partition_for};
pub use payload::{
    Body, FileId, Origin, PAYLOAD_VERSION, Payload, PayloadError, RowReader, begin_row,
    encode_reject, encode_row,
};
pub use postgres_type::PostgresType;
pub use reject::{REJECT_RAW_MAX, Reason, Reject};
pub use schema::{Schema, SchemaColumn, SchemaId};
pub use shown::{is_deceptive, shown, shown_indented, shown_lines, shown_path};
pub use source::{FirstSeen, RowHash};
pub use stream::{Accept, Finished, OnConflict, Retention, Stream};
pub use table_name::TableName;
pub use types::{Column, ColumnSource, ColumnType, Family, ParseColumnTypeError, Rejection, Value};
pub use units::{parse_duration, parse_size};
