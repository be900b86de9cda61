//! Replay: into the same table and into another one.

use crate::sample::{event, file, key, open_letters, prints};
use crate::support::Sandbox;

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
    assert_eq!(open_letters(&postgres), [["not_allowed", "1"]]);
    assert_eq!(
        postgres.one("SELECT resolution FROM bekk.dead_letters WHERE reason = 'refused'"),
        "replayed"
    );
    sandbox.run(&["audit", "--deep"]).ok();
}

#[test]
fn a_shadow_table_equals_the_original() {
    let sandbox = Sandbox::new();
    let lines: Vec<_> = (1..=40)
        .map(|id| event(id % 30, "view", &id.to_string()))
        .collect();
    sandbox.write("data/a.csv", file(&lines));
    sandbox.write("data/b.csv", file(&[event(99, "view", "bad")]));
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
    again.says("continues at its offsets");
    let discard = [
        "dead-letters",
        "discard",
        "--all",
        "--group",
        "replay-events_v2",
    ];
    prints(sandbox.run(&discard).ok(), "1 discarded");
    assert_eq!(open_letters(&postgres), [["bad_value", "1"]]);

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
        .says("continues at its offsets");
    assert_eq!(postgres.number("SELECT count(*) FROM events_v3"), 0);
    // A group stays with its table.
    sandbox
        .run(&["sink", "--once", "--table", "events_v4"])
        .exits(1)
        .says("events");
}

/// The stream has got a column that its table lacks: the replay creates the other table like that one, and fails. The
/// output names the commands that remove it.
#[test]
fn a_replay_that_fails_names_the_table_that_it_leaves() {
    let sandbox = Sandbox::new();
    sandbox.write("a.csv", "id,name\n1,Ann\n");
    let config = |columns: &str| {
        let stream = "[streams.t]\nfiles = \"a.csv\"\nkey = \"id\"\n";
        sandbox.write("bekk.toml", format!("{stream}columns = [{columns}]\n"));
    };
    let columns = "{ name = \"id\", type = \"int8\" }, { name = \"name\", type = \"text\" }";
    config(columns);
    sandbox.run(&["up", "--once"]).ok();
    config(&format!(
        "{columns}, {{ name = \"size\", type = \"int8\", nullable = true }}"
    ));
    let into = ["replay", "--from", "earliest", "--into", "t2", "--execute"];
    let ran = sandbox.run(&into).exits(1);
    let drop = "DROP TABLE \"t2\"";
    ran.says(&format!("bekk psql -- -c '{drop}'\n"));
    sandbox.run(&["psql", "--", "-c", drop]).ok();
    assert_eq!(
        sandbox.postgres().one("SELECT to_regclass('t2') IS NULL"),
        "t"
    );
}
