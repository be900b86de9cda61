//! Which file is which: what a file is known by, and whether one that is met is one that was known.
//!
//! A file is known by device, inode and a hash of its first bytes; before it is resumed also by a hash of
//! the bytes just before the position. Names change and inodes are used again, so neither is enough.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_128;

use crate::file::entry::FileEntry;
use crate::source::Source;

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

    /// Of a file's first bytes, up to `len_max`. Of a compressed file that is cut off or damaged: of those that
    /// can be had.
    pub(crate) fn of_head(source: &mut Source, len_max: u64) -> io::Result<Self> {
        let mut bytes = vec![0; usize::try_from(len_max.min(HEAD_MAX)).unwrap_or(0)];
        let mut read = 0;
        if source.packing().is_none() {
            read = source.read_full_at(&mut bytes, 0)?;
        } else {
            while read < bytes.len() {
                match source.read_full_at(&mut bytes[read..=read], read as u64) {
                    Ok(1) => read += 1,
                    Err(error) if error.raw_os_error().is_some() => return Err(error),
                    _ => break,
                }
            }
        }
        Ok(Self::of(&bytes[..read]))
    }

    /// Whether the file has these bytes at `start`.
    pub(crate) fn matches(&self, source: &mut Source, start: u64) -> io::Result<bool> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        let read = source.read_full_at(&mut bytes, start)?;
        Ok(Self::of(&bytes[..read]) == *self)
    }
}

/// What the system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    /// When its content, its name or anything else of it was changed: that cannot be set.
    pub(crate) touched: SystemTime,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            touched: {
                let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
                let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
                SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
            },
        }
    }

    /// Whether nothing tells that the content has changed since.
    pub(crate) fn has_content_of(&self, earlier: &Self) -> bool {
        let content = |stat: &Self| (stat.device, stat.inode, stat.size, stat.modified);
        content(self) == content(earlier)
    }

    /// How long the file has not been written to.
    pub(crate) fn unchanged_for(&self) -> Duration {
        self.modified.elapsed().unwrap_or_default()
    }

    /// How long nobody has done anything to the file. Who compresses a file gives what comes of it the old time of
    /// modification, and only then removes the old file.
    pub(crate) fn untouched_for(&self) -> Duration {
        self.touched.elapsed().unwrap_or_default()
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

/// Compares a file with what is known of it. Of a compressed file only its beginning is looked at here: the
/// rest is compared when it is checked as a whole.
pub(crate) fn verify(source: &mut Source, stat: &Stat, known: &FileEntry) -> io::Result<Verdict> {
    if source.packing().is_some() {
        return Ok(
            match known.head == Fingerprint::of_head(source, known.head.len)? {
                true => Verdict::Same,
                false => Verdict::OtherHead,
            },
        );
    }
    if !known.head.matches(source, 0)? {
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
    Ok(match known.tail.matches(source, tail_start)? {
        true => Verdict::Same,
        false => Verdict::OtherTail,
    })
}

/// Whether all that was read of a file is in this one too, byte by byte. Without the CRC of what was read
/// that cannot be said, and so is denied.
pub(crate) fn holds_all(source: &mut Source, stat: &Stat, known: &FileEntry) -> io::Result<bool> {
    let Some(crc) = known.crc else {
        return Ok(false);
    };
    if source.packing().is_some() || verify(source, stat, known)? != Verdict::Same {
        return Ok(false);
    }
    let mut found = 0;
    let mut block = vec![0; crate::text::reader::BLOCK_BYTES];
    let mut at = 0;
    while at < known.position {
        let wanted = block
            .len()
            .min(usize::try_from(known.position - at).unwrap_or(usize::MAX));
        let read = source.read_full_at(&mut block[..wanted], at)?;
        if read == 0 {
            return Ok(false);
        }
        found = crc32c::crc32c_append(found, &block[..read]);
        at += read as u64;
    }
    Ok(found == crc)
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
