//! Whether and how a file's fields are in quotes.

use std::path::Path;

use anyhow::Result;
use bekk_ingest::sample;
use bekk_stream::{CsvDialect, Separator};

use super::tried::{most_common, tried};
use super::{Guess, Typed};

impl Guess {
    /// Takes single quotes for quotes where there are no others, all are in order, and most records have some; how many
    /// fields most records have with them.
    pub(super) fn single_quoted(
        &mut self,
        path: &Path,
        lines: &[&[u8]],
        known: Option<Separator>,
        typed: &Typed,
    ) -> Result<Option<usize>> {
        let has = |byte: u8| lines.iter().any(|line| line.contains(&byte));
        if typed.quote.is_some() || has(b'"') || !has(b'\'') {
            return Ok(None);
        }
        let mut single = Guess {
            dialect: CsvDialect {
                quote: Some(b'\''),
                ..self.dialect.clone()
            },
            remarks: Vec::new(),
            names: None,
            preamble: None,
        };
        let width = single.delimiter(path, known)?;
        let found = tried(path, &single.dialect)?;
        // An apostrophe inside a field is a wrong quote.
        if found.bad > 0 || found.quoted * 2 <= found.widths.len() {
            return Ok(None);
        }
        self.dialect = single.dialect;
        self.remarks.append(&mut single.remarks);
        self.remarks
            .push("fields are in single quotes, which are not part of their values".to_owned());
        Ok(Some(width))
    }

    /// Finds out whether blanks before quotes, escapes or inch marks explain wrong quotes.
    pub(super) fn quoting(&mut self, path: &Path, typed: &Typed) -> Result<()> {
        let mut fewest = tried(path, &self.dialect)?.bad;
        if fewest == 0 || typed.quote.is_some() || typed.escape.is_some() {
            return Ok(());
        }
        let plain = self.dialect.clone();
        let candidates = [(true, None), (false, Some(b'\\')), (true, Some(b'\\'))];
        let is_possible = |trim: bool| typed.trim.is_none_or(|typed| typed == trim);
        for (trim, escape) in candidates
            .into_iter()
            .filter(|(trim, _)| is_possible(*trim))
        {
            let candidate = CsvDialect {
                trim,
                escape,
                ..plain.clone()
            };
            let bad = tried(path, &candidate)?.bad;
            if bad < fewest {
                (fewest, self.dialect) = (bad, candidate);
            }
        }
        if fewest == 0 {
            return Ok(());
        }
        // Inches and seconds: quotes that no field begins with.
        let without = CsvDialect {
            quote: None,
            ..plain
        };
        let width = most_common(&tried(path, &without)?.widths);
        let (mut quoted, mut uneven) = (0, 0);
        sample(path, &without, |record| {
            quoted += (0..record.width())
                .filter(|at| {
                    record
                        .field(*at)
                        .is_some_and(|(text, _)| text.starts_with(b"\""))
                })
                .count();
            uneven += usize::from(record.width() != width);
            quoted + uneven == 0
        })?;
        if quoted + uneven == 0 {
            self.dialect = without;
            self.remarks.push(
                "no field begins with a quote, so quotes are kept as text (inches, for example)"
                    .to_owned(),
            );
        }
        Ok(())
    }
}
