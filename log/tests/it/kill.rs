//! A process that appends from several threads is killed with SIGKILL at a random moment, again and again.
//! What it had been told is durable must be there, once, and the offsets without a hole.
//!
//! The victim is this test binary itself, started with `BEKK_LOG_VICTIM`; it writes a line to its standard
//! output after each acknowledged append.

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bekk_log::{Client, Config, Error, Offset, verify};
use bekk_testing::{MINUTE, assert_matches, seed, setting, wait_until};

use crate::support::{buffer, config, find, noise, read_all, topic};

const VICTIM: &str = "BEKK_LOG_VICTIM";
const THREADS: u32 = 4;
const PARTITIONS: u32 = 3;

fn victim_config(dir: &Path) -> Config {
    Config {
        segment_bytes: 300_000,
        ..config(dir)
    }
}

/// Not a test of its own: what the victim does. Without the variable it does nothing.
#[test]
fn victim() {
    let Some(dir) = env::var_os(VICTIM) else {
        return;
    };
    let client = Client::open(victim_config(Path::new(&dir))).unwrap();
    topic(&client, "t", PARTITIONS);
    let session = client.begin_session("victim").unwrap();
    let threads = (0..THREADS).map(|thread| {
        let (client, session) = (client.clone(), session.clone());
        thread::spawn(move || {
            for i in 0u64.. {
                let key = format!("{}/{thread}/{i}", session.number);
                let value = [key.as_bytes(), b"|", &noise(i, (i * 977 % 20_000) as usize)].concat();
                let (one, other) = (thread % PARTITIONS, (thread + 1) % PARTITIONS);
                let (first, second) = (buffer([&value, &value]), buffer([&value]));
                let batches = [(one, &first), (other, &second)];
                let offsets = client.append(Some(&session), "t", &batches).unwrap();
                let line = format!("{key} {one} {} {other} {}\n", offsets[0], offsets[1]);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        })
    });
    threads
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|t| t.join().unwrap());
}

/// When a victim's life begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    /// With its process, so that it may die while it starts.
    Start,
    /// With its first append, so that it gets something done, however slow the machine is.
    FirstAppend,
}

/// Starts a victim, kills it after `life`, and adds what it was told to `acknowledged`: for each value, by
/// partition, the offset of its first record there and how many it has.
fn kill_one(
    dir: &Path,
    (since, life): (Since, Duration),
    acknowledged: &mut HashMap<(String, u32), (u64, u64)>,
) {
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(victim.stdout.take().unwrap());
    let (appended, first_append) = mpsc::channel();
    let reader = thread::spawn(move || {
        // The last line may be torn, and counts as not acknowledged.
        output
            .split(b'\n')
            .map_while(Result::ok)
            .inspect(|line| {
                // A line of the test harness has no slash.
                if line.contains(&b'/') {
                    let _ = appended.send(());
                }
            })
            .collect::<Vec<_>>()
    });
    if since == Since::FirstAppend {
        first_append.recv_timeout(MINUTE).unwrap();
    }
    thread::sleep(life);
    victim.kill().unwrap();
    victim.wait().unwrap();
    for line in reader.join().unwrap() {
        let line = String::from_utf8(line).unwrap();
        let fields: Vec<_> = line.split(' ').collect();
        let [key, one, first, other, second] = fields[..] else {
            continue;
        };
        let Ok(second) = second.parse() else {
            continue; // the test harness's own output, or torn
        };
        let key = key.rsplit_once(' ').map_or(key, |(_, key)| key).to_owned();
        let first = first.parse().unwrap();
        acknowledged.insert((key.clone(), one.parse().unwrap()), (first, 2));
        acknowledged.insert((key, other.parse().unwrap()), (second, 1));
    }
}

fn check(dir: &Path, acknowledged: &HashMap<(String, u32), (u64, u64)>) {
    let client = Client::open(victim_config(dir)).unwrap();
    if client.topics().unwrap().is_empty() {
        assert!(acknowledged.is_empty());
        return;
    }
    let mut found: HashMap<(String, u32), (u64, u64)> = HashMap::new();
    for partition in 0..PARTITIONS {
        let records = read_all(&client, "t", partition, Offset::ZERO);
        for (expected, (offset, value)) in (0..).zip(records) {
            assert_eq!(offset, expected, "the offsets are dense");
            let end = value.iter().position(|byte| *byte == b'|').unwrap();
            let key = String::from_utf8(value[..end].to_vec()).unwrap();
            found.entry((key, partition)).or_insert((offset, 0)).1 += 1;
        }
    }
    for (key, at) in acknowledged {
        assert_eq!(found.get(key), Some(at), "{key:?} was acknowledged");
    }
    for ((key, partition), (_, count)) in &found {
        // Each append is there whole, in both of its partitions, and once.
        let thread: u32 = key.split('/').nth(1).unwrap().parse().unwrap();
        let expected = if *partition == thread % PARTITIONS {
            2
        } else {
            1
        };
        assert_eq!(*count, expected, "{key} in {partition}");
        let other = if expected == 2 { thread + 1 } else { thread } % PARTITIONS;
        assert!(
            found.contains_key(&(key.clone(), other)),
            "{key} is in both partitions"
        );
    }
    assert_eq!(client.gaps("t").unwrap(), []);
    client.close().unwrap();
    let report = verify(dir, &mut |_| ()).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(find(dir, "damaged"), [] as [std::path::PathBuf; 0]);
}

/// A number below `limit` for each kill, the same for the same seed.
fn random(seed: u64, kill: u64, limit: u64) -> u64 {
    let bytes = noise(seed.wrapping_add(kill), 8);
    u64::from_le_bytes(bytes.try_into().unwrap()) % limit
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let seed = seed();
    let kills = setting("BEKK_KILLS", 30);
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = HashMap::new();
    for kill in 0..kills {
        // Some die while they start, some after they have rolled a few segments.
        let (since, limit) = match kill % 3 {
            0 => (Since::Start, 60),
            _ => (Since::FirstAppend, 400),
        };
        let life = Duration::from_millis(random(seed, kill, limit));
        kill_one(dir.path(), (since, life), &mut acknowledged);
        if kill % 5 == 4 {
            check(dir.path(), &acknowledged);
        }
    }
    assert!(acknowledged.len() > 100, "the victims got something done");
    // A victim may die before its segments are sealed.
    let client = Client::open(victim_config(dir.path())).unwrap();
    wait_until("segments are sealed", MINUTE, || {
        let segments = client.segments("t").unwrap();
        segments.iter().filter(|s| s.sealed_at_ms.is_some()).count() > 3
    });
}

#[test]
fn a_log_that_was_killed_while_it_was_made_opens() {
    let seed = seed();
    for kill in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged = HashMap::new();
        let life = Duration::from_millis(random(seed, kill, 200));
        kill_one(dir.path(), (Since::Start, life), &mut acknowledged);
        check(dir.path(), &acknowledged);
        // And it continues.
        let client = Client::open(victim_config(dir.path())).unwrap();
        topic(&client, "u", 1);
        client.append(None, "u", &[(0, &buffer(["a"]))]).unwrap();
    }
}

#[test]
fn a_killed_holder_frees_the_directory_and_a_living_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(victim.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("1/") && !line.contains(" 1/") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0);
    }
    let error = Client::open(victim_config(dir.path())).unwrap_err();
    assert_matches!(error, Error::Locked { .. });
    victim.kill().unwrap();
    victim.wait().unwrap();
    let begun = Instant::now();
    Client::open(victim_config(dir.path())).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}
