//! `DIR/LOCK`: one process has a log.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Error, files};

/// The lock of a log's directory, held.
pub(crate) struct DirLock(File);

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("LOCK");
        let file = File::create(&path).map_err(|source| files::io_error("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: dir.to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(files::io_error("lock", &path, source)),
        }
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file would do, were there not the moment between fork and exec in which a child that
        // this process starts has it open too. If it fails, closing is what is left.
        let _ = self.0.unlock();
    }
}
