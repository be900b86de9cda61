//! A running pipeline at its limits: few descriptors, many idle clients, stopped and resumed, ended under full load.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::exact::check_audit;
use crate::health::{address, get, sample};
use crate::sample::{event, file};
use crate::support::{Process, Ran, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const ROWS: u32 = 50;

fn write(sandbox: &Sandbox, files: std::ops::Range<u32>) {
    for number in files {
        let rows = (0..ROWS).map(|row| event(number * ROWS + row, "view", "1"));
        let text = file(&rows.collect::<Vec<_>>());
        sandbox.write(&format!("data/{number:03}.csv"), text);
    }
}

fn rows(sandbox: &Sandbox) -> u32 {
    let rows = sandbox
        .postgres()
        .try_rows("SELECT count(*) FROM events")
        .ok();
    rows.map_or(0, |rows| rows[0][0].parse().unwrap())
}

/// Starts `bekk up` for Kafka clients, with at most so many descriptors; returns the address at which it listens.
fn start(sandbox: &Sandbox, descriptors: &str) -> (Process, String) {
    let mut bekk = sandbox.bekk_under(
        &["sh", "-c", "ulimit -n \"$0\" && exec \"$@\"", descriptors],
        &["up", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
    );
    let said = fs::File::create(sandbox.path("bekk.log")).unwrap();
    bekk.stdout(said.try_clone().unwrap()).stderr(said);
    let process = Process::spawn(&mut bekk);
    let listens = || {
        let said = sandbox.said();
        let line = said.lines().find(|line| line.starts_with("listening"))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    wait_until("it listens", LIMIT, || listens().is_some());
    let at = listens().unwrap();
    (process, at)
}

/// Clients that connect and ask for nothing take neither the descriptors of files and log nor the place of a guest.
#[test]
fn idle_clients_leave_the_pipeline_what_it_needs() {
    for (descriptors, clients) in [("64", 200), ("2048", 1_000)] {
        let sandbox = Sandbox::new();
        write(&sandbox, 0..1);
        let (up, at) = start(&sandbox, descriptors);
        wait_until("the first rows", LIMIT, || rows(&sandbox) == ROWS);
        let idle: Vec<_> = (0..clients).map(|_| TcpStream::connect(&at)).collect();
        write(&sandbox, 1..6);
        wait_until("rows flow", LIMIT, || rows(&sandbox) == 6 * ROWS);
        sandbox.tells("log topics", "events: 300 records");
        let (_, metrics) = get(&address(&sandbox), "/metrics");
        let closed = sample(&metrics, "bekk_log_connections_closed_total");
        assert!(closed.is_some_and(|closed| closed > 0.0), "{metrics}");
        drop(idle);
        assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
        check_audit(&sandbox);
    }
}

/// SIGSTOP and SIGCONT, then SIGTERM while files arrive: nothing is lost or doubled, and the next start applies the rest.
#[test]
fn a_pipeline_that_is_stopped_and_one_that_is_ended_under_load_lose_nothing() {
    let sandbox = Sandbox::new();
    let up = sandbox.start("up --http off");
    write(&sandbox, 0..20);
    wait_until("rows flow", LIMIT, || rows(&sandbox) > 0);
    up.signal(Signal::STOP);
    write(&sandbox, 20..40);
    std::thread::sleep(Duration::from_secs(2));
    up.signal(Signal::CONT);
    wait_until("rows after it was resumed", LIMIT, || {
        rows(&sandbox) == 40 * ROWS
    });
    std::thread::scope(|scope| {
        scope.spawn(|| write(&sandbox, 40..120));
        wait_until("rows under load", LIMIT, || rows(&sandbox) > 45 * ROWS);
        assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
    });
    sandbox.ok("up --once");
    assert_eq!(rows(&sandbox), 120 * ROWS);
    check_audit(&sandbox);
    let read = sandbox.ok("log read --format csv");
    let records = u32::try_from(read.stdout.lines().count()).unwrap();
    assert_eq!(records, 120 * ROWS, "each row is in the log once");
}

/// The system has no thread left for the last ones that a start needs, those of the sink and the appending one among them:
/// each start says so and ends, and with a limit that suffices every record is a row once.
#[test]
fn a_start_without_enough_threads_ends_and_says_so() {
    /// A user with no other process, as the limit counts all of a user's threads; root has none.
    const USER: u32 = 54_321;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    write(&sandbox, 0..2);
    sandbox.give_to(USER);
    let run = |threads: u32| {
        let limit = format!("--nproc={threads}");
        let under = ["timeout", "-s", "KILL", "30", "prlimit", &limit];
        Ran::new(sandbox.bekk_under(&under, "up --once").output().unwrap())
    };
    let (mut few, mut enough) = (2, 128);
    while few + 1 < enough {
        let threads = u32::midpoint(few, enough);
        match run(threads).code {
            Some(0) => enough = threads,
            _ => few = threads,
        }
    }
    for threads in [few, few - 1] {
        run(threads)
            .exits(1)
            .says("bekk: start ")
            .says("Resource temporarily unavailable");
    }
    let ran = run(enough).ok();
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert_eq!(rows(&sandbox), 2 * ROWS);
    check_audit(&sandbox);
}
