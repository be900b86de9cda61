//! Status and health.

use std::time::Duration;

use crate::advice::{KEYED, KEYLESS};
use crate::exact::check_audit;
use crate::sample::json;
use crate::support::{Sandbox, wait_until};

#[test]
fn status_says_where_everything_is_and_what_to_do_next() {
    let sandbox = Sandbox::new();
    let new = sandbox.ok("status").prints("does not exist yet");
    new.prints("\nnext: bekk up (nothing has run here yet)\n");
    assert!(!sandbox.log_dir().exists(), "looking makes nothing");
    sandbox.events("data/a.csv", &[(1, "view", "1"), (2, "view", "x")]);
    sandbox.ok("ingest --once");
    sandbox.tells("status", "\nnext: bekk up (2 records of stream `events` in the log, and no sink has applied any to this database)\n");
    sandbox.ok("sink --once");
    let told = sandbox.ok("status").prints("files      1 finished");
    let told = told.prints("letters    bekk events: 1 open, bad_value");
    told.prints("\nnext: bekk dead-letters list (1 open)\n");
    sandbox.ok("dead-letters discard --all");
    sandbox.tells("status", "\nnext: nothing to do\n");
    sandbox.events("data/b.csv", &[(3, "view", "1")]);
    sandbox.ok("ingest --once");
    sandbox.tells(
        "status",
        "\nnext: bekk up (records wait, and no sink runs)\n",
    );
    sandbox.tells("health", "healthy");

    // While another process has the log, it is asked.
    let up = sandbox.start("up");
    let postgres = sandbox.postgres();
    wait_until("the row is there", Duration::from_secs(20), || {
        postgres.number("SELECT count(*) FROM events") == 2
    });
    let busy = sandbox.ok("status").prints("in use by process ");
    busy.prints("; an ingest runs")
        .prints("lag 0, 0.0 s, a sink runs");
    let found = json(sandbox.ok("status --json"));
    assert!(found["log"]["owner_pid"].as_u64() > Some(1), "{found}");
    assert!(
        found["log"]["disk"]["free_bytes"].as_u64() > Some(1),
        "{found}"
    );
    assert_eq!(found["groups"].as_array().unwrap().len(), 4);
    assert_eq!(up.terminate(), Some(0));

    let away = "health --postgres postgres://nobody@127.0.0.1:1/none";
    sandbox
        .fails(away)
        .prints("unhealthy: connect to PostgreSQL");
}

/// In a wrong directory, or before the log's disk is mounted: a new log would be empty, and nothing would differ.
#[test]
fn what_only_looks_at_a_log_makes_none() {
    let sandbox = Sandbox::new();
    let check = |command: &&str| {
        let told = sandbox.fails(*command);
        told.says("there is no log in `.bekk/log`; name its directory with --log");
        assert!(!sandbox.log_dir().exists(), "{command}");
    };
    let commands = [
        "audit",
        "audit --deep",
        "dead-letters retry --all",
        "log backup copy",
        "log copy --to kafka://127.0.0.1:1",
        "log read",
        "log topics",
        "log verify",
        "trace --key 1",
    ];
    commands.iter().for_each(check);
    sandbox
        .fails("log verify --log .")
        .says("there is no log in `.`; name its directory");
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    sandbox.ok("up --once");
    std::fs::remove_dir_all(sandbox.log_dir()).unwrap();
    commands.iter().for_each(check);
    ["offsets reset --to earliest", "replay --from earliest"]
        .iter()
        .for_each(check);
    // What the database has of the group can be deleted nevertheless.
    let delete = "offsets delete --group bekk --execute";
    sandbox
        .ok(delete)
        .prints("4 offsets of group `bekk` in the database and 0 in the log");
    assert!(!sandbox.log_dir().exists());
}

/// A full disk, as a trigger reports it: the sink waits, and `health` and `status` name the reason.
#[test]
fn what_a_sink_waits_for_is_a_problem() {
    const LIMIT: Duration = Duration::from_secs(20);
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    postgres.execute(
        "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER no_space BEFORE INSERT ON events EXECUTE FUNCTION no_space()",
    );
    sandbox.events("data/b.csv", &[(2, "view", "1")]);
    let up = sandbox.start("up");
    // Not by `health`: at a start it might get the log before `up`, which would then begin again.
    wait_until("the sink waits", LIMIT, || {
        sandbox.said().contains("waiting for PostgreSQL")
    });
    let health = || sandbox.run("health");
    wait_until("health says it", LIMIT, || health().code == Some(1));
    let told = health().exits(1).prints("unhealthy: the sink (pid ");
    let told = told.prints(") has waited for PostgreSQL since 20");
    let told = told.prints("could not extend file: No space left on device");
    told.prints("next: remove what PostgreSQL reports");
    sandbox.tells("status", "problem    the sink (pid ");
    let waits = json(sandbox.ok("status --json"));
    let wait = &waits["waits"][0];
    assert!(wait["reason"].as_str().unwrap().contains("53100"), "{wait}");
    assert_eq!(wait["blocked_by"], serde_json::Value::Null);

    postgres.execute("DROP TRIGGER no_space ON events");
    wait_until("all is well", LIMIT, || health().code == Some(0));
    wait_until("the row is there", LIMIT, || {
        postgres.number("SELECT count(*) FROM events") == 2
    });
    assert_eq!(up.terminate(), Some(0));
    check_audit(&sandbox);
}

/// A table loses a column: its stream stops and another one continues, then the process ends. Health and status name what
/// does not fit, before and after.
#[test]
fn a_table_that_does_not_fit_any_more_is_a_problem() {
    const LIMIT: Duration = Duration::from_secs(20);
    const MISSING: &str = "column `note` is missing; ALTER TABLE \"public\".\"items\" ADD COLUMN";
    let sandbox = Sandbox::new();
    let other = KEYED.replace("items", "other").replace("data/", "other/");
    sandbox.write("bekk.toml", format!("{KEYED}{other}"));
    sandbox.write("data/a.csv", "id,note\n1,a\n");
    sandbox.ok("up --once");
    sandbox.tells("health", "healthy");
    let postgres = sandbox.postgres();
    postgres.execute("ALTER TABLE items DROP COLUMN note");
    let up = sandbox.start("up");
    wait_until("the stream is stopped", LIMIT, || {
        sandbox
            .said()
            .contains("stream stopped; the others continue")
    });
    let health = || sandbox.run("health");
    wait_until("the sink announces it", LIMIT, || {
        health().stdout.contains("unhealthy: in the sink (pid ")
    });
    let told = health()
        .exits(1)
        .prints("stream `items` is stopped: table `public.items` does not fit");
    let told = told.prints(MISSING).prints("then restart the sink");
    assert_eq!(told.stdout.matches(MISSING).count(), 1, "{}", told.stdout);
    assert_eq!(up.terminate(), Some(1));

    let told = sandbox.fails("health").prints(MISSING);
    told.prints("unhealthy: table `public.items` does not fit stream `items`");
    sandbox.tells("status", "next: column `note` is missing; ALTER TABLE");
    postgres.execute("ALTER TABLE items ADD COLUMN note text");
    sandbox.ok("up --once");
    sandbox.tells("health", "healthy");
}

/// A stream is renamed while records of it wait, and its files are gone: `up` and `status` name them until they are applied.
#[test]
fn records_of_a_renamed_stream_are_named_while_they_wait() {
    const WAIT: &str =
        "2 records of topic `items` wait for group `bekk`, and the configuration has no stream";
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", KEYED);
    sandbox.write("data/a.csv", "id,note\n1,a\n");
    sandbox.ok("up --once");
    let late = sandbox.write("data/b.csv", "id,note\n2,b\n3,c\n");
    sandbox.ok("ingest --once");
    std::fs::remove_file(late).unwrap();
    let renamed = KEYED.replace("[streams.items]", "[streams.goods]\ntable = \"items\"");
    sandbox.write("bekk.toml", renamed);
    let up = sandbox.ok("up --once");
    up.says("records wait in a topic that has no stream in the configuration");
    sandbox
        .ok("status")
        .prints(WAIT)
        .prints("if stream `items` was renamed, call it `items` until");
    // A stream that is configured and was not asked about is not gone.
    let other = KEYED.replace("items", "other").replace("data/", "other/");
    sandbox.write("bekk.toml", format!("{KEYED}{other}"));
    let one = sandbox.ok("status --stream other").stdout;
    assert!(!one.contains("the configuration has no stream"), "{one}");
    let up = sandbox.ok("up --once");
    assert!(!up.stderr.contains("records wait"), "{}", up.stderr);
    assert_eq!(sandbox.postgres().number("SELECT count(*) FROM items"), 3);
}

/// A second group fills a table of its own, which the configuration does not name: the commands that look at the group take
/// the table's name, and those that do not get it name the option and no fault of a sink that runs.
#[test]
fn a_group_that_fills_another_table_is_looked_at_by_its_name() {
    let second = |command: &str| format!("{command} --group second --table items_2");
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", KEYED);
    sandbox.write("data/a.csv", "id,note\n1,a\n2,b\n");
    sandbox.ok("up --once");
    sandbox.ok(&*second("sink --once"));
    sandbox.ok(&*second("check")).prints("public.items_2: fits");
    sandbox.tells(&*second("health"), "healthy");
    sandbox.tells(&*second("status"), "next: nothing to do");
    sandbox
        .ok(&*second("audit --deep"))
        .prints("2 rows of the table: 0 missing");
    sandbox.tells(
        &*second("trace --key 2"),
        "table items_2: {\"id\": 2, \"note\": \"b\"",
    );
    let told = sandbox.fails("health --group second");
    told.prints("name it with --table public.items_2");
    sandbox
        .fails("audit --deep --group second")
        .says("name it with --table public.items_2");

    let sink = sandbox.start(&*second("sink"));
    wait_until("it holds the partitions", Duration::from_secs(20), || {
        sandbox.run("offsets list").stdout.contains("pid ")
    });
    sandbox.tells("health --group second", "healthy");
    assert_eq!(sink.terminate(), Some(0));
}

/// A table without a key whose stream gets another name: `check`, `health` and `status` say it before `up` refuses it.
#[test]
fn a_renamed_stream_whose_rows_would_come_twice_is_a_problem() {
    const TWICE: &str = "if stream `goods` is the same under a new name, each row would come twice";
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", KEYLESS);
    sandbox.write("data/a.csv", "id,note\n1,a\n");
    sandbox.ok("up --once");
    sandbox.tells("check", "public.items: fits (stream items)\n");
    let renamed = KEYLESS.replace("[streams.items]", "[streams.goods]\ntable = \"items\"");
    sandbox.write("bekk.toml", renamed);
    for _ in 0..2 {
        sandbox
            .ok("check")
            .prints("  warning  group `bekk` has filled table `public.items`");
        sandbox.tells("check", TWICE);
        sandbox
            .fails("health")
            .prints(TWICE)
            .prints("next: call the stream `items` again;");
        sandbox.fails("up --once").says(TWICE);
    }
    sandbox.write("bekk.toml", KEYLESS);
    sandbox.tells("health", "healthy");
    sandbox.ok("up --once");
    assert_eq!(sandbox.postgres().number("SELECT count(*) FROM items"), 1);
}

#[test]
fn what_is_wrong_is_said_with_what_helps() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    sandbox.write("data/b.csv", "no,header\n1,2\n");
    sandbox.fails("up --once");
    let told = sandbox
        .ok("status")
        .prints("files      1 blocked, 1 finished\n");
    let told = told.prints("set aside  data/b.csv: its header lacks");
    told.prints("\nnext: fix `data/b.csv`: its header lacks");
    // A file that is set aside stops nothing, so the container is well.
    sandbox.tells("health", "healthy");
    std::fs::remove_file(sandbox.path("data/b.csv")).unwrap();

    // The group has applied another log.
    std::fs::rename(sandbox.log_dir(), sandbox.path("away")).unwrap();
    sandbox.fails("sink --once");
    let other = sandbox.ok("status").prints(
        "problem    the offsets of group `bekk` in topic `events` belong to a different log",
    );
    let advice = "bekk offsets reset --group bekk --stream events --to earliest --instead-of";
    other.prints(advice);
    let health = json(sandbox.fails("health --json"));
    assert_eq!(health["healthy"], false);
    std::fs::remove_dir_all(sandbox.log_dir()).unwrap();
    std::fs::rename(sandbox.path("away"), sandbox.log_dir()).unwrap();
    sandbox.tells("health", "healthy");

    // The database has lost what it knew of the group, and the sink refuses to begin again.
    sandbox.postgres().execute("DELETE FROM bekk.offsets");
    let lost = sandbox.ok("status").prints(
        "problem    the log remembers that group `bekk` has applied records of stream `events`",
    );
    lost.prints("bekk offsets delete --group bekk --stream events --execute");
    sandbox.fails("health");
    sandbox.fails("sink --once");
    let delete = ["offsets", "delete", "--group", "bekk", "--stream", "events"];
    sandbox.ok(&[&delete[..], &["--execute"]].concat());
    sandbox.ok("sink --once");
    sandbox.tells("health", "healthy");

    let nowhere = ["status", "--log", "kafka://127.0.0.1:1"];
    let nowhere = sandbox
        .fails(&nowhere)
        .prints("kafka://127.0.0.1:1: unreachable");
    nowhere.prints("group      bekk events/0: next ");
}

#[test]
fn watch_looks_again_until_it_is_stopped() {
    let sandbox = Sandbox::new();
    let watch = sandbox.start("status --watch");
    let looks = || sandbox.said().matches("\nnext: ").count();
    wait_until("it has looked", Duration::from_secs(20), || looks() == 1);
    sandbox.events("data/a.csv", &[(1, "view", "1")]);
    sandbox.ok("up --once");
    wait_until("it sees the file", Duration::from_secs(20), || {
        sandbox.said().contains("files      1 finished")
    });
    assert_eq!(watch.terminate(), Some(0));
    assert!(looks() >= 2, "{}", sandbox.said());
}
