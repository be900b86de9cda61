//! A guest's look at `DIR/owner` and the lock: whether the owner is still there.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::files::{self, private};
use crate::owner::Owner;
use crate::relay::Relay;
use crate::remote::Remote;
use crate::{Error, lock};

/// How often a guest looks whether the owner is there.
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// A guest's watch over its owner: a thread that looks whether it is there.
pub(crate) struct OwnerWatch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The way to the owner, as long as it is watched.
    _relay: Relay,
}

impl OwnerWatch {
    pub(crate) fn start(
        dir: &Path,
        owner: Owner,
        remote: Arc<Remote>,
        relay: Relay,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new()
            .name("owner-watch".to_owned())
            .spawn({
                let (dir, stop) = (dir.to_owned(), Arc::clone(&stop));
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        if has_gone(&dir, &owner) {
                            remote.lose();
                            return;
                        }
                        thread::sleep(WATCH_EVERY);
                    }
                }
            });
        let thread = thread.map_err(|source| files::io_error("start a thread for", dir, source))?;
        Ok(Self {
            stop,
            thread: Some(thread),
            _relay: relay,
        })
    }
}

impl Drop for OwnerWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn has_gone(dir: &Path, owner: &Owner) -> bool {
    read_owner(dir).as_ref() != Some(owner) || lock::is_free(dir)
}

/// Reads `DIR/owner`; `None` if it is not there, or is not one that this version knows.
pub(crate) fn read_owner(dir: &Path) -> Option<Owner> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(owner_path(dir))
        .ok()?;
    if !private::is_ours(&file.metadata().ok()?) {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(Owner::BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Owner::parse(&bytes)
}

pub(crate) fn owner_path(dir: &Path) -> PathBuf {
    dir.join("owner")
}
