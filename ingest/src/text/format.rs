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
    /// If a column has conditions that its type does not allow.
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
