//! Replay: into the same table and into another one.

use crate::sample::{event, file, key, open_letters};
use crate::support::Sandbox;

/// Rows were damaged and deleted by hand; the dry run changes nothing, the replay mends them, and a row that
/// the table would not take then is one now, so that its letter is resolved.
#[test]
fn a_replay_mends_the_table() {
    let sandbox = Sandbox::new();
    let postgres = sandbox.postgres();
    sandbox.refuses("replay --from earliest", "applied nothing");
    let lines: Vec<_> = (1..=50).map(|id| event(id, "view", "7")).collect();
    sandbox.write("data/a.csv", file(&lines));
    sandbox.ok("up --once");
    postgres.execute("ALTER TABLE events ADD CONSTRAINT cheap CHECK (price < 100)");
    sandbox.events("data/b.csv", &[(51, "view", "500"), (52, "sell", "1")]);
    sandbox.ok("up --once");
    postgres.execute("ALTER TABLE events DROP CONSTRAINT cheap");
    postgres.execute("CREATE TABLE public.damaged AS TABLE events");
    postgres.execute(
        "UPDATE events SET price = 1 WHERE event_id < '00000000-0000-0000-0000-000000000011'",
    );
    postgres.execute("DELETE FROM events WHERE event_id > '00000000-0000-0000-0000-000000000040'");
    let differs = sandbox.fails("diff damaged events");
    let differs = differs.prints("added               0\n");
    let differs = differs.prints(&format!("missing            10   {}", key(41)));
    differs.prints(&format!("changed            10   {}", key(1)));

    let before = postgres.rows("SELECT next FROM bekk.offsets ORDER BY partition");
    let dry = sandbox.ok("replay --from earliest");
    dry.prints(" -> 0   ").prints("nothing was changed");
    assert_eq!(
        postgres.rows("SELECT next FROM bekk.offsets ORDER BY partition"),
        before
    );
    sandbox.ok("replay --from earliest --execute");
    assert_eq!(
        postgres.rows("SELECT next FROM bekk.offsets ORDER BY partition"),
        before
    );
    let compared = sandbox.fails("diff damaged events --json");
    assert_eq!(
        compared.stdout.matches("\"rows\": 0").count(),
        2,
        "{}",
        compared.stdout
    );
    assert_eq!(open_letters(&postgres), [["not_allowed", "1"]]);
    assert_eq!(
        postgres.one("SELECT resolution FROM bekk.dead_letters WHERE reason = 'refused'"),
        "replayed"
    );
    sandbox.ok("audit --deep");
}

#[test]
fn a_shadow_table_equals_the_original() {
    let sandbox = Sandbox::new();
    let lines: Vec<_> = (1..=40)
        .map(|id| event(id % 30, "view", &id.to_string()))
        .collect();
    sandbox.write("data/a.csv", file(&lines));
    sandbox.events("data/b.csv", &[(99, "view", "bad")]);
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    postgres.execute("ALTER TABLE events ADD COLUMN note text DEFAULT 'kept'");
    let dry = sandbox.ok("replay --from earliest --into events_v2");
    dry.prints("records to apply");
    assert_eq!(postgres.one("SELECT to_regclass('events_v2') IS NULL"), "t");
    let into = "replay --from earliest --into events_v2 --execute";
    sandbox.ok(into).says("bekk diff events events_v2");
    sandbox.tells("diff events events_v2", "changed             0");
    assert_eq!(postgres.one("SELECT DISTINCT note FROM events_v2"), "kept");
    let again = sandbox.ok(into);
    again.says("continues at its offsets");
    let discard = "dead-letters discard --all --group replay-events_v2";
    sandbox.tells(discard, "1 discarded");
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
    sandbox.ok(&[&sink[..], &["earliest"]].concat());
    sandbox.ok("diff events events_v3");
    postgres.execute("DELETE FROM events_v3");
    sandbox
        .ok(&[&sink[..], &["offset:0"]].concat())
        .says("continues at its offsets");
    assert_eq!(postgres.number("SELECT count(*) FROM events_v3"), 0);
    // A group stays with its table.
    sandbox.refuses("sink --once --table events_v4", "events");
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
    sandbox.ok("up --once");
    config(&format!(
        "{columns}, {{ name = \"size\", type = \"int8\", nullable = true }}"
    ));
    let into = "replay --from earliest --into t2 --execute";
    let ran = sandbox.fails(into);
    let drop = "DROP TABLE \"t2\"";
    ran.says(&format!("bekk psql -- -c '{drop}'\n"));
    sandbox.ok(&["psql", "--", "-c", drop]);
    assert_eq!(
        sandbox.postgres().one("SELECT to_regclass('t2') IS NULL"),
        "t"
    );
}
