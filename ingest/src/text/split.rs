//! Splits bytes into CSV records (RFC 4180) and their fields.
//!
//! A record ends at a line end outside quotes, `\n` or `\r\n` unless the dialect says otherwise. Only a quote at
//! a field's beginning opens it; any other stray quote makes the record a bad one. A bad record that spans lines
//! costs its first line only: what follows is split again. Bytes are not looked at otherwise: encoding and values
//! are checked later.

// Named for the fuzz target, which takes this file from another place.
#[path = "split/end_finder.rs"]
mod end_finder;
#[path = "split/special.rs"]
mod special;

use bekk_stream::CsvDialect;
use memchr::{memchr, memchr_iter, memchr2};

pub(crate) use self::end_finder::{EndFinder, Ended};
use self::special::Special;

use super::ends;

/// Where a field lies within its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its first byte, behind an opening quote.
    pub(crate) start: u32,
    /// Behind its last byte, before a closing quote.
    pub(crate) end: u32,
    pub(crate) quoted: bool,
    /// Whether it holds doubled quotes or escapes.
    pub(crate) escaped: bool,
}

impl Span {
    /// The field's bytes in its record.
    pub(crate) fn of<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        &record[self.start as usize..self.end as usize]
    }
}

/// A record at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SplitRecord {
    /// Its length with its line end.
    pub(crate) len: usize,
    /// Its length without.
    pub(crate) content: usize,
    /// How many line ends it holds, the one at its end included.
    pub(crate) lines: u64,
    /// Whether there may be fields in it that do not stand there as they are.
    pub(crate) has_quotes: bool,
    pub(crate) fault: Option<QuoteFault>,
}

/// What is wrong with a record's quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuoteFault {
    /// A quote inside an unquoted field, or text behind a closing quote, in this field (from 0).
    Stray(usize),
    /// The quote that this field (from 0) begins with is not closed: in the line, or not as it must be.
    Unclosed(usize),
}

/// Finds records; keeps the fields of the last one found.
#[derive(Debug)]
pub(crate) struct Splitter {
    delimiter: u8,
    quote: Option<u8>,
    quoted_newlines: bool,
    /// The properties of a dialect that only few have.
    special: Option<Special>,
    spans: Vec<Span>,
}

impl Splitter {
    pub(crate) fn new(dialect: &CsvDialect) -> Self {
        Self {
            // Where it is longer, it is the special dialect's.
            delimiter: dialect.delimiter.byte().unwrap_or(0),
            quote: dialect.quote,
            quoted_newlines: dialect.quoted_newlines,
            special: Special::of(dialect),
            spans: Vec::new(),
        }
    }

    /// The fields of the record that [`Splitter::split`] found last.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Finds the record at the beginning of `input`, which is not empty. `None` if more bytes are needed,
    /// which cannot be where `last` says that there are no more.
    pub(crate) fn split(&mut self, input: &[u8], last: bool) -> Option<SplitRecord> {
        self.spans.clear();
        if let Some(special) = self.special {
            return self.split_special(special, input, last);
        }
        // One look for both: most lines have no quotes.
        let end = match self.quote {
            Some(quote) => memchr2(b'\n', quote, input),
            None => memchr(b'\n', input),
        };
        let (content, len) = match end {
            Some(newline) if input[newline] == b'\n' => (newline, newline + 1),
            Some(_) => {
                let quote = self.quote.expect("what was found is no newline");
                return match self.quoted_newlines {
                    true => self.split_quoted(input, quote, last),
                    false => self.split_line(input, last),
                };
            }
            None if last => (input.len(), input.len()),
            None => return None,
        };
        let line = without_cr(&input[..content]);
        self.split_plain(line);
        Some(SplitRecord {
            len,
            content: line.len(),
            lines: (len - content) as u64,
            has_quotes: false,
            fault: None,
        })
    }

    /// The same for a record with quotes in its first line. A bad one that spans lines is cut to its first.
    fn split_quoted(&mut self, input: &[u8], quote: u8, last: bool) -> Option<SplitRecord> {
        let is_line = |found: &SplitRecord| {
            memchr(b'\n', input).is_none_or(|newline| newline >= found.content)
        };
        match self.split_fields(input, quote, last) {
            Ok(found) if found.fault.is_none() || is_line(&found) => Some(found),
            // A newline that does not end what is known to be bad stands in quotes.
            Ok(_) | Err(Some(_)) => self.split_line(input, last),
            Err(None) => None,
        }
    }

    /// The record that the first line is, whatever its quotes.
    pub(crate) fn split_line(&mut self, input: &[u8], last: bool) -> Option<SplitRecord> {
        self.spans.clear();
        if let Some(special) = self.special {
            return self.split_broken_line(special, input, last);
        }
        let newline = memchr(b'\n', input);
        if newline.is_none() && !last {
            return None;
        }
        let whole = &input[..newline.unwrap_or(input.len())];
        let line = with_own_cr(whole, without_cr(whole));
        let quote = self.quote.filter(|_| !line.is_empty())?;
        let found = self.split_fields(line, quote, true).ok()?;
        Some(SplitRecord {
            len: newline.map_or(input.len(), |newline| newline + 1),
            lines: u64::from(newline.is_some()),
            ..found
        })
    }

    /// Without the record's end: what is wrong with it so far.
    fn split_fields(
        &mut self,
        input: &[u8],
        quote: u8,
        last: bool,
    ) -> Result<SplitRecord, Option<QuoteFault>> {
        let mut lines = 0;
        let mut fault = None;
        let mut at = 0;
        loop {
            let field = self.spans.len();
            let quoted = input.get(at) == Some(&quote);
            let mut end = at;
            if quoted {
                let start = at + 1;
                let Some((close, doubled)) = closing_quote(input, start, quote) else {
                    if !last {
                        return Err(fault);
                    }
                    self.push(start, input.len(), true, false);
                    return Ok(SplitRecord {
                        len: input.len(),
                        content: input.len(),
                        lines: count_newlines(&input[at..]) + lines,
                        has_quotes: true,
                        fault: fault.or(Some(QuoteFault::Unclosed(field))),
                    });
                };
                lines += count_newlines(&input[start..close]);
                self.push(start, close, true, doubled);
                end = close + 1;
            }
            // Where the field ends: for a quoted one right here, unless something stray follows.
            let stop = memchr2(self.delimiter, b'\n', &input[end..]).map(|found| end + found);
            if stop.is_none() && !last {
                let stray = match quoted {
                    true => !matches!(&input[end..], b"" | b"\r"),
                    false => memchr(quote, &input[end..]).is_some(),
                };
                return Err(fault.or(stray.then_some(QuoteFault::Stray(field))));
            }
            let stop = stop.unwrap_or(input.len());
            let delimited = input.get(stop) == Some(&self.delimiter);
            let rest = match delimited {
                true => &input[end..stop],
                false => without_cr(&input[end..stop]),
            };
            let stray = match quoted {
                true => !rest.is_empty(),
                false => memchr(quote, rest).is_some(),
            };
            if stray && fault.is_none() {
                fault = Some(QuoteFault::Stray(field));
            }
            if !quoted {
                self.push(end, end + rest.len(), false, false);
            }
            if delimited {
                at = stop + 1;
                continue;
            }
            let newline = usize::from(stop < input.len());
            return Ok(SplitRecord {
                len: stop + newline,
                content: end + rest.len(),
                lines: lines + newline as u64,
                has_quotes: true,
                fault,
            });
        }
    }

    /// Takes the fields of a line without quotes. It is not inlined, so that its loop has all registers.
    #[inline(never)]
    fn split_plain(&mut self, line: &[u8]) {
        let mut start = 0;
        let mut push = |end| {
            self.spans.push(Span {
                start,
                end,
                quoted: false,
                escaped: false,
            });
            start = end + 1;
        };
        let end = place(line.len());
        for_each_place(line, self.delimiter, &mut push);
        push(end);
    }

    fn push(&mut self, start: usize, end: usize, quoted: bool, escaped: bool) {
        self.spans.push(Span {
            start: place(start),
            end: place(end),
            quoted,
            escaped,
        });
    }
}

/// A place within a record, which is bounded by `record_max`, far below 4 GiB.
fn place(at: usize) -> u32 {
    u32::try_from(at).expect("a record is smaller than 4 GiB")
}

/// Finds the quote that closes a field whose text begins at `start`, and says whether the text holds
/// doubled ones. A quote at the very end of the input is taken as closing: the caller looks for what
/// must follow it, and comes back with more bytes if there is nothing.
fn closing_quote(input: &[u8], start: usize, quote: u8) -> Option<(usize, bool)> {
    let mut doubled = false;
    let mut at = start;
    loop {
        at += memchr(quote, &input[at..])?;
        if input.get(at + 1) != Some(&quote) {
            return Some((at, doubled));
        }
        doubled = true;
        at += 2;
    }
}

/// Calls `take` for each place of a byte in a record. It looks at eight at a time, as fields are too short for a search
/// each to pay.
#[inline]
fn for_each_place(record: &[u8], byte: u8, mut take: impl FnMut(u32)) {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let everywhere = u64::from_le_bytes([byte; 8]);
    let mut at = 0;
    let (words, rest) = record.as_chunks();
    for word in words {
        let differing = u64::from_le_bytes(*word) ^ everywhere;
        // The highest bit of each byte that does not differ.
        let mut same = !(((differing & LOW_BITS) + LOW_BITS) | differing | LOW_BITS);
        while same != 0 {
            take(at + same.trailing_zeros() / 8);
            same &= same - 1;
        }
        at += 8;
    }
    for (at, other) in (at..).zip(rest) {
        if *other == byte {
            take(at);
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Chooses the bytes of a line in which its fields are searched for: `without_cr`, unless the line ends in two carriage
/// returns. The search takes one from the last field, and the first of the two belongs to the text.
fn with_own_cr<'a>(line: &'a [u8], without_cr: &'a [u8]) -> &'a [u8] {
    if without_cr.ends_with(b"\r") {
        line
    } else {
        without_cr
    }
}

pub(crate) fn count_newlines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_places_are_found(record in "[-,.a]{0,200}") {
            let mut found = Vec::new();
            for_each_place(record.as_bytes(), b',', |place| found.push(place as usize));
            let expected: Vec<usize> = memchr_iter(b',', record.as_bytes()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
