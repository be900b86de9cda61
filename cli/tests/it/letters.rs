//! Dead letters: listed, shown, tried again, exported, discarded.

use std::fs;

use crate::sample::{HEADER, event, file, open_letters, prices};
use crate::support::Sandbox;

#[test]
fn a_mended_dead_letter_lands_and_a_newer_row_is_kept() {
    let sandbox = Sandbox::new();
    sandbox.tells("dead-letters list", "no dead letters");
    sandbox.events(
        "data/a.csv",
        &[
            (1, "view", "1"),
            (2, "sell", "2"),
            (3, "view", "abc"),
            (4, "sell", "4"),
            (4, "view", "44"),
            (5, "sell", "5"),
        ],
    );
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    postgres.execute("ALTER TABLE events ADD CONSTRAINT cheap CHECK (price < 100)");
    sandbox.events(
        "data/b.csv",
        &[(5, "view", "55"), (6, "view", "600"), (7, "view", "700")],
    );
    sandbox.ok("up --once");
    sandbox.events("data/c.csv", &[(7, "view", "7")]);
    sandbox.ok("up --once");
    assert_eq!(
        open_letters(&postgres),
        [["bad_value", "1"], ["not_allowed", "3"], ["refused", "2"]]
    );
    let listed = sandbox.ok("dead-letters list --reason bad_value");
    listed.prints("a.csv:4").prints("price");

    // Nothing has been corrected: all stay, and the exit code says so.
    let vain = sandbox.fails("dead-letters retry --all");
    let vain = vain.prints("0 retried, 1 superseded by a newer record, 5 still open");
    vain.says("stays: not_allowed in `event_type`")
        .says("cheap");

    // Corrected: the configuration, the table, the text.
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    let config = config.replace("\"view\", \"purchase\"", "\"view\", \"sell\", \"purchase\"");
    sandbox.write("bekk.toml", config);
    // The table enforces what was allowed when it was made, and says how to change that.
    let replace = "DROP CONSTRAINT \"events_event_type_allowed\", ADD CONSTRAINT \"events_event_type_allowed\" \
                   CHECK (\"event_type\" IN ('view', 'sell', 'purchase', 'add_to_cart'))";
    sandbox.tells("check", replace);
    postgres.execute(&format!(
        "ALTER TABLE events DROP CONSTRAINT cheap, {replace}"
    ));
    postgres.execute(
        "UPDATE bekk.dead_letters SET raw = convert_to(replace(convert_from(raw, 'UTF8'), 'abc', '3.5'), 'UTF8')
          WHERE reason = 'bad_value'",
    );
    let retried = sandbox.ok("dead-letters retry --all");
    retried.prints("3 retried, 2 superseded by a newer record, 0 still open");
    assert_eq!(
        prices(&postgres, "events"),
        [
            "1=1.00", "2=2.00", "3=3.50", "4=44.00", "5=55.00", "6=600.00", "7=7.00"
        ]
    );
    sandbox.tells(
        "dead-letters retry --all",
        "0 retried, 0 superseded by a newer record, 0 still open",
    );
    let all = sandbox.ok("dead-letters list --resolved --json");
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
    sandbox.events("data/a.csv", &[(1, "view", "a"), (1, "view", "b")]);
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    postgres.execute(
        "UPDATE bekk.dead_letters
            SET raw = convert_to(replace(convert_from(raw, 'UTF8'), ',b,', ',2,'), 'UTF8')",
    );
    let later = postgres.one("SELECT max(id) FROM bekk.dead_letters");
    sandbox.tells(&["dead-letters", "retry", &later], "1 retried");
    postgres.execute(
        "UPDATE bekk.dead_letters
            SET raw = convert_to(replace(convert_from(raw, 'UTF8'), ',a,', ',1,'), 'UTF8')",
    );
    sandbox.tells("dead-letters retry --all", "0 retried, 1 superseded");
    assert_eq!(prices(&postgres, "events"), ["1=2.00"]);
}

/// What the log does not have any more is put in only where nothing is.
#[test]
fn a_letter_of_another_log_is_inserted_only_where_its_key_is_absent() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "x"), (2, "view", "x")]);
    sandbox.events("data/b.csv", &[(2, "view", "22")]);
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    postgres.execute(
        "UPDATE bekk.dead_letters SET log_id = gen_random_uuid(),
                raw = convert_to(replace(convert_from(raw, 'UTF8'), ',x,', ',9,'), 'UTF8')",
    );
    fs::remove_file(sandbox.path("data/a.csv")).unwrap();
    let retry = ["dead-letters", "retry", "--all"];
    sandbox.refuses(&retry, "is gone, or another file has its name");
    let retried = sandbox.ok(&[&retry[..], &["--header", HEADER]].concat());
    retried.prints("1 retried, 1 superseded");
    assert_eq!(prices(&postgres, "events"), ["1=9.00", "2=22.00"]);
}

#[test]
fn dead_letters_are_shown_exported_and_discarded() {
    let sandbox = Sandbox::new();
    let bad = event(1, "view", "abc");
    sandbox.write("data/a.csv", file(&[bad.clone(), event(2, "buy", "1")]));
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    let id = postgres.one("SELECT id FROM bekk.dead_letters WHERE reason = 'bad_value'");
    for table in [
        &["dead-letters", "list"],
        &["offsets", "list"],
        &["ingest", "files"],
    ] {
        let table = sandbox.ok(table).stdout;
        let wide = table.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{table}");
    }
    let shown = sandbox
        .ok(&["dead-letters", "show", &id])
        .prints(bad.trim());
    shown.prints("line      2 (byte");
    sandbox.refuses("dead-letters show 999", "no dead letter 999");

    sandbox.ok("dead-letters export --csv out.csv");
    let exported = fs::read_to_string(sandbox.path("out.csv")).unwrap();
    assert_eq!(exported.lines().count(), 3, "{exported}");
    assert!(
        exported.contains(&format!("\"{}\"", bad.trim())),
        "{exported}"
    );

    sandbox.run("dead-letters discard").exits(2).says("--all");
    sandbox.tells(
        "dead-letters discard --all --reason not_allowed",
        "1 discarded",
    );
    sandbox.tells(&["dead-letters", "discard", &id], "1 discarded");
    let again = sandbox.ok(&["dead-letters", "discard", &id]);
    again.prints("0 discarded; no open dead letter was found");
    sandbox.tells("dead-letters list", "no dead letters");
    sandbox.tells("dead-letters list --resolved", "(discarded)");
}

/// A column becomes narrower, and the log is applied again: its records have the type of before.
#[test]
fn a_replay_after_a_change_of_type_says_how_to_read_the_file_again() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "1"), (2, "view", "2")]);
    sandbox.ok("up --once");
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    let narrower = "name = \"quantity\", type = \"int2\"";
    let config = config.replace("name = \"quantity\", type = \"int4\"", narrower);
    assert!(config.contains(narrower), "{config}");
    sandbox.write("bekk.toml", config);
    let postgres = sandbox.postgres();
    postgres.execute("TRUNCATE events; ALTER TABLE events ALTER COLUMN quantity TYPE smallint");
    sandbox.ok("replay --from earliest --execute");
    assert_eq!(open_letters(&postgres), [["schema_mismatch", "2"]]);
    let listed = sandbox.ok("dead-letters list");
    listed.prints("bekk ingest reread FILE");

    let vain = sandbox.fails("dead-letters retry --all");
    vain.says("bekk ingest reread FILE");
    sandbox.ok("ingest reread data/a.csv --execute");
    sandbox.ok("up --once");
    assert_eq!(prices(&postgres, "events"), ["1=1.00", "2=2.00"]);
    let discard = "dead-letters discard --all --reason schema_mismatch";
    sandbox.tells(discard, "2 discarded");
}

#[test]
fn a_mistyped_name_is_an_error_that_lists_the_known_ones() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "sell", "1")]);
    sandbox.ok("up --once");
    let refused = |arguments: &[&str], known: &str| {
        sandbox.run(arguments).exits(2).says("known: ").says(known);
    };
    refused(
        &["dead-letters", "list", "--reason", "not_alowed"],
        "not_allowed",
    );
    refused(
        &["dead-letters", "discard", "--all", "--group", "beck"],
        "bekk",
    );
    refused(
        &["dead-letters", "retry", "--all", "--stream", "event"],
        "events",
    );
    refused(
        &["dead-letters", "export", "--csv", "x.csv", "--reason", "x"],
        "bad_value",
    );
    refused(&["sink", "--once", "--stream", "event"], "events");
    assert_eq!(open_letters(&sandbox.postgres()), [["not_allowed", "1"]]);
    // A reason that exists, and that no letter has, is no mistake.
    let listed = sandbox.ok("dead-letters list --reason nul");
    listed.prints("no dead letters");
}
