//! What can be had of damaged segments: each record batch has a CRC of its own, so that all but the damaged ones
//! are taken over into a segment made anew.

mod blocks;
mod kept;
mod rebuild;
mod scan;

pub(crate) use kept::{forget, keep};
pub(crate) use rebuild::{Known, REBUILT, Rebuilt, finish_replacing, rebuild, rebuild_from};
pub(crate) use scan::Scan;

use std::path::{Path, PathBuf};

use crate::files::io_error;
use crate::store::Store;
use crate::{Config, Error, Gap};

/// What became of a segment that had been set aside, or, without paths, what is missing in a topic and was not in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// The topic.
    pub topic: String,
    /// Where what was set aside of the segment is. Nothing of it is changed.
    pub paths: Vec<PathBuf>,
    /// Records that are in the log again.
    pub records: u64,
    /// The offsets that are still missing, as [`verify`](crate::verify()) reports them.
    pub missing: Vec<Gap>,
}

/// Looks through what was set aside of the log in a directory that no process has open, and restores the records that
/// can be read by now and are missing.
///
/// # Errors
/// If there is no log in the directory, it cannot be opened, or there is no room on its disk.
pub fn salvage(dir: &Path) -> Result<Vec<Salvaged>, Error> {
    let format = dir.join("format");
    std::fs::metadata(&format).map_err(|source| io_error("read", &format, source))?;
    let store = Store::open(Config::new(dir.to_owned()))?;
    let mut salvaged = Vec::new();
    for topic in store.core().topics() {
        salvaged.extend(topic.salvage()?);
    }
    store.close()?;
    Ok(salvaged)
}
