//! The reserve: appends are refused while the disk has less free than the log keeps.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, files};

/// How long an answer of the system is good for.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The disk of a log.
pub(crate) struct Space {
    dir: PathBuf,
    reserve_bytes: u64,
    checked: Mutex<Option<(Instant, u64)>>,
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
        let free_bytes = self.free_bytes()?;
        if free_bytes >= self.reserve_bytes {
            return Ok(());
        }
        Err(Error::NoSpace {
            path: self.dir.clone(),
            free_bytes,
            reserve_bytes: self.reserve_bytes,
        })
    }

    /// What is free, as of a moment ago.
    pub(crate) fn free_bytes(&self) -> Result<u64, Error> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, free)) = *checked
            && at.elapsed() < CHECK_INTERVAL
        {
            return Ok(free);
        }
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|error| files::io_error("measure", &self.dir, error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        *checked = Some((Instant::now(), free));
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_decides() {
        let dir = tempfile::tempdir().unwrap();
        let check = |reserve| Space::new(dir.path().to_owned(), reserve).check();
        check(0).unwrap();
        let error = check(u64::MAX).unwrap_err();
        assert!(
            matches!(error, Error::NoSpace { free_bytes, .. } if free_bytes > 0),
            "{error}"
        );
        let missing = Space::new(dir.path().join("missing"), 0).check();
        assert!(matches!(missing, Err(Error::Io { .. })));
    }
}
