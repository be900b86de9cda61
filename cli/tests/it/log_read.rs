//! `bekk log read`.

use std::time::Duration;

use crate::sample::{config, event, file, key};
use crate::support::{Sandbox, wait_until};

#[test]
fn the_logs_records_can_be_read() {
    let sandbox = Sandbox::new();
    let good = event(1, "view", "1.50");
    sandbox.write("data/a.csv", file(&[good.clone(), event(2, "view", "x")]));
    sandbox.ok("ingest --once");
    let json = sandbox.ok("log read").stdout;
    let records: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 2);
    let row = records
        .iter()
        .find(|record| !record["row"].is_null())
        .unwrap();
    assert_eq!(
        (&row["row"]["price"], &row["key"]),
        (&"1.50".into(), &key(1).into())
    );
    let reject = records
        .iter()
        .find(|record| !record["reject"].is_null())
        .unwrap();
    assert_eq!(
        (&reject["reject"]["reason"], &reject["line"]),
        (&"bad_value".into(), &3.into())
    );
    sandbox.tells("log read --format csv", &good);
    assert_eq!(sandbox.ok("log read --from latest").stdout, "");
    assert_eq!(sandbox.ok("log read --limit 1").stdout.lines().count(), 1);
    sandbox.refuses("log read --topic none", "does not exist");
}

/// One partition, so that records have an order; from each kind of place.
#[test]
fn records_are_read_from_every_kind_of_place() {
    let sandbox = Sandbox::new();
    config(&sandbox, &[("partitions = 4", "partitions = 1")]);
    let lines: Vec<_> = (1..=20)
        .map(|id| event(id, "view", &id.to_string()))
        .collect();
    sandbox.write("data/a.csv", file(&lines));
    sandbox.ok("ingest --once");
    for (from, first, count) in [
        ("earliest", 1, 20),
        ("offset:7", 8, 13),
        ("shift:-3", 18, 3),
        ("time:2020-01-01T00:00:00Z", 1, 20),
        ("time:2999-01-01T00:00:00Z", 0, 0),
        ("latest", 0, 0),
    ] {
        let read = sandbox.ok(&["log", "read", "--format", "csv", "--from", from]);
        assert_eq!(read.stdout.lines().count(), count, "{from}");
        if count > 0 {
            assert!(
                read.stdout.starts_with(&key(first)),
                "{from}: {}",
                read.stdout
            );
        }
    }
    sandbox
        .run("log read --from yesterday")
        .exits(2)
        .says("write earliest, latest, offset:N");
    // The bytes as they are, of a topic whose records are no payload of the stream.
    let raw = sandbox
        .bekk("log read --format raw --limit 1")
        .output()
        .unwrap();
    let payload = bekk_stream::Payload::decode(raw.stdout.strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!(payload.origin.line, 2);
}

/// The log's owner is killed and another one comes: who follows continues there.
#[test]
fn follow_goes_on_with_new_records_and_new_owners() {
    let sandbox = Sandbox::new();
    let limit = Duration::from_secs(30);
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    let first = sandbox.start("ingest --http off");
    let topics = || sandbox.run("log topics").stdout;
    wait_until("the topic is there", limit, || {
        topics().contains("events: 1 record,")
    });
    let follow = sandbox.start("log read --follow --format csv");
    wait_until("the first record is read", limit, || {
        sandbox.said().contains(&key(1))
    });
    sandbox.events("data/b.csv", &[(2, "view", "2")]);
    wait_until("the second one too", limit, || {
        sandbox.said().contains(&key(2))
    });
    first.kill();
    let second = sandbox.start("ingest --http off");
    sandbox.events("data/c.csv", &[(3, "view", "3")]);
    wait_until("the third one too", limit, || {
        sandbox.said().contains(&key(3))
    });
    assert_eq!(follow.terminate(), Some(0), "{}", sandbox.said());
    assert_eq!(second.terminate(), Some(0));
    for id in 1..=3 {
        assert_eq!(
            sandbox.said().matches(&key(id)).count(),
            1,
            "{}",
            sandbox.said()
        );
    }
}
