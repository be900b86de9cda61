//! A segment of a topic: a directory with a database, a file that says what it is, and, once it is sealed, one
//! that says what it holds.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::files::{self, FileKind, ReadFailure, io_error};
use crate::notes::Notes;
use crate::segment_db::SegmentDb;
use crate::wire::{Fields, put_text};
use crate::{Error, LogId, Offset, salvage};

/// What a directory on its way out ends in.
pub(crate) const DELETED: &str = ".deleted";
/// What the name of a segment that was set aside continues with; the time in ms follows.
pub(crate) const DAMAGED: &str = ".damaged-";

const HEADER: FileKind = FileKind {
    magic: *b"bekk seg",
    version: 1,
};
const SUMMARY: FileKind = FileKind {
    magic: *b"bekk end",
    version: 1,
};

/// What a segment is: file `segment` in its directory, written when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log_id: LogId,
    pub(crate) topic: String,
    pub(crate) number: u64,
    pub(crate) partitions: u32,
}

/// What a sealed segment holds: file `sealed` in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) sealed_at_ms: i64,
    pub(crate) bytes: u64,
    pub(crate) ranges: Vec<Range>,
}

/// What a segment holds of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    /// The greatest timestamp; `None` if it holds no record.
    pub(crate) newest_ms: Option<i64>,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut body = self.log_id.to_bytes().to_vec();
        put_text(&mut body, &self.topic);
        body.extend_from_slice(&self.number.to_be_bytes());
        body.extend_from_slice(&self.partitions.to_be_bytes());
        body
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(body);
        Some(Self {
            log_id: LogId::from_bytes(fields.bytes()?),
            topic: fields.text()?.to_owned(),
            number: fields.u64()?,
            partitions: fields.u32()?,
        })
    }

    /// Notes in the directory of a segment what it is.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Error> {
        HEADER.write(&dir.join("segment"), &self.encode())
    }

    /// Reads what the segment in `dir` is.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("segment");
        let damaged = |detail| {
            Err(Error::Corrupt {
                path: path.clone(),
                detail,
            })
        };
        match HEADER.read(&path) {
            Ok(body) => match Self::decode(&body) {
                Some(header) => Ok(header),
                None => damaged("it is malformed".to_owned()),
            },
            Err(ReadFailure::Missing) => damaged("it is missing".to_owned()),
            Err(ReadFailure::Damaged(detail)) => damaged(detail),
            Err(ReadFailure::Failed(error)) => Err(error),
        }
    }
}

impl Summary {
    fn encode(&self) -> Vec<u8> {
        let mut body = self.sealed_at_ms.to_be_bytes().to_vec();
        body.extend_from_slice(&self.bytes.to_be_bytes());
        for range in &self.ranges {
            body.extend_from_slice(&range.start.get().to_be_bytes());
            body.extend_from_slice(&range.end.get().to_be_bytes());
            body.push(u8::from(range.newest_ms.is_some()));
            body.extend_from_slice(&range.newest_ms.unwrap_or(0).to_be_bytes());
        }
        body
    }

    fn decode(body: &[u8], partitions: u32) -> Option<Self> {
        let mut fields = Fields::of(body);
        let sealed_at_ms = fields.i64()?;
        let bytes = fields.u64()?;
        let ranges = (0..partitions).map(|_| {
            let start = Offset::new(fields.u64()?);
            let end = Offset::new(fields.u64()?);
            let has_newest = fields.u8()? == 1;
            let newest_ms = fields.i64()?;
            Some(Range {
                start,
                end,
                newest_ms: has_newest.then_some(newest_ms),
            })
        });
        let ranges = ranges.collect::<Option<Vec<_>>>()?;
        Some(Self {
            sealed_at_ms,
            bytes,
            ranges,
        })
    }

    /// Reads what the segment in `dir` holds; `None` if it is not sealed, or its file is damaged and must be
    /// made again.
    pub(crate) fn read(dir: &Path, partitions: u32) -> Result<Option<Self>, Error> {
        match SUMMARY.read(&dir.join("sealed")) {
            Ok(body) => Ok(Self::decode(&body, partitions)),
            Err(ReadFailure::Missing) => Ok(None),
            Err(ReadFailure::Damaged(detail)) => {
                tracing::warn!(path = %dir.join("sealed").display(), detail, "segment summary is damaged and made again");
                Ok(None)
            }
            Err(ReadFailure::Failed(error)) => Err(error),
        }
    }
}

/// A segment of a topic, open or not.
pub(crate) struct Segment {
    number: u64,
    dir: PathBuf,
    /// Where each partition stood when it was begun.
    starts: Vec<Offset>,
    db: Mutex<Option<Arc<SegmentDb>>>,
    summary: OnceLock<Summary>,
    /// What it notes of its batches, kept when one of them turned out to be another.
    notes: OnceLock<Vec<Notes>>,
    /// Set when its directory is another segment's, or nobody's: it was created again, or set aside.
    is_gone: AtomicBool,
}

impl Segment {
    /// A sealed segment, closed.
    pub(crate) fn sealed(number: u64, dir: PathBuf, summary: Summary) -> Self {
        Self {
            number,
            dir,
            starts: summary.ranges.iter().map(|range| range.start).collect(),
            db: Mutex::new(None),
            summary: OnceLock::from(summary),
            notes: OnceLock::new(),
            is_gone: AtomicBool::new(false),
        }
    }

    /// A segment that is written to, or was until now.
    pub(crate) fn unsealed(
        number: u64,
        dir: PathBuf,
        starts: Vec<Offset>,
        db: Arc<SegmentDb>,
    ) -> Self {
        Self {
            number,
            dir,
            starts,
            db: Mutex::new(Some(db)),
            summary: OnceLock::new(),
            notes: OnceLock::new(),
            is_gone: AtomicBool::new(false),
        }
    }

    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn starts(&self) -> &[Offset] {
        &self.starts
    }

    pub(crate) fn start(&self, partition: u32) -> Offset {
        self.starts[partition as usize]
    }

    pub(crate) fn summary(&self) -> Option<&Summary> {
        self.summary.get()
    }

    /// The database, opened if it is not.
    pub(crate) fn db(&self) -> Result<Arc<SegmentDb>, Error> {
        let mut slot = self.slot();
        if let Some(db) = &*slot {
            return Ok(Arc::clone(db));
        }
        if self.is_gone.load(Ordering::Acquire) {
            return Err(Error::Corrupt {
                path: self.dir.clone(),
                detail: "the segment has been replaced".to_owned(),
            });
        }
        let partitions = u32::try_from(self.starts.len()).expect("at most 1,024 partitions");
        let db = Arc::new(open_db(&self.dir, partitions)?);
        if let Some(summary) = self.summary() {
            self.check(&db, summary).inspect_err(|_| {
                self.notes.get_or_init(|| db.notes());
            })?;
        }
        *slot = Some(Arc::clone(&db));
        Ok(db)
    }

    /// Checks that a sealed segment's database ends where its summary does, and holds its own batches.
    fn check(&self, db: &SegmentDb, summary: &Summary) -> Result<(), Error> {
        for (partition, range) in (0..).zip(&summary.ranges) {
            let found = db.end(partition)?.unwrap_or(range.start);
            if found != range.end {
                return Err(Error::Corrupt {
                    path: self.dir.clone(),
                    detail: format!(
                        "partition {partition} ends at {found} and not at {}",
                        range.end
                    ),
                });
            }
        }
        db.check_ends()
    }

    /// What it notes of the batches of each partition, if it was open until now.
    pub(crate) fn notes(&self) -> Vec<Notes> {
        match self.notes.get() {
            Some(notes) => notes.clone(),
            None => self
                .slot()
                .as_ref()
                .map(|db| db.notes())
                .unwrap_or_default(),
        }
    }

    /// Closes the database, once those who use it are done; nobody opens it meanwhile. The caller uses none.
    pub(crate) fn close(&self) {
        close_slot(&mut self.slot());
    }

    /// Writes everything into tables, closes the database, frees its journal and notes what it holds. Says
    /// whether that is done; if not, it may be tried again.
    pub(crate) fn seal(&self, now_ms: i64) -> Result<bool, Error> {
        let db = self.db()?;
        if !db.flush()? {
            return Ok(false);
        }
        let ranges = ranges(&db, &self.starts)?;
        drop(db);
        let mut slot = self.slot();
        close_slot(&mut slot);
        let summary = write_summary(&self.dir, now_ms, ranges)?;
        // Nothing else sets it, and it holds the same.
        let _ = self.summary.set(summary);
        Ok(true)
    }

    /// Renames the directory of a segment that is no longer used, so that its end says why.
    pub(crate) fn rename_away(&self, ending: &str) -> Result<PathBuf, Error> {
        let mut slot = self.slot();
        close_slot(&mut slot);
        rename_away(&self.dir, ending)
    }

    /// Closes the database for good and lets `replace` put something else in its directory; nobody has it open
    /// meanwhile, or afterwards. The caller uses none.
    pub(crate) fn give_up<T>(
        &self,
        replace: impl FnOnce(&Path) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot = self.slot();
        close_slot(&mut slot);
        let replaced = replace(&self.dir)?;
        self.is_gone.store(true, Ordering::Release);
        Ok(replaced)
    }

    /// As [`Self::give_up`], but only if `replace` has put something else there, which it says.
    pub(crate) fn give_up_if<T>(
        &self,
        replace: impl FnOnce(&Path) -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let mut slot = self.slot();
        close_slot(&mut slot);
        let replaced = replace(&self.dir)?;
        if replaced.is_some() {
            self.is_gone.store(true, Ordering::Release);
        }
        Ok(replaced)
    }

    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        self.slot().is_some()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<SegmentDb>>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the last handle of a database. fjall unlocks the directory with the last one, wherever that is, so
/// that the others are waited for; they live as long as one read.
fn close_slot(slot: &mut Option<Arc<SegmentDb>>) {
    let Some(mut db) = slot.take() else {
        return;
    };
    loop {
        match Arc::try_unwrap(db) {
            Ok(last) => return drop(last),
            Err(shared) => db = shared,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Opens the database of the segment in `dir`. Until it is open, nothing that a table holds is lost.
pub(crate) fn open_db(dir: &Path, partitions: u32) -> Result<SegmentDb, Error> {
    salvage::keep(dir);
    let db = SegmentDb::open(&db_dir(dir), partitions)?;
    salvage::forget(dir)?;
    Ok(db)
}

/// What a segment's database holds of each partition.
pub(crate) fn ranges(db: &SegmentDb, starts: &[Offset]) -> Result<Vec<Range>, Error> {
    let ranges = (0..).zip(starts).map(|(partition, start)| {
        Ok(Range {
            start: *start,
            end: db.end(partition)?.unwrap_or(*start),
            newest_ms: db.newest_ms(partition),
        })
    });
    ranges.collect()
}

/// Frees the journal of a segment whose database is closed and has written everything into tables, and notes
/// what it holds.
pub(crate) fn write_summary(
    dir: &Path,
    sealed_at_ms: i64,
    ranges: Vec<Range>,
) -> Result<Summary, Error> {
    empty_journal(&db_dir(dir))?;
    let summary = Summary {
        sealed_at_ms,
        bytes: disk_bytes(dir)?,
        ranges,
    };
    SUMMARY.write(&dir.join("sealed"), &summary.encode())?;
    Ok(summary)
}

pub(crate) fn rename_away(dir: &Path, ending: &str) -> Result<PathBuf, Error> {
    let mut name = dir.as_os_str().to_owned();
    name.push(ending);
    let renamed = PathBuf::from(name);
    fs::rename(dir, &renamed).map_err(|source| io_error("rename", dir, source))?;
    files::sync_parent(dir)?;
    Ok(renamed)
}

/// Removes a directory that was renamed for it.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    fs::remove_dir_all(dir).map_err(|source| io_error("remove", dir, source))
}

pub(crate) fn db_dir(dir: &Path) -> PathBuf {
    dir.join("db")
}

/// The name of a segment's directory.
pub(crate) fn dir_name(number: u64) -> String {
    format!("{number:010}")
}

/// Makes a new segment under a temporary name, durably, and gives it its own; a crash leaves either nothing
/// or all of it.
pub(crate) fn create(topic_dir: &Path, header: &Header) -> Result<PathBuf, Error> {
    let dir = topic_dir.join(dir_name(header.number));
    let temporary = files::temporary_name(&dir);
    match fs::remove_dir_all(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &temporary, error));
        }
        _ => {}
    }
    files::create_dir(&temporary)?;
    header.write(&temporary)?;
    SegmentDb::create(&db_dir(&temporary), header.partitions)?;
    finish(&temporary, &dir)?;
    Ok(dir)
}

/// Gives a closed database, made under a temporary name, its own, durably.
pub(crate) fn finish(temporary: &Path, path: &Path) -> Result<(), Error> {
    // fjall does not fsync all of the directories it makes.
    walk(temporary, &mut |entry, is_dir| {
        if is_dir {
            files::sync_dir(entry)
        } else {
            Ok(())
        }
    })?;
    files::sync_dir(temporary)?;
    fs::rename(temporary, path).map_err(|source| io_error("rename", temporary, source))?;
    files::sync_parent(path)
}

/// Frees the journal of a closed database that has written everything into tables. An empty journal is what
/// fjall itself has after it has begun a new one.
fn empty_journal(db_dir: &Path) -> Result<(), Error> {
    let journals = journals(db_dir)?;
    let [journal] = journals.as_slice() else {
        return Ok(());
    };
    File::options()
        .write(true)
        .open(journal)
        .and_then(|file| {
            file.set_len(0)?;
            file.sync_all()
        })
        .map_err(|source| io_error("empty", journal, source))
}

/// The journals of a database, in no order.
pub(crate) fn journals(db_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = || {
        fs::read_dir(db_dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()
    };
    let mut paths = list().map_err(|source| io_error("list", db_dir, source))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    Ok(paths)
}

/// What a directory takes on disk in bytes.
fn disk_bytes(dir: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    walk(dir, &mut |entry, is_dir| {
        if !is_dir {
            let metadata = fs::metadata(entry);
            bytes += metadata
                .map_err(|source| io_error("read", entry, source))?
                .len();
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Calls `each` with everything below a directory and whether it is a directory.
fn walk(dir: &Path, each: &mut impl FnMut(&Path, bool) -> Result<(), Error>) -> Result<(), Error> {
    let list = || {
        fs::read_dir(dir)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.path(), entry.file_type()?.is_dir()))
            })
            .collect::<io::Result<Vec<_>>>()
    };
    for (path, is_dir) in list().map_err(|source| io_error("list", dir, source))? {
        if is_dir {
            walk(&path, each)?;
        }
        each(&path, is_dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            log_id: LogId::random(),
            topic: "events".to_owned(),
            number: 7,
            partitions: 2,
        }
    }

    #[test]
    fn a_new_segment_says_what_it_is_and_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let header = header();
        // What an earlier attempt left is in nobody's way.
        fs::create_dir_all(dir.path().join("0000000007.tmp/db/keyspaces")).unwrap();
        let path = create(dir.path(), &header).unwrap();
        assert_eq!(path, dir.path().join("0000000007"));
        assert_eq!(Header::read(&path).unwrap(), header);
        assert_eq!(Summary::read(&path, 2).unwrap(), None);
        let db = SegmentDb::open(&db_dir(&path), 2).unwrap();
        assert_eq!(db.begun_at_ms().unwrap(), None);
        db.check_ends().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_summary_comes_back() {
        let range = |start, end, newest_ms| Range {
            start: Offset::new(start),
            end: Offset::new(end),
            newest_ms,
        };
        let summary = Summary {
            sealed_at_ms: 5,
            bytes: 7,
            ranges: vec![range(1, 9, Some(-3)), range(4, 4, None)],
        };
        let body = summary.encode();
        assert_eq!(Summary::decode(&body, 2), Some(summary));
        assert_eq!(Summary::decode(&body, 3), None);
        assert_eq!(Header::decode(&header().encode()[1..]), None);
    }

    #[test]
    fn a_database_is_closed_once_its_users_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = create(dir.path(), &header()).unwrap();
        let db = Arc::new(SegmentDb::open(&db_dir(&path), 2).unwrap());
        let segment = Segment::unsealed(7, path, vec![Offset::ZERO; 2], Arc::clone(&db));
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| segment.close());
            std::thread::sleep(Duration::from_millis(20));
            assert!(!closing.is_finished());
            drop(db);
            closing.join().unwrap();
        });
        // The directory is free again at once.
        segment.db().unwrap();
    }
}
