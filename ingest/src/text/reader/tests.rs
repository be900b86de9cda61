mod dialects;
mod every_cut;
mod headers;
mod known;
mod long;
mod quotes;
mod rewritten;

use bekk_testing::dialect_with;
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
    let mut reader = BlockReader::new();
    let mut batch = ParsedBatch::new(0, 4);
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
                Outcome::Rewritten => panic!("not the bytes before {}", cursor.position),
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
fn what_cannot_be_read_is_set_aside() {
    let blocked =
        |content: &str| read_both(content.as_bytes(), &CsvDialect::default()).unwrap_err();
    assert!(blocked("name\na\n").contains("lacks `id`"));
    assert!(blocked("id,\"na").contains("quote"));
    assert!(blocked("id;x\n").contains("lacks `id`"));
    assert!(blocked("id,name\r1,a\r2,b\r").contains("carriage returns only"));
    let latin1 = dialect_with(|it| it.encoding = Encoding::Latin1);
    let why = read_both("\u{feff}id\n1\n".as_bytes(), &latin1).unwrap_err();
    assert!(why.contains("byte order mark of UTF-8"), "{why}");
    let utf16 = dialect_with(|it| it.encoding = Encoding::Utf16);
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
        let dialect = dialect_with(|it| it.encoding = encoding);
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
