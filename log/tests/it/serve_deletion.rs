//! Topics and records that are deleted over the Kafka protocol.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bekk_log::{Client, Error, Offset, RecordBuffer, verify};
use bekk_testing::{MINUTE, assert_matches, setting, wait_until};
use kafka_protocol::messages::ApiKey;

use crate::served::{Served, batch, encoded, fetch_request};
use crate::support::topic;

const DIR: &str = "BEKK_LOG_DELETER";

fn append(client: &Client, topic: &str, partition: u32, records: &[(i64, &str)]) -> Offset {
    let mut buffer = RecordBuffer::new();
    for (ms, value) in records {
        buffer.push(*ms, None, value.as_bytes());
    }
    client.append(None, topic, &[(partition, &buffer)]).unwrap()[0]
}

fn range(client: &Client, topic: &str, partition: usize) -> (u64, u64) {
    let ends = client.partition_ends(topic).unwrap()[partition];
    (ends.start.get(), ends.end.get())
}

#[test]
fn records_before_an_offset_are_deleted() {
    let served = Served::of_log(|config| config.segment_bytes = 1);
    for i in 0..10 {
        // Later records of a segment are older, as the time index knows only what raises the greatest time.
        append(&served.client, "t", 0, &[(2000 + i, "a"), (1000 + i, "b")]);
    }
    let mut connection = served.connect();
    assert_eq!(connection.delete_records(0, "t", 0, 7), (0, 7));
    assert_eq!(connection.delete_records(1, "t", 0, 3), (0, 7));
    assert_eq!(connection.delete_records(1, "t", 0, 21), (1, -1));
    assert_eq!(connection.delete_records(1, "t", 0, -2), (1, -1));
    assert_eq!(connection.delete_records(1, "t", 2, 0), (3, -1));
    assert_eq!(connection.delete_records(1, "u", 0, 0), (3, -1));
    assert_eq!(connection.delete_records(1, "bekk.meta", 0, 0), (29, -1));

    let check = |served: &Served| {
        let client = &served.client;
        assert_eq!(range(client, "t", 0), (7, 20));
        let below = client.read("t", 0, Offset::new(6), 1);
        assert_matches!(below, Err(Error::OffsetOutOfRange { .. }));
        // In the middle of a batch.
        let records = client.read("t", 0, Offset::new(7), 1).unwrap();
        assert_eq!(records.iter().next().unwrap().offset, Offset::new(7));
        let at = |ms| client.offset_for_time("t", 0, ms).unwrap();
        assert_eq!(at(0), Some(Offset::new(7)));
        assert_eq!(at(1003), Some(Offset::new(7)));
        assert_eq!(at(2003), Some(Offset::new(8)));
        assert_eq!(at(2009), Some(Offset::new(18)));
        let verified = client.verify(&mut |_| ()).unwrap();
        assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    };
    check(&served);
    wait_until("the segments below have gone", MINUTE, || {
        served.client.apply_retention().unwrap();
        let segments = served.client.segments("t").unwrap();
        segments[0].ranges[0] == (Offset::new(6), Offset::new(8))
    });
    check(&served);
    let served = served.restart();
    check(&served);
    let mut connection = served.connect();
    assert_eq!(connection.delete_records(1, "t", 0, -1), (0, 20));
    assert_eq!(range(&served.client, "t", 0), (20, 20));
    assert_eq!(append(&served.client, "t", 0, &[(1, "c")]), Offset::new(20));
    assert!(served.client.gaps("t").unwrap().is_empty());
}

#[test]
fn a_topic_that_is_made_again_knows_nothing_of_the_deleted_one() {
    let served = Served::new(|_| ());
    let client = &served.client;
    topic(client, "bekk.meta", 1);
    topic(client, "kept", 1);
    append(client, "kept", 0, &[(1, "kept")]);
    let mut connection = served.connect();
    let mut sink = served.connect_as("bekk-sink/main");
    let producer = Some((7, 0));
    assert_eq!(connection.produce(7, batch(producer, 0, 3)), (0, 0));
    assert_eq!(sink.commit("main", "t", &[(0, 2)]), [0]);
    assert_eq!(sink.commit("main", "kept", &[(0, 1)]), [0]);
    assert_eq!(sink.commit("bekk-hold/a", "t", &[(0, 1)]), [0]);
    assert_eq!(connection.commit("g", "t", &[(0, 1)]), [0]);
    // One who waits for records, over the wire and in the process.
    let mut waiting = served.connect();
    let request = fetch_request(3, 1 << 20, 1, 20_000);
    waiting.send(&encoded("test", ApiKey::Fetch, 11, &request));
    let dir = served.log.dir.join("topics/t");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            client.wait_for_records("t", &[(0, Offset::new(3))], Duration::from_secs(60))
        });
        assert!(dir.is_dir());
        // The group of a sink needs it: for others it stays.
        assert_eq!(connection.delete_topic(1, "t"), 29);
        let mut tool = served.connect_as("bekk-tool");
        assert_eq!(tool.delete_topic(1, "t"), 0);
        assert_matches!(waiter.join().unwrap(), Err(Error::UnknownTopic(_)));
    });
    assert!(!dir.exists());
    let answer = waiting.receive();
    assert_eq!(answer[29..31], [0, 3], "{answer:?}");
    assert_eq!(connection.produce(7, batch(producer, 3, 1)).0, 3);
    assert_eq!(connection.delete_topic(2, "t"), 3);
    assert_eq!(connection.delete_topic(3, "bekk.meta"), 29);

    // Its offsets go on where the deleted one's ended, as each is given once.
    topic(client, "t", 3);
    assert_eq!(range(client, "t", 0), (3, 3));
    assert_eq!(range(client, "t", 2), (0, 0));
    assert_eq!(connection.produce(7, batch(producer, 3, 1)).0, 59);
    assert_eq!(connection.produce(7, batch(None, 0, 1)), (0, 3));
    let records = client.read("t", 0, Offset::new(3), 1 << 20).unwrap();
    assert_eq!(records.len(), 1);
    for group in ["main", "g", "bekk-hold/a"] {
        assert_eq!(connection.committed(group, "t", 0), -1, "{group}");
    }
    assert_eq!(connection.committed("main", "kept", 0), 1);

    assert_eq!(connection.delete_topic(1, "t"), 0);
    let served = served.restart();
    let names = served.client.topics().unwrap();
    let names: Vec<_> = names.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["bekk.meta", "kept"]);
    topic(&served.client, "t", 1);
    assert_eq!(range(&served.client, "t", 0), (4, 4));
    assert_eq!(range(&served.client, "kept", 0), (0, 1));
    assert!(served.client.gaps("t").unwrap().is_empty());
}

/// Not a test of its own: makes, fills and deletes a topic until it is killed. Without the variable it does
/// nothing.
#[test]
fn deleter() {
    let Some(dir) = env::var_os(DIR) else {
        return;
    };
    let served = Served::in_dir(Path::new(&dir));
    let mut connection = served.connect();
    loop {
        topic(&served.client, "t", 2);
        for _ in 0..5 {
            let base = append(&served.client, "t", 0, &[(1, "x"), (1, "y")]);
            let line = format!("{}\n", base.plus(2));
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(connection.delete_topic(1, "t"), 0);
    }
}

/// The process is killed with SIGKILL while it makes, fills and deletes one topic again and again: the log
/// opens, the topic is there whole or not at all, and no offset that was given comes again.
#[test]
fn a_deletion_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut end = 0;
    for kill in 0..setting("BEKK_KILLS", 30) / 3 {
        let mut deleter = Command::new(env::current_exe().unwrap())
            .args(["--exact", "serve_deletion::deleter", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(deleter.stdout.take().unwrap()).lines();
        // It has begun its work when it tells of an append; from there on the kill comes at any moment.
        let is_offset = |line: &String| line.parse::<u64>().is_ok();
        let first = lines.by_ref().map(Result::unwrap).find(is_offset);
        std::thread::sleep(Duration::from_millis(kill * 17 % 120));
        deleter.kill().unwrap();
        deleter.wait().unwrap();
        let told = first.into_iter().chain(lines.map_while(Result::ok));
        let told: Vec<u64> = told.filter_map(|line| line.parse().ok()).collect();
        assert!(told.is_sorted() && told[0] > end, "{end} {told:?}");
        end = told.last().copied().unwrap();

        let report = verify(&log, &mut |_| ()).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let client = Client::open(bekk_log::Config::new(log.clone())).unwrap();
        topic(&client, "t", 2);
        let (start, high) = range(&client, "t", 0);
        assert!(high >= end, "{high} {end}");
        let records = client.read("t", 0, Offset::new(start), 1 << 20).unwrap();
        assert_eq!(records.len() as u64, high - start);
        assert!(client.gaps("t").unwrap().is_empty());
        client.close().unwrap();
    }
}
