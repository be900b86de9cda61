//! The notes of a segment on its batches. They tell its own batches from whole ones of another partition, segment or log,
//! whose table has replaced its own.

use crate::batch::BatchView;
use crate::wire::Fields;
use crate::{Error, Offset};

/// The note on one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) base: Offset,
    pub(crate) crc: u32,
    /// Number of its records; 0 if unknown, as in the notes of earlier versions
    pub(crate) records: u32,
}

/// Whether a batch is the one that was written where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Own,
    Other,
    /// There is no note on its offsets.
    Unknown,
}

impl Note {
    pub(crate) fn encode(&self) -> [u8; 8] {
        let mut value = [0; 8];
        value[..4].copy_from_slice(&self.crc.to_be_bytes());
        value[4..].copy_from_slice(&self.records.to_be_bytes());
        value
    }

    pub(crate) fn decode(base: Offset, value: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(value);
        Some(Self {
            base,
            crc: fields.u32()?,
            records: fields.u32()?,
        })
    }

    fn end(&self) -> Offset {
        self.base.plus(u64::from(self.records.max(1)))
    }
}

/// The notes on a partition's batches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Vec<Note>);

impl Notes {
    /// Takes notes in any order. If an offset has two, the one with the number of records is kept.
    pub(crate) fn new(mut notes: Vec<Note>) -> Self {
        notes.sort_unstable_by_key(|note| (note.base, u32::MAX - note.records));
        notes.dedup_by_key(|note| note.base);
        Self(notes)
    }

    /// Whether a batch is the partition's own.
    pub(crate) fn origin(&self, base: Offset, end: Offset, crc: u32) -> Origin {
        let at = self.0.partition_point(|note| note.base < base);
        let before = at.checked_sub(1).map(|before| &self.0[before]);
        match self.0.get(at) {
            Some(note) if note.base == base && note.crc == crc => Origin::Own,
            Some(note) if note.base < end => Origin::Other,
            _ if before.is_some_and(|before| before.end() > base) => Origin::Other,
            _ => Origin::Unknown,
        }
    }
}

/// Compares batches with their notes, in the order of the offsets.
pub(crate) struct NoteCheck<I> {
    notes: Option<I>,
    next: Option<Note>,
    /// Whether every batch has a note.
    is_complete: bool,
}

impl<I: Iterator<Item = Result<Note, Error>>> NoteCheck<I> {
    /// A check against notes in the order of their offsets.
    pub(crate) fn new(notes: I, is_complete: bool) -> Result<Self, Error> {
        let mut check = Self {
            notes: Some(notes),
            next: None,
            is_complete,
        };
        check.advance()?;
        Ok(check)
    }

    /// A check that finds nothing.
    pub(crate) const fn none() -> Self {
        Self {
            notes: None,
            next: None,
            is_complete: false,
        }
    }

    fn advance(&mut self) -> Result<(), Error> {
        let next = self.notes.as_mut().and_then(Iterator::next);
        self.next = next.transpose()?;
        Ok(())
    }

    /// Moves to the first note at or after `to`; returns the offset of the first batch that was passed unchecked.
    pub(crate) fn pass_to(&mut self, to: Offset) -> Result<Option<Offset>, Error> {
        let mut missing = None;
        while let Some(note) = self.next.filter(|note| note.base < to) {
            missing.get_or_insert(note.base);
            self.advance()?;
        }
        Ok(missing)
    }

    /// Whether a batch is the one that was written at its offset. [`Self::pass_to`] was called with that offset.
    pub(crate) fn is_own(&mut self, batch: &BatchView<'_>) -> Result<bool, Error> {
        let note = self.next.filter(|note| note.base == batch.base_offset());
        let Some(note) = note else {
            return Ok(!self.is_complete);
        };
        self.advance()?;
        Ok(note.crc == batch.crc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(base: u64, records: u32, crc: u32) -> Note {
        Note {
            base: Offset::new(base),
            crc,
            records,
        }
    }

    #[test]
    fn a_batch_is_known_by_its_offsets_and_its_crc() {
        let notes = Notes::new(vec![
            note(20, 5, 3),
            note(10, 0, 2),
            note(10, 10, 2),
            note(40, 0, 4),
        ]);
        let origin = |base, end, crc| notes.origin(Offset::new(base), Offset::new(end), crc);
        assert_eq!(origin(10, 20, 2), Origin::Own);
        assert_eq!(origin(10, 20, 3), Origin::Other);
        assert_eq!(origin(15, 20, 2), Origin::Other);
        assert_eq!(origin(19, 20, 2), Origin::Other);
        assert_eq!(origin(20, 25, 3), Origin::Own);
        assert_eq!(origin(25, 40, 3), Origin::Unknown);
        assert_eq!(origin(25, 41, 3), Origin::Other);
        assert_eq!(origin(5, 10, 9), Origin::Unknown);
        assert_eq!(origin(5, 11, 9), Origin::Other);
        assert_eq!(origin(40, 50, 4), Origin::Own);
        assert_eq!(origin(41, 50, 4), Origin::Unknown);
        let nothing = Notes::default();
        assert_eq!(
            nothing.origin(Offset::ZERO, Offset::new(9), 1),
            Origin::Unknown
        );
    }

    #[test]
    fn a_note_comes_back() {
        let one = note(7, 3, 0xdead_beef);
        assert_eq!(Note::decode(Offset::new(7), &one.encode()), Some(one));
        assert_eq!(Note::decode(Offset::new(7), &one.encode()[..7]), None);
    }

    #[test]
    fn a_batch_that_is_noted_and_not_there_is_missing() {
        let notes = [note(0, 5, 1), note(5, 5, 2), note(10, 1, 3)];
        let mut check = NoteCheck::new(notes.into_iter().map(Ok), true).unwrap();
        assert_eq!(check.pass_to(Offset::ZERO).unwrap(), None);
        let missing = check.pass_to(Offset::new(10)).unwrap();
        assert_eq!(missing, Some(Offset::ZERO));
        assert_eq!(check.pass_to(Offset::new(10)).unwrap(), None);
    }
}
