//! Finds in the bytes of a database's files for which segment it was made, and which batches it notes. A restore may have
//! put another segment's database into a segment's directory, and a damaged database does not open.
//!
//! Neither the tables of `meta` nor the journals are compressed, so they contain values as they were written.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::blocks::read_at;
use super::scan::{files_in, is_journal};
use crate::segment::{self, Header, db_dir};

/// fjall's number of keyspace `meta`
const META_KEYSPACE: u64 = 1;
/// How much of a file is searched at once, in bytes
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes of a chunk that are searched again with the next one: more than the longest value with its key and length
const OVERLAP_BYTES: usize = 512;

/// The value of a note on a batch, as [`crate::notes::Note`] encodes it
pub(super) type NoteBytes = [u8; 8];

/// A file with entries of `meta`, and the headers in it.
struct MetaFile {
    path: PathBuf,
    headers: Vec<Header>,
}

impl MetaFile {
    fn is_of_other(&self, own: &Header) -> bool {
        !self.headers.is_empty() && !self.headers.contains(own)
    }
}

/// Another segment's data in a segment's directory.
#[derive(Default)]
pub(super) struct Foreign {
    /// Journals that were written for the other segment
    pub(super) journals: Vec<PathBuf>,
    /// The wanted notes that were found
    pub(super) noted: HashSet<NoteBytes>,
}

/// Looks for another segment's notes in the segment in `dir`; `None` if all of `meta` is its own, as far as is known.
pub(super) fn foreign(
    dir: &Path,
    own: &Header,
    wanted: &HashSet<NoteBytes>,
) -> io::Result<Option<Foreign>> {
    let files = meta_files(dir)?;
    if !files.iter().any(|file| file.is_of_other(own)) {
        return Ok(None);
    }
    let has_own = files.iter().any(|file| file.headers.contains(own));
    let mut foreign = Foreign::default();
    for file in &files {
        let is_of_other = file.is_of_other(own);
        if is_of_other && is_journal(&file.path) {
            foreign.journals.push(file.path.clone());
        }
        // A header is written once, so that later files of the same database do not have it.
        if is_of_other || file.headers.is_empty() && !has_own {
            for_each_chunk(&file.path, |chunk| {
                let windows = chunk.windows(size_of::<NoteBytes>());
                let values = windows.filter_map(|window| window.first_chunk());
                let noted = values.filter(|value| wanted.contains(*value));
                foreign.noted.extend(noted);
            })?;
        }
    }
    Ok(Some(foreign))
}

/// The segments other than `own` for which the database in `dir` was made.
pub(crate) fn others(dir: &Path, own: &Header) -> io::Result<Vec<Header>> {
    let mut others = Vec::new();
    for header in meta_files(dir)?.into_iter().flat_map(|file| file.headers) {
        if header != *own && !others.contains(&header) {
            others.push(header);
        }
    }
    Ok(others)
}

fn meta_files(dir: &Path) -> io::Result<Vec<MetaFile>> {
    let tables = segment::places(dir, META_KEYSPACE);
    let mut paths: Vec<_> = tables.iter().flat_map(|place| files_in(place)).collect();
    let in_database = files_in(&db_dir(dir)).into_iter();
    paths.extend(in_database.filter(|path| is_journal(path)));
    let files = paths.into_iter().map(|path| {
        let mut headers = Vec::new();
        for_each_chunk(&path, |chunk| headers_in(chunk, &mut headers))?;
        Ok(MetaFile { path, headers })
    });
    files.collect()
}

/// Adds the headers in some bytes: the values of key `i`.
fn headers_in(bytes: &[u8], headers: &mut Vec<Header>) {
    let keys = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'i');
    for (at, _) in keys {
        let header = header_in_table(&bytes[at + 1..]).or_else(|| {
            let len = bytes[..at].last_chunk()?;
            header_in_journal(u32::from_le_bytes(*len), &bytes[at + 1..])
        });
        headers.extend(header.filter(|header| !headers.contains(header)));
    }
}

/// In a table the value's length, of seven bits a byte, is between key and value.
fn header_in_table(after_key: &[u8]) -> Option<Header> {
    let (len, value) = match after_key {
        [low, high @ 1..4, value @ ..] if *low >= 0x80 => {
            (usize::from(low & 0x7f) | usize::from(*high) << 7, value)
        }
        [len @ ..0x80, value @ ..] => (usize::from(*len), value),
        _ => return None,
    };
    header_of(value.get(..len)?)
}

/// In a journal the value's length is before the key.
fn header_in_journal(len: u32, after_key: &[u8]) -> Option<Header> {
    header_of(after_key.get(..usize::try_from(len).ok()?)?)
}

fn header_of(value: &[u8]) -> Option<Header> {
    let header = Header::decode(value)?;
    let is_header = header.encode() == value && !header.topic.is_empty() && header.number > 0;
    is_header.then_some(header)
}

fn for_each_chunk(path: &Path, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < len {
        let size = usize::try_from(len - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        read_at(&file, &mut chunk[..size], at)?;
        each(&chunk[..size]);
        if size < CHUNK_BYTES {
            return Ok(());
        }
        at += (CHUNK_BYTES - OVERLAP_BYTES) as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_database_names_its_segment() {
        let dir = tempfile::tempdir().unwrap();
        for topic in ["t".to_owned(), "i".repeat(249)] {
            let header = Header {
                topic,
                ..Header::example()
            };
            let path = segment::create(dir.path(), &header).unwrap();
            assert_eq!(others(&path, &header).unwrap(), []);
            assert_eq!(others(&path, &Header::example()).unwrap(), [header]);
            std::fs::remove_dir_all(path).unwrap();
        }
    }

    #[test]
    fn a_header_is_found_in_the_bytes_of_a_table() {
        for topic in ["t".to_owned(), "topic".repeat(40)] {
            let header = Header {
                topic,
                ..Header::example()
            };
            let value = header.encode();
            let mut bytes = b"iii\x01i".to_vec();
            if value.len() >= 0x80 {
                bytes.push(u8::try_from(value.len() & 0x7f).unwrap() | 0x80);
            }
            let last = if value.len() < 0x80 {
                value.len()
            } else {
                value.len() >> 7
            };
            bytes.push(u8::try_from(last).unwrap());
            bytes.extend(&value);
            bytes.push(0);
            let mut found = Vec::new();
            headers_in(&bytes, &mut found);
            assert_eq!(found, [header]);
            found.clear();
            headers_in(&bytes[..bytes.len() - 2], &mut found);
            assert_eq!(found, []);
        }
    }
}
