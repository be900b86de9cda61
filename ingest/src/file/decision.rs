//! What ingest has decided about a file, and on what evidence.

use crate::text::coded::coded;

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

coded! {
    /// What can be decided about a file.
    What {
        /// It is read from its beginning: nothing that is known is in it.
        New = "new",
        /// It is read from its beginning, though its name or inode was known: what they held has been replaced.
        Restarted = "restarted",
        /// An earlier run had read some of it; this one continues there.
        Resumed = "resumed",
        /// It has another name that the patterns match.
        Renamed = "renamed",
        /// It has a name that the patterns do not match, and is followed to its end.
        Rotated = "rotated",
        /// Its content is in another file now, where it continues.
        Moved = "moved",
        /// It is set aside.
        Blocked = "blocked",
        /// It cannot be read.
        Unreadable = "unreadable",
        /// It waits for something.
        Waiting = "waiting",
        /// All of it is in the log, and it has a receipt.
        Finished = "finished",
        /// It is gone.
        Gone = "gone",
    }
}

coded! {
    /// What is to become of a file.
    FileState {
        /// It is to be read, and waits: for its turn, to stand still, or for an ingest to run.
        Waiting = "waiting",
        /// It is read as it grows.
        Following = "following",
        /// All of it is in the log, as a receipt says; it is read on if it grows.
        Finished = "finished",
        /// It is set aside until it or the configuration changes.
        Blocked = "blocked",
        /// The system refuses to let it be read; it is tried again.
        Unreadable = "unreadable",
        /// It is not there any more.
        Gone = "gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_places_in_the_lists() {
        for (code, &what) in (0..).zip(What::ALL) {
            assert_eq!((what.code(), What::from_code(code)), (code, Some(what)));
        }
        for (code, &state) in (0..).zip(FileState::ALL) {
            assert_eq!(
                (state.code(), FileState::from_code(code)),
                (code, Some(state))
            );
        }
        assert_eq!((What::from_code(11), FileState::from_code(6)), (None, None));
    }
}
