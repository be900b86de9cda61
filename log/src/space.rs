//! The reserve: appends are refused while the disk has less free than the log keeps.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::full::lacks_inodes;
use crate::{Error, files};

/// How long an answer of the system is good for.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The disk of a log.
pub(crate) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
    checked: Mutex<Option<(Instant, Room)>>,
}

/// What a disk has.
#[derive(Clone, Copy)]
struct Room {
    free_bytes: u64,
    lacks_inodes: bool,
}

impl Space {
    pub(crate) const fn new(dir: PathBuf, reserve_bytes: u64) -> Self {
        Self {
            dir,
            reserve_bytes,
            checked: Mutex::new(None),
        }
    }

    /// Refuses to write while there is less free than the reserve.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let room = self.room()?;
        if room.free_bytes < self.reserve_bytes {
            return Err(Error::NoSpace {
                path: self.dir.clone(),
                free_bytes: room.free_bytes,
                reserve_bytes: self.reserve_bytes,
            });
        }
        match room.lacks_inodes {
            true => Err(Error::NoInodes {
                path: self.dir.clone(),
            }),
            false => Ok(()),
        }
    }

    /// Free bytes, as of a moment ago.
    pub(crate) fn free_bytes(&self) -> Result<u64, Error> {
        Ok(self.room()?.free_bytes)
    }

    fn room(&self) -> Result<Room, Error> {
        let mut checked = self.checked.lock();
        if let Some((at, room)) = *checked
            && at.elapsed() < CHECK_INTERVAL
        {
            return Ok(room);
        }
        let room = Room {
            free_bytes: free_bytes(&self.dir)?,
            lacks_inodes: lacks_inodes(&self.dir),
        };
        *checked = Some((Instant::now(), room));
        Ok(room)
    }
}

/// What is free on the disk of a directory.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64, Error> {
    let stat =
        rustix::fs::statvfs(dir).map_err(|error| files::io_error("measure", dir, error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Name of the file that is given up where a log is opened on a full disk
const SPARE: &str = "spare";
/// Size of the spare file: room for what an owner writes when it begins
const SPARE_BYTES: usize = 256 << 10;

/// Gives the spare file of a log up if its disk has no room left for what its owner writes.
pub(crate) fn use_spare(dir: &Path) {
    let free = free_bytes(dir);
    let spare = dir.join(SPARE);
    if free.is_ok_and(|free| free < SPARE_BYTES as u64) && std::fs::remove_file(&spare).is_ok() {
        tracing::warn!(path = %spare.display(), "the log's disk is full; the spare file is deleted to make \
        room for necessary writes");
    }
}

impl Space {
    /// Creates the spare file if it is missing and the disk has more than the reserve.
    pub(crate) fn keep_spare(&self) -> Result<(), Error> {
        let spare = self.dir.join(SPARE);
        if spare.exists() || self.check().is_err() {
            return Ok(());
        }
        // No two bytes alike, so that no file system leaves it out.
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[3]
        })
        .take(SPARE_BYTES)
        .collect();
        std::fs::write(&spare, bytes).map_err(|source| files::io_error("write", &spare, source))
    }
}

#[cfg(test)]
mod tests {
    use bekk_testing::assert_matches;

    use super::*;

    #[test]
    fn the_reserve_decides() {
        let dir = tempfile::tempdir().unwrap();
        let check = |reserve| Space::new(dir.path().to_owned(), reserve).check();
        check(0).unwrap();
        let error = check(u64::MAX).unwrap_err();
        assert_matches!(error, Error::NoSpace { free_bytes, .. } if free_bytes > 0);
        let missing = Space::new(dir.path().join("missing"), 0).check();
        assert_matches!(missing, Err(Error::Io { .. }));
    }
}
