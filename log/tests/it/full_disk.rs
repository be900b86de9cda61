//! The disk fills up while the log writes. It is a small file system that only the process of one test sees: the test
//! binary itself, which runs one scenario in it.

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use bekk_log::{
    Client, Durability, Error, Full, INODES_RESERVE, RemoteConfig, ServeConfig, Server,
};
use bekk_testing::{MINUTE, assert_matches, wait_until};

use crate::served::{Served, batch};
use crate::support::{append, buffer, config, noise, topic};

const SCENARIO: &str = "BEKK_LOG_FULL_DISK";
/// How long the log believes what it last saw of the disk
const BELIEVED: Duration = Duration::from_millis(200);
/// Size of the file system
const SIZE: &str = "40m";
/// Files that it can have
const INODES: usize = 1_000;
/// Bytes that fjall holds in memory before it writes a table
const MEMTABLE_BYTES: usize = 8 << 20;

/// Not a test of its own: one scenario on the small file system. Without the variable it does nothing.
#[test]
fn victim() {
    let (Some(scenario), Ok(dir)) = (env::var_os(SCENARIO), env::current_dir()) else {
        return;
    };
    match scenario.to_str().unwrap() {
        "append" => an_append_fills_the_disk(&dir),
        "table" => a_table_fills_the_disk(&dir),
        "delete" => a_topic_is_not_deleted(&dir),
        "inodes" => the_inodes_run_out(&dir),
        other => panic!("{other}"),
    }
    println!("done");
}

#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
fn run(scenario: &str) {
    let dir = tempfile::tempdir().unwrap();
    let namespace: &[&str] = if rustix::process::geteuid().is_root() {
        &["--mount"]
    } else {
        &["--mount", "--user", "--map-root-user"]
    };
    let script = format!(
        "mount -t tmpfs -o size={SIZE},nr_inodes={INODES} tmpfs . || {{ echo unmountable; exit; }}; cd \"$PWD\" && exec \"$0\" \"$@\""
    );
    let output = Command::new("unshare")
        .args(namespace)
        .args(["sh", "-c", &script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "full_disk::victim", "--nocapture"])
        .env(SCENARIO, scenario)
        .env("TMPDIR", dir.path())
        .current_dir(dir.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    if told.contains("unmountable") {
        println!("SKIPPED: a file system cannot be mounted in a namespace of its own here");
        return;
    }
    let is_done = output.status.success() && told.contains("done");
    assert!(is_done, "{told}{error}");
}

/// A file that takes space of the disk.
struct Ballast(PathBuf);

impl Ballast {
    /// Leaves so many bytes free.
    fn leaving(dir: &Path, free: usize) -> Self {
        let path = dir.join("ballast");
        loop {
            let mut file = File::create(&path).unwrap();
            let stat = rustix::fs::statvfs(dir).unwrap();
            let left = usize::try_from(stat.f_bavail * stat.f_frsize).unwrap();
            match file.write_all(&vec![1; left.saturating_sub(free)]) {
                Ok(()) => return Self(path),
                // The log has written to its own files meanwhile.
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::StorageFull),
            }
        }
    }

    fn remove(self) {
        std::fs::remove_file(self.0).unwrap();
    }
}

fn open(dir: &Path) -> Client {
    let mut config = config(&dir.join("log"));
    config.durability = Durability::Os;
    Client::open(config).unwrap()
}

/// The disk fills up between the look at it and the write of a client's records. That is no reason to end the server: the
/// log is opened again.
fn an_append_fills_the_disk(dir: &Path) {
    let client = open(dir);
    topic(&client, "t", 1);
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(client.clone(), ServeConfig::new(listen)).unwrap();
    let remote = RemoteConfig::new(server.local_addr().to_string());
    let remote = Client::connect(remote, MINUTE).unwrap();
    append(&remote, 0, ["first"]);
    let ballast = Ballast::leaving(dir, 100_000);
    let refused = thread::scope(|scope| {
        let append = scope.spawn(|| remote.append(None, "t", &[(0, &buffer([noise(1, 500_000)]))]));
        wait_until("the write fails", MINUTE, || {
            client.failed_write().is_some()
        });
        remote.give_up();
        append.join().unwrap()
    });
    assert_matches!(refused, Err(Error::Away { .. }));
    check_full(&client);
    ballast.remove();
    drop(remote);
    server.stop();
    assert!(client.close().is_err());
    check_takes_more(dir);
}

/// fjall writes a table on a thread of its own, and reports only that it failed. The disk is full all the same.
fn a_table_fills_the_disk(dir: &Path) {
    let client = open(dir);
    topic(&client, "t", 1);
    // Room for the journal, and not for the table.
    let ballast = Ballast::leaving(dir, MEMTABLE_BYTES * 3 / 2);
    let append = |seed, bytes| client.append(None, "t", &[(0, &buffer([noise(seed, bytes)]))]);
    for seed in 0..9 {
        append(seed, 1_000_000).unwrap();
    }
    let mut seed = 9;
    wait_until("an append fails", MINUTE, || {
        seed += 1;
        thread::sleep(Duration::from_millis(10));
        append(seed, 100).is_err()
    });
    check_full(&client);
    ballast.remove();
    assert!(client.close().is_err());
    check_takes_more(dir);
}

/// The deletion of a topic cannot be written down. The topic is used as before, and deleted once there is space.
fn a_topic_is_not_deleted(dir: &Path) {
    let served = Served::of_log(|config| config.reserve_bytes = 0);
    let mut connection = served.connect();
    assert_eq!(connection.produce(7, batch(None, 0, 1)), (0, 0));
    let ballast = Ballast::leaving(dir, 1_000_000);
    thread::sleep(BELIEVED);
    assert_eq!(connection.delete_topic(1, "t"), 56);
    assert_eq!(connection.produce(7, batch(None, 0, 1)), (0, 1));
    ballast.remove();
    wait_until("the topic is deleted", MINUTE, || {
        connection.delete_topic(1, "t") == 0
    });
}

/// Other programs have used up the inodes. The disk has free bytes, but no segment and no table can be made: appends wait,
/// before one of them fails, and continue when there are inodes again.
fn the_inodes_run_out(dir: &Path) {
    let client = open(dir);
    topic(&client, "t", 1);
    let append = || client.append(None, "t", &[(0, &buffer(["a"]))]);
    append().unwrap();
    let others = dir.join("others");
    std::fs::create_dir(&others).unwrap();
    let mut number = 0;
    while File::create(others.join(number.to_string())).is_ok() {
        number += 1;
    }
    thread::sleep(BELIEVED);
    let refused = append().unwrap_err();
    assert!(
        refused.is_retriable() && refused.full() == Some(Full::Inodes),
        "{refused}"
    );
    assert!(client.failed_write().is_none());
    // Some are in reserve.
    for number in 0..INODES_RESERVE - 1 {
        std::fs::remove_file(others.join(number.to_string())).unwrap();
    }
    thread::sleep(BELIEVED);
    assert!(append().is_err());
    std::fs::remove_dir_all(others).unwrap();
    wait_until("there are inodes again", MINUTE, || append().is_ok());
    client.close().unwrap();
}

fn check_full(client: &Client) {
    let failed = client.failed_write();
    assert!(
        failed.as_ref().is_some_and(Error::needs_reopening),
        "{failed:?}"
    );
}

fn check_takes_more(dir: &Path) {
    let client = open(dir);
    append(&client, 0, ["more"]);
    client.close().unwrap();
}

#[test]
fn a_topic_whose_deletion_fails_is_used_as_before() {
    run("delete");
}

#[test]
fn an_append_that_fills_the_disk_asks_for_a_reopening() {
    run("append");
}

#[test]
fn a_table_that_fills_the_disk_asks_for_a_reopening() {
    run("table");
}

#[test]
fn a_log_without_free_inodes_waits() {
    run("inodes");
}
