//! One ingest for a state directory, and one for an inbox: two would each take the same files.
//!
//! A lock is flock's, on the directory itself for an inbox, so that one that cannot be written to can be
//! locked as well. It goes with the process that holds it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

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
        .mode(0o600)
        // A pipe of that name is refused and not waited for.
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
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
    /// With device and inode of each: the roots of two mounts may have the same inode number.
    directories: HashMap<PathBuf, ((u64, u64), File)>,
    /// Whether some cannot be locked, which has been said.
    is_incomplete: bool,
    /// Those that a process of another user has locked, which has been said.
    strangers: HashSet<PathBuf>,
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
            strangers: HashSet::new(),
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
            let inode = (metadata.dev(), metadata.ino());
            // Several patterns may lead to one directory, also under several names.
            if self.directories.values().any(|(known, _)| *known == inode) {
                continue;
            }
            // A stranger has been waited for once.
            let take = |file: &File| match self.strangers.contains(path) {
                true => file.try_lock(),
                false => try_lock(file),
            };
            match File::open(path).map(|file| (take(&file), file)) {
                Ok((Ok(()), file)) => {
                    self.directories.insert(path.clone(), (inode, file));
                }
                // Anybody who may read the directory can lock it.
                Ok((Err(TryLockError::WouldBlock), _)) if let Some(other) = stranger(path) => {
                    self.warn_of_stranger(path, other);
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

    fn warn_of_stranger(&mut self, path: &Path, (process, user): (u32, Option<u32>)) {
        if self.strangers.insert(path.to_owned()) {
            tracing::warn!(
                path = %path.display(), process, ?user,
                "another program has locked the directory; Bekk continues without the lock. If that program is an \
                 ingest, both read the same files: stop one of them"
            );
        }
    }

    fn warn(&mut self, path: &Path, error: &io::Error) {
        if !std::mem::replace(&mut self.is_incomplete, true) {
            tracing::warn!(
                path = %path.display(), %error,
                "the directory cannot be locked: make sure that no second ingest reads its files"
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

/// The process that has locked a file, and its user, if that is neither ours nor root. The user is not known if the
/// process has ended and left the lock to a child: an ingest does not.
fn stranger(path: &Path) -> Option<(u32, Option<u32>)> {
    let Some(Holder::Process(process)) = holder(path) else {
        return None;
    };
    match fs::metadata(format!("/proc/{process}")) {
        Ok(found) => {
            let user = found.uid();
            let is_ours = user == 0 || user == rustix::process::geteuid().as_raw();
            (!is_ours).then_some((process, Some(user)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some((process, None)),
        Err(_) => None,
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

/// Who has a file or directory locked; `None` if nobody has.
#[must_use]
pub fn holder(path: &Path) -> Option<Holder> {
    let metadata = fs::metadata(path).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    if let Some(holder) = holder_in(&locks, |found, of| of == inode && found == device) {
        return Some(holder);
    }
    // Some file systems have another device in `/proc/locks` than in the file's metadata. The inode alone may be
    // another file's, so that the lock itself must say that it is taken.
    let holder = holder_in(&locks, |_, of| of == inode)?;
    let file = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder),
        _ => None,
    }
}

/// The first holder of a lock in the text of `/proc/locks` whose device and inode are meant. A line is
/// `1: FLOCK ADVISORY WRITE 4711 08:01:131 0 EOF`, device in hexadecimal, with `->` before the kind for one that waits.
fn holder_in(locks: &str, is_meant: impl Fn((u32, u32), u64) -> bool) -> Option<Holder> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.get(1) == Some(&"->") {
            return None;
        }
        let [process, file] = *fields.get(4..6)? else {
            return None;
        };
        let mut parts = file.split(':');
        let mut hexadecimal = || u32::from_str_radix(parts.next()?, 16).ok();
        let device = (hexadecimal()?, hexadecimal()?);
        let inode = parts.next()?.parse().ok()?;
        is_meant(device, inode).then(|| match process.parse() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stream;

    #[test]
    fn a_lock_is_told_by_device_and_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 08:01:131 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 22 fd:0a:131 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 33 fd:0a:131 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 00:2f:7 0 EOF\n\
                     4: LEASE\n";
        let check = |device, inode, expected| {
            let found = holder_in(locks, |of, number| (of, number) == (device, inode));
            assert_eq!(found, expected, "{device:?} {inode}");
        };
        check((8, 1), 131, Some(Holder::Process(11)));
        check((0xfd, 10), 131, Some(Holder::Process(22)));
        check((8, 2), 131, None);
        check((0x00, 0x2f), 7, Some(Holder::Unknown));
        check((8, 1), 13, None);
    }

    #[test]
    fn a_holder_is_found_while_it_holds() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(holder(directory.path()), None);
        let file = File::open(directory.path()).unwrap();
        file.try_lock().unwrap();
        let process = Holder::Process(std::process::id());
        assert_eq!(holder(directory.path()), Some(process));
        drop(file);
        assert_eq!(holder(directory.path()), None);
    }

    /// The roots of `/proc` and `/sys` have the same inode number, as those of two mounts of one kind mostly have.
    #[test]
    fn directories_of_two_devices_with_one_inode_number_are_both_locked() {
        let inode = |path| fs::metadata(path).unwrap().ino();
        assert_eq!(inode("/proc"), inode("/sys"));
        let mut both = stream();
        both.files = vec!["/proc/*.bekk".to_owned(), "/sys/*.bekk".to_owned()];
        // Other runs of this test lock them too.
        let both = Inbox::new(&[both]).unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        let lock = loop {
            match InboxLock::new(&both) {
                Err(Error::InboxLocked { .. }) if Instant::now() < until => {}
                lock => break lock.unwrap(),
            }
        };
        for path in ["/proc", "/sys"] {
            let locked = File::open(path).unwrap().try_lock();
            assert!(matches!(locked, Err(TryLockError::WouldBlock)), "{path}");
        }
        drop(lock);
    }
}
