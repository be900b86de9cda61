//! The disk of the project directory `.bekk` is full to the last byte, while Bekk does not run and under a running
//! pipeline, and under a server of the log. The disk is a small file system that only the processes of one test see, or a
//! library that lets writes fail.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::exact::{check_audit, check_audit_of};
use crate::health::{address, get};
use crate::sample::{event, file};
use crate::support::{Arguments, Process, Ran, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Size of the file system: more than the log's reserve.
const SIZE: &str = "300m";
/// Files that it can have
const INODES: &str = "3000";
const ROWS: u32 = 500;

/// A file system at `.bekk`, in a mount namespace of its own; both go with this.
struct Disk<'a> {
    sandbox: &'a Sandbox,
    /// The process that holds the namespace
    holder: Child,
    enter: Vec<String>,
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl<'a> Disk<'a> {
    /// `None` where the kernel lets this user mount nothing.
    fn mount(sandbox: &'a Sandbox) -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let user: &[&str] = if is_root {
            &[]
        } else {
            &["--user", "--map-root-user"]
        };
        std::fs::create_dir(sandbox.path(".bekk")).unwrap();
        // The holder ends when its standard input does, also if this process is killed.
        let script = format!(
            "mount -t tmpfs -o size={SIZE},nr_inodes={INODES} tmpfs .bekk && echo mounted && exec cat"
        );
        let mut holder = Command::new("unshare")
            .arg("--mount")
            .args(user)
            .args(["sh", "-c", &script])
            .current_dir(sandbox.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        let pid = holder.id().to_string();
        let mut enter = vec!["nsenter", "--target", &pid, "--mount"];
        if !is_root {
            enter.extend(["--user", "--preserve-credentials"]);
        }
        // The working directory must be looked up again, or it is still the one outside.
        let dir = sandbox.dir().to_str().unwrap();
        enter.extend(["sh", "-c", "cd \"$0\" && exec \"$@\"", dir]);
        let enter = enter.into_iter().map(str::to_owned).collect();
        let disk = Self {
            sandbox,
            holder,
            enter,
        };
        if said != "mounted\n" {
            println!("SKIPPED: a file system cannot be mounted in a namespace of its own here");
            return None;
        }
        Some(disk)
    }

    /// One without a free byte, whose log has the records of the first file.
    fn filled(sandbox: &'a Sandbox) -> Option<Self> {
        let disk = Self::mount(sandbox)?;
        write(sandbox, 0);
        disk.run("ingest --once").ok();
        disk.fill();
        Some(disk)
    }

    fn enter(&self) -> Vec<&str> {
        self.enter.iter().map(String::as_str).collect()
    }

    /// The binary, as a process that sees this file system.
    fn bekk(&self, arguments: &(impl Arguments + ?Sized)) -> Command {
        self.sandbox.bekk_under(&self.enter(), arguments)
    }

    fn run(&self, arguments: &(impl Arguments + ?Sized)) -> Ran {
        Ran::new(self.bekk(arguments).output().unwrap())
    }

    /// The project directory, as a process outside sees it.
    fn root(&self) -> PathBuf {
        let path = format!(
            "/proc/{}/root{}",
            self.holder.id(),
            self.sandbox.dir().display()
        );
        PathBuf::from(path).join(".bekk")
    }

    /// Whether it has this size now: it cannot have less than it holds.
    fn resize(&self, size: &str) -> bool {
        let remount = format!("remount,size={size}");
        let (program, arguments) = self.enter.split_first().unwrap();
        let mounted = Command::new(program)
            .args(arguments)
            .args(["mount", "-o", &remount, ".bekk"])
            .current_dir(self.sandbox.dir())
            .status();
        mounted.unwrap().success()
    }

    /// Leaves no byte free, also where a process writes and removes files meanwhile.
    fn fill(&self) {
        let stat = || rustix::fs::statvfs(self.root()).unwrap();
        wait_until("the disk is full", LIMIT, || {
            let found = stat();
            let used = (found.f_blocks - found.f_bfree) * found.f_frsize;
            self.resize(&used.to_string()) && stat().f_bfree == 0
        });
    }

    fn free(&self) {
        assert!(self.resize(SIZE));
    }
}

fn write(sandbox: &Sandbox, number: u32) {
    let rows = (0..ROWS).map(|row| event(number * ROWS + row, "view", "1"));
    sandbox.write(
        &format!("data/{number}.csv"),
        file(&rows.collect::<Vec<_>>()),
    );
}

fn rows(sandbox: &Sandbox) -> u32 {
    let rows = sandbox.postgres().try_rows("SELECT count(*) FROM events");
    rows.map_or(0, |rows| rows[0][0].parse().unwrap())
}

/// Nothing is written, and all that only reads works: the sink applies what is in the log. Once space is free, the rest
/// arrives without a person, from the same process and from a new one.
#[test]
fn a_disk_without_a_free_byte_stops_only_what_must_write() {
    let sandbox = Sandbox::new();
    let Some(disk) = Disk::filled(&sandbox) else {
        return;
    };
    let told = disk.run("status").ok().prints("  disk: ");
    told.prints("problem    the log's disk has 0 B free");
    let told = disk
        .run("health")
        .exits(1)
        .prints("unhealthy: the log's disk has");
    told.prints("next: free space on the log's disk");
    disk.run("sink --once").ok();
    assert_eq!(rows(&sandbox), ROWS);
    // The file that a log keeps for such a start is given up by now.
    disk.fill();
    disk.run("log topics").ok().prints("events: 500 records");
    disk.run("log verify").ok();
    disk.run("sink --once").ok();

    // Started on the full disk, filled again when it has written, and then given space.
    let mut up = disk.bekk("up --http 127.0.0.1:0");
    let said = std::fs::File::create(sandbox.path("bekk.log")).unwrap();
    up.stdout(said.try_clone().unwrap()).stderr(said);
    let mut up = Process::spawn(&mut up);
    write(&sandbox, 1);
    let at = address(&sandbox);
    for number in 1..3 {
        wait_until("it waits for space", LIMIT, || {
            let (code, body) = get(&at, "/readyz");
            code == 503 && body.contains("less than the reserve")
        });
        assert!(up.is_running(), "{}", sandbox.said());
        assert_eq!(rows(&sandbox), number * ROWS);
        disk.free();
        wait_until("the rows are there", LIMIT, || {
            rows(&sandbox) == (number + 1) * ROWS
        });
        wait_until("it is ready", LIMIT, || get(&at, "/readyz").0 == 200);
        disk.fill();
        write(&sandbox, number + 1);
    }
    // Killed on the full disk, and started again on it.
    up.kill();
    disk.run("sink --once").ok();
    disk.free();
    disk.run("up --once").ok();
    assert_eq!(rows(&sandbox), 4 * ROWS);
    check_audit_of(disk.run("audit --deep --json"));
}

/// Another program has made so many files that the disk has no inode left, though it has space. Ingest waits until some are
/// deleted; no process ends.
#[test]
fn a_disk_without_free_inodes_makes_ingest_wait() {
    let sandbox = Sandbox::new();
    let Some(disk) = Disk::mount(&sandbox) else {
        return;
    };
    write(&sandbox, 0);
    let mut up = start(&sandbox, disk.bekk("up --http 127.0.0.1:0"));
    let at = address(&sandbox);
    wait_until("the rows are there", LIMIT, || rows(&sandbox) == ROWS);
    let others = disk.root().join("others");
    std::fs::create_dir(&others).unwrap();
    let mut number = 0;
    while std::fs::write(others.join(number.to_string()), "").is_ok() {
        number += 1;
    }
    std::thread::sleep(Duration::from_millis(200));
    write(&sandbox, 1);
    wait_until("it waits for inodes", LIMIT, || {
        let (code, body) = get(&at, "/readyz");
        code == 503 && body.contains("fewer free inodes")
    });
    let told = disk.run("status");
    told.ok()
        .prints("problem    the log's disk has 0 free inodes");
    assert!(up.is_running(), "{}", sandbox.said());
    std::fs::remove_dir_all(others).unwrap();
    wait_until("the rows are there", LIMIT, || rows(&sandbox) == 2 * ROWS);
    wait_until("it is ready", LIMIT, || get(&at, "/readyz").0 == 200);
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
    check_audit_of(disk.run("audit --deep --json"));
}

/// The argument that names the served log
fn served_at(sandbox: &Sandbox) -> String {
    wait_until("it listens", LIMIT, || sandbox.said().contains("listening"));
    let said = sandbox.said();
    let line = said.lines().find_map(|line| line.strip_prefix("listening"));
    let at = line.unwrap().split_whitespace().next().unwrap();
    format!("--log=kafka://{at}")
}

fn start(sandbox: &Sandbox, mut command: Command) -> Process {
    let path = sandbox.path("bekk.log");
    let said = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path);
    let said = said.unwrap();
    command.stdout(said.try_clone().unwrap()).stderr(said);
    Process::spawn(&mut command)
}

/// The records of a log server are read and applied; new ones wait in the ingest that sends them until space is free.
#[test]
fn a_log_server_stays_up_on_a_disk_without_a_free_byte() {
    let sandbox = Sandbox::new();
    let Some(disk) = Disk::filled(&sandbox) else {
        return;
    };
    let serve = ["log", "serve", "--listen", "127.0.0.1:0"];
    let serve = [&serve[..], &["--http", "127.0.0.1:0"]].concat();
    let mut server = start(&sandbox, disk.bekk(&serve));
    let at = address(&sandbox);
    let log = served_at(&sandbox);
    // The server may have freed some space.
    disk.fill();
    let mut ingest = start(&sandbox, disk.bekk(&["ingest", &log, "--http", "off"]));
    write(&sandbox, 1);
    wait_until("a write is refused", LIMIT, || {
        sandbox
            .said()
            .contains("writes of other processes are refused")
    });
    let (code, body) = get(&at, "/readyz");
    assert_eq!(code, 503, "{body}");
    assert!(body.contains("appends are refused: disk of log"), "{body}");
    disk.run(&["sink", "--once", &log]).ok();
    assert_eq!(rows(&sandbox), ROWS);
    assert!(
        server.is_running() && ingest.is_running(),
        "{}",
        sandbox.said()
    );
    disk.free();
    wait_until("it is ready", LIMIT, || get(&at, "/readyz").0 == 200);
    wait_until("the rows are there", LIMIT, || {
        disk.run(&["sink", "--once", &log]).ok();
        rows(&sandbox) == 2 * ROWS
    });
    assert_eq!(ingest.terminate(), Some(0), "{}", sandbox.said());
    assert_eq!(server.terminate(), Some(0), "{}", sandbox.said());
    let said = sandbox.said();
    assert_eq!(
        said.matches("writes of other processes are").count(),
        1,
        "{said}"
    );
    check_audit_of(disk.run("audit --deep --json"));
}

/// A writer that takes the last byte between the log's look at the disk and its write, for some processes.
struct Filler {
    library: PathBuf,
    flag: PathBuf,
}

impl Filler {
    fn new(sandbox: &Sandbox) -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/full.c");
        let library = sandbox.path("full.so");
        let built = Command::new("cc")
            .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .args([library.as_path(), source.as_ref()])
            .status();
        assert!(built.unwrap().success());
        let flag = sandbox.path("full");
        std::fs::write(&flag, "0").unwrap();
        Self { library, flag }
    }

    fn start(&self, sandbox: &Sandbox, arguments: &[&str]) -> Process {
        let mut command = sandbox.bekk(arguments);
        command.env("LD_PRELOAD", &self.library);
        command.env("BEKK_TEST_FULL", &self.flag);
        start(sandbox, command)
    }

    fn say(&self, what: &str) {
        std::fs::write(&self.flag, what).unwrap();
    }
}

/// A write to the log fails because the disk is full, and the store takes no more. The log is opened again, under the same
/// address, by the same process.
#[test]
fn a_write_that_finds_the_disk_full_ends_no_process() {
    let full = ("1", "its disk is full; it is opened again");
    let quota = ("2", "the quota on its disk is used up; it is opened again");
    let commands: [(&[&str], _); 3] = [
        (&["up", "--listen", "127.0.0.1:0"], full),
        (&["log", "serve", "--listen", "127.0.0.1:0"], quota),
        (&["sink"], full),
    ];
    for (arguments, (state, expected)) in commands {
        let sandbox = Sandbox::new();
        let filler = Filler::new(&sandbox);
        write(&sandbox, 0);
        sandbox.ok("up --once");
        let arguments = [arguments, &["--http", "127.0.0.1:0"]].concat();
        let mut owner = filler.start(&sandbox, &arguments);
        let at = address(&sandbox);
        wait_until("it is ready", LIMIT, || get(&at, "/readyz").0 == 200);
        let served = (arguments[0] != "sink").then(|| served_at(&sandbox));
        // The owner's own ingest, or that of another process: a client over the network, or a guest.
        let ingest = (arguments[0] != "up").then(|| {
            let mut ingest = vec!["ingest", "--http", "off"];
            ingest.extend(served.as_deref());
            sandbox.start(&ingest)
        });
        write(&sandbox, 1);
        let is_in = || {
            let mut sink = vec!["sink", "--once"];
            sink.extend(served.as_deref());
            sandbox.ok(&sink);
            rows(&sandbox)
        };
        wait_until("rows go through it", LIMIT, || is_in() == 2 * ROWS);
        filler.say(state);
        write(&sandbox, 2);
        wait_until("it says that it waits", LIMIT, || {
            let (code, body) = get(&at, "/readyz");
            code == 503 && body.contains(expected)
        });
        std::thread::sleep(Duration::from_secs(2));
        assert!(owner.is_running(), "{}", sandbox.said());
        filler.say("0");
        wait_until("it is ready", LIMIT, || get(&at, "/readyz").0 == 200);
        wait_until("the rows are there", LIMIT, || is_in() == 3 * ROWS);
        for process in ingest.into_iter().chain([owner]) {
            assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
        }
        let said = sandbox.said();
        assert_eq!(said.matches("the log is opened again").count(), 1, "{said}");
        check_audit(&sandbox);
    }
}
