//! The operating system's user that the server runs as.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;

/// The user that the server and `initdb` run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Account {
    Own,
    /// Another one, because we are root, and PostgreSQL refuses that.
    Other {
        name: String,
        uid: u32,
        gid: u32,
    },
}

impl Account {
    /// Chooses the user for a new cluster: ourselves, or `postgres`, or `nobody` when we are root.
    pub(crate) fn for_new() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| {
                Some(Self::Other {
                    name: name.to_owned(),
                    uid: id_of("-u", name)?,
                    gid: id_of("-g", name)?,
                })
            })
            .ok_or(Error::NoAccount)
    }

    /// Chooses the user for a cluster that exists: whoever owns it.
    pub(crate) fn for_existing(data: &Path) -> Result<Self, Error> {
        let owner = data.metadata().map_err(Error::io("look at", data))?;
        let own = rustix::process::geteuid();
        if !own.is_root() {
            return if owner.uid() == own.as_raw() {
                Ok(Self::Own)
            } else {
                Err(Error::OtherOwner {
                    data: data.to_owned(),
                    owner: owner.uid(),
                })
            };
        }
        if owner.uid() == 0 {
            // Made, but not yet given to the other user, when an earlier start was killed.
            return Self::for_new();
        }
        Ok(Self::Other {
            name: format!("uid {}", owner.uid()),
            uid: owner.uid(),
            gid: owner.gid(),
        })
    }

    /// The user's name, for messages.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own => "the current one",
            Self::Other { name, .. } => name,
        }
    }

    /// A command that will run as this user, with nothing of PostgreSQL's from our environment.
    ///
    /// It begins in `/`, as the user may not be allowed into our working directory.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = clean_command(program);
        if let Self::Other { uid, gid, .. } = self {
            command.gid(*gid).uid(*uid);
        }
        command
    }

    /// Gives a file or directory to this user.
    pub(crate) fn give(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => std::os::unix::fs::chown(path, Some(*uid), Some(*gid))
                .map_err(Error::io("change the owner of", path)),
        }
    }

    /// Whether this user may enter a directory.
    pub(crate) fn reaches(&self, directory: &Path) -> bool {
        match self {
            Self::Own => true,
            Self::Other { .. } => self
                .command(Path::new("/bin/sh"))
                .args(["-c", "cd -- \"$1\"", "sh"])
                .arg(directory)
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
        }
    }
}

/// A command that inherits no setting of PostgreSQL's, nor of ours, which may be secrets, and speaks English.
pub(crate) fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        let ours: [&[u8]; 4] = [b"PG", b"BEKK_", b"POSTGRES_", b"DATABASE_URL"];
        if ours.iter().any(|prefix| bytes.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

fn id_of(what: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([what, name]).output().ok()?;
    let id = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    (output.status.success() && id != 0).then_some(id)
}
