//! The JSON that commands print, key by key, beside the list of keys in the reference.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::reference::add_commands;
use crate::sample::{event, file, key};
use crate::support::Sandbox;

/// The heading in the reference, and a command that prints its document. One pipeline, in this order.
const FIRST: &[(&str, &str)] = &[
    ("check", "check --files --json"),
    ("Runs that end", "up --once --json"),
];

/// The same after a row was deleted from the table by hand.
const THEN: &[(&str, &str)] = &[
    ("status", "status --json"),
    ("health", "health --json"),
    ("ingest files", "ingest files --json"),
    ("log topics", "log topics --json"),
    ("log read", "log read"),
    ("log verify", "log verify --json"),
    ("log salvage", "log salvage --json"),
    ("log backup", "log backup backup --json"),
    ("offsets list", "offsets list --json"),
    (
        "offsets reset and replay",
        "offsets reset --to earliest --json",
    ),
    ("offsets reset and replay", "replay --from earliest --json"),
    ("offsets delete", "offsets delete --group bekk --json"),
    ("adopt", "adopt --json"),
    ("adopt", "offsets adopt --json"),
    ("dead-letters list and show", "dead-letters list --json"),
    ("dead-letters list and show", "dead-letters show 1 --json"),
    (
        "dead-letters retry and edit",
        "dead-letters retry --all --json",
    ),
    (
        "dead-letters retry and edit",
        "dead-letters edit 1 --text wrong.csv --json",
    ),
    (
        "dead-letters import",
        "dead-letters import --csv letters.csv --json",
    ),
    ("dead-letters discard", "dead-letters discard 1 --json"),
    ("audit", "audit --deep --json"),
    ("trace", "trace --key KEY --json"),
    ("diff", "diff events events_v2 --json"),
    ("Runs that end", "ingest --once --json"),
    ("Runs that end", "sink --once --json"),
    ("Runs that end", "replay --from earliest --execute --json"),
];

/// Needs a Kafka cluster; tried there by `make test-kafka`.
const NOT_RUN: &str = "log copy";

/// Keys of what this pipeline does not have, by their beginnings: damage, refusals, records of other programs.
const UNMET: &[(&str, &str)] = &[
    ("Runs that end", "ingest.unreadable."),
    ("Runs that end", "ingest.left."),
    ("Runs that end", "ingest.notices."),
    ("status", "files.notices."),
    ("status", "groups.refused."),
    ("status", "waits."),
    ("ingest files", "files.notices."),
    ("log read", "value"),
    ("log read", "confluent_schema"),
    ("log salvage", ""),
    ("offsets list", "refused."),
    ("dead-letters import", "reasons.ID"),
    ("audit", "file_findings."),
];

/// Keys by the heading of their document, without the marks of lists.
type Keys = BTreeMap<String, BTreeSet<String>>;

/// Adds the keys of a document, nested ones as `outer.inner`.
fn add_keys(value: &Value, outer: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_keys(item, outer, keys)),
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = match outer {
                    "" => name.clone(),
                    _ => format!("{outer}.{name}"),
                };
                add_keys(value, &path, keys);
                keys.insert(path);
            }
        }
        _ => {}
    }
}

/// Reads the tables of keys in the reference.
fn documented() -> Keys {
    let reference = include_str!("../../../docs/reference/cli.md");
    let (_, section) = reference.split_once("\n## JSON output\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut keys = Keys::new();
    let mut shared = Vec::new();
    for part in section.split("\n### ").skip(1) {
        let (heading, text) = part.split_once('\n').unwrap();
        for row in text.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let (key, meaning) = (cells[1].trim_matches('`').replace("[]", ""), cells[2]);
            assert!(!meaning.is_empty(), "{heading}: {key} has no meaning");
            let own = keys.entry(heading.to_owned()).or_default();
            // `a.b.NAME` documents `a.b` as well.
            for (at, _) in key.match_indices('.') {
                own.insert(key[..at].to_owned());
            }
            if let Some(name) = meaning.strip_prefix("as [`") {
                let name = name.split('`').next().unwrap().to_owned();
                shared.push((heading.to_owned(), key.clone(), name));
            }
            own.insert(key);
        }
    }
    for (heading, outer, name) in shared {
        let inner = keys[&name].clone();
        let inner = inner.iter().map(|key| format!("{outer}.{key}"));
        keys.get_mut(&heading).unwrap().extend(inner);
    }
    keys
}

/// Whether a printed key is a documented one, in which a word in capitals matches any name.
fn is_same(documented: &str, printed: &str) -> bool {
    let is_any = |part: &str| part.chars().all(|c| c.is_ascii_uppercase());
    let (documented, printed) = (documented.split('.'), printed.split('.'));
    documented.clone().count() == printed.clone().count()
        && documented
            .zip(printed)
            .all(|(one, other)| one == other || is_any(one))
}

fn run_all(sandbox: &Sandbox, commands: &[(&str, &str)], keys: &mut Keys) {
    for (heading, line) in commands {
        let line = line.replace("KEY", &key(1));
        let ran = sandbox.run(&line.split(' ').collect::<Vec<_>>());
        let documents = serde_json::Deserializer::from_str(&ran.stdout).into_iter();
        let documents: Vec<Value> = documents
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("bekk {line}: {error}: {}", ran.stdout));
        assert!(!documents.is_empty(), "bekk {line}: {}", ran.stderr);
        let own = keys.entry((*heading).to_owned()).or_default();
        documents
            .iter()
            .for_each(|document| add_keys(document, "", own));
    }
}

#[test]
fn commands_print_the_json_keys_that_the_reference_lists() {
    let sandbox = Sandbox::new();
    let first = [
        event(1, "view", "1"),
        event(1, "view", "2"),
        event(2, "view", "2"),
        event(3, "view", "bad"),
        event(4, "view", "bad"),
    ];
    sandbox.write("data/a.csv", file(&first));
    sandbox.write("data/blocked.csv", "a,b\n1,2\n");
    sandbox.write("wrong.csv", event(3, "view", "worse"));
    let mut printed = Keys::new();
    run_all(&sandbox, FIRST, &mut printed);
    sandbox.ok("dead-letters export --csv letters.csv");
    let postgres = sandbox.postgres();
    postgres.execute("CREATE TABLE events_v2 (LIKE events INCLUDING ALL)");
    postgres.execute(&format!("DELETE FROM events WHERE event_id = '{}'", key(2)));
    run_all(&sandbox, THEN, &mut printed);

    let documented = documented();
    let mut differences = Vec::new();
    for (heading, keys) in &printed {
        let none = BTreeSet::new();
        let listed = documented.get(heading).unwrap_or(&none);
        for key in keys {
            if !listed.iter().any(|one| is_same(one, key)) {
                differences.push(format!("{heading}: `{key}` is printed and not listed"));
            }
        }
    }
    for (heading, listed) in documented.iter().filter(|(heading, _)| *heading != NOT_RUN) {
        let unmet = |key: &str| {
            let mut unmet = UNMET.iter();
            unmet.any(|(other, begin)| other == heading && key.starts_with(begin))
        };
        let none = BTreeSet::new();
        let keys = printed.get(heading).unwrap_or(&none);
        for key in listed.iter().filter(|key| !unmet(key)) {
            if !keys.iter().any(|one| is_same(key, one)) {
                differences.push(format!("{heading}: `{key}` is listed and not printed"));
            }
        }
    }
    for (heading, begin) in UNMET {
        let is_met = |key: &String| is_same(begin, key) || key.starts_with(begin);
        if printed[*heading].iter().any(is_met) {
            differences.push(format!("{heading}: `{begin}` is printed: it is not UNMET"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A new command with `--json` needs its list of keys.
#[test]
fn each_command_with_json_is_compared_with_the_reference() {
    let sandbox = Sandbox::bare();
    let mut commands = Vec::new();
    add_commands(&sandbox, &[], &mut commands);
    for command in commands {
        let name = command.join(" ");
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["-h"]).collect();
        if !sandbox.ok(&arguments).stdout.contains("--json") || name == NOT_RUN {
            continue;
        }
        let mut lines = FIRST.iter().chain(THEN).map(|(_, line)| *line);
        let is_run = lines.any(|line| {
            let options = line.strip_prefix(&name).unwrap_or_default();
            options.starts_with(" ") && options.contains(" --json")
        });
        assert!(is_run, "bekk {name} --json is not compared");
    }
}
