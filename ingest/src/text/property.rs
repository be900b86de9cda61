//! The property of the splitter, for any bytes: whole and byte by byte it finds the same records, they lie one
//! behind the other, and what it finds no fault with is what the csv crate reads.
//!
//! The fuzz target compiles this file and the splitter by themselves.

use bekk_stream::{CsvDialect, Separator};
use csv::{ReaderBuilder, Terminator};

use super::ends;
use super::split::{EndFinder, Ended, Found, QuoteFault, Span, Splitter};

/// A record: where it begins, what was found, and its fields.
struct Record {
    start: usize,
    found: Found,
    spans: Vec<Span>,
}

/// # Panics
/// If the property does not hold.
pub(crate) fn check(content: &[u8]) {
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

/// The same for dialects with separators of several characters, which the csv crate does not read: the records lie one
/// behind the other, and without quotes they are what stands between record ends, and their fields between delimiters.
///
/// # Panics
/// If the property does not hold.
pub(crate) fn check_separators(content: &[u8]) {
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
        if dialect.quote.is_none() {
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
fn check_steps(rest: &[u8], whole: &Found, spans: &[Span]) {
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
