//! Clocks that jump by hours, forward and back: the machine's, under a running pipeline, and those of the log's server and
//! its clients.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::exact::check_audit;
use crate::health::{address, get, sample};
use crate::sample::{event, file};
use crate::support::{Process, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const HOUR: i64 = 3_600;
const ROWS: u32 = 20;

/// A clock for some processes.
struct Clock {
    library: PathBuf,
    ahead: fs::File,
    path: PathBuf,
}

impl Clock {
    fn new(sandbox: &Sandbox) -> Self {
        Self::named(sandbox, "clock")
    }

    fn named(sandbox: &Sandbox, name: &str) -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock.c");
        let library = sandbox.path(&format!("{name}.so"));
        let built = Command::new("cc")
            .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .args([library.as_path(), source.as_ref()])
            .status();
        assert!(built.unwrap().success());
        let path = sandbox.path(name);
        fs::write(&path, 0i64.to_ne_bytes()).unwrap();
        let ahead = fs::File::options().write(true).open(&path).unwrap();
        Self {
            library,
            ahead,
            path,
        }
    }

    fn set_ahead(&self, seconds: i64) {
        self.ahead.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Starts a command that looks at this clock.
    fn start(&self, sandbox: &Sandbox, arguments: &[&str]) -> Process {
        let mut command = sandbox.bekk(arguments);
        let said = fs::File::options()
            .create(true)
            .append(true)
            .open(sandbox.path("bekk.log"))
            .unwrap();
        command
            .env("LD_PRELOAD", &self.library)
            .env("BEKK_TEST_CLOCK", &self.path)
            .stdout(said.try_clone().unwrap())
            .stderr(said);
        Process::spawn(&mut command)
    }
}

fn write(sandbox: &Sandbox, number: u32) {
    let rows = (0..ROWS).map(|row| event(number * ROWS + row, "view", "1"));
    sandbox.write(
        &format!("data/{number}.csv"),
        file(&rows.collect::<Vec<_>>()),
    );
}

/// Rows flow after each jump, nothing is lost or doubled, and no time that is shown is before its beginning.
#[test]
fn a_clock_that_jumps_by_hours_stops_nothing() {
    let sandbox = Sandbox::new();
    let clock = Clock::new(&sandbox);
    let up = clock.start(&sandbox, &["up", "--http", "127.0.0.1:0"]);
    let at = address(&sandbox);
    let rows = || {
        let rows = sandbox.postgres().try_rows("SELECT count(*) FROM events");
        rows.map_or(0, |rows| rows[0][0].parse().unwrap())
    };
    let jumps = [0, 6, -6, 26, -1, 0];
    for (number, hours) in (0..).zip(jumps) {
        clock.set_ahead(hours * HOUR);
        write(&sandbox, number);
        wait_until("the rows are there", LIMIT, || {
            rows() == (number + 1) * ROWS
        });
        wait_until("it is ready", LIMIT, || get(&at, "/readyz").0 == 200);
        let (code, metrics) = get(&at, "/metrics");
        assert_eq!(code, 200);
        for partition in 0..4 {
            let labels = format!("{{group=\"bekk\",topic=\"events\",partition=\"{partition}\"}}");
            let lag = sample(&metrics, &format!("bekk_log_group_lag_seconds{labels}"));
            assert!(lag.is_none_or(|lag| lag >= 0.0), "{lag:?}");
        }
        assert_eq!(get(&at, "/").0, 200);
        sandbox.ok("status");
        sandbox.ok("health");
    }
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
    sandbox.ok("log verify");

    // The log has the times of the clock that jumped.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let read = sandbox.ok("log read --format json");
    let mut hours: Vec<i64> = read
        .stdout
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let seconds = record["timestamp_ms"].as_i64().unwrap() / 1_000 - now;
            (seconds + HOUR / 2).div_euclid(HOUR)
        })
        .collect();
    assert_eq!(hours.len(), jumps.len() * ROWS as usize);
    hours.sort_unstable();
    hours.dedup();
    assert_eq!(hours, [-6, -1, 0, 6, 26]);
    // A run with the right clock reads the new file only.
    write(&sandbox, 6);
    sandbox.ok("up --once");
    assert_eq!(rows(), 7 * ROWS);
    check_audit(&sandbox);
}

/// The clocks of the log's server, of ingest and of the sink differ by hours, and each jumps while the others do not.
#[test]
fn clocks_that_differ_by_hours_stop_neither_a_log_server_nor_its_clients() {
    let sandbox = Sandbox::new();
    let clocks = ["server", "ingest", "sink"].map(|name| Clock::named(&sandbox, name));
    let serve = ["log", "serve", "--listen", "127.0.0.1:0", "--http", "off"];
    let mut running = vec![clocks[0].start(&sandbox, &serve)];
    wait_until("it listens", LIMIT, || sandbox.said().contains("listening"));
    let said = sandbox.said();
    let line = said.lines().find_map(|line| line.strip_prefix("listening"));
    let at = line.unwrap().split_whitespace().next().unwrap().to_owned();
    let log = format!("--log=kafka://{at}");
    for (clock, command) in clocks[1..].iter().zip(["ingest", "sink"]) {
        running.push(clock.start(&sandbox, &[command, &log, "--http", "off"]));
    }
    let jumps = [[0, 0, 0], [-2, 0, 0], [5, 3, 0], [0, -3, 6], [-26, 2, -1]];
    for (number, hours) in (0..).zip(jumps) {
        for (clock, hours) in clocks.iter().zip(hours) {
            clock.set_ahead(hours * HOUR);
        }
        write(&sandbox, number);
        wait_until(&format!("the rows are there at {hours:?}"), LIMIT, || {
            let rows = sandbox.postgres().try_rows("SELECT count(*) FROM events");
            rows.is_ok_and(|rows| rows[0][0] == ((number + 1) * ROWS).to_string())
        });
    }
    let said = sandbox.said();
    assert_eq!(
        said.matches("clock is more than an hour ahead").count(),
        1,
        "{said}"
    );
    for process in running.into_iter().rev() {
        assert_eq!(process.terminate(), Some(0), "{said}");
    }
    check_audit(&sandbox);
}
