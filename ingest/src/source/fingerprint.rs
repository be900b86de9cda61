//! Hashes of a file's first bytes and of those before a position, by which it is known again.

use std::io;

use xxhash_rust::xxh3::xxh3_128;

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

    /// The fingerprint of a file's first bytes, up to `len_max`; of as many as can be read if a compressed file is cut off or
    /// damaged.
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

    /// The fingerprint of a file's first whole lines, up to `len_max`: what follows them may be written anew.
    pub(crate) fn of_lines(source: &mut Source, len_max: u64) -> io::Result<Self> {
        let mut bytes = vec![0; usize::try_from(len_max.min(HEAD_MAX)).unwrap_or(0)];
        let read = source.read_full_at(&mut bytes, 0)?;
        let lines = bytes[..read].iter().rposition(|byte| *byte == b'\n');
        Ok(Self::of(&bytes[..lines.map_or(0, |end| end + 1)]))
    }

    /// Whether the file has these bytes at `start`.
    pub(crate) fn matches(&self, source: &mut Source, start: u64) -> io::Result<bool> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        let read = source.read_full_at(&mut bytes, start)?;
        Ok(Self::of(&bytes[..read]) == *self)
    }
}
