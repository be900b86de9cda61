//! The delimiter between a file's fields.

use std::path::Path;

use anyhow::Result;
use bekk_stream::{CsvDialect, Separator};

use super::Guess;
use super::tried::{Tried, most_common, tried};

impl Guess {
    /// Finds the delimiter that most records agree about; how many fields they have with it.
    pub(super) fn delimiter(&mut self, path: &Path, known: Option<Separator>) -> Result<usize> {
        let candidates = match known {
            Some(known) => vec![known],
            None => [b',', b';', b'\t', b'|'].map(Separator::from).to_vec(),
        };
        let mut best = None;
        let mut equals: Vec<(_, Separator)> = Vec::new();
        for delimiter in candidates {
            let dialect = CsvDialect {
                delimiter,
                ..self.dialect.clone()
            };
            let (width, agreeing) = tried(path, &dialect)?.width();
            let score = match width {
                0 | 1 => (0, 0),
                _ => (agreeing, width),
            };
            equals.push((score, delimiter));
            if best.is_none_or(|(other, _)| score > other) {
                best = Some((score, (delimiter, width)));
            }
        }
        let (score, (mut delimiter, mut width)) = best.expect("there is a candidate");
        let other = equals
            .iter()
            .find(|(other, found)| *other == score && *found != delimiter && width > 1);
        if let Some((_, other)) = other {
            self.remarks.push(format!(
                "`{}` would separate as many fields as `{}`; if it does: --delimiter '{0}'",
                other.text().escape_default(),
                delimiter.text().escape_default()
            ));
        }
        if width <= 1 && known.is_none() {
            (delimiter, width) = self.rarer_delimiter(path)?.unwrap_or((delimiter, width));
            if width > 1 {
                self.remarks.push(format!(
                    "the fields seem to be separated by `{}`",
                    delimiter.text().escape_default()
                ));
            }
        } else if known.is_none() {
            (delimiter, width) = self.longer_delimiter(path, delimiter, width)?;
        }
        self.dialect.delimiter = delimiter;
        if width <= 1 {
            self.remarks.push(
                "one column was found; if there are more, name their separator: --delimiter"
                    .to_owned(),
            );
        }
        Ok(width)
    }

    /// A delimiter that few files have, if all records agree about it, and numbers or quotes say that it is one. R
    /// writes tables with blanks, Hive with U+0001.
    fn rarer_delimiter(&self, path: &Path) -> Result<Option<(Separator, usize)>> {
        for byte in [0x01, 0x1f, b'~', b'^', b' '] {
            let delimiter = Separator::from(byte);
            let dialect = CsvDialect {
                delimiter,
                ..self.dialect.clone()
            };
            let Tried {
                widths,
                bad,
                likely,
                ..
            } = tried(path, &dialect)?;
            let width = most_common(&widths);
            let first = widths.first().copied().unwrap_or(0);
            // Texts do not contain control characters.
            let records_min = if byte < b' ' { 1 } else { 3 };
            let is_even =
                widths.len() >= records_min && widths.iter().skip(1).all(|other| *other == width);
            let is_headed = first == width || (first + 1 == width && width > 2);
            // Texts contain blanks; if the header is in quotes, or each record has mostly numbers, they separate fields.
            let fields = likely.iter().sum::<usize>();
            let is_third = fields * 3 > widths.len() * width;
            let are_numbers = width > 2
                && first == width
                && likely.first() == Some(&0)
                && likely[1..].iter().all(|likely| likely * 2 >= width);
            let is_plausible = match byte {
                b' ' => is_third && (likely.first() == Some(&first) || are_numbers),
                0x01 | 0x1f => true,
                _ => is_third,
            };
            if width > 1 && bad == 0 && is_even && is_headed && is_plausible {
                let (delimiter, width) = self.longer_delimiter(path, delimiter, width)?;
                return Ok(Some((delimiter, width)));
            }
        }
        Ok(None)
    }

    /// A delimiter of several characters of which one alone seemed to be it: then each record has as many of those as
    /// the longer one leaves.
    fn longer_delimiter(
        &self,
        path: &Path,
        found: Separator,
        width: usize,
    ) -> Result<(Separator, usize)> {
        let single = tried(path, &self.with_delimiter(found))?.widths;
        for text in [
            "||", "~|~", "|~|", "^|^", "|^|", "~~", "^^", ";;", "\t\t", "||~||",
        ] {
            let longer = Separator::new(text.as_bytes()).expect("it is short");
            let times = text.bytes().filter(|byte| found == *byte).count();
            if times == 0 {
                continue;
            }
            let widths = tried(path, &self.with_delimiter(longer))?.widths;
            // A header of names is enough where the records have the single character in their values.
            let is_made = |(single, longer): (&usize, &usize)| single - 1 == (longer - 1) * times;
            let is_made_of =
                single.len() == widths.len() && single.iter().zip(&widths).all(is_made);
            let is_named = single.iter().zip(&widths).next().is_some_and(is_made);
            let is_even = widths.iter().all(|width| *width == widths[0]);
            if (is_made_of || (is_named && is_even)) && most_common(&widths) > 1 {
                return Ok((longer, most_common(&widths)));
            }
        }
        Ok((found, width))
    }

    fn with_delimiter(&self, delimiter: Separator) -> CsvDialect {
        CsvDialect {
            delimiter,
            ..self.dialect.clone()
        }
    }
}
