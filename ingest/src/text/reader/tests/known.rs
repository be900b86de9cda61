//! Records that are in the log already.

use super::*;

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
        let mut batch = ParsedBatch::new(0, 4);
        let until = (u64::MAX, true);
        let outcome = BlockReader::new().read(
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
    let mut batch = ParsedBatch::new(0, 4);
    let until = (u64::MAX, true);
    let outcome = BlockReader::new().read(
        &mut source(&file),
        &mut cursor,
        &mut format,
        until,
        &mut batch,
    );
    assert_eq!(outcome.unwrap(), Outcome::Conflict(3));
    assert_eq!(batch.records, 0);
}
