//! Reads the batches of a segment and compares them with its notes on them.

use super::meta::{mark, meta_key, note_key, time_range};
use super::{SegmentDb, store_error};
use crate::batch::BatchView;
use crate::destination::Destination;
use crate::notes::{Note, NoteCheck, Notes};
use crate::wire::Fields;
use crate::{Error, Offset};

/// How far a read goes.
pub(crate) struct ReadLimits {
    /// Nothing from this offset on is read.
    pub(crate) until: Offset,
    /// How many bytes of batches may still be read; the first of all is read in any case.
    pub(crate) bytes_left: usize,
}

/// Offsets from the first up to the second that a read passed because no record has them.
pub(crate) type Hole = (Offset, Offset);

impl SegmentDb {
    /// Adds the batches from the one that holds `records.next_offset()` on, up to the limits; says whether it
    /// came to `limits.until`, and which offsets it had to pass.
    pub(crate) fn read(
        &self,
        partition: u32,
        limits: &mut ReadLimits,
        records: &mut impl Destination,
    ) -> Result<(bool, Vec<Hole>), Error> {
        let keys = &self.partitions[partition as usize];
        let from = records.next_offset();
        let mut holes = Vec::new();
        let mut entries = keys.range(from.get().to_be_bytes()..);
        let mut entry = entries.next().map(|entry| self.entry(entry)).transpose()?;
        let mut check = if entry.as_ref().is_some_and(|(base, _)| *base == from) {
            self.note_check(partition, from)?
        } else {
            // `from` is inside a batch, or in a gap.
            let before = keys.range(..from.get().to_be_bytes()).next_back();
            let before = before.map(|entry| self.entry(entry)).transpose()?;
            let base = before.as_ref().map_or(Offset::ZERO, |(base, _)| *base);
            let mut check = self.note_check(partition, base)?;
            if let Some((base, bytes)) = before {
                let batch = self.own_batch(&mut check, base, &bytes)?;
                if batch.end_offset() > from {
                    self.push(&batch, bytes.len(), limits, records)?;
                }
            }
            check
        };
        while let Some((base, bytes)) = entry.filter(|(base, _)| *base < limits.until) {
            if !records.is_empty() && bytes.len() > limits.bytes_left {
                return Ok((false, holes));
            }
            let batch = self.own_batch(&mut check, base, &bytes)?;
            if base > records.next_offset() {
                holes.push((records.next_offset(), base));
            }
            self.push(&batch, bytes.len(), limits, records)?;
            entry = entries.next().map(|entry| self.entry(entry)).transpose()?;
        }
        self.check_passed(&mut check, limits.until)?;
        Ok((true, holes))
    }

    /// Checks that a batch is whole, is the one that was written at `base`, and that no batch before it is missing.
    fn own_batch<'a>(
        &self,
        check: &mut NoteCheck<impl Iterator<Item = Result<Note, Error>>>,
        base: Offset,
        bytes: &'a [u8],
    ) -> Result<BatchView<'a>, Error> {
        self.check_passed(check, base)?;
        let batch = self.batch(base, bytes)?;
        match check.is_own(&batch)? {
            true => Ok(batch),
            false => Err(self.other_batch(base)),
        }
    }

    fn check_passed(
        &self,
        check: &mut NoteCheck<impl Iterator<Item = Result<Note, Error>>>,
        to: Offset,
    ) -> Result<(), Error> {
        match check.pass_to(to)? {
            None => Ok(()),
            Some(base) => Err(self.corrupt(&format!("the batch at offset {base} is missing"))),
        }
    }

    fn other_batch(&self, base: Offset) -> Error {
        self.corrupt(&format!(
            "the batch at offset {base} is not the one that was written there"
        ))
    }

    fn push(
        &self,
        batch: &BatchView<'_>,
        bytes: usize,
        limits: &mut ReadLimits,
        records: &mut impl Destination,
    ) -> Result<(), Error> {
        limits.bytes_left = limits.bytes_left.saturating_sub(bytes);
        records
            .push_batch(batch)
            .map_err(|detail| self.corrupt(&format!("at offset {}: {detail}", batch.base_offset())))
    }

    /// Calls `each` with every batch of a partition, in order, or what is wrong with it, and its size.
    pub(crate) fn for_each_batch(
        &self,
        partition: u32,
        mut each: impl FnMut(Result<BatchView<'_>, Error>, usize),
    ) {
        let entries = self.partitions[partition as usize].range::<[u8; 8], _>(..);
        let mut check = match self.note_check(partition, Offset::ZERO) {
            Ok(check) => check,
            Err(error) => return each(Err(error), 0),
        };
        for entry in entries {
            match self.entry(entry) {
                Ok((base, bytes)) => {
                    // The caller finds by the offsets which batches are missing.
                    let passed = check.pass_to(base).map(|_missing| ());
                    let batch = passed.and_then(|()| self.own_batch(&mut check, base, &bytes));
                    each(batch, bytes.len());
                }
                // After a block that cannot be read an iterator may repeat itself without end.
                Err(error) => return each(Err(error), 0),
            }
        }
    }

    /// Checks that each partition's first and last batch are whole, its own, and end where the partition does.
    pub(crate) fn check_ends(&self) -> Result<(), Error> {
        for (partition, keys) in (0..).zip(&self.partitions) {
            let last = keys.range::<[u8; 8], _>(..).next_back();
            let last = last.map(|entry| self.entry(entry)).transpose()?;
            let noted = self.marked(&meta_key(b'e', partition))?;
            let found = match &last {
                Some((base, bytes)) => {
                    let batch = self.batch(*base, bytes)?;
                    self.check_own(&batch, noted.and_then(|(_, crc)| crc))?;
                    Some(batch.end_offset())
                }
                None => None,
            };
            let end = noted.map(|(end, _)| end);
            if found != end {
                let text =
                    |end: Option<Offset>| end.map_or("nothing".into(), |end| end.to_string());
                return Err(self.corrupt(&format!(
                    "partition {partition} ends at {} and not at {}",
                    text(found),
                    text(end)
                )));
            }
            let first = keys.range::<[u8; 8], _>(..).next();
            if let Some((base, bytes)) = first.map(|entry| self.entry(entry)).transpose()?
                && let Some((noted, crc)) = self.first_mark(partition)?
                && noted == base
            {
                self.check_own(&self.batch(base, &bytes)?, crc)?;
            }
        }
        Ok(())
    }

    fn check_own(&self, batch: &BatchView<'_>, noted: Option<u32>) -> Result<(), Error> {
        match noted {
            Some(crc) if crc != batch.crc() => Err(self.other_batch(batch.base_offset())),
            _ => Ok(()),
        }
    }

    /// The notes on the batches of each partition, as far as they can be read.
    pub(crate) fn notes(&self) -> Vec<Notes> {
        let partitions = 0..u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        partitions
            .map(|partition| self.notes_of(partition))
            .collect()
    }

    fn notes_of(&self, partition: u32) -> Notes {
        let in_index = time_range(partition);
        let in_index = self.meta.range(in_index).map_while(|entry| {
            let (_, value) = entry.into_inner().ok()?;
            mark(&value)
        });
        let in_index = in_index.filter_map(|(base, crc)| {
            let (crc, records) = (crc?, 0);
            Some(Note { base, crc, records })
        });
        let own = self.notes_from(partition, Offset::ZERO);
        Notes::new(own.map_while(Result::ok).chain(in_index).collect())
    }

    /// The notes on a partition's batches from `from` on.
    fn notes_from(
        &self,
        partition: u32,
        from: Offset,
    ) -> impl Iterator<Item = Result<Note, Error>> + use<'_> {
        let range = note_key(partition, from)..=note_key(partition, Offset::new(u64::MAX));
        self.meta.range(range).map(|entry| {
            let (key, value) = entry
                .into_inner()
                .map_err(|error| store_error("read", &self.path, error))?;
            let base = Fields::of(&key[5..]).u64().map(Offset::new);
            let note = base.and_then(|base| Note::decode(base, &value));
            note.ok_or_else(|| self.corrupt("its entry for a batch is malformed"))
        })
    }

    /// A check of a partition's batches from `from` on. The caller makes the iterator of the batches first, so that there
    /// is a note for each batch in it.
    fn note_check(
        &self,
        partition: u32,
        from: Offset,
    ) -> Result<NoteCheck<impl Iterator<Item = Result<Note, Error>> + use<'_>>, Error> {
        if from >= self.ends_at_opening[partition as usize] {
            return Ok(NoteCheck::none());
        }
        NoteCheck::new(self.notes_from(partition, from), self.is_noted)
    }

    /// Base offset and CRC of the first batch of a partition, as they were noted.
    fn first_mark(&self, partition: u32) -> Result<Option<(Offset, Option<u32>)>, Error> {
        let range = time_range(partition);
        let Some(entry) = self.meta.range(range).next() else {
            return Ok(None);
        };
        let (_, value) = entry
            .into_inner()
            .map_err(|error| store_error("read", &self.path, error))?;
        match mark(&value) {
            Some(mark) => Ok(Some(mark)),
            None => Err(self.corrupt("the time index is malformed")),
        }
    }

    fn marked(&self, key: &[u8]) -> Result<Option<(Offset, Option<u32>)>, Error> {
        let value = self.meta(key)?;
        value
            .map(|value| mark(&value))
            .map(|mark| mark.ok_or_else(|| self.corrupt("a partition's end is malformed")))
            .transpose()
    }

    fn entry(&self, entry: fjall::Guard) -> Result<(Offset, fjall::UserValue), Error> {
        let (key, value) = entry
            .into_inner()
            .map_err(|error| store_error("read", &self.path, error))?;
        match Fields::of(&key).u64() {
            Some(base) => Ok((Offset::new(base), value)),
            None => Err(self.corrupt("a key is no offset")),
        }
    }

    fn batch<'a>(&self, base: Offset, bytes: &'a [u8]) -> Result<BatchView<'a>, Error> {
        let batch = BatchView::parse(bytes)
            .map_err(|detail| self.corrupt(&format!("at offset {base}: {detail}")))?;
        if batch.base_offset() == base {
            Ok(batch)
        } else {
            Err(self.corrupt(&format!(
                "the batch at offset {base} names {}",
                batch.base_offset()
            )))
        }
    }
}
