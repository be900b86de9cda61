//! From a file's bytes to batches of records: its encoding, header, records, fields and values.

pub(crate) mod block;
pub(crate) mod coded;
pub(crate) mod coding;
pub(crate) mod convert;
pub(crate) mod cursor;
pub(crate) mod decode;
pub(crate) mod ends;
pub(crate) mod format;
pub(crate) mod header;
pub(crate) mod inherit;
pub(crate) mod later;
pub(crate) mod notice;
mod overlong;
pub(crate) mod parsed_batch;
pub(crate) mod preamble;
#[cfg(test)]
mod property;
pub(crate) mod ranges;
pub(crate) mod reader;
pub(crate) mod recent;
pub(crate) mod split;
pub(crate) mod trial;
