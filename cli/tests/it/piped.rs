//! Standard input in place of files.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Ran, Sandbox, assert_says};

const CONFIG: &str = r#"
[streams.t]
files = ["in/*"]
on_conflict = "append"
columns = [{ name = "id", type = "int8" }, { name = "name", type = "text", nullable = true },
    { name = "file", type = "text", source = "file_name" }]
"#;

fn pipe(sandbox: &Sandbox, text: &[u8], arguments: &[&str]) -> Ran {
    let mut command = sandbox.bekk("up --once -");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(text);
    Ran::new(child.wait_with_output().unwrap())
}

fn ids(sandbox: &Sandbox) -> Vec<String> {
    let rows = sandbox
        .postgres()
        .rows("SELECT id, file FROM t ORDER BY id, file");
    rows.iter().map(|row| row.join(" ")).collect()
}

/// A program fails in the middle of a line, is killed, and is run again: each record becomes one row, although the stream
/// has no key.
#[test]
fn an_input_is_loaded_once_however_often_it_is_piped() {
    let sandbox = Sandbox::new();
    sandbox.write("bekk.toml", CONFIG);
    pipe(&sandbox, b"id,name\n1,Ann\n2,Bob\n", &[]).ok();
    let again = pipe(&sandbox, b"id,name\n1,Ann\n2,Bob\n", &[]).ok();
    let told = "nothing new (all 2 records are in the log)";
    assert!(again.stdout.contains(told), "{}", again.stdout);
    pipe(&sandbox, b"id,name\n1,Ann\n2,Bob\n3,Cid\n", &[]).ok();
    assert_eq!(ids(&sandbox), ["1 stdin", "2 stdin", "3 stdin"]);
    // An input that has been loaded takes no space.
    assert!(!sandbox.path(".bekk/stdin/inbox/t/stdin").exists());
    // Changed in the middle, by not one byte more: it is another input.
    let other = pipe(
        &sandbox,
        b"id,name\n1,Ann\n5,Bob\n3,Cid\n",
        &["--name", "b.csv"],
    );
    other.ok();
    let other = pipe(
        &sandbox,
        b"id,name\n1,Ann\n6,Bob\n3,Cid\n",
        &["--name", "b.csv"],
    );
    other.ok();
    assert!(ids(&sandbox).contains(&"6 b.csv".to_owned()));

    // Killed before the end of its input: nothing of it is loaded.
    let before = ids(&sandbox);
    let mut command = sandbox.bekk("up --once - --name k");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"id,name\n70,Kim\n71,Lee\n").unwrap();
    let part = sandbox.path(".bekk/stdin/parts/input");
    let began = Instant::now();
    while std::fs::metadata(&part).map_or(0, |part| part.len()) == 0 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "nothing is stored"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(ids(&sandbox), before);
    let cut = pipe(&sandbox, b"id,name\n70,Kim\n7", &["--name", "k"]);
    cut.ok().says("its last line had no line end");
    sandbox.ok("audit --deep");
    pipe(&sandbox, b"", &[])
        .exits(1)
        .says("standard input was empty");
}

/// An input with rejected records stays, so that they can be retried, and one that is set aside is named.
#[test]
fn an_input_that_is_not_all_rows_stays() {
    let sandbox = Sandbox::new();
    let second = CONFIG.replace("streams.t", "streams.u");
    sandbox.write("bekk.toml", format!("{CONFIG}{second}"));
    let which = pipe(&sandbox, b"id,name\n1,Ann\n", &[]);
    which.exits(2).says("name it with --stream: t, u");
    let gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"id,name\n1,Ann\nx,Bob\n").unwrap();
        encoder.finish().unwrap()
    };
    let rejected = pipe(&sandbox, &gz, &["--stream", "t", "--name", "dt=1/a.csv"]);
    rejected.ok().says("kept: .bekk/stdin/inbox/t/dt=1/a.csv");
    assert_eq!(ids(&sandbox), ["1 a.csv"]);
    let files = sandbox.ok("ingest files").stdout;
    assert_says(&files, &[".bekk/stdin/inbox/t/dt=1/a.csv (gzip)"]);
    // A stored input waits for the next input, and not for an ingest.
    let status = sandbox.run("status").stdout;
    assert!(!status.contains("no ingest runs"), "{status}");
    let aside = pipe(&sandbox, b"no,header\n1,Ann\n", &["--stream", "t"]);
    aside.exits(1).says("its header lacks `id`");
    let status = sandbox.run("status").stdout;
    assert!(status.contains("its header lacks `id`"), "{status}");
}

/// `init` infers a configuration from standard input, and the configuration loads the same input.
#[test]
fn a_configuration_comes_from_standard_input() {
    let sandbox = Sandbox::new();
    let text = b"id;name\n1;Ann\n";
    let mut command = sandbox.bekk("init --from -");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    Ran::new(child.wait_with_output().unwrap()).ok();
    pipe(&sandbox, text, &[]).ok();
    let rows = sandbox.postgres().rows("SELECT id, name FROM stdin");
    assert_eq!(rows, [["1", "Ann"]]);
}
