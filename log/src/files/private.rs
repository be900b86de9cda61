//! What only its user may open: a log holds the text of files that others may not read, and who holds its lock is
//! believed to own it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::{Error, files};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The bits of a mode that let others in.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o002;

/// Whether a user may prepare files for ours: our own user, root, and, for root's programs, the user who started them
/// through sudo. Any other owner of a directory could put links into it that lead our writes elsewhere.
#[must_use]
pub fn is_trusted_user(user: u32) -> bool {
    let own = rustix::process::geteuid();
    let through_sudo = || std::env::var("SUDO_UID").ok()?.parse().ok();
    user == own.as_raw() || user == 0 || own.is_root() && through_sudo() == Some(user)
}

/// Refuses a directory that another user may have prepared.
///
/// # Errors
/// [`Error::Foreign`] if a link of another user leads to it, or if we are root and it belongs to another user;
/// [`Error::Io`] if it cannot be looked at.
pub fn check_directory(dir: &Path) -> Result<(), Error> {
    let failed = |source| files::io_error("look at", dir, source);
    let named = fs::symlink_metadata(dir).map_err(failed)?;
    let foreign = |owner| Error::Foreign {
        path: dir.to_owned(),
        owner,
    };
    if named.is_symlink() && !is_trusted_user(named.uid()) {
        return Err(foreign(named.uid()));
    }
    let owner = fs::metadata(dir).map_err(failed)?.uid();
    match rustix::process::geteuid().is_root() && !is_trusted_user(owner) {
        true => Err(foreign(owner)),
        false => Ok(()),
    }
}

/// Closes a directory, and all that is in it, to other users.
///
/// Changes only entries that are open to others. Leaves alone what belongs to another user, and their directories.
///
/// # Errors
/// As [`check_directory`]; [`Error::Open`] if it belongs to another user and everybody may write to it.
pub fn make_private(dir: &Path) -> Result<(), Error> {
    check_directory(dir)?;
    let metadata = fs::metadata(dir).map_err(|source| files::io_error("look at", dir, source))?;
    let mode = metadata.mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    if !may_change(&metadata) {
        if mode & OTHERS_WRITE != 0 {
            return Err(Error::Open {
                path: dir.to_owned(),
                owner: metadata.uid(),
                mode,
            });
        }
        return Ok(());
    }
    // The directory first, so that nobody new comes in meanwhile.
    let set = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|source| files::io_error("close to other users", path, source))
    };
    set(dir, DIR_MODE)?;
    tracing::warn!(
        directory = %dir.display(),
        "it was open to other users (mode {mode:04o}) and is closed to them now"
    );
    close_entries(dir, &set)
}

fn close_entries(dir: &Path, set: &dyn Fn(&Path, u32) -> Result<(), Error>) -> Result<(), Error> {
    for path in files::entries(dir)? {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let kind = metadata.file_type();
        if kind.is_symlink() || !may_change(&metadata) {
            continue;
        }
        if metadata.mode() & OTHERS != 0 {
            set(&path, metadata.mode() & DIR_MODE)?;
        }
        if kind.is_dir() {
            close_entries(&path, set)?;
        }
    }
    Ok(())
}

/// Whether a file is ours to change: the superuser's own programs leave other users' files as they are, too.
fn may_change(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Makes one directory that only its user may enter.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIR_MODE).create(path)
}

/// Makes a file, or empties it, that only its user may open. It does not follow a link, and does not wait for a pipe.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if metadata.mode() & OTHERS != 0 && may_change(&metadata) {
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

/// Whether a file can only have been written by a user that ours trusts.
pub(crate) fn is_ours(metadata: &fs::Metadata) -> bool {
    is_trusted_user(metadata.uid()) && metadata.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_was_open_is_closed_and_a_link_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let (dir, elsewhere) = (home.path().join("log"), home.path().join("elsewhere"));
        fs::create_dir_all(dir.join("topics/a")).unwrap();
        for path in [&elsewhere, &dir.join("LOCK"), &dir.join("topics/a/file")] {
            fs::write(path, "x").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        }
        std::os::unix::fs::symlink(&elsewhere, dir.join("link")).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        make_private(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join("topics/a")), 0o700);
        assert_eq!(mode(&dir.join("topics/a/file")), 0o600);
        assert_eq!(mode(&dir.join("LOCK")), 0o600);
        assert_eq!(mode(&elsewhere), 0o644);
    }

    #[test]
    fn a_link_in_place_of_a_file_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("file"), home.path().join("link"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        create_file(&link).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), b"x");
    }

    #[test]
    fn a_directory_that_another_user_has_prepared_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let (dir, link) = (home.path().join("log"), home.path().join("link"));
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        make_private(&link).unwrap();
        // Only root can give files away.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
            let error = make_private(&link).unwrap_err().to_string();
            assert!(error.contains("user id 65534"), "{error}");
            fs::remove_file(&link).unwrap();
            make_private(&dir).unwrap();
            std::os::unix::fs::chown(&dir, Some(65_534), None).unwrap();
            let error = make_private(&dir).unwrap_err().to_string();
            assert!(error.contains("user id 65534"), "{error}");
        }
    }
}
