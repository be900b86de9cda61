//! The command line's own documentation: help, man pages, completions, and messages for machines.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::documents::check_english;
use crate::support::Sandbox;

#[test]
fn each_command_has_a_man_page_in_plain_english() {
    let sandbox = Sandbox::bare();
    sandbox.run(&["man", "--out", "pages"]).ok();
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
        let script = sandbox.run(&["completions", shell]).ok().stdout;
        assert!(script.contains("dead-letters"), "{shell}: {script}");
    }
}

#[test]
fn every_line_on_standard_error_is_json_if_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.write("data/bad.csv", "a,b\n1,2\n");
    let lines_of = |arguments: &[&str]| {
        let stderr = sandbox.run(arguments).stderr;
        let lines: Vec<serde_json::Value> = stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
            .collect();
        for line in &lines {
            assert!(
                line["level"].is_string() && line["timestamp"].is_string(),
                "{line}"
            );
            assert!(line["fields"]["message"].is_string(), "{line}");
        }
        lines
    };
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
        sandbox.run(&arguments).ok();
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
        sandbox.run(&arguments).ok();
        pod_commands += 1;
    }
    assert_eq!(pod_commands, 3);

    let manager = UnixDatagram::bind(sandbox.path("notify")).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut command = sandbox.bekk(&["log", "serve", "--listen", "127.0.0.1:0", "--http", "off"]);
    command.env("NOTIFY_SOCKET", sandbox.path("notify"));
    let mut service = command.stderr(Stdio::null()).spawn().unwrap();
    let mut message = [0; 100];
    let length = manager.recv(&mut message);
    service.kill().unwrap();
    service.wait().unwrap();
    assert_eq!(message[..length.unwrap()].trim_ascii(), b"READY=1");
}
