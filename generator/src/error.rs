//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why no events were written.
#[derive(Debug, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "the messages name what happened, and each field"
)]
pub enum Error {
    #[error("{action} `{path}`")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("no event type is named; known are view, add_to_cart and purchase")]
    NoEventTypes,
    #[error("{0} is not a share of repeated events; it must be at least 0 and less than 1")]
    BadShare(f64),
    #[error("{rows} rows do not fill {files} files; ask for 1 to {rows} files")]
    TooManyFiles { rows: u64, files: u32 },
    #[error("at least {min} and at most {max} events per file cannot both hold")]
    BadBounds { min: u32, max: u32 },
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
