//! What each call promises.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::thread;
use std::time::{Duration, Instant};

use bekk_log::{Client, Error, Offset, RecordBuffer, Session, TopicConfig};
use bekk_testing::assert_matches;

use crate::support::{
    append, buffer, config, open, open_with, read_all, topic, try_append, with_topic,
};

#[test]
fn records_come_back_as_they_were_and_stay_over_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let client = open(dir.path());
    let log_id = client.log_id();
    topic(&client, "events", 2);
    let mut mixed = RecordBuffer::new();
    mixed.push(-5, None, b"");
    mixed.push(i64::MAX, Some(b""), &[7; 300_000]);
    mixed.push(i64::MIN, Some(b"key"), b"value");
    let offsets = client
        .append(
            None,
            "events",
            &[
                (1, &mixed),
                (0, &buffer(["a", "b"])),
                (0, &RecordBuffer::new()),
            ],
        )
        .unwrap();
    assert_eq!(offsets, [Offset::ZERO, Offset::ZERO, Offset::new(2)]);
    client.close().unwrap();

    let client = open(dir.path());
    assert_eq!(client.log_id(), log_id);
    assert_eq!(client.topics().unwrap()[0].config.partitions, 2);
    let records = client.read("events", 1, Offset::ZERO, 1).unwrap();
    let read: Vec<_> = records
        .iter()
        .map(|r| (r.offset.get(), r.timestamp_ms, r.key, r.value))
        .collect();
    assert_eq!(read.len(), 3);
    assert_eq!(read[0], (0, -5, None, &b""[..]));
    assert_eq!(read[1], (1, i64::MAX, Some(&b""[..]), &[7; 300_000][..]));
    assert_eq!(read[2], (2, i64::MIN, Some(&b"key"[..]), &b"value"[..]));
    let next = client
        .append(None, "events", &[(1, &buffer(["c"]))])
        .unwrap();
    assert_eq!(next, [Offset::new(3)]);
}

#[test]
fn a_read_may_begin_inside_a_batch_and_ends_at_the_end() {
    let (_dir, client) = with_topic(1);
    for batch in 0..10 {
        let values = (0..10).map(|i| format!("{}", batch * 10 + i));
        append(&client, 0, values);
    }
    for from in 0..=100 {
        let read = read_all(&client, "t", 0, Offset::new(from));
        let expected: Vec<_> = (from..100)
            .map(|i| (i, i.to_string().into_bytes()))
            .collect();
        assert_eq!(read, expected);
        let one = client.read("t", 0, Offset::new(from), 1).unwrap();
        assert_eq!(
            one.len() as u64,
            if from == 100 { 0 } else { 10 - from % 10 }
        );
    }
    let error = client.read("t", 0, Offset::new(101), 1).unwrap_err();
    assert_matches!(error, Error::OffsetOutOfRange { end, .. } if end == Offset::new(100));
}

#[test]
fn a_directory_has_one_holder() {
    let dir = tempfile::tempdir().unwrap();
    let client = open(dir.path());
    let error = Client::open(config(dir.path())).unwrap_err();
    assert_matches!(&error, Error::Locked { path } if path == dir.path());
    let other = client.clone();
    client.close().unwrap();
    assert_matches!(other.topics(), Err(Error::Closed));
    open(dir.path());
}

/// To make a log there, it would be closed to other users with all that is in it.
#[test]
fn a_directory_of_other_files_is_refused_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (data, file) = (dir.path().join("data"), dir.path().join("data/a.csv"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(&file, "id\n").unwrap();
    let modes = || [&data, &file].map(|path| std::fs::metadata(path).unwrap().mode());
    std::fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let before = modes();
    let error = Client::open(config(&data)).unwrap_err();
    assert_matches!(&error, Error::OtherFiles { path, found } if *path == data && *found == file);
    Client::open(config(&file)).unwrap_err();
    assert_eq!(modes(), before);
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 1);
    // A new disk has a directory of its own.
    let disk = dir.path().join("disk");
    std::fs::create_dir_all(disk.join("lost+found")).unwrap();
    open(&disk).close().unwrap();
}

#[test]
fn an_earlier_session_is_refused_and_writes_nothing() {
    let (dir, client) = with_topic(1);
    let first = client.begin_session("inbox").unwrap();
    let other = client.begin_session("other").unwrap();
    try_append(&client, Some(&first), 0, ["a"]).unwrap();
    client.close().unwrap();
    let client = open(dir.path());
    let second = client.begin_session("inbox").unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    let error = try_append(&client, Some(&first), 0, ["b"]).unwrap_err();
    assert_matches!(
        error,
        Error::Fenced {
            session: 1,
            newest: 2,
            ..
        }
    );
    try_append(&client, Some(&second), 0, ["c"]).unwrap();
    try_append(&client, Some(&other), 0, ["d"]).unwrap();
    let values: Vec<_> = read_all(&client, "t", 0, Offset::ZERO)
        .into_iter()
        .map(|r| r.1)
        .collect();
    assert_eq!(values, [b"a", b"c", b"d"]);
    let unknown = Session {
        ingest: "inbox".to_owned(),
        number: 3,
    };
    try_append(&client, Some(&unknown), 0, ["e"]).unwrap();
}

#[test]
fn names_counts_and_sizes_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let client = open_with(dir.path(), |config| config.batch_bytes_max = 1000);
    for name in ["", ".", "..", "a/b", "ü", &"n".repeat(250)] {
        assert_matches!(
            client.create_topic(name, TopicConfig::new(1)),
            Err(Error::Invalid { .. }),
        );
    }
    for partitions in [0, 1025] {
        assert!(
            client
                .create_topic("t", TopicConfig::new(partitions))
                .is_err()
        );
    }
    topic(&client, "t", 2);
    assert_eq!(
        client
            .create_topic("t", TopicConfig::new(3))
            .unwrap()
            .config
            .partitions,
        2
    );
    let large = buffer([vec![0; 1001]]);
    let error = client.append(None, "t", &[(0, &large)]).unwrap_err();
    assert_matches!(error, Error::BatchTooLarge { max: 1000, .. });
    let error = try_append(&client, None, 2, ["a"]).unwrap_err();
    assert_matches!(error, Error::UnknownPartition { partition: 2, .. });
    let error = client
        .append(None, "u", &[(0, &buffer(["a"]))])
        .unwrap_err();
    assert_matches!(error, Error::UnknownTopic(_));
}

#[test]
fn a_waiting_reader_is_woken() {
    let (_dir, client) = with_topic(2);
    let start = [(0, Offset::ZERO), (1, Offset::ZERO)];
    let short = Duration::from_millis(20);
    assert!(!client.wait_for_records("t", &start, short).unwrap());
    let waiter = client.clone();
    let waiting = thread::spawn(move || {
        let begun = Instant::now();
        let found = waiter.wait_for_records("t", &start, Duration::from_secs(60));
        (found.unwrap(), begun.elapsed())
    });
    append(&client, 1, ["a"]);
    let (found, waited) = waiting.join().unwrap();
    assert!(found);
    assert!(waited < Duration::from_secs(30));
    let ends = client.partition_ends("t").unwrap();
    assert_eq!((ends[0].end.get(), ends[1].end.get()), (0, 1));
}

#[test]
fn a_time_has_an_offset() {
    let (_dir, client) = with_topic(1);
    for times in [[100, 300], [200, 250], [300, 400], [-7, 500]] {
        let mut buffer = RecordBuffer::new();
        for time in times {
            buffer.push(time, None, b"");
        }
        client.append(None, "t", &[(0, &buffer)]).unwrap();
    }
    let offset = |time| {
        client
            .offset_for_time("t", 0, time)
            .unwrap()
            .map(Offset::get)
    };
    assert_eq!(offset(i64::MIN), Some(0));
    assert_eq!(offset(100), Some(0));
    assert_eq!(offset(101), Some(1));
    assert_eq!(offset(300), Some(1));
    assert_eq!(offset(301), Some(5));
    assert_eq!(offset(401), Some(7));
    assert_eq!(offset(501), None);
}

#[test]
fn a_group_finds_its_offsets_again() {
    let (dir, client) = with_topic(2);
    client.commit_offset("g", "t", 1, Offset::new(7)).unwrap();
    client.commit_offset("g", "t", 0, Offset::new(3)).unwrap();
    client.commit_offset("g", "t", 1, Offset::new(9)).unwrap();
    client.commit_offset("g2", "t", 0, Offset::new(1)).unwrap();
    client.close().unwrap();
    let client = open(dir.path());
    let committed = client.committed_offsets("g", "t").unwrap();
    assert_eq!(committed, [(0, Offset::new(3)), (1, Offset::new(9))]);
    assert_eq!(client.committed_offsets("none", "t").unwrap(), []);
    let commits = client.commits().unwrap();
    let places: Vec<_> = commits
        .iter()
        .map(|commit| (commit.group.as_str(), commit.partition, commit.next.get()))
        .collect();
    assert_eq!(places, [("g", 0, 3), ("g", 1, 9), ("g2", 0, 1)]);
    assert!(commits.iter().all(|c| c.is_sink && c.at_ms > 0));
}
