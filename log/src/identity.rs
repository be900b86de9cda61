//! `DIR/format`: that the directory is a log, of which format, and its id.

use std::path::Path;

use crate::files::{FileKind, ReadFailure};
use crate::wire::Fields;
use crate::{Error, LogId};

const FILE: FileKind = FileKind {
    magic: *b"bekk log",
    version: 1,
};

/// Reads the log's id; a log that is new gets one. One that is not and has none is refused: with another id all
/// of its segments would be another log's.
pub(crate) fn open(path: &Path, is_new: bool) -> Result<LogId, Error> {
    match FILE.read(path) {
        Ok(body) => match Fields::of(&body).bytes() {
            Some(id) => Ok(LogId::from_bytes(id)),
            None => Err(corrupt(path, "it is too short".to_owned())),
        },
        Err(ReadFailure::Missing) if !is_new => Err(corrupt(path, "it is missing".to_owned())),
        Err(ReadFailure::Missing) => {
            let id = LogId::random();
            FILE.write(path, &id.to_bytes())?;
            Ok(id)
        }
        Err(ReadFailure::Damaged(detail)) => Err(corrupt(path, detail)),
        Err(ReadFailure::Failed(error)) => Err(error),
    }
}

fn corrupt(path: &Path, detail: String) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        detail,
    }
}
