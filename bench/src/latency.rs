//! From a line's flush to the row's visibility.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;

use crate::lab::{COLUMNS, Lab, percentile_ms};

const LIMIT: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(15);

#[derive(Args)]
pub(crate) struct Settings {
    /// How many lines
    #[arg(long, default_value_t = 200)]
    lines: u32,
    /// The greatest median, in milliseconds, that is no failure
    #[arg(long, default_value_t = 50.0)]
    at_most_ms: f64,
}

pub(crate) fn run(lab: &Lab, settings: &Settings) -> Result<()> {
    let mut bekk = lab
        .bekk(&["up"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let measured = measure(lab, settings);
    let idle = idle_share(bekk.id());
    bekk.kill()?;
    bekk.wait()?;
    let (bekk, bare) = measured?;
    for (name, latencies) in [
        ("bekk, flush to visible", &bekk),
        ("bare INSERT and COMMIT", &bare),
    ] {
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| percentile_ms(latencies, share));
        println!("{name}: median {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms");
    }
    let median = percentile_ms(&bekk, 0.5);
    println!(
        "ratio of medians: {:.1}",
        median / percentile_ms(&bare, 0.5)
    );
    let idle = 100.0 * idle?;
    println!("idle: {idle:.2} % of a core over {IDLE:?}");
    ensure!(idle < 2.0, "an idle bekk takes more than 2 % of a core");
    ensure!(
        median <= settings.at_most_ms,
        "the median is above {} ms",
        settings.at_most_ms
    );
    Ok(())
}

/// The share of a core that a process takes while nothing happens.
fn idle_share(pid: u32) -> Result<f64> {
    // Kernel ticks of 10 ms, in user and kernel mode: fields 14 and 15, counted behind the name.
    let ticks = || -> Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        Ok(fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum())
    };
    let before = ticks()?;
    thread::sleep(IDLE);
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    Ok((ticks()? - before) as f64 / 100.0 / IDLE.as_secs_f64())
}

/// Alternates the two, so that both see the same machine.
fn measure(lab: &Lab, settings: &Settings) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(lab.path("data/latency.csv"))?;
    writeln!(file, "{}", COLUMNS.replace(' ', ""))?;
    wait(|| {
        Ok(lab
            .one("SELECT 1 FROM pg_tables WHERE tablename = 'events'")
            .is_ok())
    })?;
    lab.execute("CREATE TABLE bare (LIKE events INCLUDING ALL)")?;
    let (mut bekk, mut bare) = (Vec::new(), Vec::new());
    for id in 0..settings.lines {
        let uuid = format!("00000000-0000-0000-0000-{id:012}");
        let started = Instant::now();
        writeln!(file, "{uuid},view,1,2,garden,9.99,1,,2026-01-01T00:00:00Z")?;
        wait(|| {
            Ok(lab
                .one(&format!("SELECT 1 FROM events WHERE event_id = '{uuid}'"))
                .is_ok())
        })?;
        bekk.push(started.elapsed());
        let started = Instant::now();
        lab.execute(&format!(
            "INSERT INTO bare ({COLUMNS}) VALUES ('{uuid}', 'view', 1, 2, 'garden', 9.99, 1, NULL, '2026-01-01T00:00:00Z')"
        ))?;
        bare.push(started.elapsed());
        // Lines come at no particular moment of any poll.
        thread::sleep(Duration::from_millis(u64::from(7 + id % 13)));
    }
    Ok((bekk, bare))
}

fn wait(mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !condition()? {
        if started.elapsed() > LIMIT {
            bail!("waited {LIMIT:?} in vain");
        }
    }
    Ok(())
}
