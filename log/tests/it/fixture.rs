//! A log of format version 1, as it was written when that version was made. Every later version opens it.
//!
//! It was made by `BEKK_LOG_FIXTURE=DIR cargo test -p bekk-log --test it fixture::write`, and is not made again:
//! another format gets another directory beside it.

use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bekk_log::{Client, Config, Offset, RecordBuffer, Retention, verify};

use crate::support::{await_sealing, config, copy, noise, read_all, topic, topic_with};

const RETENTION: Retention = Retention {
    age: Some(Duration::from_secs(7 * 24 * 60 * 60)),
    size: Some(10_000_000_000),
};

/// Partition, first offset and the one after the last of each gap of the later fixtures
const GAPS: [(u32, u64, u64); 1] = [(1, 0, 8)];

/// Each partition has batches of one to three records, some of which compress.
fn value(partition: u32, i: u64) -> Vec<u8> {
    if i % 4 == 3 {
        noise(i, 1500)
    } else {
        format!("{partition},{i},view,purchase,add_to_cart,")
            .repeat(20)
            .into_bytes()
    }
}

#[test]
fn write() {
    let Some(dir) = env::var_os("BEKK_LOG_FIXTURE") else {
        return;
    };
    let config = Config {
        segment_bytes: 3000,
        ..config(Path::new(&dir))
    };
    let client = Client::open(config.clone()).unwrap();
    topic_with(&client, "events", 2, RETENTION);
    topic(&client, "bekk.meta", 1);
    let session = client.begin_session("inbox").unwrap();
    for partition in 0..2 {
        let mut i = 0u64;
        for records in [1, 2, 3, 2] {
            let mut buffer = RecordBuffer::new();
            for _ in 0..records {
                let key = i.is_multiple_of(2).then(|| format!("key {i}"));
                let time = 1_790_000_000_000 + i.cast_signed();
                buffer.push(
                    time,
                    key.as_deref().map(str::as_bytes),
                    &value(partition, i),
                );
                i += 1;
            }
            client
                .append(Some(&session), "events", &[(partition, &buffer)])
                .unwrap();
        }
    }
    client
        .commit_offset("bekk", "events", 0, Offset::new(5))
        .unwrap();
    client
        .hold("inbox", "events", &[(1, Offset::new(2))])
        .unwrap();
    await_sealing(&client, "events");
    client.close().unwrap();
    // A lost segment leaves a gap in the state, and in its copy.
    fs::remove_dir_all(Path::new(&dir).join("topics/events/0000000002")).unwrap();
    // When a journal is opened again it gives up the room that was set aside for it.
    Client::open(config).unwrap().close().unwrap();
}

#[test]
fn a_log_of_version_1_is_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/log-v1");
    let dir = copy(&fixture);
    // git keeps no empty directories.
    for list in fs::read_to_string(fixture.join("empty-directories"))
        .unwrap()
        .lines()
    {
        fs::create_dir_all(dir.path().join(list)).unwrap();
    }
    let client = Client::open(config(dir.path())).unwrap();
    let id = fs::read_to_string(fixture.join("log-id")).unwrap();
    assert_eq!(client.log_id(), id.trim().parse().unwrap());
    let topics = client.topics().unwrap();
    assert_eq!(topics.len(), 2);
    assert_eq!(
        (&topics[0].name[..], topics[0].config.partitions),
        ("bekk.meta", 1)
    );
    assert_eq!(topics[0].config.retention, Retention::default());
    assert_eq!(
        (&topics[1].name[..], topics[1].config.retention),
        ("events", RETENTION)
    );

    for partition in 0..2 {
        let expected: Vec<_> = (0..8).map(|i| (i, value(partition, i))).collect();
        assert_eq!(
            read_all(&client, "events", partition, Offset::ZERO),
            expected
        );
        let records = client.read("events", partition, Offset::new(6), 1).unwrap();
        let last = records.iter().last().unwrap();
        assert_eq!((last.timestamp_ms, last.key), (1_790_000_000_007, None));
        let found = client
            .offset_for_time("events", partition, 1_790_000_000_004)
            .unwrap();
        assert_eq!(found, Some(Offset::new(4)));
    }
    let segments = client.segments("events").unwrap();
    assert!(segments.len() > 2, "{segments:?}");
    assert!(
        segments[..segments.len() - 1]
            .iter()
            .all(|s| s.sealed_at_ms.is_some())
    );
    assert_eq!(
        client.committed_offsets("bekk", "events").unwrap(),
        [(0, Offset::new(5))]
    );
    assert_eq!(client.begin_session("inbox").unwrap().number, 2);
    assert_eq!(client.gaps("events").unwrap(), []);
    let mut more = RecordBuffer::new();
    more.push(0, None, b"more");
    let next = client.append(None, "events", &[(1, &more)]).unwrap();
    assert_eq!(next, [Offset::new(8)]);
    client.close().unwrap();
    assert_eq!(verify(dir.path(), &mut |_| ()).unwrap().problems, []);
}

/// Logs of format 1 whose index has the CRCs of its batches, the later one with notes of all batches; their states have a
/// gap, and there is a copy of each.
#[test]
fn a_log_with_checksums_and_a_gap_is_read() {
    for name in ["log-v1-crcs", "log-v1-notes"] {
        check_with_gap(
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/fixtures")
                .join(name),
        );
    }
}

fn check_with_gap(fixture: &Path) {
    for is_copied in [false, true] {
        let dir = copy(fixture);
        for list in fs::read_to_string(fixture.join("empty-directories"))
            .unwrap()
            .lines()
        {
            fs::create_dir_all(dir.path().join(list)).unwrap();
        }
        if is_copied {
            fs::remove_dir_all(dir.path().join("state")).unwrap();
        }
        let client = Client::open(config(dir.path())).unwrap();
        let gaps = client.gaps("events").unwrap();
        assert_eq!(gaps.len(), GAPS.len(), "{gaps:?}");
        for (gap, (partition, start, end)) in gaps.iter().zip(GAPS) {
            let found = (gap.partition, gap.start.get(), gap.end.get());
            assert_eq!(found, (partition, start, end));
        }
        for partition in 0..2 {
            let is_lost = |i: u64| {
                GAPS.iter()
                    .any(|gap| gap.0 == partition && (gap.1..gap.2).contains(&i))
            };
            let whole = (0..8).filter(|i| !is_lost(*i));
            let expected: Vec<_> = whole.map(|i| (i, value(partition, i))).collect();
            assert_eq!(
                read_all(&client, "events", partition, Offset::ZERO),
                expected
            );
        }
        assert_eq!(
            client.committed_offsets("bekk", "events").unwrap(),
            [(0, Offset::new(5))]
        );
        client.close().unwrap();
        let report = verify(dir.path(), &mut |_| ()).unwrap();
        assert_eq!((report.problems, report.gaps.len()), (vec![], GAPS.len()));
    }
}
