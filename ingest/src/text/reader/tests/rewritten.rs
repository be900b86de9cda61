//! Files that are written anew between two readings.

use super::*;

/// Reads a file that has these contents one after the other, once each.
fn read_contents(contents: &[&str]) -> (Outcome, Vec<u64>) {
    let stream = stream();
    let mut format = Format::new(&stream, CsvDialect::default(), 1).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut cursor = Cursor::new(FileId::from_bytes([1; 16]));
    let mut batch = ParsedBatch::new(0, 1);
    let mut outcome = Outcome::More;
    let mut records = Vec::new();
    for content in contents {
        fs::write(file.path(), content).unwrap();
        let (mut source, until) = (source(&file), (u64::MAX, false));
        let read =
            BlockReader::new().read(&mut source, &mut cursor, &mut format, until, &mut batch);
        outcome = read.unwrap();
        records.push(batch.records);
    }
    (outcome, records)
}

#[test]
fn what_was_appended_is_read_on() {
    let (outcome, records) = read_contents(&["id\n1\n", "id\n1\n2\n", "id\n1\n2\n3"]);
    assert_eq!((outcome, records), (Outcome::CaughtUp(1), vec![1, 2, 2]));
}

/// Whatever the length of the new content, nothing of it is taken for what follows the old one.
#[test]
fn nothing_is_taken_of_another_content() {
    for content in ["", "id\n7\n", "id\n77\n", "id\n7\n8\n9\n"] {
        let (outcome, records) = read_contents(&["id\n1\n2\n", content]);
        assert_eq!(
            (outcome, records),
            (Outcome::Rewritten, vec![2, 2]),
            "{content:?}"
        );
    }
}
