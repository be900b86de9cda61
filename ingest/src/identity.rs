//! Which file is which: what a file is known by, and whether one that is met is one that was known.
//!
//! A file is known by device, inode and a hash of its first bytes; before it is resumed also by a hash of
//! the bytes just before the position. Names change and inodes are used again, so neither is enough.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_128;

use crate::checkpoint::FileEntry;

/// How many of a file's first bytes are hashed at most.
pub(crate) const HEAD_MAX: u64 = 1024;
/// How many bytes before a position are hashed at most.
pub(crate) const TAIL_MAX: usize = 64;

/// The length and the xxh3 (128 bits) of some bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) len: u64,
    pub(crate) hash: u128,
}

impl Fingerprint {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            len: bytes.len() as u64,
            hash: xxh3_128(bytes),
        }
    }

    /// Of a file's first bytes, up to `len_max`.
    pub(crate) fn of_head(file: &File, len_max: u64) -> io::Result<Self> {
        let len = usize::try_from(len_max.min(HEAD_MAX)).unwrap_or(0);
        let mut bytes = vec![0; len];
        let read = read_full_at(file, &mut bytes, 0)?;
        Ok(Self::of(&bytes[..read]))
    }

    /// Whether the file has these bytes at `start`.
    pub(crate) fn matches(&self, file: &File, start: u64) -> io::Result<bool> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        let read = read_full_at(file, &mut bytes, start)?;
        Ok(Self::of(&bytes[..read]) == *self)
    }
}

/// Reads until the buffer is full or the file ends, and says how much that was.
pub(crate) fn read_full_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What the system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }

    /// How long the file has not been written to.
    pub(crate) fn unchanged_for(&self) -> Duration {
        self.modified.elapsed().unwrap_or_default()
    }
}

/// What became of a known file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the file that was known, and has all that was read of it.
    Same,
    /// It has fewer bytes than were read of it.
    Truncated,
    /// Its first bytes are others: another file with a used inode.
    OtherHead,
    /// The bytes before the position are others: it was rewritten in place.
    OtherTail,
}

/// Compares a file with what is known of it.
pub(crate) fn verify(file: &File, stat: &Stat, known: &FileEntry) -> io::Result<Verdict> {
    if !known.head.matches(file, 0)? {
        // Emptied or shortened below what the head covers is a truncation, not another file.
        return Ok(match stat.size < known.head.len {
            true => Verdict::Truncated,
            false => Verdict::OtherHead,
        });
    }
    if stat.size < known.position {
        return Ok(Verdict::Truncated);
    }
    let tail_start = known.position.saturating_sub(known.tail.len);
    Ok(match known.tail.matches(file, tail_start)? {
        true => Verdict::Same,
        false => Verdict::OtherTail,
    })
}

impl Verdict {
    /// The evidence, for the log.
    pub(crate) fn evidence(self) -> &'static str {
        match self {
            Self::Same => "its first bytes and those before the position are as they were",
            Self::Truncated => "it is shorter than what was read of it",
            Self::OtherHead => "its first bytes are not those that were read",
            Self::OtherTail => "the bytes before the position are not those that were read",
        }
    }
}
