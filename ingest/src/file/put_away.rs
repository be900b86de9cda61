//! Puts a finished file away: deletes it, or moves it to a directory, on whatever file system that is.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

use crate::source::open;
use crate::source::stat::Stat;

/// How many bytes are copied at once.
const COPY_BYTES: usize = 1 << 20;
/// How many names are tried for a file whose name is taken.
const NAMES_MAX: u32 = 10_000;

/// What a file must still be to be put away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) stat: Stat,
    /// The CRC-32C of its bytes, if it is known.
    pub(crate) crc: Option<u32>,
}

/// Deletes a file, without an fsync, which would take most of the time that ingest needs for small files. A power cut may
/// bring the file back; ingest knows its content and deletes it again.
///
/// # Errors
/// If it is another by now, or the system refuses.
pub(crate) fn delete(path: &Path, expected: &Expected) -> io::Result<()> {
    let (directory, name) = open_parent(path)?;
    check(&directory, &name, expected)?;
    Ok(rustix::fs::unlinkat(&directory, &name, AtFlags::empty())?)
}

/// Moves a file into a directory, beside any of the same name that is there.
///
/// # Errors
/// If it is another by now, or the system refuses. Then the file is where it was.
pub(crate) fn move_into(target: &Path, path: &Path, expected: &Expected) -> io::Result<()> {
    let target = open::make_directory(target)?;
    let (directory, name) = open_parent(path)?;
    check(&directory, &name, expected)?;
    if is_same(&directory.metadata()?, &target.metadata()?) {
        return Err(io::Error::other("it is already in that directory"));
    }
    let first = take_name(&directory, &name, &target, &name);
    match first {
        Ok(()) => {
            target.sync_all()?;
            directory.sync_all()
        }
        Err(rustix::io::Errno::XDEV) => copy_across(&directory, &name, &target, expected),
        Err(error) => Err(error.into()),
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Copies a file to another file system, durably, before it is deleted where it was.
fn copy_across(
    directory: &File,
    name: &OsStr,
    target: &File,
    expected: &Expected,
) -> io::Result<()> {
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".bekk-moving");
    let copied = copy(directory, name, target, &beside, expected)
        .and_then(|()| Ok(take_name(target, &beside, target, name)?));
    if let Err(error) = copied {
        // What is left of the copy is of no use.
        let _ = rustix::fs::unlinkat(target, &beside, AtFlags::empty());
        return Err(error);
    }
    target.sync_all()?;
    check(directory, name, expected)?;
    rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
    directory.sync_all()
}

fn copy(
    directory: &File,
    name: &OsStr,
    target: &File,
    beside: &OsStr,
    expected: &Expected,
) -> io::Result<()> {
    let source = rustix::fs::openat(
        directory,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    let mut source = File::from(source);
    let metadata = source.metadata()?;
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(metadata.mode() & 0o777);
    let mut copy = File::from(rustix::fs::openat(target, beside, flags, mode)?);
    let mut block = vec![0; COPY_BYTES];
    let (mut crc, mut len) = (0, 0);
    loop {
        let read = source.read(&mut block)?;
        if read == 0 {
            break;
        }
        copy.write_all(&block[..read])?;
        crc = crc32c::crc32c_append(crc, &block[..read]);
        len += read as u64;
    }
    if len != expected.stat.size || expected.crc.is_some_and(|expected| expected != crc) {
        return Err(changed());
    }
    copy.set_modified(metadata.modified()?)?;
    copy.sync_all()
}

/// Gives a file a name in a directory that none has there: its own, or that with a number.
fn take_name(
    from: &File,
    old: &OsStr,
    target: &File,
    name: &OsStr,
) -> Result<(), rustix::io::Errno> {
    for number in 0..NAMES_MAX {
        let mut numbered = name.to_owned();
        if number > 0 {
            numbered.push(format!(".{number}"));
        }
        match rustix::fs::renameat_with(from, old, target, &numbered, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) => {}
            done => return done,
        }
    }
    Err(rustix::io::Errno::EXIST)
}

/// The directory that a file is in, kept open, so that it is the same one for all that is done there.
fn open_parent(path: &Path) -> io::Result<(File, OsString)> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((open::directory(parent)?, name.to_owned()))
}

/// Makes sure that a name is that of the file that was read, and that nobody has written to it since.
fn check(directory: &File, name: &OsStr, expected: &Expected) -> io::Result<()> {
    let file = rustix::fs::openat(
        directory,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )?;
    let now = Stat::of(&File::from(file).metadata()?);
    match now.has_content_of(&expected.stat) {
        true => Ok(()),
        false => Err(changed()),
    }
}

fn changed() -> io::Error {
    io::Error::other("it has been replaced or written to since it was read")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn expected(path: &Path) -> Expected {
        Expected {
            stat: Stat::at(path).unwrap(),
            crc: Some(crc32c::crc32c(&fs::read(path).unwrap())),
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_was_replaced_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        fs::write(&path, "id\n1\n").unwrap();
        let known = expected(&path);
        fs::write(directory.path().join("b"), "id\n2\n").unwrap();
        fs::rename(directory.path().join("b"), &path).unwrap();
        assert!(delete(&path, &known).is_err());
        assert!(move_into(&directory.path().join("done"), &path, &known).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"id\n2\n");
        delete(&path, &expected(&path)).unwrap();
        assert_eq!(names(directory.path()), ["done"]);
    }

    #[test]
    fn a_moved_file_replaces_none() {
        let directory = tempfile::tempdir().unwrap();
        let (path, done) = (
            directory.path().join("a.csv"),
            directory.path().join("done"),
        );
        for content in ["1", "2", "3"] {
            fs::write(&path, content).unwrap();
            move_into(&done, &path, &expected(&path)).unwrap();
        }
        assert_eq!(names(&done), ["a.csv", "a.csv.1", "a.csv.2"]);
        assert_eq!(fs::read(done.join("a.csv.1")).unwrap(), b"2");
    }

    /// `/dev/shm` is another file system than the directory for temporary files, on most machines.
    #[test]
    fn a_file_moves_to_another_file_system() {
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        if device(other.path()) == device(directory.path()) {
            return;
        }
        let path = directory.path().join("a.csv");
        fs::write(&path, "id\n1\n").unwrap();
        let mut wrong = expected(&path);
        wrong.crc = wrong.crc.map(|crc| crc ^ 1);
        assert!(move_into(other.path(), &path, &wrong).is_err());
        assert_eq!(names(other.path()), [""; 0]);
        fs::write(other.path().join("a.csv"), "another").unwrap();
        move_into(other.path(), &path, &expected(&path)).unwrap();
        assert_eq!(names(other.path()), ["a.csv", "a.csv.1"]);
        assert_eq!(fs::read(other.path().join("a.csv.1")).unwrap(), b"id\n1\n");
        assert_eq!(names(directory.path()), [""; 0]);
    }
}
