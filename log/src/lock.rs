//! `DIR/LOCK`: one process has a log. Only its user can open the file, so that no other can hold the lock.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use crate::Error;
use crate::files::{self, private};

/// The lock of a log's directory, held.
pub(crate) struct DirLock(File);

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("LOCK");
        let file =
            private::create_file(&path).map_err(|source| files::io_error("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => {
                // The last owner's, if it was killed: its guests see at once that it is gone.
                let _ = fs::remove_file(dir.join("owner"));
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: dir.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(files::io_error("lock", &path, source)),
        }
    }
}

/// Whether nobody holds the lock of a log's directory.
pub(crate) fn is_free(dir: &Path) -> bool {
    // A shared lock, so that those who look do not see each other.
    let Ok(file) = files::open_plain(&dir.join("LOCK")) else {
        return true;
    };
    let is_free = file.try_lock_shared().is_ok();
    let _ = file.unlock();
    is_free
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file would do, were there not the moment between fork and exec in which a child that
        // this process starts has it open too. If it fails, closing is what is left.
        let _ = self.0.unlock();
    }
}
