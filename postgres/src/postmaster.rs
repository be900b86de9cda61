//! The server's process: what `postmaster.pid` and the operating system say about it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

pub(crate) const POLL: Duration = Duration::from_millis(5);

/// What a cluster's server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// There is none.
    Stopped,
    /// It starts or recovers, or shuts down.
    Busy { pid: Pid, stopping: bool },
    /// It takes connections.
    Ready { pid: Pid, port: u16 },
}

/// What the server of the cluster at `data` (an absolute, canonical path) does.
///
/// PostgreSQL keeps `postmaster.pid`: process id, data directory, start time, port, socket directory,
/// listen address, shared memory key and status, a line each. After `kill -9` it is left behind.
pub(crate) fn state(data: &Path) -> State {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return State::Stopped;
    };
    let mut lines = text.lines();
    let Some(pid) = lines
        .next()
        .and_then(|line| line.trim().parse().ok())
        .and_then(Pid::from_raw)
    else {
        return State::Stopped;
    };
    if !serves(pid, data) {
        return State::Stopped;
    }
    let port = lines.nth(2).and_then(|line| line.trim().parse().ok());
    match (lines.nth(3).map(str::trim), port) {
        (Some("ready"), Some(port)) => State::Ready { pid, port },
        (status, _) => State::Busy {
            pid,
            stopping: status == Some("stopping"),
        },
    }
}

/// Removes a `postmaster.pid` whose process id now belongs to a process that is no server of this
/// cluster; PostgreSQL itself would take that one for a running server and refuse to start.
///
/// If backends of a killed server are still alive, PostgreSQL sees that without the file: its shared
/// memory's key is the data directory's inode.
pub(crate) fn remove_stale_file(data: &Path) -> Result<(), Error> {
    let path = data.join("postmaster.pid");
    if state(data) == State::Stopped && path.exists() {
        tracing::info!(file = %path.display(), "removing what a killed server left");
        fs::remove_file(&path).map_err(Error::io("remove", path))?;
    }
    Ok(())
}

/// Sends a signal; that the process is gone already is no error.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        tracing::debug!(%pid, ?signal, %error, "no signal sent");
    }
}

/// Waits until a process has ended; returns whether it has.
pub(crate) fn wait_gone(pid: Pid, at_most: Duration) -> bool {
    let begin = Instant::now();
    while is_alive(pid) {
        if begin.elapsed() > at_most {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Kills a server and its backends, as a power cut would end them.
pub(crate) fn kill_all(pid: Pid) {
    // Stopped first, so that it neither starts new children nor tidies up after them.
    signal(pid, Signal::STOP);
    let children = children(pid);
    signal(pid, Signal::KILL);
    for child in &children {
        signal(*child, Signal::KILL);
    }
    for process in std::iter::once(pid).chain(children) {
        wait_gone(process, Duration::from_secs(10));
    }
}

/// Whether a process is alive; one that has ended and was not waited for is not.
pub(crate) fn is_alive(pid: Pid) -> bool {
    stat(pid).is_some()
}

/// The parent of a process that is alive.
fn stat(pid: Pid) -> Option<i32> {
    let (state, parent) = if has_proc() {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, parentheses too.
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        (fields.next()?.to_owned(), fields.next()?.parse().ok()?)
    } else {
        let text = ps(&["-o", "state=,ppid=", "-p", &pid.to_string()])?;
        let mut fields = text.split_whitespace();
        (fields.next()?.to_owned(), fields.next()?.parse().ok()?)
    };
    (!state.starts_with(['Z', 'X'])).then_some(parent)
}

fn children(parent: Pid) -> Vec<Pid> {
    let pids: Vec<i32> = if has_proc() {
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    } else {
        ps(&["-A", "-o", "pid="])
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    };
    pids.into_iter()
        .filter_map(Pid::from_raw)
        .filter(|pid| stat(*pid) == Some(parent.as_raw_nonzero().get()))
        .collect()
}

/// Whether the process is alive and a server of the cluster at `data`: it works in that directory, or,
/// where we may not see that, was started with its name.
fn serves(pid: Pid, data: &Path) -> bool {
    if !is_alive(pid) {
        return false;
    }
    if !has_proc() {
        return ps(&["-ww", "-o", "args=", "-p", &pid.to_string()])
            .is_some_and(|args| args.contains(&data.display().to_string()));
    }
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        // A server that has only just begun is not there yet, but its arguments are.
        Ok(directory) if directory == data => true,
        _ => fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|args| {
            args.split(|byte| *byte == 0)
                .any(|arg| arg == data.as_os_str().as_encoded_bytes())
        }),
    }
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

fn ps(args: &[&str]) -> Option<String> {
    let output = Command::new("ps")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
