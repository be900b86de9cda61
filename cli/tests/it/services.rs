//! Log, ingest and sinks as processes of their own.

use std::fs;
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use bekk_postgres::Server;
use bekk_testing::{seed, setting};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;

use crate::events::EventsFile;
use crate::exact::{check_audit, check_everything};
use crate::support::{Process, Sandbox, wait_until};
use crate::trickle::Writer;

const KILLS_DEFAULT: u32 = 12;
const RECORDS_PER_KILL: usize = 6_000;
const LONG: Duration = Duration::from_secs(60);

/// Random files, their texts given to a writer beside the test.
fn begin(sandbox: &Sandbox, rounds: u32) -> (Vec<EventsFile>, Writer, ChaCha8Rng) {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let files: Vec<_> = (0..rounds)
        .map(|_| EventsFile::random(&mut rng, RECORDS_PER_KILL))
        .collect();
    let texts = files.iter().map(|file| file.text.clone()).collect();
    let writer = Writer::start(sandbox.path("data"), texts, rng.random());
    (files, writer, rng)
}

fn kills() -> u32 {
    setting("BEKK_SERVICE_KILLS", KILLS_DEFAULT)
}

/// How many records the sink group has applied.
fn applied(sandbox: &Sandbox) -> u64 {
    sandbox
        .postgres()
        .try_rows("SELECT coalesce(sum(next), 0)::bigint FROM bekk.offsets")
        .map_or(0, |rows| rows[0][0].parse().unwrap())
}

/// A port that is free now, for a server that is started again and again.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The accident: log, ingest and sink run as services, and while files grow each of them is killed with -9
/// and started again, alone or together with others. Each record is in the log once, and the table equals the
/// files.
#[test]
fn services_are_exact_whichever_is_killed() {
    let server = Server::temporary_with(&[("fsync", "off")]).unwrap();
    let sandbox = Sandbox::on(&server);
    let (files, writer, mut rng) = begin(&sandbox, kills());
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("kafka://{address}");
    let commands = [
        vec!["log", "serve", "--listen", &address, "--http", "off"],
        vec!["ingest", "--log", &url, "--http", "off"],
        vec!["sink", "--log", &url, "--http", "off"],
    ];
    let start = |which: usize| Some(sandbox.start(&commands[which]));
    let mut running: Vec<Option<Process>> = (0..commands.len()).map(start).collect();
    for _ in 0..kills() {
        writer.allow_file();
        thread::sleep(Duration::from_millis(rng.random_range(100..1_500)));
        // One, two or all of them: a set of three bits that is not empty.
        let killed: u32 = rng.random_range(1..8);
        for (which, slot) in running.iter_mut().enumerate() {
            if killed & (1 << which) != 0 {
                slot.take().unwrap().kill();
            }
        }
        thread::sleep(Duration::from_millis(rng.random_range(0..300)));
        for (which, slot) in running.iter_mut().enumerate() {
            if slot.is_none() {
                *slot = start(which);
            }
        }
    }
    writer.join();
    let records: usize = files.iter().map(EventsFile::records).sum();
    wait_until("all is applied", LONG * 2, || {
        applied(&sandbox) >= records as u64
    });
    for process in running.into_iter().rev().flatten() {
        assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
    }
    check_everything(&sandbox, &files);
}

/// The accident: `bekk ingest` in one terminal and `bekk sink` in the other share a log's directory, and whoever
/// owns the log is killed with -9 while files grow; the other takes over within two seconds, and the killed one
/// comes back as its guest.
#[test]
fn a_guest_takes_over_from_an_owner_that_is_killed() {
    let server = Server::temporary_with(&[("fsync", "off")]).unwrap();
    let sandbox = Sandbox::on(&server);
    let (files, writer, mut rng) = begin(&sandbox, kills());
    let commands = [["ingest", "--http", "off"], ["sink", "--http", "off"]];
    let owner = || {
        let text = fs::read_to_string(sandbox.log_dir().join("owner")).ok()?;
        let pid = text.lines().find_map(|line| line.strip_prefix("pid "))?;
        pid.parse::<u32>().ok()
    };
    let mut running = commands.map(|command| sandbox.start(&command));
    let mut slowest = Duration::ZERO;
    for _ in 0..kills() {
        writer.allow_file();
        wait_until("somebody owns the log", LONG, || owner().is_some());
        let before = applied(&sandbox);
        wait_until("rows flow", LONG, || applied(&sandbox) > before);
        thread::sleep(Duration::from_millis(rng.random_range(0..700)));
        let pid = owner().unwrap();
        let which = running.iter().position(|process| process.id() == pid);
        let which = which.expect("one of the two owns the log");
        let heir = running[1 - which].id();
        running[which].signal(Signal::KILL);
        let died = Instant::now();
        wait_until("the guest takes over", LONG, || owner() == Some(heir));
        println!(
            "{} succeeds {pid} after {:?}",
            commands[1 - which][0],
            died.elapsed()
        );
        slowest = slowest.max(died.elapsed());
        running[which] = sandbox.start(&commands[which]);
    }
    writer.join();
    let records: usize = files.iter().map(EventsFile::records).sum();
    wait_until("all is applied", LONG * 2, || {
        applied(&sandbox) >= records as u64
    });
    println!("the slowest take-over took {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    for process in running {
        assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
    }
    check_everything(&sandbox, &files);
}

/// The accident: of three sinks one is stopped (SIGSTOP), its lease runs out, and when it wakes
/// it finds its partitions taken; then one is killed with -9. Each partition is in one sink at any time, those
/// of the killed one are taken at once, and the table equals the files.
#[test]
fn sinks_share_the_partitions_and_take_over_from_each_other() {
    let server = Server::temporary_with(&[("fsync", "off")]).unwrap();
    let sandbox = Sandbox::on(&server);
    let (files, writer, _) = begin(&sandbox, 3);
    let log = sandbox.start("log serve --listen 127.0.0.1:0 --http off");
    let ingest = sandbox.start("ingest --http off");
    let sink = || sandbox.start("sink --http off");
    let postgres = sandbox.postgres();
    // How many partitions each live owner of leases holds, in falling order.
    let shares = || {
        let rows = postgres.try_rows(
            "SELECT count(*) FROM bekk.offsets WHERE owner IS NOT NULL AND lease_until > now() \
             GROUP BY owner ORDER BY 1 DESC",
        );
        rows.unwrap_or_default()
            .iter()
            .map(|row| row[0].parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    let mut sinks = vec![sink()];
    writer.allow_file();
    wait_until("one has all", LONG, || shares() == [4]);
    sinks.push(sink());
    wait_until("two have two each", LONG, || shares() == [2, 2]);
    sinks.push(sink());
    wait_until("three have their share", LONG, || shares() == [2, 1, 1]);

    let stopped = sinks.remove(0);
    stopped.signal(Signal::STOP);
    let began = Instant::now();
    writer.allow_file();
    wait_until("the others have taken over", LONG, || shares() == [2, 2]);
    let took = began.elapsed();
    println!("what the stopped sink had was taken after {took:?}");
    assert!(took < Duration::from_secs(16), "{took:?}");
    stopped.signal(Signal::CONT);
    wait_until("it has its share again", LONG, || shares() == [2, 1, 1]);

    writer.allow_file();
    sinks.remove(0).kill();
    let began = Instant::now();
    wait_until("its partitions are taken", LONG, || shares() == [2, 2]);
    let took = began.elapsed();
    println!("what the killed sink had was taken after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");

    writer.join();
    let records: usize = files.iter().map(EventsFile::records).sum();
    wait_until("all is applied", LONG * 2, || {
        applied(&sandbox) >= records as u64
    });
    for process in sinks.into_iter().chain([stopped, ingest, log]) {
        assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
    }
    check_everything(&sandbox, &files);
}

/// Two ingests, each with an inbox of its own, append to one log at the same time; one sink applies it all.
#[test]
fn several_ingests_append_to_one_log() {
    const ROWS: u64 = 3_000;
    let sandbox = Sandbox::new();
    let log_dir = sandbox.log_dir();
    let log = log_dir.to_str().unwrap();
    let mut ingests = Vec::new();
    for (seed, place) in ["north", "south"].iter().enumerate() {
        fs::create_dir_all(sandbox.path(place).join("data")).unwrap();
        let config = format!("{place}/bekk.toml");
        sandbox.write(&config, include_str!("../../../bekk.toml"));
        let (rows, seed) = (ROWS.to_string(), seed.to_string());
        let out = format!("{place}/data");
        let generate = [
            "generate", "--rows", &rows, "--files", "3", "--seed", &seed, "--out", &out,
        ];
        sandbox.ok(&generate);
        let ingest = ["ingest", "--config", &config, "--log", log, "--http", "off"];
        ingests.push(sandbox.start(&ingest));
    }
    let sink = sandbox.start("sink --http off");
    wait_until("all is applied", LONG, || applied(&sandbox) >= 2 * ROWS);
    let read = sandbox.ok("log read --format json").stdout;
    let places: std::collections::HashSet<String> = read
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", record["file"], record["line"])
        })
        .collect();
    assert_eq!(
        places.len() as u64,
        2 * ROWS,
        "each line of each file is in the log once"
    );
    let audit = check_audit(&sandbox);
    assert_eq!(audit["deep"]["records"], 2 * ROWS, "{audit:#}");
    for process in ingests.into_iter().chain([sink]) {
        assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
    }
}
