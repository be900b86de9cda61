//! Events as time goes by.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::files::PartialFile;
use crate::shop::Shop;
use crate::{Error, Events, HEADER, Written};

/// How long a stop may go unseen.
const NAP: Duration = Duration::from_millis(50);

/// A new file at every interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Which events; each run with the same seed makes the same ids.
    pub events: Events,
    /// The directory; made if it is missing.
    pub out: PathBuf,
    /// The least number of events per file.
    pub rows_min: u32,
    /// The greatest number of events per file.
    pub rows_max: u32,
    /// The time from one file to the next; the first one comes at once.
    pub interval: Duration,
}

/// Events added to one file, line by line.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Which events; each run with the same seed makes the same ids.
    pub events: Events,
    /// The file; made, with its header, if it is missing.
    pub file: PathBuf,
    /// Events per second.
    pub rate: f64,
    /// How many; without end if absent.
    pub rows: Option<u64>,
}

/// Writes a file `events-<time>-<seed>.csv` at every interval, with events of the time since the one
/// before, until `stop` is set; `on_file` hears of each.
///
/// # Errors
///
/// Bounds that cannot be, or [`Error::Io`].
pub fn generate_live(
    live: &Live,
    stop: &AtomicBool,
    mut on_file: impl FnMut(&Path, Written),
) -> Result<Written, Error> {
    if live.rows_min > live.rows_max {
        return Err(Error::BadBounds {
            min: live.rows_min,
            max: live.rows_max,
        });
    }
    let mut shop = Shop::new(&live.events)?;
    fs::create_dir_all(&live.out).map_err(Error::io("make", &live.out))?;
    let mut total = Written::default();
    let interval = SignedDuration::try_from(live.interval).unwrap_or(SignedDuration::MAX);
    let mut last = Timestamp::now()
        .checked_sub(interval)
        .unwrap_or(Timestamp::MIN);
    let mut due = Instant::now();
    while wait_until(due, stop) {
        let now = Timestamp::now();
        let rows = shop.rows_between(live.rows_min, live.rows_max);
        let name = format!(
            "events-{}-{:08x}.csv",
            now.strftime("%Y%m%dT%H%M%S%6fZ"),
            live.events.seed
        );
        let mut file = PartialFile::create(&live.out, &name)?;
        let step = now.duration_since(last) / i32::try_from(rows.max(1)).unwrap_or(i32::MAX);
        for number in 1..=rows {
            let before_end = step * i32::try_from(rows - number).unwrap_or(i32::MAX);
            file.push(&mut shop, now - before_end)?;
        }
        last = now;
        let (path, written) = file.complete()?;
        total += written;
        on_file(&path, written);
        // Not two in a row to make up for a machine that slept.
        due = (due + live.interval).max(Instant::now());
    }
    Ok(total)
}

/// Adds events to a file at a rate, each with one write and the time of that write, until there are
/// enough or `stop` is set.
///
/// # Errors
///
/// A rate that cannot be, or [`Error::Io`].
pub fn append_lines(append: &Append, stop: &AtomicBool) -> Result<Written, Error> {
    let path = &append.file;
    if !(append.rate > 0.0 && append.rate.is_finite()) {
        return Err(Error::BadRate(append.rate));
    }
    let mut shop = Shop::new(&append.events)?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(Error::io("make", directory))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .map_err(Error::io("open", path))?;
    let mut written = Written {
        files: 1,
        ..Written::default()
    };
    let mut write = |bytes: &[u8], written: &mut Written| {
        written.bytes += bytes.len() as u64;
        file.write_all(bytes).map_err(Error::io("write", path))
    };
    match begin_of_line(path)? {
        Begin::EmptyFile => write(format!("{}\n", HEADER.join(",")).as_bytes(), &mut written)?,
        Begin::InsideLine => write(b"\n", &mut written)?,
        Begin::NewLine => {}
    }
    let begin = Instant::now();
    while append.rows.is_none_or(|rows| written.rows < rows) {
        #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
        let due = Duration::try_from_secs_f64(written.rows as f64 / append.rate)
            .ok()
            .and_then(|since| begin.checked_add(since));
        if !due.is_some_and(|due| wait_until(due, stop)) {
            break;
        }
        let mut line = csv::Writer::from_writer(Vec::with_capacity(256));
        shop.write_next(Timestamp::now(), &mut line)
            .map_err(|error| Error::io("write", path)(error.into()))?;
        let line = line.into_inner().expect("a Vec takes every byte");
        write(&line, &mut written)?;
        written.rows += 1;
    }
    Ok(written)
}

/// Where an append to a file would begin.
enum Begin {
    EmptyFile,
    NewLine,
    /// The last writer was cut off; its line is ended, so that it takes no other with it.
    InsideLine,
}

fn begin_of_line(path: &Path) -> Result<Begin, Error> {
    let look = || {
        let mut file = fs::File::open(path)?;
        if file.seek(SeekFrom::End(0))? == 0 {
            return Ok(Begin::EmptyFile);
        }
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(if last == *b"\n" {
            Begin::NewLine
        } else {
            Begin::InsideLine
        })
    };
    look().map_err(Error::io("read", path))
}

/// Waits until a moment; returns whether it has come, not a stop.
fn wait_until(moment: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(NAP));
    }
}
