//! `bekk top` in a terminal of 80 by 24, which `script` provides.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Sandbox, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
/// Leaves the alternate screen, and shows the cursor again.
const LEFT: [&str; 2] = ["\x1b[?1049l", "\x1b[?25h"];

/// `bekk top` in a terminal, and what it has written there.
struct InTerminal {
    script: Child,
    written: Arc<Mutex<Vec<u8>>>,
}

impl InTerminal {
    fn start(sandbox: &Sandbox) -> Self {
        let mut command = Command::new("script");
        let top = format!(
            "stty rows 24 cols 80; echo $$ > top.pid; exec {} top",
            env!("CARGO_BIN_EXE_bekk")
        );
        command
            .args(["--quiet", "--return", "--command", &top, "/dev/null"])
            .current_dir(sandbox.dir())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .env("DATABASE_URL", &sandbox.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut script = command.spawn().unwrap();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let mut out = script.stdout.take().unwrap();
        thread::spawn({
            let written = Arc::clone(&written);
            move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = out.read(&mut buffer) {
                    written.lock().unwrap().extend_from_slice(&buffer[..length]);
                }
            }
        });
        Self { script, written }
    }

    fn has(&self, text: &str) -> bool {
        let written = self.written.lock().unwrap();
        String::from_utf8_lossy(&written).contains(text)
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        wait_until(text, LIMIT, || self.has(text));
    }

    fn types(&mut self, keys: &str) {
        self.script
            .stdin
            .as_mut()
            .unwrap()
            .write_all(keys.as_bytes())
            .unwrap();
    }

    #[track_caller]
    fn ends(mut self) {
        let code = self.script.wait().unwrap().code();
        assert_eq!(code, Some(0));
        wait_until("the terminal is as it was", LIMIT, || {
            LEFT.iter().all(|text| self.has(text))
        });
    }
}

#[test]
fn every_view_fits_a_small_terminal_which_is_left_as_it_was() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "1"), (2, "view", "abc")]);
    let up = sandbox.start("up --http 127.0.0.1:0");
    wait_until("the rows are there", LIMIT, || {
        let rows = sandbox.postgres().try_rows("SELECT 1 FROM events");
        rows.is_ok_and(|rows| rows.len() == 1)
    });
    // Single words: blanks are skipped by moving the cursor.
    let mut top = InTerminal::start(&sandbox);
    for text in ["\x1b[?1049h", "Healthy", "PostgreSQL", "visible"] {
        top.shows(text);
    }
    top.types("2");
    top.shows("data/a.csv");
    top.types("3");
    top.shows("events/3");
    top.types("4");
    top.shows("bad_value");
    top.types("q");
    top.ends();

    // Ended from elsewhere, while PostgreSQL and the log are used by others.
    let top = InTerminal::start(&sandbox);
    top.shows("Healthy");
    let pid = std::fs::read_to_string(sandbox.path("top.pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    top.ends();
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
    sandbox.refuses("top", "needs a terminal");
}
