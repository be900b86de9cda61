//! The failed write after which nothing more is written.

use std::path::Path;
use std::sync::OnceLock;

use crate::Error;
use crate::full::Full;

/// The first write that failed, if one has: fjall writes nothing after it.
#[derive(Default)]
pub(crate) struct Poison(OnceLock<FailedWrite>);

struct FailedWrite {
    text: String,
    full: Option<Full>,
}

impl Poison {
    /// Notes a failed write; the first one stays.
    pub(crate) fn set(&self, error: &Error) {
        let failed = FailedWrite {
            text: error.with_cause(),
            full: error.full(),
        };
        if let Err(later) = self.0.set(failed) {
            tracing::debug!(error = later.text, "a later write failed too");
        } else {
            tracing::error!(
                error = self.0.get().map(|failed| failed.text.as_str()),
                "a write to the log failed; nothing more is written"
            );
        }
    }

    /// Whether a write has failed.
    pub(crate) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// The error of each further write, if one has failed.
    pub(crate) fn error(&self, act: &'static str, path: &Path) -> Option<Error> {
        self.0.get().map(|failed| Error::Store {
            act,
            path: path.to_owned(),
            detail: failed.text.clone(),
            full: failed.full,
        })
    }
}
