//! Working files: records and rows, by a hash of their key.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::working_file;
use crate::Error;

/// About how many records and rows are held in memory at once.
const ENTRIES_MAX: u64 = 400_000;
/// Number of files that are open at once, at most.
const BUCKETS_MAX: u64 = 256;

/// How many files so many records need.
pub(super) fn count(records: u64) -> usize {
    usize::try_from(records.div_ceil(ENTRIES_MAX).clamp(1, BUCKETS_MAX)).unwrap_or(1)
}

/// The files of one side.
pub(super) struct Buckets(Vec<BufWriter<File>>);

fn path(dir: &Path, side: &str, at: usize) -> PathBuf {
    dir.join(format!("{side}-{at}"))
}

impl Buckets {
    pub(super) fn create(dir: &Path, side: &str, count: usize) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let open = |at| options.open(path(dir, side, at)).map(BufWriter::new);
        let files: std::io::Result<_> = (0..count).map(open).collect();
        files.map(Self).map_err(working_file)
    }

    /// Writes an entry into the file of its hash, behind its length.
    pub(super) fn push(&mut self, hash: u128, entry: &[u8]) -> Result<(), Error> {
        let count = self.0.len() as u128;
        let at = usize::try_from(hash % count).expect("less than the count of files");
        let length = u32::try_from(entry.len()).expect("an entry is smaller than a batch");
        let file = &mut self.0[at];
        file.write_all(&length.to_le_bytes())
            .and_then(|()| file.write_all(entry))
            .map_err(working_file)
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.0
            .iter_mut()
            .try_for_each(BufWriter::flush)
            .map_err(working_file)
    }
}

/// Reads the entries of one file.
pub(super) fn read(
    dir: &Path,
    side: &str,
    at: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut file = BufReader::new(File::open(path(dir, side, at)).map_err(working_file)?);
    let (mut length, mut entry) = ([0; 4], Vec::new());
    loop {
        match file.read_exact(&mut length) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read.map_err(working_file)?,
        }
        entry.resize(u32::from_le_bytes(length) as usize, 0);
        file.read_exact(&mut entry).map_err(working_file)?;
        take(&entry)?;
    }
}

/// Takes numbers and bytes from the front of an entry.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (array, rest) = self
            .0
            .split_first_chunk::<N>()
            .expect("the entry is of our own making");
        self.0 = rest;
        *array
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(super) fn u128(&mut self) -> u128 {
        u128::from_le_bytes(self.array())
    }

    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = self.u32() as usize;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

/// Removes the files of a side that has been read.
pub(super) fn remove(dir: &Path, side: &str, count: usize) -> Result<(), Error> {
    (0..count)
        .try_for_each(|at| std::fs::remove_file(path(dir, side, at)))
        .map_err(working_file)
}

pub(super) fn put_bytes(entry: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a field is smaller than a batch");
    entry.extend_from_slice(&length.to_le_bytes());
    entry.extend_from_slice(bytes);
}
