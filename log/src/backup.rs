//! A backup of a log, made while it is in use: all topics as they were at one moment.
//!
//! The owner begins a new segment in every topic while nothing is appended. All that was appended before is then in
//! sealed segments, which no longer change; their tables get second names in `DIR/snapshot-<name>`, beside copies of
//! the small files. The state is there as its copy, from which it is restored. The process that asked for the backup then
//! moves or copies the directory to its place.

use std::fs;
use std::io;
use std::path::Path;

use crate::files::{self, copy_tree, io_error};
use crate::segment::{self, Header, Summary};
use crate::snapshot::SNAPSHOT;
use crate::{Client, Error, LogId, Offset};

/// The content of a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backup {
    /// Topics.
    pub topics: u64,
    /// Segments.
    pub segments: u64,
    /// Records, including those that damage has taken.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Client {
    /// Makes a backup of the log in `dir`, whose owner or guest this is, at `to`, which does not exist or is empty. If
    /// both are on one file system, the tables of the backup are hard links to the log's.
    ///
    /// # Errors
    /// If `to` holds something; [`Error::NotHere`] if the log is not in a directory of this host; others if the owner or
    /// the file system fails.
    pub fn backup(&self, dir: &Path, to: &Path) -> Result<Backup, Error> {
        check_target(to)?;
        let name = LogId::random().to_string();
        self.snapshot(&name)?;
        let made = dir.join(format!("{SNAPSHOT}{name}"));
        if let Err(error) = move_to(&made, to) {
            // The first error is reported.
            let _ = fs::remove_dir_all(&made);
            return Err(error);
        }
        contents(to)
    }
}

/// Moves a snapshot to its place, or copies it if that is on another file system.
fn move_to(made: &Path, to: &Path) -> Result<(), Error> {
    let absolute = std::path::absolute(to).map_err(|source| io_error("name", to, source))?;
    if let Some(parent) = absolute.parent() {
        files::create_dir(parent)?;
    }
    match fs::rename(made, &absolute) {
        Ok(()) => return files::sync_parent(&absolute),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        Err(error) => return Err(io_error("move", made, error)),
    }
    let temporary = files::temporary_name(&absolute);
    if temporary.is_dir() {
        segment::remove(&temporary)?;
    }
    copy_tree(made, &temporary, false)?;
    segment::finish(&temporary, &absolute)?;
    segment::remove(made)
}

fn check_target(to: &Path) -> Result<(), Error> {
    let is_free = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(io_error("list", to, error)),
    };
    if is_free {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "directory for a backup",
        value: to.display().to_string(),
        allowed: "one that does not exist, or is empty",
    })
}

/// The content of a backup, from the summaries of its segments.
fn contents(dir: &Path) -> Result<Backup, Error> {
    let mut backup = Backup::default();
    for topic in files::entries(&dir.join("topics"))? {
        backup.topics += 1;
        for segment in files::entries(&topic)? {
            let partitions = Header::read(&segment)?.partitions;
            let Some(summary) = Summary::read(&segment, partitions)? else {
                continue;
            };
            backup.segments += 1;
            backup.bytes += summary.bytes;
            let records = |(start, end): (Offset, Offset)| end.get() - start.get();
            let ranges = summary.ranges.iter().map(|range| (range.start, range.end));
            backup.records += ranges.map(records).sum::<u64>();
        }
    }
    Ok(backup)
}
