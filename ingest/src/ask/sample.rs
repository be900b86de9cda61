//! A file's records as ingest splits them, without a stream's columns: for whoever is still to find those out.

use std::path::Path;

use bekk_stream::{CsvDialect, FileId};

use crate::Error;
use crate::source::{BLOCK_BYTES, Packing, Source, open};
use crate::text::coding::Coding;
use crate::text::convert::RawRecord;
use crate::text::cursor::{Cursor, find_coding};
use crate::text::decode::Decoded;
use crate::text::ends;
use crate::text::preamble::{BOM, separator_of};
use crate::text::split::Splitter;

/// A file's first bytes: of its text, if it is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether they are all that there is.
    pub is_all: bool,
    /// How the file is compressed, if it is.
    pub packing: Option<Packing>,
}

/// Reads a file's first bytes, as many as that at most.
///
/// # Errors
/// If the file cannot be read.
pub fn head(path: &Path, len_max: usize) -> Result<Head, Error> {
    let file = open::file(path).map_err(Error::io("open", path))?;
    let mut source = Source::new(file).map_err(Error::io("read", path))?;
    let mut bytes = vec![0; len_max];
    let read = source
        .read_full_at(&mut bytes, 0)
        .map_err(Error::io("read", path))?;
    bytes.truncate(read);
    Ok(Head {
        is_all: read < len_max,
        packing: source.packing(),
        bytes,
    })
}

/// A record of a sample.
pub struct Sampled<'a> {
    record: &'a RawRecord<'a>,
    decoded: &'a Decoded,
}

impl Sampled<'_> {
    /// How many fields it has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.record.spans.len()
    }

    /// Whether its quotes are wrong.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.record.fault.is_some()
    }

    /// A field's text, and whether it stands in quotes; `None` if its bytes are not of the encoding.
    #[must_use]
    pub fn field(&self, index: usize) -> Option<(&[u8], bool)> {
        let span = &self.record.spans[index];
        let text = self.decoded.text(self.record, index, span)?;
        Some((text, span.quoted))
    }
}

/// Reads a file's records under a dialect, from its first line that is neither skipped, blank nor a comment: the
/// header, where files have one. `take` says whether it wants more.
///
/// # Errors
/// If the file cannot be read, or is not of the dialect's encoding.
pub fn sample(
    path: &Path,
    dialect: &CsvDialect,
    take: impl FnMut(&Sampled<'_>) -> bool,
) -> Result<(), Error> {
    let file = open::file(path).map_err(Error::io("open", path))?;
    let mut source = Source::new(file).map_err(Error::io("read", path))?;
    let mut cursor = Cursor::new(FileId::from_bytes([0; 16]));
    let coding = find_coding(&mut source, &mut cursor, dialect.encoding)
        .map_err(Error::io("read", path))?
        .unwrap_or(Coding::Bytes);
    let mut sampler = Sampler {
        dialect,
        splitter: Splitter::new(dialect),
        decoded: Decoded::new(dialect),
        skip: dialect.skip_lines,
        is_begun: false,
        take,
    };
    let mut file_at = 0;
    let mut text = Vec::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = source
            .read_full_at(&mut block, file_at)
            .map_err(Error::io("read", path))?;
        let last = read < block.len();
        text.clear();
        match coding {
            Coding::Bytes => text.extend_from_slice(&block[..read]),
            _ => coding.decode(&block[..read], last, &mut text),
        }
        let taken = match sampler.split(&text, last) {
            Some(taken) => taken,
            None => return Ok(()),
        };
        if last {
            return Ok(());
        }
        file_at += coding.file_len(&text[..taken]) as u64;
        if taken == 0 {
            // A record longer than all that is held: the rest is not looked at.
            if block.len() > dialect.record_max + BLOCK_BYTES {
                return Ok(());
            }
            block.resize(block.len() * 2, 0);
        }
    }
}

struct Sampler<'d, F> {
    dialect: &'d CsvDialect,
    splitter: Splitter,
    decoded: Decoded,
    skip: u32,
    is_begun: bool,
    take: F,
}

impl<F: FnMut(&Sampled<'_>) -> bool> Sampler<'_, F> {
    /// Splits the records of a text; how much of it was taken, `None` if no more is wanted.
    fn split(&mut self, text: &[u8], last: bool) -> Option<usize> {
        let mut at = 0;
        if !self.is_begun {
            at = if text.starts_with(BOM) { BOM.len() } else { 0 };
            let behind = ends::behind_first(self.dialect, &text[at..]);
            if let Some(end) = behind.filter(|_| self.skip == 0)
                && separator_of(&text[at..at + end]).is_some()
            {
                at += end;
            }
        }
        self.is_begun = true;
        while at < text.len() {
            let rest = &text[at..];
            let line_end = ends::behind_first(self.dialect, rest);
            let is_comment =
                self.dialect.comment.is_some() && rest.first().copied() == self.dialect.comment;
            let passed = self.skip > 0
                || is_comment
                || ends::is_footer(self.dialect, rest)
                || ends::blank_len(self.dialect, rest).is_some();
            if passed {
                match line_end {
                    Some(end) => at += end,
                    None if last => return Some(text.len()),
                    None => return Some(at),
                }
                self.skip = self.skip.saturating_sub(1);
                continue;
            }
            let Some(found) = self.splitter.split(rest, last) else {
                return Some(at);
            };
            let record = RawRecord::alone(rest, &found, self.splitter.spans());
            self.decoded.take(&record);
            let sampled = Sampled {
                record: &record,
                decoded: &self.decoded,
            };
            if !(self.take)(&sampled) {
                return None;
            }
            at += found.len;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever may write into the inbox can put a pipe in a file's place, which nobody ever writes to.
    #[test]
    fn a_pipe_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("a.csv");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        head(&pipe, 100).err().unwrap();
    }
}
