//! Who uses the server, and the watcher that stops it after the last of them.

use std::fs::{File, TryLockError};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;
use crate::account::clean_command;
use crate::home::{Home, wait_for_lock};

/// What the watcher does: become the only one, wait until no user is left, stop the server and see it
/// off, and remove what is temporary. While it holds the users' lock exclusively, newcomers wait. Other users can lock no
/// file of it, also none that an earlier version has left open to them.
const WATCH: &str = r#"
umask 077
exec 8>>"$1/watcher.lock" 9>>"$1/users.lock"
chmod 600 "$1/watcher.lock"
flock -w 5 8 || exit 0
flock 9
pid=$(head -n 1 "$2/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -e "$2"; then
    kill -s "$3" "$pid"
    n=0
    while [ -d "/proc/$pid" ] && [ -e "$2/postmaster.pid" ] && [ "$n" -lt 1200 ]; do
        sleep 0.05
        n=$((n + 1))
    done
fi
if [ -n "$4" ]; then rm -rf -- "$4"; fi
"#;

/// Our share in the server: while it lives, nobody else stops it.
#[derive(Debug)]
pub(crate) struct User {
    lock: File,
}

/// What became of the users' lock when one left.
#[derive(Debug)]
pub(crate) enum Left {
    /// We were the last; newcomers wait until this is dropped.
    Last(File),
    /// The watcher was faster and stops the server now.
    WatcherStops,
    /// Others use the server.
    InUse,
}

impl User {
    /// Joins the users, after a stop that is under way.
    pub(crate) fn join(home: &Home) -> Result<Self, Error> {
        let lock = home.lock_file("users.lock")?;
        wait_for_lock("the end of a server that stops", || lock.try_lock_shared())?;
        Ok(Self { lock })
    }

    /// Leaves the users.
    ///
    /// Turning the shared lock into an exclusive one gives it back for a moment, and the watcher, who
    /// waits for just that, may come first.
    pub(crate) fn leave(self) -> Left {
        if self.lock.try_lock().is_ok() {
            return Left::Last(self.lock);
        }
        match self.lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Left::WatcherStops,
            Ok(()) | Err(TryLockError::Error(_)) => Left::InUse,
        }
    }
}

/// Starts a watcher for the cluster at `data`; one that finds another at work goes away again.
///
/// `temporary` is removed in the end. Without a `flock` command there is no watcher; then the last
/// user's clean exit stops the server, and after `kill -9` it stays for the next one.
pub(crate) fn watch(home: &Path, data: &Path, signal: &str, temporary: Option<&Path>) {
    if !has_flock() {
        return;
    }
    let spawned = clean_command(Path::new("/bin/sh"))
        .args(["-c", WATCH, "bekk-postgres-watcher"])
        .arg(home)
        .arg(data)
        .arg(signal)
        .arg(temporary.unwrap_or(Path::new("")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Away from the terminal's foreground group, whose Ctrl-C is not meant for it.
        .process_group(0)
        .spawn();
    match spawned {
        Ok(mut child) => {
            // Waited for, so that it leaves no zombie when it ends before us.
            std::thread::spawn(move || child.wait());
        }
        Err(error) => tracing::warn!(%error, "no watcher; the server may outlive its users"),
    }
}

fn has_flock() -> bool {
    Command::new("flock")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
        && Path::new("/proc/self/cmdline").exists()
}
