use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use bekk_log::Offset;
use bekk_stream::{META_TOPIC, Payload};
use bekk_testing::assert_matches;

use super::*;

/// What becomes of an append's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    Comes,
    /// The records are in the log, but nobody is told.
    IsLost,
    /// The records are not in the log.
    IsRefusal,
}

fn failed(why: &str) -> LogError {
    LogError::Store {
        act: "append",
        path: "log".into(),
        detail: why.to_owned(),
        full: None,
    }
}

/// The configuration of a run that ends by itself, with its state in this directory.
fn once(directory: &Path) -> Config {
    Config {
        mode: Mode::Once,
        ..Config::new(directory.join("state"))
    }
}

/// A log in this directory.
fn open_log(directory: &Path) -> Client {
    Client::open(bekk_log::Config::new(directory.join("log"))).unwrap()
}

/// Appends lose their answers in the pattern given; then every record must be in the log once.
fn check(answers: &[Answer]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let mut content = "id,name\n".to_owned();
    for id in 0..60_000 {
        content.push_str(&format!("{id},\"name\n{id}\"\n"));
    }
    fs::write(&path, &content).unwrap();
    let mut stream = crate::testing::stream();
    stream.files = vec![path.display().to_string()];
    let mut log_config = bekk_log::Config::new(directory.path().join("log"));
    log_config.reserve_bytes = 0;
    let log = Client::open(log_config).unwrap();
    let config = Config {
        batch_bytes: 100_000,
        ..once(directory.path())
    };
    let calls = Mutex::new(answers.iter());
    let sessions = AtomicU32::new(0);
    let append = |session: &Session, topic: &str, batches: &[(u32, &RecordBuffer)]| {
        sessions.fetch_max(u32::try_from(session.number).unwrap(), Ordering::Relaxed);
        if topic == META_TOPIC {
            return log.append(Some(session), topic, batches);
        }
        let lost = Err(failed("the answer is lost"));
        match calls.lock().unwrap().next() {
            Some(Answer::IsRefusal) => lost,
            Some(Answer::IsLost) => log.append(Some(session), topic, batches).and(lost),
            Some(Answer::Comes) | None => log.append(Some(session), topic, batches),
        }
    };
    let streams = [stream];
    let stop = AtomicBool::new(false);
    let stats = Stats::default();
    let summary = run_with(&config, &streams, &log, &stats, &stop, &append).unwrap();
    let accidents = answers.iter().filter(|answer| **answer != Answer::Comes);
    let ended = sessions.into_inner() as usize - 1;
    assert_eq!(ended, accidents.count(), "each ends a session: {answers:?}");
    assert_eq!((summary.files, summary.already), (1, 0));

    let mut starts = HashSet::new();
    let mut bytes = "id,name\n".len() as u64;
    for_each_record(&log, |record| {
        let origin = Payload::decode(record.value).unwrap().origin;
        assert!(starts.insert(origin.start), "byte {} twice", origin.start);
        bytes += origin.end - origin.start;
    });
    assert_eq!((starts.len(), bytes), (60_000, content.len() as u64));
    let bytes_read = stats.bytes_read.load(Ordering::Relaxed);
    assert_eq!(bytes_read, content.len() as u64);
}

fn for_each_record(log: &Client, mut take: impl FnMut(bekk_log::Record<'_>)) {
    for ends in log.partition_ends("things").unwrap() {
        let mut next = Offset::ZERO;
        while next < ends.end {
            let records = log.read("things", ends.partition, next, 1 << 20).unwrap();
            records.iter().for_each(&mut take);
            next = records.next_offset();
        }
    }
}

/// A file's first records come into the log; before that is noted anywhere else ingest ends, and something happens to
/// the file. What the next session reads must be the rest: each key is in the log once.
fn check_first_moments(accident: impl Fn(&Path) + Sync) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let rows = |ids: std::ops::Range<u32>| -> String {
        ids.map(|id| format!("{id},\"name\n{id}\"\n")).collect()
    };
    fs::write(&path, format!("id,name\n{}", rows(0..100))).unwrap();
    let mut stream = crate::testing::stream();
    stream.files = vec![directory.path().join("*.csv*").display().to_string()];
    let (log, config) = (open_log(directory.path()), once(directory.path()));
    let is_first = AtomicBool::new(true);
    let append = |session: &Session, topic: &str, batches: &[(u32, &RecordBuffer)]| {
        let appended = log.append(Some(session), topic, batches);
        if topic == META_TOPIC || !is_first.swap(false, Ordering::Relaxed) {
            return appended;
        }
        accident(&path);
        appended.and(Err(failed("killed")))
    };
    let streams = [stream];
    let run = || {
        let stop = AtomicBool::new(false);
        run_with(&config, &streams, &log, &Stats::default(), &stop, &append).unwrap();
    };
    run();
    let found = fs::read_dir(directory.path()).unwrap();
    let last = found
        .filter_map(|entry| entry.unwrap().path().to_str().map(str::to_owned))
        .find(|path| path.ends_with(".csv"));
    let more = last.map_or(0, |path| {
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        if file.metadata().unwrap().len() == 0 {
            file.write_all(b"id,name\n").unwrap();
        }
        file.write_all(rows(1_000..1_010).as_bytes()).unwrap();
        10
    });
    run();
    let mut keys = Vec::new();
    for_each_record(&log, |record| {
        keys.push(std::str::from_utf8(record.key.unwrap()).unwrap().to_owned());
    });
    let distinct: HashSet<&String> = keys.iter().collect();
    assert_eq!((distinct.len(), keys.len()), (100 + more, 100 + more));
}

#[test]
fn a_file_is_known_by_its_content_from_its_first_records_on() {
    let beside = |path: &Path, name: &str| path.with_file_name(name);
    // Copied and emptied.
    check_first_moments(|path| {
        fs::copy(path, beside(path, "a.csv.1")).unwrap();
        fs::write(path, "").unwrap();
    });
    // Copied under a name that the patterns do not match, and emptied.
    check_first_moments(|path| {
        fs::copy(path, beside(path, "a.1")).unwrap();
        fs::write(path, "").unwrap();
    });
    // Replaced by a file with all that it held.
    check_first_moments(|path| {
        fs::copy(path, beside(path, "new")).unwrap();
        fs::rename(beside(path, "new"), path).unwrap();
    });
    // Compressed.
    check_first_moments(|path| {
        let packed = File::create(beside(path, "a.csv.1.gz")).unwrap();
        let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
        packed.write_all(&fs::read(path).unwrap()).unwrap();
        packed.finish().unwrap();
        fs::remove_file(path).unwrap();
    });
}

/// Files that are partly read are rotated while they wait for their turn: each has the name of another by then.
#[expect(clippy::too_many_lines, reason = "one accident from begin to end")]
fn check_rotated_in_the_backlog(mode: Mode) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let rows = |ids: std::ops::Range<u32>| -> String {
        ids.map(|id| format!("{id},name {id}\n")).collect()
    };
    let put = |name: &str, days: u64, text: String| {
        let mut file = File::options();
        let mut file = file.append(true).create(true).open(path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let age = std::time::Duration::from_secs(days * 24 * 3600);
        file.set_modified(std::time::SystemTime::now() - age)
            .unwrap();
    };
    let mut stream = crate::testing::stream();
    stream.files = vec![path("*.csv*").display().to_string()];
    let log = open_log(directory.path());
    let run = |mode: Mode, append: &SessionAppend<'_>, expected: u32| {
        let (stop, stats) = (AtomicBool::new(false), Stats::default());
        let config = Config {
            mode,
            batch_bytes: 10_000,
            ..Config::new(path("state"))
        };
        let streams = [stream.clone()];
        thread::scope(|scope| {
            let run = || run_with(&config, &streams, &log, &stats, &stop, append).unwrap();
            let run = scope.spawn(run);
            let begun = std::time::Instant::now();
            while stats.records_logged.load(Ordering::Relaxed) < expected.into()
                && !run.is_finished()
            {
                assert!(begun.elapsed().as_secs() < 30, "records are missing");
                thread::sleep(std::time::Duration::from_millis(10));
            }
            stop.store(mode == Mode::Follow, Ordering::Relaxed);
            assert_eq!(run.join().unwrap().unreadable, []);
        });
    };
    put("a.csv", 3, "id,name\n".to_owned() + &rows(0..100));
    put("b.csv.2", 2, "id,name\n".to_owned() + &rows(30_000..30_100));
    put("b.csv.1", 1, "id,name\n".to_owned() + &rows(40_000..40_100));
    let append = |session: &Session, topic: &str, batches: &[(u32, &RecordBuffer)]| {
        log.append(Some(session), topic, batches)
    };
    run(Mode::Once, &append, 300);
    put("a.csv", 3, rows(100..20_000));
    put("b.csv.2", 2, rows(30_100..30_200));
    put("b.csv.1", 1, rows(40_100..40_200));
    let is_first = AtomicBool::new(true);
    let append = |session: &Session, topic: &str, batches: &[(u32, &RecordBuffer)]| {
        if is_first.swap(false, Ordering::Relaxed) {
            fs::rename(path("b.csv.2"), path("b.csv.3")).unwrap();
            fs::rename(path("b.csv.1"), path("b.csv.2")).unwrap();
            put("b.csv.1", 0, "id,name\n".to_owned() + &rows(50_000..50_100));
        }
        append(session, topic, batches)
    };
    // The last one came after the listing.
    let last = if mode == Mode::Follow { 100 } else { 0 };
    run(mode, &append, 19_900 + 200 + last);
    let mut keys: Vec<u32> = Vec::new();
    for_each_record(&log, |record| {
        let key = std::str::from_utf8(record.key.unwrap()).unwrap();
        keys.push(key.parse().unwrap());
    });
    keys.sort_unstable();
    let files = [
        0..20_000,
        30_000..30_200,
        40_000..40_200,
        50_000..50_000 + last,
    ];
    assert!(
        keys.into_iter().eq(files.into_iter().flatten()),
        "each record is there once"
    );
}

#[test]
fn files_that_are_rotated_while_they_wait_are_read_once() {
    check_rotated_in_the_backlog(Mode::Once);
    check_rotated_in_the_backlog(Mode::Follow);
}

/// An append fails, and nobody knows whether it happened: the log is asked.
#[test]
fn appends_of_unknown_outcome_are_looked_up() {
    use Answer::{Comes, IsLost, IsRefusal};
    check(&[]);
    check(&[IsLost]);
    check(&[IsRefusal]);
    check(&[Comes, Comes, IsLost]);
    check(&[Comes, IsRefusal, IsLost, Comes, IsLost, Comes]);
}

/// One that never succeeds ends the run, with the log's reason.
#[test]
fn a_log_that_always_fails_ends_the_run() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.csv"), "id\n1\n").unwrap();
    let mut stream = crate::testing::stream();
    stream.files = vec![format!("{}/*.csv", directory.path().display())];
    let (log, config) = (open_log(directory.path()), once(directory.path()));
    let append = |_: &Session, _: &str, _: &[(u32, &RecordBuffer)]| Err(failed("broken"));
    let stop = AtomicBool::new(false);
    let error = run_with(&config, &[stream], &log, &Stats::default(), &stop, &append).unwrap_err();
    assert_matches!(
        error,
        Error::Log {
            source: LogError::Store { .. },
            ..
        }
    );
}
