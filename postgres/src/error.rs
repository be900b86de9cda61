//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No PostgreSQL is installed, or not where it was looked for.
    #[error(
        "no PostgreSQL server is installed; install one (Debian, Ubuntu: `sudo apt-get install postgresql`; \
         Fedora: `sudo dnf install postgresql-server`; macOS: `brew install postgresql@17`), or name a \
         running one with --postgres, DATABASE_URL or POSTGRES_HOST; looked for postgres, initdb and psql \
         of version 13 or newer in {looked}"
    )]
    NotInstalled {
        /// The places that were looked at.
        looked: String,
    },
    /// The cluster was made by another major version than any that is installed.
    #[error(
        "`{data}` was made by PostgreSQL {made_by}, but only {installed} is installed; install PostgreSQL \
        {made_by} too, or move the directory away to start with an empty database"
    )]
    OtherVersion {
        /// The cluster.
        data: PathBuf,
        /// Its major version.
        made_by: u32,
        /// The versions found.
        installed: String,
    },
    /// PostgreSQL refuses to run as root and there is no other user to run it as.
    #[error(
        "PostgreSQL does not run as root, and this system has neither a user `postgres` nor `nobody`; \
         run as another user, or make one: `useradd --system postgres`"
    )]
    NoAccount,
    /// The cluster belongs to someone else.
    #[error("`{data}` belongs to user id {owner}; run as that user or as root")]
    OtherOwner {
        /// The cluster.
        data: PathBuf,
        /// Who owns it.
        owner: u32,
    },
    /// There is no place for the cluster that the server's user can reach.
    #[error("the server must run as user `{user}`, who has access to none of {tried}")]
    NoPlace {
        /// The user.
        user: String,
        /// The places tried.
        tried: String,
    },
    /// A name or password that PostgreSQL does not take.
    #[error("{what} must have 1 to {max} bytes and no line break or NUL")]
    BadSetting {
        /// Which one.
        what: &'static str,
        /// How long it may be.
        max: usize,
    },
    /// The user's name is the one that this crate itself uses.
    #[error("the user's name `{0}` is reserved; choose another")]
    ReservedName(&'static str),
    /// A file operation failed.
    #[error("{action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A PostgreSQL program failed.
    #[error("`{program}` failed: {output}")]
    Program {
        /// Which one.
        program: String,
        /// What it said.
        output: String,
    },
    /// The server ended while starting.
    #[error("the server did not start; the end of `{log}`: {tail}")]
    NotStarted {
        /// The server's log.
        log: PathBuf,
        /// Its end.
        tail: String,
    },
    /// Something took too long.
    #[error("waited {seconds} s for {what}")]
    Timeout {
        /// For what.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// No port is free.
    #[error("no free port from {from} to {to}")]
    NoPort {
        /// The first one tried.
        from: u16,
        /// The last one tried.
        to: u16,
    },
}

impl Error {
    /// Returns a function that says what was tried when an operation on `path` fails.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
