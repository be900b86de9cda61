//! A number of events, in a number of files.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::{SignedDuration, Timestamp};

use crate::shop::Shop;
use crate::{Error, Events, HEADER, Written};

/// When the first event of generated files happens: 2026-01-01T00:00:00Z.
const FIRST_TIME: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// How much is put together before it is written, and between two looks at `stop`.
const CHUNK_ROWS: u64 = 4_096;

/// What files to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Which events.
    pub events: Events,
    /// The directory; made if it is missing.
    pub out: PathBuf,
    /// How many events in all.
    pub rows: u64,
    /// In how many files, whose numbers of events differ by one at most.
    pub files: u32,
}

/// Writes files `events-<seed>-<number>.csv`, one after the other; `on_file` hears of each. The same
/// plan gives the same bytes, and replaces the files it wrote before.
///
/// When `stop` is set, the file begun is given up, and what was completed is returned.
///
/// # Errors
///
/// A plan that cannot be, or [`Error::Io`].
pub fn generate_files(
    plan: &Plan,
    stop: &AtomicBool,
    mut on_file: impl FnMut(&Path, Written),
) -> Result<Written, Error> {
    if plan.files == 0 || u64::from(plan.files) > plan.rows.max(1) {
        return Err(Error::TooManyFiles {
            rows: plan.rows,
            files: plan.files,
        });
    }
    let mut shop = Shop::new(&plan.events)?;
    let mut time = FIRST_TIME;
    let mut total = Written::default();
    let files = u64::from(plan.files);
    let width = files.to_string().len().max(4);
    fs::create_dir_all(&plan.out).map_err(Error::io("make", &plan.out))?;
    for number in 1..=files {
        let rows = plan.rows / files + u64::from(number <= plan.rows % files);
        let name = format!("events-{}-{number:0width$}.csv", plan.events.seed);
        let mut file = PartialFile::create(&plan.out, &name)?;
        while file.written.rows < rows {
            if stop.load(Ordering::Relaxed) {
                return Ok(total);
            }
            for _ in 0..CHUNK_ROWS.min(rows - file.written.rows) {
                time += SignedDuration::from_micros(shop.pause_us());
                file.push(&mut shop, time)?;
            }
            file.flush()?;
        }
        let (path, written) = file.complete()?;
        total += written;
        on_file(&path, written);
    }
    Ok(total)
}

/// A file that has its name only when it is complete, and is removed if it never is.
pub(crate) struct PartialFile {
    file: File,
    rows: csv::Writer<Vec<u8>>,
    partial: PathBuf,
    path: PathBuf,
    completed: bool,
    pub(crate) written: Written,
}

impl PartialFile {
    pub(crate) fn create(directory: &Path, name: &str) -> Result<Self, Error> {
        let partial = directory.join(format!(".{name}.partial"));
        // A file that an earlier run left, or another user's link, must not receive the rows.
        let file = match fs::remove_file(&partial) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => File::create_new(&partial),
        };
        let file = file.map_err(Error::io("make", &partial))?;
        let path = directory.join(name);
        let mut rows = csv::Writer::from_writer(Vec::new());
        rows.write_record(HEADER)
            .map_err(|error| Error::io("write", &path)(error.into()))?;
        Ok(Self {
            file,
            rows,
            partial,
            path,
            completed: false,
            written: Written {
                files: 1,
                ..Written::default()
            },
        })
    }

    pub(crate) fn push(&mut self, shop: &mut Shop, time: Timestamp) -> Result<(), Error> {
        shop.write_next(time, &mut self.rows)
            .map_err(|error| Error::io("write", &self.path)(error.into()))?;
        self.written.rows += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let empty = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(Vec::new());
        let bytes = std::mem::replace(&mut self.rows, empty)
            .into_inner()
            .expect("a Vec takes every byte");
        self.written.bytes += bytes.len() as u64;
        self.file
            .write_all(&bytes)
            .map_err(Error::io("write", &self.partial))
    }

    pub(crate) fn complete(mut self) -> Result<(PathBuf, Written), Error> {
        self.flush()?;
        fs::rename(&self.partial, &self.path).map_err(Error::io("write", &self.path))?;
        self.completed = true;
        Ok((std::mem::take(&mut self.path), self.written))
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.completed {
            // Best effort: a partial file has a name that nobody reads.
            drop(fs::remove_file(&self.partial));
        }
    }
}
