//! Who an ingest is, and which files it can know.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bekk_stream::{FileId, FileRecord};

use crate::Error;
use crate::file::replace::replace;

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
    match bekk_log::read_plain(&path) {
        Ok(bytes) => match known_id(&bytes) {
            Some(id) => return Ok(id),
            None => tracing::warn!(
                path = %path.display(),
                "the ingest's id is damaged; it gets a new one, and recognises its files by the checkpoint and the host"
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(
            path = %path.display(), %error,
            "the ingest's id cannot be read; it gets a new one, and recognises its files by the checkpoint and the host"
        ),
    }
    // A file's id is random too, and has the right form.
    let id = FileId::random().to_string();
    let beside = path.with_extension("new");
    File::create(&beside)
        .and_then(|mut file| {
            writeln!(file, "{id}")?;
            file.sync_all()
        })
        .and_then(|()| replace(&beside, &path))
        .and_then(|()| File::open(state_dir)?.sync_all())
        .map_err(Error::io("write", &path))?;
    Ok(id)
}

/// The id in a file, if it is one.
fn known_id(bytes: &[u8]) -> Option<String> {
    let id = std::str::from_utf8(bytes).ok()?.trim();
    let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let fits = (1..=64).contains(&id.len()) && id.chars().all(is_id);
    fits.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_id_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let id = ingest_id(dir.path()).unwrap();
        assert_eq!(ingest_id(dir.path()).unwrap(), id);
        for damaged in [&[0; 37][..], b"", b"\xff\xfe", b"a b"] {
            fs::write(dir.path().join("id"), damaged).unwrap();
            let id = ingest_id(dir.path()).unwrap();
            assert_eq!(id.len(), 36, "{id:?}");
            assert_eq!(ingest_id(dir.path()).unwrap(), id);
        }
        // A directory in its place is set aside.
        fs::remove_file(dir.path().join("id")).unwrap();
        fs::create_dir(dir.path().join("id")).unwrap();
        let id = ingest_id(dir.path()).unwrap();
        assert_eq!(ingest_id(dir.path()).unwrap(), id);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
