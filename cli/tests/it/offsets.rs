//! Offsets: where a group can be set, and what retention leaves.

use std::fs;

use bekk_testing::{MINUTE, wait_until};

use crate::sample::{event, file, json, open_letters, prices};
use crate::support::Sandbox;

#[test]
fn a_reset_goes_to_every_kind_of_place_and_nowhere_else() {
    let sandbox = Sandbox::new();
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    sandbox.write(
        "bekk.toml",
        config.replace("partitions = 4", "partitions = 1"),
    );
    let lines: Vec<_> = (1..=20).map(|id| event(id, "view", "7")).collect();
    sandbox.write("data/a.csv", file(&lines));
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    let next = || postgres.number("SELECT next FROM bekk.offsets");
    for (to, expected) in [
        ("earliest", 0),
        ("latest", 20),
        ("offset:7", 7),
        ("shift:-3", 4),
        ("time:2020-01-01T00:00:00Z", 0),
        ("time:2999-01-01T00:00:00Z", 20),
    ] {
        let before = next();
        let dry = sandbox.ok(&["offsets", "reset", "--to", to]);
        dry.prints(&format!(
            " -> {expected}   {} records to apply",
            20 - expected
        ));
        assert_eq!(next(), before);
        sandbox.ok(&["offsets", "reset", "--to", to, "--execute"]);
        assert_eq!(next(), expected, "{to}");
    }
    sandbox.refuses("offsets reset --to offset:21", "holds offsets 0 to 20");
    let dry = json(sandbox.ok("offsets reset --to offset:5 --json"));
    assert_eq!(
        (&dry["executed"], &dry["partitions"][0]["to"]),
        (&false.into(), &5.into())
    );
    sandbox.refuses(
        "offsets reset --to earliest --partition 7",
        "no such offsets",
    );
    sandbox.ok("offsets reset --to offset:19 --execute");
    let listed = sandbox.ok("offsets list --json");
    let listed = listed.prints("\"lag\": 1,");
    assert!(
        !listed.stdout.contains("\"lag_seconds\": 0.0"),
        "{}",
        listed.stdout
    );
}

/// Many small segments, one group that is done and one that is not: retention stops at the slow one, until that
/// is forgotten.
#[test]
fn retention_never_passes_the_slowest_group() {
    let sandbox = Sandbox::new();
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    let config = config
        .replace("partitions = 4", "partitions = 1")
        .replace("{ age = \"7d\", size = \"10GB\" }", "{ size = \"1kB\" }");
    sandbox.write("bekk.toml", &config);
    let start = |sandbox: &Sandbox| {
        let topics = sandbox.ok("log topics --json").stdout;
        let topics: serde_json::Value = serde_json::from_str(&topics).unwrap();
        let events = topics
            .as_array()
            .unwrap()
            .iter()
            .find(|topic| topic["topic"] == "events");
        events.unwrap()["partitions"][0]["start"].as_u64().unwrap()
    };
    // Segments as small as no log of the binary's has them, let go as soon as they may be.
    let open = || {
        let mut small = bekk_log::Config::new(sandbox.log_dir());
        small.segment_bytes = 64 * 1024;
        small.retention_delay = std::time::Duration::ZERO;
        bekk_log::Client::open(small).unwrap()
    };
    let retain = || {
        let log = open();
        log.apply_retention().unwrap();
        log.close().unwrap();
    };
    let log = open();
    let parsed = bekk_stream::Config::load(&sandbox.path("bekk.toml"), &|_| None).unwrap();
    let ingest = bekk_ingest::Config {
        mode: bekk_ingest::Mode::Once,
        ..bekk_ingest::Config::new(sandbox.path(".bekk/ingest"))
    };
    for part in 0..6u32 {
        let lines = (0..5000).map(|at| event(part * 5000 + at, "view", &at.to_string()));
        sandbox.write(
            &format!("data/{part}.csv"),
            file(&lines.collect::<Vec<_>>()),
        );
        let (stats, stop) = Default::default();
        bekk_ingest::run(&ingest, &parsed.streams, &log, &stats, &stop).unwrap();
    }
    assert!(log.segments("events").unwrap().len() > 3);
    wait_until("sealing", MINUTE, || {
        let segments = log.segments("events").unwrap();
        segments
            .iter()
            .filter(|one| one.sealed_at_ms.is_none())
            .count()
            == 1
    });
    log.commit_offset("slow", "events", 0, bekk_log::Offset::new(12_000))
        .unwrap();
    log.close().unwrap();
    assert_eq!(start(&sandbox), 0);

    sandbox.ok("sink --once");
    retain();
    let first = start(&sandbox);
    assert!((1..=12_000).contains(&first), "{first}");
    let reset = "offsets reset --to offset:0 --execute";
    sandbox.refuses(reset, &format!("holds offsets {first} to 30000"));
    assert_eq!(
        sandbox.postgres().number("SELECT count(*) FROM events"),
        30_000
    );

    let delete = "offsets delete --group slow --execute";
    sandbox.tells(delete, "in the database and 1 in the log");
    sandbox.ok("sink --once");
    retain();
    assert!(start(&sandbox) > 12_000);
}

/// A group that is set back by hand settles its letters as a replay does.
#[test]
fn a_sink_settles_the_letters_that_it_passes_again() {
    let sandbox = Sandbox::new();
    let postgres = sandbox.postgres();
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    sandbox.ok("up --once");
    postgres.execute("ALTER TABLE events ADD CONSTRAINT cheap CHECK (price < 100)");
    let b = [event(2, "view", "200"), event(3, "sell", "3")];
    sandbox.write("data/b.csv", file(&b));
    sandbox.ok("up --once");
    assert_eq!(
        open_letters(&postgres),
        [["not_allowed", "1"], ["refused", "1"]]
    );
    postgres.execute("ALTER TABLE events DROP CONSTRAINT cheap");
    sandbox.ok("offsets reset --to earliest --execute");
    sandbox.ok("sink --once");
    assert_eq!(open_letters(&postgres), [["not_allowed", "1"]]);
    assert_eq!(postgres.number("SELECT count(*) FROM bekk.dead_letters"), 2);
    assert_eq!(prices(&postgres, "events"), ["1=1.00", "2=200.00"]);
}

#[test]
fn a_group_is_forgotten_after_a_dry_run() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    sandbox.ok("up --once");
    sandbox
        .run("offsets delete --group bek")
        .exits(2)
        .says("--group: there is no `bek`; known: bekk");
    let mistyped = "offsets delete --group bekk --stream evnts";
    sandbox
        .run(mistyped)
        .exits(2)
        .says("--stream: there is no `evnts`; known: events");
    let delete = ["offsets", "delete", "--group", "bekk"];
    sandbox.tells(&delete, "would forget 4 offsets");
    let count = || {
        sandbox
            .postgres()
            .number("SELECT count(*) FROM bekk.offsets")
    };
    assert_eq!(count(), 4);
    let done = sandbox.ok(&[&delete[..], &["--execute", "--json"]].concat());
    assert_eq!(json(done)["in_database"], 4);
    assert_eq!(count(), 0);
    sandbox.run(&delete).exits(2).says("known: none");
}
