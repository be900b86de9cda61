//! Advice that is printed is followed to the letter: it loses, duplicates and overwrites nothing.

use std::fs;

use bekk_log::{Client, Config, Offset, RecordBuffer};
use bekk_stream::Payload;

use crate::advice_restored::fill_anew;
use crate::support::{Ran, Sandbox, assert_says};

pub(crate) const KEYED: &str = r#"
[streams.items]
files = ["data/*.csv"]
key = ["id"]
partitions = 2
columns = [{ name = "id", type = "int8" }, { name = "note", type = "text" }]
"#;
pub(crate) const KEYLESS: &str = r#"
[streams.items]
files = ["data/*.csv"]
on_conflict = "append"
partitions = 2
columns = [{ name = "id", type = "int8" }, { name = "note", type = "text" }]
"#;

pub(crate) fn file(ids: std::ops::Range<u32>, note: &str) -> String {
    let lines = ids.map(|id| format!("{id},{note}\n"));
    format!("id,note\n{}", lines.collect::<String>())
}

/// A table of a hundred rows.
pub(crate) fn filled(config: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", config);
    sandbox.write("data/a.csv", file(0..100, "a"));
    sandbox.ok("up --once");
    sandbox
}

/// The last command in what was said, as a person would type it.
fn advised(said: &str) -> Vec<String> {
    let at = said
        .rfind(": bekk ")
        .unwrap_or_else(|| panic!("no command in: {said}"));
    let command = said[at + 2..]
        .split([';', ',', '\n', '`', ')'])
        .next()
        .unwrap_or_default();
    command
        .split_whitespace()
        .skip(1)
        .map(str::to_owned)
        .collect()
}

/// Follows the advice of a run that failed, then runs again.
pub(crate) fn follow(sandbox: &Sandbox, refused: &Ran) -> Vec<String> {
    let command = advised(&refused.stderr);
    let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    sandbox.ok(&arguments);
    sandbox.ok("up --once");
    command
}

pub(crate) fn count(sandbox: &Sandbox) -> u64 {
    sandbox.postgres().number("SELECT count(*) FROM items")
}

/// The accident: the table is dropped, or truncated. The replay brings all rows back, with a key and without one.
#[test]
fn a_table_that_lost_its_rows_is_filled_again() {
    for config in [KEYED, KEYLESS] {
        for accident in ["DROP TABLE items", "TRUNCATE items"] {
            let sandbox = filled(config);
            sandbox.postgres().execute(accident);
            sandbox.write("data/b.csv", file(100..110, "b"));
            let said = sandbox.fails("check");
            assert_says(&said.stdout, &["the group has applied 100 records"]);
            sandbox.fails("health").prints("bekk replay");
            let refused = sandbox.fails("up --once");
            let command = follow(&sandbox, &refused);
            assert_eq!(command[0], "replay", "{command:?}");
            assert_eq!(count(&sandbox), 110, "{accident}");
            sandbox.tells("health", "healthy");
            sandbox.ok("audit --deep");
        }
    }
}

/// The database was moved with its rows: adopting keeps the offsets, and no row comes twice.
#[test]
fn a_database_that_was_moved_is_adopted() {
    let sandbox = filled(KEYLESS);
    let postgres = sandbox.postgres();
    postgres.execute("UPDATE bekk.groups SET system_identifier = '7', database_oid = 7");
    sandbox.write("data/b.csv", file(100..150, "b"));
    let refused = sandbox.fails("up --once");
    let command = follow(&sandbox, &refused);
    assert_eq!(command[..2], ["offsets", "adopt"]);
    assert_eq!(count(&sandbox), 150);
    sandbox.tells("adopt", "table `public.items` is group `bekk`'s");
    let mistyped = sandbox.run("adopt --group bek").exits(2);
    assert_says(&mistyped.stderr, &["known: bekk"]);

    // A table that was renamed together with the configuration is followed.
    postgres.execute("ALTER TABLE items RENAME TO goods");
    sandbox.write("bekk.toml", KEYLESS.to_owned() + "table = \"goods\"\n");
    sandbox.write("data/c.csv", file(150..160, "c"));
    sandbox.ok("up --once");
    assert_eq!(postgres.number("SELECT count(*) FROM goods"), 160);
    sandbox.ok("audit --deep");
}

/// The log was restored from a backup. It is applied again; without a key, the rows are kept in another table before.
#[test]
fn a_log_that_was_set_back_is_applied_as_advised() {
    for config in [KEYED, KEYLESS] {
        let sandbox = filled(config);
        let backup = sandbox.path("backup");
        let copy = |from: &std::path::Path, to: &std::path::Path| {
            let copied = std::process::Command::new("cp")
                .arg("-a")
                .arg(from)
                .arg(to)
                .status();
            assert!(copied.unwrap().success());
        };
        copy(&sandbox.path(".bekk"), &backup);
        sandbox.write("data/b.csv", file(100..200, "b"));
        sandbox.ok("up --once");
        fs::remove_dir_all(sandbox.path(".bekk")).unwrap();
        copy(&backup, &sandbox.path(".bekk"));
        sandbox.fails("health").prints("the log ends at offset");
        sandbox.tells("status", "lag ?");
        let c = sandbox.write("data/c.csv", file(200..350, "c"));
        // An older file that came late is read before the one that the log has lost.
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(1_000_000);
        fs::File::options()
            .write(true)
            .open(c)
            .unwrap()
            .set_modified(old)
            .unwrap();
        let refused = sandbox.fails("up --once");
        let again = sandbox.fails("up --once");
        assert_says(&again.stderr, &["is refused at items/"]);
        if config == KEYED {
            follow(&sandbox, &refused);
        } else {
            assert_eq!(fill_anew(&sandbox, &refused), 200);
        }
        assert_eq!(count(&sandbox), 350);
        sandbox.ok("audit --deep");
        sandbox.tells("health", "healthy");
    }
}

/// Two projects use one database and the default group: neither sees, resets or deletes the other's offsets.
#[test]
fn two_projects_in_one_database_leave_each_other_alone() {
    let one = filled(KEYED);
    let mut two = Sandbox::new();
    two.url.clone_from(&one.url);
    two.write(
        "bekk.toml",
        KEYED.replace("streams.items", "streams.others"),
    );
    two.write("data/x.csv", file(0..7, "x"));
    two.run("up --once").ok();
    for sandbox in [&one, &two] {
        sandbox.tells("health", "healthy");
    }
    let status = two.run("status").ok().stdout;
    assert!(
        status.contains("bekk others/0") && !status.contains("items/"),
        "{status}"
    );
    let next = "SELECT sum(next) FROM bekk.offsets WHERE topic = 'items'";
    two.run("offsets reset --to earliest --execute").ok();
    two.run("offsets delete --group bekk --execute").ok();
    assert_eq!(one.postgres().number(next), 100);

    // The same stream from another log is refused, and does not take the offsets over.
    let mut three = Sandbox::new();
    three.url.clone_from(&one.url);
    three.write("bekk.toml", KEYED);
    three.write("data/y.csv", file(500..510, "y"));
    let refused = three.run("up --once").exits(1);
    assert_says(&refused.stderr, &["another project or host"]);
    three
        .run("offsets reset --to earliest --execute")
        .exits(1)
        .says("--instead-of");
    one.write("data/b.csv", file(100..110, "b"));
    one.run("up --once").ok();
    assert_eq!(count(&one), 110);
    // With a group of its own it fills the same table.
    three.run("up --once --group three").ok();
    assert_eq!(count(&one), 120);
}

/// A replay only goes back; a reset says what it skips; neither is made real by the environment.
#[test]
fn what_is_skipped_is_said_and_a_replay_skips_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "bekk.toml",
        KEYED.replace("partitions = 2", "partitions = 1"),
    );
    sandbox.write("data/a.csv", file(0..100, "a"));
    sandbox.ok("ingest --once");
    sandbox.ok("sink --once");
    let reset = |to: &str| sandbox.ok(&["offsets", "reset", "--to", to, "--execute"]);
    reset("earliest");
    sandbox.refuses(
        "replay --from latest --execute",
        "would skip 100 records that were never applied",
    );
    reset("latest").prints("skips 100 records that were never applied");
    reset("offset:99");
    reset("latest").prints("skips 1 record that was never applied");

    sandbox.write(".env", "BEKK_EXECUTE=true\n");
    let dry = sandbox.ok("offsets reset --to earliest");
    dry.prints("nothing was changed");
    let next = "SELECT next FROM bekk.offsets";
    assert_eq!(sandbox.postgres().number(next), 100);
}

/// A table without a key is not replayed into while it has rows.
#[test]
fn a_replay_does_not_double_rows() {
    let sandbox = filled(KEYLESS);
    let replay = ["replay", "--from", "earliest", "--execute"];
    let refused = sandbox.fails(&replay);
    assert_says(&refused.stderr, &["has rows and no key"]);
    assert_eq!(count(&sandbox), 100);
    sandbox.ok(&[&replay[..], &["--allow-duplicates"]].concat());
    assert_eq!(count(&sandbox), 200);
    let audit = sandbox.fails("audit --deep");
    assert_says(&audit.stdout, &["0 missing, 0 changed, 100 extra"]);
    // Rows of both runs are in the counts, and none of them is unexplained.
    assert_says(
        &audit.stdout,
        &[" of these before the last reset), 0 waiting, unaccounted 0"],
    );
}

/// An audit of the whole and the trace of one row, as a person types them.
#[test]
fn a_row_that_was_changed_is_found_and_traced() {
    let sandbox = filled(KEYED);
    sandbox.write("data/b.csv", file(5..6, "newer"));
    sandbox.ok("up --once");
    let right = sandbox.ok("audit --deep");
    let right = right
        .prints("101 records of the log, 100 rows of the table: 0 missing, 0 changed, 0 extra");
    let right =
        right.prints("file data/a.csv: 100 read, 0 of them rejects, 100 in the log, same content");
    right.prints("nothing differs");
    // The files are read again: one that has changed since is no witness.
    sandbox.write("data/b.csv", file(5..6, "nevew"));
    let right = sandbox.ok("audit --deep");
    right.prints("1 in the log, not compared: it is gone, or another file has its name");
    sandbox.write("data/b.csv", file(5..6, "newer"));
    let postgres = sandbox.postgres();
    postgres
        .execute("UPDATE items SET note = 'by hand' WHERE id = 5; DELETE FROM items WHERE id = 9");
    let wrong = sandbox.fails("audit --deep");
    let wrong = wrong.prints("1 missing, 1 changed, 0 extra");
    let wrong = wrong.prints("data/b.csv:2");
    wrong.prints("    missing 9");
    let trace = sandbox.ok("trace --key 5");
    let trace = trace.prints("data/a.csv:7   superseded by offset");
    let trace = trace.prints("data/b.csv:2   is the row");
    trace.prints("table items: {\"id\": 5, \"note\": \"by hand\"");
    sandbox.tells("trace --at data/a.csv:11", "table items: no row");
    let none = sandbox.fails("trace --key 4711");
    none.prints("rejected records have no key; to find one: bekk dead-letters list");
    sandbox.tells("status", "unaccounted 0");
    sandbox.write("data/c.csv", "id,note\nx,y\n");
    sandbox.ok("up --once");
    let rejected = sandbox.ok("trace --at data/c.csv:2").prints(", no key");
    let rejected = rejected.prints("dead letter 1 (open): bad_value");
    assert!(!rejected.stdout.contains("no row"), "{}", rejected.stdout);
}

/// A record that is in the log twice is found by reading the file again, with its place in both.
#[test]
fn a_record_that_no_file_has_is_found() {
    let sandbox = filled(KEYED);
    let log = Client::open(Config::new(sandbox.log_dir())).unwrap();
    let records = log.read("items", 0, Offset::ZERO, 1 << 20).unwrap();
    let record = records.iter().nth(3).unwrap();
    let line = Payload::decode(record.value).unwrap().origin.line;
    let mut again = RecordBuffer::new();
    again.push(record.timestamp_ms, record.key, record.value);
    let at = log.append(None, "items", &[(0, &again)]).unwrap()[0];
    log.close().unwrap();
    let wrong = sandbox.fails("audit --deep");
    let place = format!("    not in the file data/a.csv:{line}   byte ");
    let wrong = wrong.prints(&place);
    let wrong = wrong.prints(&format!("   offset 0/{at}"));
    wrong.prints("101 in the log, other content   differs");
}
