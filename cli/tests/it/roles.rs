//! What a process says that it has done, when it was first a guest of the log's owner and then the owner.

use std::fs;
use std::time::Duration;

use crate::exact::check_audit;
use crate::sample::{event, file, json};
use crate::support::{Process, Ran, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const ROWS: u64 = 150_000;

fn events(ids: std::ops::Range<u32>) -> String {
    file(&ids.map(|id| event(id, "view", "1")).collect::<Vec<_>>())
}

fn applied(sandbox: &Sandbox) -> u64 {
    let applied = "SELECT coalesce(sum(rows + superseded + dead), 0) FROM bekk.offsets";
    let rows = sandbox.postgres().try_rows(applied);
    rows.map_or(0, |rows| rows[0][0].parse().unwrap())
}

fn owns_the_log(sandbox: &Sandbox, process: &Process) -> bool {
    let owner = fs::read_to_string(sandbox.log_dir().join("owner")).unwrap_or_default();
    owner
        .lines()
        .any(|line| line == format!("pid {}", process.id()))
}

/// The accident: ingest has the log and is killed with -9; the sink takes over, and ingest comes back as its guest.
/// Then the sink is killed, and ingest takes over. What each says in the end is all that it has done.
#[test]
fn counts_go_on_when_a_guest_takes_over() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", events(0..20));
    let first = sandbox.start("ingest --http off");
    wait_until("ingest has the log", LIMIT, || {
        owns_the_log(&sandbox, &first)
    });
    let sink = sandbox.start("sink --http off");
    wait_until("twenty are applied", LIMIT, || applied(&sandbox) == 20);
    first.kill();
    wait_until("the sink takes over", LIMIT, || {
        owns_the_log(&sandbox, &sink)
    });

    let ingest = sandbox.start("ingest --http off");
    sandbox.write("data/b.csv", events(20..50));
    wait_until("fifty are applied", LIMIT, || applied(&sandbox) == 50);
    assert_eq!(sink.terminate(), Some(0), "{}", sandbox.said());
    let said = sandbox.said();
    assert!(said.contains("applied 50   lag 0   rejected 0"), "{said}");

    wait_until("ingest takes over", LIMIT, || {
        owns_the_log(&sandbox, &ingest)
    });
    sandbox.write("data/c.csv", events(50..60));
    let ends = || {
        let topics = json(sandbox.ok("log topics --json"));
        let events = topics
            .as_array()
            .unwrap()
            .iter()
            .find(|t| t["topic"] == "events");
        let partitions = events.unwrap()["partitions"].as_array().unwrap().clone();
        partitions
            .iter()
            .map(|p| p["end"].as_u64().unwrap())
            .sum::<u64>()
    };
    wait_until("sixty are logged", LIMIT, || ends() == 60);
    assert_eq!(ingest.terminate(), Some(0), "{}", sandbox.said());
    // The thirty of b.csv as a guest, the ten of c.csv as the owner.
    let said = sandbox.said();
    assert!(said.contains("read 40   logged 40"), "{said}");
    sandbox.ok("sink --once");
    check_audit(&sandbox);
}

/// The accident: the log's owner is killed with -9 while `bekk sink --once` is in the middle of a backlog.
#[test]
fn the_summary_counts_what_was_applied_before_the_owner_went() {
    let sandbox = Sandbox::new();
    let rows = ROWS.to_string();
    let generate = ["generate", "--rows", &rows, "--files", "3", "--seed", "1"];
    sandbox.ok(&generate);
    sandbox.ok("ingest --once");
    let serve = "log serve --listen 127.0.0.1:0 --http off";
    let owner = sandbox.start(serve);
    wait_until("it has the log", LIMIT, || owns_the_log(&sandbox, &owner));
    let mut sink = sandbox.bekk("sink --once --json -v");
    let sink = std::thread::spawn(move || Ran::new(sink.output().unwrap()));
    wait_until("it has begun", LIMIT, || applied(&sandbox) > 0);
    owner.kill();
    let sink = sink
        .join()
        .unwrap()
        .ok()
        .says("connecting to the log again");
    assert_eq!(json(sink)["sink"]["records"], ROWS);
    let audit = check_audit(&sandbox);
    assert_eq!(audit["deep"]["records"], ROWS, "{audit:#}");
}
