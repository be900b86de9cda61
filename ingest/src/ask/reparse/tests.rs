use std::fs;
use std::path::PathBuf;

use bekk_stream::FileId;

use super::*;
use crate::ask::testing::record;
use crate::testing::stream;

fn origin(start: u64) -> Origin {
    Origin {
        file: FileId::from_bytes([0; 16]),
        start,
        end: start + 1,
        line: 2,
    }
}

#[track_caller]
fn expect(found: Result<Reparsed, String>, expected: Result<&str, &str>) {
    match (&found, expected) {
        (Ok(row), Ok(key)) => assert_eq!(row.key.as_deref(), Some(key.as_bytes())),
        (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
        _ => panic!("{found:?}, not {expected:?}"),
    }
}

#[test]
fn a_text_is_read_under_a_header_that_is_named() {
    let stream = stream();
    let mut reparser = Reparser::new(&stream, 4);
    let mut check = |form: TextForm<'_>, text: &str, expected| {
        let found = reparser.reparse(form, text.as_bytes(), origin(7)).unwrap();
        expect(found, expected);
    };
    let under = TextForm::Under("name,Price,id");
    check(under, "lamp,1.5,7", Ok("7"));
    check(under, "lamp,1.5,7\r\n", Ok("7"));
    check(under, "7,1.5,lamp", Err("bad_value in `id`"));
    check(under, "lamp,1.5,7\nlamp,1.5,8", Err("more than one"));
    check(TextForm::Under("name,Price"), "lamp,1.5", Err("lacks `id`"));
    check(TextForm::Under(""), "lamp,1.5", Err("the header is empty"));
    check(TextForm::Plain, "7,\"a, b\",1.5", Ok("7"));
    check(TextForm::Plain, "7", Err("field_count"));
    check(TextForm::Plain, "", Err("no text"));
}

/// A file with lines before its header, and another header further down.
struct Written {
    dir: tempfile::TempDir,
    path: PathBuf,
    text: &'static str,
}

impl Written {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let text = "made by hand\nname;Price;id\nx;1,5;bad\nid;name\nbad;y\n";
        fs::write(&path, text).unwrap();
        Self { dir, path, text }
    }

    fn at(&self, part: &str) -> u64 {
        self.text.find(part).unwrap() as u64
    }

    fn known(&self, stream: &Stream) -> FileRecord {
        record(stream, self.text.as_bytes())
    }
}

fn local() -> Stream {
    let mut stream = stream();
    stream.csv.delimiter = b';'.into();
    stream.csv.decimal = b',';
    stream.csv.skip_lines = 1;
    stream
}

#[test]
fn the_header_before_the_record_counts() {
    let (written, stream) = (Written::new(), local());
    let mut reparser = Reparser::new(&stream, 4);
    let mut check = |original: &str, mended: &str, expected| {
        let place = InFile {
            path: &written.path,
            file: None,
            original: original.as_bytes(),
        };
        let start = written.at(original);
        let form = TextForm::InFile(place);
        let found = reparser.reparse(form, mended.as_bytes(), origin(start));
        expect(found.unwrap(), expected);
    };
    check("x;1,5;bad", "x;1,5;7", Ok("7"));
    check("bad;y", "8;y", Ok("8"));
    // Back to an earlier one, and one that is still none.
    check("x;1,5;bad", "x;1,5;9", Ok("9"));
    check("bad;y", "bad;y", Err("bad_value in `id`"));
}

/// The configuration was changed for other files since: the file is split as it was begun.
#[test]
fn a_file_keeps_the_dialect_that_it_was_begun_with() {
    let (written, begun) = (Written::new(), local());
    let known = written.known(&begun);
    let mut now = stream();
    now.csv.decimal = b',';
    let mut reparser = Reparser::new(&now, 4);
    let place = |file| InFile {
        path: &written.path,
        file,
        original: b"x;1,5;bad",
    };
    let start = origin(written.at("x;1,5"));
    let found = reparser.reparse(TextForm::InFile(place(Some(&known))), b"x;1,5;7", start);
    expect(found.unwrap(), Ok("7"));
    let found = reparser.reparse(TextForm::InFile(place(None)), b"x;1,5;7", start);
    expect(found.unwrap(), Err("lacks `id`"));
}

#[test]
fn another_file_of_the_name_says_nothing() {
    let (written, mut stream) = (Written::new(), local());
    let known = written.known(&stream);
    let start = origin(written.at("x;1,5"));
    let check = |stream: &Stream, file, original: &[u8], expected| {
        let place = InFile {
            path: &written.path,
            file,
            original,
        };
        let mut reparser = Reparser::new(stream, 4);
        let found = reparser.reparse(TextForm::InFile(place), b"x;1,5;7", start);
        expect(found.unwrap(), expected);
    };
    // The record itself was corrected in the file: the beginning still tells that it is the file.
    fs::write(&written.path, format!("{}more\n", written.text)).unwrap();
    check(&stream, Some(&known), b"other", Ok("7"));
    fs::write(&written.path, "made by hand\nid;Price;name\nx;1,9;good\n").unwrap();
    check(
        &stream,
        Some(&known),
        b"x;1,5;bad",
        Err("another file has its name"),
    );
    fs::remove_file(&written.path).unwrap();
    check(&stream, Some(&known), b"x;1,5;bad", Err("--header"));
    // Finished files are moved.
    let done = written.dir.path().join("done");
    fs::create_dir(&done).unwrap();
    fs::write(done.join("a.csv"), written.text).unwrap();
    stream.finished = bekk_stream::Finished::Move(done);
    check(&stream, None, b"x;1,5;bad", Ok("7"));
}
