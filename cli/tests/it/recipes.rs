//! The commands of the guide, run as they are written, and what it says they print.
//!
//! In a page, a block marked `sh` is typed here, one marked `sh wait` until it prints what follows, one marked
//! `sh background` runs until `sh stop`, and `sh exit=1` must end with that code. A block marked `text` after it holds
//! lines of the output, in order; `…` represents anything, and times, durations and rates may differ. Lines that name
//! the server or the page are not compared: the test has another server.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Process, Sandbox};

/// Time until a `sh wait` block prints what it should.
const WAIT: Duration = Duration::from_secs(30);

/// A block of commands, and the lines that the page shows below it.
struct Step {
    mark: String,
    script: String,
    printed: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut blocks = page.split("\n```");
    blocks.next();
    while let (Some(block), Some(_)) = (blocks.next(), blocks.next()) {
        let (mark, body) = block.split_once('\n').unwrap_or((block, ""));
        if mark == "sh" || mark.starts_with("sh ") {
            steps.push(Step {
                mark: mark.trim_start_matches("sh").trim().to_owned(),
                script: body.to_owned(),
                printed: Vec::new(),
            });
        } else if mark == "text"
            && let Some(step) = steps.last_mut()
        {
            step.printed.extend(body.lines().map(str::to_owned));
        }
    }
    steps
}

/// A line without what differs from run to run.
fn fixed(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let is_time = |word: &str| word.matches(':').count() >= 2 && word.contains('.');
    let mut kept = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).copied().unwrap_or("");
        let unit = next.trim_end_matches([',', ';']);
        let differs = is_time(word)
            || is_number(word)
                && (is_time(next) || matches!(unit, "s" | "ms" | "rows/s" | "bytes"));
        kept.push(if differs && is_number(word) {
            "#"
        } else {
            word
        });
    }
    kept.join(" ")
}

fn matches(line: &str, expected: &str) -> bool {
    let mut rest = line;
    for (at, piece) in expected.split('…').enumerate() {
        let piece = piece.trim();
        match rest.find(piece) {
            Some(found) if at > 0 || found == 0 => rest = &rest[found + piece.len()..],
            _ => return false,
        }
    }
    expected.ends_with('…') || rest.is_empty()
}

/// The first line of the page that the output does not have, after those before it.
fn missing<'a>(output: &str, printed: &'a [String]) -> Option<&'a String> {
    let lines: Vec<String> = output.lines().map(fixed).collect();
    let mut at = 0;
    printed.iter().find(|expected| {
        let elsewhere = ["postgres ", "server ", "http "];
        let line = fixed(expected);
        if line.is_empty() || line == "…" || elsewhere.iter().any(|start| line.starts_with(start))
        {
            return false;
        }
        match lines[at..].iter().position(|found| matches(found, &line)) {
            Some(found) => at += found + 1,
            None => return true,
        }
        false
    })
}

/// Types a script in the directory where the one before it ended, and returns what it printed and its exit code.
fn typed(sandbox: &Sandbox, script: &str) -> (String, i32) {
    let bin = Path::new(env!("CARGO_BIN_EXE_bekk")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let place = sandbox.path("place");
    let script = format!(
        "exec 2>&1; cd \"$(cat '{0}')\"; trap \"pwd >'{0}'\" EXIT; set -e\n{script}",
        place.display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .envs([("PATH", path.as_str()), ("DATABASE_URL", &sandbox.url)])
        .env("HOME", sandbox.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code().unwrap())
}

/// Starts what runs until it is stopped; what it says goes to a file.
fn started(sandbox: &Sandbox, script: &str) -> Process {
    let place = fs::read_to_string(sandbox.path("place")).unwrap();
    let log = fs::File::create(sandbox.path("background.log")).unwrap();
    let arguments: Vec<&str> = script.split_whitespace().skip(1).collect();
    let mut command = sandbox.bekk(&arguments);
    command
        .current_dir(place.trim())
        .env("DATABASE_URL", &sandbox.url)
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Process::spawn(&mut command)
}

/// The project of the first steps, loaded: what the other pages begin with.
const SHOP: &str = "
    mkdir -p shop/inbox && cd shop
    cat >inbox/monday.csv <<'EOF'
order_id,customer,ordered_at,amount,paid
1001,Ada Lovelace,2026-11-23 09:12:00,129.90,yes
1002,Grace Hopper,2026-11-23 09:15:30,18.50,no
1003,\"Mary \"\"May\"\" Jackson\",2026-11-23 10:02:45,54.00,yes
EOF
    bekk init --from inbox/monday.csv --name orders
    sed -i 's|inbox/monday.csv|inbox/*.csv|' bekk.toml
    bekk up --once";

fn run_page(name: &str, before: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    let page = fs::read_to_string(path).unwrap();
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("place"), sandbox.path("").to_str().unwrap()).unwrap();
    let (output, code) = typed(&sandbox, before);
    assert_eq!(code, 0, "{output}");
    let mut background: Option<Process> = None;
    let steps = steps(&page);
    assert!(!steps.is_empty(), "{name} has no commands");
    for step in steps {
        let deadline = Instant::now() + WAIT;
        match step.mark.as_str() {
            "background" => background = Some(started(&sandbox, &step.script)),
            "stop" => {
                let process = background.take().expect("something runs");
                assert_eq!(process.terminate(), Some(0), "{name}");
                continue;
            }
            _ => {}
        }
        loop {
            let (output, code) = match step.mark.as_str() {
                "background" => (
                    fs::read_to_string(sandbox.path("background.log")).unwrap(),
                    0,
                ),
                _ => typed(&sandbox, &step.script),
            };
            let expected = step.mark.strip_prefix("exit=").unwrap_or("0");
            let missing = missing(&output, &step.printed);
            if missing.is_none() && code.to_string() == expected {
                break;
            }
            let waits = matches!(step.mark.as_str(), "wait" | "background");
            assert!(
                waits && Instant::now() < deadline,
                "{name}: after\n{}\nexit code {code}; not printed: {missing:?}; printed:\n{output}",
                step.script
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The same with Tuesday's file, as the pages about a running installation begin.
const TWO_DAYS: &str = "
    cat >inbox/tuesday.csv <<'EOF'
order_id,customer,ordered_at,amount,paid
1002,Grace Hopper,2026-11-23 09:15:30,18.50,yes
1004,Alan Turing,2026-11-24 11:47:11,12.00 EUR,no
EOF
    bekk up --once";

#[test]
fn first_steps() {
    run_page("guide/first_steps.md", "");
}

#[test]
fn operations() {
    run_page("guide/operations.md", SHOP);
}

#[test]
fn own_csv() {
    run_page("guide/own_csv.md", "mkdir own && cd own");
}

#[test]
fn audit() {
    run_page("guide/audit.md", &format!("{SHOP}\n{TWO_DAYS}"));
}

#[test]
fn dead_letters() {
    run_page("guide/dead_letters.md", &format!("{SHOP}\n{TWO_DAYS}"));
}

#[test]
fn replay() {
    run_page("guide/replay.md", &format!("{SHOP}\n{TWO_DAYS}"));
}

#[test]
fn monitoring() {
    run_page("guide/monitoring.md", &format!("{SHOP}\n{TWO_DAYS}"));
}
