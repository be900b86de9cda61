//! A file's first records under a dialect.

use std::path::Path;

use anyhow::{Context, Result};
use bekk_ingest::sample;
use bekk_stream::CsvDialect;

/// Number of records that are tried under each dialect
pub(super) const RECORDS_MAX: usize = 300;

/// Records under a dialect, in numbers
pub(super) struct Tried {
    pub(super) widths: Vec<usize>,
    /// How many have wrong quotes.
    pub(super) bad: usize,
    /// How many have fields in quotes.
    pub(super) quoted: usize,
    /// How many fields of each are numbers or quoted.
    pub(super) likely: Vec<usize>,
}

impl Tried {
    /// The number of records whose width is not the most common one.
    pub(super) fn uneven(&self) -> usize {
        let width = most_common(&self.widths);
        self.widths.iter().filter(|other| **other != width).count()
    }
}

/// Splits a file's first records under a dialect.
pub(super) fn tried(path: &Path, dialect: &CsvDialect) -> Result<Tried> {
    let mut tried = Tried {
        widths: Vec::new(),
        bad: 0,
        quoted: 0,
        likely: Vec::new(),
    };
    sample(path, dialect, |record| {
        tried.widths.push(record.width());
        let is_number =
            |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok());
        let fields = || (0..record.width()).filter_map(|at| record.field(at));
        tried.quoted += usize::from(fields().any(|(_, quoted)| quoted));
        let likely = fields().filter(|(text, quoted)| *quoted || is_number(text));
        tried.likely.push(likely.count());
        tried.bad += usize::from(record.is_bad());
        tried.widths.len() < RECORDS_MAX
    })
    .context("read the file")?;
    Ok(tried)
}

/// The width that most records have; of two, the greater.
pub(super) fn most_common(widths: &[usize]) -> usize {
    let count = |width: &usize| widths.iter().filter(|found| *found == width).count();
    widths
        .iter()
        .copied()
        .max_by_key(|width| (count(width), *width))
        .unwrap_or(0)
}
