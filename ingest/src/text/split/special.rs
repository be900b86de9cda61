//! Records of the few dialects with escapes, blanks around fields, or separators of several characters. They are split
//! byte by byte.

use bekk_stream::{CsvDialect, Separator};

use super::{QuoteFault, SplitRecord, Splitter, ends, with_own_cr, without_cr};

/// The properties that only few dialects have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Special {
    delimiter: Separator,
    end: Separator,
    escape: Option<u8>,
    trim: bool,
}

/// A field that was found: where the next one begins, or how the record ends.
enum Next {
    Field(usize),
    /// With the record's length, and that of its content.
    End(usize, usize),
}

impl Splitter {
    /// Finds a record of a dialect with such properties.
    pub(super) fn split_special(
        &mut self,
        special: Special,
        input: &[u8],
        last: bool,
    ) -> Option<SplitRecord> {
        if !self.quoted_newlines {
            return self.split_special_line(special, input, last);
        }
        match self.split_bytes(special, input, last) {
            Some(found) if found.fault.is_none() => Some(found),
            Some(found) => {
                let newline = special.find_end(input);
                match newline.is_none_or(|newline| newline >= found.content) {
                    true => Some(found),
                    false => self.split_broken_line(special, input, last),
                }
            }
            None => None,
        }
    }

    /// Finds the first line of a record with wrong quotes. If its end is escaped, the line alone may have right quotes; it
    /// is a part of that record all the same, and bad.
    pub(super) fn split_broken_line(
        &mut self,
        special: Special,
        input: &[u8],
        last: bool,
    ) -> Option<SplitRecord> {
        let line = self.split_special_line(special, input, last)?;
        let field = self.spans.len().saturating_sub(1);
        Some(SplitRecord {
            fault: line.fault.or(Some(QuoteFault::Stray(field))),
            ..line
        })
    }

    fn split_special_line(
        &mut self,
        special: Special,
        input: &[u8],
        last: bool,
    ) -> Option<SplitRecord> {
        self.spans.clear();
        let newline = special.find_end(input);
        if newline.is_none() && !last {
            return None;
        }
        let whole = &input[..newline.unwrap_or(input.len())];
        let line = with_own_cr(whole, special.without_return(whole));
        let found = self.split_bytes(special, line, true)?;
        Some(SplitRecord {
            len: newline.map_or(input.len(), |newline| {
                newline + special.end.as_bytes().len()
            }),
            lines: u64::from(newline.is_some()),
            ..found
        })
    }

    fn split_bytes(&mut self, special: Special, input: &[u8], last: bool) -> Option<SplitRecord> {
        self.spans.clear();
        let mut fault = None;
        let mut at = 0;
        loop {
            let field = self.spans.len();
            let start = at + special.blanks(&input[at..]);
            if start == input.len() && !last {
                return None;
            }
            let is_quoted = self.quote.is_some() && input.get(start).copied() == self.quote;
            let mut end = start;
            if is_quoted {
                let quote = self.quote.expect("it is one");
                let Some((close, escaped)) = special.closing_quote(input, start + 1, quote) else {
                    if !last {
                        return None;
                    }
                    self.push(start + 1, input.len(), true, true);
                    return Some(SplitRecord {
                        len: input.len(),
                        content: input.len(),
                        lines: special.count_lines(input),
                        has_quotes: true,
                        fault: fault.or(Some(QuoteFault::Unclosed(field))),
                    });
                };
                self.push(start + 1, close, true, escaped);
                end = close + 1 + special.blanks(&input[close + 1..]);
            }
            let (next, text_end, escaped) = self.field_end(special, input, end, last)?;
            let text = &input[end..text_end];
            if is_quoted {
                if !text.is_empty() {
                    fault = fault.or(Some(QuoteFault::Stray(field)));
                }
            } else {
                let is_stray = !escaped && self.quote.is_some_and(|quote| text.contains(&quote));
                if is_stray {
                    fault = fault.or(Some(QuoteFault::Stray(field)));
                }
                let kept = match special.trim && !escaped {
                    true => text.trim_ascii_end().len(),
                    false => text.len(),
                };
                self.push(end, end + kept, false, escaped);
            }
            match next {
                Next::Field(next) => at = next,
                Next::End(len, content) => {
                    return Some(SplitRecord {
                        len,
                        content,
                        lines: special.count_lines(&input[..len]),
                        has_quotes: true,
                        fault,
                    });
                }
            }
        }
    }

    /// Finds the end of the field whose text begins at `at`. Returns what follows the field, where its text ends, and
    /// whether it has escapes; `None` if more bytes are needed.
    fn field_end(
        &self,
        special: Special,
        input: &[u8],
        mut at: usize,
        last: bool,
    ) -> Option<(Next, usize, bool)> {
        let mut escaped = false;
        let (delimiter, end) = (special.delimiter.as_bytes(), special.end.as_bytes());
        let (delimiter_first, end_first) = (delimiter[0], end[0]);
        while at < input.len() {
            let byte = input[at];
            if Some(byte) == special.escape {
                escaped = true;
                at += 2;
            } else if byte == end_first && input[at..].starts_with(end) {
                let content = special.without_return(&input[..at]).len();
                return Some((Next::End(at + end.len(), content), content, escaped));
            } else if byte == delimiter_first && input[at..].starts_with(delimiter) {
                return Some((Next::Field(at + delimiter.len()), at, escaped));
            } else {
                at += 1;
            }
        }
        if !last {
            return None;
        }
        let content = special.without_return(input).len();
        Some((Next::End(input.len(), content), content, escaped))
    }
}

impl Special {
    pub(super) fn of(dialect: &CsvDialect) -> Option<Self> {
        let special = Self {
            delimiter: dialect.delimiter,
            end: dialect.end(),
            escape: dialect.escape,
            trim: dialect.trim,
        };
        let is_plain = special.end == b'\n'
            && special.delimiter.byte().is_some()
            && special.escape.is_none()
            && !special.trim;
        (!is_plain).then_some(special)
    }

    /// Finds the first record end.
    fn find_end(&self, input: &[u8]) -> Option<usize> {
        ends::find(self.end.as_bytes(), input)
    }

    /// Number of leading blanks to skip.
    fn blanks(self, bytes: &[u8]) -> usize {
        let delimiter = self.delimiter.as_bytes();
        let is_blank =
            |at: &usize| matches!(bytes[*at], b' ' | b'\t') && !bytes[*at..].starts_with(delimiter);
        match self.trim {
            true => (0..bytes.len()).take_while(is_blank).count(),
            false => 0,
        }
    }

    /// Finds the closing quote as for other dialects, and skips what is escaped.
    fn closing_quote(self, input: &[u8], start: usize, quote: u8) -> Option<(usize, bool)> {
        let mut escaped = false;
        let mut at = start;
        while at < input.len() {
            if Some(input[at]) == self.escape {
                escaped = true;
                at += 2;
            } else if input[at] != quote {
                at += 1;
            } else if input.get(at + 1) == Some(&quote) {
                escaped = true;
                at += 2;
            } else {
                return Some((at, escaped));
            }
        }
        None
    }

    fn without_return(self, line: &[u8]) -> &[u8] {
        match self.end == b'\n' {
            true => without_cr(line),
            false => line,
        }
    }

    fn count_lines(self, bytes: &[u8]) -> u64 {
        ends::count(self.end.as_bytes(), bytes)
    }
}
