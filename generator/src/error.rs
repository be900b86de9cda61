//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why no events were written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// There is no event type to choose from.
    #[error("no event type is named; known are view, add_to_cart and purchase")]
    NoEventTypes,
    /// The share of repeated events is no share.
    #[error("{0} is not a share of repeated events; it must be at least 0 and less than 1")]
    BadShare(f64),
    /// There are more files than rows.
    #[error("{rows} rows do not fill {files} files; ask for 1 to {rows} files")]
    TooManyFiles {
        /// Rows wanted.
        rows: u64,
        /// Files wanted.
        files: u32,
    },
    /// The least number of events is greater than the greatest.
    #[error("at least {min} and at most {max} events per file cannot both hold")]
    BadBounds {
        /// The least number.
        min: u32,
        /// The greatest number.
        max: u32,
    },
    /// The rate is not positive.
    #[error("{0} is not a rate; write a number of events per second that is greater than 0")]
    BadRate(f64),
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
