//! From the log to a batch: records are read, decoded and encoded for COPY.

mod deletion;
mod key_check;

use std::sync::Arc;

use bekk_log::{Client, Offset, Record, RecordMark};
use bekk_stream::{Body, Origin, Payload, RowReader, SchemaId};
use parking_lot::Mutex;

use crate::Error;
use crate::batch::{Batch, Dedupe, KeysSeen, Row, key_prefix};
use crate::dead_letter::DeadLetter;
use crate::encode::{encode_key, encode_value};
use crate::meta_cache::{Lookup, MetaCache};
use crate::taken::{TakenBody, take};
use crate::target::{Order, Plan, RowPlan, StreamTarget, Unfit};

/// How much is read from the log at a time, in compressed bytes.
const READ_BYTES_MAX: usize = 512 * 1024;

/// Where a batch comes from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) group: &'a str,
    pub(crate) log: &'a Client,
    pub(crate) meta: &'a Mutex<MetaCache>,
    pub(crate) target: &'a StreamTarget,
    pub(crate) partition: u32,
}

/// How large a batch may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) records_max: usize,
    /// Of encoded rows and dead letters; a batch ends with the record that reaches it.
    pub(crate) bytes_max: usize,
    /// The offset up to which records may be taken.
    pub(crate) until: u64,
}

/// Takes what is there from `from` on, up to the bounds; `None` if there is nothing that can be taken yet.
pub(crate) fn prepare(
    source: Source<'_>,
    from: u64,
    bounds: Bounds,
) -> Result<Option<Batch>, Error> {
    let mut builder = Builder::new(source, from);
    builder.checks_keys = key_check::matters(source.target);
    let mut next = from;
    loop {
        let records = read(source, next)?;
        let mut last = None;
        let mut is_ended = false;
        for record in records.iter() {
            let is_behind = record.offset.get() >= bounds.until;
            if is_behind || builder.is_full(bounds) || !builder.add(&record)? {
                is_ended = true;
                break;
            }
            builder.batch.passed += record.offset.get().saturating_sub(next);
            next = record.offset.next().get();
            last = Some(record);
        }
        // Of the last one only: a mark for each record would be work on the way of all of them.
        if let Some(last) = &last {
            builder.batch.mark = Some(RecordMark::of(last));
        }
        if is_ended {
            break;
        }
        let behind = records.next_offset().get();
        builder.batch.passed += behind.saturating_sub(next);
        next = next.max(behind);
        if records.is_empty() || builder.is_full(bounds) || next >= bounds.until {
            break;
        }
    }
    if next == from {
        return Ok(None);
    }
    Ok(Some(builder.finish(next)))
}

/// Makes a batch of one record, which may be another than the log has at its offset; `None` if it cannot be taken yet.
pub(crate) fn prepare_record(
    source: Source<'_>,
    record: &Record<'_>,
) -> Result<Option<Batch>, Error> {
    let mut builder = Builder::new(source, record.offset.get());
    let is_taken = builder.add(record)?;
    Ok(is_taken.then(|| builder.finish(record.offset.next().get())))
}

/// Reads from the source's partition, from `from` on.
pub(crate) fn read(source: Source<'_>, from: u64) -> Result<bekk_log::Records, Error> {
    let topic = &source.target.stream.name;
    source
        .log
        .read(topic, source.partition, Offset::new(from), READ_BYTES_MAX)
        .map_err(|error| match error {
            bekk_log::Error::OffsetOutOfRange { start, end, .. } => Error::OutsideLog {
                group: source.group.to_owned(),
                topic: topic.clone(),
                partition: source.partition,
                next: from,
                start: start.get(),
                end: end.get(),
            },
            error => Error::log(
                format!("read {topic}/{} from {from} on", source.partition),
                error,
            ),
        })
}

/// Reads records again, at offsets in their order, and makes the dead letters of rows that were refused; their reasons
/// are the caller's to fill in. What is read is read once.
pub(crate) fn dead_letters_at(
    source: Source<'_>,
    offsets: &[u64],
) -> Result<Vec<DeadLetter>, Error> {
    let gone = |offset| DeadLetter::no_payload(offset, &[], "the record is gone".to_owned());
    let mut letters = Vec::with_capacity(offsets.len());
    while let Some(from) = offsets.get(letters.len()) {
        let records = read(source, *from)?;
        for record in records.iter() {
            let offset = record.offset.get();
            while let Some(wanted) = offsets.get(letters.len()).filter(|at| **at < offset) {
                letters.push(gone(*wanted));
            }
            if offsets.get(letters.len()) == Some(&offset) {
                letters.push(letter_of_refused(source, &record)?);
            }
        }
        let next = records.next_offset().get().max(from + 1);
        while let Some(wanted) = offsets.get(letters.len()).filter(|at| **at < next) {
            letters.push(gone(*wanted));
        }
    }
    Ok(letters)
}

fn letter_of_refused(source: Source<'_>, record: &Record<'_>) -> Result<DeadLetter, Error> {
    let offset = record.offset.get();
    let taken = match take(source.target.json.as_ref(), record) {
        Ok(taken) => taken,
        Err(fault) => return Ok(DeadLetter::no_row(record, fault)),
    };
    let payload = match &taken.body {
        TakenBody::Payload(payload) => payload,
        TakenBody::Deletion(_) => {
            let key = taken.key.as_deref().unwrap_or_default();
            return Ok(DeadLetter::of_deletion(offset, key, Unfit::default()));
        }
    };
    match Payload::decode(payload) {
        Ok(payload) => dead_letter(source, record, &payload, Unfit::default()),
        Err(error) => {
            let why = error.to_string();
            Ok(DeadLetter::no_payload(offset, record.value, why))
        }
    }
}

fn dead_letter(
    source: Source<'_>,
    record: &Record<'_>,
    payload: &Payload<'_>,
    why: Unfit,
) -> Result<DeadLetter, Error> {
    let offset = record.offset.get();
    if payload.origin == Origin::ELSEWHERE {
        return Ok(DeadLetter::of_other_producer(offset, record.value, why));
    }
    let mut meta = source.meta.lock();
    let file = meta.file(source.log, payload.origin.file)?;
    Ok(DeadLetter::of_payload(offset, file, payload, why))
}

struct Builder<'a> {
    source: Source<'a>,
    batch: Batch,
    records: usize,
    dead_bytes: usize,
    /// The plan of the last record's schema: most often the next one's too.
    plan: Option<(SchemaId, Arc<Plan>)>,
    /// With [`Order::Log`]: the keys that must not come again.
    keys_seen: Option<KeysSeen>,
    /// The parts of the key of the row at hand, in the key's order.
    key_parts: Vec<Vec<u8>>,
    version: Vec<u8>,
    /// Whether records of a schema with another key are checked for being in their partition.
    checks_keys: bool,
}

/// Where a row begins among a batch's bytes.
struct Start {
    data: usize,
    key: usize,
    is_deletion: bool,
}

impl Start {
    fn of(batch: &Batch, is_deletion: bool) -> Self {
        Self {
            data: batch.data.len(),
            key: batch.keys.len(),
            is_deletion,
        }
    }
}

impl<'a> Builder<'a> {
    fn new(source: Source<'a>, from: u64) -> Self {
        let target = source.target;
        let keyed = target.is_keyed();
        let by_key = keyed && target.order == Order::Key;
        Self {
            source,
            batch: Batch {
                from,
                next: from,
                columns: None,
                deletion: None,
                rows: Vec::new(),
                data: Vec::new(),
                keys: Vec::new(),
                winners: Vec::new(),
                deletions: Vec::new(),
                dead: Vec::new(),
                last_timestamp_ms: 0,
                mark: None,
                passed: 0,
                dedupe: by_key.then(|| {
                    Dedupe::new(target.stream.on_conflict, target.stream.newer_by.is_some())
                }),
            },
            records: 0,
            dead_bytes: 0,
            plan: None,
            keys_seen: (keyed && !by_key).then(KeysSeen::default),
            key_parts: Vec::new(),
            version: Vec::new(),
            checks_keys: false,
        }
    }

    fn is_full(&self, bounds: Bounds) -> bool {
        self.records >= bounds.records_max || self.bytes() >= bounds.bytes_max
    }

    fn bytes(&self) -> usize {
        self.batch.data.len() + self.dead_bytes
    }

    fn finish(mut self, next: u64) -> Batch {
        self.batch.next = next;
        self.batch.settle();
        self.batch
    }

    /// Adds a record; false if it has to begin the next batch, or cannot be taken yet.
    fn add(&mut self, record: &Record<'_>) -> Result<bool, Error> {
        let offset = record.offset.get();
        let taken = match take(self.source.target.json.as_ref(), record) {
            Ok(taken) => taken,
            Err(fault) => {
                self.push_dead(DeadLetter::no_row(record, fault));
                return Ok(self.count(record));
            }
        };
        let payload = match &taken.body {
            TakenBody::Payload(payload) => payload,
            TakenBody::Deletion(key) => return self.add_deletion(record, key),
        };
        let payload = match Payload::decode(payload) {
            Ok(payload) => payload,
            Err(error) => {
                self.push_dead(DeadLetter::no_payload(
                    offset,
                    record.value,
                    error.to_string(),
                ));
                return Ok(self.count(record));
            }
        };
        let Body::Row(row) = &payload.body else {
            let letter = dead_letter(self.source, record, &payload, Unfit::default())?;
            self.push_dead(letter);
            return Ok(self.count(record));
        };
        let Some(plan) = self.plan_for(payload.schema)? else {
            return Ok(false);
        };
        if self.checks_keys
            && let Plan::Rows(plan) = &*plan
            && plan.has_other_key
        {
            key_check::check(self.source, record, plan, row.clone())?;
        }
        let added = match &*plan {
            Plan::Rows(plan) => self.add_row(offset, plan, row.clone()),
            Plan::Unfit(unfit) => Err(unfit.clone()),
        };
        match added {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(unfit) => {
                let letter = dead_letter(self.source, record, &payload, unfit)?;
                self.push_dead(letter);
            }
        }
        Ok(self.count(record))
    }

    fn count(&mut self, record: &Record<'_>) -> bool {
        self.records += 1;
        self.batch.last_timestamp_ms = record.timestamp_ms;
        true
    }

    fn push_dead(&mut self, letter: DeadLetter) {
        self.dead_bytes += letter.size();
        self.batch.dead.push(letter);
    }

    /// What becomes of records with that schema; `None` as long as it cannot be known.
    fn plan_for(&mut self, id: SchemaId) -> Result<Option<Arc<Plan>>, Error> {
        if let Some((known, plan)) = &self.plan
            && *known == id
        {
            return Ok(Some(Arc::clone(plan)));
        }
        let target = self.source.target;
        let known = target.plans.lock().get(&id).cloned();
        let plan = match known {
            Some(plan) => plan,
            None => {
                let mut meta = self.source.meta.lock();
                match meta.schema(self.source.log, id)? {
                    Lookup::Found(schema) => {
                        let plan = Arc::new(Plan::new(target, &schema));
                        let mut plans = target.plans.lock();
                        plans.insert(id, Arc::clone(&plan));
                        plan
                    }
                    // Lost with damaged records; the configured columns have the same id only if they are the same.
                    Lookup::Missing if target.stream.schema().id() == id => {
                        let plan = Arc::new(Plan::new(target, &target.stream.schema()));
                        let mut plans = target.plans.lock();
                        plans.insert(id, Arc::clone(&plan));
                        plan
                    }
                    Lookup::Missing if has_gaps(self.source.log)? => {
                        return Err(Error::SchemaLost {
                            stream: target.stream.name.clone(),
                            schema: id.to_string(),
                        });
                    }
                    // Not remembered: a schema that comes later makes later records rows.
                    Lookup::Missing => Arc::new(Plan::Unfit(Unfit {
                        reason: "unknown_schema",
                        column: None,
                        detail: format!(
                            "schema {id} is not in topic `{}`",
                            bekk_stream::META_TOPIC
                        ),
                    })),
                    Lookup::KeptBack => return Ok(None),
                }
            }
        };
        self.plan = Some((id, Arc::clone(&plan)));
        Ok(Some(plan))
    }

    /// Adds a row; false if it has to begin the next batch, an error if it is none.
    fn add_row(&mut self, offset: u64, plan: &RowPlan, row: RowReader<'_>) -> Result<bool, Unfit> {
        if let Some(columns) = &self.batch.columns
            && !Arc::ptr_eq(columns, &plan.columns)
        {
            return Ok(false);
        }
        let start = Start::of(&self.batch, false);
        let encoded = self.encode_row(plan, row);
        let is_added = self.close_row(offset, start, encoded)?;
        if is_added && self.batch.columns.is_none() {
            self.batch.columns = Some(Arc::clone(&plan.columns));
        }
        Ok(is_added)
    }

    /// Notes a row that has been encoded, unless it has to begin the next batch.
    fn close_row(
        &mut self,
        offset: u64,
        start: Start,
        encoded: Result<(), Unfit>,
    ) -> Result<bool, Unfit> {
        let Start {
            data: data_start,
            key: key_start,
            is_deletion,
        } = start;
        let is_new = encoded.as_ref().is_ok_and(|()| {
            let key = &self.batch.keys[key_start..];
            let before = self.batch.rows.last();
            self.keys_seen.as_mut().is_none_or(|seen| {
                // Deletions are sent before rows.
                before.is_none_or(|row| row.is_deletion == is_deletion) && seen.insert(key)
            })
        });
        if !is_new {
            self.batch.data.truncate(data_start);
            self.batch.keys.truncate(key_start);
            return encoded.map(|()| false);
        }
        let key_len = self.batch.keys.len() - key_start;
        self.batch.keys.extend_from_slice(&self.version);
        let position = |at: usize| u32::try_from(at).expect("a batch has less than 4 GiB");
        self.batch.rows.push(Row {
            offset,
            is_deletion,
            prefix: key_prefix(&self.batch.keys[key_start..key_start + key_len]),
            key_start: position(key_start),
            key_len: position(key_len),
            version_len: position(self.version.len()),
            data_start: position(data_start),
            data_len: position(self.batch.data.len() - data_start),
        });
        Ok(true)
    }

    /// Appends the row's bytes to the batch's data and its key to the keys, and leaves its version in
    /// `self.version`.
    fn encode_row(&mut self, plan: &RowPlan, row: RowReader<'_>) -> Result<(), Unfit> {
        let columns =
            u16::try_from(plan.columns.names.len()).expect("a table has at most 1,600 columns");
        self.batch.data.extend_from_slice(&columns.to_be_bytes());
        self.version.clear();
        self.key_parts.resize_with(plan.key_parts, Vec::new);
        let mut has_null_key = false;
        let mut values = row;
        for field in &plan.fields {
            let value = match values.next() {
                Some(Ok(value)) => value,
                Some(Err(error)) => return Err(Unfit::malformed(error.to_string())),
                None => {
                    return Err(Unfit::malformed(
                        "fewer values than its schema has columns".to_owned(),
                    ));
                }
            };
            let Some(target) = field.target else {
                continue;
            };
            encode_value(&mut self.batch.data, &value, target).map_err(|refusal| Unfit {
                reason: refusal.reason,
                column: Some(field.name.clone()),
                detail: refusal.detail,
            })?;
            if let Some(part) = field.key_part {
                self.key_parts[part].clear();
                has_null_key |= !encode_key(&mut self.key_parts[part], &value, target);
            }
            if field.is_version {
                // Null is older than any version.
                self.version.push(u8::from(!value.is_null()));
                encode_key(&mut self.version, &value, target);
            }
        }
        if values.next().is_some() {
            return Err(Unfit::malformed(
                "more values than its schema has columns".to_owned(),
            ));
        }
        for part in &self.key_parts {
            self.batch.keys.extend_from_slice(part);
        }
        if has_null_key {
            // Null equals nothing, itself included: the row's position makes the key its own.
            self.batch.keys.push(0xff);
            self.batch
                .keys
                .extend_from_slice(&self.batch.rows.len().to_be_bytes());
        }
        Ok(())
    }
}

/// Whether records of the topic of schemas are lost. A Kafka cluster tells of none.
fn has_gaps(log: &Client) -> Result<bool, Error> {
    match log.gap_count(bekk_stream::META_TOPIC) {
        Ok(gaps) => Ok(gaps > 0),
        Err(bekk_log::Error::NotHere { .. } | bekk_log::Error::UnknownTopic(_)) => Ok(false),
        Err(error) => Err(Error::log("look for gaps in the log", error)),
    }
}
