//! Opens files and directories of the inbox, into which others may write.
//!
//! **Invariant:** a symbolic link is followed only if it belongs to our own user or to root, or if what it leads to
//! belongs to whoever owns the link. (The kernel's `protected_symlinks` has the same aim, in sticky directories only.)
//! **Invariant:** nothing waits for the other end of a pipe that has taken a file's place.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat as Found};
use rustix::io::Errno;

/// The most links on a path, as Linux has it.
const LINKS_MAX: u32 = 40;
/// How a file is opened: without waiting, and never as the process's terminal.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// How something is looked at without opening it.
const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Opens a file for reading.
///
/// # Errors
/// If it cannot be opened, is no regular file, or only a link that is not followed leads to it.
pub(crate) fn file(path: &Path) -> io::Result<File> {
    let file = match without_links(path, READ) {
        Ok(fd) => File::from(fd),
        Err(error) if needs_walk(error) => {
            let found = rustix::fs::fstat(walk(path)?)?;
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(READ.bits().cast_signed())
                .open(path)?;
            let opened = file.metadata()?;
            if (opened.dev(), opened.ino()) != (found.st_dev, found.st_ino) {
                return Err(changed());
            }
            file
        }
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    Ok(file)
}

/// Checks the links on a path.
///
/// # Errors
/// If one of them is not followed, or leads nowhere.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    find(path).map(drop)
}

/// Opens a directory, to remove files from or move them to.
///
/// # Errors
/// If it cannot be opened, or a link on the way is not followed.
pub(crate) fn directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(find(path)?, ".", flags, Mode::empty())?.into())
}

/// Makes a directory and those above it where they are missing; each is as open to others as the one it is in.
pub(crate) fn make_directory(path: &Path) -> io::Result<File> {
    match directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let parent = make_directory(parent)?;
    let mode = rustix::fs::fstat(&parent)?.st_mode & 0o777;
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = File::from(rustix::fs::openat(&parent, name, flags, Mode::empty())?);
            made.set_permissions(Permissions::from_mode(mode))?;
        }
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    directory(path)
}

/// What a path leads to, looked at and not opened.
pub(super) fn find(path: &Path) -> io::Result<OwnedFd> {
    match without_links(path, LOOK) {
        Err(error) if needs_walk(error) => walk(path),
        found => Ok(found?),
    }
}

/// Opens what a path leads to if there is no link on it.
fn without_links(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
}

/// Whether there is a link, or the system cannot tell at once (before Linux 5.6, and in some sandboxes).
fn needs_walk(error: Errno) -> bool {
    matches!(
        error,
        Errno::LOOP | Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN
    )
}

/// Follows a path name by name, and judges each link.
fn walk(path: &Path) -> io::Result<OwnedFd> {
    let own = rustix::process::geteuid().as_raw();
    let root = || rustix::fs::open("/", LOOK | OFlags::DIRECTORY, Mode::empty());
    let mut rest: VecDeque<OsString> = names(path);
    let mut at = match path.is_absolute() {
        true => root()?,
        false => rustix::fs::open(".", LOOK | OFlags::DIRECTORY, Mode::empty())?,
    };
    let mut others = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        let next = rustix::fs::openat(&at, &name, LOOK | OFlags::NOFOLLOW, Mode::empty())?;
        let found = rustix::fs::fstat(&next)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        if found.st_uid != own && found.st_uid != 0 {
            others.push((name.clone(), found.st_uid));
        }
        let target = rustix::fs::readlinkat(&at, &name, Vec::new())?;
        let target = OsString::from_vec(target.into_bytes());
        let target = Path::new(&target);
        if target.is_absolute() {
            at = root()?;
        }
        for name in names(target).into_iter().rev() {
            rest.push_front(name);
        }
    }
    let found = rustix::fs::fstat(&at)?;
    match others.iter().find(|(_, owner)| *owner != found.st_uid) {
        Some(link) => Err(not_followed(link, &found)),
        None => Ok(at),
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

fn not_followed((name, owner): &(OsString, u32), found: &Found) -> io::Error {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "the link `{}` belongs to user id {owner}, and its target to user id {}: it is not followed",
            name.display(),
            found.st_uid
        ),
    )
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "another file has its name now")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn our_own_links_are_followed_and_a_pipe_is_not_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/a"), "a").unwrap();
        symlink("real", at("link")).unwrap();
        symlink(at("link/a"), at("b")).unwrap();
        for name in ["real/a", "link/a", "b"] {
            assert_eq!(file(&at(name)).unwrap().metadata().unwrap().len(), 1);
        }
        symlink("round", at("round")).unwrap();
        file(&at("round")).unwrap_err();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = file(&at("pipe")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    /// Needs to act as two users.
    #[test]
    fn a_link_of_another_user_is_followed_to_their_own_only() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (other, home) = (65_534, tempfile::tempdir().unwrap());
        let at = |name: &str| home.path().join(name);
        let give = |name: &str| std::os::unix::fs::lchown(at(name), Some(other), None).unwrap();
        fs::create_dir_all(at("closed")).unwrap();
        fs::create_dir_all(at("inbox")).unwrap();
        fs::write(at("closed/secret"), "s").unwrap();
        fs::write(at("theirs"), "t").unwrap();
        symlink("../closed", at("inbox/sub")).unwrap();
        symlink("../closed/secret", at("inbox/one")).unwrap();
        symlink("../theirs", at("inbox/own")).unwrap();
        for name in ["theirs", "inbox", "inbox/sub", "inbox/one", "inbox/own"] {
            give(name);
        }
        for name in ["inbox/sub/secret", "inbox/one"] {
            let error = file(&at(name)).unwrap_err();
            assert!(error.to_string().contains("user id 65534"), "{error}");
        }
        check(&at("inbox/sub")).unwrap_err();
        file(&at("inbox/own")).unwrap();
        directory(&at("inbox/sub")).unwrap_err();
        make_directory(&at("inbox/sub")).unwrap_err();
        make_directory(&at("inbox/sub/new")).unwrap_err();
        make_directory(&at("inbox/done")).unwrap();
        assert_eq!(fs::read(at("closed/secret")).unwrap(), b"s");
        assert_eq!(fs::read_dir(at("closed")).unwrap().count(), 1);
    }
}
