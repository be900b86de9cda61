//! The ways in which files are read: one for each stream and dialect that a file was begun with.

use std::collections::HashMap;

use bekk_stream::{CsvDialect, Stream};

use crate::Error;
use crate::text::format::Format;

/// The formats of a session. They stay once made: few files are begun with a dialect of their own.
pub(crate) struct Formats<'a> {
    streams: &'a [Stream],
    /// The partition count of each stream's topic.
    partitions: Vec<u32>,
    formats: Vec<Format<'a>>,
    indexes: HashMap<(usize, String), usize>,
}

impl<'a> Formats<'a> {
    pub(crate) fn new(streams: &'a [Stream], partitions: Vec<u32>) -> Self {
        Self {
            streams,
            partitions,
            formats: Vec::new(),
            indexes: HashMap::new(),
        }
    }

    /// The dialect that a stream is configured with, as text.
    pub(crate) fn dialect_of(&self, stream: usize) -> String {
        self.streams[stream].csv.to_text()
    }

    /// The index of the format of a file that was begun with a dialect.
    ///
    /// # Errors
    /// If a column has conditions that its type does not allow.
    pub(crate) fn index_of(&mut self, stream: usize, dialect: &str) -> Result<usize, Error> {
        let key = (stream, dialect.to_owned());
        if let Some(&format) = self.indexes.get(&key) {
            return Ok(format);
        }
        let configured = &self.streams[stream];
        let parsed = CsvDialect::from_text(dialect).unwrap_or_else(|| configured.csv.clone());
        let format = Format::new(configured, parsed, self.partitions[stream])?;
        self.formats.push(format);
        self.indexes.insert(key, self.formats.len() - 1);
        Ok(self.formats.len() - 1)
    }

    pub(crate) fn get_mut(&mut self, format: usize) -> &mut Format<'a> {
        &mut self.formats[format]
    }
}
