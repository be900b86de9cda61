//! The bytes of a file that were read last, kept while it is open.
//!
//! Whoever copies a file and then empties it leaves a moment between the two. What is written and read in it makes the
//! copy shorter than what was read; these bytes tell what there was to copy at any place near the end.

use crate::source::fingerprint::{Fingerprint, TAIL_MAX};
use crate::text::split::count_newlines;

/// How many bytes are kept at least, and half of how many at most.
const RECENT_MAX: usize = 64 << 10;

/// The bytes of a file before some position.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recent {
    /// The CRC-32C of all that lies before them, if it is known.
    crc: Option<u32>,
    bytes: Vec<u8>,
}

/// What is known of a file up to a place that was passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The CRC-32C of all before that place.
    pub(crate) crc: u32,
    /// The fingerprint of the bytes just before it.
    pub(crate) tail: Fingerprint,
    /// How many newlines lie between it and the position.
    pub(crate) lines: u64,
}

impl Recent {
    /// Takes the file's next bytes, and continues with them the CRC of all that lies before.
    pub(crate) fn append(&mut self, crc: Option<u32>, bytes: &[u8]) -> Option<u32> {
        let continued = |crc: Option<u32>, bytes: &[u8]| Some(crc32c::crc32c_append(crc?, bytes));
        let (passed, kept) = bytes.split_at(bytes.len().saturating_sub(RECENT_MAX));
        let crc = continued(crc, passed);
        if self.bytes.is_empty() || !passed.is_empty() {
            self.bytes.clear();
            self.crc = crc;
        } else if self.bytes.len() + kept.len() > 2 * RECENT_MAX {
            let surplus = self.bytes.len() + kept.len() - RECENT_MAX;
            self.crc = continued(self.crc, &self.bytes[..surplus]);
            self.bytes.drain(..surplus);
        }
        self.bytes.extend_from_slice(kept);
        continued(crc, kept)
    }

    /// Gives the bytes up.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What is known of the file up to so many bytes before the position; `None` if that is too far back.
    pub(crate) fn before(&self, distance: u64) -> Option<Passed> {
        let distance = usize::try_from(distance).ok()?;
        let (before, behind) = self
            .bytes
            .split_at_checked(self.bytes.len().checked_sub(distance)?)?;
        Some(Passed {
            crc: crc32c::crc32c_append(self.crc?, before),
            tail: Fingerprint::of(&before[before.len().saturating_sub(TAIL_MAX)..]),
            lines: count_newlines(behind),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the pieces, each place within reach is known as the whole text tells it.
    #[test]
    fn places_near_the_end_are_known() {
        let text: Vec<u8> = (0u32..100_000)
            .flat_map(|number| format!("{}\n", number.wrapping_mul(2_654_435_761)).into_bytes())
            .collect();
        for piece in [1000, 7777, RECENT_MAX, 300_000] {
            let mut recent = Recent::default();
            let mut crc = Some(0);
            for piece in text.chunks(piece) {
                crc = recent.append(crc, piece);
            }
            assert_eq!(crc, Some(crc32c::crc32c(&text)));
            for distance in [0, 1, 5000, RECENT_MAX - TAIL_MAX] {
                let at = text.len() - distance;
                let expected = Passed {
                    crc: crc32c::crc32c(&text[..at]),
                    tail: Fingerprint::of(&text[at - TAIL_MAX..at]),
                    lines: count_newlines(&text[at..]),
                };
                let found = recent.before(distance as u64);
                assert_eq!(found, Some(expected), "{distance} before, by {piece}");
            }
            assert_eq!(recent.before(2 * RECENT_MAX as u64 + 1), None);
        }
        assert_eq!(Recent::default().before(0), None);
    }
}
