//! What following costs: the time from a line's flush to its record in the log, and the share of a core
//! that idle files take.
//!
//! `cargo run --release -p bekk-ingest --example follow_bench -- [idle files] [lines]`

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bekk_ingest::{Config, Stats};
use bekk_log::Client;
use bekk_stream::Stream;

const HEADER: &str =
    "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time\n";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let idle_files: u64 = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let lines: u64 = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let directory = std::env::temp_dir().join(format!("bekk-follow-bench-{}", std::process::id()));
    let inbox = directory.join("data");
    fs::create_dir_all(&inbox)?;
    for file in 0..idle_files {
        fs::write(
            inbox.join(format!("idle-{file}.csv")),
            format!("{HEADER}{}", line(file)),
        )?;
    }
    let streams: Vec<Stream> = bekk_stream::Config::sample(&directory, &|_| None)?.streams;
    let log = Client::open(bekk_log::Config::new(directory.join("log")))?;
    let (stop, stats) = (AtomicBool::new(false), Stats::default());
    let config = Config::new(directory.join("state"));
    thread::scope(|scope| {
        let running = scope.spawn(|| bekk_ingest::run(&config, &streams, &log, &stats, &stop));
        let result = measure(&inbox, &log, idle_files, lines);
        stop.store(true, Ordering::Relaxed);
        println!("{:?}", running.join().map_err(|_| "ingest panicked")??);
        result
    })?;
    log.close()?;
    fs::remove_dir_all(&directory)?;
    Ok(())
}

fn measure(inbox: &Path, log: &Client, idle: u64, lines: u64) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    wait_for(log, idle);
    println!(
        "{idle} files of one line   {:>8.2} s",
        began.elapsed().as_secs_f64()
    );
    // Until none of them counts as active.
    thread::sleep(Duration::from_secs(4));
    let before = cpu_seconds()?;
    let began = Instant::now();
    thread::sleep(Duration::from_secs(10));
    let share = (cpu_seconds()? - before) / began.elapsed().as_secs_f64();
    println!(
        "idle                      {:>8.2} % of a core",
        share * 100.0
    );
    let mut file = File::create(inbox.join("live.csv"))?;
    file.write_all(HEADER.as_bytes())?;
    let mut latencies = Vec::new();
    for number in 0..lines {
        thread::sleep(Duration::from_millis(20 + number % 37));
        let began = Instant::now();
        file.write_all(line(idle + number).as_bytes())?;
        wait_for(log, idle + number + 1);
        latencies.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    latencies.sort_by(f64::total_cmp);
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!(
        "flush to log              {:>8.2} ms median, {:.2} ms p99",
        at(50),
        at(99)
    );
    Ok(())
}

fn line(number: u64) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000,view,1,1,x,1.00,1,,2026-11-22T12:00:00Z\n")
}

fn wait_for(log: &Client, records: u64) {
    let count = || match log.partition_ends("events") {
        Ok(ends) => ends.iter().map(|ends| ends.end.since(ends.start)).sum(),
        Err(_) => 0,
    };
    while count() < records {
        thread::sleep(Duration::from_micros(200));
    }
}

/// User and system time of this process so far.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .ok_or("no stat")?
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}
