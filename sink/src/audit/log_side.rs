//! What the log says: each record as the sink would send it.

use std::collections::HashMap;
use std::sync::Arc;

use bekk_log::Offset;
use bekk_stream::{Body, FileId, Payload};
use parking_lot::Mutex;

use super::buckets::{Buckets, put_bytes};
use super::canonical::{Columns, fields};
use super::{Audit, DeepAudit, FindingKind, as_read, compare, ends_of};
use crate::Error;
use crate::batch::{Batch, Row};
use crate::meta_cache::MetaCache;
use crate::prepare::{Bounds, prepare, read as read_log};
use crate::session::Session;
use crate::target::{ColumnSet, is_of_former_columns};

/// How much is taken from the log at once.
const RECORDS_MAX: usize = 32_768;
const BYTES_MAX: usize = 4 << 20;
/// Most ranges of a file's records that are remembered to find repeated ones.
const RANGES_MAX: usize = 100_000;

pub(super) const SIDE: &str = "log";

/// Placeholder for the list of columns of a record that deletes its row.
pub(super) const DELETION: u32 = u32::MAX;

/// Reads the log up to the snapshot's offsets, and returns the lists of columns that its records have.
pub(super) async fn read(
    audit: &Audit<'_>,
    session: &Session,
    meta: &Mutex<MetaCache>,
    buckets: usize,
    deep: &mut DeepAudit,
) -> Result<Vec<Columns>, Error> {
    let topic = &audit.stream().name;
    let ends = ends_of(audit.log, topic)?.unwrap_or_default();
    let mut side = Side {
        audit,
        session,
        log_id: audit.log.log_id().to_string(),
        buckets: Buckets::create(audit.work, SIDE, buckets),
        sets: Vec::new(),
        columns: Vec::new(),
        readers: Vec::new(),
        entry: Vec::new(),
    };
    let mut seen: HashMap<FileId, Seen> = HashMap::new();
    for (partition, next) in &audit.snapshot.next {
        let found = ends.iter().find(|ends| ends.partition == *partition);
        let (start, end) = found.map_or((0, 0), |ends| (ends.start.get(), ends.end.get()));
        // If the log ends before that, it was replaced, which is reported.
        let next = &end.min(*next);
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
                    "an open transaction hides some records of the log; try again when it has ended",
                ));
            };
            deep.records += (batch.rows.len() + batch.dead.len()) as u64;
            deep.dead += batch.dead.len() as u64;
            side.take(*partition, &batch, (meta, deep)).await?;
            from = batch.next;
        }
    }
    for (id, seen) in seen {
        let path = meta.lock().file(audit.log, id)?;
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
    session: &'a Session,
    log_id: String,
    buckets: Buckets<'a>,
    sets: Vec<Arc<ColumnSet>>,
    columns: Vec<Columns>,
    /// For each list of columns, what the server must read of them.
    readers: Vec<Option<as_read::InputFunctions>>,
    entry: Vec<u8>,
}

impl Side<'_> {
    async fn take(
        &mut self,
        partition: u32,
        batch: &Batch,
        (meta, deep): (&Mutex<MetaCache>, &mut DeepAudit),
    ) -> Result<(), Error> {
        let letters = self.letters(partition, batch).await?;
        for dead in &batch.dead {
            if letters.contains_key(&dead.offset) {
                continue;
            }
            // Under the columns that the stream had then, it was a row.
            if is_of_former_columns(&dead.reason, &dead.detail) {
                deep.of_former_columns += 1;
                deep.dead -= 1;
            } else {
                deep.without_letter += 1;
                let at = (partition, dead.offset);
                compare::note_record(self.audit, meta, FindingKind::NoLetter, at, deep)?;
            }
        }
        let Some(set) = &batch.columns else {
            return Ok(());
        };
        let is_row = |row: &&Row| !letters.get(&row.offset).is_some_and(|is_kept| *is_kept);
        let rows: Vec<&Row> = batch.rows.iter().filter(is_row).collect();
        deep.dead += (batch.rows.len() - rows.len()) as u64;
        let Some(deletion) = &batch.deletion else {
            return self.push_rows(partition, batch, set, &rows).await;
        };
        // In log order: a later record of a key takes the place of an earlier one.
        for run in rows.chunk_by(|left, right| left.is_deletion == right.is_deletion) {
            let set = if run[0].is_deletion {
                &deletion.columns
            } else {
                set
            };
            self.push_rows(partition, batch, set, run).await?;
        }
        Ok(())
    }

    /// Writes down what some rows of a list of columns say, or that rows with those keys are deleted.
    async fn push_rows(
        &mut self,
        partition: u32,
        batch: &Batch,
        set: &Arc<ColumnSet>,
        rows: &[&Row],
    ) -> Result<(), Error> {
        let number = self.number_of(set).await?;
        let columns = &self.columns[number];
        let fields_of = |row: &Row| fields(batch.tuple(row)).unwrap_or_default();
        let read = match &self.readers[number] {
            None => Vec::new(),
            Some(reader) => {
                let texts = rows
                    .iter()
                    .map(|row| as_read::texts_of(columns, &fields_of(row)));
                reader
                    .read(self.session, &texts.collect::<Vec<_>>())
                    .await?
            }
        };
        for (at, row) in rows.iter().enumerate() {
            let mut values = fields_of(row);
            let as_read = read.get(at);
            for (column, text) in columns
                .read
                .iter()
                .zip(as_read.iter().flat_map(|row| &row.texts))
            {
                values[column.at] = text.as_deref().map(str::as_bytes);
            }
            let content = columns.content_hash(&values);
            let hash = match self.audit.target.is_keyed() {
                true => columns.key_hash(&values, |at| as_read?.alike[at].clone()),
                false => content,
            };
            self.entry.clear();
            self.entry.extend_from_slice(&hash.to_le_bytes());
            let number = match row.is_deletion {
                true => DELETION,
                false => u32::try_from(number).expect("a log has few schemas"),
            };
            self.entry.extend_from_slice(&number.to_le_bytes());
            self.entry.extend_from_slice(&partition.to_le_bytes());
            self.entry.extend_from_slice(&row.offset.to_le_bytes());
            self.entry.extend_from_slice(&content.to_le_bytes());
            put_bytes(&mut self.entry, batch.version_of(row));
            self.buckets.push(hash, &self.entry)?;
        }
        Ok(())
    }

    /// The dead letters of a batch's records, by offset, and whether their records are no rows of the table still.
    async fn letters(&self, partition: u32, batch: &Batch) -> Result<HashMap<u64, bool>, Error> {
        let (topic, group) = (&self.audit.stream().name, &self.audit.group);
        let rows = self
            .session
            .client
            .query(
                "SELECT log_offset, resolution IS NULL OR resolution IN ('discarded', 'superseded')
                   FROM bekk.dead_letters
                  WHERE group_name = $1 AND topic = $2 AND partition = $3 AND log_offset >= $4 AND log_offset < $5
                    AND log_id = $6::text::uuid",
                &[
                    group,
                    topic,
                    &partition.cast_signed(),
                    &batch.from.cast_signed(),
                    &batch.next.cast_signed(),
                    &self.log_id,
                ],
            )
            .await
            .map_err(|error| Error::postgres("read dead letters", &error))?;
        let letters = rows.iter();
        Ok(letters
            .map(|row| (row.get::<_, i64>(0).cast_unsigned(), row.get(1)))
            .collect())
    }

    async fn number_of(&mut self, set: &Arc<ColumnSet>) -> Result<usize, Error> {
        let known = self.sets.iter().position(|known| Arc::ptr_eq(known, set));
        if let Some(at) = known {
            return Ok(at);
        }
        let columns = Columns::new(self.audit.target, &set.names);
        let reader =
            as_read::InputFunctions::new(self.session, self.audit.target, &columns).await?;
        self.sets.push(Arc::clone(set));
        self.columns.push(columns);
        self.readers.push(reader);
        Ok(self.sets.len() - 1)
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
