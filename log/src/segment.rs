//! A segment of a topic: a directory with a database, a file that says what it is, and, once it is sealed, one
//! that says what it holds.

pub(crate) mod db;
mod directory;
mod header;
mod kept;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

pub(crate) use self::directory::{
    DELETED, create, db_dir, dir_name, finish, journals, remove, rename_away, write_summary,
};
pub(crate) use self::header::{Header, Range, Summary};
pub(crate) use self::kept::places;

use self::db::SegmentDb;
use crate::handle::Handle;
use crate::notes::Notes;
use crate::{Error, Offset};

/// A segment of a topic, open or not.
pub(crate) struct Segment {
    header: Header,
    dir: PathBuf,
    /// Where each partition stood when it was begun.
    starts: Vec<Offset>,
    db: Mutex<Option<Handle<SegmentDb>>>,
    summary: OnceLock<Summary>,
    /// Its notes on its batches, kept when one of these turned out to be another one.
    notes: OnceLock<Vec<Notes>>,
    /// Set when its directory is another segment's, or nobody's: it was created again, or set aside.
    is_gone: AtomicBool,
}

impl Segment {
    /// A sealed segment, closed.
    pub(crate) fn sealed(header: Header, dir: PathBuf, summary: Summary) -> Self {
        Self {
            header,
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
        header: Header,
        dir: PathBuf,
        starts: Vec<Offset>,
        db: Handle<SegmentDb>,
    ) -> Self {
        Self {
            header,
            dir,
            starts,
            db: Mutex::new(Some(db)),
            summary: OnceLock::new(),
            notes: OnceLock::new(),
            is_gone: AtomicBool::new(false),
        }
    }

    pub(crate) const fn number(&self) -> u64 {
        self.header.number
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
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
    pub(crate) fn db(&self) -> Result<Handle<SegmentDb>, Error> {
        let mut slot = self.db.lock();
        if let Some(db) = &*slot {
            return Ok(db.clone());
        }
        if self.is_gone.load(Ordering::Acquire) {
            return Err(Error::corrupt(&self.dir, "the segment has been replaced"));
        }
        let db = Handle::new(open_db(&self.dir, self.header.partitions)?);
        // Another segment's notes say nothing of this one's batches.
        db.check_identity(&self.header)?;
        if let Some(summary) = self.summary() {
            self.check(&db, summary).inspect_err(|_| {
                self.notes.get_or_init(|| db.notes());
            })?;
        }
        *slot = Some(db.clone());
        Ok(db)
    }

    /// Checks that a sealed segment's database ends where its summary does, and holds its own batches.
    fn check(&self, db: &SegmentDb, summary: &Summary) -> Result<(), Error> {
        for (partition, range) in (0..).zip(&summary.ranges) {
            let found = db.end(partition)?.unwrap_or(range.start);
            if found != range.end {
                let wanted = range.end;
                let detail = format!("partition {partition} ends at {found} and not at {wanted}");
                return Err(Error::corrupt(&self.dir, detail));
            }
        }
        db.check_ends()
    }

    /// Its notes on the batches of each partition, if it was open until now.
    pub(crate) fn notes(&self) -> Vec<Notes> {
        match self.notes.get() {
            Some(notes) => notes.clone(),
            None => self
                .db
                .lock()
                .as_ref()
                .map(|db| db.notes())
                .unwrap_or_default(),
        }
    }

    /// Closes the database, once those who use it are done; nobody opens it meanwhile. The caller uses none.
    pub(crate) fn close(&self) {
        close_slot(&mut self.db.lock());
    }

    /// Closes the database and calls `look` with its directory; nobody opens it meanwhile. The caller must hold no handle
    /// of it.
    pub(crate) fn while_closed<T>(
        &self,
        look: impl FnOnce(&Path) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot = self.db.lock();
        close_slot(&mut slot);
        look(&self.dir)
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
        let mut slot = self.db.lock();
        close_slot(&mut slot);
        if self.summary().is_some() {
            return Ok(true); // another thread was faster
        }
        let summary = write_summary(&self.dir, now_ms, ranges)?;
        // It is only set here, under the lock.
        let _ = self.summary.set(summary);
        Ok(true)
    }

    /// Renames the directory of a segment that is no longer used, so that its end says why.
    pub(crate) fn rename_away(&self, ending: &str) -> Result<PathBuf, Error> {
        let mut slot = self.db.lock();
        close_slot(&mut slot);
        rename_away(&self.dir, ending)
    }

    /// Closes the database for good and lets `replace` put something else in its directory; nobody has it open
    /// meanwhile, or afterwards. The caller uses none.
    pub(crate) fn give_up<T>(
        &self,
        replace: impl FnOnce(&Path) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot = self.db.lock();
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
        let mut slot = self.db.lock();
        close_slot(&mut slot);
        let replaced = replace(&self.dir)?;
        if replaced.is_some() {
            self.is_gone.store(true, Ordering::Release);
        }
        Ok(replaced)
    }

    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        self.db.lock().is_some()
    }
}

/// Drops the last handle of a database, which unlocks fjall's directory. It waits for the others: they live as long as one
/// read.
fn close_slot(slot: &mut Option<Handle<SegmentDb>>) {
    if let Some(db) = slot.take() {
        drop(db.into_last());
    }
}

/// Opens the database of the segment in `dir`. Until it is open, nothing that a table holds is lost.
pub(crate) fn open_db(dir: &Path, partitions: u32) -> Result<SegmentDb, Error> {
    kept::keep(dir);
    let db = SegmentDb::open(&db_dir(dir), partitions)?;
    kept::forget(dir)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_closed_once_its_users_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let header = Header::example();
        let path = create(dir.path(), &header).unwrap();
        let db = Handle::new(SegmentDb::open(&db_dir(&path), 2).unwrap());
        let segment = Segment::unsealed(header, path, vec![Offset::ZERO; 2], db.clone());
        std::thread::scope(|scope| {
            let closing = scope.spawn(|| segment.close());
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!closing.is_finished());
            drop(db);
            closing.join().unwrap();
        });
        // The directory is free again at once.
        segment.db().unwrap();
    }
}
