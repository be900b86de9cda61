//! Status and health.

use std::time::Duration;

use crate::exact::check_audit;
use crate::sample::{event, file, json, prints};
use crate::support::{Sandbox, wait_until};

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
    prints(
        sandbox.run(&["status"]).ok(),
        "\nnext: bekk up (2 records of stream `events` in the log, and no sink has applied any to this database)\n",
    );
    sandbox.run(&["sink", "--once"]).ok();
    let told = prints(sandbox.run(&["status"]).ok(), "files      1 finished");
    let told = prints(told, "letters    bekk events: 1 open, bad_value");
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

    // While another process has the log, it is asked.
    let up = sandbox.start(&["up"]);
    let postgres = sandbox.postgres();
    wait_until("the row is there", Duration::from_secs(20), || {
        postgres.number("SELECT count(*) FROM events") == 2
    });
    let busy = prints(sandbox.run(&["status"]).ok(), "in use by process ");
    prints(
        prints(busy, "; an ingest runs"),
        "lag 0, 0.0 s, a sink runs",
    );
    let found = json(sandbox.run(&["status", "--json"]).ok());
    assert!(found["log"]["owner_pid"].as_u64() > Some(1), "{found}");
    assert!(
        found["log"]["disk"]["free_bytes"].as_u64() > Some(1),
        "{found}"
    );
    assert_eq!(found["groups"].as_array().unwrap().len(), 4);
    assert_eq!(up.terminate(), Some(0));

    let away = ["health", "--postgres", "postgres://nobody@127.0.0.1:1/none"];
    prints(
        sandbox.run(&away).exits(1),
        "unhealthy: connect to PostgreSQL",
    );
}

/// A full disk, as a trigger reports it: the sink waits, and `health` and `status` name the reason.
#[test]
fn what_a_sink_waits_for_is_a_problem() {
    const LIMIT: Duration = Duration::from_secs(20);
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", file(&[event(1, "view", "1")]));
    sandbox.run(&["up", "--once"]).ok();
    let postgres = sandbox.postgres();
    postgres.execute(
        "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER no_space BEFORE INSERT ON events EXECUTE FUNCTION no_space()",
    );
    sandbox.write("data/b.csv", file(&[event(2, "view", "1")]));
    let up = sandbox.start(&["up"]);
    // Not by `health`: at a start it might get the log before `up`, which would then begin again.
    wait_until("the sink waits", LIMIT, || {
        sandbox.said().contains("waiting for PostgreSQL")
    });
    let health = || sandbox.run(&["health"]);
    wait_until("health says it", LIMIT, || health().code == Some(1));
    let told = prints(health().exits(1), "unhealthy: the sink (pid ");
    let told = prints(told, ") has waited for PostgreSQL since 20");
    let told = prints(told, "could not extend file: No space left on device");
    prints(told, "next: remove what PostgreSQL reports");
    prints(sandbox.run(&["status"]).ok(), "problem    the sink (pid ");
    let waits = json(sandbox.run(&["status", "--json"]).ok());
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

#[test]
fn what_is_wrong_is_said_with_what_helps() {
    let sandbox = Sandbox::new();
    sandbox.write("data/a.csv", file(&[event(1, "view", "1")]));
    sandbox.write("data/b.csv", "no,header\n1,2\n");
    sandbox.run(&["up", "--once"]).exits(1);
    let told = prints(
        sandbox.run(&["status"]).ok(),
        "files      1 blocked, 1 finished\n",
    );
    let told = prints(told, "set aside  data/b.csv: its header lacks");
    prints(told, "\nnext: fix `data/b.csv`: its header lacks");
    // A file that is set aside stops nothing, so the container is well.
    prints(sandbox.run(&["health"]).ok(), "healthy");
    std::fs::remove_file(sandbox.path("data/b.csv")).unwrap();

    // The group has applied another log.
    std::fs::rename(sandbox.log_dir(), sandbox.path("away")).unwrap();
    sandbox.run(&["log", "topics"]).ok();
    let other = prints(
        sandbox.run(&["status"]).ok(),
        "problem    the offsets of group `bekk` in topic `events` belong to a different log",
    );
    let advice = "bekk offsets reset --group bekk --stream events --to earliest --instead-of";
    prints(other, advice);
    let health = json(sandbox.run(&["health", "--json"]).exits(1));
    assert_eq!(health["healthy"], false);
    std::fs::remove_dir_all(sandbox.log_dir()).unwrap();
    std::fs::rename(sandbox.path("away"), sandbox.log_dir()).unwrap();
    prints(sandbox.run(&["health"]).ok(), "healthy");

    // The database has lost what it knew of the group, and the sink refuses to begin again.
    sandbox.postgres().execute("DELETE FROM bekk.offsets");
    let lost = prints(
        sandbox.run(&["status"]).ok(),
        "problem    the log remembers that group `bekk` has applied records of stream `events`",
    );
    prints(
        lost,
        "bekk offsets delete --group bekk --stream events --execute",
    );
    sandbox.run(&["health"]).exits(1);
    sandbox.run(&["sink", "--once"]).exits(1);
    let delete = ["offsets", "delete", "--group", "bekk", "--stream", "events"];
    sandbox.run(&[&delete[..], &["--execute"]].concat()).ok();
    sandbox.run(&["sink", "--once"]).ok();
    prints(sandbox.run(&["health"]).ok(), "healthy");

    let nowhere = ["status", "--log", "kafka://127.0.0.1:1"];
    let nowhere = prints(
        sandbox.run(&nowhere).exits(1),
        "kafka://127.0.0.1:1: unreachable",
    );
    prints(nowhere, "group      bekk events/0: next ");
}

#[test]
fn watch_looks_again_until_it_is_stopped() {
    let sandbox = Sandbox::new();
    let watch = sandbox.start(&["status", "--watch"]);
    let looks = || sandbox.said().matches("\nnext: ").count();
    wait_until("it has looked", Duration::from_secs(20), || looks() == 1);
    sandbox.write("data/a.csv", file(&[event(1, "view", "1")]));
    sandbox.run(&["up", "--once"]).ok();
    wait_until("it sees the file", Duration::from_secs(20), || {
        sandbox.said().contains("files      1 finished")
    });
    assert_eq!(watch.terminate(), Some(0));
    assert!(looks() >= 2, "{}", sandbox.said());
}
