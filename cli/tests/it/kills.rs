//! kill -9 at any moment.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bekk_postgres::Server;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

use crate::events::{EventsFile, TABLE_ROWS, last_of_each_key};
use crate::log_content::LogContent;
use crate::support::{Postgres, Sandbox, wait_until};

const KILLS_DEFAULT: u32 = 30;
const RECORDS_PER_KILL: usize = 8_000;
/// Every so many kills PostgreSQL is killed too.
const SERVER_KILL_EVERY: u32 = 7;

/// A setting of this test, from the environment.
fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .ok()
            .unwrap_or_else(|| panic!("{name}={text} is no number"))
    })
}

/// The accident: while files grow, cut anywhere, inside quotes too, the process is killed with -9, again
/// and again: while it starts, while rows flow, and, one time in three, while a COPY is under way; now and
/// then PostgreSQL is killed as well. Afterwards the table equals the files, and so does the log, which
/// holds each record once.
#[test]
fn nothing_is_lost_or_doubled_by_kill_9() {
    let kills = setting("BEKK_KILLS").unwrap_or(KILLS_DEFAULT);
    let seed = setting("BEKK_SEED").unwrap_or_else(|| rand::rng().random());
    println!("BEKK_KILLS={kills} BEKK_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let server = Server::temporary().unwrap();
    let sandbox = Sandbox::on(&server);
    let files: Vec<_> = (0..kills)
        .map(|_| EventsFile::random(&mut rng, RECORDS_PER_KILL))
        .collect();
    let texts = files.iter().map(|file| file.text.clone()).collect();
    let writer = Writer::start(sandbox.path("data"), texts, rng.random());

    let mut in_flight = 0;
    for kill in 0..kills {
        writer.allow_file();
        let process = sandbox.start(&["up"]);
        match kill % 3 {
            0 => {
                wait_for_copy(&sandbox);
                in_flight += 1;
            }
            1 => thread::sleep(Duration::from_millis(rng.random_range(0..150))),
            _ => thread::sleep(Duration::from_millis(rng.random_range(150..900))),
        }
        process.kill();
        if kill % SERVER_KILL_EVERY == SERVER_KILL_EVERY - 1 {
            server.kill();
            server.restart().unwrap();
        }
    }
    writer.join();
    println!("{kills} kills, {in_flight} of them with a COPY in flight");
    assert!(in_flight * 3 >= kills, "a third of the kills meet a COPY");

    let once = sandbox.run(&["up", "--once"]).ok();
    println!("{}{}", once.stderr, once.stdout);
    check_everything(&sandbox, &files);
    let again = sandbox.run(&["up", "--once"]).ok();
    assert!(again.stdout.contains("nothing new"), "{}", again.stdout);
}

fn wait_for_copy(sandbox: &Sandbox) {
    let postgres = sandbox.postgres();
    wait_until("a COPY is in flight", Duration::from_secs(60), || {
        postgres.number(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ILIKE 'copy %' \
            AND datname = current_database() AND pid <> pg_backend_pid()",
        ) > 0
    });
}

fn check_everything(sandbox: &Sandbox, files: &[EventsFile]) {
    let rows: Vec<String> = files
        .iter()
        .flat_map(|file| file.rows.iter().cloned())
        .collect();
    let rejects: Vec<String> = files
        .iter()
        .flat_map(|file| file.rejects.iter().cloned())
        .collect();
    let expected_table = last_of_each_key(&rows);

    let content = LogContent::read(&sandbox.log_dir(), "events");
    same("the rows of files and log", &rows, &content.rows);
    same("the rejects of files and log", &rejects, &content.rejects);

    let postgres = sandbox.postgres();
    let column = |sql: &str| {
        postgres
            .rows(sql)
            .into_iter()
            .map(|mut row| row.remove(0))
            .collect::<Vec<_>>()
    };
    same("files and table", &expected_table, &column(TABLE_ROWS));
    let letters = column(
        "SELECT convert_from(raw, 'UTF8') FROM bekk.dead_letters WHERE position('\\000'::bytea IN raw) = 0",
    );
    let without_nul: Vec<_> = rejects
        .iter()
        .filter(|reject| !reject.contains('\0'))
        .cloned()
        .collect();
    same(
        "the rejects of files and dead letters",
        &without_nul,
        &letters,
    );
    assert_eq!(
        postgres.number("SELECT count(*) FROM bekk.dead_letters"),
        rejects.len() as u64
    );
    check_counts(&postgres, files, &expected_table, &rejects);
}

/// rows + superseded + dead = records, over all kills.
fn check_counts(postgres: &Postgres, files: &[EventsFile], table: &[String], rejects: &[String]) {
    let records: usize = files.iter().map(EventsFile::records).sum();
    let counts = postgres.rows("SELECT sum(next), sum(rows), sum(superseded), sum(dead) FROM bekk.offsets WHERE topic = 'events'");
    let counts: Vec<u64> = counts[0].iter().map(|text| text.parse().unwrap()).collect();
    let [next, rows, superseded, dead] = counts[..] else {
        panic!("four columns were asked for")
    };
    assert_eq!(
        (next, rows, dead),
        (records as u64, table.len() as u64, rejects.len() as u64)
    );
    assert_eq!(rows + superseded + dead, next);
}

/// That two lists hold the same, in whatever order; says how they differ.
fn same(what: &str, left: &[String], right: &[String]) {
    let checksum = |lines: &[String]| {
        lines
            .iter()
            .fold(0u64, |sum, line| sum.wrapping_add(xxh3_64(line.as_bytes())))
    };
    println!(
        "{what}: {} and {} lines, checksums {:016x} and {:016x}",
        left.len(),
        right.len(),
        checksum(left),
        checksum(right)
    );
    if left.len() == right.len() && checksum(left) == checksum(right) {
        return;
    }
    let only = |these: &[String], those: &[String]| {
        let mut counts = std::collections::HashMap::new();
        those
            .iter()
            .for_each(|line| *counts.entry(line.clone()).or_insert(0i64) += 1);
        let missing = these.iter().filter(|line| {
            let count = counts.entry((*line).clone()).or_insert(0);
            *count -= 1;
            *count < 0
        });
        missing.take(5).cloned().collect::<Vec<_>>()
    };
    panic!(
        "{what} differ; only left: {:#?}; only right: {:#?}",
        only(left, right),
        only(right, left)
    );
}

/// Writes files bit by bit, beside the kills.
struct Writer {
    thread: thread::JoinHandle<()>,
    allowed: Arc<std::sync::Mutex<usize>>,
    hurry: Arc<AtomicBool>,
}

impl Writer {
    fn start(dir: PathBuf, texts: Vec<String>, seed: u64) -> Self {
        let allowed = Arc::new(std::sync::Mutex::new(0));
        let hurry = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (allowed, hurry) = (Arc::clone(&allowed), Arc::clone(&hurry));
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            move || {
                for (number, text) in texts.iter().enumerate() {
                    while *allowed.lock().unwrap() <= number && !hurry.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(2));
                    }
                    write_in_pieces(
                        &dir.join(format!("round-{number:04}.csv")),
                        text.as_bytes(),
                        &mut rng,
                        &hurry,
                    );
                }
            }
        });
        Self {
            thread,
            allowed,
            hurry,
        }
    }

    /// Lets it begin one more file.
    fn allow_file(&self) {
        *self.allowed.lock().unwrap() += 1;
    }

    /// Lets it write the rest at once.
    fn join(self) {
        self.hurry.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn write_in_pieces(path: &Path, mut bytes: &[u8], rng: &mut ChaCha8Rng, hurry: &AtomicBool) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(rng.random_range(1..=bytes.len().min(60_000)));
        file.write_all(piece).unwrap();
        bytes = rest;
        if !hurry.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(rng.random_range(0..20)));
        }
    }
}
