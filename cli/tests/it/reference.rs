//! The command line's own documentation: help, man pages, completions, and messages for machines.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::documents::check_english;
use crate::support::{Ran, Sandbox};

#[test]
fn each_command_has_a_man_page_in_plain_english() {
    let sandbox = Sandbox::bare();
    sandbox.ok("man --out pages");
    let mut pages = 0;
    for entry in fs::read_dir(sandbox.path("pages")).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap().replace("\\-", "-");
        assert!(page.contains(".SH SYNOPSIS"), "{path:?}: {page}");
        check_english(&page, &path);
        pages += 1;
    }
    assert!(pages >= 25, "{pages} pages");
    assert!(sandbox.path("pages/bekk-dead-letters-retry.1").exists());
}

#[test]
fn shells_complete_commands() {
    let sandbox = Sandbox::bare();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.ok(&["completions", shell]).stdout;
        assert!(script.contains("dead-letters"), "{shell}: {script}");
    }
}

/// A result that cannot be written, as where a redirected output is on a full disk, is no success.
#[test]
fn a_result_that_cannot_be_written_fails() {
    let sandbox = Sandbox::new();
    for command in [
        "up --once",
        "status --json",
        "audit --deep",
        "log topics",
        "ingest files",
        "offsets list",
        "dead-letters list",
        "check",
        "completions bash",
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = sandbox.bekk(command).stdout(full).output().unwrap();
        Ran::new(output)
            .exits(1)
            .says("bekk: write the result: No space left on device");
    }
}

#[test]
fn every_line_on_standard_error_is_json_if_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.write("data/bad.csv", "a,b\n1,2\n");
    let lines_of = |arguments: &[&str]| json_lines(&sandbox.run(arguments).stderr);
    let url = sandbox.url.clone();
    let lines = lines_of(&["--log-format", "json", "up", "--once", "--postgres", &url]);
    assert!(lines.len() > 2, "{lines:?}");
    let lines = lines_of(&[
        "--log-format",
        "json",
        "check",
        "--postgres",
        "postgres://h?x=1",
    ]);
    assert_eq!(lines.last().unwrap()["level"], "ERROR", "{lines:?}");
    // Arguments that are wrong are reported before messages are set up.
    let lines = lines_of(&["--log-format=json", "up", "--onec"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let told = lines[0]["fields"]["message"].as_str().unwrap();
    assert!(told.contains("--onec"), "{told}");
    // Neither does a filter that is wrong print a line of its own.
    let mut command = sandbox.bekk(&["--log-format", "json", "check", "--postgres", &url]);
    let output = command.env("RUST_LOG", "bekk=loud").output().unwrap();
    let lines = json_lines(std::str::from_utf8(&output.stderr).unwrap());
    assert!(lines[0].to_string().contains("bekk=loud"), "{lines:?}");
    let mut command = sandbox.bekk("--log-format json");
    let output = command.arg(OsStr::from_bytes(b"\xff")).output().unwrap();
    json_lines(std::str::from_utf8(&output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(2));
}

/// Each line of standard error, which must be JSON in the form of messages.
fn json_lines(stderr: &str) -> Vec<serde_json::Value> {
    let parsed = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    let lines: Vec<serde_json::Value> = stderr.lines().map(parsed).collect();
    for line in &lines {
        assert!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "{line}"
        );
        assert!(line["fields"]["message"].is_string(), "{line}");
    }
    lines
}

/// Every command with a wrong configuration, or without what it needs.
#[test]
fn every_command_fails_in_json_if_asked_for() {
    let sandbox = Sandbox::bare();
    sandbox.write("bad.toml", "[streams.a]\nfils = []\n");
    let mut commands = Vec::new();
    add_commands(&sandbox, &[], &mut commands);
    assert!(commands.len() >= 35, "{commands:?}");
    let mut failed = 0;
    for command in commands {
        let mut arguments = vec!["--log-format", "json", "--config", "bad.toml"];
        arguments.extend(command.iter().map(String::as_str));
        // These two need no configuration.
        match command.first().map_or("", String::as_str) {
            "generate" => arguments.extend(["--rows", "none"]),
            "init" => arguments.push("none.csv"),
            _ => {}
        }
        let ran = sandbox.run(&arguments);
        assert_ne!(ran.code, Some(0), "bekk {}", command.join(" "));
        let lines = json_lines(&ran.stderr);
        assert!(!lines.is_empty(), "bekk {}", command.join(" "));
        failed += 1;
    }
    assert!(failed >= 35, "{failed} commands");
}

/// Adds the commands below one, as its help lists them.
pub(crate) fn add_commands(sandbox: &Sandbox, command: &[String], all: &mut Vec<Vec<String>>) {
    let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    arguments.push("-h");
    let help = sandbox.ok(&arguments).stdout;
    all.push(command.to_vec());
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return;
    };
    for line in list.lines().take_while(|line| !line.is_empty()) {
        let name = line
            .strip_prefix("  ")
            .filter(|line| !line.starts_with(' '));
        let Some(name) = name.and_then(|line| line.split(' ').next()) else {
            continue;
        };
        if name != "help" {
            add_commands(sandbox, &[command, &[name.to_owned()]].concat(), all);
        }
    }
}

#[test]
fn every_help_text_fits_80_columns() {
    let sandbox = Sandbox::bare();
    let mut commands = Vec::new();
    add_commands(&sandbox, &[], &mut commands);
    assert!(commands.len() >= 35, "{commands:?}");
    for command in commands {
        for form in ["-h", "--help"] {
            let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
            arguments.push(form);
            let help = sandbox.ok(&arguments).stdout;
            let wide = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "bekk {} {form}", command.join(" "));
        }
    }
}

/// One mistake of each kind, and the exit code that the reference documents for it.
#[test]
fn every_mistake_has_its_documented_exit_code() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("bad.toml"), "[streams.a]\nfils = []\n").unwrap();
    let away = "postgres://127.0.0.1:1/x";
    let cases: &[(i32, &str, &str)] = &[
        (2, "--onec", "--onec"),
        (2, "nothing", "nothing"),
        (2, "dead-letters retry", "--all"),
        (2, "check --config bad.toml", "bad.toml"),
        (2, "check --config none.toml", "none.toml"),
        (
            2,
            "check --postgres postgres://h?x=1",
            "connection parameter",
        ),
        (2, "psql --postgres postgres://h:99999/x", "--postgres"),
        (2, "status --log kafka://u:p@h:1", "sasl.username"),
        (2, "log serve --sasl-read-user x", "--sasl-user"),
        (2, "log serve --sasl-user x", "BEKK_SASL_PASSWORD"),
        (2, "up --http-token-file none", "--http-token-file"),
        (2, "sink --once --stream nope", "known: events"),
        (2, "audit --stream nope", "known: events"),
        (2, "trace --stream nope --key 1", "known: events"),
        (2, "replay --stream nope --from earliest", "known: events"),
        (2, "diff a b --stream nope", "known: events"),
        (2, "offsets reset --to earliest --group nope", "known: none"),
        (2, "dead-letters list --reason nope", "known: bad_encoding"),
        (1, "dead-letters show 1", "no dead letter 1"),
        (1, "dead-letters import --csv none.csv", "none.csv"),
        (1, "init --from none.csv", "none.csv"),
        (1, "ingest reread none.csv", "none.csv"),
        (1, "ingest --once", "no file"),
        (1, "log verify --log none", "there is no log"),
    ];
    for (code, line, said) in cases {
        let arguments: Vec<&str> = line.split(' ').collect();
        let ran = sandbox.run(&arguments);
        assert_eq!(ran.code, Some(*code), "bekk {line}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "bekk {line}: {}", ran.stderr);
    }
    for line in [
        "check",
        "offsets list",
        "dead-letters list",
        "diff events b",
    ] {
        let arguments: Vec<&str> = line.split(' ').chain(["--postgres", away]).collect();
        sandbox.refuses(&arguments, "127.0.0.1:1");
    }
    let (server, _) = sandbox.url.rsplit_once('/').unwrap();
    let none = format!("{server}/none");
    let ran = sandbox.fails(&["check", "--postgres", &none]);
    ran.says("create that database");
}

/// The units and the pods run commands that exist, and systemd hears when a service is up.
#[test]
fn systemd_units_run_and_readiness_is_reported() {
    let sandbox = Sandbox::bare();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let mut commands = 0;
    for unit in fs::read_dir(units).unwrap() {
        let unit = fs::read_to_string(unit.unwrap().path()).unwrap();
        let (_, command) = unit.split_once("ExecStart=/usr/bin/bekk ").unwrap();
        let mut arguments: Vec<&str> = command.lines().next().unwrap().split(' ').collect();
        arguments.push("--help");
        sandbox.ok(&arguments);
        commands += 1;
    }
    assert_eq!(commands, 4);
    let pods = include_str!("../../../packaging/kubernetes/bekk.yaml");
    let mut pod_commands = 0;
    for line in pods
        .lines()
        .filter_map(|line| line.trim().strip_prefix("args: ["))
    {
        let mut arguments: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        arguments.push("--help");
        sandbox.ok(&arguments);
        pod_commands += 1;
    }
    assert_eq!(pod_commands, 3);

    let manager = UnixDatagram::bind(sandbox.path("notify")).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut command = sandbox.bekk("log serve --listen 127.0.0.1:0 --http off");
    command.env("NOTIFY_SOCKET", sandbox.path("notify"));
    let mut service = command.stderr(Stdio::null()).spawn().unwrap();
    let mut message = [0; 100];
    let length = manager.recv(&mut message);
    service.kill().unwrap();
    service.wait().unwrap();
    assert_eq!(message[..length.unwrap()].trim_ascii(), b"READY=1");
}

#[test]
fn status_says_what_is_configured_where_nothing_has_run() {
    let sandbox = Sandbox::bare();
    let status = sandbox.ok("status").stdout;
    for line in [
        "config     no bekk.toml here; this is the built-in sample stream",
        "  events: data/*.csv into table events",
        "log        .bekk/log: does not exist yet",
        "postgres   a private one, not made yet",
        "next: bekk up (nothing has run here yet)",
    ] {
        assert!(
            status.lines().any(|found| found == line),
            "`{line}` is not in: {status}"
        );
    }
}
