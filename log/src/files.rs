//! Small files that are replaced whole: a magic, a format version, a body and its CRC-32C.
//!
//! A file is written under a temporary name, fsynced, renamed, and its directory fsynced: after a crash it
//! is the old one or the new one.

pub(crate) mod private;
mod tree;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub use self::private::{check_directory, is_trusted_user, make_private};
pub(crate) use self::tree::{copy_file, copy_tree};
use crate::Error;
use crate::clock::now_ms;

/// What the name of a file or directory being made ends in; leftovers are removed when the log is opened.
pub(crate) const TEMPORARY: &str = ".tmp";
/// Continuation of the name of what is set aside because it is damaged; the time in ms follows.
pub(crate) const DAMAGED: &str = ".damaged-";

/// A kind of small file.
pub(crate) struct FileKind {
    /// Its first eight bytes.
    pub(crate) magic: [u8; 8],
    /// The format version written, and the newest that is read.
    pub(crate) version: u32,
}

/// Why a small file could not be read.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    Missing,
    Damaged(String),
    Failed(Error),
}

impl FileKind {
    /// Replaces the file at `path`; durable when it returns.
    pub(crate) fn write(&self, path: &Path, body: &[u8]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(16 + body.len());
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());

        let temporary = temporary_name(path);
        write_synced(&temporary, &bytes)
            .and_then(|()| replace(&temporary, path))
            .map_err(|source| io_error("write", path, source))?;
        sync_parent(path)
    }

    /// Reads the body of the file at `path`.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>, ReadFailure> {
        let bytes = match read_plain(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ReadFailure::Missing);
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(ReadFailure::Damaged(error.to_string()));
            }
            Err(error) => return Err(ReadFailure::Failed(io_error("read", path, error))),
        };
        let damaged = |detail: &str| Err(ReadFailure::Damaged(detail.to_owned()));
        let Some((content, crc)) = bytes.split_last_chunk() else {
            return damaged("it is too short");
        };
        if crc32c::crc32c(content) != u32::from_be_bytes(*crc) {
            return damaged("its CRC does not match");
        }
        let Some((version, body)) = content
            .strip_prefix(&self.magic)
            .and_then(<[u8]>::split_first_chunk)
        else {
            return damaged("it does not begin with the expected bytes");
        };
        let found = u32::from_be_bytes(*version);
        if found == 0 || found > self.version {
            return Err(ReadFailure::Failed(Error::Version {
                path: path.to_owned(),
                found,
                known: self.version,
            }));
        }
        Ok(body.to_owned())
    }
}

/// Reads a file. Does not wait for a pipe that has its name.
///
/// # Errors
/// `InvalidData` if it is a directory, a pipe or another special file; else what the system refuses.
pub fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open_plain(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file for reading, as [`read_plain`] does.
///
/// # Errors
/// As [`read_plain`].
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a plain file",
        )),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private::create_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames a file, over an older one of that name. A directory of that name is set aside.
pub(crate) fn replace(file: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(file, path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!("{DAMAGED}{}", now_ms()));
            fs::rename(path, aside)?;
            fs::rename(file, path)
        }
        done => done,
    }
}

/// The name under which `path` is made before it is renamed.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| io_error("fsync", path, source))
}

/// Makes the entry of `path` in its directory durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes a directory and those above it, durably; only their user may enter those that are new.
///
/// # Errors
/// If the system refuses.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        create_dir(parent)?;
    }
    match private::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("make directory", path, error))
        }
        _ => sync_parent(path),
    }
}

/// What a directory holds, in no order.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = fs::read_dir(dir).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect::<io::Result<Vec<_>>>()
    });
    list.map_err(|source| io_error("list", dir, source))
}

pub(crate) fn io_error(act: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        act,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use bekk_testing::assert_matches;

    use super::*;

    const KIND: FileKind = FileKind {
        magic: *b"bekktest",
        version: 3,
    };

    #[test]
    fn a_file_comes_back_and_each_flipped_byte_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_matches!(KIND.read(&path), Err(ReadFailure::Missing));
        KIND.write(&path, b"old").unwrap();
        KIND.write(&path, b"new body").unwrap();
        assert_matches!(KIND.read(&path), Ok(body) if body == b"new body");
        assert!(!temporary_name(&path).exists());

        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            assert_matches!(KIND.read(&path), Err(ReadFailure::Damaged(_)), "{at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert_matches!(KIND.read(&path), Err(ReadFailure::Damaged(_)), "{at}");
        }
    }

    #[test]
    fn a_directory_in_its_place_is_damage_and_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("precious"), b"x").unwrap();
        assert_matches!(KIND.read(&path), Err(ReadFailure::Damaged(_)));
        KIND.write(&path, b"body").unwrap();
        assert_matches!(KIND.read(&path), Ok(body) if body == b"body");
        let entries = entries(dir.path()).unwrap();
        let aside = entries.iter().find(|entry| **entry != path).unwrap();
        assert!(aside.join("precious").exists());
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        FileKind { version: 4, ..KIND }.write(&path, b"").unwrap();
        let failure = KIND.read(&path);
        assert_matches!(
            failure,
            Err(ReadFailure::Failed(Error::Version {
                found: 4,
                known: 3,
                ..
            })),
        );
    }
}
