//! Creates files that a person has named, in directories where other users may have prepared something.
//!
//! **Invariant:** neither a link nor a pipe nor a file of another user receives what is written. (The kernel's
//! `protected_regular` and `protected_fifos` have the same aim, in sticky directories only.)

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::open;

/// How a file is opened: without waiting for the reader of a pipe, and never as the process's terminal.
const WRITE: OFlags = OFlags::WRONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const MODE: Mode = Mode::from_raw_mode(0o666);

/// Creates a file that a person has named, or empties the one that is there.
///
/// # Errors
/// If it cannot be created, or another user may have prepared it: the message says what is in its place.
pub fn create_file(path: &Path) -> io::Result<File> {
    let file = File::from(open_file(path)?);
    let metadata = file.metadata()?;
    if !bekk_log::is_trusted_user(metadata.uid()) {
        return Err(refused(format!(
            "it belongs to user id {}; remove it, or name another file",
            metadata.uid()
        )));
    }
    rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
    if metadata.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Opens what a path leads to, or creates it; leaves its content as it is.
fn open_file(path: &Path) -> io::Result<OwnedFd> {
    // Only root can put something there; the process's own descriptors are links in `/proc`, which lead nowhere by name.
    let in_dev = path
        .strip_prefix("/dev")
        .or(path.strip_prefix("/proc/self"));
    if in_dev.is_ok_and(|rest| rest.starts_with("fd") || rest.parent() == Some(Path::new(""))) {
        return Ok(rustix::fs::open(
            path,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?);
    }
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let directory = open::directory(&parent(path))?;
    let flags = WRITE | OFlags::CREATE | OFlags::NOFOLLOW;
    match rustix::fs::openat(&directory, name, flags, MODE) {
        Ok(file) => Ok(file),
        Err(Errno::LOOP) => {
            // The user who made this link may have wanted another user's file to be overwritten.
            let target = open::find(path)?;
            let file = rustix::fs::open(path, WRITE, Mode::empty())?;
            let (found, opened) = (rustix::fs::fstat(target)?, rustix::fs::fstat(&file)?);
            match (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino) {
                true => Ok(file),
                false => Err(refused("another file has its name now".to_owned())),
            }
        }
        Err(Errno::NXIO) => Err(refused(
            "it is a pipe that no program reads from; name another file".to_owned(),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Checks a directory that a person has named, to create files in. A missing one passes.
///
/// # Errors
/// If a link of another user is on the way to it.
pub fn check_directory_links(path: &Path) -> io::Result<()> {
    match open::check(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        checked => checked,
    }
}

/// The path of the directory that a path names a file in.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{chown, lchown, symlink};

    use super::*;

    const NOBODY: u32 = 65_534;

    #[test]
    fn a_file_is_created_and_emptied_and_our_own_links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        for text in ["long text", "x"] {
            create_file(&file)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        symlink("file", &link).unwrap();
        create_file(&link).unwrap().write_all(b"through").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "through");
        create_file(dir.path()).unwrap_err();
        create_file(Path::new("/dev/null"))
            .unwrap()
            .write_all(b"x")
            .unwrap();
    }

    #[test]
    fn a_pipe_without_a_reader_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let error = create_file(&pipe).unwrap_err().to_string();
        assert!(error.contains("pipe"), "{error}");
    }

    #[test]
    fn what_another_user_has_prepared_is_not_written_to() {
        if !rustix::process::geteuid().is_root() {
            return; // only root can give files away
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("ours"), "precious").unwrap();
        fs::create_dir(at("directory")).unwrap();
        symlink("ours", at("link")).unwrap();
        symlink("new", at("dangling")).unwrap();
        symlink("directory", at("linked")).unwrap();
        for name in ["link", "dangling", "linked"] {
            lchown(at(name), Some(NOBODY), None).unwrap();
        }
        fs::write(at("theirs"), "").unwrap();
        chown(at("theirs"), Some(NOBODY), None).unwrap();
        for name in ["link", "dangling", "linked/new", "theirs"] {
            create_file(&at(name)).unwrap_err();
        }
        check_directory_links(&at("linked")).unwrap_err();
        check_directory_links(&at("missing")).unwrap();
        assert_eq!(fs::read_to_string(at("ours")).unwrap(), "precious");
        assert!(!at("new").exists() && !at("directory/new").exists());
        assert_eq!(fs::read_to_string(at("theirs")).unwrap(), "");
    }
}
