//! A directory with an inbox, a state directory and a log, and what the log holds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bekk_ingest::{
    Comparison, Config, ContentFinding, ContentKind, Error, FileContent, Mode, Stats, Summary,
};
use bekk_log::{Client, Offset};
use bekk_stream::{Body, FileId, META_TOPIC, Meta, Payload, Reason, Receipt, Stream, Value};
use bekk_testing::{MINUTE, things};
use tempfile::TempDir;

pub(crate) const TOPIC: &str = "things";

pub(crate) struct World {
    pub(crate) directory: TempDir,
}

/// A record as the log has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logged {
    pub(crate) partition: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) line: u64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) body: Result<Vec<Value<'static>>, (Reason, Option<String>, Vec<u8>)>,
}

impl Logged {
    /// The record in its file.
    pub(crate) fn text<'a>(&self, content: &'a str) -> &'a str {
        &content[usize::try_from(self.start).unwrap()..usize::try_from(self.end).unwrap()]
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("inbox")).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn inbox(&self, name: &str) -> PathBuf {
        self.path("inbox").join(name)
    }

    /// Writes a file into the inbox that has stood still for a minute.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.inbox(name);
        fs::write(&path, content).unwrap();
        rest(&path);
        path
    }

    pub(crate) fn config(&self, mode: Mode) -> Config {
        Config {
            mode,
            ..Config::new(self.path("state"))
        }
    }

    pub(crate) fn open_log(&self) -> Client {
        open_log(&self.path("log"))
    }

    pub(crate) fn once(&self) -> Summary {
        self.once_with(&self.stream()).unwrap()
    }

    pub(crate) fn once_with(&self, stream: &Stream) -> Result<Summary, Error> {
        let log = self.open_log();
        let result = until_unlocked(
            || run(&self.config(Mode::Once), stream, &log),
            |error| matches!(error, Error::Locked { .. }),
        );
        if result.is_ok() {
            self.compare(stream, &log);
        }
        log.close().unwrap();
        result
    }

    /// Reads the files again: the log has exactly their records, but for those that it says it has lost.
    fn compare(&self, stream: &Stream, log: &Client) {
        let contents = bekk_ingest::contents(&self.path("state"), log, stream).unwrap();
        let has_lost = log.losses(&stream.name).unwrap().all > 0;
        let differs =
            |file: &FileContent| file.count_differs || file.comparison == Comparison::Differs;
        assert!(
            has_lost || !contents.files.iter().any(differs),
            "{contents:?}"
        );
        let is_lost = |found: &ContentFinding| found.kind == ContentKind::NotInLog;
        assert!(contents.findings.iter().all(is_lost), "{contents:?}");
    }

    /// Follows the inbox while `actions` run, which is given a way to wait until the log holds so many
    /// records.
    pub(crate) fn follow<T>(
        &self,
        stream: &Stream,
        actions: impl FnOnce(&Client) -> T,
    ) -> (Summary, T) {
        self.follow_with(&self.config(Mode::Follow), stream, actions)
    }

    pub(crate) fn follow_with<T>(
        &self,
        config: &Config,
        stream: &Stream,
        actions: impl FnOnce(&Client) -> T,
    ) -> (Summary, T) {
        let log = self.open_log();
        let stop = AtomicBool::new(false);
        let stats = Stats::default();
        let result = thread::scope(|scope| {
            let streams = [stream.clone()];
            let (log, stop, stats) = (&log, &stop, &stats);
            let running = scope.spawn(move || {
                until_unlocked(
                    || bekk_ingest::run(config, &streams, log, stats, stop),
                    |error| matches!(error, Error::Locked { .. }),
                )
            });
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| actions(log)));
            stop.store(true, Ordering::Relaxed);
            let summary = running.join().unwrap().unwrap();
            match result {
                Ok(result) => (summary, result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        self.compare(stream, &log);
        log.close().unwrap();
        result
    }

    /// A stream over the inbox with columns `id` (int8, the key), `name` (text, nullable) and `price`
    /// (decimal(12,2), nullable).
    pub(crate) fn stream(&self) -> Stream {
        stream(&self.path("inbox"))
    }

    pub(crate) fn logged(&self) -> BTreeMap<FileId, Vec<Logged>> {
        let log = self.open_log();
        let logged = logged(&log);
        log.close().unwrap();
        logged
    }

    /// The records of the only file.
    pub(crate) fn logged_of_one(&self) -> Vec<Logged> {
        let mut logged = self.logged();
        assert_eq!(logged.len(), 1, "one file");
        logged.pop_first().unwrap().1
    }

    pub(crate) fn metas(&self) -> Vec<Meta> {
        let log = self.open_log();
        let metas = metas(&log);
        log.close().unwrap();
        metas
    }

    /// The paths under which files were met.
    pub(crate) fn paths(&self) -> BTreeMap<FileId, PathBuf> {
        let files = self.metas().into_iter().filter_map(|meta| match meta {
            Meta::File(file) => Some((file.id, OsStr::from_bytes(&file.path).into())),
            _ => None,
        });
        files.collect()
    }

    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        let receipts = self.metas().into_iter().filter_map(|meta| match meta {
            Meta::Receipt(receipt) => Some(receipt),
            _ => None,
        });
        receipts.collect()
    }
}

pub(crate) fn open_log(directory: &Path) -> Client {
    let mut config = bekk_log::Config::new(directory.to_owned());
    config.reserve_bytes = 0;
    until_unlocked(
        || Client::open(config.clone()),
        |error| matches!(error, bekk_log::Error::Locked { .. }),
    )
    .unwrap()
}

/// Tries again for a while what fails for a lock: a child that another test starts has a copy of every
/// open file for a moment, and with it the lock that has just been given up.
fn until_unlocked<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_locked: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match attempt() {
            Err(error) if is_locked(&error) && Instant::now() < until => {
                thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

pub(crate) fn stream(inbox: &Path) -> Stream {
    Stream {
        files: vec![format!("{}/*.csv", inbox.display())],
        ..things()
    }
}

pub(crate) fn run(config: &Config, stream: &Stream, log: &Client) -> Result<Summary, Error> {
    bekk_ingest::run(
        config,
        std::slice::from_ref(stream),
        log,
        &Stats::default(),
        &AtomicBool::new(false),
    )
}

/// Makes a file look as if it had not been written to for a minute.
pub(crate) fn rest(path: &Path) {
    let then = std::time::SystemTime::now() - Duration::from_secs(60);
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

/// Everything in the topic by file, in the order of the files; checks on the way that offsets are dense
/// and that no byte of a file is in two records.
pub(crate) fn logged(log: &Client) -> BTreeMap<FileId, Vec<Logged>> {
    let mut files: BTreeMap<FileId, Vec<Logged>> = BTreeMap::new();
    if log
        .topics()
        .unwrap()
        .iter()
        .all(|topic| topic.name != TOPIC)
    {
        return files;
    }
    for ends in log.partition_ends(TOPIC).unwrap() {
        let mut next = ends.start;
        while next < ends.end {
            let records = log.read(TOPIC, ends.partition, next, 1 << 20).unwrap();
            for record in records.iter() {
                assert_eq!(record.offset, next, "offsets are dense");
                next = record.offset.next();
                let payload = Payload::decode(record.value).unwrap();
                let body = match payload.body {
                    Body::Row(row) => Ok(row.map(|value| value.unwrap().into_owned()).collect()),
                    Body::Reject(reject) => Err((
                        reject.reason,
                        reject.column.map(|column| column.into_owned()),
                        reject.raw.into_owned(),
                    )),
                };
                let origin = payload.origin;
                files.entry(origin.file).or_default().push(Logged {
                    partition: ends.partition,
                    start: origin.start,
                    end: origin.end,
                    line: origin.line,
                    key: record.key.map(<[u8]>::to_vec),
                    body,
                });
            }
        }
    }
    for records in files.values_mut() {
        records.sort_by_key(|record| record.start);
        for pair in records.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?} overlap");
        }
    }
    files
}

pub(crate) fn count(log: &Client) -> u64 {
    match log.partition_ends(TOPIC) {
        Ok(ends) => ends.iter().map(|ends| ends.end.since(ends.start)).sum(),
        Err(_) => 0,
    }
}

/// Waits until the log holds so many records, and not more.
pub(crate) fn await_count(log: &Client, expected: u64) {
    let until = Instant::now() + MINUTE;
    while count(log) < expected {
        assert!(
            Instant::now() < until,
            "{} of {expected} records after {MINUTE:?}",
            count(log)
        );
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(count(log), expected);
}

pub(crate) fn metas(log: &Client) -> Vec<Meta> {
    let end = log.partition_ends(META_TOPIC).unwrap()[0].end;
    let mut next = Offset::ZERO;
    let mut metas = Vec::new();
    while next < end {
        let records = log.read(META_TOPIC, 0, next, 1 << 20).unwrap();
        metas.extend(
            records
                .iter()
                .map(|record| Meta::decode(record.value).unwrap()),
        );
        next = records.next_offset();
    }
    metas
}

/// The records that a file should give: each line behind the first one, `id` being its number.
pub(crate) fn rows(from: u64, to: u64) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for id in from..to {
        writeln!(text, "{id},name {id},{}.50", id % 1000).unwrap();
    }
    text
}

pub(crate) fn ids(records: &[Logged]) -> Vec<i64> {
    let id = |record: &Logged| match &record.body {
        Ok(values) => match values[0] {
            Value::Int(id) => id,
            ref other => panic!("{other:?} as an id"),
        },
        Err(reject) => panic!("reject {reject:?}"),
    };
    records.iter().map(id).collect()
}
