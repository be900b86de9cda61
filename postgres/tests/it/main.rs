//! The server as its users see it, with real PostgreSQL and real kills.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use bekk_postgres::{Error, Options, Server, Stopped};
use bekk_testing::{MINUTE, assert_matches, assert_says, wait_until};

/// Runs one statement with `psql`, as the server's user.
fn query(server: &Server, sql: &str) -> String {
    let output = Command::new(server.binaries().program("psql"))
        .args(["-X", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-c", sql])
        .arg("-d")
        .arg(format!(
            "host={} port={} user={} dbname={} passfile={}",
            server.host(),
            server.port(),
            server.user(),
            server.database(),
            server.pgpass().display()
        ))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn directory(mode: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    directory
}

/// A directory that every user can reach, and options for a server in it.
fn options() -> (tempfile::TempDir, Options) {
    let directory = directory(0o755);
    let options = Options {
        directory: directory.path().join("postgres"),
        port: 0,
        ..Options::default()
    };
    (directory, options)
}

fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Another process that uses the server of a directory until it is killed or told to end.
struct Holder {
    child: Child,
    /// Kept open, for what it still says.
    stdout: Lines<BufReader<ChildStdout>>,
    /// The server's process id, as the holder sees it.
    server: u32,
}

impl Holder {
    fn begin(options: &Options) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["holder", "--exact", "--nocapture"])
            .env("BEKK_TEST_HOLD", &options.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let server = stdout
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("server=")?.1.parse().ok())
            .unwrap();
        Self {
            child,
            stdout,
            server,
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.stdout.any(|line| line.unwrap().contains("ok")));
        assert!(self.child.wait().unwrap().success());
    }
}

/// What a [`Holder`] runs; without its variable, nothing.
#[test]
fn holder() {
    let Some(directory) = std::env::var_os("BEKK_TEST_HOLD") else {
        return;
    };
    let server = Server::start(&Options {
        directory: directory.into(),
        port: 0,
        ..Options::default()
    })
    .unwrap();
    println!("\nserver={}", server.pid().unwrap());
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

#[test]
fn starts_stops_and_finds_its_data_again() {
    let (_directory, options) = options();
    let server = Server::start(&options).unwrap();
    assert!(server.started());
    assert_eq!(server.database(), "ecommerce_db");
    assert_eq!(
        query(&server, "SELECT current_user || ' ' || current_database()"),
        "bekk ecommerce_db"
    );
    assert_eq!(query(&server, "SHOW server_encoding"), "UTF8");
    assert_eq!(query(&server, "SHOW fsync"), "on");
    assert_eq!(query(&server, "SHOW listen_addresses"), "127.0.0.1");
    query(&server, "CREATE TABLE t AS SELECT 7 AS n");
    let (port, password) = (server.port(), server.password().to_owned());
    assert_eq!(server.stop().unwrap(), Stopped::Yes);
    assert!(Server::find(&options).unwrap().is_none());

    let begin = Instant::now();
    let server = Server::start(&options).unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(query(&server, "SELECT n FROM t"), "7");
    assert_eq!(server.port(), port, "the port is remembered");
    assert_eq!(server.password(), password);

    // A second user in the same process: it runs on until both have left.
    let second = Server::find(&options).unwrap().unwrap();
    assert!(!second.started());
    assert_eq!(server.stop().unwrap(), Stopped::StillUsed);
    assert_eq!(query(&second, "SELECT n FROM t"), "7");
    assert_eq!(second.stop().unwrap(), Stopped::Yes);
}

/// `bekk up` starts the server, `bekk psql` uses it, and `bekk up` is killed with -9: the server stays
/// for the one and goes after it.
#[test]
fn lives_until_its_last_user_however_that_ends() {
    let (_directory, options) = options();
    let first = Holder::begin(&options);
    let second = Holder::begin(&options);
    let (pid, third) = (first.server, Server::start(&options).unwrap());
    assert_eq!((second.server, third.pid()), (pid, Some(pid)));
    assert!(!third.started());

    first.kill();
    second.end();
    assert_eq!(query(&third, "SELECT 1"), "1");
    assert_eq!(third.pid(), Some(pid));
    drop(third);
    wait_until("stopped after the last", MINUTE, || !is_alive(pid));

    // The last user itself is killed.
    let only = Holder::begin(&options);
    let pid = only.server;
    only.kill();
    wait_until("stopped after kill -9", MINUTE, || !is_alive(pid));

    // Killed, and started again at once, while the watcher stops the old one.
    for _ in 0..5 {
        let holder = Holder::begin(&options);
        holder.kill();
        let server = Server::start(&options).unwrap();
        assert_eq!(query(&server, "SELECT 1"), "1");
    }
}

/// Killed at any moment of its start, the making of the cluster included, and with the server as well:
/// the next start works.
#[test]
fn a_start_killed_at_any_moment_leaves_nothing_in_the_way() {
    for round in 0..6u64 {
        let (_directory, options) = options();
        for attempt in 0..3u64 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["holder", "--exact", "--nocapture"])
                .env("BEKK_TEST_HOLD", &options.directory)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // Spread over what a first start takes, and then over the start of what is made.
            let moment = if attempt == 0 {
                round * 140
            } else {
                round * 30 + 5
            };
            std::thread::sleep(Duration::from_millis(moment));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let server = Server::start(&options).unwrap();
        assert_eq!(query(&server, "SELECT 1"), "1", "round {round}");
        query(&server, "CREATE TABLE t AS SELECT 7 AS n");
        server.kill();
        drop(server);
        let server = Server::start(&options).unwrap();
        assert_eq!(query(&server, "SELECT n FROM t"), "7", "round {round}");
    }
}

/// The machine loses power, or someone kills everything: `postmaster.pid` stays behind, and its number
/// may by now be another process's.
#[test]
fn starts_over_what_a_kill_left() {
    let (_directory, options) = options();
    let server = Server::start(&options).unwrap();
    query(&server, "CREATE TABLE t AS SELECT 7 AS n");
    server.kill();
    assert_eq!(server.pid(), None);
    let file = server.data_dir().join("postmaster.pid");
    assert!(file.exists());
    drop(server);
    let server = Server::start(&options).unwrap();
    assert_eq!(query(&server, "SELECT n FROM t"), "7");

    server.kill();
    let left = fs::read_to_string(&file).unwrap();
    let (_, rest) = left.split_once('\n').unwrap();
    // Ourselves: alive, but no server; also as seen by the server's user.
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(&file, format!("{}\n{rest}", other.id())).unwrap();
    drop(server);
    let server = Server::start(&options).unwrap();
    assert_eq!(query(&server, "SELECT n FROM t"), "7");
    assert!(is_alive(other.id()), "the other process is left alone");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn ensure_running_brings_a_killed_server_back() {
    let (_directory, options) = options();
    let mut server = Server::start(&options).unwrap();
    let port = server.port();
    assert!(Server::runs(&options).unwrap());
    server.kill();
    assert!(!Server::runs(&options).unwrap());
    server.ensure_running().unwrap();
    assert_eq!(query(&server, "SELECT 1"), "1");
    assert_eq!(server.port(), port);
    server.ensure_running().unwrap();
    assert_eq!(query(&server, "SELECT 1"), "1");
}

#[test]
fn takes_the_next_port_when_the_wanted_one_is_taken() {
    let (_directory, mut options) = options();
    // Some port with a free one after it; others may take that, so only "greater" is asserted.
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    options.port = taken.local_addr().unwrap().port().min(65_000);
    let server = Server::start(&options).unwrap();
    let port = server.port();
    assert!(port > options.port, "{port}");
    drop(server);
    drop(taken);
    let server = Server::start(&options).unwrap();
    assert_eq!(
        server.port(),
        port,
        "the one it had, though the wanted one is free now"
    );
}

#[test]
fn takes_names_and_passwords_as_given() {
    let (_directory, mut options) = options();
    options.user = "Åse \"the:user\"".to_owned();
    options.database = "it's \\ a base".to_owned();
    options.password = Some("p:a\\s's \"w%ø\\'; DROP".to_owned());
    let connect = |server: &Server| {
        let output = Command::new(server.binaries().program("psql"))
            .args([
                "-X",
                "-A",
                "-t",
                "-w",
                "-c",
                "SELECT current_user",
                &server.url(),
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let server = Server::start(&options).unwrap();
    assert_eq!(connect(&server).trim_end(), options.user);
    assert!(!format!("{server:?} {options:?}").contains("DROP"));

    // Another password and database for a server that runs.
    options.password = Some("second".to_owned());
    options.database = "another".to_owned();
    let second = Server::start(&options).unwrap();
    assert_eq!(connect(&second).trim_end(), options.user);
    // Without one, the password it has is kept.
    options.password = None;
    assert_eq!(Server::start(&options).unwrap().password(), "second");

    options.user = "bekk_admin".to_owned();
    assert_matches!(Server::start(&options), Err(Error::ReservedName(_)));
    options.user = String::new();
    assert_matches!(Server::start(&options), Err(Error::BadSetting { .. }));
}

/// Whoever lists the processes, or the files, of this machine sees no password.
#[test]
fn passwords_are_not_for_others() {
    let (directory, mut options) = options();
    let secret = "a-secret-that-nobody-else-has";
    options.password = Some(secret.to_owned());
    let stop = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    for name in ["cmdline", "environ"] {
                        let text = fs::read(entry.path().join(name)).unwrap_or_default();
                        if String::from_utf8_lossy(&text).contains(secret) {
                            return Err(String::from_utf8_lossy(&text).into_owned());
                        }
                    }
                }
                looks += 1;
            }
            Ok(looks)
        });
        let server = Server::start(&options).unwrap();
        query(&server, "SELECT 1");
        let mut server_log = fs::read_to_string(server.log_file()).unwrap();
        server_log.retain(|c| c != '\0');
        assert!(!server_log.contains(secret), "{server_log}");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        looking.join().unwrap()
    });
    assert!(seen.unwrap() > 0);
    let mut checked = 0;
    for entry in fs::read_dir(&options.directory).unwrap().flatten() {
        let text = fs::read(entry.path()).unwrap_or_default();
        if String::from_utf8_lossy(&text).contains(secret) {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0);
            checked += 1;
        }
    }
    assert_eq!(checked, 1, "one file, pgpass, holds it");
    drop(directory);
}

#[test]
fn a_temporary_server_restarts_in_place_and_leaves_nothing() {
    let server = Server::temporary_with(&[("work_mem", "7MB")]).unwrap();
    assert_eq!(query(&server, "SHOW work_mem"), "7MB");
    let (url, data) = (server.url(), server.data_dir().to_owned());
    query(&server, "CREATE TABLE t AS SELECT 7 AS n");
    server.restart().unwrap();
    server.kill();
    server.restart().unwrap();
    assert_eq!(query(&server, "SELECT n FROM t"), "7");
    assert_eq!(query(&server, "SHOW work_mem"), "7MB");
    assert_eq!(server.url(), url);
    server.pause().unwrap();
    assert_eq!(server.pid(), None);
    server.restart().unwrap();
    let pid = server.pid().unwrap();
    drop(server);
    assert!(!data.exists());
    assert!(!is_alive(pid));
}

/// Root has made the directory where the user that the server must run as cannot go.
#[test]
fn finds_another_place_when_the_servers_user_cannot_reach_the_directory() {
    let closed = directory(0o700);
    if !fs::metadata(closed.path()).is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        return; // Only root starts servers as someone else.
    }
    let options = Options {
        directory: closed.path().join("postgres"),
        port: 0,
        ..Options::default()
    };
    let server = Server::start(&options).unwrap();
    let data = server.data_dir().to_owned();
    assert!(!data.starts_with(closed.path()), "{}", data.display());
    query(&server, "CREATE TABLE t AS SELECT 7 AS n");
    drop(server);
    let server = Server::start(&options).unwrap();
    assert_eq!(server.data_dir(), data);
    assert_eq!(query(&server, "SELECT n FROM t"), "7");
    drop(server);
    let place = data.parent().unwrap();
    assert!(
        fs::read_to_string(place.join("belongs-to"))
            .unwrap()
            .contains(&closed.path().display().to_string())
    );
    fs::remove_dir_all(place).unwrap();
}

/// The same tests as an ordinary user, which is how most people run it.
#[test]
fn works_as_an_ordinary_user_too() {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    if id != b"0\n" {
        return; // We are one.
    }
    // The test binary may be where that user cannot go.
    let directory = directory(0o777);
    let binary = directory.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&binary)
        .args(["--test-threads=2"])
        .env("TMPDIR", directory.path())
        .env("HOME", directory.path())
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_says(&said, &["starts_stops_and_finds_its_data_again ... ok"]);
}

#[test]
fn says_what_to_install() {
    let (_directory, mut options) = options();
    options.bin_dir = Some(Path::new("/nonexistent/bin").to_owned());
    let error = Server::start(&options).unwrap_err().to_string();
    for hint in [
        "apt-get install postgresql",
        "dnf install",
        "brew install",
        "--postgres",
    ] {
        assert!(error.contains(hint), "{error}");
    }
}
