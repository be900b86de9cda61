mod dialects;
mod every_cut;

use std::fs;

use bekk_stream::{
    Body, CsvDialect, Encoding, FileId, HeaderRow, Payload, REJECT_RAW_MAX, Reason, Separator,
};

use super::*;
use crate::testing::stream;
use crate::text::decode::header_names;
use crate::text::notice::{Notice, NoticeKind};

const HEADER: &str = "id,name,Price\n";

/// A record as the payload tells of it.
#[derive(Clone, PartialEq)]
struct Taken {
    start: usize,
    end: usize,
    line: u64,
    fault: Option<(Reason, Option<String>)>,
    payload: Vec<u8>,
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{} {:?}", self.start, self.end, self.fault)
    }
}

fn source(file: &tempfile::NamedTempFile) -> Source {
    Source::new(file.reopen().unwrap()).unwrap()
}

/// Reads content that becomes visible up to each of the `steps` in turn, and is then closed.
fn read(content: &[u8], dialect: &CsvDialect, steps: &[usize]) -> Result<Vec<Taken>, String> {
    read_noticing(content, dialect, steps).map(|(taken, _)| taken)
}

/// What is noticed of content that is read at once.
fn notices(content: &[u8], dialect: &CsvDialect) -> Vec<Notice> {
    read_noticing(content, dialect, &[]).unwrap().1
}

fn read_noticing(
    content: &[u8],
    dialect: &CsvDialect,
    steps: &[usize],
) -> Result<(Vec<Taken>, Vec<Notice>), String> {
    let mut stream = stream();
    stream.csv = dialect.clone();
    let mut format = Format::new(&stream, dialect.clone(), 4).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    let mut cursor = Cursor::new(FileId::from_bytes([1; 16]));
    let mut reader = Reader::new();
    let mut batch = Batch::new(0, 4);
    let closed = steps
        .iter()
        .map(|step| (*step, false))
        .chain([(content.len(), true)]);
    for (until, last) in closed {
        loop {
            let until = (until as u64, last);
            match reader
                .read(
                    &mut source(&file),
                    &mut cursor,
                    &mut format,
                    until,
                    &mut batch,
                )
                .unwrap()
            {
                Outcome::More | Outcome::Full => {}
                Outcome::CaughtUp(_) => break,
                Outcome::Blocked(why) => return Err(why),
                Outcome::Conflict(at) => panic!("conflict at {at}"),
            }
        }
    }
    assert!(
        cursor.position == content.len() as u64 || cursor.header.is_none(),
        "all of it is taken"
    );
    let hash = cursor.hash.unwrap().digest128();
    if cursor.header.is_some() {
        assert_eq!(hash, xxhash_rust::xxh3::xxh3_128(content));
    }
    let taken = batch.payloads.into_iter().flatten().map(|bytes| {
        let payload = Payload::decode(&bytes).unwrap();
        let origin = payload.origin;
        Taken {
            start: usize::try_from(origin.start).unwrap(),
            end: usize::try_from(origin.end).unwrap(),
            line: origin.line,
            fault: match payload.body {
                Body::Row(_) => None,
                Body::Reject(reject) => Some((
                    reject.reason,
                    reject.column.map(|column| column.into_owned()),
                )),
            },
            payload: bytes,
        }
    });
    Ok((taken.collect(), cursor.notices.all().to_vec()))
}

/// Reads the same at once and byte by byte, and sees that it makes no difference.
fn read_both(content: &[u8], dialect: &CsvDialect) -> Result<Vec<Taken>, String> {
    let whole = read(content, dialect, &[]);
    let every: Vec<usize> = (0..=content.len()).collect();
    assert_eq!(
        read(content, dialect, &every),
        whole,
        "{:?}",
        content.escape_ascii().to_string()
    );
    whole
}

/// Checks which records a file has, and why they are rejects.
fn check(content: &str, expected: &[(&str, Option<Reason>)]) {
    check_in(&CsvDialect::default(), content, expected);
}

fn check_in(dialect: &CsvDialect, content: &str, expected: &[(&str, Option<Reason>)]) {
    let taken = read_both(content.as_bytes(), dialect).unwrap();
    let found: Vec<(&str, Option<Reason>)> = taken
        .iter()
        .map(|taken| {
            let line = 1 + content[..taken.start].matches('\n').count() as u64;
            assert_eq!(taken.line, line, "{content:?}");
            let reason = taken.fault.as_ref().map(|(reason, _)| *reason);
            (&content[taken.start..taken.end], reason)
        })
        .collect();
    assert_eq!(found, expected, "{content:?}");
}

#[test]
fn line_ends() {
    check("", &[]);
    check("id,name", &[]);
    check("id\n", &[]);
    check("id\n1\n2\n", &[("1\n", None), ("2\n", None)]);
    check(
        "id\r\n1\r\n2\n3",
        &[("1\r\n", None), ("2\n", None), ("3", None)],
    );
    check("\u{feff}id\n1\n", &[("1\n", None)]);
    check(
        "\n\r\nid\n\n1\n\r\n\n2\n\n",
        &[("1\n", None), ("2\n", None)],
    );
    // A carriage return alone ends nothing.
    check("id\n1\r2\n", &[("1\r2\n", Some(Reason::BadValue))]);
    check("id\n1\r", &[("1\r", None)]);
    check("id\n1\n\r", &[("1\n", None)]);
}

#[test]
fn separators_may_be_longer() {
    let separator = |text: &str| Separator::new(text.as_bytes()).unwrap();
    let check = |delimiter: &str, end: &str, content: &str, expected: &[(&str, usize)]| {
        let dialect = CsvDialect {
            delimiter: separator(delimiter),
            record_end: Some(separator(end)).filter(|_| end != "\n"),
            comment: Some(b'#'),
            ..CsvDialect::default()
        };
        for step in [content.len(), 1, 3] {
            let steps: Vec<_> = (step..content.len()).step_by(step).collect();
            let taken = read(content.as_bytes(), &dialect, &steps).unwrap();
            let found: Vec<_> = taken
                .iter()
                .map(|taken| (&content[taken.start..taken.end], taken.fault.is_none()))
                .collect();
            let lines: Vec<_> = taken.iter().map(|taken| taken.line).collect();
            let expected_lines: Vec<_> = expected.iter().map(|(_, line)| *line as u64).collect();
            let expected: Vec<_> = expected.iter().map(|(text, _)| (*text, true)).collect();
            assert_eq!((found, lines), (expected, expected_lines), "{content:?}");
        }
    };
    check(
        "||",
        "\n",
        "id||name||Price\r\n1||a|b||2\n# none\n2||\"x||y\nz\"||3\n",
        &[("1||a|b||2\n", 2), ("2||\"x||y\nz\"||3\n", 4)],
    );
    check(
        "~|~",
        "\u{1e}",
        "id~|~name~|~Price\u{1e}1~|~a\nb~|~2\u{1e}\u{1e}2~|~~~|~3",
        &[("1~|~a\nb~|~2\u{1e}", 2), ("2~|~~~|~3", 4)],
    );
    check(
        "|",
        "|\n",
        "id|name|Price|\n1|a|2|\n2||3|\n",
        &[("1|a|2|\n", 2), ("2||3|\n", 3)],
    );
}

#[test]
fn quotes() {
    check(
        "\"id\",\"name\"\n\"1\",\"a\nb\"\n",
        &[("\"1\",\"a\nb\"\n", None)],
    );
    check(
        "id,name\n1,\"\"\n2,\"\"\"\"\n",
        &[("1,\"\"\n", None), ("2,\"\"\"\"\n", None)],
    );
    check(
        "id,name\n1,\"a,\r\n\"\r\n2,b\n",
        &[("1,\"a,\r\n\"\r\n", None), ("2,b\n", None)],
    );
    check("id,name\n1,\"a\"", &[("1,\"a\"", None)]);
    check(
        "id,name\n1,\"a\"b\n2,c\n",
        &[("1,\"a\"b\n", Some(Reason::BadQuote)), ("2,c\n", None)],
    );
    check(
        "id,name\n1,a\"b\n2,c\n",
        &[("1,a\"b\n", Some(Reason::BadQuote)), ("2,c\n", None)],
    );
    check(
        "id,name\n1,\"a\" \n",
        &[("1,\"a\" \n", Some(Reason::BadQuote))],
    );
    check(
        "id,name\n1,\"a\n2,b\n",
        &[("1,\"a\n", Some(Reason::UnclosedQuote)), ("2,b\n", None)],
    );
}

/// A record whose quotes are wrong and that spans lines costs its first line only.
#[test]
fn a_stray_quote_costs_its_line() {
    let (bad, unclosed) = (Some(Reason::BadQuote), Some(Reason::UnclosedQuote));
    // Closed by what opens a field further down.
    check(
        "id,name\n1,\"5 inch\n2,b\n3,\"c\"\n4,d\n",
        &[
            ("1,\"5 inch\n", unclosed),
            ("2,b\n", None),
            ("3,\"c\"\n", None),
            ("4,d\n", None),
        ],
    );
    // The next line is looked at by itself, and has a fault of its own.
    check(
        "id,name\n1,\"a\"b\",\"\n\"\n2,c\n",
        &[
            ("1,\"a\"b\",\"\n", bad),
            ("\"\n", unclosed),
            ("2,c\n", None),
        ],
    );
    // Longer than a record may be, closed nowhere or by a stray one: the same.
    let dialect = CsvDialect {
        record_max: 10,
        ..CsvDialect::default()
    };
    check_in(
        &dialect,
        "id,name\n1,\"a\n2,bbbbbb\n3,c\n",
        &[("1,\"a\n", unclosed), ("2,bbbbbb\n", None), ("3,c\n", None)],
    );
    check_in(
        &dialect,
        "id,name\n1,\"a\n2,bbbbbb\n3,\"c\"\n",
        &[
            ("1,\"a\n", unclosed),
            ("2,bbbbbb\n", None),
            ("3,\"c\"\n", None),
        ],
    );
}

/// Where the stream says so, a newline ends a record whatever its quotes.
#[test]
fn quotes_without_newlines() {
    let dialect = CsvDialect {
        quoted_newlines: false,
        ..CsvDialect::default()
    };
    check_in(
        &dialect,
        "id,name\n1,\"a\n2,\"b,c\"\r\n3,d\"",
        &[
            ("1,\"a\n", Some(Reason::UnclosedQuote)),
            ("2,\"b,c\"\r\n", None),
            ("3,d\"", Some(Reason::BadQuote)),
        ],
    );
}

#[test]
fn fields() {
    check(
        "id,name\n1\n1,2,3\n,\n",
        &[
            ("1\n", Some(Reason::FieldCount)),
            ("1,2,3\n", Some(Reason::FieldCount)),
            (",\n", Some(Reason::MissingValue)),
        ],
    );
    check("name,x,id\na,b,1\n", &[("a,b,1\n", None)]);
}

#[test]
fn headers_in_concatenated_files() {
    check(
        "id,name\n1,a\nid,name\n2,b\n",
        &[("1,a\n", None), ("2,b\n", None)],
    );
    check(
        "id,name\r\n1,a\r\n\u{feff}id,name\n2,b\n",
        &[("1,a\r\n", None), ("2,b\n", None)],
    );
    // Another order, recognised where the line is no row.
    check(
        "id,name\n1,a\nname,id\nb,2\n",
        &[("1,a\n", None), ("b,2\n", None)],
    );
    check("id,name\nid,x\n", &[("id,x\n", Some(Reason::BadValue))]);
}

/// A byte order mark inside a file belongs to the field after it, and is reported; before a header it is ignored.
#[test]
fn marks_in_concatenated_files() {
    let dialect = CsvDialect {
        header: HeaderRow::Named(vec!["name".into(), "id".into()]),
        ..CsvDialect::default()
    };
    let marked = "a,1\n\u{feff}b,2\n\u{feff}\u{feff}name,id\nc,3\n\u{feff}\"d\",4\ne,5\n";
    check_in(
        &dialect,
        marked,
        &[
            ("a,1\n", None),
            ("\u{feff}b,2\n", None),
            ("c,3\n", None),
            ("\u{feff}\"d\",4\n", Some(Reason::BadQuote)),
            ("e,5\n", None),
        ],
    );
    let noticed = |content: &[u8], dialect: &CsvDialect| {
        let all = notices(content, dialect);
        all.into_iter()
            .map(|notice| (notice.kind, notice.text))
            .collect::<Vec<_>>()
    };
    let found = noticed(marked.as_bytes(), &dialect);
    let [
        (NoticeKind::ColumnMissing, _),
        (NoticeKind::MarkInside, inside),
        (NoticeKind::HeaderRepeated, header),
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert!(
        inside.starts_with("2 records begin with a byte order mark"),
        "{inside}"
    );
    assert!(inside.contains("at line 5:"), "{inside}");
    assert!(header.starts_with("1 line repeats the header"), "{header}");
    // A header, the file's own or another one, is no record.
    let headers = "\u{feff}id,name\n1,a\n\u{feff}name,id\nb,2\n\u{feff}name,id\nc,3\n";
    check(
        headers,
        &[("1,a\n", None), ("b,2\n", None), ("c,3\n", None)],
    );
    let found = noticed(headers.as_bytes(), &CsvDialect::default());
    assert!(
        found
            .iter()
            .all(|(kind, _)| *kind != NoticeKind::MarkInside),
        "{found:?}"
    );
    let utf16 = CsvDialect {
        encoding: Encoding::Utf16,
        ..CsvDialect::default()
    };
    let wide: Vec<u8> = "\u{feff}id,name\n1,a\n\u{feff}2,b\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let found = noticed(&wide, &utf16);
    let is_inside = |(kind, text): &(NoticeKind, String)| {
        *kind == NoticeKind::MarkInside && text.starts_with("1 record begins")
    };
    assert!(found.iter().any(is_inside), "{found:?}");
}

#[test]
fn files_without_a_header() {
    let absent = CsvDialect {
        header: HeaderRow::Absent,
        ..CsvDialect::default()
    };
    check_in(
        &absent,
        "1,a,2.5\n2,b,\n",
        &[("1,a,2.5\n", None), ("2,b,\n", None)],
    );
    check_in(&absent, "\u{feff}1,a,2.5\n", &[("1,a,2.5\n", None)]);
    check_in(&absent, "1,a\n", &[("1,a\n", Some(Reason::FieldCount))]);
    // A header that is there all the same is no record.
    check_in(&absent, "id,name,Price\n1,a,2\n", &[("1,a,2\n", None)]);
    let named = CsvDialect {
        header: HeaderRow::Named(vec!["name".into(), "x".into(), "id".into()]),
        skip_lines: 1,
        ..CsvDialect::default()
    };
    check_in(&named, "made by x\na,b,1\n", &[("a,b,1\n", None)]);
}

#[test]
fn a_line_that_names_the_delimiter_is_none_of_the_records() {
    check("sep=,\r\nid,name\n1,a\n", &[("1,a\n", None)]);
    check("\"sep=,\"\nid,name\n1,a\n", &[("1,a\n", None)]);
    let why = read_both(b"sep=;\nid;name\n", &CsvDialect::default()).unwrap_err();
    assert!(why.contains("set `delimiter`"), "{why}");
}

#[test]
fn other_dialects() {
    let dialect = CsvDialect {
        delimiter: b';'.into(),
        quote: Some(b'\''),
        skip_lines: 2,
        comment: Some(b'#'),
        ..CsvDialect::default()
    };
    let content = "made by x\n;;\"\n# note\nid;name\n1;'a;''b'\n#2;c\n3;\"\n#";
    check_in(
        &dialect,
        content,
        &[("1;'a;''b'\n", None), ("3;\"\n", None)],
    );
    let without = CsvDialect {
        quote: None,
        ..CsvDialect::default()
    };
    check_in(
        &without,
        "id,name\n1,\"a\n2,b\"c\n",
        &[("1,\"a\n", None), ("2,b\"c\n", None)],
    );
    let latin1 = CsvDialect {
        encoding: Encoding::Latin1,
        ..CsvDialect::default()
    };
    let taken = read_both(b"id,name\n1,\"bl\xe5\"\n", &latin1).unwrap();
    let Body::Row(row) = Payload::decode(&taken[0].payload).unwrap().body else {
        panic!("a row")
    };
    let values: Vec<_> = row.map(Result::unwrap).collect();
    assert_eq!(values[1], bekk_stream::Value::Text("blå".into()));
}

#[test]
fn over_long_records() {
    let dialect = CsvDialect {
        record_max: 10,
        ..CsvDialect::default()
    };
    let long = Some(Reason::TooLong);
    check_in(
        &dialect,
        "id,name\n1,a\n1,aaaaaaaaaa\n2,b\n",
        &[("1,a\n", None), ("1,aaaaaaaaaa\n", long), ("2,b\n", None)],
    );
    check_in(
        &dialect,
        "id,name\n1,\"\n\n\n\n\n\n\n\n\"\n2,b\n",
        &[("1,\"\n\n\n\n\n\n\n\n\"\n", long), ("2,b\n", None)],
    );
    check_in(&dialect, "id\n12345678901", &[("12345678901", long)]);
    check_in(
        &dialect,
        "id,name\n1,\"aaaaaaaaaaaa\n",
        &[("1,\"aaaaaaaaaaaa\n", Some(Reason::UnclosedQuote))],
    );
}

/// A record far larger than what is held: its beginning, length and hash remain.
#[test]
fn a_record_larger_than_memory_may_hold() {
    let long = format!("1,\"{}\n\"\n", "x".repeat(3_000_000));
    let content = format!("id,name\n0,a\n{long}2,b\n");
    let steps: Vec<usize> = (0..content.len()).step_by(100_000).collect();
    for steps in [&[][..], &steps] {
        let taken = read(content.as_bytes(), &CsvDialect::default(), steps).unwrap();
        let Body::Reject(reject) = Payload::decode(&taken[1].payload).unwrap().body else {
            panic!("a reject")
        };
        assert_eq!(
            (reject.reason, reject.length),
            (Reason::TooLong, long.len() as u64)
        );
        assert_eq!(
            reject.hash,
            Some(xxhash_rust::xxh3::xxh3_128(long.as_bytes()))
        );
        assert_eq!(&*reject.raw, &long.as_bytes()[..REJECT_RAW_MAX]);
        assert_eq!(
            taken.iter().map(|taken| taken.line).collect::<Vec<_>>(),
            [2, 3, 5]
        );
    }
}

#[test]
fn what_cannot_be_read_is_set_aside() {
    let blocked =
        |content: &str| read_both(content.as_bytes(), &CsvDialect::default()).unwrap_err();
    assert!(blocked("name\na\n").contains("lacks `id`"));
    assert!(blocked("id,\"na").contains("quote"));
    assert!(blocked("id;x\n").contains("lacks `id`"));
    assert!(blocked("id,name\r1,a\r2,b\r").contains("carriage returns only"));
    let latin1 = CsvDialect {
        encoding: Encoding::Latin1,
        ..CsvDialect::default()
    };
    let why = read_both("\u{feff}id\n1\n".as_bytes(), &latin1).unwrap_err();
    assert!(why.contains("byte order mark of UTF-8"), "{why}");
    let utf16 = CsvDialect {
        encoding: Encoding::Utf16,
        ..CsvDialect::default()
    };
    let marked = b"\xff\xfei\0d\0\n\0";
    let why = read(marked, &CsvDialect::default(), &[]).unwrap_err();
    assert!(why.contains("set `encoding = \"utf16\"`"), "{why}");
    let why = read(&marked[2..], &utf16, &[]).unwrap_err();
    assert!(why.contains("utf16le or utf16be"), "{why}");
    assert!(read(marked, &utf16, &[]).unwrap().is_empty());
}

fn values(taken: &Taken) -> String {
    match Payload::decode(&taken.payload).unwrap().body {
        Body::Row(row) => format!("{:?}", row.map(Result::unwrap).collect::<Vec<_>>()),
        Body::Reject(reject) => format!("{reject:?}"),
    }
}

/// A text in UTF-16 gives the records that it gives in UTF-8, whole and cut at every byte; their places are
/// those in the file.
#[test]
fn utf16_is_read_like_utf8() {
    let text = "id,name,Price\r\n1,\"ö\n\"\"😀\",1.5\n\n2,x,\n3,\u{feff}é";
    let utf8 = read(text.as_bytes(), &CsvDialect::default(), &[]).unwrap();
    let ends: Vec<usize> = utf8.iter().map(|taken| taken.end).collect();
    assert_eq!(ends, [33, 39, 46]);
    for (encoding, has_mark) in [
        (Encoding::Utf16, true),
        (Encoding::Utf16Le, true),
        (Encoding::Utf16Le, false),
        (Encoding::Utf16Be, false),
        (Encoding::Utf16Be, true),
    ] {
        let is_big = encoding == Encoding::Utf16Be;
        let bytes = |text: &str| -> Vec<u8> {
            let pair = |unit: u16| match is_big {
                true => unit.to_be_bytes(),
                false => unit.to_le_bytes(),
            };
            text.encode_utf16().flat_map(pair).collect()
        };
        let mark = if has_mark { "\u{feff}" } else { "" };
        let content = bytes(&format!("{mark}{text}"));
        let place = |at: usize| bytes(&format!("{mark}{}", &text[..at])).len();
        let dialect = CsvDialect {
            encoding,
            ..CsvDialect::default()
        };
        let every: Vec<usize> = (1..content.len()).collect();
        for steps in [&[][..], &every] {
            let taken = read(&content, &dialect, steps).unwrap();
            assert_eq!(taken.len(), utf8.len());
            for (taken, utf8) in taken.iter().zip(&utf8) {
                assert_eq!(
                    (taken.start, taken.end),
                    (place(utf8.start), place(utf8.end))
                );
                assert_eq!((taken.line, values(taken)), (utf8.line, values(utf8)));
            }
        }
    }
}

/// What is in the log already is skipped, however it was cut, and lines are counted on.
#[test]
fn known_ranges_are_passed_over() {
    let content = "id,name\n1,\"a\n\"\n2,b\n\n3,c\n4,d\n";
    let all = read(content.as_bytes(), &CsvDialect::default(), &[]).unwrap();
    for kept in 0u32..16 {
        let stream = stream();
        let mut format = Format::new(&stream, CsvDialect::default(), 4).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let mut cursor = Cursor::new(FileId::from_bytes([1; 16]));
        let is_known = |index: usize| kept >> index & 1 == 1;
        for (index, taken) in all.iter().enumerate() {
            if is_known(index) {
                cursor.known.insert(taken.start as u64, taken.end as u64);
            }
        }
        let mut batch = Batch::new(0, 4);
        let until = (u64::MAX, true);
        let outcome = Reader::new().read(
            &mut source(&file),
            &mut cursor,
            &mut format,
            until,
            &mut batch,
        );
        assert_eq!(outcome.unwrap(), Outcome::CaughtUp(0));
        let expected = all
            .iter()
            .enumerate()
            .filter(|(index, _)| !is_known(*index));
        let expected: Vec<_> = expected.map(|(_, taken)| taken.payload.clone()).collect();
        assert_eq!(batch.payloads.unwrap(), expected, "{kept:b}");
        assert_eq!(
            batch.progress.last().unwrap().position,
            content.len() as u64
        );
    }
}

#[test]
fn a_record_that_the_log_has_otherwise_is_a_conflict() {
    let stream = stream();
    let mut format = Format::new(&stream, CsvDialect::default(), 4).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "id\n1234\n").unwrap();
    let mut cursor = Cursor::new(FileId::from_bytes([1; 16]));
    cursor.known.insert(5, 8);
    let mut batch = Batch::new(0, 4);
    let until = (u64::MAX, true);
    let outcome = Reader::new().read(
        &mut source(&file),
        &mut cursor,
        &mut format,
        until,
        &mut batch,
    );
    assert_eq!(outcome.unwrap(), Outcome::Conflict(3));
    assert_eq!(batch.records, 0);
}

/// The hash of what was read is that of the file's bytes, too, where a quote that is never closed makes a record
/// overlong that does not begin its block, and is read again from its beginning.
#[test]
fn a_record_that_is_read_again_is_hashed_once() {
    let dialect = CsvDialect {
        record_max: 8,
        ..CsvDialect::default()
    };
    let content = [HEADER, "1,a,\n2,b,\n\"\n\r1\"\"11,\"1\n3,c,\n"].concat();
    let taken = read_both(content.as_bytes(), &dialect).unwrap();
    let faults = taken.iter().filter(|taken| taken.fault.is_some());
    assert!(faults.count() > 0 && taken.len() > 3, "{taken:?}");
}
