//! Files of which nothing is left to be done: finished, and not among those that the checkpoint has. There may be a
//! million of them, so that only how each began is kept, and where `bekk.meta` tells of it.

use std::collections::BTreeMap;
use std::io;

use bekk_log::{Client, Offset};
use bekk_stream::{FileId, FileRecord, META_TOPIC, Meta, Receipt};

use crate::Error;
use crate::file::entry::FileEntry;
use crate::source::Source;
use crate::source::fingerprint::{Fingerprint, HEAD_MAX};

/// Number of files that begin alike which are looked up, the newest of them
const ALIKE_MAX: usize = 16;

/// A file that is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Archived {
    /// Half of the hash of its first bytes.
    head: u64,
    /// Offsets in `bekk.meta`: of what it is, and of its receipt.
    file_at: u64,
    receipt_at: u64,
    /// How much of it is in the log.
    pub(crate) bytes: u64,
    head_len: u16,
    stream: u16,
    /// Distance from the first record of `bekk.meta` about it to `file_at`; `u32::MAX` if it is greater.
    first_before: u32,
}

impl Archived {
    pub(crate) fn new(
        file: &FileRecord,
        stream: usize,
        (file_at, receipt_at): (u64, u64),
        bytes: u64,
    ) -> Option<Self> {
        Some(Self {
            head: half(file.head_hash),
            file_at,
            receipt_at,
            bytes,
            head_len: u16::try_from(file.head_len).ok()?,
            stream: u16::try_from(stream).ok()?,
            first_before: 0,
        })
    }

    /// The same with the offset of the first record about it.
    pub(crate) fn with_first(self, first_at: u64) -> Self {
        let before = self.file_at.saturating_sub(first_at);
        Self {
            first_before: u32::try_from(before).unwrap_or(u32::MAX),
            ..self
        }
    }

    /// An offset in `bekk.meta` before which no record is about it.
    pub(crate) fn first_at(&self) -> u64 {
        match self.first_before {
            u32::MAX => 0,
            before => self.file_at.saturating_sub(u64::from(before)),
        }
    }

    /// Where `bekk.meta` tells what it is now: of what it was there is a newer record.
    pub(crate) fn tell_again(&mut self, file: &FileRecord, file_at: u64) {
        let first_at = self.first_at();
        self.head = half(file.head_hash);
        self.head_len = u16::try_from(file.head_len).unwrap_or(self.head_len);
        self.file_at = file_at;
        *self = self.with_first(first_at);
    }

    /// The same with another receipt.
    pub(crate) const fn with_receipt(self, receipt_at: u64, bytes: u64) -> Self {
        Self {
            receipt_at,
            bytes,
            ..self
        }
    }

    /// The stream's place in the configuration.
    pub(crate) fn is_of(&self, stream: usize) -> bool {
        usize::from(self.stream) == stream
    }

    pub(crate) const fn file_at(&self) -> u64 {
        self.file_at
    }

    /// Reads what `bekk.meta` tells of it.
    ///
    /// # Errors
    /// If the log fails. `None` if it does not tell it any more.
    pub(crate) fn look_up(&self, log: &Client) -> Result<Option<(FileRecord, Receipt)>, Error> {
        let file = meta_at(log, self.file_at)?;
        let receipt = meta_at(log, self.receipt_at)?;
        Ok(match (file, receipt) {
            (Some(Meta::File(file)), Some(Meta::Receipt(receipt))) => Some((file, receipt)),
            _ => None,
        })
    }
}

/// The archived files, found by how they begin.
#[derive(Default)]
pub(crate) struct Archive {
    /// By stream, and the length and hash of their first bytes; those that begin alike as they were met.
    files: Vec<Archived>,
    /// The lengths that there are.
    lens: Vec<u16>,
}

impl Archive {
    pub(crate) fn new(archived: BTreeMap<FileId, Archived>) -> Self {
        let mut files: Vec<_> = archived.into_values().collect();
        files.sort_unstable_by_key(|file| (file.stream, file.head_len, file.head, file.file_at));
        let mut lens: Vec<_> = files.iter().map(|file| file.head_len).collect();
        lens.sort_unstable();
        lens.dedup();
        Self { files, lens }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Takes the files out that began as this one does, the newest of them.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn take_alike(
        &mut self,
        stream: usize,
        source: &mut Source,
    ) -> io::Result<Vec<Archived>> {
        let mut alike = Vec::new();
        let Ok(stream) = u16::try_from(stream) else {
            return Ok(alike);
        };
        let mut first = vec![0; usize::try_from(HEAD_MAX).unwrap_or(0)];
        let read = source.read_full_at(&mut first, 0)?;
        for len in self
            .lens
            .iter()
            .filter(|len| usize::from(**len) <= read && **len > 0)
        {
            let head = half(Fingerprint::of(&first[..usize::from(*len)]).hash);
            let key = (stream, *len, head);
            let of = |file: &Archived| (file.stream, file.head_len, file.head);
            let from = self.files.partition_point(|file| of(file) < key);
            let to = self.files.partition_point(|file| of(file) <= key);
            let from = from.max(to.saturating_sub(ALIKE_MAX));
            alike.extend(self.files.drain(from..to));
        }
        Ok(alike)
    }
}

/// The entry of a finished file of which the checkpoint has none: it is read from its beginning, as its lines must be
/// counted, and the records that its receipt covers are skipped, like those found in the log.
pub(crate) fn finished_entry(record: FileRecord, receipt: &Receipt) -> FileEntry {
    let mut entry = FileEntry::new(record);
    entry.known.insert(0, receipt.bytes);
    (entry.records, entry.rejects) = (receipt.records, receipt.rejects);
    entry.offsets.clone_from(&receipt.offsets);
    entry.receipt_bytes = Some(receipt.bytes);
    entry
}

fn half(hash: u128) -> u64 {
    u64::try_from(hash & u128::from(u64::MAX)).expect("it has 64 bits")
}

fn meta_at(log: &Client, offset: u64) -> Result<Option<Meta>, Error> {
    let offset = Offset::new(offset);
    let records = log
        .read(META_TOPIC, 0, offset, 1)
        .map_err(Error::log("read topic `bekk.meta`"))?;
    let mut found = records.iter().filter(|record| record.offset == offset);
    Ok(found
        .next()
        .and_then(|record| Meta::decode(record.value).ok()))
}
