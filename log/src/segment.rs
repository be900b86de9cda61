//! A segment: a part of a topic's records in a fjall database of its own.
//!
//! Keyspace `p<partition>` maps base offsets (u64) to record batches. Keyspace `meta` is written in the same
//! fjall batch as the records:
//!
//! | key | value |
//! |---|---|
//! | `b` partition u32 | the partition's end when the segment was begun u64 |
//! | `e` partition u32 | the partition's end u64 |
//! | `t` partition u32, timestamp u64 | base offset u64 of the first batch whose greatest timestamp is this |

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fjall::{Database, Keyspace, PersistMode};

use crate::batch::BatchView;
use crate::wire::Fields;
use crate::{Error, Offset, Records, database};

/// An open segment.
pub(crate) struct SegmentDb {
    path: PathBuf,
    db: Database,
    meta: Keyspace,
    partitions: Vec<Keyspace>,
    /// The greatest timestamp in each partition.
    newest_ms: Mutex<Vec<Option<i64>>>,
}

/// One record batch on its way into a segment.
pub(crate) struct Put<'a> {
    pub(crate) partition: u32,
    pub(crate) base_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) max_timestamp_ms: i64,
    pub(crate) bytes: &'a [u8],
}

/// Where and how far a read goes.
pub(crate) struct ReadLimits {
    /// Nothing at or behind this offset is read.
    pub(crate) until: Offset,
    /// The read ends at the first batch with which it would have more bytes than this, but the first.
    pub(crate) bytes_max: usize,
}

impl SegmentDb {
    /// Opens the segment in a directory, making it if there is none.
    pub(crate) fn open(path: &Path, partitions: u32) -> Result<Self, Error> {
        let open = || {
            let db = database::open(path)?;
            let meta = database::keyspace(&db, "meta")?;
            let partitions = (0..partitions)
                .map(|partition| database::keyspace(&db, &format!("p{partition}")))
                .collect::<fjall::Result<_>>()?;
            Ok((db, meta, partitions))
        };
        let (db, meta, partitions) =
            open().map_err(|error| database::store_error("open", path, error))?;
        let mut segment = Self {
            path: path.to_owned(),
            db,
            meta,
            newest_ms: Mutex::default(),
            partitions,
        };
        let newest = (0..segment.partitions.len())
            .map(|partition| segment.newest_timestamp(partition))
            .collect::<Result<_, _>>()?;
        segment.newest_ms = Mutex::new(newest);
        Ok(segment)
    }

    fn newest_timestamp(&self, partition: usize) -> Result<Option<i64>, Error> {
        let partition = u32::try_from(partition).expect("at most 1,024 partitions");
        let Some(entry) = self.meta.prefix(meta_key(b't', partition)).next_back() else {
            return Ok(None);
        };
        let key = entry
            .key()
            .map_err(|error| database::store_error("read", &self.path, error))?;
        match Fields::of(&key[5..]).i64() {
            Some(sorted) => Ok(Some(sorted ^ i64::MIN)),
            None => Err(self.corrupt("the time index is malformed")),
        }
    }

    /// Writes batches, all or none of them. They survive the process, not yet the machine.
    pub(crate) fn write(&self, puts: &[Put<'_>]) -> Result<(), Error> {
        let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
        let mut newest = self
            .newest_ms
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for put in puts {
            let partition = &self.partitions[put.partition as usize];
            batch.insert(partition, put.base_offset.get().to_be_bytes(), put.bytes);
            let end = put.end_offset.get().to_be_bytes();
            batch.insert(&self.meta, meta_key(b'e', put.partition), end);
            // Only what raises the greatest timestamp is in the index, so that its order is the offsets'.
            let newest = &mut newest[put.partition as usize];
            if newest.is_none_or(|newest| newest < put.max_timestamp_ms) {
                *newest = Some(put.max_timestamp_ms);
                let mut time_key = meta_key(b't', put.partition).to_vec();
                time_key.extend_from_slice(&sortable(put.max_timestamp_ms));
                batch.insert(&self.meta, time_key, put.base_offset.get().to_be_bytes());
            }
        }
        batch
            .commit()
            .map_err(|error| database::store_error("write", &self.path, error))
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.db
            .persist(PersistMode::SyncData)
            .map_err(|error| database::store_error("fsync", &self.path, error))
    }

    /// The end of each partition that has one.
    pub(crate) fn end(&self, partition: u32) -> Result<Option<Offset>, Error> {
        let value = self
            .meta
            .get(meta_key(b'e', partition))
            .map_err(|error| database::store_error("read", &self.path, error))?;
        match value.map(|value| Fields::of(&value).u64()) {
            None => Ok(None),
            Some(Some(end)) => Ok(Some(Offset::new(end))),
            Some(None) => Err(self.corrupt("the end of a partition is malformed")),
        }
    }

    /// Adds the batches from the one that holds `records.next_offset()` on.
    pub(crate) fn read(
        &self,
        partition: u32,
        limits: &ReadLimits,
        records: &mut Records,
    ) -> Result<(), Error> {
        let keys = &self.partitions[partition as usize];
        let from = records.next_offset();
        let mut bytes_left = limits.bytes_max;
        let mut entries = keys.range(from.get().to_be_bytes()..).peekable();
        let mut first = entries.next().map(|entry| self.entry(entry)).transpose()?;
        if first.as_ref().is_none_or(|(base, _)| *base > from) {
            // The reader stands inside a batch, or in a gap.
            let before = keys.range(..from.get().to_be_bytes()).next_back();
            if let Some((base, bytes)) = before.map(|entry| self.entry(entry)).transpose()? {
                let batch = self.batch(base, &bytes)?;
                if batch.end_offset() > from {
                    bytes_left = bytes_left.saturating_sub(bytes.len());
                    records
                        .push_batch(&batch)
                        .map_err(|detail| self.corrupt(&detail))?;
                }
            }
        }
        while let Some((base, bytes)) = first {
            if base >= limits.until || (!records.is_empty() && bytes.len() > bytes_left) {
                break;
            }
            bytes_left = bytes_left.saturating_sub(bytes.len());
            let batch = self.batch(base, &bytes)?;
            records
                .push_batch(&batch)
                .map_err(|detail| self.corrupt(&detail))?;
            first = entries.next().map(|entry| self.entry(entry)).transpose()?;
        }
        Ok(())
    }

    /// The base offset of the first batch that holds a record not before `timestamp_ms`.
    pub(crate) fn batch_for_time(
        &self,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        let mut from = meta_key(b't', partition).to_vec();
        let behind = meta_key(b't', partition + 1).to_vec();
        from.extend_from_slice(&sortable(timestamp_ms));
        let Some(entry) = self.meta.range(from..behind).next() else {
            return Ok(None);
        };
        let (_, value) = entry
            .into_inner()
            .map_err(|error| database::store_error("read", &self.path, error))?;
        match Fields::of(&value).u64() {
            Some(offset) => Ok(Some(Offset::new(offset))),
            None => Err(self.corrupt("the time index is malformed")),
        }
    }

    /// Its size on disk in bytes.
    pub(crate) fn disk_bytes(&self) -> Result<u64, Error> {
        self.db
            .disk_space()
            .map_err(|error| database::store_error("measure", &self.path, error))
    }

    fn entry(&self, entry: fjall::Guard) -> Result<(Offset, fjall::UserValue), Error> {
        let (key, value) = entry
            .into_inner()
            .map_err(|error| database::store_error("read", &self.path, error))?;
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
        Error::Corrupt {
            path: self.path.clone(),
            detail: detail.to_owned(),
        }
    }
}

fn meta_key(kind: u8, partition: u32) -> [u8; 5] {
    let mut key = [kind; 5];
    key[1..].copy_from_slice(&partition.to_be_bytes());
    key
}

/// A timestamp's bytes in an order that sorts negative ones first.
fn sortable(timestamp_ms: i64) -> [u8; 8] {
    (timestamp_ms ^ i64::MIN).to_be_bytes()
}
