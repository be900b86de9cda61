//! How fast the sink fills a table from a log, beside one `psql \copy` of the same rows.
//!
//!     cargo run --release -p bekk-sink --example apply_bench -- [ROWS] [ROUNDS]
//!
//! Starts a private PostgreSQL with its defaults, writes ROWS events (1,000,000) to a log and to a CSV
//! file, and then, ROUNDS times (3) in turns, copies the file and drains the log into empty tables; at
//! last it drains the log into the full table once more, as a replay does.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod events;

use std::process::Command;
use std::time::Instant;

use bekk_log::Client;
use bekk_postgres::Server;
use bekk_sink::{Config, Control, Stats};
use bekk_stream::Stream;

use events::{events, write};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<usize>().unwrap());
    let rows = arguments.next().unwrap_or(1_000_000);
    let rounds = arguments.next().unwrap_or(3);
    let server = Server::temporary().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let stream = events();
    let csv = directory.path().join("events.csv");
    let log = Client::open(bekk_log::Config::new(directory.path().join("log"))).unwrap();
    write(&log, &stream, &csv, rows);

    let config = Config::new(server.url().parse().unwrap());
    for round in 1..=rounds {
        psql(
            &server,
            "DROP TABLE IF EXISTS events; DROP SCHEMA IF EXISTS bekk CASCADE",
        );
        psql(&server, &bekk_sink::create_table_sql(&stream));
        let columns: Vec<&str> = stream
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let copied = timed(|| {
            psql(
                &server,
                &format!(
                    "\\copy events ({}) from '{}' csv",
                    columns.join(","),
                    csv.display()
                ),
            );
        });
        psql(&server, "TRUNCATE events; CHECKPOINT");
        let drained = timed(|| drain(&config, &stream, &log, &format!("fresh{round}")));
        println!(
            "round {round}: \\copy {:.0} rows/s, sink {:.0} rows/s, ratio {:.2}",
            per_second(rows, copied),
            per_second(rows, drained),
            copied / drained
        );
    }
    let replayed = timed(|| drain(&config, &stream, &log, "replay"));
    println!(
        "replay of unchanged rows: {:.0} rows/s",
        per_second(rows, replayed)
    );
}

fn timed(act: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    act();
    begun.elapsed().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a rate for a person to read")]
fn per_second(rows: usize, seconds: f64) -> f64 {
    rows as f64 / seconds
}

fn drain(config: &Config, stream: &Stream, log: &Client, group: &str) {
    let mut config = config.clone();
    group.clone_into(&mut config.group);
    let control = Control::new();
    control.drain();
    let stats = Stats::default();
    let summary =
        bekk_sink::run(&config, std::slice::from_ref(stream), log, &stats, &control).unwrap();
    let batches = stats.batches.load(std::sync::atomic::Ordering::Relaxed);
    println!("  {summary:?}, {batches} batches");
}

fn psql(server: &Server, command: &str) {
    let status = Command::new(server.bin_dir().join("psql"))
        .args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
        ])
        .arg(server.url())
        .args(["--command", command])
        .env("PGOPTIONS", "-c client_min_messages=warning")
        .status()
        .unwrap();
    assert!(status.success(), "{command}");
}
