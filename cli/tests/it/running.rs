//! What an operator does while the pipeline runs: on the log of `bekk up`, and on one that is served.

use std::time::Duration;

use crate::sample::{json, key, open_letters, prices};
use crate::support::{Process, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// A pipeline that runs, and how others name its log.
struct Running {
    sandbox: Sandbox,
    processes: Vec<Process>,
    log: Vec<String>,
}

impl Running {
    /// One process, which owns the log.
    fn up() -> Self {
        let sandbox = Sandbox::new();
        let up = sandbox.start("up --http off");
        Self {
            sandbox,
            processes: vec![up],
            log: Vec::new(),
        }
    }

    /// A server, and ingest and sink as its clients.
    fn served() -> Self {
        let sandbox = Sandbox::new();
        let serve = "log serve --listen 127.0.0.1:0 --http off";
        let server = sandbox.start(serve);
        let address = || {
            let said = sandbox.said();
            let line = said.lines().find(|line| line.starts_with("listening"))?;
            line.split_whitespace().nth(1).map(str::to_owned)
        };
        wait_until("it listens", LIMIT, || address().is_some());
        let log = format!("--log=kafka://{}", address().unwrap());
        let ingest = sandbox.start(&["ingest", "--http", "off", &log]);
        let sink = sandbox.start(&["sink", "--http", "off", &log]);
        Self {
            sandbox,
            processes: vec![sink, ingest, server],
            log: vec![log],
        }
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = arguments.to_vec();
        all.extend(self.log.iter().map(String::as_str));
        all
    }

    fn stop(self) {
        for process in self.processes {
            assert_eq!(process.terminate(), Some(0), "{}", self.sandbox.said());
        }
    }
}

/// Every command of an operator but the reset, which a running sink forbids: in PostgreSQL, wherever the log is.
fn operate(running: Running) {
    let sandbox = &running.sandbox;
    let run = |arguments: &[&str]| sandbox.run(&running.with(arguments));
    sandbox.events(
        "data/a.csv",
        &[(1, "view", "1"), (2, "view", "bad"), (3, "view", "3")],
    );
    let postgres = sandbox.postgres();
    let applied = "SELECT coalesce(sum(rows + superseded + dead), 0) FROM bekk.offsets WHERE group_name = 'bekk'";
    let count = || {
        postgres
            .try_rows(applied)
            .map_or(0, |rows| rows[0][0].parse().unwrap())
    };
    wait_until("all is applied", LIMIT, || count() == 3);

    run(&["log", "topics"]).ok().prints("events: 3 records");
    let read = run(&["log", "read", "--format", "csv"]).ok();
    assert!(
        read.stdout.contains(&key(1)) && read.stdout.contains(",bad,"),
        "{}",
        read.stdout
    );
    let offsets = json(run(&["offsets", "list", "--json"]).ok());
    let offsets = offsets.as_array().unwrap();
    assert!(
        offsets
            .iter()
            .all(|line| line["lag"] == 0 && !line["owner"].is_null()),
        "{offsets:?}"
    );
    let status = run(&["status"])
        .ok()
        .prints("letters    bekk events: 1 open, bad_value");
    status.prints("\nnext: bekk dead-letters list (1 open)\n");
    run(&["health"]).ok().prints("healthy");

    // A reset is printed, and not executed.
    run(&["offsets", "reset", "--to", "earliest"])
        .ok()
        .prints("nothing was changed");
    let refused = "a sink of group `bekk` runs and holds events/0; stop the group's sinks";
    run(&["offsets", "reset", "--to", "earliest", "--execute"])
        .exits(1)
        .says(refused);
    run(&["replay", "--from", "earliest", "--execute"])
        .exits(1)
        .says(refused);
    run(&["offsets", "delete", "--group", "bekk", "--execute"])
        .exits(1)
        .says(refused);

    // The text is corrected, and a newer record of another letter's key comes in.
    postgres.execute(
        "UPDATE bekk.dead_letters SET raw = convert_to(replace(convert_from(raw, 'UTF8'), 'bad', '2'), 'UTF8')",
    );
    run(&["dead-letters", "retry", "--all"])
        .ok()
        .prints("1 retried, 0 superseded");
    sandbox.events("data/b.csv", &[(4, "view", "bad"), (4, "view", "44")]);
    wait_until("the letter is there", LIMIT, || {
        !open_letters(&postgres).is_empty() && count() == 5
    });
    postgres.execute(
        "UPDATE bekk.dead_letters SET raw = convert_to(replace(convert_from(raw, 'UTF8'), 'bad', '4'), 'UTF8')
          WHERE resolved_at IS NULL",
    );
    run(&["dead-letters", "retry", "--all"])
        .ok()
        .prints("0 retried, 1 superseded");
    let rows = ["1=1.00", "2=2.00", "3=3.00", "4=44.00"];
    assert_eq!(prices(&postgres, "events"), rows);

    // A table beside it, from the same log.
    let into = ["replay", "--from", "earliest", "--into", "events_v2"];
    run(&into).ok().prints("nothing was changed");
    run(&[&into[..], &["--execute"]].concat())
        .ok()
        .says("bekk diff events events_v2");
    let missing = sandbox.fails("diff events events_v2");
    missing.prints(&format!("missing             1   {}", key(2)));

    // It has gone on all the time.
    sandbox.events("data/c.csv", &[(5, "view", "5")]);
    wait_until("the last row is there", LIMIT, || {
        prices(&postgres, "events").len() == 5
    });
    running.stop();
}

#[test]
fn all_of_it_works_beside_up() {
    operate(Running::up());
}

#[test]
fn all_of_it_works_on_a_served_log() {
    operate(Running::served());
}
