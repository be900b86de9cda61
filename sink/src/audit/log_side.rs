//! What the log says: each record as the sink would send it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bekk_log::Offset;
use bekk_stream::{Body, FileId, Payload};

use super::buckets::{Buckets, put_bytes};
use super::canonical::{Columns, fields};
use super::{Audit, DeepAudit};
use crate::Error;
use crate::batch::Batch;
use crate::meta_cache::MetaCache;
use crate::plan::ColumnSet;
use crate::prepare::{Bounds, prepare, read as read_log};

/// How much is taken from the log at once.
const RECORDS_MAX: usize = 32_768;
const BYTES_MAX: usize = 4 << 20;
/// Most ranges of a file's records that are remembered to find repeated ones.
const RANGES_MAX: usize = 100_000;

pub(super) const SIDE: &str = "log";

/// Reads the log up to the snapshot's offsets, and returns the lists of columns that its records have.
pub(super) fn read(
    audit: &Audit<'_>,
    meta: &Mutex<MetaCache>,
    buckets: usize,
    deep: &mut DeepAudit,
) -> Result<Vec<Columns>, Error> {
    let topic = &audit.stream().name;
    let ends = audit
        .log
        .partition_ends(topic)
        .map_err(|error| Error::log(format!("read the ends of topic `{topic}`"), error))?;
    let mut side = Side {
        audit,
        buckets: Buckets::create(audit.dir, SIDE, buckets)?,
        sets: Vec::new(),
        columns: Vec::new(),
        entry: Vec::new(),
    };
    let mut seen: HashMap<FileId, Seen> = HashMap::new();
    for (partition, next) in &audit.snapshot.next {
        let start = ends.iter().find(|ends| ends.partition == *partition);
        let start = start.map_or(0, |ends| ends.start.get());
        if start > 0 {
            deep.log_begins.push((*partition, start));
        }
        count_files(audit, meta, (*partition, start, *next), &mut seen)?;
        let source = audit.source(meta, *partition);
        let mut from = start;
        while from < *next {
            let bounds = Bounds {
                records_max: RECORDS_MAX,
                bytes_max: BYTES_MAX,
                until: *next,
            };
            let Some(batch) = prepare(source, from, bounds)? else {
                return Err(Error::Options(
                    "the log does not give all of its records now; try again when open transactions have ended",
                ));
            };
            deep.records += (batch.rows.len() + batch.dead.len()) as u64;
            deep.dead += batch.dead.len() as u64;
            side.take(*partition, &batch, deep)?;
            from = batch.next;
        }
    }
    for (id, seen) in seen {
        let path = meta
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .file(audit.log, id)?;
        let file = deep.files.entry(id).or_default();
        file.path = path;
        (file.records, file.rejects) = (seen.records, seen.rejects);
        file.repeated = seen.repeated;
    }
    side.buckets.finish()?;
    Ok(side.columns)
}

struct Side<'a> {
    audit: &'a Audit<'a>,
    buckets: Buckets,
    sets: Vec<Arc<ColumnSet>>,
    columns: Vec<Columns>,
    entry: Vec<u8>,
}

impl Side<'_> {
    fn take(&mut self, partition: u32, batch: &Batch, deep: &mut DeepAudit) -> Result<(), Error> {
        let Some(set) = &batch.columns else {
            return Ok(());
        };
        let number = self.number_of(set);
        for row in &batch.rows {
            if self
                .audit
                .snapshot
                .letters
                .contains(&(partition, row.offset))
            {
                deep.dead += 1;
                continue;
            }
            let columns = &self.columns[usize::from(number)];
            let Some(values) = fields(batch.tuple(row)) else {
                continue;
            };
            let content = columns.hash(&values, 0..values.len());
            let hash = match self.audit.target.is_keyed() {
                true => columns.hash(&values, columns.key.iter().copied()),
                false => content,
            };
            self.entry.clear();
            self.entry.extend_from_slice(&hash.to_le_bytes());
            self.entry.push(number);
            self.entry.extend_from_slice(&partition.to_le_bytes());
            self.entry.extend_from_slice(&row.offset.to_le_bytes());
            self.entry.extend_from_slice(&content.to_le_bytes());
            put_bytes(&mut self.entry, batch.version_of(row));
            self.buckets.push(hash, &self.entry)?;
        }
        Ok(())
    }

    fn number_of(&mut self, set: &Arc<ColumnSet>) -> u8 {
        let known = self.sets.iter().position(|known| Arc::ptr_eq(known, set));
        let at = known.unwrap_or_else(|| {
            let target = self.audit.target;
            let columns =
                Columns::new(&target.stream, &target.table, target.is_keyed(), &set.names);
            self.sets.push(Arc::clone(set));
            self.columns.push(columns);
            self.sets.len() - 1
        });
        u8::try_from(at).unwrap_or(u8::MAX)
    }
}

/// What has been seen of a file.
#[derive(Default)]
struct Seen {
    records: u64,
    rejects: u64,
    repeated: u64,
    /// Where its records begin and end, joined where they meet, by their beginning.
    ranges: std::collections::BTreeMap<u64, u64>,
}

impl Seen {
    /// Notes a record's range; one that lies in what is known is repeated.
    fn note(&mut self, start: u64, end: u64) {
        let before = self
            .ranges
            .range(..=start)
            .next_back()
            .map(|(s, e)| (*s, *e));
        match before {
            Some((_, known_end)) if start < known_end => {
                self.repeated += 1;
                return;
            }
            Some((known, known_end)) if known_end == start => {
                self.ranges.insert(known, end);
                self.join(known, end);
                return;
            }
            _ => {}
        }
        if self.ranges.len() < RANGES_MAX {
            self.ranges.insert(start, end);
            self.join(start, end);
        }
    }

    fn join(&mut self, start: u64, end: u64) {
        if let Some(next_end) = self.ranges.remove(&end) {
            self.ranges.insert(start, next_end);
        }
    }
}

fn count_files(
    audit: &Audit<'_>,
    meta: &Mutex<MetaCache>,
    (partition, start, next): (u32, u64, u64),
    seen: &mut HashMap<FileId, Seen>,
) -> Result<(), Error> {
    let source = audit.source(meta, partition);
    let mut at = start;
    while at < next {
        let records = read_log(source, at)?;
        for record in records.iter() {
            if record.offset >= Offset::new(next) {
                break;
            }
            let Ok(payload) = Payload::decode(record.value) else {
                continue;
            };
            let seen = seen.entry(payload.origin.file).or_default();
            seen.records += 1;
            seen.rejects += u64::from(matches!(payload.body, Body::Reject(_)));
            seen.note(payload.origin.start, payload.origin.end);
        }
        if records.next_offset().get() <= at {
            break;
        }
        at = records.next_offset().get();
    }
    Ok(())
}
