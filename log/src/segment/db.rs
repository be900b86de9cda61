//! The fjall database of one segment.
//!
//! Keyspace `p<partition>` maps base offsets (u64) to record batches. Keyspace `meta` is written in the same fjall batch
//! as the records.

mod batches;
mod meta;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, PersistMode};
use parking_lot::Mutex;

pub(crate) use self::batches::{Hole, ReadLimits};
use self::meta::{
    BEGUN, IDENTITY, NOTED, marked, meta_key, note_key, producer_key, time_key, time_range,
};
use super::Header;
use crate::batch;
use crate::database::{self, store_error};
use crate::notes::Note;
use crate::producers::{Producer, ProducerKey, Producers};
use crate::wire::Fields;
use crate::{Error, Offset};

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
    /// Whether every batch below these ends has a note.
    is_noted: bool,
    /// The partitions' ends when it was opened. Batches after them, which this process has written, are not compared with
    /// their notes.
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
            is_noted: false,
            ends_at_opening: Vec::new(),
        };
        segment.is_noted = segment.meta(NOTED)?.is_some();
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
            batch.insert(&self.meta, BEGUN, beginning.at_ms.to_be_bytes());
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
        let mut newest = self.newest_ms.lock();
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
            .map_err(|error| store_error("write", &self.path, error))
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

    /// Checks that the database was made for this segment. Databases of earlier versions do not say for which.
    pub(crate) fn check_identity(&self, own: &Header) -> Result<(), Error> {
        match self.identity()? {
            Some(other) if other != *own => {
                let of_log = if other.log_id == own.log_id {
                    String::new()
                } else {
                    format!(" of log {}", other.log_id)
                };
                Err(self.corrupt(&format!(
                    "it is the database of segment {} of topic `{}`{of_log}",
                    other.number, other.topic
                )))
            }
            _ => Ok(()),
        }
    }

    /// When the segment was begun; `None` if nothing has been written to it.
    pub(crate) fn begun_at_ms(&self) -> Result<Option<i64>, Error> {
        let value = self.meta(BEGUN)?;
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
                    .ok_or_else(|| self.corrupt("its entry for a producer is malformed"))
            })
            .collect()
    }

    /// The greatest timestamp of a partition.
    pub(crate) fn newest_ms(&self, partition: u32) -> Option<i64> {
        let newest = self.newest_ms.lock();
        newest[partition as usize]
    }

    /// What it takes on disk, in bytes.
    pub(crate) fn disk_bytes(&self) -> Result<u64, Error> {
        self.db
            .disk_space()
            .map_err(|error| store_error("measure", &self.path, error))
    }

    fn newest_timestamp(&self, partition: u32) -> Result<Option<i64>, Error> {
        let range = time_range(partition);
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

    fn corrupt(&self, detail: &str) -> Error {
        corrupt(&self.path, detail)
    }
}

/// Refuses what fjall would not survive: a database without its version, which it would make anew, and names that are
/// not those of keyspaces.
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
            return Err(corrupt(
                &keyspaces,
                "it holds an entry that is not a keyspace",
            ));
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

fn partition_name(partition: u32) -> String {
    format!("p{partition}")
}
