//! How much memory a large backlog takes, and a long past.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use bekk_log::{Client, Config, RecordBuffer};
use bekk_stream::{FileId, FileRecord, META_TOPIC, Meta, Receipt};
use xxhash_rust::xxh3::xxh3_128;

use crate::sample::{event, file};
use crate::support::Sandbox;

const INPUT_BYTES: u64 = 300_000_000;
const PEAK_BYTES_MAX: u64 = 256_000_000;

/// 300 MB of files go through ingest, log and sink in one process, whose resident memory never exceeds the bound that
/// 5 GB must keep too: first many short rows, then long ones, which fill each limit in bytes.
#[test]
fn a_large_backlog_takes_little_memory() {
    const SHORT_ROWS: u32 = 300_000;
    const LONG_FILES: u32 = 10;
    const LONG_ROWS_OF_FILE: u32 = 18_000;
    const TEXT_BYTES: usize = 1_500;
    let sandbox = Sandbox::new();
    let short_rows = SHORT_ROWS.to_string();
    sandbox.ok(&[
        "generate",
        "--rows",
        &short_rows,
        "--files",
        "10",
        "--seed",
        "1",
    ]);
    let texts = noise(1 << 20);
    for number in 0..LONG_FILES {
        let line = |row: u32| {
            let id = number * LONG_ROWS_OF_FILE + row;
            let at = (id as usize * 7919) % (texts.len() - TEXT_BYTES);
            event(id, "view", "1.00").replace("garden", &texts[at..at + TEXT_BYTES])
        };
        let lines: Vec<_> = (0..LONG_ROWS_OF_FILE).map(line).collect();
        sandbox.write(&format!("data/long-{number}.csv"), file(&lines));
    }
    let bytes: u64 = fs::read_dir(sandbox.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes > INPUT_BYTES, "{bytes} bytes were written");
    let peak = peak_of(&mut sandbox.bekk("up --once --json"));
    assert_eq!(
        sandbox.postgres().number("SELECT count(*) FROM events"),
        u64::from(SHORT_ROWS + LONG_FILES * LONG_ROWS_OF_FILE)
    );
    println!("peak resident: {peak} bytes");
    assert!(peak <= PEAK_BYTES_MAX, "peak resident: {peak} bytes");
}

/// A text that compresses badly.
fn noise(len: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    (0..len / 16).map(|_| next()).collect()
}

/// Runs a command to its end, which must be good, and returns the most memory that it had, in bytes.
fn peak_of(command: &mut Command) -> u64 {
    let mut process = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak_kb = 0;
    let status = loop {
        let status =
            fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
        // The kernel's own high-water mark.
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        peak_kb = peak_kb.max(peak.unwrap_or(0));
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success());
    assert!(peak_kb > 0);
    peak_kb * 1024
}

/// The log knows of many files that are finished and gone. A start takes little memory for each of them; with
/// `BEKK_TEST_ALL_FAULTS=1` there are a million, and 256 MB must do.
#[test]
fn files_that_are_gone_take_little_memory() {
    let is_all = std::env::var_os("BEKK_TEST_ALL_FAULTS").is_some();
    let (files, more_max) = match is_all {
        true => (1_000_000, 220_000_000),
        false => (30_000, 12_000_000),
    };
    let sandbox = Sandbox::new();
    sandbox.events("data/1.csv", &[(1, "view", "1.00")]);
    sandbox.ok("ingest --once");
    let before = peak_of(&mut sandbox.bekk("ingest --once"));
    add_finished_files(&sandbox, files);
    let peak = peak_of(&mut sandbox.bekk("ingest --once"));
    println!("peak resident: {before} bytes, with {files} files {peak}");
    assert!(peak <= before + more_max);
    assert!(peak <= PEAK_BYTES_MAX);
}

/// Tells the log of files that the ingest has met, all of them before it finished the first.
fn add_finished_files(sandbox: &Sandbox, count: u64) {
    let client = Client::open(Config::new(sandbox.log_dir())).unwrap();
    let ingest = fs::read_to_string(sandbox.path(".bekk/ingest/id")).unwrap();
    let session = client.begin_session(ingest.trim()).unwrap();
    let id = |number: u64| FileId::from_bytes(xxh3_128(&number.to_be_bytes()).to_be_bytes());
    let met = |number: u64| {
        Meta::File(FileRecord {
            id: id(number),
            stream: "events".to_owned(),
            path: format!("/srv/shop/inbox/2026/events-{number:09}.csv").into_bytes(),
            device: 2049,
            inode: number,
            head_len: 200,
            head_hash: xxh3_128(&number.to_le_bytes()),
            found_at_ms: 1_790_000_000_000,
            dialect: "delimiter=%2C".to_owned(),
            ingest: ingest.trim().to_owned(),
            host: "host".to_owned(),
            first: None,
        })
    };
    let receipt = |number: u64| {
        Meta::Receipt(Receipt {
            file: id(number),
            stream: "events".to_owned(),
            records: 1,
            rejects: 0,
            bytes: 200,
            hash: 0,
            offsets: vec![(0, number, number + 1)],
            finished_at_ms: 1_790_000_000_000,
        })
    };
    let metas = (0..count).map(met).chain((0..count).map(receipt));
    let mut buffer = RecordBuffer::new();
    let append = |buffer: &mut RecordBuffer| {
        client
            .append(Some(&session), META_TOPIC, &[(0, buffer)])
            .unwrap();
        buffer.clear();
    };
    for meta in metas {
        buffer.push(0, Some(meta.key().as_bytes()), &meta.encode());
        if buffer.len() == 1000 {
            append(&mut buffer);
        }
    }
    append(&mut buffer);
    client.close().unwrap();
}
