//! What an operator needs: dead letters, replay, status, retention.

use std::fs;
use std::time::Duration;

use crate::support::{Postgres, Ran, Sandbox, wait_until};

const HEADER: &str =
    "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time";

/// An event of the sample stream.
fn event(id: u32, kind: &str, price: &str) -> String {
    format!(
        "{},{kind},1,2,garden,{price},1,,2026-01-01T00:00:00Z\n",
        key(id)
    )
}

fn key(id: u32) -> String {
    format!("00000000-0000-0000-0000-{id:012}")
}

fn file(lines: &[String]) -> String {
    format!("{HEADER}\n{}", lines.concat())
}

/// The table as `id=price`.
fn prices(postgres: &Postgres, table: &str) -> Vec<String> {
    let query = format!(
        "SELECT ltrim(right(event_id::text, 6), '0') || '=' || price FROM {table} ORDER BY event_id"
    );
    let rows = postgres.rows(&query);
    rows.into_iter().map(|row| row[0].clone()).collect()
}

/// The open letters' numbers, by reason.
fn open(postgres: &Postgres) -> Vec<Vec<String>> {
    postgres.rows(
        "SELECT reason, count(*) FROM bekk.dead_letters WHERE resolved_at IS NULL GROUP BY 1 ORDER BY 1",
    )
}

#[track_caller]
fn prints(ran: Ran, text: &str) -> Ran {
    assert!(
        ran.stdout.contains(text),
        "`{text}` is not in: {}\nstderr: {}",
        ran.stdout,
        ran.stderr
    );
    ran
}

#[test]
fn a_mended_dead_letter_lands_and_a_newer_row_is_kept() {
    let sandbox = Sandbox::new();
    prints(
        sandbox.run(&["dead-letters", "list"]).ok(),
        "no dead letters",
    );
    sandbox.write(
        "data/a.csv",
        file(&[
            event(1, "view", "1"),
            event(2, "sell", "2"),
            event(3, "view", "abc"),
            event(4, "sell", "4"),
            event(4, "view", "44"),
            event(5, "sell", "5"),
        ]),
    );
    sandbox.run(&["up", "--once"]).ok();
    let postgres = sandbox.postgres();
    postgres.execute("ALTER TABLE events ADD CONSTRAINT cheap CHECK (price < 100)");
    sandbox.write(
        "data/b.csv",
        file(&[
            event(5, "view", "55"),
            event(6, "view", "600"),
            event(7, "view", "700"),
        ]),
    );
    sandbox.run(&["up", "--once"]).ok();
    sandbox.write("data/c.csv", file(&[event(7, "view", "7")]));
    sandbox.run(&["up", "--once"]).ok();
    assert_eq!(
        open(&postgres),
        [["bad_value", "1"], ["not_allowed", "3"], ["refused", "2"]]
    );
    let listed = sandbox
        .run(&["dead-letters", "list", "--reason", "bad_value"])
        .ok();
    prints(prints(listed, "a.csv:4"), "price");

    // Nothing has been mended: all stay, and the exit code says so.
    let vain = sandbox.run(&["dead-letters", "retry", "--all"]).exits(1);
    let vain = prints(
        vain,
        "0 retried, 1 superseded by a newer record, 5 still open",
    );
    vain.says("stays: not_allowed in `event_type`")
        .says("cheap");

    // Mended: the configuration, the table, the text.
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    let config = config.replace("\"view\", \"purchase\"", "\"view\", \"sell\", \"purchase\"");
    sandbox.write("bekk.toml", config);
    postgres.execute("ALTER TABLE events DROP CONSTRAINT cheap");
    postgres.execute(
        "UPDATE bekk.dead_letters SET raw = convert_to(replace(convert_from(raw, 'UTF8'), 'abc', '3.5'), 'UTF8')
          WHERE reason = 'bad_value'",
    );
    let retried = sandbox.run(&["dead-letters", "retry", "--all"]).ok();
    prints(
        retried,
        "3 retried, 2 superseded by a newer record, 0 still open",
    );
    assert_eq!(
        prices(&postgres, "events"),
        [
            "1=1.00", "2=2.00", "3=3.50", "4=44.00", "5=55.00", "6=600.00", "7=7.00"
        ]
    );
    prints(
        sandbox.run(&["dead-letters", "retry", "--all"]).ok(),
        "0 retried, 0 superseded by a newer record, 0 still open",
    );
    let all = sandbox
        .run(&["dead-letters", "list", "--resolved", "--json"])
        .ok();
    assert_eq!(all.stdout.matches("\"resolution\": \"retried\"").count(), 3);
    assert_eq!(
        all.stdout.matches("\"resolution\": \"superseded\"").count(),
        3
    );
}

/// An earlier and a later reject of one key: the later one was retried first, and the log has no key of it.
#[test]
fn an_earlier_letter_does_not_run_over_a_later_one() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "data/a.csv",
        file(&[event(1, "view", "a"), event(1, "view", "b")]),
    );
    sandbox.run(&["up", "--once"]).ok();
    let postgres = sandbox.postgres();
    postgres.execute(
        "UPDATE bekk.dead_letters
            SET raw = convert_to(replace(convert_from(raw, 'UTF8'), ',b,', ',2,'), 'UTF8')",
    );
    let later = postgres.one("SELECT max(id) FROM bekk.dead_letters");
    prints(
        sandbox.run(&["dead-letters", "retry", &later]).ok(),
        "1 retried",
    );
    postgres.execute(
        "UPDATE bekk.dead_letters
            SET raw = convert_to(replace(convert_from(raw, 'UTF8'), ',a,', ',1,'), 'UTF8')",
    );
    prints(
        sandbox.run(&["dead-letters", "retry", "--all"]).ok(),
        "0 retried, 1 superseded",
    );
    assert_eq!(prices(&postgres, "events"), ["1=2.00"]);
}

/// What the log does not have any more is put in only where nothing is.
#[test]
fn a_letter_of_another_log_is_inserted_only_where_its_key_is_absent() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "data/a.csv",
        file(&[event(1, "view", "x"), event(2, "view", "x")]),
    );
    sandbox.write("data/b.csv", file(&[event(2, "view", "22")]));
    sandbox.run(&["up", "--once"]).ok();
    let postgres = sandbox.postgres();
    postgres.execute(
        "UPDATE bekk.dead_letters SET log_id = gen_random_uuid(),
                raw = convert_to(replace(convert_from(raw, 'UTF8'), ',x,', ',9,'), 'UTF8')",
    );
    fs::remove_file(sandbox.path("data/a.csv")).unwrap();
    let retry = ["dead-letters", "retry", "--all"];
    sandbox
        .run(&retry)
        .exits(1)
        .says("is gone, or is not the file");
    let retried = sandbox
        .run(&[&retry[..], &["--header", HEADER]].concat())
        .ok();
    prints(retried, "1 retried, 1 superseded");
    assert_eq!(prices(&postgres, "events"), ["1=9.00", "2=22.00"]);
}

#[test]
fn dead_letters_are_shown_exported_and_discarded() {
    let sandbox = Sandbox::new();
    let bad = event(1, "view", "abc");
    sandbox.write("data/a.csv", file(&[bad.clone(), event(2, "buy", "1")]));
    sandbox.run(&["up", "--once"]).ok();
    let postgres = sandbox.postgres();
    let id = postgres.one("SELECT id FROM bekk.dead_letters WHERE reason = 'bad_value'");
    let shown = prints(sandbox.run(&["dead-letters", "show", &id]).ok(), bad.trim());
    prints(shown, "line      2 (byte");
    sandbox
        .run(&["dead-letters", "show", "999"])
        .exits(1)
        .says("no dead letter 999");

    sandbox
        .run(&["dead-letters", "export", "--csv", "out.csv"])
        .ok();
    let exported = fs::read_to_string(sandbox.path("out.csv")).unwrap();
    assert_eq!(exported.lines().count(), 3, "{exported}");
    assert!(
        exported.contains(&format!("\"{}\"", bad.trim())),
        "{exported}"
    );

    sandbox
        .run(&["dead-letters", "discard"])
        .exits(1)
        .says("--all");
    prints(
        sandbox
            .run(&[
                "dead-letters",
                "discard",
                "--all",
                "--reason",
                "not_allowed",
            ])
            .ok(),
        "1 discarded",
    );
    prints(
        sandbox.run(&["dead-letters", "discard", &id]).ok(),
        "1 discarded",
    );
    prints(
        sandbox.run(&["dead-letters", "list"]).ok(),
        "no dead letters",
    );
    prints(
        sandbox.run(&["dead-letters", "list", "--resolved"]).ok(),
        "(discarded)",
    );
}

/// Rows were damaged and deleted by hand; the dry run changes nothing, the replay mends them, and a row that
/// the table would not take then is one now, so that its letter is resolved.
#[test]
fn a_replay_mends_the_table() {
    let sandbox = Sandbox::new();
    let postgres = sandbox.postgres();
    sandbox
        .run(&["replay", "--from", "earliest"])
        .exits(1)
        .says("applied nothing");
    let lines: Vec<_> = (1..=50).map(|id| event(id, "view", "7")).collect();
    sandbox.write("data/a.csv", file(&lines));
    sandbox.run(&["up", "--once"]).ok();
    postgres.execute("ALTER TABLE events ADD CONSTRAINT cheap CHECK (price < 100)");
    sandbox.write(
        "data/b.csv",
        file(&[event(51, "view", "500"), event(52, "sell", "1")]),
    );
    sandbox.run(&["up", "--once"]).ok();
    postgres.execute("ALTER TABLE events DROP CONSTRAINT cheap");
    postgres.execute("CREATE TABLE public.damaged AS TABLE events");
    postgres.execute(
        "UPDATE events SET price = 1 WHERE event_id < '00000000-0000-0000-0000-000000000011'",
    );
    postgres.execute("DELETE FROM events WHERE event_id > '00000000-0000-0000-0000-000000000040'");
    let differs = sandbox.run(&["diff", "damaged", "events"]).exits(1);
    let differs = prints(differs, "added               0\n");
    let differs = prints(differs, &format!("missing            10   {}", key(41)));
    prints(differs, &format!("changed            10   {}", key(1)));

    let before = postgres.rows("SELECT next FROM bekk.offsets ORDER BY partition");
    let dry = sandbox.run(&["replay", "--from", "earliest"]).ok();
    prints(prints(dry, " -> 0   "), "nothing was changed");
    assert_eq!(
        postgres.rows("SELECT next FROM bekk.offsets ORDER BY partition"),
        before
    );
    sandbox
        .run(&["replay", "--from", "earliest", "--execute"])
        .ok();
    assert_eq!(
        postgres.rows("SELECT next FROM bekk.offsets ORDER BY partition"),
        before
    );
    let mended = sandbox
        .run(&["diff", "damaged", "events", "--json"])
        .exits(1);
    assert_eq!(
        mended.stdout.matches("\"rows\": 0").count(),
        2,
        "{}",
        mended.stdout
    );
    assert_eq!(open(&postgres), [["not_allowed", "1"]]);
    assert_eq!(
        postgres.one("SELECT resolution FROM bekk.dead_letters WHERE reason = 'refused'"),
        "replayed"
    );
}

#[test]
fn a_shadow_table_equals_the_original() {
    let sandbox = Sandbox::new();
    let lines: Vec<_> = (1..=40)
        .map(|id| event(id % 30, "view", &id.to_string()))
        .collect();
    sandbox.write("data/a.csv", file(&lines));
    sandbox.run(&["up", "--once"]).ok();
    let postgres = sandbox.postgres();
    postgres.execute("ALTER TABLE events ADD COLUMN note text DEFAULT 'kept'");
    let dry = sandbox
        .run(&["replay", "--from", "earliest", "--into", "events_v2"])
        .ok();
    prints(dry, "records to apply");
    assert_eq!(postgres.one("SELECT to_regclass('events_v2') IS NULL"), "t");
    let into = [
        "replay",
        "--from",
        "earliest",
        "--into",
        "events_v2",
        "--execute",
    ];
    sandbox.run(&into).ok().says("bekk diff events events_v2");
    prints(
        sandbox.run(&["diff", "events", "events_v2"]).ok(),
        "changed             0",
    );
    assert_eq!(postgres.one("SELECT DISTINCT note FROM events_v2"), "kept");
    let again = sandbox.run(&into).ok();
    again.says("goes on where it stands");

    // The same by hand, and a group that exists is not moved by --from.
    let sink = [
        "sink",
        "--once",
        "--group",
        "v3",
        "--table",
        "events_v3",
        "--from",
    ];
    sandbox.run(&[&sink[..], &["earliest"]].concat()).ok();
    sandbox.run(&["diff", "events", "events_v3"]).ok();
    postgres.execute("DELETE FROM events_v3");
    sandbox
        .run(&[&sink[..], &["offset:0"]].concat())
        .ok()
        .says("goes on where it stands");
    assert_eq!(postgres.number("SELECT count(*) FROM events_v3"), 0);
    // A group stays with its table.
    sandbox
        .run(&["sink", "--once", "--table", "events_v4"])
        .exits(1)
        .says("events");
}

#[test]
fn a_reset_goes_to_every_kind_of_place_and_nowhere_else() {
    let sandbox = Sandbox::new();
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    sandbox.write(
        "bekk.toml",
        config.replace("partitions = 4", "partitions = 1"),
    );
    let lines: Vec<_> = (1..=20).map(|id| event(id, "view", "7")).collect();
    sandbox.write("data/a.csv", file(&lines));
    sandbox.run(&["up", "--once"]).ok();
    let postgres = sandbox.postgres();
    let next = || postgres.number("SELECT next FROM bekk.offsets");
    for (to, expected) in [
        ("earliest", 0),
        ("latest", 20),
        ("offset:7", 7),
        ("shift:-3", 4),
        ("time:2020-01-01T00:00:00Z", 0),
        ("time:2999-01-01T00:00:00Z", 20),
    ] {
        let before = next();
        let dry = sandbox.run(&["offsets", "reset", "--to", to]).ok();
        prints(
            dry,
            &format!(" -> {expected}   {} records to apply", 20 - expected),
        );
        assert_eq!(next(), before);
        sandbox
            .run(&["offsets", "reset", "--to", to, "--execute"])
            .ok();
        assert_eq!(next(), expected, "{to}");
    }
    sandbox
        .run(&["offsets", "reset", "--to", "offset:21"])
        .exits(1)
        .says("holds offsets 0 to 20");
    sandbox
        .run(&["offsets", "reset", "--to", "offset:19", "--execute"])
        .ok();
    let listed = sandbox.run(&["offsets", "list", "--json"]).ok();
    let listed = prints(listed, "\"lag\": 1,");
    assert!(
        !listed.stdout.contains("\"lag_seconds\": 0.0"),
        "{}",
        listed.stdout
    );
}

/// Many small segments, one group that is done and one that is not: retention stops at the slow one.
#[test]
fn retention_never_passes_the_slowest_group() {
    let sandbox = Sandbox::new();
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    let config = config
        .replace("partitions = 4", "partitions = 1")
        .replace("{ age = \"7d\", size = \"10GB\" }", "{ size = \"1kB\" }");
    sandbox.write("bekk.toml", &config);
    let start = |sandbox: &Sandbox| {
        let topics = sandbox.run(&["log", "topics", "--json"]).ok().stdout;
        let topics: serde_json::Value = serde_json::from_str(&topics).unwrap();
        let events = topics
            .as_array()
            .unwrap()
            .iter()
            .find(|topic| topic["topic"] == "events");
        events.unwrap()["partitions"][0]["start"].as_u64().unwrap()
    };
    // Segments as small as no log of the binary's has them.
    let mut small = bekk_log::Config::new(sandbox.log_dir());
    small.segment_bytes = 64 * 1024;
    let log = bekk_log::Client::open(small).unwrap();
    let parsed = bekk_stream::Config::load(&sandbox.path("bekk.toml"), &|_| None).unwrap();
    let ingest = bekk_ingest::Config {
        mode: bekk_ingest::Mode::Once,
        ..bekk_ingest::Config::new(sandbox.path(".bekk/ingest"))
    };
    for part in 0..6u32 {
        let lines = (0..5000).map(|at| event(part * 5000 + at, "view", &at.to_string()));
        sandbox.write(
            &format!("data/{part}.csv"),
            file(&lines.collect::<Vec<_>>()),
        );
        let (stats, stop) = Default::default();
        bekk_ingest::run(&ingest, &parsed.streams, &log, &stats, &stop).unwrap();
    }
    assert!(log.segments("events").unwrap().len() > 3);
    log.commit_offset("slow", "events", 0, bekk_log::Offset::new(12_000))
        .unwrap();
    log.close().unwrap();
    assert_eq!(start(&sandbox), 0);

    sandbox.run(&["sink", "--once"]).ok();
    let first = start(&sandbox);
    assert!((1..=12_000).contains(&first), "{first}");
    let reset = ["offsets", "reset", "--to", "offset:0", "--execute"];
    sandbox
        .run(&reset)
        .exits(1)
        .says(&format!("holds offsets {first} to 30000"));
    assert_eq!(
        sandbox.postgres().number("SELECT count(*) FROM events"),
        30_000
    );

    let log = bekk_log::Client::open(bekk_log::Config::new(sandbox.log_dir())).unwrap();
    log.commit_offset("slow", "events", 0, bekk_log::Offset::new(30_000))
        .unwrap();
    log.close().unwrap();
    sandbox.run(&["sink", "--once"]).ok();
    assert!(start(&sandbox) > 12_000);
}

#[test]
fn status_says_where_everything_is_and_what_to_do_next() {
    let sandbox = Sandbox::new();
    let new = prints(sandbox.run(&["status"]).ok(), "does not exist yet");
    prints(new, "\nnext: bekk up (nothing has run here yet)\n");
    assert!(!sandbox.log_dir().exists(), "looking makes nothing");
    sandbox.write(
        "data/a.csv",
        file(&[event(1, "view", "1"), event(2, "view", "x")]),
    );
    sandbox.run(&["ingest", "--once"]).ok();
    sandbox.run(&["sink", "--once"]).ok();
    let told = prints(
        sandbox.run(&["status"]).ok(),
        "files      1 met, 1 finished",
    );
    let told = prints(told, "refused    bekk events: 1 bad_value");
    prints(told, "\nnext: bekk dead-letters list (1 open)\n");
    sandbox.run(&["dead-letters", "discard", "--all"]).ok();
    prints(sandbox.run(&["status"]).ok(), "\nnext: nothing to do\n");
    sandbox.write("data/b.csv", file(&[event(3, "view", "1")]));
    sandbox.run(&["ingest", "--once"]).ok();
    prints(
        sandbox.run(&["status"]).ok(),
        "\nnext: bekk up (records wait, and no sink runs)\n",
    );
    prints(sandbox.run(&["health"]).ok(), "healthy");

    // While another process has the log, the rest is told; and its group cannot be reset.
    let up = sandbox.start(&["up"]);
    let postgres = sandbox.postgres();
    wait_until("the row is there", Duration::from_secs(20), || {
        postgres.number("SELECT count(*) FROM events") == 2
    });
    let busy = prints(
        sandbox.run(&["status"]).ok(),
        "in use by another bekk (pid ",
    );
    prints(busy, "lag ?, a sink runs");
    let json = sandbox.run(&["status", "--json"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["log"]["in_use"], true);
    assert_eq!(json["groups"].as_array().unwrap().len(), 4);
    sandbox
        .run(&["offsets", "reset", "--to", "earliest", "--execute"])
        .exits(1);
    assert_eq!(up.terminate(), Some(0));

    let away = ["health", "--postgres", "postgres://nobody@127.0.0.1:1/none"];
    prints(
        sandbox.run(&away).exits(1),
        "unhealthy: connect to PostgreSQL",
    );
}

#[test]
fn the_logs_records_can_be_read() {
    let sandbox = Sandbox::new();
    let good = event(1, "view", "1.50");
    sandbox.write("data/a.csv", file(&[good.clone(), event(2, "view", "x")]));
    sandbox.run(&["ingest", "--once"]).ok();
    let json = sandbox.run(&["log", "read"]).ok().stdout;
    let records: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 2);
    let row = records
        .iter()
        .find(|record| !record["row"].is_null())
        .unwrap();
    assert_eq!(
        (&row["row"]["price"], &row["key"]),
        (&"1.50".into(), &key(1).into())
    );
    let reject = records
        .iter()
        .find(|record| !record["reject"].is_null())
        .unwrap();
    assert_eq!(
        (&reject["reject"]["reason"], &reject["line"]),
        (&"bad_value".into(), &3.into())
    );
    prints(sandbox.run(&["log", "read", "--format", "csv"]).ok(), &good);
    assert_eq!(
        sandbox
            .run(&["log", "read", "--from", "latest"])
            .ok()
            .stdout,
        ""
    );
    assert_eq!(
        sandbox
            .run(&["log", "read", "--limit", "1"])
            .ok()
            .stdout
            .lines()
            .count(),
        1
    );
    sandbox
        .run(&["log", "read", "--topic", "none"])
        .exits(1)
        .says("does not exist");
}
