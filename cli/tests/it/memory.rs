//! How much memory a large backlog takes.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::support::Sandbox;

const INPUT_BYTES: u64 = 300_000_000;
const PEAK_BYTES_MAX: u64 = 256_000_000;

/// 300 MB of files go through ingest, log and sink in one process, whose resident memory never exceeds
/// the bound that 5 GB must keep too.
#[test]
fn a_large_backlog_takes_little_memory() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&[
            "generate", "--rows", "2200000", "--files", "20", "--seed", "1",
        ])
        .ok();
    let bytes: u64 = fs::read_dir(sandbox.path("data"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes > INPUT_BYTES, "{bytes} bytes were generated");
    let mut command = sandbox.bekk(&["up", "--once", "--json"]);
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
    assert_eq!(
        sandbox.postgres().number("SELECT count(*) FROM events"),
        2_200_000
    );
    println!("peak resident: {peak_kb} kB");
    assert!(
        peak_kb > 0 && peak_kb * 1024 <= PEAK_BYTES_MAX,
        "peak resident: {peak_kb} kB"
    );
}
