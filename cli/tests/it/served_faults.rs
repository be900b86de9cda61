//! A fault at every request that an ingest and a sink make of a served log, and at every answer, one at a time. After
//! each of them log, table, offsets, counts and dead letters are exact, and both continued by themselves.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bekk_log::{Client, RemoteConfig, ServeConfig, Server};
use bekk_sink::{ConnectOptions, Control};
use bekk_stream::Stream;
use bekk_testing::{MINUTE, wait_until};
use tempfile::TempDir;

use crate::kafka_proxy::{Fault, KafkaProxy, Kind, Place};
use crate::support::Sandbox;

/// Set: all faults at all requests, which takes minutes.
const ALL: &str = "BEKK_TEST_ALL_FAULTS";
/// Sets the one case that is run, as it is printed.
const ONE: &str = "BEKK_TEST_FAULT";
/// How long a client waits for an answer, and how long the proxy holds one back.
const TIMEOUT_MS: u32 = 1_000;
const STALL: Duration = Duration::from_millis(1_300);
/// Number of requests of a kind at which a fault strikes. A client asks for records and their ends over and over.
const NUMBERS_MAX: u32 = 8;
/// APIs about servers: metadata, coordinators, versions. Left out of the short form.
const ABOUT_SERVERS: [i16; 3] = [3, 10, 18];
/// Number of runs at the same time: they wait most of their time.
const THREADS: usize = 4;

/// New keys, repeated keys, a record that is rejected and a row that the table refuses.
const FILE: &str = "id,name\n1,a\n2,b\n3,c\nx,none\n1,d\n13,refused\n4,e\n5,f\n5,g\n6,h\n";
const RECORDS: u64 = 10;
const ROWS: &str = "1:d 2:b 3:c 4:e 5:g 6:h";

fn stream(dir: &Path, table: &str) -> Stream {
    let text = format!(
        "[streams.items]\nfiles = [\"*.csv\"]\ntable = \"{table}\"\nkey = [\"id\"]\npartitions = 2\n\
         columns = [{{ name = \"id\", type = \"int8\" }}, {{ name = \"name\", type = \"text\" }}]\n"
    );
    let config = bekk_stream::Config::parse(&text, Path::new("bekk.toml"), dir, &|_| None);
    config.unwrap().streams.remove(0)
}

fn connect(address: SocketAddr) -> Client {
    let mut config = RemoteConfig::new(address.to_string());
    let timeout = TIMEOUT_MS.to_string();
    config
        .properties
        .insert("socket.timeout.ms".to_owned(), timeout);
    Client::connect(config, Duration::from_secs(20)).unwrap()
}

/// Moves a file through a served log into a table of its own, with one fault; returns the requests of each kind, and
/// whether the fault struck.
fn run(sandbox: &Sandbox, fault: Option<(Place, Fault)>) -> (BTreeMap<Kind, u32>, bool) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("items_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let postgres = sandbox.postgres();
    postgres.execute(&format!(
        "CREATE TABLE {name} (id bigint PRIMARY KEY CHECK (id <> 13), name text NOT NULL)"
    ));
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("a.csv"), FILE).unwrap();
    let stream = stream(dir.path(), &name);
    let mut config = bekk_log::Config::new(dir.path().join("log"));
    config.durability = bekk_log::Durability::Os;
    let owner = Client::open(config).unwrap();
    let (proxy, server_address) = KafkaProxy::new(STALL);
    let mut serve = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    serve.advertise = Some(("127.0.0.1".to_owned(), proxy.address.port()));
    let server = Server::start(owner.clone(), serve).unwrap();
    server_address.send(server.local_addr()).unwrap();
    proxy.set(fault.clone());

    let streams = std::slice::from_ref(&stream);
    let log = connect(proxy.address);
    let mut ingest = bekk_ingest::Config::new(dir.path().join("state"));
    ingest.mode = bekk_ingest::Mode::Once;
    let (stats, stop) = (bekk_ingest::Stats::default(), AtomicBool::new(false));
    let ingested = bekk_ingest::run(&ingest, streams, &log, &stats, &stop);
    ingested.unwrap_or_else(|error| panic!("ingest after {fault:?}: {error}"));
    drop(log);

    let log = connect(proxy.address);
    let options: ConnectOptions = sandbox.url.parse().unwrap();
    let mut sink = bekk_sink::Config::new(options.clone());
    sink.group.clone_from(&name);
    let control = Control::new();
    control.drain();
    let sunk = bekk_sink::run(&sink, streams, &log, &bekk_sink::Stats::default(), &control);
    sunk.unwrap_or_else(|error| panic!("sink after {fault:?}: {error}"));
    drop(log);
    let seen = proxy.seen();
    server.stop();

    // Asked of the log itself.
    let rows = format!("SELECT string_agg(id || ':' || name, ' ' ORDER BY id) FROM {name}");
    assert_eq!(postgres.one(&rows), ROWS, "{fault:?}");
    let counts = bekk_sink::audit_counts(&options, &owner, &name, &stream).unwrap();
    let is_done = counts.iter().all(|c| c.is_right() && c.waiting() == 0);
    assert!(is_done, "{fault:?}: {counts:?}");
    let deep = bekk_sink::audit_content(&options, &owner, &name, &stream, dir.path()).unwrap();
    assert!(deep.is_right(), "{fault:?}: {deep:?}");
    assert_eq!((deep.records, deep.dead), (RECORDS, 2), "{fault:?}");
    assert_eq!(deep.files.len(), 1, "{fault:?}: {deep:?}");
    seen
}

/// Whether a thread of this process still closes a client. One that hangs would never end, and librdkafka's thread beside
/// it would occupy a core.
fn is_closing() -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let mut names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    names.any(|name| name.is_ok_and(|name| name == "close\n"))
}

#[test]
fn every_request_of_a_served_log_may_fail() {
    let sandbox = Sandbox::new();
    let begun = Instant::now();
    // The first run makes Bekk's own schema.
    run(&sandbox, None);
    let (seen, _) = run(&sandbox, None);
    let places = seen.iter().flat_map(|(kind, count)| {
        (0..(*count).min(NUMBERS_MAX)).map(|number| Place {
            kind: kind.clone(),
            number,
        })
    });
    let is_all = std::env::var_os(ALL).is_some();
    let one = std::env::var(ONE).ok();
    let mut turn = Fault::ALL.iter().cycle();
    let mut cases: Vec<(Place, Fault)> = places
        .filter(|place| {
            is_all || one.is_some() || place.number == 0 && !ABOUT_SERVERS.contains(&place.kind.1)
        })
        .flat_map(|place| {
            let faults = match is_all || one.is_some() {
                true => Fault::ALL.to_vec(),
                false => vec![*turn.next().unwrap()],
            };
            faults.into_iter().map(move |fault| (place.clone(), fault))
        })
        .collect();
    if let Some(one) = &one {
        cases.retain(|(place, fault)| *one == format!("{place} {fault:?}"));
    }
    let (next, struck) = (
        AtomicUsize::new(0),
        Mutex::new(BTreeMap::<String, u32>::new()),
    );
    std::thread::scope(|scope| {
        println!("{} cases", cases.len());
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((place, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let (_, has_struck) = run(&sandbox, Some((place.clone(), *fault)));
                    println!("{place} {fault:?}: {has_struck}, {:?}", begun.elapsed());
                    if has_struck {
                        *struck
                            .lock()
                            .unwrap()
                            .entry(format!("{fault:?}"))
                            .or_default() += 1;
                    }
                }
            });
        }
    });
    wait_until("all clients are closed", MINUTE, || !is_closing());
    let struck = struck.into_inner().unwrap();
    println!(
        "{struck:?} of {} cases at {seen:?} in {:?}",
        cases.len(),
        begun.elapsed()
    );
    if one.is_some() {
        return;
    }
    assert_eq!(struck.len(), Fault::ALL.len(), "{struck:?}");
    // A client that is faster or slower asks more or less often.
    assert!(
        struck.values().sum::<u32>() as usize * 3 >= cases.len() * 2,
        "{struck:?}"
    );
}
