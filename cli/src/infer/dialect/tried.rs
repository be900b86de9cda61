//! A file's first records under a dialect.

use std::path::Path;

use anyhow::Result;
use bekk_ingest::sample;
use bekk_stream::CsvDialect;

/// Number of records that are tried under each dialect
pub(super) const RECORDS_MAX: usize = 300;
/// Most lines before the header
pub(super) const SKIPPED_MAX: usize = 50;

/// Records under a dialect, in numbers
pub(super) struct Tried {
    pub(super) widths: Vec<usize>,
    /// How many have wrong quotes.
    pub(super) bad: usize,
    /// How many have fields in quotes.
    pub(super) quoted: usize,
    /// How many fields of each are numbers or quoted.
    pub(super) likely: Vec<usize>,
    /// Which of the first 64 fields of each have a digit.
    digits: Vec<u64>,
}

impl Tried {
    /// The table's width, and how many records have it: the most common width, or that of a short table at the end.
    pub(super) fn width(&self) -> (usize, usize) {
        let width = self.late_table().unwrap_or(most_common(&self.widths));
        let count = self.widths.iter().filter(|found| **found == width).count();
        (width, count)
    }

    /// The width of a table that ends the file, below more lines about it than it has records, as banks write them. Each
    /// line is narrower, and they are no table; the header has no digit where each record has one.
    fn late_table(&self) -> Option<usize> {
        let width = *self.widths.iter().max()?;
        let header = self.widths.iter().position(|found| *found == width)?;
        let (before, table) = self.widths.split_at(header);
        // The last line may be a sum.
        let body = table.len().max(3) - 1;
        let is_even = table.iter().take(body).all(|found| *found == width);
        let are_lines =
            before.iter().any(|found| *found != before[0]) || before.first() == Some(&1);
        let digits = &self.digits[header..];
        let common = digits
            .iter()
            .take(body)
            .skip(1)
            .fold(!0, |all, one| all & one);
        let is_headed = table.len() > 1 && common & !digits[0] != 0;
        (header <= SKIPPED_MAX && is_even && are_lines && is_headed).then_some(width)
    }

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
        digits: Vec::new(),
    };
    sample(path, dialect, |record| {
        tried.widths.push(record.width());
        let is_number =
            |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok());
        let fields = || (0..record.width()).filter_map(|at| record.field(at));
        tried.quoted += usize::from(fields().any(|(_, quoted)| quoted));
        let likely = fields().filter(|(text, quoted)| *quoted || is_number(text));
        tried.likely.push(likely.count());
        let has_digit = |at: usize| {
            let text = record.field(at).map_or(&[][..], |(text, _)| text);
            text.iter().any(u8::is_ascii_digit)
        };
        let digits = (0..record.width().min(64)).filter(|at| has_digit(*at));
        tried.digits.push(digits.fold(0, |mask, at| mask | 1 << at));
        tried.bad += usize::from(record.is_bad());
        tried.widths.len() < RECORDS_MAX
    })?;
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
