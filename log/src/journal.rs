//! What fjall's journal holds after an unclean stop, looked at before fjall does.
//!
//! fjall refuses a database for ever whose journal has a batch with a wrong checksum, and cuts a journal in
//! silence at a wrong tag, whatever is behind it. So the journals of a segment that was not closed in order
//! are read first: what is behind the last whole batch is kept in a file beside the database, and cut.
//!
//! A journal is a sequence of batches, little endian, and zeros behind them: tag 1, item count u32, sequence
//! number u64; items (tag 2, value type u8, compression u8, keyspace u64, key length u16, value length u32,
//! stored length u32, key, value; or tag 4, keyspace u64); tag 3, xxh3 of the items u64, `FJL` and 3.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::files::private;
use crate::files::{self, io_error};
use crate::segment::journals;
use crate::{Error, database};

/// fjall's mark of its format: each write ends in it, and the file `version` of a database holds it.
pub(crate) const TRAILER: [u8; 4] = [b'F', b'J', b'L', 3];
const BUFFER_BYTES: usize = 256 << 10;
/// So many cut ends are kept beside a database; the oldest go.
const KEPT_MAX: usize = 8;

/// What was cut off a journal.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Where the bytes are kept.
    pub(crate) kept: PathBuf,
    pub(crate) bytes: u64,
}

impl Cut {
    /// Says what was cut.
    pub(crate) fn report(&self) {
        let (bytes, kept) = (self.bytes, self.kept.display());
        tracing::warn!(bytes, %kept, "an unfinished write is cut off a journal and kept");
    }
}

/// Cuts each journal of a database behind its last whole batch, keeping what is cut off in `keep_in`.
///
/// # Errors
/// [`Error::Corrupt`] if a write that was complete is damaged; then nothing is cut.
pub(crate) fn cut(db_dir: &Path, keep_in: &Path, now_ms: i64) -> Result<Vec<Cut>, Error> {
    database::check_entries(db_dir)?;
    check_version(db_dir)?;
    let mut tails = Vec::new();
    for path in journals(db_dir)? {
        separate(&path, keep_in).map_err(|source| io_error("copy", &path, source))?;
        let whole = whole_bytes(&path).map_err(|source| io_error("read", &path, source))?;
        let tail = read_tail(&path, whole).map_err(|source| io_error("read", &path, source))?;
        // The end of a write is written last.
        if tail.windows(TRAILER.len()).any(|window| window == TRAILER) {
            return Err(Error::corrupt(
                path,
                format!("the journal is damaged after byte {whole}"),
            ));
        }
        if !tail.is_empty() {
            tails.push((path, whole, tail));
        }
    }
    let mut cuts = Vec::new();
    for (path, whole, tail) in tails {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("journal");
        let kept = keep_in.join(format!("journal-{stem}-{now_ms}.cut"));
        remove_oldest(keep_in)?;
        keep(&kept, &tail)?;
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| {
                file.set_len(whole)?;
                file.sync_all()
            })
            .map_err(|source| io_error("cut", &path, source))?;
        cuts.push(Cut {
            kept,
            bytes: tail.len() as u64,
        });
    }
    Ok(cuts)
}

/// Gives a journal that has another name, as in a copy made of hard links (`cp -al`), a file of its own: otherwise the log
/// and its copy would write to one file, and each would have the other's records.
fn separate(path: &Path, keep_in: &Path) -> io::Result<()> {
    if fs::metadata(path)?.nlink() < 2 {
        return Ok(());
    }
    let copy = files::temporary_name(&keep_in.join(path.file_name().unwrap_or_default()));
    fs::copy(path, &copy)?;
    File::open(&copy)?.sync_all()?;
    fs::rename(&copy, path)?;
    path.parent()
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    tracing::warn!(
        path = %path.display(),
        "a copy of the log made of hard links had this file too; the log continues in a file of its own"
    );
    Ok(())
}

/// Checks that fjall wrote a database in the format that is read here. A database without the mark was not finished.
fn check_version(db_dir: &Path) -> Result<(), Error> {
    let path = db_dir.join("version");
    match fs::read(&path) {
        Ok(mark) if mark.starts_with(&TRAILER) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(Error::corrupt(
            path,
            "it is not the mark of fjall's format 3",
        )),
        Err(source) => Err(io_error("read", &path, source)),
    }
}

fn keep(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    private::create_file(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|source| io_error("write", path, source))?;
    files::sync_parent(path)
}

fn remove_oldest(dir: &Path) -> Result<(), Error> {
    let list = || {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()
    };
    let mut kept = list().map_err(|source| io_error("list", dir, source))?;
    kept.retain(|path| path.extension().is_some_and(|extension| extension == "cut"));
    // The names end in the time, of as many digits until the year 2286.
    kept.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.rsplit('-').next().unwrap_or_default().to_owned()
    });
    for path in kept.iter().rev().skip(KEPT_MAX - 1) {
        fs::remove_file(path).map_err(|source| io_error("remove", path, source))?;
    }
    Ok(())
}

/// What is behind `from`, without the zeros at the end of the file.
fn read_tail(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut chunk = vec![0; BUFFER_BYTES];
    let (mut passed, mut used) = (0, 0);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        if let Some(last) = chunk[..read].iter().rposition(|byte| *byte != 0) {
            used = passed + last + 1;
        }
        passed += read;
    }
    let mut tail = vec![0; used];
    file.seek(SeekFrom::Start(from))?;
    file.read_exact(&mut tail)?;
    Ok(tail)
}

/// Up to where a journal is a sequence of whole batches.
fn whole_bytes(path: &Path) -> io::Result<u64> {
    whole_from(path, 0)
}

/// Up to where what begins at `from` is a sequence of whole batches.
pub(crate) fn whole_from(path: &Path, from: u64) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let left = len.saturating_sub(from);
    file.seek(SeekFrom::Start(from))?;
    let mut reader = JournalReader {
        inner: BufReader::with_capacity(BUFFER_BYTES, file),
        left,
        hash: Xxh3::new(),
        chunk: vec![0; BUFFER_BYTES],
    };
    let mut whole = from;
    while reader.batch()?.is_some() {
        whole = len - reader.left;
    }
    Ok(whole)
}

struct JournalReader {
    inner: BufReader<File>,
    left: u64,
    hash: Xxh3,
    chunk: Vec<u8>,
}

impl JournalReader {
    /// Reads a batch; `None` if what follows is not a whole one.
    fn batch(&mut self) -> io::Result<Option<()>> {
        let Some([1, count @ ..]) = self.take::<13>()? else {
            return Ok(None);
        };
        let count = u32::from_le_bytes([count[0], count[1], count[2], count[3]]);
        self.hash.reset();
        for _ in 0..count {
            if self.item()?.is_none() {
                return Ok(None);
            }
        }
        let Some([3, end @ ..]) = self.take::<13>()? else {
            return Ok(None);
        };
        let whole = end[..8] == self.hash.digest().to_le_bytes() && end[8..] == TRAILER;
        Ok(whole.then_some(()))
    }

    fn item(&mut self) -> io::Result<Option<()>> {
        let Some([tag]) = self.take::<1>()? else {
            return Ok(None);
        };
        self.hash.update(&[tag]);
        match tag {
            2 => {
                let Some(head) = self.take::<20>()? else {
                    return Ok(None);
                };
                self.hash.update(&head);
                let key = u64::from(u16::from_le_bytes([head[10], head[11]]));
                let stored = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
                self.hash_bytes(key + u64::from(stored))
            }
            4 => self.hash_bytes(8),
            _ => Ok(None),
        }
    }

    fn take<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.left < N as u64 {
            return Ok(None);
        }
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        self.left -= N as u64;
        Ok(Some(bytes))
    }

    fn hash_bytes(&mut self, mut len: u64) -> io::Result<Option<()>> {
        if self.left < len {
            return Ok(None);
        }
        self.left -= len;
        while len > 0 {
            let part = usize::try_from(len).map_or(BUFFER_BYTES, |len| len.min(BUFFER_BYTES));
            self.inner.read_exact(&mut self.chunk[..part])?;
            self.hash.update(&self.chunk[..part]);
            len -= part as u64;
        }
        Ok(Some(()))
    }
}

#[cfg(test)]
mod tests {
    use bekk_testing::assert_matches;
    use fjall::PersistMode;

    use super::*;
    use crate::database;

    /// A database whose journal holds `batches` batches of two items; returns the journal and its end.
    fn journal(dir: &Path, batches: u8) -> (PathBuf, u64) {
        let db = database::open(dir, 1).unwrap();
        let keys = database::keyspace(&db, "k", 1).unwrap();
        for i in 0..batches {
            let mut batch = db.batch().durability(Some(PersistMode::Buffer));
            batch.insert(&keys, [i], vec![i + 1; 300_000]);
            batch.insert(&keys, [i, i], b"");
            batch.commit().unwrap();
        }
        drop((keys, db));
        let [path] = journals(dir).unwrap().try_into().unwrap();
        let end = whole_bytes(&path).unwrap();
        (path, end)
    }

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let db_dir = dir.path().join("db");
        (dir, db_dir)
    }

    fn tear(path: &Path, end: u64) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(end - 5).unwrap();
    }

    fn keys(dir: &Path) -> usize {
        let db = database::open(dir, 1).unwrap();
        database::keyspace(&db, "k", 1).unwrap().len().unwrap()
    }

    #[test]
    fn a_whole_journal_is_left_alone() {
        let (dir, db_dir) = place();
        let (path, end) = journal(&db_dir, 3);
        assert!(end > 900_000 && end < fs::metadata(&path).unwrap().len());
        let before = fs::read(&path).unwrap();
        assert!(cut(&db_dir, dir.path(), 1).unwrap().is_empty());
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(keys(&db_dir), 6);
    }

    #[test]
    fn a_journal_with_another_name_gets_a_file_of_its_own() {
        let (dir, db_dir) = place();
        let (path, _) = journal(&db_dir, 3);
        let linked = dir.path().join("linked");
        fs::hard_link(&path, &linked).unwrap();
        assert!(cut(&db_dir, dir.path(), 1).unwrap().is_empty());
        assert_eq!(fs::metadata(&linked).unwrap().nlink(), 1);
        let before = fs::read(&linked).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        let db = database::open(&db_dir, 1).unwrap();
        let keys = database::keyspace(&db, "k", 1).unwrap();
        keys.insert([9], b"new").unwrap();
        db.persist(PersistMode::SyncAll).unwrap();
        assert_ne!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read(&linked).unwrap(), before);
    }

    #[test]
    fn a_torn_end_is_cut_and_kept() {
        let (dir, db_dir) = place();
        let (path, end) = journal(&db_dir, 3);
        tear(&path, end);
        let cuts = cut(&db_dir, dir.path(), 1).unwrap();
        assert_eq!(cuts.len(), 1);
        assert_eq!(fs::metadata(&cuts[0].kept).unwrap().len(), cuts[0].bytes);
        assert_eq!(keys(&db_dir), 4);
    }

    #[test]
    fn a_torn_first_write_is_cut_and_kept() {
        let (dir, db_dir) = place();
        let (path, end) = journal(&db_dir, 1);
        tear(&path, end);
        let cuts = cut(&db_dir, dir.path(), 1).unwrap();
        assert_eq!(cuts.len(), 1);
        let kept = fs::metadata(&cuts[0].kept).unwrap().len();
        assert!(kept > 300_000, "the write is kept: {kept} bytes");
        assert_eq!(keys(&db_dir), 0);
    }

    #[test]
    fn journals_of_another_format_are_not_touched() {
        let (dir, db_dir) = place();
        let (path, end) = journal(&db_dir, 3);
        tear(&path, end);
        fs::write(db_dir.join("version"), b"FJL\x04").unwrap();
        let error = cut(&db_dir, dir.path(), 1).unwrap_err();
        assert_matches!(&error, Error::Corrupt { path, .. } if path.ends_with("version"));
        assert_eq!(fs::metadata(&path).unwrap().len(), end - 5);
    }

    #[test]
    fn damage_inside_is_told_from_a_torn_end_and_nothing_is_cut() {
        let (dir, db_dir) = place();
        let (path, end) = journal(&db_dir, 3);
        let mut bytes = fs::read(&path).unwrap();
        let middle = usize::try_from(end / 2).unwrap();
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = cut(&db_dir, dir.path(), 1).unwrap_err();
        assert_matches!(&error, Error::Corrupt { path: found, .. } if *found == path);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        // What follows is found again.
        let whole = whole_bytes(&path).unwrap();
        assert!(whole < middle as u64);
        let trailer = bytes[middle..]
            .windows(TRAILER.len())
            .position(|window| window == TRAILER);
        let next = (middle + trailer.unwrap() + TRAILER.len()) as u64;
        assert_eq!(whole_from(&path, next).unwrap(), end);
    }

    #[test]
    fn only_the_newest_cuts_are_kept() {
        let (dir, db_dir) = place();
        for time in 0..12 {
            let (path, end) = journal(&db_dir, 1);
            let mut file = File::options().write(true).open(&path).unwrap();
            file.seek(SeekFrom::Start(end)).unwrap();
            file.write_all(b"\x01torn").unwrap();
            cut(&db_dir, dir.path(), 1_700_000_000_000 + time).unwrap();
        }
        let kept = fs::read_dir(dir.path()).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".cut")
        });
        assert_eq!(kept.count(), KEPT_MAX);
    }
}
