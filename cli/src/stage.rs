//! The parts of the pipeline.

use serde::Serialize;

/// A part of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    Files,
    Ingest,
    Log,
    Sink,
    Postgres,
}

impl Stage {
    /// Its name in messages.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Ingest => "ingest",
            Self::Log => "log",
            Self::Sink => "sink",
            Self::Postgres => "postgres",
        }
    }
}
