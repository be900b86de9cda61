use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use bekk_log::Offset;
use bekk_stream::Payload;

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
        mode: Mode::Once,
        batch_bytes: 100_000,
        ..Config::new(directory.path().join("state"))
    };
    let calls = Mutex::new(answers.iter());
    let sessions = AtomicU32::new(0);
    let append = |session: &Session, topic: &str, batches: &[(u32, &RecordBuffer)]| {
        sessions.fetch_max(u32::try_from(session.number).unwrap(), Ordering::Relaxed);
        let answer = calls
            .lock()
            .unwrap()
            .next()
            .copied()
            .unwrap_or(Answer::Comes);
        let lost = Err(LogError::Store {
            act: "append",
            path: directory.path().to_owned(),
            detail: "the answer is lost".to_owned(),
        });
        match answer {
            Answer::IsRefusal => lost,
            Answer::IsLost => log.append(Some(session), topic, batches).and(lost),
            Answer::Comes => log.append(Some(session), topic, batches),
        }
    };
    let streams = [stream];
    let stop = AtomicBool::new(false);
    let stats = Stats::default();
    let summary = run_with(&config, &streams, &log, &stats, &stop, &append).unwrap();
    let accidents = answers
        .iter()
        .filter(|answer| **answer != Answer::Comes)
        .count();
    assert_eq!(
        sessions.into_inner() as usize,
        accidents + 1,
        "each accident ends a session: {answers:?}"
    );
    assert_eq!((summary.files, summary.already), (1, 0));

    let mut starts = HashSet::new();
    let mut bytes = "id,name\n".len() as u64;
    for ends in log.partition_ends("things").unwrap() {
        let mut next = Offset::ZERO;
        while next < ends.end {
            let records = log.read("things", ends.partition, next, 1 << 20).unwrap();
            for record in records.iter() {
                let origin = Payload::decode(record.value).unwrap().origin;
                assert!(starts.insert(origin.start), "byte {} twice", origin.start);
                bytes += origin.end - origin.start;
            }
            next = records.next_offset();
        }
    }
    assert_eq!((starts.len(), bytes), (60_000, content.len() as u64));
    let bytes_read = stats.bytes_read.load(Ordering::Relaxed);
    assert_eq!(bytes_read, content.len() as u64);
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
    let log = Client::open(bekk_log::Config::new(directory.path().join("log"))).unwrap();
    let config = Config {
        mode: Mode::Once,
        ..Config::new(directory.path().join("state"))
    };
    let append = |_: &Session, _: &str, _: &[(u32, &RecordBuffer)]| {
        Err(LogError::Store {
            act: "append",
            path: directory.path().to_owned(),
            detail: "broken".to_owned(),
        })
    };
    let stop = AtomicBool::new(false);
    let error = run_with(&config, &[stream], &log, &Stats::default(), &stop, &append).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Log {
                source: LogError::Store { .. },
                ..
            }
        ),
        "{error}"
    );
}
