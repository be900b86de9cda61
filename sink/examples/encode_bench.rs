//! How fast records become COPY data: read from a log, decoded, encoded, deduplicated and sorted by key,
//! on one thread, nothing sent.
//!
//!     cargo run --release -p bekk-sink --example encode_bench -- [ROWS] [ROUNDS]

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod events;

use std::time::Instant;

use bekk_log::Client;
use bekk_postgres::Server;
use bekk_sink::Config;

use events::{events, write};

#[expect(clippy::cast_precision_loss, reason = "rates for a person to read")]
fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<usize>().unwrap());
    let rows = arguments.next().unwrap_or(1_000_000);
    let rounds = arguments.next().unwrap_or(3);
    // The encoders follow the table's column types, so there has to be a table.
    let server = Server::temporary().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let stream = events();
    let log = Client::open(bekk_log::Config::new(directory.path().join("log"))).unwrap();
    write(&log, &stream, &directory.path().join("events.csv"), rows);
    let config = Config::new(server.url().parse().unwrap());
    for round in 1..=rounds {
        let begun = Instant::now();
        let encoded = bekk_sink::encode_only(&config, &stream, &log).unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "round {round}: {} records, {:.0} records/s, {:.1} MB/s of COPY data, {} batches",
            encoded.records,
            encoded.records as f64 / seconds,
            encoded.bytes as f64 / seconds / 1e6,
            encoded.batches,
        );
    }
}
