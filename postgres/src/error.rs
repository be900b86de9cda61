//! What can go wrong, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages name what happened, and each field"
)]
pub enum Error {
    /// No PostgreSQL is installed, or not where it was looked for.
    #[error(
        "no PostgreSQL server is installed; install one (Debian, Ubuntu: `sudo apt-get install postgresql`; \
         Fedora: `sudo dnf install postgresql-server`; macOS: `brew install postgresql@17`), or name a \
         running one with --postgres, DATABASE_URL or POSTGRES_HOST; looked for postgres, initdb and psql \
         of version 13 or newer in {looked}"
    )]
    NotInstalled { looked: String },
    #[error(
        "`{data}` was made by PostgreSQL {made_by}, but only {installed} is installed; install PostgreSQL \
        {made_by} too, or move the directory away to start with an empty database"
    )]
    OtherVersion {
        data: PathBuf,
        made_by: u32,
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
    OtherOwner { data: PathBuf, owner: u32 },
    /// There is no place for the cluster that the server's user can reach.
    #[error("the server must run as user `{user}`, who has access to none of {tried}")]
    NoPlace { user: String, tried: String },
    #[error("{what} must have 1 to {max} bytes and no line break or NUL")]
    BadSetting { what: &'static str, max: usize },
    /// The user's name is the one that this crate itself uses.
    #[error("the user's name `{0}` is reserved; choose another")]
    ReservedName(&'static str),
    #[error("{action} `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("`{program}` failed: {output}")]
    Program { program: String, output: String },
    /// The server ended while starting.
    #[error("the server did not start; the end of `{log}`: {tail}")]
    NotStarted { log: PathBuf, tail: String },
    #[error("waited {seconds} s for {what}")]
    Timeout { what: String, seconds: u64 },
    #[error("no free port from {from} to {to}")]
    NoPort { from: u16, to: u16 },
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
