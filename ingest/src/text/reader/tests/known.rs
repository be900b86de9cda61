//! Records that are in the log already.

use super::*;

/// Reads a whole file, of which the log has these bytes already.
fn read_knowing(content: &str, known: &[(usize, usize)]) -> (Outcome, ParsedBatch) {
    let stream = stream();
    let mut format = Format::new(&stream, CsvDialect::default(), 4).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), content).unwrap();
    let mut cursor = Cursor::new(FileId::from_bytes([1; 16]));
    for (start, end) in known {
        cursor.known.insert(*start as u64, *end as u64);
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
    (outcome.unwrap(), batch)
}

/// Records that are in the log already are skipped, however they were cut, and their lines are counted.
#[test]
fn known_ranges_are_passed_over() {
    let content = "id,name\n1,\"a\n\"\n2,b\n\n3,c\n4,d\n";
    let all = read(content.as_bytes(), &CsvDialect::default(), &[]).unwrap();
    for kept in 0u32..16 {
        let (known, new): (Vec<_>, Vec<_>) = all
            .iter()
            .enumerate()
            .partition(|(index, _)| kept >> index & 1 == 1);
        let known: Vec<_> = known
            .iter()
            .map(|(_, taken)| (taken.start, taken.end))
            .collect();
        let (outcome, batch) = read_knowing(content, &known);
        assert_eq!(outcome, Outcome::CaughtUp(0));
        let expected: Vec<_> = new.iter().map(|(_, taken)| taken.payload.clone()).collect();
        assert_eq!(batch.payloads.unwrap(), expected, "{kept:b}");
        assert_eq!(
            batch.progress.last().unwrap().position,
            content.len() as u64
        );
    }
}

#[test]
fn a_record_that_the_log_has_otherwise_is_a_conflict() {
    let (outcome, batch) = read_knowing("id\n1234\n", &[(5, 8)]);
    assert_eq!(outcome, Outcome::Conflict(3));
    assert_eq!(batch.records, 0);
}
