//! The fjall database of one segment.
//!
//! Keyspace `p<partition>` maps base offsets (u64) to record batches. Keyspace `meta` is written in the same
//! fjall batch as the records:
//!
//! | key | value |
//! |---|---|
//! | `a` | when the segment was begun, ms i64 |
//! | `b` partition u32 | the partition's end when the segment was begun u64 |
//! | `i` | the segment's header: log id, topic, number, partitions |
//! | `c` | empty: `c` below has every batch |
//! | `c` partition u32, base offset u64 | CRC of the batch u32, its records u32 |
//! | `e` partition u32 | the partition's end u64, CRC of its last batch u32 |
//! | `p` partition u32, producer id i64 | what the producer has sent: epoch i16, when it last sent, ms i64, then up to five batches: first sequence i32, last sequence i32, base offset u64 |
//! | `t` partition u32, timestamp i64 with its sign flipped | base offset u64, CRC of the batch u32 |
//!
//! `t` is the time index: it has an entry for each batch that raises the partition's greatest timestamp, the first one
//! always, so that its order is also that of the offsets. Each batch that is read is compared with its `c`, since its
//! table may be another partition's, or an older one. Segments of earlier versions have no `c`, and the first of them no
//! CRCs at all.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, PersistMode};

use crate::batch::{self, BatchView};
use crate::database::{self, store_error};
use crate::destination::Destination;
use crate::notes::{Note, NoteCheck, Notes};
use crate::producers::{Producer, ProducerKey, Producers};
use crate::segment::Header;
use crate::wire::Fields;
use crate::{Error, Offset};

/// Key of the segment's header, once more
const IDENTITY: &[u8] = b"i";
/// Key that says that every batch has a note
const NOTED: &[u8] = b"c";
/// How long a segment's tables may take to be written before the attempt is given up for now.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// An open segment's database.
pub(crate) struct SegmentDb {
    path: PathBuf,
    db: Database,
    meta: Keyspace,
    partitions: Vec<Keyspace>,
    /// The greatest timestamp in each partition.
    newest_ms: Mutex<Vec<Option<i64>>>,
    /// Whether every batch has a note.
    is_noted: AtomicBool,
    /// The partitions' ends when it was opened: what this process has written since is not compared with its notes.
    ends_at_opening: Vec<Offset>,
}

/// One record batch on its way into a segment.
pub(crate) struct Put {
    pub(crate) partition: u32,
    pub(crate) base_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) batch: Vec<u8>,
}

/// What the first write to a segment notes about it.
pub(crate) struct Beginning<'a> {
    pub(crate) at_ms: i64,
    pub(crate) starts: &'a [Offset],
    pub(crate) producers: &'a Producers,
}

impl Put {
    fn note(&self, crc: u32) -> Note {
        let records = self.end_offset.get() - self.base_offset.get();
        Note {
            base: self.base_offset,
            crc,
            records: u32::try_from(records).unwrap_or(u32::MAX),
        }
    }
}

/// How far a read goes.
pub(crate) struct ReadLimits {
    /// Nothing at or behind this offset is read.
    pub(crate) until: Offset,
    /// How many bytes of batches may still be read; the first of all is read in any case.
    pub(crate) bytes_left: usize,
}

/// Offsets from the first up to the second that a read passed because no record has them.
pub(crate) type Hole = (Offset, Offset);

impl SegmentDb {
    /// Makes the database of a new segment and closes it again.
    pub(crate) fn create(path: &Path, header: &Header) -> Result<(), Error> {
        let partitions = header.partitions;
        let count = partitions + 1;
        let create = || {
            let db = database::open(path, partitions)?;
            let meta = database::keyspace(&db, "meta", count)?;
            meta.insert(IDENTITY, header.encode())?;
            for partition in 0..partitions {
                database::keyspace(&db, &partition_name(partition), count)?;
            }
            db.persist(PersistMode::SyncAll)
        };
        create().map_err(|error| store_error("make segment", path, error))
    }

    /// Opens the database of a segment.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not whole.
    pub(crate) fn open(path: &Path, partitions: u32) -> Result<Self, Error> {
        check_files(path)?;
        let failed = |error| store_error("open segment", path, error);
        let db = database::open(path, partitions).map_err(failed)?;
        // fjall passes over a keyspace whose directory is missing, and would make it again.
        let count = partitions + 1;
        if db.keyspace_count() != count as usize {
            let found = db.keyspace_count();
            let detail = format!("it has {found} keyspaces and not {count}");
            return Err(corrupt(path, &detail));
        }
        let meta = database::keyspace(&db, "meta", count).map_err(failed)?;
        let keyspaces = (0..partitions)
            .map(|partition| database::keyspace(&db, &partition_name(partition), count))
            .collect::<fjall::Result<_>>()
            .map_err(failed)?;
        let mut segment = Self {
            path: path.to_owned(),
            db,
            meta,
            partitions: keyspaces,
            newest_ms: Mutex::default(),
            is_noted: AtomicBool::default(),
            ends_at_opening: Vec::new(),
        };
        let is_noted = segment.meta(NOTED)?.is_some();
        segment.is_noted = AtomicBool::new(is_noted);
        segment.ends_at_opening = (0..partitions)
            .map(|partition| Ok(segment.end(partition)?.unwrap_or(Offset::ZERO)))
            .collect::<Result<_, Error>>()?;
        let newest = (0..partitions)
            .map(|partition| segment.newest_timestamp(partition))
            .collect::<Result<_, _>>()?;
        segment.newest_ms = Mutex::new(newest);
        Ok(segment)
    }

    /// Writes batches, all or none of them. They survive the process, not yet the machine.
    pub(crate) fn write(
        &self,
        begin: Option<&Beginning<'_>>,
        puts: Vec<Put>,
        producers: &HashMap<ProducerKey, Producer>,
    ) -> Result<(), Error> {
        let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
        if let Some(beginning) = begin {
            batch.insert(&self.meta, b"a", beginning.at_ms.to_be_bytes());
            batch.insert(&self.meta, NOTED, []);
            for (partition, start) in (0..).zip(beginning.starts) {
                let key = meta_key(b'b', partition);
                batch.insert(&self.meta, key, start.get().to_be_bytes());
            }
            for (key, producer) in beginning.producers.iter() {
                batch.insert(&self.meta, producer_key(key), producer.encode());
            }
        }
        for (key, producer) in producers {
            batch.insert(&self.meta, producer_key(key), producer.encode());
        }
        let mut newest = self
            .newest_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for put in puts {
            let base = put.base_offset.get().to_be_bytes();
            let crc = batch::stored_crc(&put.batch);
            let end = marked(put.end_offset, crc);
            batch.insert(&self.meta, meta_key(b'e', put.partition), end);
            let newest = &mut newest[put.partition as usize];
            if newest.is_none_or(|newest| newest < put.max_timestamp_ms) {
                *newest = Some(put.max_timestamp_ms);
                let key = time_key(put.partition, put.max_timestamp_ms);
                batch.insert(&self.meta, key, marked(put.base_offset, crc));
            }
            let key = note_key(put.partition, put.base_offset);
            batch.insert(&self.meta, key, put.note(crc).encode());
            batch.insert(&self.partitions[put.partition as usize], base, put.batch);
        }
        drop(newest);
        batch
            .commit()
            .map_err(|error| store_error("write", &self.path, error))?;
        if begin.is_some() {
            self.is_noted.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.db
            .persist(PersistMode::SyncData)
            .map_err(|error| store_error("fsync", &self.path, error))
    }

    /// Writes everything into tables; says whether that is done, so that the journal holds nothing more.
    pub(crate) fn flush(&self) -> Result<bool, Error> {
        let failed = |error| store_error("flush", &self.path, error);
        let keyspaces = || self.partitions.iter().chain([&self.meta]);
        for keyspace in keyspaces() {
            keyspace.rotate_memtable().map_err(failed)?;
        }
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while keyspaces().any(|keyspace| keyspace.sealed_memtable_count() > 0) {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.db.persist(PersistMode::SyncAll).map_err(failed)?;
        Ok(true)
    }

    /// The header of the segment that the database was made for; `None` in those of earlier versions.
    pub(crate) fn identity(&self) -> Result<Option<Header>, Error> {
        let value = self.meta(IDENTITY)?;
        Ok(value.and_then(|value| Header::decode(&value)))
    }

    /// When the segment was begun; `None` if nothing has been written to it.
    pub(crate) fn begun_at_ms(&self) -> Result<Option<i64>, Error> {
        let value = self.meta(b"a")?;
        value
            .map(|value| Fields::of(&value).i64())
            .map(|at| at.ok_or_else(|| corrupt(&self.path, "its beginning is malformed")))
            .transpose()
    }

    /// Where a partition stood when the segment was begun.
    pub(crate) fn start(&self, partition: u32) -> Result<Option<Offset>, Error> {
        self.meta_offset(b'b', partition)
    }

    /// A partition's end; `None` if the segment has no record of it.
    pub(crate) fn end(&self, partition: u32) -> Result<Option<Offset>, Error> {
        self.meta_offset(b'e', partition)
    }

    /// Checks that each partition's first and last batch are whole, its own, and end where the partition does.
    pub(crate) fn check_ends(&self) -> Result<(), Error> {
        for (partition, keys) in (0..).zip(&self.partitions) {
            let last = keys.range::<[u8; 8], _>(..).next_back();
            let last = last.map(|entry| self.entry(entry)).transpose()?;
            let noted = self.marked(&meta_key(b'e', partition))?;
            let found = match &last {
                Some((base, bytes)) => {
                    let batch = self.batch(*base, bytes)?;
                    self.check_own(&batch, noted.and_then(|(_, crc)| crc))?;
                    Some(batch.end_offset())
                }
                None => None,
            };
            let end = noted.map(|(end, _)| end);
            if found != end {
                let text =
                    |end: Option<Offset>| end.map_or("nothing".into(), |end| end.to_string());
                return Err(self.corrupt(&format!(
                    "partition {partition} ends at {} and not at {}",
                    text(found),
                    text(end)
                )));
            }
            let first = keys.range::<[u8; 8], _>(..).next();
            if let Some((base, bytes)) = first.map(|entry| self.entry(entry)).transpose()?
                && let Some((noted, crc)) = self.first_mark(partition)?
                && noted == base
            {
                self.check_own(&self.batch(base, &bytes)?, crc)?;
            }
        }
        Ok(())
    }

    fn check_own(&self, batch: &BatchView<'_>, noted: Option<u32>) -> Result<(), Error> {
        match noted {
            Some(crc) if crc != batch.crc() => Err(self.other_batch(batch.base_offset())),
            _ => Ok(()),
        }
    }

    /// What is noted of the batches of each partition, as far as it can be read.
    pub(crate) fn notes(&self) -> Vec<Notes> {
        let partitions = 0..u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        partitions
            .map(|partition| self.notes_of(partition))
            .collect()
    }

    fn notes_of(&self, partition: u32) -> Notes {
        let in_index = time_key(partition, i64::MIN)..=time_key(partition, i64::MAX);
        let in_index = self.meta.range(in_index).map_while(|entry| {
            let (_, value) = entry.into_inner().ok()?;
            mark(&value)
        });
        let in_index = in_index.filter_map(|(base, crc)| {
            let (crc, records) = (crc?, 0);
            Some(Note { base, crc, records })
        });
        let own = self.notes_from(partition, Offset::ZERO);
        Notes::new(own.map_while(Result::ok).chain(in_index).collect())
    }

    /// The notes on a partition's batches from `from` on.
    fn notes_from(
        &self,
        partition: u32,
        from: Offset,
    ) -> impl Iterator<Item = Result<Note, Error>> + use<'_> {
        let range = note_key(partition, from)..=note_key(partition, Offset::new(u64::MAX));
        self.meta.range(range).map(|entry| {
            let (key, value) = entry
                .into_inner()
                .map_err(|error| store_error("read", &self.path, error))?;
            let base = Fields::of(&key[5..]).u64().map(Offset::new);
            let note = base.and_then(|base| Note::decode(base, &value));
            note.ok_or_else(|| self.corrupt("what it notes of a batch is malformed"))
        })
    }

    /// A check of a partition's batches from `from` on. It is made after the iterator of the batches, so that it knows
    /// all that this one sees.
    fn note_check(
        &self,
        partition: u32,
        from: Offset,
    ) -> Result<NoteCheck<impl Iterator<Item = Result<Note, Error>> + use<'_>>, Error> {
        if from >= self.ends_at_opening[partition as usize] {
            return Ok(NoteCheck::none());
        }
        let is_complete = self.is_noted.load(Ordering::Acquire);
        NoteCheck::new(self.notes_from(partition, from), is_complete)
    }

    /// Base offset and CRC of the first batch of a partition, as they were noted.
    fn first_mark(&self, partition: u32) -> Result<Option<(Offset, Option<u32>)>, Error> {
        let range = time_key(partition, i64::MIN)..=time_key(partition, i64::MAX);
        let Some(entry) = self.meta.range(range).next() else {
            return Ok(None);
        };
        let (_, value) = entry
            .into_inner()
            .map_err(|error| store_error("read", &self.path, error))?;
        match mark(&value) {
            Some(mark) => Ok(Some(mark)),
            None => Err(self.corrupt("the time index is malformed")),
        }
    }

    fn marked(&self, key: &[u8]) -> Result<Option<(Offset, Option<u32>)>, Error> {
        let value = self.meta(key)?;
        value
            .map(|value| mark(&value))
            .map(|mark| mark.ok_or_else(|| self.corrupt("a partition's end is malformed")))
            .transpose()
    }

    /// Adds the batches from the one that holds `records.next_offset()` on, up to the limits; says whether it
    /// came to `limits.until`, and which offsets it had to pass.
    pub(crate) fn read(
        &self,
        partition: u32,
        limits: &mut ReadLimits,
        records: &mut impl Destination,
    ) -> Result<(bool, Vec<Hole>), Error> {
        let keys = &self.partitions[partition as usize];
        let from = records.next_offset();
        let mut holes = Vec::new();
        let mut entries = keys.range(from.get().to_be_bytes()..);
        let mut entry = entries.next().map(|entry| self.entry(entry)).transpose()?;
        let mut check = if entry.as_ref().is_some_and(|(base, _)| *base == from) {
            self.note_check(partition, from)?
        } else {
            // The reader stands inside a batch, or in a gap.
            let before = keys.range(..from.get().to_be_bytes()).next_back();
            let before = before.map(|entry| self.entry(entry)).transpose()?;
            let base = before.as_ref().map_or(Offset::ZERO, |(base, _)| *base);
            let mut check = self.note_check(partition, base)?;
            if let Some((base, bytes)) = before {
                let batch = self.own_batch(&mut check, base, &bytes)?;
                if batch.end_offset() > from {
                    self.push(&batch, bytes.len(), limits, records)?;
                }
            }
            check
        };
        while let Some((base, bytes)) = entry.filter(|(base, _)| *base < limits.until) {
            if !records.is_empty() && bytes.len() > limits.bytes_left {
                return Ok((false, holes));
            }
            let batch = self.own_batch(&mut check, base, &bytes)?;
            if base > records.next_offset() {
                holes.push((records.next_offset(), base));
            }
            self.push(&batch, bytes.len(), limits, records)?;
            entry = entries.next().map(|entry| self.entry(entry)).transpose()?;
        }
        self.check_passed(&mut check, limits.until)?;
        Ok((true, holes))
    }

    /// A batch that is whole, and the one that was written at `base`, with none missing since the one before.
    fn own_batch<'a>(
        &self,
        check: &mut NoteCheck<impl Iterator<Item = Result<Note, Error>>>,
        base: Offset,
        bytes: &'a [u8],
    ) -> Result<BatchView<'a>, Error> {
        self.check_passed(check, base)?;
        let batch = self.batch(base, bytes)?;
        match check.is_own(&batch)? {
            true => Ok(batch),
            false => Err(self.other_batch(base)),
        }
    }

    fn check_passed(
        &self,
        check: &mut NoteCheck<impl Iterator<Item = Result<Note, Error>>>,
        to: Offset,
    ) -> Result<(), Error> {
        match check.pass_to(to)? {
            None => Ok(()),
            Some(base) => Err(self.corrupt(&format!("the batch at offset {base} is missing"))),
        }
    }

    fn other_batch(&self, base: Offset) -> Error {
        self.corrupt(&format!(
            "the batch at offset {base} is not the one that was written there"
        ))
    }

    fn push(
        &self,
        batch: &BatchView<'_>,
        bytes: usize,
        limits: &mut ReadLimits,
        records: &mut impl Destination,
    ) -> Result<(), Error> {
        limits.bytes_left = limits.bytes_left.saturating_sub(bytes);
        records
            .push_batch(batch)
            .map_err(|detail| self.corrupt(&format!("at offset {}: {detail}", batch.base_offset())))
    }

    /// Calls `each` with every batch of a partition, in order, or what is wrong with it, and its size.
    pub(crate) fn for_each_batch(
        &self,
        partition: u32,
        mut each: impl FnMut(Result<BatchView<'_>, Error>, usize),
    ) {
        let entries = self.partitions[partition as usize].range::<[u8; 8], _>(..);
        let mut check = match self.note_check(partition, Offset::ZERO) {
            Ok(check) => check,
            Err(error) => return each(Err(error), 0),
        };
        for entry in entries {
            match self.entry(entry) {
                Ok((base, bytes)) => {
                    // The caller sees by the offsets what is missing.
                    let passed = check.pass_to(base).map(|_missing| ());
                    let batch = passed.and_then(|()| self.own_batch(&mut check, base, &bytes));
                    each(batch, bytes.len());
                }
                // Behind a block that cannot be read an iterator may repeat itself without end.
                Err(error) => return each(Err(error), 0),
            }
        }
    }

    /// The base offset of the first batch that holds a record not before `timestamp_ms`.
    pub(crate) fn batch_for_time(
        &self,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let range = time_key(partition, timestamp_ms)..=time_key(partition, i64::MAX);
        let Some(entry) = self.meta.range(range).next() else {
            return Ok(None);
        };
        let (_, value) = entry
            .into_inner()
            .map_err(|error| store_error("read", &self.path, error))?;
        match Fields::of(&value).u64() {
            Some(offset) => Ok(Some(Offset::new(offset))),
            None => Err(self.corrupt("the time index is malformed")),
        }
    }

    /// What the idempotent producers have sent, up to the end of this segment.
    pub(crate) fn producers(&self) -> Result<Vec<(ProducerKey, Producer)>, Error> {
        self.meta
            .prefix(b"p")
            .map(|entry| {
                let (key, value) = entry
                    .into_inner()
                    .map_err(|error| store_error("read", &self.path, error))?;
                let mut fields = Fields::of(&key[1..]);
                let key = fields.u32().zip(fields.i64());
                key.zip(Producer::decode(&value))
                    .ok_or_else(|| self.corrupt("what it knows of a producer is malformed"))
            })
            .collect()
    }

    /// The greatest timestamp of a partition.
    pub(crate) fn newest_ms(&self, partition: u32) -> Option<i64> {
        let newest = self
            .newest_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        newest[partition as usize]
    }

    /// What it takes on disk, in bytes.
    pub(crate) fn disk_bytes(&self) -> Result<u64, Error> {
        self.db
            .disk_space()
            .map_err(|error| store_error("measure", &self.path, error))
    }

    fn newest_timestamp(&self, partition: u32) -> Result<Option<i64>, Error> {
        let range = time_key(partition, i64::MIN)..=time_key(partition, i64::MAX);
        let Some(entry) = self.meta.range(range).next_back() else {
            return Ok(None);
        };
        let key = entry
            .key()
            .map_err(|error| store_error("read", &self.path, error))?;
        match Fields::of(&key[5..]).i64() {
            Some(sorted) => Ok(Some(sorted ^ i64::MIN)),
            None => Err(self.corrupt("the time index is malformed")),
        }
    }

    fn meta_offset(&self, kind: u8, partition: u32) -> Result<Option<Offset>, Error> {
        let value = self.meta(&meta_key(kind, partition))?;
        value
            .map(|value| Fields::of(&value).u64().map(Offset::new))
            .map(|offset| offset.ok_or_else(|| self.corrupt("a partition's end is malformed")))
            .transpose()
    }

    fn meta(&self, key: &[u8]) -> Result<Option<fjall::UserValue>, Error> {
        self.meta
            .get(key)
            .map_err(|error| store_error("read", &self.path, error))
    }

    fn entry(&self, entry: fjall::Guard) -> Result<(Offset, fjall::UserValue), Error> {
        let (key, value) = entry
            .into_inner()
            .map_err(|error| store_error("read", &self.path, error))?;
        match Fields::of(&key).u64() {
            Some(base) => Ok((Offset::new(base), value)),
            None => Err(self.corrupt("a key is no offset")),
        }
    }

    fn batch<'a>(&self, base: Offset, bytes: &'a [u8]) -> Result<BatchView<'a>, Error> {
        let batch = BatchView::parse(bytes)
            .map_err(|detail| self.corrupt(&format!("at offset {base}: {detail}")))?;
        if batch.base_offset() == base {
            Ok(batch)
        } else {
            Err(self.corrupt(&format!(
                "the batch at offset {base} names {}",
                batch.base_offset()
            )))
        }
    }

    fn corrupt(&self, detail: &str) -> Error {
        corrupt(&self.path, detail)
    }
}

/// Looks for what fjall would not survive: a database without its version, which it would make anew, and
/// names that it takes for granted.
fn check_files(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        database::check_entries(path)?;
    }
    if !path.join("version").is_file() || !path.join("lock").is_file() {
        return Err(corrupt(path, "it has no version or lock file"));
    }
    let keyspaces = path.join("keyspaces");
    let entries = fs::read_dir(&keyspaces)
        .map_err(|error| corrupt(&keyspaces, &format!("it cannot be listed: {error}")))?;
    for entry in entries {
        let name = entry
            .map_err(|error| crate::files::io_error("list", &keyspaces, error))?
            .file_name();
        if name
            .to_str()
            .is_none_or(|name| name.parse::<u64>().is_err())
        {
            return Err(corrupt(&keyspaces, "it holds what is no keyspace"));
        }
    }
    Ok(())
}

fn corrupt(path: &Path, detail: &str) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        detail: detail.to_owned(),
    }
}

/// An offset and the CRC of a batch, as `meta` holds them.
fn marked(offset: Offset, crc: u32) -> [u8; 12] {
    let mut value = [0; 12];
    value[..8].copy_from_slice(&offset.get().to_be_bytes());
    value[8..].copy_from_slice(&crc.to_be_bytes());
    value
}

/// The offset of a value of `meta`, and the CRC, which earlier versions did not write.
fn mark(value: &[u8]) -> Option<(Offset, Option<u32>)> {
    let mut fields = Fields::of(value);
    let offset = Offset::new(fields.u64()?);
    Some((offset, fields.u32()))
}

fn partition_name(partition: u32) -> String {
    format!("p{partition}")
}

fn meta_key(kind: u8, partition: u32) -> [u8; 5] {
    let mut key = [kind; 5];
    key[1..].copy_from_slice(&partition.to_be_bytes());
    key
}

fn note_key(partition: u32, base: Offset) -> [u8; 13] {
    let mut key = [0; 13];
    key[..5].copy_from_slice(&meta_key(b'c', partition));
    key[5..].copy_from_slice(&base.get().to_be_bytes());
    key
}

fn producer_key((partition, producer_id): &ProducerKey) -> [u8; 13] {
    let mut key = [0; 13];
    key[..5].copy_from_slice(&meta_key(b'p', *partition));
    key[5..].copy_from_slice(&producer_id.to_be_bytes());
    key
}

fn time_key(partition: u32, timestamp_ms: i64) -> [u8; 13] {
    let mut key = [0; 13];
    key[..5].copy_from_slice(&meta_key(b't', partition));
    // With its sign flipped a timestamp sorts as its bytes do.
    key[5..].copy_from_slice(&(timestamp_ms ^ i64::MIN).to_be_bytes());
    key
}
