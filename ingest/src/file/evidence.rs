//! Which file is which: what a file is known by, and whether one that is met is one that was known.
//!
//! A file is known by device, inode and a hash of its first bytes; before it is resumed also by a hash of
//! the bytes just before the position. Names change and inodes are used again, so neither is enough.

use std::io;

use crate::file::entry::FileEntry;
use crate::source::Source;
use crate::source::fingerprint::Fingerprint;
use crate::source::stat::Stat;

/// Most bytes of a file that are compared in places where reading more would delay ingest by seconds: at its start if the
/// file has grown, and while it runs.
pub(crate) const COMPARED_MAX: u64 = 256 << 20;

/// What became of a known file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCheck {
    /// It is the file that was known, and has all that was read of it.
    Same,
    /// It has fewer bytes than were read of it.
    Truncated,
    /// Its first bytes are others: another file with a used inode.
    OtherHead,
    /// The bytes before the position are others: it was rewritten in place.
    OtherTail,
    /// Other bytes lie somewhere before the position: it was rewritten in place, or its inode was used again.
    OtherMiddle,
}

/// Compares a file with what is known of it. This looks only at the beginning of a compressed file: the rest is compared
/// when the whole file is checked.
pub(crate) fn verify(
    source: &mut Source,
    stat: &Stat,
    known: &FileEntry,
) -> io::Result<ContentCheck> {
    if source.packing().is_some() {
        return Ok(
            match known.head == Fingerprint::of_head(source, known.head.len)? {
                true => ContentCheck::Same,
                false => ContentCheck::OtherHead,
            },
        );
    }
    if !known.head.matches(source, 0)? {
        // Emptied or shortened below what the head covers is a truncation, not another file.
        return Ok(match stat.size < known.head.len {
            true => ContentCheck::Truncated,
            false => ContentCheck::OtherHead,
        });
    }
    if stat.size < known.position {
        return Ok(ContentCheck::Truncated);
    }
    let tail_start = known.position.saturating_sub(known.tail.len);
    Ok(match known.tail.matches(source, tail_start)? {
        true => ContentCheck::Same,
        false => ContentCheck::OtherTail,
    })
}

/// As [`verify`]. If the file has changed, also compares everything that was read of it, since a program that rewrites it
/// in place may leave its first and last bytes as they were. It does not if the file has grown and more than
/// [`COMPARED_MAX`] bytes of it were read.
pub(crate) fn verify_whole(
    source: &mut Source,
    stat: &Stat,
    known: &FileEntry,
) -> io::Result<ContentCheck> {
    let check = verify(source, stat, known)?;
    let is_small = known.position <= COMPARED_MAX || stat.size == known.disk.0;
    let is_compared = check == ContentCheck::Same
        && source.packing().is_none()
        && known.crc.is_some()
        && stat.on_disk() != known.disk
        && is_small;
    match is_compared && crc_of(source, known.position)? != known.crc {
        true => Ok(ContentCheck::OtherMiddle),
        false => Ok(check),
    }
}

/// Whether all that was read of a file is in this one too, byte by byte. Without the CRC of what was read
/// that cannot be said, and so is denied.
pub(crate) fn holds_all(source: &mut Source, stat: &Stat, known: &FileEntry) -> io::Result<bool> {
    let Some(crc) = known.crc else {
        return Ok(false);
    };
    if source.packing().is_some() || verify(source, stat, known)? != ContentCheck::Same {
        return Ok(false);
    }
    Ok(crc_of(source, known.position)? == Some(crc))
}

/// Whether a file, plain or compressed, has the text that was read of a known one.
pub(crate) fn has_text(source: &mut Source, known: &FileEntry) -> io::Result<bool> {
    let Some(crc) = known.crc else {
        return Ok(false);
    };
    Ok(crc_of(source, known.position)? == Some(crc))
}

/// The CRC-32C of the first `len` bytes; `None` if there are fewer.
pub(crate) fn crc_of(source: &mut Source, len: u64) -> io::Result<Option<u32>> {
    let mut found = 0;
    let is_whole = source.read_blocks(len, |block| {
        found = crc32c::crc32c_append(found, block);
    })?;
    Ok(is_whole.then_some(found))
}

impl ContentCheck {
    /// The evidence, for the log.
    pub(crate) fn evidence(self) -> &'static str {
        match self {
            Self::Same => "its first bytes and those before the position are unchanged",
            Self::Truncated => "it is shorter than what was read of it",
            Self::OtherHead => "its first bytes are not those that were read",
            Self::OtherTail => "the bytes before the position are not those that were read",
            Self::OtherMiddle => "some of the bytes that were read have changed",
        }
    }
}
