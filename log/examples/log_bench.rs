//! How fast the log takes records in and gives them out, next to a plain file of the same bytes.
//!
//!     cargo run --release -p bekk-log --example log_bench -- [--dir DIR] [--mb 500] [--batch 2000]
//!         [--record 150] [--partitions 4] [--threads 1] [--noise] [--os] [append|read|open]...
//!
//! `append`: batches of `--batch` records, each acknowledged after fsync, by each of `--threads` threads to all
//! partitions at once; the plain file is written and fsynced as often. `read`: the same records, partition by
//! partition. `open`: how long a log with them takes to open. `--noise` makes records that do not compress,
//! `--os` leaves out the fsyncs.
//! What is not named is all of it.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bekk_log::{Client, Config, Durability, Offset, RecordBuffer, TopicConfig};

struct Options {
    dir: PathBuf,
    bytes: usize,
    batch: usize,
    record: usize,
    partitions: u32,
    threads: usize,
    noise: bool,
    durability: Durability,
    modes: Vec<String>,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self {
            dir: std::env::temp_dir().join("bekk-log-bench"),
            bytes: 500_000_000,
            batch: 2000,
            record: 150,
            partitions: 4,
            threads: 1,
            noise: false,
            durability: Durability::Sync,
            modes: Vec::new(),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<usize, String> {
                let value = arguments.next().ok_or("a value is missing")?;
                value.parse().map_err(|_| format!("`{value}` is no number"))
            };
            match argument.as_str() {
                "--mb" => options.bytes = number()? * 1_000_000,
                "--batch" => options.batch = number()?,
                "--record" => options.record = number()?,
                "--partitions" => options.partitions = number()?.try_into().unwrap_or(1),
                "--threads" => options.threads = number()?,
                "--noise" => options.noise = true,
                "--os" => options.durability = Durability::Os,
                "--dir" => options.dir = arguments.next().ok_or("--dir without a path")?.into(),
                "append" | "read" | "open" => options.modes.push(argument),
                other => return Err(format!("unknown argument `{other}`")),
            }
        }
        Ok(options)
    }

    fn does(&self, mode: &str) -> bool {
        self.modes.is_empty() || self.modes.iter().any(|other| other == mode)
    }

    fn batches(&self) -> usize {
        (self.bytes / (self.batch * self.record)).max(self.threads) / self.threads
    }
}

/// The values of one batch; a few different ones are used in turn.
fn values(options: &Options, seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let types = ["view", "purchase", "add_to_cart"];
    let record = |_| {
        let mut value = Vec::with_capacity(options.record + 64);
        while options.noise && value.len() < options.record {
            value.extend_from_slice(&next().to_le_bytes());
        }
        while value.len() < options.record {
            let kind = types[(next() % 3) as usize];
            let (id, user, product) = (next(), next() % 100_000, next() % 5000);
            let price = next() % 100_000;
            write!(
                value,
                "{id:016x},{kind},{user},{product},books,{price}.{:02},2026-11-22T",
                id % 100
            )
            .unwrap();
        }
        value.truncate(options.record);
        value
    };
    (0..options.batch).map(record).collect()
}

struct Figures {
    records: usize,
    bytes: usize,
    took: Duration,
    /// The longest of all calls but the slowest hundredth.
    p99: Duration,
}

impl Figures {
    fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }

    fn print(&self, what: &str) {
        println!(
            "{what:12} {:>11.0} records/s {:>8.0} MB/s   {:>7.2} s   p99 {:>6.1} ms",
            self.records as f64 / self.took.as_secs_f64(),
            self.megabytes(),
            self.took.as_secs_f64(),
            self.p99.as_secs_f64() * 1e3,
        );
    }
}

fn p99(mut calls: Vec<Duration>) -> Duration {
    calls.sort_unstable();
    calls
        .get(calls.len() * 99 / 100)
        .copied()
        .unwrap_or_default()
}

fn open(dir: &Path, options: &Options) -> Client {
    let client = Client::open(Config {
        durability: options.durability,
        ..Config::new(dir.to_owned())
    });
    let client = client.unwrap();
    let partitions = options.partitions;
    client
        .create_topic("bench", TopicConfig::new(partitions))
        .unwrap();
    client
}

fn append(options: &Options, client: &Client) -> Figures {
    let begun = Instant::now();
    let threads = (0..options.threads).map(|thread| {
        let client = client.clone();
        let sets: Vec<_> = (0..8)
            .map(|i| values(options, i + 8 * thread as u64))
            .collect();
        let (batches, partitions) = (options.batches(), options.partitions);
        thread::spawn(move || {
            let mut buffers = vec![RecordBuffer::new(); partitions as usize];
            let mut calls = Vec::with_capacity(batches);
            for i in 0..batches {
                let begun = Instant::now();
                buffers.iter_mut().for_each(RecordBuffer::clear);
                for (j, value) in sets[i % sets.len()].iter().enumerate() {
                    let partition = j % buffers.len();
                    buffers[partition].push(1_700_000_000_000, Some(&value[..16]), value);
                }
                let parts: Vec<_> = (0..).zip(&buffers).collect();
                client.append(None, "bench", &parts).unwrap();
                calls.push(begun.elapsed());
            }
            calls
        })
    });
    let threads: Vec<_> = threads.collect();
    let calls = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap());
    let calls: Vec<_> = calls.collect();
    let records = calls.len() * options.batch;
    Figures {
        records,
        bytes: records * options.record,
        took: begun.elapsed(),
        p99: p99(calls),
    }
}

fn append_plain(options: &Options, path: &Path) -> Figures {
    let sets: Vec<_> = (0..8).map(|i| values(options, i).concat()).collect();
    let mut file = File::create(path).unwrap();
    let begun = Instant::now();
    let calls = (0..options.batches() * options.threads).map(|i| {
        let begun = Instant::now();
        file.write_all(&sets[i % sets.len()]).unwrap();
        if options.durability == Durability::Sync {
            file.sync_data().unwrap();
        }
        begun.elapsed()
    });
    let calls: Vec<_> = calls.collect();
    let records = calls.len() * options.batch;
    Figures {
        records,
        bytes: records * options.record,
        took: begun.elapsed(),
        p99: p99(calls),
    }
}

fn read(client: &Client, partitions: u32) -> Figures {
    let begun = Instant::now();
    let (mut records, mut bytes, mut calls) = (0, 0, Vec::new());
    for partition in 0..partitions {
        let mut from = Offset::ZERO;
        loop {
            let begun = Instant::now();
            let read = client.read("bench", partition, from, 1 << 20).unwrap();
            if read.is_empty() {
                break;
            }
            records += read.len();
            bytes += read.iter().map(|record| record.value.len()).sum::<usize>();
            from = read.next_offset();
            calls.push(begun.elapsed());
        }
    }
    Figures {
        records,
        bytes,
        took: begun.elapsed(),
        p99: p99(calls),
    }
}

fn read_plain(options: &Options, path: &Path) -> Figures {
    let mut file = File::open(path).unwrap();
    let mut chunk = vec![0; 1 << 20];
    let begun = Instant::now();
    let (mut bytes, mut calls) = (0, Vec::new());
    loop {
        let begun = Instant::now();
        let read = file.read(&mut chunk).unwrap();
        if read == 0 {
            break;
        }
        bytes += read;
        calls.push(begun.elapsed());
    }
    Figures {
        records: bytes / options.record,
        bytes,
        took: begun.elapsed(),
        p99: p99(calls),
    }
}

/// A line of `/proc/self/status`, in MB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(0)
        / 1000
}

/// What the process has had written to disk so far, in MB.
fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) / 1_000_000
}

fn main() {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(error) => {
            println!("{error}; see the head of this file");
            std::process::exit(2);
        }
    };
    let (log, plain) = (options.dir.join("log"), options.dir.join("plain"));
    if options.does("append") {
        let _ = fs::remove_dir_all(&options.dir);
    }
    fs::create_dir_all(&options.dir).unwrap();
    let client = open(&log, &options);
    if options.does("append") {
        let file = append_plain(&options, &plain);
        file.print("plain append");
        let before = written();
        let ours = append(&options, &client);
        ours.print("log append");
        println!("{:12} {:.2}", "ratio", ours.megabytes() / file.megabytes());
        println!("{:?}", client.counters().unwrap());
        println!("{:12} {} MB to disk", "written", written() - before);
    }
    if options.does("read") {
        let ours = read(&client, options.partitions);
        ours.print("log read");
        let file = read_plain(&options, &plain);
        file.print("plain read");
        println!("{:12} {:.2}", "ratio", ours.megabytes() / file.megabytes());
    }
    println!("{:?}", client.topic_size("bench").unwrap());
    client.close().unwrap();
    if options.does("open") {
        let begun = Instant::now();
        let client = open(&log, &options);
        println!("{:12} {:?}", "open", begun.elapsed());
        client.close().unwrap();
    }
    println!(
        "{:12} {} MB at most, {} MB now",
        "resident",
        memory("VmHWM"),
        memory("VmRSS")
    );
}
