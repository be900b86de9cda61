//! The property of the splitter, for any bytes: whole and byte by byte it finds the same records, they lie one
//! behind the other, and what it finds no fault with is what the csv crate reads.
//!
//! The fuzz target compiles this file and the splitter by themselves.

use bekk_stream::{CsvDialect, Separator};
use csv::{ReaderBuilder, Terminator};

use super::ends;
use super::split::{EndFinder, Ended, QuoteFault, Span, SplitRecord, Splitter};

/// A record: where it begins, what was found, and its fields.
struct Record {
    start: usize,
    found: SplitRecord,
    spans: Vec<Span>,
}

/// Checks the property in each dialect that is tried.
///
/// # Panics
/// If it does not hold.
pub(crate) fn check(content: &[u8]) {
    check_default(content);
    check_separators(content);
    check_slowly(content);
}

fn check_default(content: &[u8]) {
    let mut splitter = Splitter::new(&CsvDialect::default());
    let mut records = Vec::new();
    let mut start = 0;
    while start < content.len() {
        let rest = &content[start..];
        let found = splitter
            .split(rest, true)
            .expect("there is no more to come");
        assert!(found.len > 0 && found.content <= found.len && found.len <= rest.len());
        let newlines = rest[..found.len]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        assert_eq!(
            found.lines, newlines as u64,
            "lines of the record at {start}"
        );
        let spans = splitter.spans().to_vec();
        check_steps(rest, &found, &spans);
        records.push(Record {
            start,
            found,
            spans,
        });
        start += found.len;
    }
    assert_eq!(start, content.len());
    if records.iter().all(|record| record.found.fault.is_none()) {
        check_against_csv(content, &records);
    }
}

/// The same for dialects with escapes, blanks around fields, other quotes and record ends: the splitter finds the same
/// records and fields as a slow reader, which looks at one byte after the other.
fn check_slowly(content: &[u8]) {
    let separator = |text: &str| Separator::new(text.as_bytes()).expect("it is short");
    let forms = [
        (",", "\n", Some(b'"'), Some(b'1'), false, true),
        (",", "\n", Some(b'"'), Some(b'1'), true, true),
        (",", "\n", Some(b'"'), None, false, true),
        (",", "\n", None, Some(b'1'), false, true),
        (",", "\n", Some(b'"'), None, true, true),
        (",", "\n", Some(b'"'), None, true, false),
        (",", "\r", Some(b'"'), Some(b'1'), true, true),
        (",,", "#\n", Some(b'"'), Some(b'1'), true, true),
        ("1", "\n", Some(b'\''), Some(b','), false, false),
    ];
    for (delimiter, end, quote, escape, trim, quoted_newlines) in forms {
        let dialect = CsvDialect {
            delimiter: separator(delimiter),
            record_end: Some(separator(end)).filter(|_| end != "\n"),
            quote,
            escape,
            trim,
            quoted_newlines,
            ..CsvDialect::default()
        };
        check_form(&dialect, content);
    }
}

/// Checks the property in one dialect, by what is between fields and records.
///
/// # Panics
/// If it does not hold.
pub(crate) fn check_form(dialect: &CsvDialect, content: &[u8]) {
    check_in(dialect, content);
    check_as_slow(dialect, content);
}

fn check_as_slow(dialect: &CsvDialect, content: &[u8]) {
    let end = dialect.end();
    let mut splitter = Splitter::new(dialect);
    let mut start = 0;
    while start < content.len() {
        let rest = &content[start..];
        let line =
            ends::find(end.as_bytes(), rest).map_or(rest, |at| &rest[..at + end.as_bytes().len()]);
        let shown = || format!("{dialect:?} at {start} of {}", content.escape_ascii());
        let found = splitter
            .split(rest, true)
            .expect("there is no more to come");
        let whole = match dialect.quoted_newlines {
            true => slow(dialect, rest),
            // The slow reader itself takes away the carriage return before the end.
            false => slow(dialect, line.strip_suffix(end.as_bytes()).unwrap_or(line))
                .map(|(_, fields)| (line.len(), fields)),
        };
        match whole {
            Some((len, fields)) => {
                assert_eq!((found.fault, found.len), (None, len), "{}", shown());
                let ours: Vec<_> = splitter
                    .spans()
                    .iter()
                    .map(|span| (span.of(rest), span.quoted))
                    .collect();
                assert_eq!(ours, fields, "{}", shown());
            }
            // Wrong quotes cost the first line.
            None => {
                assert!(found.fault.is_some(), "{}", shown());
                assert_eq!(found.len, line.len(), "{}", shown());
            }
        }
        start += found.len;
    }
}

/// The fields of a record: the bytes of each, with escapes and doubled quotes, and whether it is in quotes.
type Fields<'a> = Vec<(&'a [u8], bool)>;

/// Reads the record at the beginning of some bytes. Returns its length and its fields; `None` if its quotes are wrong.
fn slow<'a>(dialect: &CsvDialect, bytes: &'a [u8]) -> Option<(usize, Fields<'a>)> {
    let (delimiter, end) = (dialect.delimiter, dialect.end());
    let (delimiter, end) = (delimiter.as_bytes(), end.as_bytes());
    let is_at = |at: usize, text: &[u8]| bytes[at.min(bytes.len())..].starts_with(text);
    let is = |at: usize, byte: Option<u8>| byte.is_some() && bytes.get(at).copied() == byte;
    let blanks = |mut at: usize| {
        while dialect.trim && (is(at, Some(b' ')) || is(at, Some(b'\t'))) && !is_at(at, delimiter) {
            at += 1;
        }
        at
    };
    let mut fields = Vec::new();
    let mut is_wrong = false;
    let mut at = 0;
    loop {
        at = blanks(at);
        let quoted = is(at, dialect.quote);
        if quoted {
            let begin = at + 1;
            at = begin;
            loop {
                if at >= bytes.len() {
                    return None;
                } else if is(at, dialect.escape)
                    || (is(at, dialect.quote) && is(at + 1, dialect.quote))
                {
                    at += 2;
                } else if is(at, dialect.quote) {
                    break;
                } else {
                    at += 1;
                }
            }
            fields.push((&bytes[begin..at], true));
            at = blanks(at + 1);
        }
        let begin = at;
        let mut is_escaped = false;
        while at < bytes.len() && !is_at(at, end) && !is_at(at, delimiter) {
            is_escaped |= is(at, dialect.escape);
            at += if is(at, dialect.escape) { 2 } else { 1 };
        }
        let is_end = at >= bytes.len() || is_at(at, end);
        at = at.min(bytes.len());
        let mut text = &bytes[begin..at];
        if is_end && end == b"\n" {
            text = text.strip_suffix(b"\r").unwrap_or(text);
        }
        if quoted {
            is_wrong |= !text.is_empty();
        } else {
            is_wrong |= !is_escaped && dialect.quote.is_some_and(|quote| text.contains(&quote));
            let kept = match dialect.trim && !is_escaped {
                true => text.trim_ascii_end(),
                false => text,
            };
            fields.push((kept, false));
        }
        if is_end {
            let len = at + if at < bytes.len() { end.len() } else { 0 };
            return (!is_wrong).then_some((len, fields));
        }
        at += delimiter.len();
    }
}

/// The same for dialects with separators of several characters, which the csv crate does not read: the records lie one
/// behind the other, and without quotes they are what stands between record ends, and their fields between delimiters.
fn check_separators(content: &[u8]) {
    let separator = |text: &str| Separator::new(text.as_bytes()).expect("it is short");
    for (delimiter, end) in [
        ("11", "\n"),
        (",", "1,"),
        (",,", "\r\n"),
        (",\n", "1#"),
        ("1,", "#"),
    ] {
        for quote in [None, Some(b'"').filter(|_| !delimiter.contains('"'))] {
            let dialect = CsvDialect {
                delimiter: separator(delimiter),
                record_end: Some(separator(end)).filter(|_| end != "\n"),
                quote,
                ..CsvDialect::default()
            };
            check_in(&dialect, content);
        }
    }
}

fn check_in(dialect: &CsvDialect, content: &[u8]) {
    let (delimiter, end) = (dialect.delimiter, dialect.end());
    let (delimiter, end) = (delimiter.as_bytes(), end.as_bytes());
    let mut splitter = Splitter::new(dialect);
    let mut start = 0;
    while start < content.len() {
        let rest = &content[start..];
        let found = splitter
            .split(rest, true)
            .expect("there is no more to come");
        assert!(found.len > 0 && found.content <= found.len && found.len <= rest.len());
        let spans = splitter.spans().to_vec();
        let is_bare = dialect.quote.is_none() && dialect.escape.is_none() && !dialect.trim;
        if is_bare {
            let line = ends::find(end, rest).map_or(rest, |at| &rest[..at + end.len()]);
            assert_eq!(found.len, line.len(), "{dialect:?} at {start}");
            let text = ends::without(end, line);
            let mut fields = Vec::new();
            let mut from = 0;
            while let Some(at) = ends::find(delimiter, &text[from..]) {
                fields.push(&text[from..from + at]);
                from += at + delimiter.len();
            }
            fields.push(&text[from..]);
            let ours: Vec<_> = spans.iter().map(|span| span.of(rest)).collect();
            assert_eq!(ours, fields, "{dialect:?} at {start}");
        }
        let mut steps = Splitter::new(dialect);
        let in_steps =
            (1..=rest.len()).find_map(|len| Some((steps.split(&rest[..len], false)?, len)));
        if let Some((in_steps, len)) = in_steps {
            assert_eq!(in_steps, found, "{dialect:?} at {start}");
            // Whether a quote is closed may be known only later.
            assert!(
                len == found.len || found.fault.is_some(),
                "{dialect:?} at {start}"
            );
        }
        start += found.len;
    }
}

/// Gives the splitter a byte more each time: it waits until the record is whole, and then finds the same.
fn check_steps(rest: &[u8], whole: &SplitRecord, spans: &[Span]) {
    let mut splitter = Splitter::new(&CsvDialect::default());
    let mut finder = EndFinder::new(&CsvDialect::default(), false);
    for len in 1..=rest.len() {
        let found = splitter.split(&rest[..len], false);
        match (found, finder.feed(&rest[len - 1..len])) {
            (None, Ended::NotYet) => continue,
            (Some(found), Ended::At(1)) => assert_eq!((found, len), (*whole, whole.len)),
            (Some(found), Ended::Broken) => assert!(found == *whole && found.fault.is_some()),
            other => panic!("{other:?} of {len} bytes"),
        }
        assert_eq!(splitter.spans(), spans);
        return;
    }
    let is_open = matches!(whole.fault, Some(QuoteFault::Unclosed(_)));
    assert!(is_open || whole.len == rest.len(), "it ends with the bytes");
}

fn check_against_csv(content: &[u8], records: &[Record]) {
    // It removes a byte order mark, which the splitter leaves to others.
    if content.starts_with(b"\xef\xbb\xbf") {
        return;
    }
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .terminator(Terminator::Any(b'\n'))
        .from_reader(content);
    let mut theirs = reader.byte_records();
    // It passes over lines with nothing in them.
    for record in records
        .iter()
        .filter(|record| record.found.len > 1 || content[record.start] != b'\n')
    {
        let their = theirs
            .next()
            .expect("a record as well")
            .expect("bytes in memory can be read");
        let position = usize::try_from(their.position().expect("it was read").byte())
            .expect("the content is in memory");
        let between = &content[position..record.start];
        assert!(
            between.iter().all(|byte| *byte == b'\n'),
            "{position} and {}",
            record.start
        );
        let bytes = &content[record.start..record.start + record.found.len];
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let has_return = line.len() > record.found.content;
        assert_eq!(their.len(), record.spans.len());
        for (field, (their, span)) in their.iter().zip(&record.spans).enumerate() {
            let is_last = field + 1 == record.spans.len();
            let their = match has_return && is_last {
                true => their
                    .strip_suffix(b"\r")
                    .expect("it leaves the return in the last field"),
                false => their,
            };
            assert_eq!(
                unquoted(bytes, span),
                their,
                "field {field} at {}",
                record.start
            );
        }
    }
    assert!(theirs.next().is_none());
}

/// A field's text, each doubled quote made one.
fn unquoted(record: &[u8], span: &Span) -> Vec<u8> {
    let mut text = Vec::new();
    let mut bytes = span.of(record).iter();
    while let Some(byte) = bytes.next() {
        text.push(*byte);
        if span.escaped && *byte == b'"' {
            assert_eq!(bytes.next(), Some(&b'"'), "quotes are doubled");
        }
    }
    text
}
