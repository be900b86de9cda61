//! One ingest for a state directory, and one for an inbox: two would each take the same files.
//!
//! A lock is flock's, on the directory itself for an inbox, so that one that cannot be written to can be
//! locked as well. It goes with the process that holds it.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::inbox::Inbox;

/// How long a lock is waited for: a process that was just killed may still be on its way out, and one that
/// is just being started by its holder has a copy of it for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes the state directory for this run.
pub(crate) fn lock_state(state_dir: &Path) -> Result<File, Error> {
    let path = state_dir.join("LOCK");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match try_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: state_dir.to_owned(),
            holder: shown(holder(&path)),
        }),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}

/// The inbox's directories, as far as they are there.
pub(crate) struct InboxLock {
    directories: HashMap<PathBuf, (u64, File)>,
    /// Whether some cannot be locked, which has been said.
    is_incomplete: bool,
}

impl InboxLock {
    /// Takes the inbox for this run.
    ///
    /// # Errors
    /// [`Error::InboxLocked`] if another ingest reads files from one of its directories.
    pub(crate) fn new(inbox: &Inbox) -> Result<Self, Error> {
        let mut lock = Self {
            directories: HashMap::new(),
            is_incomplete: false,
        };
        lock.renew(inbox)?;
        Ok(lock)
    }

    /// Takes directories that have appeared.
    ///
    /// # Errors
    /// As [`InboxLock::new`].
    pub(crate) fn renew(&mut self, inbox: &Inbox) -> Result<(), Error> {
        for root in inbox.roots() {
            let path = &root.directory;
            let Ok(metadata) = fs::metadata(path) else {
                continue;
            };
            let inode = metadata.ino();
            // Several patterns may lead to one directory, also under several names.
            if self.directories.values().any(|(known, _)| *known == inode) {
                continue;
            }
            match File::open(path).map(|file| (try_lock(&file), file)) {
                Ok((Ok(()), file)) => {
                    self.directories.insert(path.clone(), (inode, file));
                }
                Ok((Err(TryLockError::WouldBlock), _)) => {
                    return Err(Error::InboxLocked {
                        path: path.clone(),
                        holder: shown(holder(path)),
                    });
                }
                Ok((Err(TryLockError::Error(error)), _)) | Err(error) => self.warn(path, &error),
            }
        }
        Ok(())
    }

    fn warn(&mut self, path: &Path, error: &io::Error) {
        if !std::mem::replace(&mut self.is_incomplete, true) {
            tracing::warn!(
                path = %path.display(), %error,
                "the directory cannot be locked: see to it that no second ingest reads its files"
            );
        }
    }
}

fn try_lock(file: &File) -> Result<(), TryLockError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// Who has a lock: nothing is known of the process if it is another container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A process of this machine or container.
    Process(u32),
    /// Another one.
    Unknown,
}

/// Who has a file locked, as Linux tells it in `/proc/locks`; `None` if nobody has.
#[must_use]
pub fn holder(path: &Path) -> Option<Holder> {
    let inode = format!(":{}", fs::metadata(path).ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let file = fields.iter().position(|field| field.ends_with(&inode))?;
        let process = fields.get(file.checked_sub(1)?)?.parse();
        Some(match process {
            Ok(process @ 1..) => Holder::Process(process),
            _ => Holder::Unknown,
        })
    })
}

fn shown(holder: Option<Holder>) -> String {
    match holder {
        Some(Holder::Process(process)) => format!(" (pid {process})"),
        _ => String::new(),
    }
}
