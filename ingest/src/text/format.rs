//! How a stream's files are read.

use bekk_stream::{CsvDialect, Stream};

use crate::Error;
use crate::text::convert::Converter;
use crate::text::split::Splitter;

/// How a stream's files are read: its columns and a dialect.
pub(crate) struct Format<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) dialect: CsvDialect,
    pub(crate) splitter: Splitter,
    pub(crate) converter: Converter,
}

impl<'a> Format<'a> {
    /// # Errors
    /// If a column's conditions are none of its type.
    pub(crate) fn new(
        stream: &'a Stream,
        dialect: CsvDialect,
        partitions: u32,
    ) -> Result<Self, Error> {
        Ok(Self {
            stream,
            splitter: Splitter::new(&dialect),
            converter: Converter::new(stream, &dialect, partitions)?,
            dialect,
        })
    }
}
