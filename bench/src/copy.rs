//! `bekk up --once` beside one `psql \copy`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::lab::{COLUMNS, Lab, median};

#[derive(Args)]
pub(crate) struct Settings {
    /// Rows in all
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Files they are in
    #[arg(long, default_value_t = 100)]
    files: u32,
    /// How often each is measured, in turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// The least ratio of speeds, bekk's to \copy's, that is no failure
    #[arg(long, default_value_t = 0.9)]
    at_least: f64,
}

pub(crate) fn run(lab: &Lab, settings: &Settings) -> Result<()> {
    lab.generate(settings.rows, settings.files)?;
    let joined = join_files(lab)?;
    // The table is the one that bekk makes, with its key and indexes.
    once(lab)?;
    let mut ratios = Vec::new();
    for round in 1..=settings.rounds {
        lab.reset()?;
        let started = Instant::now();
        copy(lab, &joined)?;
        let copy_seconds = started.elapsed().as_secs_f64();
        check_rows(lab, settings.rows)?;
        lab.reset()?;
        let started = Instant::now();
        once(lab)?;
        let bekk_seconds = started.elapsed().as_secs_f64();
        check_rows(lab, settings.rows)?;
        let ratio = copy_seconds / bekk_seconds;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |seconds: f64| settings.rows as f64 / seconds;
        println!(
            "round {round}: \\copy {copy_seconds:.2} s ({:.0} rows/s), bekk {bekk_seconds:.2} s ({:.0} rows/s), ratio {ratio:.2}",
            rate(copy_seconds),
            rate(bekk_seconds)
        );
        ratios.push(ratio);
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(0.0, f64::max);
    let middle = median(ratios);
    println!(
        "ratio of speeds, bekk up --once to psql \\copy: median {middle:.2}, least {least:.2}, greatest {greatest:.2}"
    );
    ensure!(
        middle >= settings.at_least,
        "the median ratio is below {}",
        settings.at_least
    );
    Ok(())
}

/// All files as one, without their headers, so that one `\copy` takes them.
fn join_files(lab: &Lab) -> Result<String> {
    let mut paths: Vec<_> = fs::read_dir(lab.path("data"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    let joined = lab.path("joined.csv");
    let mut out = BufWriter::new(File::create(&joined)?);
    for path in paths {
        let mut file = BufReader::new(File::open(path)?);
        file.skip_until(b'\n')?;
        std::io::copy(&mut file, &mut out)?;
    }
    out.flush()?;
    joined
        .into_os_string()
        .into_string()
        .ok()
        .context("the directory's name is not UTF-8")
}

fn copy(lab: &Lab, joined: &str) -> Result<()> {
    let status = lab
        .psql()
        .arg("-c")
        .arg(format!(
            "\\copy events ({COLUMNS}) FROM '{joined}' (FORMAT csv)"
        ))
        .status()?;
    ensure!(status.success(), "psql \\copy failed");
    Ok(())
}

fn once(lab: &Lab) -> Result<()> {
    let output = lab.bekk(&["up", "--once"]).output()?;
    ensure!(
        output.status.success(),
        "bekk failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn check_rows(lab: &Lab, rows: u64) -> Result<()> {
    let found = lab.one("SELECT count(*) FROM events")?;
    ensure!(
        found == rows.to_string(),
        "the table has {found} rows, not {rows}"
    );
    Ok(())
}
