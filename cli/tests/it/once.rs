//! `bekk up --once`: what a person types first, and what becomes of every line.

use std::fs;
use std::time::{Duration, Instant};

use crate::exact::check_audit;
use crate::sample::json;
use crate::support::{Sandbox, assert_says, wait_until};

const HEADER: &str =
    "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time";

fn event(id: u32, rest: &str) -> String {
    format!("00000000-0000-0000-0000-{id:012},{rest}\n")
}

const GOOD: &str = "view,1,2,garden,9.99,1,,2026-01-01T00:00:00Z";

fn file(lines: &[String]) -> String {
    format!("{HEADER}\n{}", lines.concat())
}

#[test]
fn files_become_rows_and_a_second_run_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "data/a.csv",
        file(&[
            event(1, GOOD),
            event(2, GOOD),
            event(1, &GOOD.replace("9.99", "5")),
        ]),
    );
    sandbox.write(
        "data/b.csv",
        file(&[event(3, GOOD), event(4, &GOOD.replace("9.99", "abc"))]),
    );
    // A role that is called `bekk` has the schema of that name first in its search path, usually.
    let postgres = sandbox.postgres();
    let database = postgres.one("SELECT current_database()");
    postgres.execute(&format!(
        "ALTER ROLE bekk IN DATABASE {database} SET search_path = \"$user\", public"
    ));
    let first = sandbox.ok("up --once");
    assert!(
        first
            .stdout
            .starts_with("done: 2 files, 5 records = 3 rows + 1 superseded + 1 dead letter, "),
        "{}",
        first.stdout
    );
    assert_eq!(
        postgres.rows("SELECT right(event_id::text, 1), price FROM events ORDER BY 1"),
        [["1", "5.00"], ["2", "9.99"], ["3", "9.99"]]
    );
    let schema = postgres.one("SELECT schemaname FROM pg_tables WHERE tablename = 'events'");
    let user = postgres.one("SELECT current_user");
    assert_eq!((user.as_str(), schema.as_str()), ("bekk", "public"));
    let before = postgres.rows("SELECT xmin, * FROM events ORDER BY event_id");
    let second = sandbox.ok("up --once");
    assert!(
        second.stdout.starts_with("done: 2 files, nothing new"),
        "{}",
        second.stdout
    );
    assert_eq!(
        postgres.rows("SELECT xmin, * FROM events ORDER BY event_id"),
        before,
        "no row was written again"
    );

    sandbox.write("data/c.csv", file(&[event(5, GOOD)]));
    sandbox.ok("up --once --json").prints("\"rows\": 1");
    assert_eq!(postgres.number("SELECT count(*) FROM events"), 4);
}

/// Each kind of trouble a line can have: a dead letter with the file, the line, the column, the reason
/// and the bytes as they stand in the file.
#[test]
fn every_bad_line_is_a_dead_letter_that_says_why() {
    let sandbox = Sandbox::new();
    // A number begins the id of an event; what ends with a comma lacks its time.
    let bad: [(&str, &str, &[u8]); 12] = [
        ("field_count", "∅", b"01,view,1,2"),
        ("bad_value", "price", b"02,view,1,2,c,abc,1,,"),
        ("too_many_decimals", "price", b"03,view,1,2,c,1.005,1,,"),
        ("out_of_range", "quantity", b"04,view,1,2,c,1,99999999999,,"),
        ("out_of_range", "price", b"05,view,1,2,c,-1,1,,"),
        ("not_allowed", "event_type", b"06,sell,1,2,c,1,1,,"),
        ("missing_value", "event_id", b",view,1,2,c,1,1,,"),
        ("bad_encoding", "category", b"07,view,1,2,bl\xe5,1,1,,"),
        ("nul", "category", b"08,view,1,2,a\0b,1,1,,"),
        (
            "bad_value",
            "event_time",
            b"09,view,1,2,c,1,1,,2026-01-01T00:00:00",
        ),
        ("bad_quote", "category", b"10,view,1,2,\"c\"d,1,1,,"),
        ("unclosed_quote", "category", b"11,view,1,2,\"c,1,1,,"),
    ];
    let bad = bad.map(|(reason, column, line)| {
        let id: &[u8] = match line[0] {
            b',' => b"",
            _ => b"00000000-0000-0000-0000-0000000000",
        };
        let time: &[u8] = match line.ends_with(b",") {
            true => b"2026-01-01T00:00:00Z",
            false => b"",
        };
        (reason, column, [id, line, time].concat())
    });
    let mut bytes = format!("{HEADER}\n").into_bytes();
    for good in 100..120 {
        bytes.extend(event(good, GOOD).bytes());
    }
    for (_, _, line) in &bad {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes.pop();
    sandbox.write("data/bad.csv", &bytes);
    let once = sandbox.ok("up --once");
    once.prints("32 records = 20 rows + 0 superseded + 12 dead letters");
    let letters = sandbox.postgres().rows(
        "SELECT reason, column_name, encode(raw, 'hex'), line, file, detail FROM bekk.dead_letters ORDER BY line",
    );
    assert_eq!(letters.len(), bad.len());
    for (at, (letter, (reason, column, raw))) in letters.iter().zip(&bad).enumerate() {
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            letter[..3],
            [reason.to_string(), column.to_string(), hex],
            "letter {at}: {letter:?}"
        );
        assert_eq!(letter[3], (22 + at).to_string(), "the line of letter {at}");
        assert!(letter[4].ends_with("data/bad.csv"), "{letter:?}");
        assert!(!letter[5].is_empty() && letter[5] != "∅", "{letter:?}");
    }
    assert_eq!(
        sandbox.run("sink --once --strict").code,
        Some(0),
        "nothing new is no dead letter"
    );
}

/// The accident: the table has a condition that the stream does not know of.
#[test]
fn a_row_that_postgres_refuses_is_isolated() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", file(&[event(1, GOOD)]));
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    postgres.execute("ALTER TABLE events ADD CONSTRAINT cheap CHECK (price < 1000)");
    let price = |id: u32| {
        if id.is_multiple_of(1000) {
            "5000"
        } else {
            "9.99"
        }
    };
    let lines: Vec<_> = (10..5010)
        .map(|id| event(id, &GOOD.replace("9.99", price(id))))
        .collect();
    sandbox.write("data/b.csv", file(&lines));
    let once = sandbox.run("up --once --strict").exits(3);
    once.prints("5,000 records = 4,995 rows + 0 superseded + 5 dead letters");
    let letters =
        postgres.rows("SELECT sqlstate, line, detail FROM bekk.dead_letters ORDER BY line");
    assert_eq!(letters.len(), 5);
    assert_eq!(letters[0][..2], ["23514", "992"]);
    assert!(letters[0][2].contains("cheap"), "{letters:?}");
    check_audit(&sandbox);
}

#[test]
fn a_file_whose_header_cannot_be_right_is_set_aside_until_it_changes() {
    let sandbox = Sandbox::new();
    sandbox.write("data/good.csv", file(&[event(1, GOOD)]));
    sandbox.write("data/wrong.csv", "id,type\n1,view\n");
    let once = sandbox.fails("up --once").prints("1 record = 1 row");
    once.says("wrong.csv").says("event_id");
    sandbox.write("data/wrong.csv", file(&[event(2, GOOD)]));
    sandbox.ok("up --once");
    assert_eq!(sandbox.postgres().number("SELECT count(*) FROM events"), 2);
}

/// The accident: someone removes the log while the table remembers how far it had come.
#[test]
fn another_log_is_refused_with_the_command_that_helps() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", file(&[event(1, GOOD)]));
    sandbox.ok("up --once");
    fs::remove_dir_all(sandbox.path(".bekk")).unwrap();
    let listed = "offsets list";
    sandbox.refuses(listed, "there is no log at");
    sandbox.refuses("up --once", "bekk offsets reset");
    let strange = "none of these offsets belongs to log";
    sandbox.fails(listed).says(strange).prints("! bekk");
    // Another project's streams, which no advice here is about.
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    sandbox.write(
        "bekk.toml",
        config.replace("streams.events", "streams.others"),
    );
    let others = sandbox.fails(listed).says(strange);
    others.prints("? offsets that belong to a different log");
    fs::remove_file(sandbox.path("bekk.toml")).unwrap();
    let reset = ["offsets", "reset", "--group", "bekk", "--to", "earliest"];
    sandbox.ok(&reset).prints("--execute");
    sandbox.fails("up --once");
    // The other log may be in use elsewhere: it has to be named.
    let postgres = sandbox.postgres();
    let old = postgres.one("SELECT DISTINCT log_id::text FROM bekk.offsets");
    sandbox.refuses(
        &[&reset[..], &["--execute"]].concat(),
        &format!("--instead-of {old}"),
    );
    sandbox.ok(&[&reset[..], &["--instead-of", &old, "--execute"]].concat());
    sandbox.ok("up --once");
    assert_eq!(sandbox.postgres().number("SELECT count(*) FROM events"), 1);
    sandbox.ok(listed);
    sandbox.ok("audit --deep");
}

/// A newcomer's second act: his own file, as some program exported it.
#[test]
fn a_file_of_ones_own_needs_two_commands() {
    let sandbox = Sandbox::new();
    let text = "Ordre-nr;Linje;Beløp;Betalt;Endret\n\
        1001;1;1 000,50;true;2026-01-31 10:00:00\n\
        1001;2;12,5;false;2026-02-01 11:00:00\n\
        1002;1;-3,25;;2026-02-01 11:00:00\n";
    sandbox.write("orders.csv", text.replace("1 000", "1000"));
    sandbox.ok("init --from orders.csv").says("wrote bekk.toml");
    let config = fs::read_to_string(sandbox.path("bekk.toml")).unwrap();
    assert!(config.contains("on_conflict = \"append\""), "{config}");
    sandbox.refuses("init --from orders.csv", "--force");
    sandbox.ok("up --once").prints("3 records = 3 rows");
    let rows = sandbox
        .postgres()
        .rows("SELECT ordre_nr, linje, \"beløp\", betalt, endret FROM orders ORDER BY 1, 2");
    assert_eq!(
        rows[0],
        ["1001", "1", "1000.50", "t", "2026-01-31 10:00:00"]
    );
    assert_eq!(rows[2], ["1002", "1", "-3.25", "∅", "2026-02-01 11:00:00"]);
    sandbox.ok("check").prints("orders");
}

#[test]
fn wrong_configurations_and_databases_say_what_to_do() {
    let sandbox = Sandbox::new();
    fs::write(
        sandbox.path("bekk.toml"),
        "[streams.x]\nfiles = [\"x\"]\npartitons = 3\ncolumns = []\n",
    )
    .unwrap();
    sandbox
        .run("up --once")
        .exits(2)
        .says("line 3: unknown key `partitons`; did you mean `partitions`?");
    fs::remove_file(sandbox.path("bekk.toml")).unwrap();
    sandbox.run("up --onec").exits(2).says("--once");
    let typo = "log topics --log kafk://b:1";
    sandbox.run(typo).exits(2).says("write kafka://host:port");
    assert!(!sandbox.path("kafk:").exists());
    let others = "log topics --log .";
    sandbox
        .fails(others)
        .says("it has other files")
        .says("name an empty or a new directory with --log");
    let mut command = sandbox.bekk("check");
    command.env(
        "DATABASE_URL",
        "postgres://me:hush@localhost:1/x?sslmod=require",
    );
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("sslmod") && !said.contains("hush"), "{said}");
}

#[test]
fn a_table_that_does_not_fit_is_named_column_by_column() {
    let sandbox = Sandbox::new();
    sandbox.postgres().execute("CREATE TABLE events (event_id uuid PRIMARY KEY, event_type name, user_id int8, extra text NOT NULL)");
    sandbox.write("data/a.csv", file(&[event(1, GOOD)]));
    let refused = sandbox.fails("up --once");
    for column in ["event_type", "product_id", "extra", "event_time"] {
        assert_says(&refused.stderr, &[column]);
    }
    sandbox.fails("check");
    let checked = json(sandbox.fails("check --json"));
    assert_eq!(checked["ok"], false);
    let problems = checked["tables"][0]["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 8, "{problems:?}");
    let offline = json(sandbox.ok("check --offline --json"));
    assert_eq!(
        (&offline["ok"], &offline["streams"][0]["columns"]),
        (&true.into(), &9.into())
    );
}

#[test]
fn the_log_can_be_verified_and_listed() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", file(&[event(1, GOOD), event(2, GOOD)]));
    sandbox.ok("ingest --once");
    sandbox
        .ok("log topics")
        .prints("events")
        .prints("bekk.meta");
    sandbox.ok("log verify").prints("ok");
    sandbox.ok("sink --once");
    assert_eq!(sandbox.postgres().number("SELECT count(*) FROM events"), 2);

    // Not the exit code of a damaged log.
    let owner = sandbox.start("ingest --http off");
    wait_until("ingest has the log", Duration::from_secs(30), || {
        sandbox.path(".bekk/log/owner").exists()
    });
    let refused = sandbox.run("log verify").exits(2);
    refused
        .says("open in another process")
        .says("stop that process");
    owner.terminate();
}

#[test]
fn generated_files_are_the_same_for_the_same_seed_and_all_arrive() {
    let sandbox = Sandbox::new();
    for out in ["data", "again"] {
        sandbox.ok(&[
            "generate", "--rows", "5000", "--files", "7", "--seed", "7", "--out", out,
        ]);
    }
    for entry in fs::read_dir(sandbox.path("data")).unwrap() {
        let entry = entry.unwrap();
        let again = fs::read(sandbox.path("again").join(entry.file_name())).unwrap();
        assert_eq!(fs::read(entry.path()).unwrap(), again, "{entry:?}");
    }
    sandbox
        .ok("up --once")
        .prints("7 files, 5,000 records = 5,000 rows");
}

#[test]
fn a_time_limit_ends_a_run_that_waits() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", file(&[event(1, GOOD)]));
    let away = "postgres://nobody@127.0.0.1:1/none";
    let arguments = ["up", "--once", "--timeout", "2s", "--postgres", away];
    let started = Instant::now();
    sandbox.refuses(&arguments, "--timeout");
    let took = started.elapsed();
    assert!((2..20).contains(&took.as_secs()), "{took:?}");
    // What was logged meanwhile is applied by the next run, within its limit.
    let arguments = "up --once --timeout 1h";
    sandbox.ok(arguments);
    assert_eq!(sandbox.postgres().one("SELECT count(*) FROM events"), "1");
}
