//! Accidents: processes killed, checkpoints lost, second ingests, and more input than memory.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use bekk_ingest::{Config, Error, Mode, Stats};
use bekk_testing::{assert_matches, seed};

use crate::world::{World, await_count, count, ids, open_log, rest, rows, stream};

const CHILD: &str = "BEKK_INGEST_TEST_CHILD";

/// What a child process does: follows the inbox of the directory it is given until it is killed.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let directory = Path::new(&directory);
    // The killed one's lock on the log goes with it, but not always before its successor comes.
    let log = open_log(&directory.join("log"));
    let mut config = Config::new(directory.join("state"));
    config.batch_bytes = 4096;
    config.checkpoint_interval = Duration::from_millis(5);
    config.mode = match std::env::var_os("BEKK_INGEST_TEST_ONCE") {
        Some(_) => Mode::Once,
        None => Mode::Follow,
    };
    let streams = [stream(&directory.join("inbox"))];
    let stop = AtomicBool::new(false);
    bekk_ingest::run(&config, &streams, &log, &Stats::default(), &stop).unwrap();
}

fn start_child(world: &World, once: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["crash::child", "--exact", "--nocapture"])
        .env(CHILD, world.directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if once {
        command.env("BEKK_INGEST_TEST_ONCE", "1");
    }
    command.spawn().unwrap()
}

/// Files grow and appear while ingest is killed at random moments, also while it starts; every third time
/// its checkpoint is lost as well. In the end the log holds every record once.
#[test]
fn nothing_is_lost_or_doubled_by_kills() {
    let seed = seed();
    let mut state = seed | 1;
    let mut random = move |below: u64| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let world = World::new();
    let mut contents = vec![String::new(); 4];
    let mut next = 0;
    let checkpoint = world.path("state/checkpoint");
    let written = || {
        fs::metadata(&checkpoint)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    let mut kills_at_work = 0;
    for round in 0..30 {
        let mut child = start_child(&world, false);
        // A third is killed while it starts; the others have written a checkpoint before.
        let before = written();
        let mut until = Instant::now() + Duration::from_millis(5 + random(60));
        let mut is_at_work = round % 3 == 1;
        while Instant::now() < until || !is_at_work {
            assert_eq!(
                child.try_wait().unwrap(),
                None,
                "it works until it is killed"
            );
            if !is_at_work && written() > before {
                is_at_work = true;
                kills_at_work += 1;
                until = Instant::now() + Duration::from_millis(random(60));
            }
            let file = usize::try_from(random(4)).unwrap();
            let mut text = String::new();
            if contents[file].is_empty() {
                text.push_str("id,name,price\n");
            }
            for id in next..next + 200 {
                match id % 7 {
                    0 => text.push_str(&format!("{id},\"na\nme, \"\"{id}\"\"\",1\r\n")),
                    _ => text.push_str(&rows(id, id + 1)),
                }
            }
            next += 200;
            // A write ends anywhere.
            contents[file].push_str(&text);
            let path = world.inbox(&format!("{file}.csv"));
            let mut open = File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            let cut = usize::try_from(random(text.len() as u64)).unwrap();
            open.write_all(&text.as_bytes()[..cut]).unwrap();
            thread::sleep(Duration::from_micros(random(2000)));
            open.write_all(&text.as_bytes()[cut..]).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 3 == 0 {
            let _ = fs::remove_file(&checkpoint);
        }
    }
    assert!(kills_at_work == 20 && next > 1000);
    for file in 0..4 {
        let path = world.inbox(&format!("{file}.csv"));
        if path.exists() {
            rest(&path);
        }
    }
    let summary = world.once();
    assert_eq!(summary.left, []);
    let logged = world.logged();
    let paths = world.paths();
    let mut seen = Vec::new();
    for (file, records) in &logged {
        let name = paths[file].file_stem().unwrap().to_str().unwrap();
        let content = &contents[name.parse::<usize>().unwrap()];
        let mut at = "id,name,price\n".len() as u64;
        for record in records {
            assert_eq!(record.start, at, "records follow each other");
            at = record.end;
            let id = ids(std::slice::from_ref(record))[0].to_string();
            assert_eq!(record.text(content).split(',').next().unwrap(), id);
        }
        assert_eq!(at, content.len() as u64);
        seen.extend(ids(records));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..i64::try_from(next).unwrap()).collect::<Vec<_>>());
    assert_eq!(
        logged.len(),
        contents
            .iter()
            .filter(|content| !content.is_empty())
            .count()
    );
}

/// The checkpoint is lost, is of an earlier time, or is damaged: each costs time, no record.
#[test]
fn checkpoints_are_caches() {
    let world = World::new();
    let path = world.put("a.csv", format!("id,name,price\n{}", rows(0, 1000)));
    assert_eq!(world.once().records, 1000);
    let checkpoint = world.path("state/checkpoint");
    let old = fs::read(&checkpoint).unwrap();
    let append = |from, to| {
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(rows(from, to).as_bytes()).unwrap();
        rest(&path);
    };
    append(1000, 1500);
    assert_eq!(world.once().records, 500);
    fs::write(&checkpoint, &old).unwrap();
    append(1500, 1600);
    assert_eq!(world.once().records, 100);
    fs::write(&checkpoint, &old[..old.len() / 2]).unwrap();
    append(1600, 1610);
    let summary = world.once();
    assert_eq!((summary.records, summary.already), (10, 1600));
    let records = world.logged_of_one();
    assert_eq!(ids(&records), (0..1610).collect::<Vec<_>>());
    assert_eq!(records.last().unwrap().line, 1611);
    let receipts = world.receipts();
    let last = receipts.last().unwrap();
    assert_eq!(last.records, 1610);
    assert_eq!(
        last.hash,
        xxhash_rust::xxh3::xxh3_128(&fs::read(&path).unwrap())
    );
}

#[test]
fn a_second_ingest_is_refused() {
    let world = World::new();
    let stream = world.stream();
    world.put("a.csv", "id\n1\n");
    world.follow(&stream, |log| {
        await_count(log, 1);
        let config = world.config(Mode::Once);
        let refused = crate::world::run(&config, &stream, log).unwrap_err();
        assert_matches!(refused, Error::Locked { .. });
    });
    world.once();
}

/// A later ingest of the same id, in a copy of the state directory, takes over: the first one must stop.
#[test]
fn a_succeeded_ingest_stops() {
    let world = World::new();
    world.put("a.csv", "id\n1\n");
    let stream = world.stream();
    world.once();
    let log = world.open_log();
    let stop = AtomicBool::new(false);
    let stats = Stats::default();
    let id = fs::read_to_string(world.path("state/id")).unwrap();
    let error = thread::scope(|scope| {
        let config = world.config(Mode::Follow);
        let streams = [stream.clone()];
        let (log, stop, stats) = (&log, &stop, &stats);
        let running = scope.spawn(move || bekk_ingest::run(&config, &streams, log, stats, stop));
        while stats.files_found.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        log.begin_session(id.trim()).unwrap();
        let mut file = File::options()
            .append(true)
            .open(world.inbox("a.csv"))
            .unwrap();
        file.write_all(b"2\n").unwrap();
        running.join().unwrap().unwrap_err()
    });
    assert_matches!(error, Error::Fenced { .. });
    log.close().unwrap();
    assert_eq!(world.once().records, 1);
}

/// The log does not match the offsets than the checkpoint's: nothing is skipped and nothing doubled in silence.
#[test]
fn another_log_is_refused() {
    let world = World::new();
    world.put("a.csv", "id\n1\n");
    world.once();
    fs::remove_dir_all(world.path("log")).unwrap();
    let refused = world.once_with(&world.stream()).unwrap_err();
    assert_matches!(refused, Error::OtherLog { .. });
    fs::remove_file(world.path("state/checkpoint")).unwrap();
    assert_eq!(world.once().records, 1);
}

/// 300 MB of input, one record of which is larger than all memory allowed.
#[test]
fn memory_is_bounded() {
    let world = World::new();
    let path = world.inbox("big.csv");
    let mut file = std::io::BufWriter::new(File::create(&path).unwrap());
    file.write_all(b"id,name,price\n").unwrap();
    let block = rows(0, 1000).replace("name", &"x".repeat(5000));
    for _ in 0..30 {
        file.write_all(block.as_bytes()).unwrap();
    }
    file.write_all(b"1,\"").unwrap();
    for _ in 0..150 {
        file.write_all(&[b'y'; 1_000_000]).unwrap();
    }
    file.write_all(b"\",1\n2,two,2\n").unwrap();
    drop(file);
    rest(&path);
    let mut child = start_child(&world, true);
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait().unwrap() {
            break exit;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0));
        thread::sleep(Duration::from_millis(5));
    };
    assert!(exit.success());
    let log = world.open_log();
    assert_eq!(count(&log), 30_002);
    log.close().unwrap();
    assert!(
        peak > 0 && peak < 128 * 1024,
        "{peak} kB resident at the peak"
    );
}
