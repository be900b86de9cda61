//! Other users of the machine, authors of files and web pages: what they leave for Bekk to find does not let them in, and
//! what Bekk writes is not theirs to read.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{NOBODY, Process, Ran, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const TOML: &str = "\
[streams.notes]
files = [\"data/*.csv\"]
key = [\"id\"]
partitions = 1
columns = [{ name = \"id\", type = \"int8\" }, { name = \"note\", type = \"text\", nullable = true }]
";

fn notes() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", TOML);
    sandbox
}

/// Everything below a directory, itself included, with its mode.
fn modes(path: &Path, found: &mut Vec<(PathBuf, u32)>) {
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
    sandbox.run(&["up", "--once"]).ok();
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
        sandbox.run(&["up", "--once"]).ok();
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
    let process = sandbox.start(&["up", "--http", "off"]);
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
    let refused = |arguments: &[&str]| sandbox.run(arguments).exits(1).says("user id 65534");
    refused(&["init", "--out", "out.toml", "--force"]);
    refused(&["dead-letters", "export", "--csv", "letters.csv"]);
    refused(&["man", "--out", "pages"]);
    refused(&["up", "--once"]);
    fs::remove_file(sandbox.path(".bekk")).unwrap();
    fs::create_dir(sandbox.path(".bekk")).unwrap();
    for name in [".bekk", "bekk.toml"] {
        std::os::unix::fs::chown(sandbox.path(name), Some(NOBODY), None).unwrap();
    }
    sandbox.run(&["check"]).exits(2).says("--config bekk.toml");
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
    let mut command = sandbox.bekk(&["check"]);
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
        let mut command = sandbox.bekk(&["-vv", "check"]);
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
        check(sandbox.run(&["log", "topics"]));
    }
    sandbox.write("bekk.toml", TOML);
    for line in [
        format!("url = \"postgres://bob:{WORD}@127.0.0.1/x"),
        format!("url = postgres://bob:{WORD}@127.0.0.1/x"),
        format!("urls = \"postgres://bob:{WORD}@127.0.0.1/x\""),
        format!("url = [\"postgres://bob:{WORD}@127.0.0.1/x\"]"),
    ] {
        sandbox.write("bekk.toml", format!("[postgres]\n{line}\n{TOML}"));
        check(sandbox.run(&["check"]));
    }
    sandbox.write(
        "bekk.toml",
        format!("[log]\nurl = \"kafka://u:{WORD}@h:1\"\n{TOML}"),
    );
    check(sandbox.run(&["check"]));

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
    sandbox.run(&["up", "--once"]);
    let process = sandbox.start(&["up", "--http", "127.0.0.1:0"]);
    let address = page_address(&sandbox);
    let check = |what: &str, said: &str| assert!(!said.contains(HIDDEN), "{what}: {said}");
    for path in ["/files", "/dead-letters"] {
        wait_until("the page has the names", LIMIT, || {
            http_get(&address, path).contains("\\u{202e}")
        });
    }
    for path in ["/", "/files", "/dead-letters", "/log", "/streams"] {
        check(path, &http_get(&address, path));
    }
    for arguments in [
        &["status"][..],
        &["ingest", "files"],
        &["dead-letters", "list"],
        &["dead-letters", "show", "1"],
        &["trace", "--key", "1"],
        &["check", "--files"],
    ] {
        let ran = sandbox.run(arguments);
        check(arguments[0], &(ran.stdout + &ran.stderr));
    }
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

/// The address of the page, once it answers.
fn page_address(sandbox: &Sandbox) -> String {
    page_address_after(sandbox, 0)
}

/// The address of the page of a process that was started when so many characters had been said.
fn page_address_after(sandbox: &Sandbox, said_before: usize) -> String {
    let address = || {
        let said = sandbox.said();
        let mut lines = said[said_before..].lines();
        let line = lines.find(|line| line.starts_with("http "))?;
        let url = line.split_whitespace().nth(1)?;
        url.strip_prefix("http://").map(str::to_owned)
    };
    wait_until("it answers", LIMIT, || address().is_some());
    address().unwrap()
}

/// What another user of the machine gets for a path of the page.
fn asked_by_nobody(address: &str, path: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let script = format!(
        "exec 3<>/dev/tcp/{host}/{port}; printf 'GET {path} HTTP/1.1\\r\\nHost: {address}\\r\\n\
         Connection: close\\r\\n\\r\\n' >&3; cat <&3"
    );
    let mut bash = Command::new("bash");
    let output = bash.args(["-c", &script]).uid(NOBODY).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The page shows rows of files that their owner has closed. Needs to act as two users.
#[test]
fn the_page_shows_no_rows_to_other_users_of_the_machine() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = notes();
    sandbox.write("data/a.csv", "id,note\nx,secret\n");
    let process = sandbox.start(&["up", "--http", "127.0.0.1:0"]);
    let address = page_address(&sandbox);
    wait_until("the row is a dead letter", LIMIT, || {
        let own = http_get(&address, "/dead-letters");
        own.contains("secret")
    });
    for path in ["/dead-letters", "/log", "/", "/events?view=/dead-letters"] {
        let answer = asked_by_nobody(&address, path);
        assert!(answer.contains("user id is 65534"), "{path}: {answer}");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        let answer = asked_by_nobody(&address, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert_eq!(process.terminate(), Some(0));
    let said = sandbox.said().len();
    let process = sandbox.start(&["up", "--http", "127.0.0.1:0", "--http-open"]);
    let address = page_address_after(&sandbox, said);
    assert!(asked_by_nobody(&address, "/dead-letters").starts_with("HTTP/1.1 200"));
    assert_eq!(process.terminate(), Some(0));
}

/// Each connection takes a file of the process, of which there are often no more than 1,024. Needs to act as two users.
#[test]
fn connections_to_the_page_take_neither_files_nor_the_page() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = notes();
    let process = sandbox.start(&["up", "--http", "127.0.0.1:0"]);
    let address = page_address(&sandbox);
    let (host, port) = address.rsplit_once(':').unwrap();
    let script = format!(
        "for i in $(seq 400); do exec {{fd}}<>/dev/tcp/{host}/{port}; done; touch '{}'; sleep 60",
        sandbox.path("data/connected").display()
    );
    fs::set_permissions(sandbox.dir(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(sandbox.path("data"), Permissions::from_mode(0o777)).unwrap();
    let mut bash = Command::new("bash");
    let holder = Process::spawn(bash.args(["-c", &script]).uid(NOBODY));
    wait_until("they are connected", LIMIT, || {
        sandbox.path("data/connected").exists()
    });
    let files = || {
        let open = fs::read_dir(format!("/proc/{}/fd", process.id()));
        open.unwrap().count()
    };
    wait_until("most of them are closed", LIMIT, || files() < 300);
    assert!(http_get(&address, "/").starts_with("HTTP/1.1 200"));
    sandbox.write("data/a.csv", "id,note\n1,one\n");
    wait_until("a row comes", LIMIT, || {
        sandbox.postgres().number("SELECT count(*) FROM notes") == 1
    });
    holder.kill();
    assert_eq!(process.terminate(), Some(0));
}

fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Each file in `cli/fuzz/regressions` is what a connection sends in all its life.
#[test]
fn requests_that_are_none_end_their_connection_and_nothing_else() {
    let sandbox = notes();
    let process = sandbox.start(&["up", "--http", "127.0.0.1:0"]);
    let address = page_address(&sandbox);
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    let mut count = 0;
    for file in fs::read_dir(files).unwrap() {
        let file = file.unwrap().path();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(&fs::read(&file).unwrap()).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_foreign = ["two-hosts", "absolute-target", "connect"].contains(&name);
        let mut answer = vec![0; 1_000];
        if is_foreign {
            // These are whole requests: the server may drop one whose client has gone before the answer.
            let length = stream.read(&mut answer).unwrap();
            answer.truncate(length);
        } else {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            answer.clear();
            // The server may close a connection before it has read all.
            if let Err(error) = stream.read_to_end(&mut answer) {
                assert_eq!(
                    error.kind(),
                    std::io::ErrorKind::ConnectionReset,
                    "{file:?}"
                );
            }
        }
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.contains(" 421 "), is_foreign, "{name}: {answer}");
        count += 1;
    }
    assert!(count > 10, "{count}");
    assert!(http_get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(process.terminate(), Some(0));
}

#[test]
fn a_web_page_of_another_name_is_not_answered() {
    let sandbox = notes();
    let process = sandbox.start(&["up", "--http", "127.0.0.1:0"]);
    let address = page_address(&sandbox);
    let status = |host: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status(&address), "200");
    assert_eq!(status("localhost"), "200");
    assert_eq!(status("evil.example.com"), "421");
    assert_eq!(process.terminate(), Some(0));
    let process = sandbox.start(&["up", "--http", "0.0.0.0:0"]);
    wait_until("it warns", LIMIT, || {
        sandbox.said().contains("anyone who can reach this address")
    });
    assert_eq!(process.terminate(), Some(0));
}
