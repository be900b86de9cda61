//! Who an ingest is, and which files it can know.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bekk_stream::{FileId, FileRecord};

use crate::Error;

/// Who an ingest is: files that it has met are known by that.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The id of its state directory.
    pub(crate) ingest: String,
    /// What tells its host from others, as far as that can be told: device and inode numbers are this host's.
    pub(crate) host: String,
}

impl Identity {
    /// The ingest of a state directory on this host; the id is made at its first run.
    ///
    /// # Errors
    /// If the id cannot be read or written.
    pub(crate) fn of(state_dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            ingest: ingest_id(state_dir)?,
            host: host_id(),
        })
    }

    /// Whether device and inode of a file mean here what they meant where it was met: this ingest met it, or one
    /// on this host whose state directory may have been lost. Earlier versions did not say.
    pub(crate) fn can_know(&self, file: &FileRecord) -> bool {
        file.ingest == self.ingest || file.host == self.host || file.host.is_empty()
    }
}

fn host_id() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let id = read("/etc/machine-id").trim().to_owned();
    match id.is_empty() {
        true => read("/proc/sys/kernel/hostname").trim().to_owned(),
        false => id,
    }
}

/// The id under which this state directory's ingest is known to the log, made at the first run.
fn ingest_id(state_dir: &Path) -> Result<String, Error> {
    let path = state_dir.join("id");
    match fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read", &path)(error)),
    }
    // A file's id is random too, and has the right form.
    let id = FileId::random().to_string();
    let beside = path.with_extension("new");
    File::create(&beside)
        .and_then(|mut file| {
            writeln!(file, "{id}")?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, &path))
        .and_then(|()| File::open(state_dir)?.sync_all())
        .map_err(Error::io("write", &path))?;
    Ok(id)
}
