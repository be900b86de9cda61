//! Healthy services print nothing.

use std::thread;
use std::time::{Duration, Instant};

use crate::sample::{event, file};
use crate::support::{Process, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Time for which rows flow: longer than the 10 s after which the progress is reported.
const FLOW: Duration = Duration::from_secs(12);

fn rows(sandbox: &Sandbox) -> u64 {
    let rows = sandbox.postgres().try_rows("SELECT count(*) FROM events");
    rows.map_or(0, |rows| rows[0][0].parse().unwrap())
}

/// The processes of a directory, and their messages until the first row was visible.
struct Service {
    sandbox: Sandbox,
    processes: Vec<Process>,
    begun: String,
}

impl Service {
    fn start(commands: &[&[&str]]) -> Self {
        let sandbox = Sandbox::new();
        sandbox.events("data/0.csv", &[(0, "view", "1")]);
        let listen = ["--http", "127.0.0.1:0"];
        let start = |command: &&[&str]| sandbox.start(&[*command, &listen[..]].concat());
        let processes = commands.iter().map(start).collect();
        wait_until("the first row is visible", LIMIT, || rows(&sandbox) == 1);
        let begun = sandbox.said();
        Self {
            sandbox,
            processes,
            begun,
        }
    }
}

/// `bekk up`, and `ingest` and `sink` as separate services, with their HTTP server, while rows flow. Covers messages every
/// 10 s and at each batch; not those of every minute (retention) or less often. The third pipeline runs with `-v`, and
/// reports its progress within that time.
#[test]
fn healthy_services_are_quiet_while_rows_flow() {
    let services = [
        Service::start(&[&["up"]]),
        Service::start(&[&["ingest"], &["sink"]]),
        Service::start(&[&["up", "-v"]]),
    ];
    let begun = Instant::now();
    let mut files = 0;
    while begun.elapsed() < FLOW {
        files += 1;
        for service in &services {
            let name = format!("data/{files}.csv");
            service
                .sandbox
                .write(&name, file(&[event(files, "view", "1")]));
        }
        thread::sleep(Duration::from_millis(500));
    }
    for service in &services {
        wait_until("all rows are visible", LIMIT, || {
            rows(&service.sandbox) == u64::from(files) + 1
        });
    }
    let [up, parts, verbose] = &services;
    assert_eq!(up.sandbox.said(), up.begun);
    assert_eq!(parts.sandbox.said(), parts.begun);
    let said = verbose.sandbox.said();
    assert!(said.contains("INFO read "), "{said}");
    for service in services {
        for process in service.processes {
            assert_eq!(process.terminate(), Some(0), "{}", service.sandbox.said());
        }
    }
}
