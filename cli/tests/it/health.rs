//! What a running command answers over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bekk_postgres::Server;

use crate::exact::check_audit;
use crate::support::{Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

const HEADER: &str =
    "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time";

fn events(ids: std::ops::Range<u32>, price: &str) -> String {
    let line = |id| {
        format!(
            "00000000-0000-0000-0000-{id:012},view,1,2,garden,{price},1,,2026-01-01T00:00:00Z\n"
        )
    };
    format!("{HEADER}\n{}", ids.map(line).collect::<String>())
}

/// Where the started binaries said that they answer, in order.
pub(crate) fn addresses(sandbox: &Sandbox) -> Vec<String> {
    let said = sandbox.said();
    let lines = said.lines().filter_map(|line| line.strip_prefix("http "));
    let address = |line: &str| {
        let url = line.split_whitespace().next()?;
        url.strip_prefix("http://").map(str::to_owned)
    };
    lines.filter_map(|line| address(line.trim())).collect()
}

pub(crate) fn address(sandbox: &Sandbox) -> String {
    wait_until("it says where it answers", LIMIT, || {
        !addresses(sandbox).is_empty()
    });
    addresses(sandbox).remove(0)
}

/// A request's status code and body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// A sample's value; its name with its labels.
pub(crate) fn sample(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// PostgreSQL is killed under a sink that has caught up, and started again: alive all the time, ready only
/// while PostgreSQL is there, and what came meanwhile is applied.
#[test]
fn a_sink_that_waits_for_postgres_is_alive_and_not_ready() {
    let mut server = Server::temporary_with(&[("fsync", "off")]).unwrap();
    let sandbox = Sandbox::on(&server);
    sandbox.write("data/a.csv", events(0..20, "1"));
    let up = sandbox.start("up --http 127.0.0.1:0");
    let at = address(&sandbox);
    let is_ready = || get(&at, "/readyz").0 == 200;
    wait_until("it is ready", LIMIT, is_ready);
    let count = "bekk_sink_records_total{group=\"bekk\",result=\"inserted\"}";
    wait_until("the rows are counted", LIMIT, || {
        sample(&get(&at, "/metrics").1, count) == Some(20.0)
    });

    server.kill();
    wait_until("it is not ready", LIMIT, || !is_ready());
    let (_, body) = get(&at, "/readyz");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["ready"], &body["waits"][0]["part"]),
        (&false.into(), &"sink".into())
    );
    let reason = body["waits"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("waiting for PostgreSQL since 20"),
        "{reason}"
    );
    assert_eq!(get(&at, "/healthz"), (200, "alive\n".to_owned()));
    sandbox.write("data/b.csv", events(20..30, "1"));
    let metrics = || get(&at, "/metrics").1;
    let waiting = "bekk_sink_waiting{group=\"bekk\"}";
    let ingested = "bekk_ingest_records_logged_total";
    wait_until("ingest goes on", LIMIT, || {
        sample(&metrics(), ingested) == Some(30.0)
    });
    assert_eq!(sample(&metrics(), waiting), Some(1.0));
    wait_until("what waits is counted", LIMIT, || {
        let metrics = metrics();
        let lag = (0..4).filter_map(|at| {
            let labels = format!("{{group=\"bekk\",stream=\"events\",partition=\"{at}\"}}");
            sample(&metrics, &format!("bekk_sink_lag_records{labels}"))
        });
        (lag.sum::<f64>() - 10.0).abs() < 0.1
    });
    assert!(sample(&metrics(), "bekk_sink_retries_total{group=\"bekk\"}") > Some(0.0));

    server.ensure_running().unwrap();
    wait_until("it is ready again", LIMIT, is_ready);
    wait_until("all is applied", LIMIT, || {
        sample(&metrics(), count) == Some(30.0)
    });
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
    check_audit(&sandbox);
}

/// A sink is started while PostgreSQL is away, as after a power cut: it waits, and begins once it is there.
#[test]
fn a_sink_that_starts_before_postgres_waits_for_it() {
    let mut server = Server::temporary_with(&[("fsync", "off")]).unwrap();
    let sandbox = Sandbox::on(&server);
    sandbox.write("data/a.csv", events(0..20, "1"));
    sandbox.ok("ingest --once");

    server.kill();
    let sink = sandbox.start("sink --http 127.0.0.1:0");
    let at = address(&sandbox);
    wait_until("it waits for PostgreSQL", LIMIT, || {
        get(&at, "/readyz")
            .1
            .contains("waiting for PostgreSQL since ")
    });
    let health = |what| sandbox.run(&["health", what, &at]);
    health("--alive").ok();
    let answer = health("--ready").exits(1).stdout;
    assert!(answer.contains("waiting for PostgreSQL since "), "{answer}");

    server.ensure_running().unwrap();
    wait_until("it is ready", LIMIT, || get(&at, "/readyz").0 == 200);
    wait_until("all is applied", LIMIT, || {
        let rows = sandbox.postgres().try_rows("SELECT 1 FROM events");
        rows.is_ok_and(|rows| rows.len() == 20)
    });
    health("--ready").ok();
    assert_eq!(sink.terminate(), Some(0), "{}", sandbox.said());
    health("--alive").exits(1).says("ask http://");
    check_audit(&sandbox);
}

#[test]
fn metrics_tell_of_every_part_and_others_take_the_next_port() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", events(0..5, "1"));
    sandbox.write("data/b.csv", events(5..8, "abc"));
    sandbox.write("data/c.csv", "no,header\n1,2\n");
    let up = sandbox.start("up --http 127.0.0.1:0");
    let at = address(&sandbox);
    let metrics = || get(&at, "/metrics").1;
    let dead = "bekk_sink_dead_letters_total{group=\"bekk\",reason=\"bad_value\"}";
    wait_until("all is applied", LIMIT, || {
        sample(&metrics(), dead) == Some(3.0)
            && sample(&metrics(), "bekk_ingest_files{state=\"blocked\"}") == Some(1.0)
    });
    let found = metrics();
    let end: f64 = (0..4)
        .filter_map(|at| {
            let labels = format!("{{topic=\"events\",partition=\"{at}\"}}");
            sample(&found, &format!("bekk_log_end_offset{labels}"))
        })
        .sum();
    assert!((end - 8.0).abs() < 0.1, "{end}");
    for (name, least) in [
        ("bekk_ready", 1.0),
        ("bekk_log_append_duration_seconds_count", 1.0),
        ("bekk_log_fsync_duration_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("bekk_log_segments{topic=\"events\"}", 1.0),
        ("bekk_log_disk_free_bytes", 1.0),
        ("bekk_sink_batch_duration_seconds_sum{group=\"bekk\"}", 1e-6),
        ("process_resident_memory_bytes", 1e6),
        ("process_open_fds", 4.0),
    ] {
        assert!(sample(&found, name) >= Some(least), "{name}: {found}");
    }
    assert_eq!(get(&at, "/other").0, 404);

    // The same port again, as a second service on the host would ask for it.
    let other = Sandbox::new();
    let ingest = other.start(&["ingest", "--http", &at]);
    let second = address(&other);
    assert_ne!(second, at);
    wait_until("the other is ready", LIMIT, || {
        get(&second, "/readyz").0 == 200
    });
    assert!(get(&second, "/metrics").1.contains("bekk_ingest_files"));
    assert!(other.said().contains("is taken)"), "{}", other.said());
    assert_eq!(ingest.terminate(), Some(0));
    assert_eq!(up.terminate(), Some(0));

    // Guests of one owner: each tells of the log, and of what it does itself.
    let owner = other.start("ingest --http 127.0.0.1:0");
    wait_until("it answers", LIMIT, || addresses(&other).len() == 2);
    let owner_at = addresses(&other).remove(1);
    wait_until("it has the log", LIMIT, || {
        sample(&get(&owner_at, "/metrics").1, "bekk_log_writes_total").is_some()
    });
    let sink = other.start("sink --http 127.0.0.1:0");
    wait_until("the guest answers", LIMIT, || addresses(&other).len() == 3);
    let guest_at = addresses(&other).remove(2);
    wait_until("the guest is ready", LIMIT, || {
        get(&guest_at, "/readyz").0 == 200
    });
    let guest = get(&guest_at, "/metrics").1;
    let end = "bekk_log_end_offset{topic=\"events\",partition=\"0\"}";
    assert_eq!(sample(&guest, end), Some(0.0), "{guest}");
    assert!(!guest.contains("bekk_ingest"), "{guest}");
    assert_eq!(sink.terminate(), Some(0));
    assert_eq!(owner.terminate(), Some(0));
    let off = other.start("log serve --listen 127.0.0.1:0 --http off");
    wait_until("it serves", LIMIT, || other.said().contains("listening"));
    assert_eq!(addresses(&other).len(), 3, "{}", other.said());
    assert_eq!(off.terminate(), Some(0));
}

/// A log server is asked about the groups that read its log, one of which is stopped while records come in; then
/// it continues, and in the end it is given up.
#[test]
fn who_has_the_log_tells_how_far_its_groups_are_behind() {
    let sandbox = Sandbox::new();
    let serve = ["log", "serve", "--listen", "127.0.0.1:0"];
    let server = sandbox.start(&[&serve[..], &["--http", "127.0.0.1:0"]].concat());
    let at = address(&sandbox);
    sandbox.write("data/a.csv", events(0..20, "1"));
    sandbox.ok("ingest --once");
    let lag = |of: &str| -> Option<f64> {
        let metrics = get(&at, "/metrics").1;
        let values = (0..4).filter_map(|partition| {
            let labels = format!("{{group=\"bekk\",topic=\"events\",partition=\"{partition}\"}}");
            sample(&metrics, &format!("bekk_log_group_lag_{of}{labels}"))
        });
        values.reduce(|sum, value| sum + value)
    };
    wait_until("it answers", LIMIT, || {
        sample(&get(&at, "/metrics").1, "bekk_log_groups") == Some(0.0)
    });
    assert_eq!(lag("records"), None);

    sandbox.ok("sink --once");
    wait_until("nothing is behind", LIMIT, || lag("records") == Some(0.0));
    assert_eq!(lag("seconds"), Some(0.0));
    sandbox.write("data/b.csv", events(20..50, "1"));
    sandbox.ok("ingest --once");
    assert_eq!(lag("records"), Some(30.0));
    assert!(lag("seconds") > Some(0.0));
    sandbox.ok("sink --once");
    wait_until("it has caught up", LIMIT, || lag("records") == Some(0.0));

    let delete = "offsets delete --group bekk --execute";
    sandbox.ok(delete);
    assert_eq!(lag("records"), None);
    assert_eq!(server.terminate(), Some(0), "{}", sandbox.said());
}
