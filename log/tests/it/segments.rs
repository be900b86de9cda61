//! Segments: rolled, sealed, read again, let go of. Group commit and the reserve.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bekk_log::{Client, Durability, Error, Offset, Retention, verify};
use bekk_testing::{MINUTE, assert_matches, wait_until};

use crate::support::{
    append, await_sealing, buffer, by_age, by_size, find, noise, open, open_small, open_with,
    read_all, topic, topic_with, try_append, with_topic,
};

/// Appends batches of one record of about 10 kB to two partitions in turn, from `from` up to `to`.
fn fill(client: &Client, from: u64, to: u64) {
    for i in from..to {
        let partition = u32::try_from(i % 2).unwrap();
        let batch = buffer([noise(i, 10_000)]);
        client.append(None, "t", &[(partition, &batch)]).unwrap();
    }
}

fn check_filled(client: &Client, to: u64) {
    for partition in 0..2 {
        let read = read_all(client, "t", partition, Offset::ZERO);
        let expected = (u64::from(partition)..to).step_by(2);
        let expected: Vec<_> = (0..).zip(expected.map(|i| noise(i, 10_000))).collect();
        assert!(read == expected, "partition {partition}");
    }
}

fn sealed(client: &Client) -> usize {
    let segments = client.segments("t").unwrap();
    segments.iter().filter(|s| s.sealed_at_ms.is_some()).count()
}

#[test]
fn a_log_of_many_segments_is_read_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let client = open_small(dir.path(), 50_000);
    topic(&client, "t", 2);
    // The last segment is not full, so that nothing begins another one meanwhile.
    fill(&client, 0, 58);
    check_filled(&client, 58);
    await_sealing(&client, "t");
    let segments = client.segments("t").unwrap();
    assert!(segments.len() >= 10, "{}", segments.len());
    check_filled(&client, 58);
    // A sealed segment has given up its journal.
    for segment in &segments[..segments.len() - 1] {
        let journals = find(&segment.path, ".jnl");
        assert_eq!(journals.len(), 1);
        assert_eq!(std::fs::metadata(&journals[0]).unwrap().len(), 0);
        assert!(segment.bytes < 100_000, "{}", segment.bytes);
    }
    client.close().unwrap();

    let client = open_small(dir.path(), 50_000);
    assert_eq!(client.segments("t").unwrap().len(), segments.len());
    check_filled(&client, 58);
    fill(&client, 58, 70);
    check_filled(&client, 70);
    client.close().unwrap();
    let mut calls = 0;
    let report = verify(dir.path(), &mut |_| calls += 1).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(
        (report.records, report.batches, report.partitions),
        (70, 70, 2)
    );
    assert_eq!(report.segments, calls);
}

#[test]
fn a_segment_is_sealed_when_it_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let client = open_with(dir.path(), |config| {
        config.segment_age = Duration::from_millis(50)
    });
    topic(&client, "t", 2);
    fill(&client, 0, 1);
    wait_until("sealing", MINUTE, || sealed(&client) == 1);
    // An empty segment does not grow old.
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(client.segments("t").unwrap().len(), 2);
    check_filled(&client, 1);
}

#[test]
fn retention_waits_for_groups_and_holds() {
    let dir = tempfile::tempdir().unwrap();
    let client = open_small(dir.path(), 50_000);
    topic_with(&client, "t", 2, by_age(Duration::ZERO));
    fill(&client, 0, 40);
    await_sealing(&client, "t");
    let before = client.segments("t").unwrap();
    assert_eq!(client.apply_retention().unwrap(), 0);

    client.commit_offset("g", "t", 0, Offset::new(10)).unwrap();
    assert_eq!(
        client.apply_retention().unwrap(),
        0,
        "partition 1 has not been read"
    );
    client
        .hold("ingest", "t", &[(1, before[1].ranges[1].1)])
        .unwrap();
    client.commit_offset("g", "t", 1, Offset::new(20)).unwrap();
    assert!(client.apply_retention().unwrap() > 0);
    let held = client.segments("t").unwrap();
    assert_eq!(held[0].number, before[2].number);
    assert!(!before[0].path.exists() && !before[1].path.exists());

    client.release("ingest").unwrap();
    client.apply_retention().unwrap();
    let start = client.partition_ends("t").unwrap()[0].start;
    assert!(
        start > held[0].ranges[0].0 && start <= Offset::new(10),
        "{start}"
    );
    let error = client.read("t", 0, Offset::ZERO, 1).unwrap_err();
    assert_matches!(error, Error::OffsetOutOfRange { start: found, .. } if found == start);
    client.close().unwrap();

    let client = open_small(dir.path(), 50_000);
    assert_eq!(client.partition_ends("t").unwrap()[0].start, start);
    let read = read_all(&client, "t", 0, start);
    assert_eq!(read.first().unwrap().0, start.get());
    assert_eq!(read.last().unwrap().0, 19);
    assert_eq!(client.gaps("t").unwrap(), []);
}

#[test]
fn retention_by_size_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let client = open_small(dir.path(), 50_000);
    topic_with(&client, "t", 2, by_size(200_000));
    topic(&client, "bekk.meta", 1);
    client
        .append(None, "bekk.meta", &[(0, &buffer(["m"]))])
        .unwrap();
    // The last segment is not full, so that nothing begins another one meanwhile.
    fill(&client, 0, 58);
    await_sealing(&client, "t");
    for partition in 0..2 {
        client
            .commit_offset("g", "t", partition, Offset::new(29))
            .unwrap();
    }
    let before = client.topic_size("t").unwrap();
    let gone = client.apply_retention().unwrap();
    let after = client.topic_size("t").unwrap();
    assert_eq!(before.bytes - after.bytes, gone);
    assert!(after.bytes <= 200_000 && after.bytes > 100_000, "{after:?}");
    assert_eq!(read_all(&client, "bekk.meta", 0, Offset::ZERO).len(), 1);
}

#[test]
fn appends_that_come_together_share_an_fsync() {
    const THREADS: usize = 16;
    const APPENDS: usize = 50;
    let (_dir, client) = with_topic(2);
    let start = Arc::new(Barrier::new(THREADS));
    let threads = (0..THREADS).map(|i| {
        let (client, start) = (client.clone(), Arc::clone(&start));
        thread::spawn(move || {
            start.wait();
            for j in 0..APPENDS {
                let partition = u32::try_from(j % 2).unwrap();
                let value = format!("{i}/{j}");
                append(&client, partition, [value]);
            }
        })
    });
    threads
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|t| t.join().unwrap());
    let counters = client.counters().unwrap();
    assert_eq!(counters.appends, 800);
    assert_eq!(counters.records, 800);
    assert_eq!(counters.fsyncs, counters.writes);
    assert!(
        counters.fsyncs <= 400,
        "{} fsyncs for 800 appends",
        counters.fsyncs
    );
    let all = (0..2).map(|p| read_all(&client, "t", p, Offset::ZERO).len());
    assert_eq!(all.sum::<usize>(), 800);
}

#[test]
fn without_fsync_on_append_readers_wait_for_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Duration::from_millis(300);
    let client = open_with(dir.path(), |config| {
        config.durability = Durability::Interval(interval)
    });
    topic(&client, "t", 1);
    for i in 0..100 {
        let offset = append(&client, 0, ["a"]);
        assert_eq!(offset, Offset::new(i));
    }
    assert!(client.counters().unwrap().fsyncs < 20);
    let behind = [(0, Offset::new(99))];
    assert!(client.wait_for_records("t", &behind, MINUTE).unwrap());
    assert!(client.counters().unwrap().fsyncs > 0);
    // A session sees what its predecessor wrote, without waiting for the interval.
    append(&client, 0, ["b"]);
    client.begin_session("inbox").unwrap();
    assert_eq!(client.partition_ends("t").unwrap()[0].end, Offset::new(101));
}

#[test]
fn left_to_the_system_records_are_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let client = open_with(dir.path(), |config| config.durability = Durability::Os);
    topic(&client, "t", 1);
    append(&client, 0, ["a"]);
    assert_eq!(read_all(&client, "t", 0, Offset::ZERO).len(), 1);
    assert_eq!(client.counters().unwrap().fsyncs, 0);
}

#[test]
fn a_full_disk_refuses_appends_and_nothing_else() {
    let (dir, client) = with_topic(1);
    append(&client, 0, ["a"]);
    client.close().unwrap();
    let client = open_with(dir.path(), |config| config.reserve_bytes = u64::MAX);
    let error = try_append(&client, None, 0, ["b"]).unwrap_err();
    assert_matches!(
        error,
        Error::NoSpace {
            reserve_bytes: u64::MAX,
            ..
        }
    );
    assert!(error.is_retriable());
    assert_eq!(
        read_all(&client, "t", 0, Offset::ZERO),
        [(0, b"a".to_vec())]
    );
    client.commit_offset("g", "t", 0, Offset::new(1)).unwrap();
    client.apply_retention().unwrap();
    client.close().unwrap();
    let client = open(dir.path());
    let next = append(&client, 0, ["c"]);
    assert_eq!(next, Offset::new(1));
}

#[test]
fn retention_can_be_changed_and_stays_so() {
    let (dir, client) = with_topic(2);
    let retention = Retention {
        age: Some(Duration::from_secs(5)),
        size: Some(7),
    };
    topic_with(&client, "t", 2, retention);
    drop(client);
    let client = open(dir.path());
    assert_eq!(client.topics().unwrap()[0].config.retention, retention);
    topic(&client, "t", 2);
    assert_eq!(
        client.topics().unwrap()[0].config.retention,
        Retention::default()
    );
}

#[test]
fn readers_follow_while_segments_come_and_go() {
    const RECORDS: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let client = open_with(dir.path(), |config| {
        config.durability = Durability::Os;
        config.segment_bytes = 400_000;
    });
    topic_with(&client, "t", 2, by_size(1_000_000));
    let value = |partition: u32, i: u64| {
        noise(
            i * 2 + u64::from(partition),
            usize::try_from(i % 7).unwrap() * 500,
        )
    };
    thread::scope(|scope| {
        for partition in 0..2 {
            let client = &client;
            scope.spawn(move || {
                for i in (0..RECORDS).step_by(3) {
                    let batch = buffer((i..i + 3).map(|i| value(partition, i)));
                    let offset = client.append(None, "t", &[(partition, &batch)]).unwrap();
                    assert_eq!(offset, [Offset::new(i)]);
                }
            });
            scope.spawn(move || {
                let mut next = Offset::ZERO;
                while next.get() < RECORDS {
                    let minute = Duration::from_secs(60);
                    assert!(
                        client
                            .wait_for_records("t", &[(partition, next)], minute)
                            .unwrap()
                    );
                    let records = client.read("t", partition, next, 10_000).unwrap();
                    for record in records.iter() {
                        assert_eq!(record.offset, next);
                        assert!(record.value == value(partition, next.get()));
                        next = next.next();
                    }
                    assert_eq!(records.next_offset(), next);
                    client.commit_offset("g", "t", partition, next).unwrap();
                }
            });
        }
        let client = &client;
        scope.spawn(move || {
            let done = |c: &Client| {
                let committed = c.committed_offsets("g", "t").unwrap();
                committed
                    .iter()
                    .filter(|(_, next)| next.get() == RECORDS)
                    .count()
                    == 2
            };
            while !done(client) {
                client.apply_retention().unwrap();
                thread::sleep(Duration::from_millis(10));
            }
        });
    });
    wait_until("retention", MINUTE, || {
        client.apply_retention().unwrap();
        client.topic_size("t").unwrap().bytes < 1_400_000
    });
    assert!(client.partition_ends("t").unwrap()[0].start > Offset::ZERO);
    assert_eq!(client.gaps("t").unwrap(), []);
    assert_eq!(client.verify(&mut |_| ()).unwrap().problems, []);
}
