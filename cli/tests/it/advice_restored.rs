//! The log, ingest's state, the table or schema `bekk` are lost, or restored one without the other. Who types what Bekk
//! prints has in the table what the files have, with a key and without one.

use std::fs;
use std::process::Command;

use crate::advice::{KEYED, KEYLESS, count, file, filled, follow};
use crate::support::{Ran, Sandbox};

/// Types a line of the shell in the project directory.
fn type_line(sandbox: &Sandbox, line: &str) {
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_bekk")).parent();
    let path = format!(
        "{}:{}",
        bin.unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let ran = Command::new("sh")
        .args(["-ec", line])
        .current_dir(sandbox.dir())
        .env_clear()
        .envs([("PATH", path.as_str()), ("DATABASE_URL", &sandbox.url)])
        .output();
    Ran::new(ran.unwrap()).ok();
}

/// Follows the advice for a table without a key, whose rows must be kept in another one. Returns their number.
pub(crate) fn fill_anew(sandbox: &Sandbox, refused: &Ran) -> u64 {
    let said = &refused.stderr;
    let at = said.rfind("bekk psql -c '");
    let at = at.unwrap_or_else(|| panic!("no advice in: {said}"));
    let line = said[at..].lines().next().unwrap();
    let (keep, fill) = line.split_once("', then: ").unwrap();
    type_line(sandbox, &format!("{keep}'"));
    type_line(sandbox, fill);
    sandbox.ok("up --once");
    sandbox
        .postgres()
        .number("SELECT count(*) FROM items_before")
}

#[track_caller]
fn check(sandbox: &Sandbox, rows: u64) {
    assert_eq!(count(sandbox), rows);
    sandbox.tells("audit --deep", "nothing differs");
    sandbox.tells("health", "healthy");
}

/// `.bekk/log` is removed, and ingest's state stays.
#[test]
fn a_log_that_is_gone_is_begun_anew() {
    for config in [KEYED, KEYLESS] {
        let sandbox = filled(config);
        fs::remove_dir_all(sandbox.log_dir()).unwrap();
        sandbox.write("data/b.csv", file(100..110, "b"));
        sandbox.tells(
            "status",
            "problem    no log is in `.bekk/log`, and group `bekk` has applied records",
        );
        sandbox.fails("health").prints("next: put the log back");
        let refused = sandbox.fails("up --once");
        let at = refused.stderr.rfind("rm ").unwrap();
        type_line(&sandbox, &refused.stderr[at..]);
        let refused = sandbox.fails("up --once");
        if config == KEYED {
            let command = follow(&sandbox, &refused);
            assert_eq!(command[..2], ["offsets", "reset"]);
        } else {
            assert_eq!(fill_anew(&sandbox, &refused), 100);
        }
        check(&sandbox, 110);
    }
}

/// `.bekk/ingest` is removed: the log says what was read.
#[test]
fn a_lost_state_of_ingest_needs_nobody() {
    let sandbox = filled(KEYLESS);
    fs::remove_dir_all(sandbox.path(".bekk/ingest")).unwrap();
    sandbox.write("data/b.csv", file(100..110, "b"));
    sandbox.ok("up --once");
    check(&sandbox, 110);
}

/// The table is that of an older dump, and the offsets are not; then both are.
#[test]
fn a_table_of_an_older_dump_is_completed() {
    let dump = "CREATE TABLE saved (LIKE items INCLUDING ALL); INSERT INTO saved TABLE items;
                CREATE TABLE saved_offsets AS TABLE bekk.offsets";
    let restore = "DROP TABLE items; ALTER TABLE saved RENAME TO items";
    let restore_offsets = "DELETE FROM bekk.offsets; INSERT INTO bekk.offsets TABLE saved_offsets";
    for (config, is_with_offsets) in [(KEYED, false), (KEYLESS, false), (KEYLESS, true)] {
        let sandbox = filled(config);
        let postgres = sandbox.postgres();
        postgres.execute(dump);
        sandbox.write("data/b.csv", file(100..110, "b"));
        sandbox.ok("up --once");
        postgres.execute(restore);
        sandbox.write("data/c.csv", file(110..120, "c"));
        if is_with_offsets {
            postgres.execute(restore_offsets);
            let refused = sandbox.fails("up --once");
            let adopt = "bekk offsets adopt --group bekk --stream items";
            assert!(refused.stderr.contains(adopt), "{}", refused.stderr);
            type_line(&sandbox, adopt);
            sandbox
                .ok("up --once")
                .says("the group had applied more of this log than its offset says");
        } else {
            let refused = sandbox.fails("up --once");
            if config == KEYED {
                assert_eq!(follow(&sandbox, &refused)[0], "replay");
            } else {
                // An adoption of such a table reports what it lacks.
                let adopted = sandbox.ok("adopt");
                adopted.prints("the table lacks 10 rows; to fill it anew");
                assert_eq!(fill_anew(&sandbox, &refused), 100);
            }
        }
        check(&sandbox, 120);
    }
}

/// Schema `bekk` is that of an older dump, or has lost a row, and the table has all rows.
#[test]
fn offsets_of_an_older_dump_double_no_row() {
    let restore = "DELETE FROM bekk.offsets; INSERT INTO bekk.offsets TABLE saved";
    let lose = "DELETE FROM bekk.offsets WHERE partition = 1";
    for (config, accident) in [(KEYED, restore), (KEYLESS, restore), (KEYLESS, lose)] {
        let sandbox = filled(config);
        let postgres = sandbox.postgres();
        postgres.execute("CREATE TABLE saved AS TABLE bekk.offsets");
        sandbox.write("data/b.csv", file(100..110, "b"));
        sandbox.ok("up --once");
        postgres.execute(accident);
        if config == KEYED {
            sandbox
                .ok("up --once")
                .says("the group had applied more of this log than its offset says");
        } else {
            let refused = sandbox.fails("up --once");
            assert_eq!(fill_anew(&sandbox, &refused), 110);
        }
        check(&sandbox, 110);
    }
}

/// A table of schema `bekk` is dropped by somebody who tidies up. Every command says so, and none continues without it.
#[test]
fn a_table_of_the_schema_that_was_dropped_is_made_anew() {
    for (config, table) in [(KEYED, "groups"), (KEYLESS, "dead_letters")] {
        let sandbox = filled(config);
        sandbox
            .postgres()
            .execute(&format!("DROP TABLE bekk.{table}"));
        sandbox.write("data/b.csv", file(100..110, "b"));
        let what = format!("table bekk.{table} does not exist");
        sandbox.refuses("up --once", &what);
        sandbox.run("status").prints(&what);
        let unhealthy = sandbox.fails("health").prints(&what);
        let command = "bekk check --repair";
        unhealthy.prints(command);
        sandbox.fails("check").prints(command);
        assert_eq!(count(&sandbox), 100);
        let repaired = sandbox.ok("check --repair");
        repaired.says(&format!("created    bekk.{table}, empty"));
        sandbox.ok("up --once");
        check(&sandbox, 110);
    }
}
