use std::fs;

use bekk_log::{RecordBuffer, TopicConfig};
use bekk_stream::{FileRecord, Finished};

use super::*;
use crate::ask::testing::record;
use crate::source::{Source, open};
use crate::testing::stream;
use crate::text::cursor::Cursor;
use crate::text::format::Format;
use crate::text::parsed_batch::ParsedBatch;
use crate::text::reader::{BlockReader, Outcome};

/// A file, the log, and the checkpoint of an ingest that has read the file to its end.
struct Read {
    dir: tempfile::TempDir,
    path: PathBuf,
    log: Client,
    stream: Stream,
    entry: FileEntry,
}

/// The payloads of a file, and the cursor at its end.
fn read(path: &Path, id: FileId, stream: &Stream) -> (Vec<Vec<u8>>, Cursor) {
    let mut source = Source::new(open::file(path).unwrap()).unwrap();
    let mut format = Format::new(stream, stream.csv.clone(), 1).unwrap();
    let mut cursor = Cursor::new(id);
    let mut batch = ParsedBatch::new(0, 1);
    let until = (u64::MAX, true);
    let mut reader = BlockReader::new();
    while !matches!(
        reader.read(&mut source, &mut cursor, &mut format, until, &mut batch),
        Ok(Outcome::CaughtUp(0))
    ) {}
    (batch.payloads.unwrap(), cursor)
}

impl Read {
    /// `change` is what happens to the records on their way into the log.
    fn new(text: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, text).unwrap();
        let stream = stream();
        let mut config = bekk_log::Config::new(dir.path().join("log"));
        config.reserve_bytes = 0;
        let log = Client::open(config).unwrap();
        log.create_topic(&stream.name, TopicConfig::new(4)).unwrap();
        let id = FileId::from_bytes([1; 16]);
        let (mut payloads, cursor) = read(&path, id, &stream);
        change(&mut payloads);
        for (payload, partition) in payloads.iter().zip((0..4).cycle()) {
            let mut buffer = RecordBuffer::new();
            buffer.push(0, None, payload);
            log.append(None, &stream.name, &[(partition, &buffer)])
                .unwrap();
        }
        let head = &text.as_bytes()[..text.len().min(40)];
        let mut entry = FileEntry::new(FileRecord {
            id,
            path: path.to_str().unwrap().as_bytes().to_vec(),
            ..record(&stream, head)
        });
        (entry.position, entry.crc, entry.tail) = (cursor.position, cursor.crc, cursor.tail);
        entry.records = payloads.len() as u64;
        Self {
            dir,
            path,
            log,
            stream,
            entry,
        }
    }

    fn contents(&self) -> Contents {
        let checkpoint = Checkpoint {
            log_id: self.log.log_id().to_string(),
            ends: Vec::new(),
            files: vec![self.entry.clone()],
        };
        checkpoint
            .store(&self.dir.path().join("checkpoint"))
            .unwrap();
        contents(self.dir.path(), &self.log, &self.stream).unwrap()
    }

    #[track_caller]
    fn says(&self, expected: &Comparison) {
        let found = self.contents();
        assert_eq!(found.files[0].comparison, *expected, "{found:?}");
    }

    #[track_caller]
    fn is_not_compared(&self, part: &str) {
        let found = self.contents();
        assert!(
            matches!(&found.files[0].comparison, Comparison::NotCompared(why) if why.contains(part)),
            "{found:?}"
        );
        assert!(found.findings.is_empty());
    }
}

/// Rows and a reject on line 4.
const TEXT: &str = "id,name,Price\n1,a,1\n2,b,2\nbad,c,3\n4,d,4\n5,e,5\n6,f,6\n";

/// The same row with another price.
fn other_price(payload: &mut [u8]) {
    let last = payload.len() - 2;
    payload[last] ^= 2;
}

#[test]
fn each_difference_is_placed() {
    let check = |change: fn(&mut Vec<Vec<u8>>), expected: &[(ContentKind, u64)]| {
        let read = Read::new(TEXT, change);
        let found = read.contents();
        let places = found.findings.iter().map(|found| (found.kind, found.line));
        assert_eq!(places.collect::<Vec<_>>(), expected, "{found:?}");
        for finding in &found.findings {
            assert_eq!(finding.at.is_none(), finding.kind == ContentKind::NotInLog);
            let line = TEXT.lines().nth(usize::try_from(finding.line).unwrap() - 1);
            let start = usize::try_from(finding.start).unwrap();
            assert!(TEXT[start..].starts_with(line.unwrap()));
        }
        read.says(match expected.is_empty() {
            true => &Comparison::Same,
            false => &Comparison::Differs,
        });
    };
    check(|_| {}, &[]);
    check(|records| records.reverse(), &[]);
    check(
        |records| drop(records.remove(1)),
        &[(ContentKind::NotInLog, 3)],
    );
    // A reject as well.
    check(
        |records| drop(records.remove(2)),
        &[(ContentKind::NotInLog, 4)],
    );
    check(
        |records| records.push(records[4].clone()),
        &[(ContentKind::NotInFile, 6)],
    );
    check(
        |records| other_price(&mut records[3]),
        &[(ContentKind::Changed, 5)],
    );
    // As many records as there should be.
    check(
        |records| records[0] = records[5].clone(),
        &[(ContentKind::NotInLog, 2), (ContentKind::NotInFile, 7)],
    );
}

/// A live ingest has appended records that are not in the checkpoint yet.
#[test]
fn records_after_the_position_are_not_compared() {
    let mut read = Read::new(TEXT, |_| {});
    let end = TEXT.find("5,e").unwrap();
    let (before, id) = (&TEXT[..end], read.entry.id);
    let part = read.dir.path().join("part");
    fs::write(&part, before).unwrap();
    let (_, cursor) = self::read(&part, id, &read.stream);
    let entry = &mut read.entry;
    (entry.position, entry.crc, entry.tail) = (cursor.position, cursor.crc, cursor.tail);
    entry.records = 4;
    let found = read.contents();
    let file = &found.files[0];
    assert_eq!((file.in_log, file.count_differs), (4, false));
    assert_eq!(file.comparison, Comparison::Same);
    for (records, differs) in [(3, true), (5, false), (7, true)] {
        read.entry.records = records;
        assert_eq!(read.contents().files[0].count_differs, differs, "{records}");
    }
}

#[test]
fn a_file_that_is_not_what_was_read_is_no_difference() {
    let rows: String = (10..60).map(|id| format!("{id},x,{id}\n")).collect();
    let text = &format!("{TEXT}{rows}");
    let mut read = Read::new(text, |_| {});
    fs::write(&read.path, format!("{text}7,g,7\n")).unwrap();
    read.says(&Comparison::Same);
    // As long as before, and with the same beginning and end.
    fs::write(&read.path, text.replace("20,x", "20,y")).unwrap();
    read.is_not_compared("changed since");
    read.entry.crc = None;
    read.is_not_compared("no checksum");
    fs::write(&read.path, "other\n").unwrap();
    read.is_not_compared("another file has its name");
    fs::remove_file(&read.path).unwrap();
    read.is_not_compared("gone");
    let done = read.dir.path().join("done");
    fs::create_dir(&done).unwrap();
    fs::write(done.join("a.csv"), text).unwrap();
    read.stream.finished = Finished::Move(done);
    read.says(&Comparison::Same);
    read.stream.columns.truncate(2);
    read.is_not_compared("other columns");
}

/// How such a record ends depends on how much of the file there was.
#[test]
fn a_quote_that_was_closed_later_is_no_difference() {
    let text = "id,name,Price\n1,a,1\n2,\"b,2\n3,c,3\n4,d\",4\n";
    let read = Read::new(text, |records| {
        let part = tempfile::NamedTempFile::new().unwrap();
        fs::write(part.path(), &text[..text.find("4,d").unwrap()]).unwrap();
        *records = self::read(part.path(), FileId::from_bytes([1; 16]), &stream()).0;
    });
    read.is_not_compared("quote");
}
