//! Splits bytes into CSV records (RFC 4180) and their fields.
//!
//! A record ends at a newline outside quotes, `\n` or `\r\n`. Only a quote at a field's beginning opens
//! it; any other stray quote makes the record a bad one, which still ends where a newline outside quotes
//! stands. Bytes are not looked at otherwise: encoding and values are checked later.

use memchr::{memchr, memchr_iter, memchr2};

/// Where a field lies within its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its first byte, behind an opening quote.
    pub(crate) start: u32,
    /// Behind its last byte, before a closing quote.
    pub(crate) end: u32,
    /// Whether it stands in quotes.
    pub(crate) quoted: bool,
    /// Whether it holds doubled quotes, each of which stands for one.
    pub(crate) doubled: bool,
}

impl Span {
    /// The field's bytes in its record.
    pub(crate) fn of<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        &record[self.start as usize..self.end as usize]
    }
}

/// A record at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its length with its line end.
    pub(crate) len: usize,
    /// Its length without.
    pub(crate) content: usize,
    /// How many newlines it holds, the one at its end included.
    pub(crate) lines: u64,
    /// Whether there are quotes in it.
    pub(crate) has_quotes: bool,
    /// What is wrong with its quotes.
    pub(crate) fault: Option<QuoteFault>,
}

/// What is wrong with a record's quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuoteFault {
    /// A quote inside an unquoted field, or text behind a closing quote, in this field (from 0).
    Stray(usize),
    /// The bytes end inside quotes.
    Unclosed,
}

/// Finds records; keeps the fields of the last one found.
#[derive(Debug)]
pub(crate) struct Splitter {
    delimiter: u8,
    quote: Option<u8>,
    spans: Vec<Span>,
}

impl Splitter {
    pub(crate) fn new(delimiter: u8, quote: Option<u8>) -> Self {
        Self {
            delimiter,
            quote,
            spans: Vec::new(),
        }
    }

    /// The fields of the record that [`Splitter::split`] found last.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Finds the record at the beginning of `input`, which is not empty. `None` if more bytes are needed,
    /// which cannot be where `last` says that there are no more.
    pub(crate) fn split(&mut self, input: &[u8], last: bool) -> Option<Found> {
        self.spans.clear();
        // One look for both: most lines have no quotes.
        let end = match self.quote {
            Some(quote) => memchr2(b'\n', quote, input),
            None => memchr(b'\n', input),
        };
        let (content, len) = match end {
            Some(newline) if input[newline] == b'\n' => (newline, newline + 1),
            Some(_) => {
                let quote = self.quote.expect("what was found is no newline");
                return self.split_quoted(input, quote, last);
            }
            None if last => (input.len(), input.len()),
            None => return None,
        };
        let line = without_cr(&input[..content]);
        let mut start = 0;
        let delimiter = self.delimiter;
        for_each_place(line, delimiter, |end| {
            self.push(start, end, false, false);
            start = end + 1;
        });
        self.push(start, line.len(), false, false);
        Some(Found {
            len,
            content: line.len(),
            lines: (len - content) as u64,
            has_quotes: false,
            fault: None,
        })
    }

    /// The same for a record with quotes in its first line.
    fn split_quoted(&mut self, input: &[u8], quote: u8, last: bool) -> Option<Found> {
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
                        return None;
                    }
                    self.push(start, input.len(), true, false);
                    return Some(Found {
                        len: input.len(),
                        content: input.len(),
                        lines: count_newlines(&input[at..]) + lines,
                        has_quotes: true,
                        fault: Some(QuoteFault::Unclosed),
                    });
                };
                lines += count_newlines(&input[start..close]);
                self.push(start, close, true, doubled);
                end = close + 1;
            }
            // Where the field ends: for a quoted one right here, unless something stray follows.
            let stop = memchr2(self.delimiter, b'\n', &input[end..]).map(|found| end + found);
            if stop.is_none() && !last {
                return None;
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
            return Some(Found {
                len: stop + newline,
                content: end + rest.len(),
                lines: lines + newline as u64,
                has_quotes: true,
                fault,
            });
        }
    }

    fn push(&mut self, start: usize, end: usize, quoted: bool, doubled: bool) {
        // A record is bounded by `record_max`, far below 4 GiB.
        let at = |position| u32::try_from(position).expect("a record is smaller than 4 GiB");
        self.spans.push(Span {
            start: at(start),
            end: at(end),
            quoted,
            doubled,
        });
    }
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

/// Calls `take` for each place of a byte. Looks at eight at a time, as fields are too short for a search each to pay.
#[inline]
fn for_each_place(bytes: &[u8], byte: u8, mut take: impl FnMut(usize)) {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let everywhere = u64::from_le_bytes([byte; 8]);
    let mut at = 0;
    let (words, rest) = bytes.as_chunks();
    for word in words {
        let differing = u64::from_le_bytes(*word) ^ everywhere;
        // The highest bit of each byte that does not differ.
        let mut same = !(((differing & LOW_BITS) + LOW_BITS) | differing | LOW_BITS);
        while same != 0 {
            take(at + same.trailing_zeros() as usize / 8);
            same &= same - 1;
        }
        at += word.len();
    }
    for (i, other) in rest.iter().enumerate() {
        if *other == byte {
            take(at + i);
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub(crate) fn count_newlines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// Finds the end of a record too long to be held: fed with its bytes from the first on, piece by piece.
#[derive(Debug, Clone)]
pub(crate) struct EndFinder {
    delimiter: u8,
    quote: Option<u8>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote inside a quoted field: its end, or the first of two.
    QuoteInQuoted,
}

impl EndFinder {
    pub(crate) fn new(delimiter: u8, quote: Option<u8>) -> Self {
        Self {
            delimiter,
            quote,
            place: Place::FieldStart,
        }
    }

    /// Whether the record is inside quotes where the bytes fed so far end.
    pub(crate) fn in_quotes(&self) -> bool {
        self.place == Place::Quoted
    }

    /// Takes the record's next bytes; the index behind its newline if that is among them.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < input.len() {
            match self.place {
                Place::FieldStart if Some(input[at]) == self.quote => {
                    self.place = Place::Quoted;
                    at += 1;
                }
                Place::FieldStart => self.place = Place::Unquoted,
                Place::Unquoted => {
                    at += memchr2(self.delimiter, b'\n', &input[at..])?;
                    if input[at] == b'\n' {
                        return Some(at + 1);
                    }
                    self.place = Place::FieldStart;
                    at += 1;
                }
                Place::Quoted => {
                    let quote = self.quote.expect("only a quote leads into this place");
                    at += memchr(quote, &input[at..])? + 1;
                    self.place = Place::QuoteInQuoted;
                }
                Place::QuoteInQuoted if Some(input[at]) == self.quote => {
                    self.place = Place::Quoted;
                    at += 1;
                }
                Place::QuoteInQuoted => self.place = Place::Unquoted,
            }
        }
        None
    }
}
