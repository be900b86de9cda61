//! SIGHUP in running services: the changes that it applies, and those that it reports.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::sample::{config, json};
use crate::support::{Process, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Sends SIGHUP, and waits until each text has been said once more than before.
#[track_caller]
fn hang_up(sandbox: &Sandbox, process: &Process, texts: &[&str]) {
    let count = |text: &str| sandbox.said().matches(text).count();
    let before: Vec<_> = texts.iter().map(|text| count(text)).collect();
    process.signal(Signal::HUP);
    for (text, before) in texts.iter().zip(before) {
        wait_until(text, LIMIT, || count(text) == before + 1);
    }
}

/// Seconds that the records of the topic are kept.
fn kept(sandbox: &Sandbox) -> u64 {
    let topics = json(sandbox.ok("log topics --json"));
    let mut topics = topics.as_array().unwrap().iter();
    let events = topics.find(|topic| topic["topic"] == "events").unwrap();
    events["retention_seconds"].as_u64().unwrap()
}

/// The log's owner applies retention and log level; its guest, which cannot set the retention, says where it is set.
/// Both take a new stream and another pattern into use, and report what needs a restart.
#[test]
fn a_hangup_applies_log_level_retention_streams_and_patterns() {
    let sandbox = Sandbox::new();
    config(&sandbox, &[]);
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    let ingest = sandbox.start("ingest --http off");
    let owner = sandbox.log_dir().join("owner");
    wait_until("ingest owns the log", LIMIT, || {
        fs::read_to_string(&owner).is_ok_and(|text| text.contains(&ingest.id().to_string()))
    });
    let sink = sandbox.start("sink --http off");
    let rows = || {
        let rows = sandbox.postgres().try_rows("SELECT count(*) FROM events");
        rows.map_or(0, |rows| rows[0][0].parse::<u64>().unwrap())
    };
    wait_until("the row is visible", LIMIT, || rows() == 1);
    assert_eq!(kept(&sandbox), 7 * 86_400);
    let unchanged = "SIGHUP: the configuration has not changed";
    hang_up(&sandbox, &ingest, &[unchanged]);

    config(&sandbox, &[("age = \"7d\"", "age = \"1d\"")]);
    sandbox.write(".env", "RUST_LOG=bekk_ingest=trace\n");
    let level = "SIGHUP: applied the log level `bekk_ingest=trace`";
    let retention = "SIGHUP: applied the retention of stream `events`";
    assert!(!sandbox.said().contains(" INFO "), "{}", sandbox.said());
    hang_up(&sandbox, &ingest, &[level, retention]);
    assert_eq!(kept(&sandbox), 86_400);
    hang_up(&sandbox, &ingest, &[unchanged]);
    fs::remove_file(sandbox.path("data/a.csv")).unwrap();
    wait_until("what ingest decides is printed", LIMIT, || {
        sandbox.said().contains(" INFO ")
    });
    let elsewhere = "SIGHUP: the retention of stream `events` is not applied: the retention of topic `events` is set \
                     where the log is served, at `127.0.0.1:";
    hang_up(&sandbox, &sink, &[level, elsewhere]);
    assert_eq!(kept(&sandbox), 86_400);

    // A wrong level and a change that needs a restart are reported, and nothing of them is applied.
    sandbox.write(".env", "RUST_LOG=bekk=loud\n");
    config(
        &sandbox,
        &[
            ("age = \"7d\"", "age = \"1d\""),
            ("partitions = 4", "partitions = 8"),
        ],
    );
    let wrong = "SIGHUP: the log level stays as it was: RUST_LOG is `bekk=loud`, which is not a filter of messages";
    let restart = "stream `events` differs. Restart bekk to apply it";
    hang_up(&sandbox, &ingest, &[wrong, restart]);
    sandbox.events("data/b.csv", &[(2, "view", "1")]);
    wait_until("the services continue", LIMIT, || rows() == 2);

    // A new stream and another pattern are read and applied without a restart, in the tables of the new stream, too.
    sandbox.write(".env", "");
    config(
        &sandbox,
        &[
            ("age = \"7d\"", "age = \"1d\""),
            ("[\"data/*.csv\"]", "[\"data/*.csv\", \"late/*.csv\"]"),
        ],
    );
    let mut text = fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    text.push_str(
        "[streams.more]\nfiles = [\"more/*.csv\"]\nkey = [\"id\"]\ncolumns = [{ name = \"id\", type = \"int8\" }]\n",
    );
    sandbox.write("bekk.toml", text);
    for directory in ["late", "more"] {
        fs::create_dir(sandbox.path(directory)).unwrap();
    }
    sandbox.events("late/c.csv", &[(3, "view", "1")]);
    sandbox.write("more/d.csv", "id\n1\n2\n");
    let taken = [
        "SIGHUP: applied the patterns of stream `events`",
        "SIGHUP: stream `more` is new and in use",
    ];
    hang_up(&sandbox, &ingest, &taken);
    hang_up(&sandbox, &sink, &taken);
    wait_until("the other pattern is read", LIMIT, || rows() == 3);
    wait_until("the new stream is applied", LIMIT, || {
        let more = sandbox.postgres().try_rows("SELECT count(*) FROM more");
        more.is_ok_and(|more| more[0][0] == "2")
    });
    hang_up(&sandbox, &ingest, &[unchanged]);

    // The sink takes the log over, and keeps the new stream.
    assert_eq!(ingest.terminate(), Some(0), "{}", sandbox.said());
    wait_until("the sink owns the log", LIMIT, || {
        fs::read_to_string(&owner).is_ok_and(|text| text.contains(&sink.id().to_string()))
    });
    let ingest = sandbox.start("ingest --http off");
    sandbox.write("more/e.csv", "id\n3\n");
    wait_until("the new stream is still applied", LIMIT, || {
        let more = sandbox.postgres().try_rows("SELECT count(*) FROM more");
        more.is_ok_and(|more| more[0][0] == "3")
    });
    for process in [sink, ingest] {
        assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
    }
}
