//! The end of a record that is too long to hold.

use bekk_stream::{CsvDialect, Separator};
use memchr::{memchr, memchr2};

use super::special::Special;
use super::{count_newlines, ends};

/// Finds the end of a record too long to be held: fed with its bytes from the first on, piece by piece.
#[derive(Debug, Clone)]
pub(crate) struct EndFinder {
    delimiter: u8,
    quote: Option<u8>,
    newline: u8,
    /// A record end of several bytes, and what may be its beginning.
    end: Option<Separator>,
    tail: Vec<u8>,
    /// Whether it ends with its line, whatever its quotes.
    is_line: bool,
    place: Place,
    lines: u64,
    is_stray: bool,
}

/// What the bytes fed so far say of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It ends before this index of the bytes fed last.
    At(usize),
    /// Its quotes are wrong, and it spans lines.
    Broken,
    /// Its end is not there yet.
    NotYet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote inside a quoted field: its end, or the first of two.
    QuoteInQuoted,
    /// Behind that and a carriage return.
    ReturnAfterQuote,
}

impl EndFinder {
    /// For a dialect; with `is_line` it ends with its line.
    pub(crate) fn new(dialect: &CsvDialect, is_line: bool) -> Self {
        let special = Special::of(dialect);
        Self {
            delimiter: dialect.delimiter.byte().unwrap_or(dialect.end().last()),
            // What is escaped is not looked at here: such a record ends with its line.
            quote: dialect.quote.filter(|_| special.is_none()),
            newline: dialect.end().last(),
            end: Some(dialect.end()).filter(|end| end.byte().is_none()),
            tail: Vec::new(),
            is_line: is_line || !dialect.quoted_newlines,
            place: Place::FieldStart,
            lines: 0,
            is_stray: false,
        }
    }

    /// Whether the first thing wrong with its quotes is that they are open where the bytes fed so far end.
    pub(crate) fn is_open(&self) -> bool {
        self.place == Place::Quoted && !self.is_stray
    }

    /// Takes the record's next bytes.
    pub(crate) fn feed(&mut self, input: &[u8]) -> Ended {
        if let Some(end) = self.end {
            return self.feed_to(end, input);
        }
        let mut at = 0;
        while at < input.len() {
            match self.place {
                Place::FieldStart if Some(input[at]) == self.quote => {
                    self.place = Place::Quoted;
                    at += 1;
                }
                Place::FieldStart => self.place = Place::Unquoted,
                Place::Unquoted => {
                    let rest = &input[at..];
                    let stop = memchr2(self.delimiter, self.newline, rest);
                    let text = &rest[..stop.unwrap_or(rest.len())];
                    self.is_stray |= self
                        .quote
                        .is_some_and(|quote| memchr(quote, text).is_some());
                    let Some(stop) = stop else {
                        return self.not_yet();
                    };
                    at += stop + 1;
                    if rest[stop] == self.newline {
                        self.lines += 1;
                        return match self.is_stray && self.lines > 1 {
                            true => Ended::Broken,
                            false => Ended::At(at),
                        };
                    }
                    self.place = Place::FieldStart;
                }
                Place::Quoted => {
                    let quote = self.quote.expect("only a quote leads into this place");
                    let close = memchr(quote, &input[at..]).map(|found| at + found);
                    if self.is_line
                        && let Some(end) = memchr(b'\n', &input[at..close.unwrap_or(input.len())])
                    {
                        return Ended::At(at + end + 1);
                    }
                    self.lines += count_newlines(&input[at..close.unwrap_or(input.len())]);
                    let Some(close) = close else {
                        return self.not_yet();
                    };
                    at = close + 1;
                    self.place = Place::QuoteInQuoted;
                }
                Place::QuoteInQuoted if Some(input[at]) == self.quote => {
                    self.place = Place::Quoted;
                    at += 1;
                }
                Place::QuoteInQuoted if input[at] == b'\r' => {
                    self.place = Place::ReturnAfterQuote;
                    at += 1;
                }
                Place::QuoteInQuoted => {
                    self.is_stray |= input[at] != b'\n' && input[at] != self.delimiter;
                    self.place = Place::Unquoted;
                }
                Place::ReturnAfterQuote => {
                    self.is_stray |= input[at] != b'\n';
                    self.place = Place::Unquoted;
                }
            }
            if self.is_stray && self.lines > 0 {
                return Ended::Broken;
            }
        }
        self.not_yet()
    }

    /// As [`EndFinder::feed`], up to an end of several bytes, which may lie across two inputs.
    fn feed_to(&mut self, end: Separator, input: &[u8]) -> Ended {
        let end = end.as_bytes();
        let before = self.tail.len();
        let joined = [&self.tail[..], &input[..input.len().min(end.len())]].concat();
        let across = ends::find(end, &joined).map(|at| at + end.len() - before);
        let found = across.or_else(|| ends::find(end, input).map(|at| at + end.len()));
        if let Some(found) = found {
            self.lines += 1;
            return Ended::At(found);
        }
        self.tail.extend_from_slice(input);
        let kept = self.tail.len().saturating_sub(end.len() - 1);
        self.tail.drain(..kept);
        Ended::NotYet
    }

    fn not_yet(&self) -> Ended {
        match self.is_stray && self.lines > 0 {
            true => Ended::Broken,
            false => Ended::NotYet,
        }
    }
}
