//! Every command and every path of the page, as callers who are not trusted: another user of the machine, and a role of
//! the database that may only connect.
//!
//! A command or a path that the tables here do not name fails the test: its author decides what a stranger gets.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::health;
use crate::page_visitors::asked_by_nobody;
use crate::support::{NOBODY, Ran, Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Exit code of `timeout` if it ended the command
const TIMED_OUT: i32 = 124;
const TOML: &str = "\
[streams.notes]
files = [\"data/*.csv\"]
key = [\"id\"]
partitions = 1
columns = [{ name = \"id\", type = \"int8\" }, { name = \"note\", type = \"text\", nullable = true }]
";

/// Outcome for a caller
#[derive(Clone, Copy, PartialEq)]
enum Gets {
    /// It succeeds: it touches nothing that is not the caller's.
    Served,
    /// It fails, and names what the caller lacks.
    Refused,
    /// It is not run: it does not concern this caller, never ends, or fails for another reason first.
    Untried,
}
use Gets::{Refused, Served, Untried};

/// Each command, with its outcome for another user in the directory of the first, and for a role that may only connect
const COMMANDS: [(&str, Gets, Gets); 38] = [
    ("adopt", Refused, Refused),
    ("audit", Refused, Refused),
    ("audit --deep", Refused, Refused),
    ("check", Refused, Refused),
    ("completions bash", Served, Served),
    ("dead-letters discard --all", Refused, Refused),
    ("dead-letters edit 1", Refused, Refused),
    ("dead-letters export --csv letters.csv", Refused, Refused),
    ("dead-letters import --csv data/b.csv", Refused, Untried),
    ("dead-letters list", Refused, Refused),
    ("dead-letters retry --all", Refused, Refused),
    ("dead-letters show 1", Refused, Refused),
    ("diff notes notes", Refused, Refused),
    ("generate --rows 1 --out data", Refused, Untried),
    ("health", Refused, Refused),
    ("ingest --once", Refused, Untried),
    ("ingest files", Refused, Served),
    ("ingest reread data/a.csv", Refused, Served),
    ("init --from data/b.csv --out new.toml", Refused, Untried),
    ("log backup copy", Refused, Untried),
    ("log copy --to kafka://127.0.0.1:1", Refused, Untried),
    ("log read --topic notes", Refused, Served),
    ("log salvage", Refused, Untried),
    ("log serve --listen 127.0.0.1:0", Refused, Untried),
    ("log topics", Refused, Served),
    ("log verify", Refused, Untried),
    ("man --out pages", Refused, Untried),
    ("offsets adopt", Refused, Refused),
    ("offsets delete --group bekk --execute", Refused, Refused),
    ("offsets list", Refused, Refused),
    ("offsets reset --to earliest --execute", Refused, Refused),
    ("psql -- -c TABLE\tbekk.offsets", Refused, Refused),
    ("replay --from earliest --execute", Refused, Refused),
    ("sink --once", Refused, Refused),
    ("status", Refused, Refused),
    ("top", Refused, Untried),
    ("trace --key 1", Refused, Refused),
    ("up --once", Refused, Refused),
];

/// A project in directories that are open to others; its files are closed to them, a row and a dead letter included.
fn open_project() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", TOML);
    let closed = sandbox.write("data/a.csv", "id,note\n1,secret\nx,secret\n");
    sandbox.ok("up --once");
    sandbox.write("data/b.csv", "id,note\n2,two\n");
    fs::set_permissions(closed, Permissions::from_mode(0o600)).unwrap();
    for path in [sandbox.dir().to_owned(), sandbox.path("data")] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    sandbox
}

fn arguments(typed: &str) -> Vec<String> {
    let words = typed.split(' ');
    words.map(|word| word.replace('\t', " ")).collect()
}

/// The command under a limit of time: one that is not refused may run for ever.
fn command(sandbox: &Sandbox, typed: &str) -> Command {
    let limit = LIMIT.as_secs().to_string();
    sandbox.bekk_under(&["timeout", &limit], &arguments(typed))
}

/// Runs commands, some at a time, and returns the outcome of each.
fn run_all(commands: Vec<(&'static str, Command)>) -> Vec<(&'static str, Ran)> {
    let run = |(typed, mut command): (_, Command)| {
        let ran = Ran::new(command.output().unwrap());
        assert_ne!(ran.code, Some(TIMED_OUT), "{typed} does not end");
        (typed, ran)
    };
    let mut left = commands.into_iter();
    let mut ran = Vec::new();
    while let Some(first) = left.next() {
        let some: Vec<_> = std::iter::once(first)
            .chain(left.by_ref().take(3))
            .collect();
        let threads: Vec<_> = some
            .into_iter()
            .map(|one| thread::spawn(move || run(one)))
            .collect();
        ran.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    }
    ran
}

/// Collects path, owner, mode, length and time of each file.
fn state(path: &Path, found: &mut Vec<(PathBuf, u32, u32, u64, i64)>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let length = if metadata.is_file() {
        metadata.len()
    } else {
        0
    };
    found.push((
        path.to_owned(),
        metadata.uid(),
        metadata.mode(),
        length,
        metadata.mtime_nsec(),
    ));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            state(&entry.unwrap().path(), found);
        }
    }
    found.sort();
}

fn state_of(sandbox: &Sandbox) -> Vec<(PathBuf, u32, u32, u64, i64)> {
    let mut found = Vec::new();
    state(sandbox.dir(), &mut found);
    found
}

#[test]
fn the_table_has_every_command() {
    let sandbox = Sandbox::bare();
    sandbox.ok("man --out pages");
    let pages = fs::read_dir(sandbox.path("pages")).unwrap();
    let names = pages.map(|page| page.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names
        .map(|name| name.trim_end_matches(".1").to_owned())
        .collect();
    let is_group = |name: &str| {
        name == "bekk"
            || name == "bekk-log"
            || name == "bekk-offsets"
            || name == "bekk-dead-letters"
    };
    for name in names.iter().filter(|name| !is_group(name)) {
        let is_it = |typed: &str| {
            let words: Vec<_> = typed.split(' ').collect();
            (1..=words.len()).any(|count| format!("bekk-{}", words[..count].join("-")) == *name)
        };
        assert!(COMMANDS.iter().any(|(typed, ..)| is_it(typed)), "{name}");
    }
}

/// Needs to act as two users.
#[test]
fn another_user_gets_nothing_by_any_command() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = open_project();
    let before = state_of(&sandbox);
    let commands = COMMANDS.map(|(typed, ..)| {
        let mut command = command(&sandbox, typed);
        // They know neither the address of the database nor its password.
        command.env_remove("DATABASE_URL").env("EDITOR", "true");
        command.uid(NOBODY).gid(NOBODY);
        (typed, command)
    });
    for ((typed, gets, _), (_, ran)) in COMMANDS.into_iter().zip(run_all(commands.into())) {
        let said = format!("{typed}: {}{}", ran.stdout, ran.stderr);
        assert!(!said.contains("secret"), "{said}");
        assert!(
            !said.contains("chown"),
            "advice to take what is another's: {said}"
        );
        match gets {
            Served => drop(ran.ok()),
            _ => assert_ne!(ran.code, Some(0), "{said}"),
        }
    }
    assert_eq!(state_of(&sandbox), before);
    sandbox.ok("up --once");
    assert_eq!(sandbox.postgres().number("SELECT count(*) FROM notes"), 2);
}

/// The other user has a state directory of its own, so only the lock of the inbox can stop it. Needs to act as two users.
#[test]
fn another_user_starts_no_second_ingest_beside_roots() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (sandbox, theirs) = (open_project(), Sandbox::new());
    let inbox = sandbox.path("data");
    theirs.write(
        "bekk.toml",
        TOML.replace("data", &inbox.display().to_string()),
    );
    theirs.give_to(NOBODY);
    let ingest = sandbox.start("ingest --http off");
    // Its files are listed already: an ingest has read them before.
    wait_until("it runs", LIMIT, || {
        let files = sandbox.run("ingest files");
        files.stdout.contains("an ingest runs")
    });
    let refused = theirs.run("ingest --once").exits(1);
    refused
        .says("another ingest")
        .says(&inbox.display().to_string());
    assert_eq!(ingest.terminate(), Some(0));
}

#[test]
fn a_role_that_may_only_connect_is_told_what_it_lacks() {
    let sandbox = open_project();
    let role = format!("visitor_{}", sandbox.url.rsplit_once('_').unwrap().1);
    let postgres = sandbox.postgres();
    postgres.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'word'"));
    let offsets = "SELECT t::text FROM bekk.offsets t";
    let before = postgres.rows(offsets);
    let (scheme, rest) = sandbox.url.split_once("//").unwrap();
    let (_, host) = rest.rsplit_once('@').unwrap();
    let url = format!("{scheme}//{role}:word@{host}");
    // The commands read the log through this server, and not through each other.
    let serve = sandbox.start("log serve --listen 127.0.0.1:0 --http off");
    wait_until("it serves", LIMIT, || sandbox.said().contains("listening"));
    let tried = COMMANDS.iter().filter(|(.., gets)| *gets != Untried);
    let commands = tried.clone().map(|(typed, ..)| {
        let mut command = command(&sandbox, typed);
        command.env("DATABASE_URL", &url).env("EDITOR", "true");
        (*typed, command)
    });
    let grant = format!("GRANT USAGE ON SCHEMA bekk TO \"{role}\"");
    for ((typed, _, gets), (_, ran)) in tried.clone().zip(run_all(commands.collect())) {
        let said = format!("{typed}: {}{}", ran.stdout, ran.stderr);
        match gets {
            Served => drop(ran.ok()),
            _ => {
                assert_ne!(ran.code, Some(0), "{said}");
                let names_it =
                    said.contains("bekk check names each right") || said.contains("GRANT ");
                assert!(names_it || typed.starts_with("psql"), "{said}");
            }
        }
        if ["check", "health", "status"].contains(typed) {
            assert!(said.contains(&grant), "{said}");
            assert!(!said.contains("start PostgreSQL"), "{said}");
        }
    }
    assert_eq!(postgres.rows(offsets), before);
    assert_eq!(
        postgres.number("SELECT count(*) FROM bekk.dead_letters WHERE resolved_at IS NULL"),
        1
    );
    // What check names is enough to read the state.
    postgres.execute(&format!(
        "{grant}; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA bekk TO {role};
         GRANT SELECT, INSERT, UPDATE ON notes TO {role}"
    ));
    let mut status = sandbox.bekk("status");
    let status = Ran::new(status.env("DATABASE_URL", &url).output().unwrap());
    assert!(status.ok().stdout.contains("1 dead letter"));
    assert_eq!(serve.terminate(), Some(0));
}

/// Paths that the page answers for everybody: they show no rows and no names of files
const OPEN_PATHS: [&str; 6] = [
    "/healthz",
    "/icon.svg",
    "/metrics",
    "/page.css",
    "/page.js",
    "/readyz",
];

/// The texts between quotes that begin with a slash.
fn quoted_paths(source: &str) -> impl Iterator<Item = &str> {
    let quoted = source.split('"').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with('/'))
}

/// Needs to act as two users.
#[test]
fn another_user_gets_no_row_from_any_path_of_the_page() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let sandbox = open_project();
    let token = sandbox.write("token", "0123456789abcdef0123456789abcdef");
    fs::set_permissions(token, Permissions::from_mode(0o600)).unwrap();
    let process = sandbox.start("up --http 127.0.0.1:0 --http-token-file token");
    let address = health::address(&sandbox);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let read = |name: &str| fs::read_to_string(source.join(name)).unwrap();
    let (router, views) = (read("router.rs"), read("page/view.rs"));
    let (views, _) = views.split_once("#[cfg(test)]").unwrap();
    let paths: Vec<_> = quoted_paths(&router).chain(quoted_paths(views)).collect();
    for path in OPEN_PATHS
        .iter()
        .chain(&["/", "/act", "/dead-letters", "/events"])
    {
        assert!(paths.contains(path), "{path}: {paths:?}");
    }
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            let answer = asked_by_nobody(&address, method, path);
            let expected = match (OPEN_PATHS.contains(&path), method) {
                (false, _) => "403",
                (true, "GET") => "200",
                (true, _) => "405",
            };
            let status = answer.split(' ').nth(1);
            assert_eq!(status, Some(expected), "{method} {path}: {answer}");
            assert!(!answer.contains("secret"), "{method} {path}: {answer}");
        }
    }
    assert_eq!(process.terminate(), Some(0));
}
