//! Peak resident memory on a large backlog.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::lab::Lab;

/// About what a generated row takes in a file, in bytes.
const ROW_BYTES: u64 = 150;

#[derive(Args)]
pub(crate) struct Settings {
    /// The backlog, in megabytes of CSV
    #[arg(long, default_value_t = 5_000)]
    megabytes: u64,
    /// The greatest peak, in megabytes, that is no failure
    #[arg(long, default_value_t = 256)]
    at_most_megabytes: u64,
}

pub(crate) fn run(lab: &Lab, settings: &Settings) -> Result<()> {
    lab.generate(settings.megabytes * 1_000_000 / ROW_BYTES, 50)?;
    let started = Instant::now();
    let mut bekk = lab.bekk(&["up", "--once"]).stdout(Stdio::null()).spawn()?;
    let mut peak_kb = 0;
    while bekk.try_wait()?.is_none() {
        peak_kb = peak_kb.max(peak_resident_kb(bekk.id()).unwrap_or_default());
        thread::sleep(Duration::from_millis(50));
    }
    ensure!(bekk.wait()?.success(), "bekk failed");
    let peak = peak_kb / 1000;
    println!(
        "{} MB of CSV in {:.0} s: peak resident {peak} MB",
        settings.megabytes,
        started.elapsed().as_secs_f64()
    );
    ensure!(
        peak <= settings.at_most_megabytes,
        "the peak is above {} MB",
        settings.at_most_megabytes
    );
    Ok(())
}

/// The kernel's own high-water mark, in kilobytes.
fn peak_resident_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
