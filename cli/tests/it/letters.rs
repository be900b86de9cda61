//! Dead letters: listed, shown, tried again, exported, discarded.

use std::fs;

use crate::sample::{HEADER, event, file, open_letters, prices, prints};
use crate::support::Sandbox;

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
        open_letters(&postgres),
        [["bad_value", "1"], ["not_allowed", "3"], ["refused", "2"]]
    );
    let listed = sandbox
        .run(&["dead-letters", "list", "--reason", "bad_value"])
        .ok();
    prints(prints(listed, "a.csv:4"), "price");

    // Nothing has been corrected: all stay, and the exit code says so.
    let vain = sandbox.run(&["dead-letters", "retry", "--all"]).exits(1);
    let vain = prints(
        vain,
        "0 retried, 1 superseded by a newer record, 5 still open",
    );
    vain.says("stays: not_allowed in `event_type`")
        .says("cheap");

    // Corrected: the configuration, the table, the text.
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    let config = config.replace("\"view\", \"purchase\"", "\"view\", \"sell\", \"purchase\"");
    sandbox.write("bekk.toml", config);
    // The table enforces what was allowed when it was made, and says how to change that.
    let replace = "DROP CONSTRAINT \"events_event_type_allowed\", ADD CONSTRAINT \"events_event_type_allowed\" \
                   CHECK (\"event_type\" IN ('view', 'sell', 'purchase', 'add_to_cart'))";
    prints(sandbox.run(&["check"]).ok(), replace);
    postgres.execute(&format!(
        "ALTER TABLE events DROP CONSTRAINT cheap, {replace}"
    ));
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
        .says("is gone, or another file has its name");
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
    for table in [
        &["dead-letters", "list"],
        &["offsets", "list"],
        &["ingest", "files"],
    ] {
        let table = sandbox.run(table).ok().stdout;
        let wide = table.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{table}");
    }
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
        .exits(2)
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
    let again = sandbox.run(&["dead-letters", "discard", &id]).ok();
    prints(again, "0 discarded; no open dead letter was found");
    prints(
        sandbox.run(&["dead-letters", "list"]).ok(),
        "no dead letters",
    );
    prints(
        sandbox.run(&["dead-letters", "list", "--resolved"]).ok(),
        "(discarded)",
    );
}

/// A column becomes narrower, and the log is applied again: its records have the type of before.
#[test]
fn a_replay_after_a_change_of_type_says_how_to_read_the_file_again() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "data/a.csv",
        file(&[event(1, "view", "1"), event(2, "view", "2")]),
    );
    sandbox.run(&["up", "--once"]).ok();
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../bekk.toml")).unwrap();
    let narrower = "name = \"quantity\", type = \"int2\"";
    let config = config.replace("name = \"quantity\", type = \"int4\"", narrower);
    assert!(config.contains(narrower), "{config}");
    sandbox.write("bekk.toml", config);
    let postgres = sandbox.postgres();
    postgres.execute("TRUNCATE events; ALTER TABLE events ALTER COLUMN quantity TYPE smallint");
    sandbox
        .run(&["replay", "--from", "earliest", "--execute"])
        .ok();
    assert_eq!(open_letters(&postgres), [["schema_mismatch", "2"]]);
    let listed = sandbox.run(&["dead-letters", "list"]).ok();
    prints(listed, "bekk ingest reread FILE");

    let vain = sandbox.run(&["dead-letters", "retry", "--all"]).exits(1);
    vain.says("bekk ingest reread FILE");
    sandbox
        .run(&["ingest", "reread", "data/a.csv", "--execute"])
        .ok();
    sandbox.run(&["up", "--once"]).ok();
    assert_eq!(prices(&postgres, "events"), ["1=1.00", "2=2.00"]);
    let discard = [
        "dead-letters",
        "discard",
        "--all",
        "--reason",
        "schema_mismatch",
    ];
    prints(sandbox.run(&discard).ok(), "2 discarded");
}

#[test]
fn a_mistyped_name_is_an_error_that_lists_the_known_ones() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", file(&[event(1, "sell", "1")]));
    sandbox.run(&["up", "--once"]).ok();
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
    let listed = sandbox
        .run(&["dead-letters", "list", "--reason", "nul"])
        .ok();
    prints(listed, "no dead letters");
}
