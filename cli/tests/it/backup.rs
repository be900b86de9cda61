//! `bekk log backup` while Bekk runs: the commands that it prints restore the log, and no row is lost or doubled.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::sample::{event, file};
use crate::support::{Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Files, and rows in each
const FILES: u32 = 30;
const ROWS: u32 = 40;
const ALL: u64 = FILES as u64 * ROWS as u64;

fn write(sandbox: &Sandbox, files: std::ops::Range<u32>) {
    for number in files {
        let rows: Vec<_> = (0..ROWS)
            .map(|row| event(number * ROWS + row, "view", "1"))
            .collect();
        sandbox.write(&format!("data/{number:03}.csv"), file(&rows));
    }
}

#[test]
fn a_backup_of_a_running_pipeline_restores_it() {
    let sandbox = Sandbox::new();
    write(&sandbox, 0..1);
    sandbox.ok("up --once");
    let rows = || sandbox.postgres().number("SELECT count(*) FROM events");
    let up = sandbox.start("up --http off");
    let mut printed = String::new();
    std::thread::scope(|scope| {
        scope.spawn(|| write(&sandbox, 1..FILES));
        wait_until("rows flow", LIMIT, || rows() > u64::from(2 * ROWS));
        let made = sandbox.ok("log backup backup/first");
        printed = made.stdout;
    });
    assert!(
        printed.starts_with("backed up to `backup/first`: "),
        "{printed}"
    );
    let again = sandbox.fails("log backup backup/first");
    again.says("`backup/first` is not empty; name a directory that does not exist");
    wait_until("all rows are there", LIMIT, || rows() == ALL);
    up.kill();
    sandbox.ok("log verify --log backup/first/log");

    // The disk is lost, and the backup is older than the database.
    fs::remove_dir_all(sandbox.path(".bekk/log")).unwrap();
    fs::remove_dir_all(sandbox.path(".bekk/ingest")).unwrap();
    let restore: Vec<_> = printed
        .lines()
        .filter(|line| line.starts_with("  rm "))
        .collect();
    assert_eq!(restore.len(), 2, "{printed}");
    for line in restore {
        let mut shell = Command::new("sh");
        let ran = shell
            .current_dir(sandbox.dir())
            .args(["-ec", line])
            .status();
        assert!(ran.unwrap().success(), "{line}");
    }
    sandbox.ok("log verify");
    let once = sandbox.run("up --once");
    if once.code != Some(0) {
        // The sink refuses the log if other records have the offsets of those that it applied.
        sandbox.ok("replay --from earliest --execute");
    }
    sandbox.tells("audit --deep", "nothing differs");
    assert_eq!(rows(), ALL);
    let read = sandbox.ok("log read --format csv");
    let records = read.stdout.lines().count();
    assert_eq!(records as u64, ALL, "each row is in the log once");
}

/// The configuration is in another directory than the shell, and a blank is in its name.
#[test]
fn the_commands_that_restore_a_backup_are_for_the_shell() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("my shop/data")).unwrap();
    sandbox.events("my shop/data/a.csv", &[(1, "view", "1")]);
    let config = ["--config", "my shop/bekk.toml"];
    let run = |args: &[&str]| sandbox.ok(&[args, &config[..]].concat());
    sandbox.ok(&["init", "--out", "my shop/bekk.toml"]);
    run(&["ingest", "--once"]);
    let made = run(&["log", "backup", "a backup"]);
    for part in ["log", "ingest"] {
        let command = format!(
            "  rm -rf 'my shop/.bekk/{part}' && cp -a 'a backup/{part}' 'my shop/.bekk/{part}'"
        );
        let is_there = made.stdout.lines().any(|line| line == command);
        assert!(is_there, "{}", made.stdout);
    }
}
