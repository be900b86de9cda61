//! Storms: an administrator, or a script of one, cancels and ends the sink's backends all the time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bekk_sink::Config;
use bekk_stream::{Stream, Value};

use crate::harness::{Db, Log, assert_exact, drain_with, opened, stream_of};

/// Sets how many seconds a storm lasts.
const SECONDS: &str = "BEKK_TEST_STORM_SECONDS";

fn storm_lasts() -> Duration {
    let seconds = std::env::var(SECONDS).map_or(2.0, |text| text.parse().unwrap());
    Duration::from_secs_f64(seconds)
}

fn numbers() -> Stream {
    let mut stream = stream_of("numbers", "id int8, value int8");
    stream.partitions = 2;
    stream
}

/// Appends `count` records to a partition; the keys of each fourth come again.
fn append(log: &Log, stream: &Stream, partition: u32, count: i64) {
    let rows: Vec<_> = (0..count)
        .map(|i| {
            let id = if i % 4 == 3 { i - 3 } else { i };
            vec![Value::Int(id * 2 + i64::from(partition)), Value::Int(i)]
        })
        .collect();
    for rows in rows.chunks(500) {
        log.append(stream, partition, rows);
    }
}

/// Drains a log while `act` is done to every backend of the sink over and over, each time after a pause; then
/// the table must equal the log.
fn weather(act: &str, pause: Duration, hits_min: u64) {
    const RECORDS: i64 = 8_000;
    let (db, log, stream) = opened(numbers());
    for partition in 0..2 {
        append(&log, &stream, partition, RECORDS);
    }
    let mut config = Config::new(db.options.clone());
    config.batch_records_max = 20;
    let (is_over, hits) = (AtomicBool::new(false), AtomicU64::new(0));
    let summary = std::thread::scope(|scope| {
        scope.spawn(|| {
            let (admin, begun) = (Db::connect(db.options.clone()), Instant::now());
            let strike = format!(
                "SELECT count({act}(pid)) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name LIKE 'bekk-sink%'"
            );
            while begun.elapsed() < storm_lasts() && !is_over.load(Ordering::Relaxed) {
                let hit: u64 = admin.one(&strike).parse().unwrap();
                hits.fetch_add(hit, Ordering::Relaxed);
                std::thread::sleep(pause);
            }
        });
        let summary = drain_with(&config, &log, &stream);
        is_over.store(true, Ordering::Relaxed);
        summary.unwrap()
    });
    println!("{} hits of {act}", hits.load(Ordering::Relaxed));
    assert!(
        hits.load(Ordering::Relaxed) >= hits_min,
        "there was no storm"
    );
    let records = u64::try_from(RECORDS).unwrap() * 2;
    assert_eq!((summary.records, summary.dead), (records, 0));
    let expected = "SELECT count(*), sum(value) FROM (
        SELECT DISTINCT ON (id) id, i AS value
          FROM generate_series(0, 7999) i, LATERAL (SELECT CASE WHEN i % 4 = 3 THEN i - 3 ELSE i END AS id) k
         ORDER BY id, i DESC) expected";
    let part = |partition: u32| {
        format!("SELECT count(*), sum(value) FROM numbers WHERE id % 2 = {partition}")
    };
    for partition in 0..2 {
        assert_eq!(db.one(&part(partition)), db.one(expected));
    }
    let deep = assert_exact(&db, &log.client, "bekk", &stream);
    assert_eq!((deep.records, deep.rows), (16_000, 12_000));
}

/// A cancel may hit any statement, BEGIN included.
#[test]
fn every_statement_may_be_cancelled() {
    weather("pg_cancel_backend", Duration::ZERO, 10);
}

/// The end of a backend may come at any moment, COMMIT included.
#[test]
fn every_backend_may_be_ended() {
    weather("pg_terminate_backend", Duration::from_millis(10), 3);
}
