//! Other users of the machine and authors of files: what they leave for Bekk to find does not let them in, and what Bekk
//! writes is not theirs to read.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::health::{self, get};
use crate::support::{NOBODY, Process, Ran, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
/// The stream `notes`, of two columns
const TOML: &str = "\
[streams.notes]
files = [\"data/*.csv\"]
key = [\"id\"]
partitions = 1
columns = [{ name = \"id\", type = \"int8\" }, { name = \"note\", type = \"text\", nullable = true }]
";

pub(crate) fn notes() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", TOML);
    sandbox
}

/// Everything below a directory, itself included, with its mode.
pub(crate) fn modes(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    found.push((path.to_owned(), metadata.permissions().mode() & 0o777));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            modes(&entry.unwrap().path(), found);
        }
    }
}

#[track_caller]
fn assert_closed(sandbox: &Sandbox) {
    let mut found = Vec::new();
    modes(&sandbox.path(".bekk"), &mut found);
    assert!(found.len() > 5, "{found:?}");
    for (path, mode) in found {
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:04o}", path.display());
    }
}

#[test]
fn the_state_is_closed_to_other_users_whatever_the_umask() {
    let sandbox = notes();
    sandbox.write("data/a.csv", "id,note\n1,one\n");
    let run = |command: &str| {
        let mut shell = Command::new("sh");
        let binary = env!("CARGO_BIN_EXE_bekk");
        shell
            .args(["-c", &format!("umask 000; exec {binary} {command}")])
            .current_dir(sandbox.dir())
            .env("DATABASE_URL", &sandbox.url);
        Ran::new(shell.output().unwrap()).ok()
    };
    run("up --once");
    assert_closed(&sandbox);

    // As an earlier version has left it.
    let mut found = Vec::new();
    modes(&sandbox.path(".bekk"), &mut found);
    for (path, mode) in found {
        let open = if path.is_dir() { 0o755 } else { mode | 0o044 };
        fs::set_permissions(path, Permissions::from_mode(open)).unwrap();
    }
    sandbox.write("data/b.csv", "id,note\n2,two\n");
    run("up --once").says("it was open to other users");
    assert_closed(&sandbox);
    assert_eq!(sandbox.postgres().number("SELECT count(*) FROM notes"), 2);
}

/// Whoever may read the inbox can lock it. Needs to act as two users.
#[test]
fn a_lock_of_another_user_keeps_nobody_out() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = notes();
    for path in [sandbox.dir(), &sandbox.path("data")] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    sandbox.write("data/a.csv", "id,note\n1,one\n");
    sandbox.ok("up --once");
    for name in ["data", ".bekk/ingest/LOCK", ".bekk/log/LOCK"] {
        let mut flock = Command::new("flock");
        let holder = Process::spawn(
            flock
                .args(["-n", "-x"])
                .arg(sandbox.path(name))
                .args(["sleep", "30"])
                .uid(NOBODY)
                .stderr(Stdio::null()),
        );
        std::thread::sleep(Duration::from_millis(300));
        sandbox.ok("up --once");
        holder.kill();
    }
}

/// Needs to act as two users.
#[test]
fn files_that_are_closed_to_their_author_are_neither_read_nor_removed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = notes();
    let toml = TOML
        .replace("data/*.csv", "data/**/*.csv")
        .replace("key =", "finished = \"delete\"\nkey =");
    sandbox.write(
        "bekk.toml",
        format!("[ingest]\nclose_after = \"100ms\"\n{toml}"),
    );
    fs::create_dir(sandbox.path("closed")).unwrap();
    sandbox.write("closed/accounts.csv", "id,note\n8,secret\n");
    sandbox.write("data/own.csv", "id,note\n1,own\n");
    symlink("../closed", sandbox.path("data/sub")).unwrap();
    symlink("../closed/accounts.csv", sandbox.path("data/one.csv")).unwrap();
    for name in ["data", "data/sub", "data/one.csv", "data/own.csv"] {
        std::os::unix::fs::lchown(sandbox.path(name), Some(NOBODY), None).unwrap();
    }
    let process = sandbox.start("up --http off");
    wait_until("their own file is read and removed", LIMIT, || {
        !sandbox.path("data/own.csv").exists()
    });
    wait_until("the links are reported", LIMIT, || {
        sandbox.said().matches("user id 65534").count() >= 2
    });
    wait_until("the row is applied", LIMIT, || {
        let rows = sandbox.postgres().try_rows("SELECT note FROM notes");
        rows.is_ok_and(|rows| rows.len() == 1)
    });
    assert_eq!(process.terminate(), Some(0));
    assert!(sandbox.path("closed/accounts.csv").exists());
    assert_eq!(sandbox.postgres().rows("SELECT note FROM notes"), [["own"]]);
}

/// Needs to act as two users.
#[test]
fn what_another_user_has_prepared_is_neither_used_nor_written_to() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = notes();
    fs::set_permissions(sandbox.dir(), Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(sandbox.path("closed")).unwrap();
    sandbox.write("closed/precious", "precious");
    for (name, target) in [
        ("out.toml", "closed/precious"),
        ("letters.csv", "closed/precious"),
        ("pages", "closed"),
        (".bekk", "closed"),
    ] {
        symlink(target, sandbox.path(name)).unwrap();
        std::os::unix::fs::lchown(sandbox.path(name), Some(NOBODY), None).unwrap();
    }
    let refused = |arguments: &[&str]| sandbox.fails(arguments).says("user id 65534");
    refused(&["init", "--out", "out.toml", "--force"]);
    refused(&["dead-letters", "export", "--csv", "letters.csv"]);
    refused(&["man", "--out", "pages"]);
    refused(&["up", "--once"]);
    fs::remove_file(sandbox.path(".bekk")).unwrap();
    fs::create_dir(sandbox.path(".bekk")).unwrap();
    for name in [".bekk", "bekk.toml"] {
        std::os::unix::fs::chown(sandbox.path(name), Some(NOBODY), None).unwrap();
    }
    sandbox.run("check").exits(2).says("--config bekk.toml");
    refused(&["status", "--config", "bekk.toml"]);
    assert_eq!(fs::read_dir(sandbox.path("closed")).unwrap().count(), 1);
    assert_eq!(
        fs::read(sandbox.path("closed/precious")).unwrap(),
        b"precious"
    );
}

#[test]
fn the_environment_file_sets_nothing_for_other_programs() {
    let sandbox = notes();
    let url = sandbox.url.clone();
    let toml = format!("[postgres]\nurl = \"${{SHOP_URL}}\"\n{TOML}");
    sandbox.write("bekk.toml", toml);
    sandbox.write(
        ".env",
        format!(
            "LD_PRELOAD=/nonexistent/marker.so\nPGHOST=nowhere\nSHOP_URL='{url}'\nBEKK_JSON=true\n"
        ),
    );
    let mut command = sandbox.bekk(&["psql", "--", "-X", "-c", "SELECT 1"]);
    let ran = Ran::new(command.env_remove("DATABASE_URL").output().unwrap());
    assert!(!ran.stderr.contains("marker.so"), "{}", ran.stderr);
    ran.ok();
    // Names that bekk.toml refers to are known, and those of arguments.
    let mut command = sandbox.bekk("check");
    let ran = Ran::new(command.env_remove("DATABASE_URL").output().unwrap()).ok();
    assert!(ran.stdout.starts_with('{'), "{}", ran.stdout);
}

#[test]
fn a_password_is_in_no_message_and_in_no_argument() {
    const WORD: &str = "s3cr3t-word";
    let sandbox = notes();
    let host = sandbox.url.rsplit_once('@').unwrap().1.to_owned();
    let check = |ran: Ran| {
        let said = ran.stdout + &ran.stderr;
        assert!(!said.contains(WORD), "{said}");
    };
    for url in [
        format!("postgres://bob:12/{WORD}@{host}"),
        format!("postgres://bob:{WORD}/x@{host}"),
        format!("postgres://bob:{WORD}?x@{host}"),
        format!("postgres://bob:{WORD}@x@{host}"),
        format!("postgres://bob:{WORD}@{host}"),
        format!("postgres://bob:{WORD}%zz@{host}"),
        format!("postgres://bob:{WORD}"),
        format!("host=127.0.0.1 port={WORD}"),
        format!("host=127.0.0.1 password=1 {WORD}=2"),
        format!("host=127.0.0.1 sslmode={WORD}"),
    ] {
        let mut command = sandbox.bekk("-vv check");
        check(Ran::new(
            command.env("DATABASE_URL", &url).output().unwrap(),
        ));
        check(sandbox.run(&["check", "--postgres", &url]));
    }
    for log in [
        format!("kafka://u:{WORD}@127.0.0.1:1"),
        format!("kafka://127.0.0.1:1?sasl.password={WORD}"),
    ] {
        check(sandbox.run(&["status", "--log", &log]));
    }
    for property in ["none.such", "linger.ms"] {
        let toml = format!(
            "[log]\nurl = \"kafka://127.0.0.1:1\"\n[log.kafka]\n\"{property}\" = \"{WORD}\"\n"
        );
        sandbox.write("bekk.toml", toml + TOML);
        check(sandbox.run("log topics"));
    }
    sandbox.write("bekk.toml", TOML);
    for line in [
        format!("url = \"postgres://bob:{WORD}@127.0.0.1/x"),
        format!("url = postgres://bob:{WORD}@127.0.0.1/x"),
        format!("urls = \"postgres://bob:{WORD}@127.0.0.1/x\""),
        format!("url = [\"postgres://bob:{WORD}@127.0.0.1/x\"]"),
    ] {
        sandbox.write("bekk.toml", format!("[postgres]\n{line}\n{TOML}"));
        check(sandbox.run("check"));
    }
    sandbox.write(
        "bekk.toml",
        format!("[log]\nurl = \"kafka://u:{WORD}@h:1\"\n{TOML}"),
    );
    check(sandbox.run("check"));

    sandbox.write("bekk.toml", TOML);
    let url = format!("{}?application_name={WORD}", sandbox.url);
    let process = sandbox.start(&["up", "--http", "off", "--postgres", &url]);
    wait_until("it runs", LIMIT, || sandbox.said().contains("inbox"));
    let arguments = fs::read(format!("/proc/{}/cmdline", process.id())).unwrap();
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    assert!(arguments.contains("--postgres"), "{arguments}");
    assert!(!arguments.contains(WORD), "{arguments}");
    assert_eq!(process.terminate(), Some(0));
}

#[test]
fn names_of_files_write_no_lines_and_steer_no_terminal() {
    let sandbox = notes();
    for (name, text) in [
        (
            &b"data/x\n2026-01-01T00:00:00.000000Z ERROR call 555.csv"[..],
            "wrong,head\n1,2\n",
        ),
        (
            &b"data/y\n       9  bekk  notes  ok\x1b]0;title\x07\x1b[31m.csv"[..],
            "id,note\nq,1\n2,b\n",
        ),
    ] {
        fs::write(sandbox.dir().join(OsStr::from_bytes(name)), text).unwrap();
    }
    for arguments in [
        &["up", "--once"][..],
        &["-v", "up", "--once"],
        &["status"],
        &["ingest", "files"],
        &["dead-letters", "list"],
        &["dead-letters", "show", "1"],
        &["--log-format", "json", "up", "--once"],
    ] {
        let ran = sandbox.run(arguments);
        let said = ran.stdout + &ran.stderr;
        assert!(!said.contains('\x1b'), "{arguments:?}: {said}");
        let is_forged = |line: &str| {
            line.starts_with("2026-01-01T") || line.trim_start().starts_with("9  bekk")
        };
        assert!(!said.lines().any(is_forged), "{arguments:?}: {said}");
    }
}

/// Text that goes backwards, and characters that take no room: names that look like others.
#[test]
fn names_and_values_show_what_they_hold() {
    const HIDDEN: [char; 6] = [
        '\u{202e}',
        '\u{2066}',
        '\u{200b}',
        '\u{200d}',
        '\u{ad}',
        '\u{e0041}',
    ];
    let hidden: String = HIDDEN.iter().collect();
    let sandbox = notes();
    sandbox.write(
        &format!("data/x{hidden}y.csv"),
        format!("id,note\n1,a{hidden}b\nq{hidden}w,2\n"),
    );
    sandbox.run("up --once");
    let process = sandbox.start("up --http 127.0.0.1:0");
    let address = health::address(&sandbox);
    let check = |what: &str, said: &str| assert!(!said.contains(HIDDEN), "{what}: {said}");
    for path in ["/files", "/dead-letters"] {
        wait_until("the page has the names", LIMIT, || {
            get(&address, path).1.contains("\\u{202e}")
        });
    }
    for path in ["/", "/files", "/dead-letters", "/log", "/streams"] {
        check(path, &get(&address, path).1);
    }
    for arguments in [
        &["ingest", "files"][..],
        &["dead-letters", "list"],
        &["dead-letters", "show", "1"],
        &["trace", "--key", "1"],
        &["check", "--files"],
    ] {
        let ran = sandbox.run(arguments);
        let said = ran.stdout + &ran.stderr;
        check(arguments[0], &said);
        assert!(said.contains("\\u{202e}"), "{arguments:?}: {said}");
    }
    let status = sandbox.run("status");
    check("status", &(status.stdout + &status.stderr));
    assert_eq!(process.terminate(), Some(0));
    check("up", &sandbox.said());
}

#[test]
fn a_key_that_others_can_read_is_refused_and_a_password_that_nobody_asks_for_too() {
    let sandbox = notes();
    let key = sandbox.write("key.pem", "none");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let word = sandbox.write("word", "brook\n");
    fs::set_permissions(&word, Permissions::from_mode(0o644)).unwrap();
    let serve = ["log", "serve", "--listen", "127.0.0.1:0", "--http", "off"];
    let with = |more: &[&str]| sandbox.run(&[&serve[..], more].concat()).exits(2);
    let files = ["--tls-cert", "key.pem", "--tls-key", "key.pem"];
    let user = ["--sasl-user", "a", "--sasl-password-file", "word"];
    with(&[&files[..], &user[..]].concat())
        .says("other users can read it (mode 0644); to close it: chmod 0600")
        .says("`word` holds a secret");
    let mut command = sandbox.bekk(&serve);
    command.env("BEKK_SASL_PASSWORD", "brook");
    Ran::new(command.output().unwrap())
        .exits(2)
        .says("BEKK_SASL_PASSWORD is set, but --sasl-user is not");
    with(&["--sasl-read-user", "b", "--sasl-read-password-file", "word"])
        .says("--sasl-read-user needs --sasl-user");
}
