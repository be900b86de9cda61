//! The examples in the help of `bekk log verify` and `bekk log salvage`, run as they are written: a damaged log, and its
//! repair from a backup.

use std::fs;
use std::process::Command;

use crate::sample::{event, file};
use crate::support::{Ran, Sandbox};

/// The commands of a help text's example, each with the lines that it prints.
fn example(help: &str) -> Vec<(String, Vec<String>)> {
    let (_, example) = help.split_once("Example").unwrap();
    let (example, _) = example.split_once("Exit codes").unwrap();
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in example
        .lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push((command.to_owned(), Vec::new())),
            None => steps.last_mut().unwrap().1.push(line.to_owned()),
        }
    }
    steps
}

fn without_numbers(line: &str) -> String {
    let mut text = String::new();
    for c in line.trim().chars() {
        match c {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            ',' | '.' if text.ends_with('#') => {}
            c => text.push(c),
        }
    }
    text
}

/// Whether the printed text is the one that help shows; `…` matches any text.
fn is_shown(printed: &str, shown: &str) -> bool {
    let (printed, shown) = (without_numbers(printed), without_numbers(shown));
    let mut rest = printed.as_str();
    for (at, part) in shown.split('…').enumerate() {
        match rest.find(part) {
            Some(found) if at > 0 || found == 0 => rest = &rest[found + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || shown.ends_with('…')
}

#[test]
fn the_examples_of_damage_and_repair_are_as_they_are_written() {
    let sandbox = Sandbox::new();
    let events: Vec<_> = (0..3_000).map(|id| event(id, "view", "1")).collect();
    sandbox.write("data/a.csv", file(&events));
    sandbox.ok("up --once");
    fs::remove_file(sandbox.path("data/a.csv")).unwrap();
    sandbox.ok("log backup linked");
    // A copy, as on another disk: the tables of the backup are links to the log's own files.
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        let bekk = env!("CARGO_BIN_EXE_bekk");
        let script = format!("bekk() {{ {bekk} \"$@\"; }}\n{script}");
        shell.args(["-c", &script]).current_dir(sandbox.dir());
        let environment = sandbox.bekk("");
        let environment = environment
            .get_envs()
            .map(|(name, value)| (name, value.unwrap()));
        Ran::new(shell.env_clear().envs(environment).output().unwrap())
    };
    run("cp -r linked backup && rm -r linked").ok();
    let tables = ".bekk/log/topics/events/0000000001/db/keyspaces/2/tables";
    let mut tables: Vec<_> = fs::read_dir(sandbox.path(tables))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    tables.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let table = tables.last().unwrap();
    let mut bytes = fs::read(table).unwrap();
    bytes[5_000] ^= 4;
    fs::write(table, bytes).unwrap();

    let mut before = String::new();
    let mut tried = 0;
    for command in ["verify", "salvage"] {
        let help = sandbox.ok(&["log", command, "--help"]).stdout;
        for (typed, shown) in example(&help) {
            // A shell remembers the variables that were set before.
            let ran = run(&format!("{before}\n{typed}"));
            if typed.contains('=') && !typed.contains("--") {
                before = typed;
                continue;
            }
            let printed: Vec<&str> = ran.stdout.split_whitespace().collect();
            let (printed, shown) = (printed.join(" "), shown.join(" "));
            assert!(
                is_shown(&printed, &shown),
                "{typed}\nshown: {shown}\nprinted: {printed}\n{}",
                ran.stderr
            );
            tried += 1;
        }
    }
    assert!(tried >= 6, "{tried} commands");
}
