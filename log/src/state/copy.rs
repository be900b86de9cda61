//! `DIR/state.copy`: the state's entries once more, for the case that it is damaged. It may be some seconds behind.

use std::path::Path;

use super::State;
use crate::Error;
use crate::files::{FileKind, ReadFailure};
use crate::wire::Fields;

const FILE: FileKind = FileKind {
    magic: *b"bekk cpy",
    version: 1,
};

/// A key and its value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// The entries that the copy has; `None` if it is missing or damaged; damage is logged.
pub(super) fn read(dir: &Path) -> Option<Vec<Entry>> {
    let path = dir.join("state.copy");
    let detail = match FILE.read(&path) {
        Ok(body) => match decode(&body) {
            Some(entries) => return Some(entries),
            None => "it is malformed".to_owned(),
        },
        Err(ReadFailure::Missing) => return None,
        Err(ReadFailure::Damaged(detail)) => detail,
        Err(ReadFailure::Failed(error)) => error.to_string(),
    };
    tracing::warn!(path = %path.display(), detail, "the copy of the log's state cannot be used");
    None
}

impl State {
    /// Replaces the copy.
    pub(crate) fn write_copy(&self) -> Result<(), Error> {
        write(&self.path.with_extension("copy"), &self.encode_copy()?)
    }

    /// The body of a copy.
    pub(crate) fn encode_copy(&self) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        for (key, value) in self.entries()? {
            for bytes in [key, value] {
                let len = u32::try_from(bytes.len()).expect("names and texts are short");
                body.extend_from_slice(&len.to_be_bytes());
                body.extend_from_slice(&bytes);
            }
        }
        Ok(body)
    }
}

/// Writes a copy.
pub(crate) fn write(path: &Path, body: &[u8]) -> Result<(), Error> {
    FILE.write(path, body)
}

fn decode(body: &[u8]) -> Option<Vec<Entry>> {
    let mut fields = Fields::of(body);
    let mut entries = Vec::new();
    while !fields.rest().is_empty() {
        let mut bytes = || {
            let len = fields.u32()?;
            Some(fields.take(usize::try_from(len).ok()?)?.to_vec())
        };
        entries.push((bytes()?, bytes()?));
    }
    Some(entries)
}
