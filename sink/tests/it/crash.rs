//! Accidents: the server is killed, the sink is killed, a connection is cut at the worst moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bekk_log::Client;
use bekk_postgres::Server;
use bekk_sink::{Config, ConnectOptions, Control, SslMode, State, Stats};
use bekk_stream::{Stream, Value};
use rand::Rng;

use crate::harness::{
    Db, Log, PATIENCE, StopOnDrop, assert_exact, drain_with, opened, rng, run, shared_server,
    stream_of, text, until,
};

fn numbers(partitions: u32) -> Stream {
    let mut stream = stream_of("numbers", "id int8, filler text");
    stream.partitions = partitions;
    stream
}

/// Rows of one partition; every tenth comes twice.
fn append(log: &Log, stream: &Stream, partition: u32, ids: std::ops::Range<i64>) {
    let rows: Vec<_> = ids
        .flat_map(|id| std::iter::repeat_n(id, if id % 10 == 0 { 2 } else { 1 }))
        .map(|id| {
            vec![
                Value::Int(id * 10 + i64::from(partition)),
                text("some bytes to carry"),
            ]
        })
        .collect();
    log.append(stream, partition, &rows);
}

/// The server is killed and started again while the sink applies. The sink waits, says so, and continues;
/// nothing is lost or counted twice.
#[test]
fn the_server_is_killed_under_load() {
    let server = Server::temporary().unwrap();
    let db = Db::on(&server);
    let log = Log::new();
    let stream = numbers(2);
    log.open_stream(&stream);
    let (stats, control) = (Stats::default(), Control::new());
    let mut config = Config::new(db.options.clone());
    config.batch_records_max = 500;
    let mut rng = rng();
    let mut waited = false;
    let rounds = 5;
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&control);
        let sink = scope.spawn(|| run(&config, &log, &stream, &stats, &control));
        for round in 0..rounds {
            for partition in 0..2 {
                append(
                    &log,
                    &stream,
                    partition,
                    round * 10_000..round * 10_000 + 10_000,
                );
            }
            std::thread::sleep(Duration::from_millis(rng.random_range(5..300)));
            server.kill();
            until("the sink waits", || {
                matches!(stats.state(), State::Waiting(_)) || stats.lag() == 0
            });
            waited |= matches!(stats.state(), State::Waiting(_));
            server.restart().unwrap();
            until("all is applied", || stats.lag() == 0);
        }
        control.drain();
        let summary = sink.join().unwrap().unwrap();
        assert_eq!((summary.rows, summary.superseded), (100_000, 10_000));
    });
    assert!(waited, "the server was never away while there was work");
    let db = Db::connect(db.options.clone());
    let deep = assert_exact(&db, &log.client, "bekk", &stream);
    assert_eq!((deep.records, deep.rows), (110_000, 100_000));
}

/// The connection breaks just before COMMIT reaches the server, or just before its answer reaches us. The
/// sink believes the offset that it finds.
#[test]
fn a_commit_in_doubt_is_settled_by_the_offset() {
    let (db, log, stream) = opened(numbers(1));
    append(&log, &stream, 0, 0..1_000);
    let cuts = AtomicU32::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = db.options.clone();
    options.host = "127.0.0.1".to_owned();
    options.port = listener.local_addr().unwrap().port();
    options.sslmode = SslMode::Disable;
    let upstream = (shared_server().host().to_owned(), shared_server().port());
    std::thread::spawn({
        let cuts: &'static AtomicU32 = Box::leak(Box::new(cuts));
        CUTS.set(cuts).unwrap();
        move || {
            for client in listener.incoming() {
                proxy(
                    client.unwrap(),
                    TcpStream::connect(&upstream).unwrap(),
                    cuts,
                );
            }
        }
    });
    let mut config = Config::new(options);
    config.batch_records_max = 50;
    config.connections = 1;
    let summary = drain_with(&config, &log, &stream).unwrap();
    assert_eq!(
        (summary.rows, summary.superseded, summary.records),
        (1_000, 100, 1_100)
    );
    let deep = assert_exact(&db, &log.client, "bekk", &stream);
    assert_eq!((deep.records, deep.rows), (1_100, 1_000));
    let cut = CUTS.get().unwrap().load(Ordering::Relaxed);
    assert!(cut >= 6, "only {cut} connections were cut");
}

static CUTS: std::sync::OnceLock<&'static AtomicU32> = std::sync::OnceLock::new();

/// Hands bytes on; of the COMMITs that pass, each third cuts the connection: in turns before the server
/// has it, and when the server has answered.
fn proxy(client: TcpStream, server: TcpStream, cuts: &'static AtomicU32) {
    static COMMITS: AtomicU32 = AtomicU32::new(0);
    let (mut from_client, mut to_server) =
        (client.try_clone().unwrap(), server.try_clone().unwrap());
    let cutting = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let cut_answer = std::sync::Arc::clone(&cutting);
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(read @ 1..) = from_client.read(&mut buffer) {
            let bytes = &buffer[..read];
            // A simple query: Q, length, text, NUL.
            if bytes.ends_with(b"; COMMIT\0") && COMMITS.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
                if cuts.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                    break;
                }
                cutting.store(true, Ordering::Release);
            }
            if to_server.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = from_client.shutdown(Shutdown::Both);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let (mut from_server, mut to_client) = (server, client);
        let mut buffer = [0; 65_536];
        while let Ok(read @ 1..) = from_server.read(&mut buffer) {
            if cut_answer.load(Ordering::Acquire) || to_client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = from_server.shutdown(Shutdown::Both);
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

const CHILD_LOG: &str = "BEKK_TEST_CHILD_LOG";
const CHILD_POSTGRES: &str = "BEKK_TEST_CHILD_POSTGRES";

/// The sink that [`the_sink_is_killed`] starts and kills; does nothing as a test of its own.
#[test]
fn child_process() {
    let (Ok(dir), Ok(postgres)) = (std::env::var(CHILD_LOG), std::env::var(CHILD_POSTGRES)) else {
        return;
    };
    let log = Client::open(bekk_log::Config::new(dir.into())).unwrap();
    let mut config = Config::new(postgres.parse::<ConnectOptions>().unwrap());
    config.batch_records_max = 2_000;
    let control = Control::new();
    control.drain();
    bekk_sink::run(&config, &[numbers(3)], &log, &Stats::default(), &control).unwrap();
}

fn start_child(dir: &std::path::Path, url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_process", "--nocapture"])
        .env(CHILD_LOG, dir)
        .env(CHILD_POSTGRES, url)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The sink is killed at any moment, some times with a COPY in flight, and started again at once.
#[test]
fn the_sink_is_killed() {
    const KILLS: u32 = 12;
    let db = Db::new();
    let log = Log::new();
    let stream = numbers(3);
    log.open_stream(&stream);
    for partition in 0..3 {
        for start in 0..20 {
            append(
                &log,
                &stream,
                partition,
                start * 3_000..start * 3_000 + 3_000,
            );
        }
    }
    let dir = log.close();
    let url = shared_server().url().replace(
        &format!("/{}?", shared_server().database()),
        &format!("/{}?", db.options.dbname.as_ref().unwrap()),
    );
    let mut rng = rng();
    let mut in_copy = 0;
    for kill in 0..KILLS {
        let mut child = start_child(&dir.path(), &url);
        if kill % 3 == 0 {
            let copying =
                "SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database()";
            let begun = std::time::Instant::now();
            while db.one(copying) == "0" && child.try_wait().unwrap().is_none() {
                assert!(begun.elapsed() < PATIENCE, "no COPY was seen");
            }
            in_copy += u32::from(child.try_wait().unwrap().is_none());
        } else {
            std::thread::sleep(Duration::from_millis(rng.random_range(0..250)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let begun = std::time::Instant::now();
    assert!(start_child(&dir.path(), &url).wait().unwrap().success());
    println!(
        "{in_copy} of {KILLS} kills with a COPY in flight; the last run took {:?}",
        begun.elapsed()
    );
    assert!(in_copy >= 2, "{in_copy} kills with a COPY in flight");
    let log = Client::open(bekk_log::Config::new(dir.path())).unwrap();
    let deep = assert_exact(&db, &log, "bekk", &stream);
    assert_eq!((deep.records, deep.rows), (198_000, 180_000));
}
