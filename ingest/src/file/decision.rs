//! What ingest has decided about a file, and on what evidence.

use std::fmt;

/// A decision about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// When: milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// What was decided.
    pub what: What,
    /// The evidence, for a person.
    pub why: String,
}

/// What can be decided about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is read from its beginning: nothing that is known is in it.
    New,
    /// It is read from its beginning, though its name or inode was known: what they held has been replaced.
    Restarted,
    /// An earlier run had read some of it; this one continues there.
    Resumed,
    /// It has another name that the patterns match.
    Renamed,
    /// It has a name that the patterns do not match, and is followed to its end.
    Rotated,
    /// Its content is in another file now, where it continues.
    Moved,
    /// It is set aside.
    Blocked,
    /// It cannot be read.
    Unreadable,
    /// It waits for something.
    Waiting,
    /// All of it is in the log, and it has a receipt.
    Finished,
    /// It is gone.
    Gone,
}

const NAMES: [(What, &str); 11] = [
    (What::New, "new"),
    (What::Restarted, "restarted"),
    (What::Resumed, "resumed"),
    (What::Renamed, "renamed"),
    (What::Rotated, "rotated"),
    (What::Moved, "moved"),
    (What::Blocked, "blocked"),
    (What::Unreadable, "unreadable"),
    (What::Waiting, "waiting"),
    (What::Finished, "finished"),
    (What::Gone, "gone"),
];

impl What {
    /// The decision's name: one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NAMES[self.code() as usize].1
    }

    /// Its number in the checkpoint.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        NAMES.get(code as usize).map(|(what, _)| *what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It is to be read, and waits: for its turn, to stand still, or for an ingest to run.
    Waiting,
    /// It is read as it grows.
    Following,
    /// All of it is in the log, as a receipt says; it is read on if it grows.
    Finished,
    /// It is set aside until it or the configuration changes.
    Blocked,
    /// The system refuses to let it be read; it is tried again.
    Unreadable,
    /// It is not there any more.
    Gone,
}

const STATES: [(FileState, &str); 6] = [
    (FileState::Waiting, "waiting"),
    (FileState::Following, "following"),
    (FileState::Finished, "finished"),
    (FileState::Blocked, "blocked"),
    (FileState::Unreadable, "unreadable"),
    (FileState::Gone, "gone"),
];

impl FileState {
    /// The state's name: one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        STATES[self.code() as usize].1
    }

    /// Its number in the checkpoint.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        STATES.get(code as usize).map(|(state, _)| *state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_places_in_the_lists() {
        for (code, (what, _)) in (0..).zip(NAMES) {
            assert_eq!((what.code(), What::from_code(code)), (code, Some(what)));
        }
        for (code, (state, _)) in (0..).zip(STATES) {
            assert_eq!(
                (state.code(), FileState::from_code(code)),
                (code, Some(state))
            );
        }
        assert_eq!((What::from_code(11), FileState::from_code(6)), (None, None));
    }
}
