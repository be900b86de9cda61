//! Files that are named on the command line, by a person who has no configuration yet.

use std::time::Duration;

use crate::support::{Ran, Sandbox, wait_until};

const SENSORS: &str = "sensor,at,value\n17,2026-11-27 08:00:00,21.5\n18,2026-11-27 08:00:00,19.0\n";

fn day(day: u32) -> String {
    let sales = (0..day * 5).map(|n| format!("{},Shop {n},{n}.50\n", day * 100 + n));
    format!("sale,shop,amount\n{}", sales.collect::<String>())
}

fn once(sandbox: &Sandbox, files: &[&str]) -> Ran {
    sandbox.run(&[&["up", "--once"], files].concat())
}

/// Somebody names three files of two kinds, and later a file that a stream takes and one that no stream takes.
#[test]
fn files_that_are_named_are_described_and_loaded() {
    let sandbox = Sandbox::new();
    sandbox.write("sensors.csv", SENSORS);
    std::fs::create_dir(sandbox.path("sales")).unwrap();
    for number in 1..=3 {
        sandbox.write(&format!("sales/2026-11-0{number}.csv"), day(number));
    }
    let sales = ["sales/2026-11-01.csv", "sales/2026-11-02.csv"];
    once(&sandbox, &["sensors.csv", sales[0], sales[1]])
        .ok()
        .says("bekk.toml: added stream `sensors`: 3 columns into table sensors")
        .says("bekk.toml: added stream `sales`: 3 columns into table sales")
        .says("guess      at: no zone in the file")
        .says("guess      no key: every record becomes a row of its own")
        .prints("17 records = 17 rows");
    let postgres = sandbox.postgres();
    assert_eq!(postgres.number("SELECT count(*) FROM sales"), 15);

    // A stream takes the first file. The third file of the sales has the columns of a stream, but is not among its files.
    let config = std::fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    assert!(
        config.contains(r#"files = ["sales/2026-11-01.csv", "sales/2026-11-02.csv"]"#),
        "{config}"
    );
    once(&sandbox, &["sensors.csv"]).ok().prints("nothing new");
    once(&sandbox, &["sales/2026-11-03.csv"])
        .exits(2)
        .says("has the columns of stream `sales`")
        .says("bekk init sales/2026-11-03.csv --add --name NAME");
    assert_eq!(
        std::fs::read_to_string(sandbox.path("bekk.toml")).unwrap(),
        config
    );
}

/// The types come from the largest file, and a number of another file would lose its first 0 without a message.
#[test]
fn no_value_of_a_smaller_file_silently_becomes_another_one() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "a.csv",
        "id,area,day\n1,89073,01/02/2025\n2,10115,03/04/2025\n",
    );
    sandbox.write(
        "b.csv",
        "id,area,day\n3,01067,12/31/2025\n4,01069,05/06/2025\n",
    );
    once(&sandbox, &["a.csv", "b.csv"])
        .ok()
        .says("area: digits, but some begin with 0")
        .prints("4 records = 4 rows + 0 superseded + 0 dead letters");
    let found = "SELECT count(*) FROM a WHERE (id, area, day) IN
                 ((1, '89073', DATE '2025-01-02'), (3, '01067', DATE '2025-12-31'))";
    assert_eq!(sandbox.postgres().number(found), 2);
}

/// If a shell's `*` names all files of a directory, they become one pattern, which also takes tomorrow's file.
#[test]
fn a_whole_directory_becomes_a_pattern() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("sales")).unwrap();
    for number in 1..=2 {
        sandbox.write(&format!("sales/2026-11-0{number}.csv"), day(number));
    }
    let files = ["sales/2026-11-01.csv", "sales/2026-11-02.csv"];
    once(&sandbox, &files).ok().says("inbox      sales/*.csv");
    sandbox.write("sales/2026-11-03.csv", day(3));
    once(&sandbox, &[]).ok().prints("15 records = 15 rows");
    assert_eq!(sandbox.postgres().number("SELECT count(*) FROM sales"), 30);
}

/// Mistakes of people who do not know the commands yet: each answer names the command to type instead.
#[test]
fn a_first_mistake_is_answered_with_the_command() {
    let sandbox = Sandbox::bare();
    sandbox.write("my.csv", SENSORS);
    std::fs::create_dir(sandbox.path("in")).unwrap();
    let check = |arguments: &[&str], advice: &str| {
        sandbox.run(arguments).exits(2).says(advice);
    };
    check(&["my.csv"], "bekk up my.csv");
    check(&["load"], "bekk up FILE");
    check(&["import", "my.csv"], "bekk up FILE");
    check(&["up", "--from", "my.csv"], "bekk up FILE");
    check(&["up", "in"], "bekk up in/*.csv");
    check(&["up", "none.csv"], "read `none.csv`");
    check(&["up", "-"], "--once");
    check(&["up", "--once", "-", "my.csv"], "name no files beside it");
    check(
        &["up", "my.csv", "--once", "--stream", "a"],
        "--stream and --name belong to standard input",
    );
    check(&["--log-format=json", "load"], "bekk up FILE");
    assert!(!sandbox.path("bekk.toml").exists());
    sandbox.tells("init my.csv --out -", "[streams.my]");
}

/// The accident: the private server is killed with -9 under a pipeline that runs.
#[test]
fn a_private_server_that_is_killed_is_started_again() {
    let sandbox = Sandbox::bare();
    sandbox.let_server_in();
    sandbox.write("my.csv", SENSORS);
    let mut command = sandbox.bekk("up my.csv --http off");
    command.env_remove("DATABASE_URL").env("POSTGRES_PORT", "0");
    command.stderr(std::fs::File::create(sandbox.path("bekk.log")).unwrap());
    let process = crate::support::Process::spawn(&mut command);
    let limit = Duration::from_secs(60);
    let count = || {
        let psql = sandbox
            .bekk(&["psql", "-Atc", "SELECT count(*) FROM my"])
            .env_remove("DATABASE_URL")
            .env("POSTGRES_PORT", "0")
            .output()
            .unwrap();
        String::from_utf8_lossy(&psql.stdout).trim().to_owned()
    };
    let runs = || sandbox.said().contains("inbox");
    wait_until("the server runs", limit, runs);
    wait_until("the rows are there", limit, || count() == "2");
    let pid_file = sandbox.path(".bekk/postgres/data/postmaster.pid");
    let pid = || -> i32 {
        let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
        text.lines()
            .next()
            .map_or(0, |line| line.trim().parse().unwrap())
    };
    let killed = rustix::process::Pid::from_raw(pid()).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    let is_again = || sandbox.said().contains("the private PostgreSQL runs again");
    wait_until("it runs again", limit, is_again);
    sandbox.write("my.csv", format!("{SENSORS}19,2026-11-27 09:00:00,20.0\n"));
    wait_until("a new row is applied", limit, || count() == "3");
    let audit = sandbox
        .bekk("audit --deep")
        .env_remove("DATABASE_URL")
        .env("POSTGRES_PORT", "0")
        .output()
        .unwrap();
    Ran::new(audit).ok().prints("nothing differs");
    assert_eq!(process.terminate(), Some(0), "{}", sandbox.said());
    assert!(!pid_file.exists(), "the server stops with its last user");
}

/// A script adds several streams at once: none removes another's.
#[test]
fn streams_that_are_added_at_once_are_all_kept() {
    let sandbox = Sandbox::new();
    let names = ["first", "second", "third", "fourth", "fifth"];
    for name in names {
        sandbox.write(&format!("{name}.csv"), format!("{name},n\nx,1\n"));
    }
    sandbox.ok("init first.csv");
    let begin = |name: &&str| {
        let file = format!("{name}.csv");
        let mut init = sandbox.bekk(&["init", &file, "--add"]);
        init.spawn().unwrap()
    };
    let adding: Vec<_> = names[1..].iter().map(begin).collect();
    for mut init in adding {
        assert!(init.wait().unwrap().success());
    }
    let config = std::fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    for name in names {
        assert!(config.contains(&format!("[streams.{name}]")), "{config}");
    }
}

/// An ingest holds a lock on the directory of its files, which is that of the configuration if files lie beside it.
#[test]
fn a_stream_is_added_while_an_ingest_runs() {
    let sandbox = Sandbox::new();
    for name in ["first", "second"] {
        sandbox.write(&format!("{name}.csv"), format!("{name},n\nx,1\n"));
    }
    sandbox.ok("init first.csv");
    let ingest = sandbox.start("ingest --http off");
    wait_until("ingest runs", Duration::from_secs(60), || {
        let files = sandbox.run("ingest files");
        files.stdout.contains("an ingest runs")
    });
    let add = ["init", "second.csv", "--add"];
    let mut added = sandbox.bekk_under(&["timeout", "30"], &add);
    Ran::new(added.output().unwrap()).ok();
    assert_eq!(ingest.terminate(), Some(0), "{}", sandbox.said());

    // Another process never gives the lock back.
    let config = std::fs::File::open(sandbox.path("bekk.toml")).unwrap();
    config.lock().unwrap();
    let refused = sandbox.run("init second.csv --add --name third");
    refused.exits(1).says("another process has locked");
}

/// A second file of the same name, or one that was added before: the message names the stream that is there and its line.
#[test]
fn a_stream_that_exists_is_named_where_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write("first.csv", "a,n\nx,1\n");
    std::fs::create_dir(sandbox.path("more")).unwrap();
    sandbox.write("more/first.csv", "a,n\ny,2\n");
    sandbox.run("init first.csv").ok();
    let before = std::fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    let line = before
        .lines()
        .position(|line| line == "[streams.first]")
        .unwrap()
        + 1;
    let refused = sandbox.run("init more/first.csv --add");
    let expected = format!(
        "`bekk.toml`, line {line}, has a stream `first`; if the file is one of that stream"
    );
    refused
        .exits(1)
        .says(&expected)
        .says("another name: --name NAME");
    let after = std::fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    assert_eq!(after, before);
    sandbox.run("init more/first.csv --add --name second").ok();
}
