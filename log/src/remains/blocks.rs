//! What fjall's own checksums say of a file: which parts of it are as they were written.
//!
//! A table is a sequence of blocks, each behind a header of 33 bytes: `LSM` and 3, kind u8, xxh3-128 of the
//! content u128, its length u32, its length before compression u32, and the low half of the xxh3-128 of the
//! header so far, u32; all little endian. A journal is described in [`crate::journal`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 4] = *b"LSM\x03";
const HEADER_BYTES: usize = 33;
const CHUNK_BYTES: usize = 256 << 10;

/// The contents of a table's blocks whose checksums hold, in order.
pub(super) fn whole_blocks(file: &File, len: u64) -> io::Result<Vec<Range<u64>>> {
    let mut whole = Vec::new();
    let mut at = 0;
    while at < len {
        match block_at(file, at, len)? {
            Some(content) => {
                at = content.end;
                whole.push(content);
            }
            None => match find(file, at + 1, len, &MAGIC)? {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    Ok(whole)
}

fn block_at(file: &File, at: u64, len: u64) -> io::Result<Option<Range<u64>>> {
    let mut header = [0; HEADER_BYTES];
    if at + HEADER_BYTES as u64 > len || !read_at(file, &mut header, at)? {
        return Ok(None);
    }
    let (checked, sum) = header.split_at(HEADER_BYTES - 4);
    let low = xxhash_rust::xxh3::xxh3_128(checked).to_le_bytes();
    if checked[..4] != MAGIC || sum != &low[..4] {
        return Ok(None);
    }
    let content_len = u32::from_le_bytes([header[21], header[22], header[23], header[24]]);
    let content = at + HEADER_BYTES as u64..at + HEADER_BYTES as u64 + u64::from(content_len);
    if content.end > len {
        return Ok(None);
    }
    let mut hash = Xxh3::new();
    let is_read = for_each_chunk(file, content.clone(), |chunk| hash.update(chunk))?;
    let holds = is_read && hash.digest128().to_le_bytes() == header[5..21];
    Ok(holds.then_some(content))
}

/// Where a pattern begins next, from `at` on.
pub(super) fn find(file: &File, at: u64, len: u64, pattern: &[u8]) -> io::Result<Option<u64>> {
    let overlap = pattern.len() - 1;
    let mut at = at;
    let mut chunk = vec![0; CHUNK_BYTES];
    while at + (overlap as u64) < len {
        let size = usize::try_from(len - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let chunk = &mut chunk[..size];
        read_at(file, chunk, at)?;
        if let Some(found) = chunk
            .windows(pattern.len())
            .position(|window| window == pattern)
        {
            return Ok(Some(at + found as u64));
        }
        at += (size - overlap) as u64;
    }
    Ok(None)
}

fn for_each_chunk(file: &File, range: Range<u64>, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = range.start;
    while at < range.end {
        let left = range.end - at;
        let size = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        if !read_at(file, &mut chunk[..size], at)? {
            return Ok(false);
        }
        each(&chunk[..size]);
        at += size as u64;
    }
    Ok(true)
}

/// Sector size of the pieces that are read one by one where the disk refuses a larger read
const PIECE_BYTES: usize = 4096;

/// Fills `into` from the file; what the disk cannot read is zeros. Says whether all of it could be read.
pub(super) fn read_at(file: &File, into: &mut [u8], at: u64) -> io::Result<bool> {
    if file.read_exact_at(into, at).is_ok() {
        return Ok(true);
    }
    let mut is_whole = true;
    let mut from = at;
    for piece in into.chunks_mut(PIECE_BYTES) {
        if file.read_exact_at(piece, from).is_err() {
            piece.fill(0);
            is_whole = false;
        }
        from += piece.len() as u64;
    }
    Ok(is_whole)
}
