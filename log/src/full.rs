//! What a disk that takes no more has run out of.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, OFlags};

/// Free inodes that a log keeps in reserve: for a segment, its tables and its journals
pub const INODES_RESERVE: u64 = 64;
/// What must be free to write out a table of fjall's, and its journal
const WRITE_BYTES: u64 = 16 << 20;

/// What a disk has run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Bytes.
    Space,
    /// Inodes, of which each file needs one.
    Inodes,
    /// Bytes or inodes that the user, the group or the project may use.
    Quota,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Space => "its disk is full",
            Self::Inodes => "its disk has no free inodes",
            Self::Quota => "the quota on its disk is used up",
        })
    }
}

impl Full {
    /// What a refused write says about the disk; `None` if it says something else.
    pub(crate) fn of(error: &io::Error, path: &Path) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::QuotaExceeded => Some(Self::Quota),
            io::ErrorKind::StorageFull => Some(match lacks_inodes(path) {
                true => Self::Inodes,
                false => Self::Space,
            }),
            _ => None,
        }
    }

    /// What the disk of a directory lacks for a write that has failed, and whose error is not known.
    pub(crate) fn of_disk(dir: &Path) -> Option<Self> {
        let stat = rustix::fs::statvfs(dir).ok()?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < WRITE_BYTES {
            return Some(Self::Space);
        }
        match reserve_nameless(dir, WRITE_BYTES) {
            Err(error) => Self::of(&error, dir),
            Ok(()) => None,
        }
    }
}

/// Takes an inode and so many bytes, and gives them back. A file system without nameless files is not asked.
fn reserve_nameless(dir: &Path, bytes: u64) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?;
    if bytes > 0 {
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    }
    Ok(())
}

/// Free inodes on the disk of a directory; `None` if its file system does not count them.
#[must_use]
pub fn free_inodes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    (stat.f_files > 0).then_some(stat.f_favail)
}

/// Whether a directory's disk has fewer inodes than the reserve. A file system may count none although it has some.
pub(crate) fn lacks_inodes(path: &Path) -> bool {
    let dir = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(path)
    };
    match free_inodes(dir) {
        None => false,
        Some(0) => {
            reserve_nameless(dir, 0).is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
        }
        Some(free) => free < INODES_RESERVE,
    }
}
