//! Some bytes of a file on their way to being records.

use crate::text::coding::Coding;

/// A block being taken apart.
pub(crate) struct Block<'b> {
    pub(crate) bytes: &'b [u8],
    pub(crate) coding: Coding,
    /// How many of them have been taken: where the next record begins.
    pub(crate) at: usize,
    /// How many of them need not be read again, those of an over-long record included.
    pub(crate) scanned: usize,
    /// Whether the file ends with them for good.
    pub(crate) last: bool,
    /// Whether a record that was begun is to be read again from its beginning.
    pub(crate) again: bool,
    /// Whether they end in zeros that a writer may fill yet.
    pub(crate) ends_in_zeros: bool,
    pub(crate) timestamp_ms: i64,
}
