//! A damaged segment made anew from the batches that can be found in its files.

use std::path::{Path, PathBuf};

use super::scan::{FoundBatch, Scan};
use crate::batch::BatchView;
use crate::files::{self, DAMAGED, io_error};
use crate::notes::Notes;
use crate::producers::{Producer, ProducerKey, Producers, Sequenced};
use crate::segment::db::{Beginning, Hole, Put, SegmentDb};
use crate::segment::{self, Header, Summary, db_dir};
use crate::{Applied, Error, Gap, Offset};

/// What a segment made anew is called until it takes the place of the damaged one.
pub(crate) const REBUILT: &str = ".rebuilt";
/// So many bytes of batches are written at once.
const WRITE_BYTES: usize = 8 << 20;

/// What is known of a damaged segment beside its files.
pub(crate) struct Known {
    pub(crate) header: Header,
    /// Where each partition begins in it.
    pub(crate) starts: Vec<Offset>,
    /// Where each partition ends in it, if that is known.
    pub(crate) ends: Option<Vec<Offset>>,
    pub(crate) sealed_at_ms: Option<i64>,
    /// Its notes on the batches of each partition, as far as they are known: a table may be another partition's.
    pub(crate) notes: Vec<Notes>,
}

/// A segment made anew, beside the damaged one.
pub(crate) struct Rebuilt {
    dir: PathBuf,
    /// What it holds, if it is sealed.
    pub(crate) summary: Option<Summary>,
    /// Offsets that no batch has, by partition.
    pub(crate) holes: Vec<(u32, Hole)>,
    pub(crate) records: u64,
    /// Whether nothing was written behind what was found.
    pub(crate) is_whole_at_end: bool,
}

/// Makes the segment in `dir` anew beside it; nothing of the damaged one is changed.
///
/// # Errors
/// If the files cannot be read, or the new ones not be written.
pub(crate) fn rebuild(dir: &Path, known: &Known, now_ms: i64) -> Result<Rebuilt, Error> {
    let scan = Scan::of(dir, known)?;
    rebuild_from(&[scan], dir, known, now_ms)
}

/// The same from the files of more than one damaged segment; of two batches for an offset the first is taken.
pub(crate) fn rebuild_from(
    scans: &[Scan],
    dir: &Path,
    known: &Known,
    now_ms: i64,
) -> Result<Rebuilt, Error> {
    let partitions: Vec<_> = (0..known.starts.len())
        .map(|partition| merged(scans, partition))
        .collect();
    let complete = renamed(dir, REBUILT);
    let temporary = files::temporary_name(&complete);
    for leftover in [&complete, &temporary] {
        if leftover.is_dir() {
            segment::remove(leftover)?;
        }
    }
    files::create_dir(&temporary)?;
    known.header.write(&temporary)?;
    SegmentDb::create(&db_dir(&temporary), &known.header)?;
    let db = SegmentDb::open(&db_dir(&temporary), known.header.partitions)?;
    write_all(&db, scans, &partitions, known, now_ms)?;
    if !db.flush()? {
        return Err(Error::Store {
            act: "rebuild segment",
            path: dir.to_owned(),
            detail: "its tables are slow to be written".to_owned(),
            full: None,
        });
    }
    let summary = match known.sealed_at_ms {
        Some(at_ms) => {
            let ranges = segment::ranges(&db, &known.starts)?;
            drop(db);
            Some(segment::write_summary(&temporary, at_ms, ranges)?)
        }
        None => None,
    };
    segment::finish(&temporary, &complete)?;
    let found = || partitions.iter().flatten();
    Ok(Rebuilt {
        dir: complete,
        summary,
        holes: holes(&partitions, known),
        is_whole_at_end: scans.iter().all(|scan| scan.is_whole_at_end),
        records: found().map(|(_, one)| one.end.get() - one.base.get()).sum(),
    })
}

impl Rebuilt {
    /// The offsets that are lost.
    pub(crate) fn gaps(&self, found_at_ms: i64, error: &Error) -> Vec<Gap> {
        let holes = self.holes.iter();
        holes
            .map(|(partition, (start, end))| Gap {
                partition: *partition,
                start: *start,
                end: *end,
                found_at_ms,
                applied: Applied::Unknown,
                reason: error.to_string(),
            })
            .collect()
    }

    /// Says what became of the damaged segment, which is kept, or not.
    pub(crate) fn report(&self, topic: &str, error: &Error, kept: Option<&Path>) {
        let lost: u64 = self
            .holes
            .iter()
            .map(|(_, (start, end))| end.get() - start.get())
            .sum();
        let (records, kept) = (self.records, kept.map(|kept| kept.display().to_string()));
        match lost {
            0 => tracing::warn!(
                topic, records, kept, %error,
                "a segment is damaged; its records are whole and were taken over into a new one"
            ),
            _ => tracing::error!(
                topic, records, lost, kept, %error,
                "a segment is damaged; the records that are whole were taken over into a new one"
            ),
        }
    }

    /// Puts the segment in the place of the damaged one, which nobody has open, and says where that is now; it
    /// goes if nothing of it can be of use any more.
    pub(crate) fn replace(
        &self,
        dir: &Path,
        keep: bool,
        now_ms: i64,
    ) -> Result<Option<PathBuf>, Error> {
        let kept = segment::rename_away(dir, &format!("{DAMAGED}{now_ms}"))?;
        take_place(&self.dir, dir)?;
        if keep {
            return Ok(Some(kept));
        }
        segment::remove(&kept)?;
        Ok(None)
    }
}

impl Rebuilt {
    /// Removes it again.
    pub(crate) fn discard(&self) -> Result<(), Error> {
        segment::remove(&self.dir)
    }

    /// Puts it where there is no segment.
    pub(crate) fn put_at(&self, dir: &Path) -> Result<(), Error> {
        take_place(&self.dir, dir)
    }
}

/// Finishes, or takes back, a replacement that a crash has interrupted; returns the segment's directory.
pub(crate) fn finish_replacing(rebuilt: &Path) -> Result<PathBuf, Error> {
    let name = rebuilt.to_string_lossy();
    let dir = PathBuf::from(name.strip_suffix(REBUILT).unwrap_or(&name));
    match dir.exists() {
        true => segment::remove(rebuilt)?,
        false => take_place(rebuilt, &dir)?,
    }
    Ok(dir)
}

fn take_place(rebuilt: &Path, dir: &Path) -> Result<(), Error> {
    std::fs::rename(rebuilt, dir).map_err(|source| io_error("rename", rebuilt, source))?;
    files::sync_parent(dir)
}

fn renamed(dir: &Path, ending: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The batches of a partition in all scans, each with the number of its scan, in order and without overlap.
fn merged(scans: &[Scan], partition: usize) -> Vec<(usize, FoundBatch)> {
    let mut all: Vec<(usize, FoundBatch)> = Vec::new();
    for (number, scan) in scans.iter().enumerate() {
        for one in scan.partitions.get(partition).into_iter().flatten() {
            let at = all.partition_point(|(_, other)| other.base < one.base);
            let fits_before = at == 0 || all[at - 1].1.end <= one.base;
            let fits_after = all.get(at).is_none_or(|(_, after)| one.end <= after.base);
            if fits_before && fits_after {
                all.insert(at, (number, one.clone()));
            }
        }
    }
    all
}

fn write_all(
    db: &SegmentDb,
    scans: &[Scan],
    partitions: &[Vec<(usize, FoundBatch)>],
    known: &Known,
    now_ms: i64,
) -> Result<(), Error> {
    let mut writer = Rewriter {
        db,
        starts: &known.starts,
        begun: false,
        begun_at_ms: now_ms,
        puts: Vec::new(),
        bytes: 0,
        producers: std::collections::HashMap::new(),
    };
    for (partition, found) in (0..).zip(partitions) {
        for (number, one) in found {
            writer.put(partition, scans[*number].read(one)?)?;
        }
    }
    if !writer.puts.is_empty() {
        writer.write()?;
    }
    Ok(())
}

struct Rewriter<'a> {
    db: &'a SegmentDb,
    starts: &'a [Offset],
    begun: bool,
    begun_at_ms: i64,
    puts: Vec<Put>,
    bytes: usize,
    producers: std::collections::HashMap<ProducerKey, Producer>,
}

impl Rewriter<'_> {
    fn put(&mut self, partition: u32, bytes: Vec<u8>) -> Result<(), Error> {
        let Ok(batch) = BatchView::parse(&bytes) else {
            return Ok(()); // the disk has read it differently before
        };
        self.begun_at_ms = self.begun_at_ms.min(batch.max_timestamp_ms().max(1));
        let (base_offset, end_offset) = (batch.base_offset(), batch.end_offset());
        let max_timestamp_ms = batch.max_timestamp_ms();
        if let (id @ 0.., epoch, first) = batch.producer() {
            let sequenced = Sequenced::new(id, epoch, first, batch.records());
            let key = (partition, id);
            let known = self.producers.get(&key);
            let with = Producer::with(known, &sequenced, base_offset, max_timestamp_ms);
            self.producers.insert(key, with);
        }
        self.bytes += bytes.len();
        self.puts.push(Put {
            partition,
            base_offset,
            end_offset,
            max_timestamp_ms,
            batch: bytes,
        });
        match self.bytes >= WRITE_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        let none = Producers::default();
        let beginning = Beginning {
            at_ms: self.begun_at_ms,
            starts: self.starts,
            producers: &none,
        };
        let first = !std::mem::replace(&mut self.begun, true);
        let puts = std::mem::take(&mut self.puts);
        self.bytes = 0;
        self.db
            .write(first.then_some(&beginning), puts, &self.producers)
    }
}

fn holes(partitions: &[Vec<(usize, FoundBatch)>], known: &Known) -> Vec<(u32, Hole)> {
    let mut holes = Vec::new();
    for (partition, found) in (0u32..).zip(partitions) {
        let mut at = known.starts[partition as usize];
        for (_, one) in found {
            if at < one.base {
                holes.push((partition, (at, one.base)));
            }
            at = one.end;
        }
        let end = known.ends.as_ref().map(|ends| ends[partition as usize]);
        if let Some(end) = end.filter(|end| at < *end) {
            holes.push((partition, (at, end)));
        }
    }
    holes
}
