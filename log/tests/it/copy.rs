//! A log copied to another one: each record with its offset, continued where it was interrupted, and compared.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bekk_log::{Client, Copied, Durability, Error, Offset, RecordBuffer, TopicCopy};
use bekk_testing::{MINUTE, assert_matches, wait_until};

use crate::served::Served;
use crate::support::{
    append, await_sealing, buffer, by_size, config, noise, read_all, topic, topic_with,
};

const RECORDS: u64 = 3_000;

/// A log whose beginning was removed by retention.
fn source(dir: &std::path::Path) -> Client {
    let mut config = config(dir);
    config.segment_bytes = 200_000;
    config.durability = Durability::Os;
    let client = Client::own(config, &mut |_, _| false).unwrap();
    topic_with(&client, "t", 2, by_size(400_000));
    for at in 0..RECORDS {
        let value = noise(at, 300);
        let mut records = RecordBuffer::new();
        records.push(1_000 + at.cast_signed(), Some(b"key"), &value);
        client.append(None, "t", &[(0, &records)]).unwrap();
    }
    append(&client, 1, ["a", "b"]);
    client
        .commit_offset("g", "t", 0, Offset::new(RECORDS))
        .unwrap();
    client.commit_offset("g", "t", 1, Offset::new(2)).unwrap();
    wait_until("retention", MINUTE, || {
        client.apply_retention().unwrap() > 0
    });
    client
}

fn copy_topic(
    from: &Client,
    to: &Client,
    topic: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<Copied, Error> {
    let topics = [topic.to_owned()];
    let mut copy = TopicCopy::prepare(from, to, &topics)?.remove(0);
    copy.try_out()?;
    copy.run(progress)
}

/// The copy of a log without its beginning is interrupted, continued, and made once more; then the target gets a record
/// of its own, and is a copy no more.
#[test]
fn every_record_keeps_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let from = source(dir.path());
    let start = from.partition_ends("t").unwrap()[0].start;
    assert!(start > Offset::ZERO, "retention has removed the beginning");
    let served = Served::new(|_| ());
    let to = served.remote();

    let interrupted = catch_unwind(AssertUnwindSafe(|| {
        copy_topic(&from, &to, "t", &mut |_| panic!("the copy is interrupted"))
    }));
    assert!(interrupted.is_err());
    let mut done = 0;
    let copied = copy_topic(&from, &to, "t", &mut |records| done += records).unwrap();
    assert!(copied.already > 0, "{copied:?}");
    let all = RECORDS - start.get() + 2;
    assert_eq!(copied.already + copied.records, all);
    assert_eq!(done, copied.records + all, "each is copied and compared");
    for partition in 0..2 {
        let first = from.partition_ends("t").unwrap()[partition as usize].start;
        let here = read_all(&from, "t", partition, first);
        let there = read_all(&to, "t", partition, first);
        assert_eq!(here, there);
    }
    let again = copy_topic(&from, &to, "t", &mut |_| ()).unwrap();
    assert_eq!((again.already, again.records), (all, 0));

    append(&to, 1, ["more"]);
    let refused = copy_topic(&from, &to, "t", &mut |_| ()).unwrap_err();
    assert_matches!(&refused, Error::NotCopied { topic, .. } if topic == "t");
}

/// The records after the gap would get other offsets. Nothing has been written to the target when that is reported.
#[test]
fn a_log_that_has_lost_records_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.segment_bytes = 50_000;
    config.durability = Durability::Os;
    let own = || Client::own(config.clone(), &mut |_, _| false).unwrap();
    let from = own();
    topic(&from, "t", 1);
    for at in 0..20 {
        let records = buffer([noise(at, 10_000)]);
        from.append(None, "t", &[(0, &records)]).unwrap();
    }
    await_sealing(&from, "t");
    assert!(from.segments("t").unwrap().len() > 2);
    from.close().unwrap();
    std::fs::remove_dir_all(dir.path().join("topics/t/0000000002")).unwrap();
    let from = own();
    assert!(from.losses("t").unwrap().all > 0);
    let served = Served::new(|_| ());
    let to = served.remote();
    match copy_topic(&from, &to, "t", &mut |_| ()).unwrap_err() {
        Error::NotCopied { why, .. } => assert!(why.contains("bekk log verify"), "{why}"),
        other => panic!("{other}"),
    }
    let ends = to.partition_ends("t").unwrap();
    assert!(ends.iter().all(|ends| ends.end == Offset::ZERO), "{ends:?}");
}

/// One topic of the target has other records. That is reported before any record of another topic is written, and before
/// a topic is made.
#[test]
fn a_target_is_examined_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let from = Client::own(config(dir.path()), &mut |_, _| false).unwrap();
    let served = Served::new(|_| ());
    let to = served.remote();
    let topics = ["a", "b", "c"].map(str::to_owned);
    for name in &topics {
        topic(&from, name, 1);
        from.append(None, name, &[(0, &buffer(["ours", "last"]))])
            .unwrap();
    }
    for name in ["a", "c"] {
        topic(&to, name, 1);
    }
    // Its last record is ours.
    let last = from.read("c", 0, Offset::new(1), 1).unwrap();
    let mut other = buffer(["other"]);
    other.push_copy(&last.iter().next().unwrap());
    to.append(None, "c", &[(0, &other)]).unwrap();
    match TopicCopy::prepare(&from, &to, &topics).map(|_| ()) {
        Err(Error::NotCopied { topic, .. }) => assert_eq!(topic, "c"),
        other => panic!("{other:?}"),
    }
    assert_eq!(to.partition_ends("a").unwrap()[0].end, Offset::ZERO);
    let made = to.topics().unwrap();
    assert!(made.iter().all(|topic| topic.name != "b"), "{made:?}");
}

/// Another program keeps writing to the target. The copy does not wait for it for ever, and does not begin.
#[test]
fn a_target_to_which_another_program_keeps_writing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = source(dir.path());
    let served = Served::new(|_| ());
    let to = served.remote();
    let stop = AtomicBool::new(false);
    let write = || {
        let begun = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if begun.elapsed() > MINUTE {
                return false;
            }
            let record = buffer(["another"]);
            served.client.append(None, "t", &[(0, &record)]).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        true
    };
    thread::scope(|scope| {
        let writer = scope.spawn(write);
        wait_until("the other program has written", MINUTE, || {
            to.ends("t").unwrap()[0] > Offset::ZERO
        });
        let refused = copy_topic(&from, &to, "t", &mut |_| ());
        stop.store(true, Ordering::Relaxed);
        assert_matches!(refused, Err(Error::NotCopied { .. }));
        assert!(
            writer.join().unwrap(),
            "the copy waited for the other program"
        );
    });
}

/// Another program appends to a partition of which each record has been compared, while another one is compared, and to a
/// topic whose copy is complete.
#[test]
fn a_record_that_comes_after_the_comparison_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let from = source(dir.path());
    let start = from.partition_ends("t").unwrap()[0].start;
    let first = RECORDS - start.get();
    let append = |to: &Served| {
        let record = buffer(["another"]);
        to.client.append(None, "t", &[(0, &record)]).unwrap();
    };
    let check = |refused: Result<(), Error>| match refused {
        Err(Error::NotCopied { why, .. }) => assert!(why.contains("another program"), "{why}"),
        other => panic!("{other:?}"),
    };

    let served = Served::new(|_| ());
    let to = served.remote();
    let mut done = 0;
    let copied = copy_topic(&from, &to, "t", &mut |records| {
        let before = done;
        done += records;
        // Copied are both partitions, compared is the first one.
        let is_compared = first + 2 + first;
        if before < is_compared && done >= is_compared {
            append(&served);
        }
    });
    check(copied.map(|_| ()));

    let served = Served::new(|_| ());
    let to = served.remote();
    let topics = ["t".to_owned()];
    let copy = TopicCopy::prepare(&from, &to, &topics).unwrap().remove(0);
    copy.run(&mut |_| ()).unwrap();
    copy.check_ends().unwrap();
    append(&served);
    check(copy.check_ends());
}
