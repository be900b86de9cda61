//! What it costs that ingest, log and sink are processes of their own: the same files by `bekk up --once`, and by
//! `bekk log serve`, `bekk ingest` and `bekk sink` over the Kafka protocol, in turn.

use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bekk_log::{Client, RecordBuffer, RemoteConfig, TopicConfig};
use clap::Args;

use crate::lab::{Lab, median};

/// Looking more often would take time from what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(600);
/// What the rates of the server are measured with.
const TOPIC: &str = "measured";
const PARTITIONS: u32 = 4;
const APPENDS: usize = 50;
/// To each partition.
const APPEND_RECORDS: u64 = 10_000;

#[derive(Args)]
pub(crate) struct Settings {
    /// How many rows
    #[arg(long, default_value_t = 1_500_000)]
    rows: u64,
    /// In how many files
    #[arg(long, default_value_t = 100)]
    files: u32,
    /// How often both are run
    #[arg(long, default_value_t = 7)]
    rounds: u32,
}

/// A process that ends with this value.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(lab: &Lab, settings: &Settings) -> Result<()> {
    lab.generate(settings.rows, settings.files)?;
    // Makes the table.
    one_process(lab)?;
    let expected: u64 = lab.one("SELECT count(*) FROM events")?.parse()?;
    let mut ratios = Vec::new();
    for round in 1..=settings.rounds {
        lab.reset()?;
        let one = one_process(lab)?;
        lab.reset()?;
        let served = services(lab, settings.rows)?;
        let count: u64 = lab.one("SELECT count(*) FROM events")?.parse()?;
        ensure!(count == expected, "{count} rows instead of {expected}");
        let ratio = one.as_secs_f64() / served.as_secs_f64();
        println!(
            "round {round}: one process {:.2} s, services {:.2} s, ratio {ratio:.2}",
            one.as_secs_f64(),
            served.as_secs_f64()
        );
        ratios.push(ratio);
    }
    println!("ratio, median: {:.2}", median(ratios));
    throughput(lab)
}

/// What the server takes and gives through librdkafka, from one client.
fn throughput(lab: &Lab) -> Result<()> {
    lab.reset()?;
    let (address, _log) = serve(lab)?;
    let client = Client::connect(RemoteConfig::new(address), LIMIT)?;
    client.create_topic(TOPIC, TopicConfig::new(PARTITIONS))?;
    let mut buffer = RecordBuffer::new();
    for number in 0..APPEND_RECORDS {
        let value = format!(
            "{number:020} {:080}",
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        );
        buffer.push(0, Some(&number.to_be_bytes()), value.as_bytes());
    }
    let batches: Vec<_> = (0..PARTITIONS)
        .map(|partition| (partition, &buffer))
        .collect();
    let begun = Instant::now();
    for _ in 0..APPENDS {
        client.append(None, TOPIC, &batches)?;
    }
    let appended = begun.elapsed();
    let begun = Instant::now();
    for ends in client.partition_ends(TOPIC)? {
        let mut next = ends.start;
        while next < ends.end {
            next = client
                .read(TOPIC, ends.partition, next, 1 << 20)?
                .next_offset();
        }
    }
    let read = begun.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let megabytes = (buffer.size() * batches.len() * APPENDS) as f64 / 1e6;
    println!(
        "{megabytes:.0} MB of records: appended at {:.0} MB/s, fetched at {:.0} MB/s",
        megabytes / appended.as_secs_f64(),
        megabytes / read.as_secs_f64()
    );
    Ok(())
}

/// A log that is served, and where.
fn serve(lab: &Lab) -> Result<(String, Service)> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let service = start(
        lab,
        &["log", "serve", "--listen", &address, "--http", "off"],
    )?;
    Ok((address, service))
}

fn start(lab: &Lab, arguments: &[&str]) -> Result<Service> {
    let mut command = lab.bekk(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Service(command.spawn().context("start bekk")?))
}

fn one_process(lab: &Lab) -> Result<Duration> {
    let begun = Instant::now();
    let done = lab.bekk(&["up", "--once"]).output()?;
    ensure!(
        done.status.success(),
        "bekk up --once: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(begun.elapsed())
}

/// From the start of all three until the last record is applied.
fn services(lab: &Lab, records: u64) -> Result<Duration> {
    let begun = Instant::now();
    let (address, _log) = serve(lab)?;
    let url = format!("kafka://{address}");
    let _sink = start(lab, &["sink", "--log", &url, "--http", "off"])?;
    let _ingest = start(lab, &["ingest", "--log", &url, "--http", "off"])?;
    loop {
        let applied = lab.one("SELECT coalesce(sum(next), 0) FROM bekk.offsets");
        // Until the sink has made it, there is no such table.
        let applied: u64 = applied.map_or(Ok(0), |text| text.parse())?;
        if applied >= records {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < LIMIT, "{applied} of {records} records");
        std::thread::sleep(LOOK_EVERY);
    }
}
