//! Working files: records and rows, by a hash of their key. What is small stays in memory, so that the audit of a small
//! table needs no disk.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::Error;

/// About how many records and rows are held in memory at once.
const ENTRIES_MAX: u64 = 400_000;
/// Number of files that are open at once, at most.
const BUCKETS_MAX: u64 = 256;
/// Bytes of one side that stay in memory
const MEMORY_MAX: usize = 32 << 20;
/// About how many bytes of working files a record and its row need
const RECORD_BYTES: u64 = 160;

/// How many files so many records need.
pub(super) fn count(records: u64) -> usize {
    usize::try_from(records.div_ceil(ENTRIES_MAX).clamp(1, BUCKETS_MAX)).unwrap_or(1)
}

/// The entries of a side that are in memory.
type Kept = Arc<Vec<Vec<u8>>>;

/// The working files of an audit, in a directory of their own. It is made with the first of them, and removed with them.
pub(super) struct WorkDir {
    dir: PathBuf,
    is_made: AtomicBool,
    kept: Mutex<HashMap<String, Kept>>,
    /// About what the files of all records need
    needed_bytes: u64,
}

impl WorkDir {
    /// For so many records, in a directory that need not exist.
    pub(super) fn new(parent: &Path, records: u64) -> Self {
        Self {
            dir: parent.join(format!("bekk-audit-{}", uuid::Uuid::new_v4().simple())),
            is_made: AtomicBool::new(false),
            kept: Mutex::default(),
            needed_bytes: records.saturating_mul(RECORD_BYTES),
        }
    }

    fn path(&self, side: &str, at: usize) -> PathBuf {
        self.dir.join(format!("{side}-{at}"))
    }

    /// Makes the empty files of a side.
    fn create(&self, side: &str, count: usize) -> std::io::Result<Vec<BufWriter<File>>> {
        // They hold what the log holds, which is closed to other users.
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.dir)?;
        self.is_made.store(true, Ordering::Relaxed);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let open = |at| options.open(self.path(side, at)).map(BufWriter::new);
        (0..count).map(open).collect()
    }

    fn kept(&self, side: &str) -> Option<Kept> {
        let kept = self.kept.lock();
        kept.get(side).cloned()
    }

    /// Reads the entries of one file.
    pub(super) fn read(
        &self,
        side: &str,
        at: usize,
        take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self.kept(side) {
            Some(kept) => self.entries(&kept[at][..], take),
            None => {
                let file = File::open(self.path(side, at)).map_err(|error| self.failed(error))?;
                self.entries(BufReader::new(file), take)
            }
        }
    }

    fn entries(
        &self,
        mut from: impl Read,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut length, mut entry) = ([0; 4], Vec::new());
        loop {
            match from.read_exact(&mut length) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                read => read.map_err(|error| self.failed(error))?,
            }
            entry.resize(u32::from_le_bytes(length) as usize, 0);
            from.read_exact(&mut entry)
                .map_err(|error| self.failed(error))?;
            take(&entry)?;
        }
    }

    /// Removes the files of a side that has been read.
    pub(super) fn remove(&self, side: &str, count: usize) -> Result<(), Error> {
        let mut kept = self.kept.lock();
        if kept.remove(side).is_some() {
            return Ok(());
        }
        (0..count)
            .try_for_each(|at| std::fs::remove_file(self.path(side, at)))
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::WorkingFiles {
            dir: self.dir.parent().unwrap_or(&self.dir).to_owned(),
            needed_mb: self.needed_bytes.div_ceil(1_000_000).max(1),
            source,
        }
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.is_made.load(Ordering::Relaxed) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The entries of one side, as they are written.
pub(super) struct Buckets<'a> {
    work: &'a WorkDir,
    side: String,
    memory: Vec<Vec<u8>>,
    memory_bytes: usize,
    /// Empty while all entries are in memory.
    files: Vec<BufWriter<File>>,
}

impl<'a> Buckets<'a> {
    pub(super) fn create(work: &'a WorkDir, side: &str, count: usize) -> Self {
        Self {
            work,
            side: side.to_owned(),
            memory: vec![Vec::new(); count],
            memory_bytes: 0,
            files: Vec::new(),
        }
    }

    /// Writes an entry into the file of its hash, behind its length.
    pub(super) fn push(&mut self, hash: u128, entry: &[u8]) -> Result<(), Error> {
        let count = self.memory.len() as u128;
        let at = usize::try_from(hash % count).expect("less than the count of files");
        let length = u32::try_from(entry.len()).expect("an entry is smaller than a batch");
        let work = self.work;
        if let Some(file) = self.files.get_mut(at) {
            return file
                .write_all(&length.to_le_bytes())
                .and_then(|()| file.write_all(entry))
                .map_err(|error| work.failed(error));
        }
        let memory = &mut self.memory[at];
        memory.extend_from_slice(&length.to_le_bytes());
        memory.extend_from_slice(entry);
        self.memory_bytes += size_of_val(&length) + entry.len();
        match self.memory_bytes > MEMORY_MAX {
            true => self.spill().map_err(|error| work.failed(error)),
            false => Ok(()),
        }
    }

    /// Writes what is in memory into files.
    fn spill(&mut self) -> std::io::Result<()> {
        self.files = self.work.create(&self.side, self.memory.len())?;
        for (file, memory) in self.files.iter_mut().zip(&mut self.memory) {
            file.write_all(&std::mem::take(memory))?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        let work = self.work;
        if self.files.is_empty() {
            let mut kept = work.kept.lock();
            kept.insert(self.side, Arc::new(self.memory));
            return Ok(());
        }
        self.files
            .iter_mut()
            .try_for_each(BufWriter::flush)
            .map_err(|error| work.failed(error))
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

pub(super) fn put_bytes(entry: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a field is smaller than a batch");
    entry.extend_from_slice(&length.to_le_bytes());
    entry.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Writes entries of `size` bytes, and reads them; returns the directory if one was made.
    fn check(parent: &Path, size: usize) -> Option<PathBuf> {
        let work = WorkDir::new(parent, 30);
        let mut buckets = Buckets::create(&work, "side", 3);
        let mut entry = vec![0; size];
        for hash in 0..30u128 {
            entry[..16].copy_from_slice(&hash.to_le_bytes());
            buckets.push(hash, &entry).unwrap();
        }
        buckets.finish().unwrap();
        for _ in 0..2 {
            let mut all = Vec::new();
            for at in 0..3 {
                let read = work.read("side", at, |entry| {
                    assert_eq!(entry.len(), size);
                    let hash = Fields(entry).u128();
                    assert_eq!(hash % 3, at as u128);
                    all.push(hash);
                    Ok(())
                });
                read.unwrap();
            }
            all.sort_unstable();
            assert_eq!(all, (0..30).collect::<Vec<_>>());
        }
        let made = work.dir.exists().then(|| work.dir.clone());
        if made.is_some() {
            let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
            assert_eq!(mode(&work.dir), 0o700);
            assert_eq!(mode(&work.path("side", 0)), 0o600);
        }
        work.remove("side", 3).unwrap();
        made
    }

    #[test]
    fn working_files_give_back_what_they_got_and_go() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(check(parent.path(), 16), None);
        let made = check(parent.path(), MEMORY_MAX / 20);
        assert!(made.is_some_and(|dir| !dir.exists()));
        assert_eq!((count(0), count(400_001)), (1, 2));
    }

    #[test]
    fn a_place_without_room_is_named_with_what_is_needed() {
        let work = WorkDir::new(Path::new("/proc/none"), 10_000_000);
        let mut buckets = Buckets::create(&work, "side", 1);
        let refused = buckets.push(0, &vec![0; MEMORY_MAX]).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("`/proc/none`") && said.contains("1600 MB"),
            "{said}"
        );
    }
}
