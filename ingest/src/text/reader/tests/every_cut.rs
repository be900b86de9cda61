//! Any bytes, cut anywhere: the same records, and those of the csv crate.

use proptest::prelude::*;

use super::*;
use crate::text::split::{EndFinder, Ended, Splitter, count_newlines};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        8 => Just(b'1'),
        4 => Just(b','),
        4 => Just(b'"'),
        3 => Just(b'\n'),
        2 => Just(b'\r'),
        1 => Just(0xff),
        1 => Just(b'#'),
        1 => Just(b' '),
    ];
    proptest::collection::vec(byte, 0..60)
}

/// What the fuzz target has found.
#[test]
fn found_cases_stay_right() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/regressions");
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        crate::text::property::check(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0);
}

proptest! {
    /// Whatever the bytes: at once or one by one gives the same records; they do not overlap, and all that
    /// lies between them is line ends, comments and headers.
    #[test]
    fn whole_is_byte_by_byte(
        tail in bytes(),
        record_max in prop_oneof![Just(8usize), Just(900_000)],
        comment in any::<bool>(),
    ) {
        let dialect = CsvDialect {
            record_max,
            comment: comment.then_some(b'#'),
            ..CsvDialect::default()
        };
        let content = [HEADER.as_bytes(), &tail].concat();
        let taken = read_both(&content, &dialect).unwrap();
        let mut at = HEADER.len();
        for taken in taken.iter().chain([&Taken {
            start: content.len(), end: content.len(), line: 0, fault: None, payload: Vec::new(),
        }]) {
            prop_assert!(at <= taken.start);
            let between = &content[at..taken.start];
            for line in between.split(|byte| *byte == b'\n') {
                prop_assert!(line.is_empty() || line == b"\r" || comment && line[0] == b'#');
            }
            at = taken.end;
        }
    }

    /// Well-formed files have the records and fields that the csv crate finds, at the same places.
    #[test]
    fn records_are_those_of_the_csv_crate(
        rows in proptest::collection::vec(proptest::collection::vec("[a,\"\n\r å]{0,4}", 3), 1..8),
        always in any::<bool>(),
        crlf in any::<bool>(),
    ) {
        let mut writer = csv::WriterBuilder::new()
            .quote_style(if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary })
            .terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
            .from_writer(Vec::new());
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let content = writer.into_inner().unwrap();
        let mut theirs = csv::ReaderBuilder::new()
            .has_headers(false)
            .terminator(if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
            .from_reader(&content[..]);
        let mut splitter = Splitter::new(&CsvDialect::default());
        let mut at = 0;
        for record in theirs.byte_records() {
            let record = record.unwrap();
            let position = record.position().unwrap();
            // Theirs ends a record behind the carriage return already.
            let theirs = at - usize::from(crlf && at > 0);
            prop_assert_eq!(position.byte(), theirs as u64);
            prop_assert_eq!(position.line(), 1 + count_newlines(&content[..theirs]));
            let rest = &content[at..];
            let found = splitter.split(rest, false).unwrap();
            prop_assert_eq!(found.fault, None);
            let names = header_names(rest, splitter.spans(), &CsvDialect::default());
            let fields: Vec<_> = record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
            prop_assert_eq!(names, fields);
            at += found.len;
        }
        prop_assert_eq!(at, content.len());
    }

    /// What the fuzz target tries for longer.
    #[test]
    fn the_splitter_keeps_its_promises(content in bytes()) {
        crate::text::property::check(&content);
    }

    /// The end of a record is where the splitter finds it, however the bytes come.
    #[test]
    fn the_end_of_an_over_long_record_is_the_same(content in bytes(), pieces in 1usize..5) {
        let mut splitter = Splitter::new(&CsvDialect::default());
        let mut finder = EndFinder::new(&CsvDialect::default(), false);
        let mut ended = Ended::NotYet;
        for (index, piece) in content.chunks(pieces).enumerate() {
            ended = match finder.feed(piece) {
                Ended::At(end) => Ended::At(index * pieces + end),
                ended => ended,
            };
            if ended != Ended::NotYet {
                break;
            }
        }
        let found = match content.is_empty() {
            true => None,
            false => splitter.split(&content, false),
        };
        let first_line = content.iter().position(|byte| *byte == b'\n').map(|newline| newline + 1);
        match (ended, found) {
            (Ended::At(end), Some(found)) => prop_assert_eq!(end, found.len),
            (Ended::Broken, Some(found)) => {
                prop_assert_eq!(Some(found.len), first_line);
                prop_assert!(found.fault.is_some());
            }
            (Ended::NotYet, None) => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
