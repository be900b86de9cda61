//! What a log of a few hundred megabytes costs: the memory of the process that writes it, and time and memory
//! of the one that opens and reads it. Each is a process of its own, this test binary with `BEKK_LOG_SIZE`.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bekk_log::{Client, Config, Durability, Offset};

use crate::support::{append, config, noise, topic};

const VARIABLE: &str = "BEKK_LOG_SIZE";
const BATCHES: u64 = 3200;
const BATCH_BYTES: usize = 80_000;
const RESIDENT_MAX: u64 = 120_000_000;
const OPEN_MAX: Duration = Duration::from_secs(3);

/// Not tests of their own: the processes that are measured. Without the variable they do nothing.
#[test]
fn write() {
    let Some(dir) = env::var_os(VARIABLE) else {
        return;
    };
    let client = open(Path::new(&dir));
    topic(&client, "t", 4);
    for i in 0..BATCHES {
        let partition = u32::try_from(i % 4).unwrap();
        append(&client, partition, [noise(i, BATCH_BYTES)]);
    }
    check_memory();
    // Not closed: the other one opens what a killed process leaves.
    std::process::exit(0);
}

#[test]
fn read() {
    let Some(dir) = env::var_os(VARIABLE) else {
        return;
    };
    let begun = Instant::now();
    let client = open(Path::new(&dir));
    let took = begun.elapsed();
    assert!(took < OPEN_MAX, "{took:?} to open");
    assert!(client.segments("t").unwrap().len() >= 8);
    let mut bytes = 0;
    for partition in 0..4 {
        let mut from = Offset::ZERO;
        loop {
            let records = client.read("t", partition, from, 1 << 20).unwrap();
            if records.is_empty() {
                break;
            }
            bytes += records
                .iter()
                .map(|record| record.value.len())
                .sum::<usize>();
            from = records.next_offset();
        }
    }
    assert_eq!(bytes as u64, BATCHES * BATCH_BYTES as u64);
    check_memory();
}

fn open(dir: &Path) -> Client {
    let config = Config {
        segment_bytes: 30_000_000,
        durability: Durability::Os,
        ..config(dir)
    };
    Client::open(config).unwrap()
}

fn check_memory() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!(
        kilobytes * 1024 < RESIDENT_MAX,
        "{kilobytes} kB resident at most"
    );
}

#[test]
fn a_large_log_is_opened_fast_and_takes_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    for process in ["size::write", "size::read"] {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", process, "--nocapture"])
            .env(VARIABLE, dir.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{process}: {error}");
    }
}
