//! Files of the working directory that are read without being named: `.env` and `bekk.toml`.
//!
//! **Invariant:** such a file is used only if no user that is not trusted can have put it there, and nothing waits for the
//! other end of a pipe in its place. A file that somebody names is trusted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use bekk_log::is_trusted_user;
use rustix::fs::OFlags;

/// Whose files are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Our user's, root's, and for root those of the user who started us through sudo.
    Trusted,
    /// Further, unless we are root, those of all other users in a directory that is not open to everybody: a service
    /// often runs with another user's configuration.
    OfPlace,
}

/// Reads a file that was not named; `None` if it does not exist.
///
/// # Errors
/// If another user may have put it there, it is not a regular file, or cannot be read.
pub(crate) fn read(path: &Path, owners: Owners) -> io::Result<Option<String>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    check(path, &file, owners)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(Some(text))
}

fn check(path: &Path, file: &File, owners: Owners) -> io::Result<()> {
    let (named, opened) = (fs::symlink_metadata(path)?, file.metadata()?);
    if !opened.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut users = [named.uid(), opened.uid()].into_iter();
    let Some(stranger) = users.find(|user| !is_trusted_user(*user)) else {
        return Ok(());
    };
    let own = rustix::process::geteuid();
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let is_open = || fs::metadata(directory).map(|metadata| metadata.mode() & 0o002 != 0);
    if owners == Owners::OfPlace && !own.is_root() && !is_open()? {
        return Ok(());
    }
    let way = match owners {
        Owners::Trusted => format!("chown {}", own.as_raw()),
        Owners::OfPlace => "--config".to_owned(),
    };
    let as_owner = match own.is_root() {
        true => format!("run this as that user (sudo -u '#{stranger}' bekk …), "),
        false => String::new(),
    };
    Err(io::Error::new(
        ErrorKind::PermissionDenied,
        format!(
            "it belongs to user id {stranger}, not to you (user id {}); {as_owner}run from another directory, or if it is \
             meant for you: {way} {}",
            own.as_raw(),
            path.display()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_pipe_is_not_waited_for_and_a_missing_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bekk.toml");
        assert_eq!(read(&path, Owners::OfPlace).unwrap(), None);
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        read(&path, Owners::OfPlace).unwrap_err();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "x").unwrap();
        assert_eq!(read(&path, Owners::Trusted).unwrap().as_deref(), Some("x"));
    }

    #[test]
    fn a_file_or_link_of_another_user_is_not_used() {
        if !rustix::process::geteuid().is_root() {
            return; // only root can give files away
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "x").unwrap();
        symlink("file", &link).unwrap();
        assert!(read(&link, Owners::Trusted).unwrap().is_some());
        lchown(&link, Some(65_534), None).unwrap();
        for owners in [Owners::Trusted, Owners::OfPlace] {
            let error = read(&link, owners).unwrap_err().to_string();
            assert!(error.contains("user id 65534"), "{error}");
        }
        chown(&file, Some(65_534), None).unwrap();
        read(&file, Owners::OfPlace).unwrap_err();
    }
}
