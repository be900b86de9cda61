//! The end of a topic: the segment that is written to, and the one that comes next.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::now_ms;
use crate::group_commit::{Part, Placed, Request};
use crate::handle::Handle;
use crate::producers::{Producer, ProducerKey, Producers, SequenceCheck};
use crate::segment::db::{Beginning, Put, SegmentDb};
use crate::segment::{self, Header, Segment};
use crate::shared::Shared;
use crate::{Config, Error, Offset, batch};

/// The segment that is written to.
pub(crate) struct Writer {
    /// Where the next batch of each partition goes.
    pub(crate) ends: Vec<Offset>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) db: Handle<SegmentDb>,
    /// When its first record was written, ms; `None` if absent.
    pub(crate) begun_at_ms: Option<i64>,
    /// About how large it is.
    pub(crate) bytes: u64,
    /// Whether the next segment has been asked for.
    pub(crate) asked_for_next: bool,
    /// What the idempotent producers have sent.
    pub(crate) producers: Producers,
}

/// A segment made ahead of need.
pub(crate) struct Prepared {
    pub(crate) header: Header,
    pub(crate) dir: std::path::PathBuf,
    pub(crate) db: Handle<SegmentDb>,
}

impl Prepared {
    pub(crate) fn create(topic_dir: &Path, header: &Header) -> Result<Self, Error> {
        let dir = segment::create(topic_dir, header)?;
        let db = SegmentDb::open(&segment::db_dir(&dir), header.partitions)?;
        Ok(Self {
            header: header.clone(),
            dir,
            db: Handle::new(db),
        })
    }
}

/// Batches with their offsets given.
pub(crate) struct Group {
    puts: Vec<Put>,
    ends: Vec<Offset>,
    /// What changes about the producers.
    producers: HashMap<ProducerKey, Producer>,
    bytes: u64,
    records: u64,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.puts.is_empty()
    }
}

impl Writer {
    /// A writer to a segment that nothing was written to.
    pub(crate) fn begin(prepared: Prepared, ends: Vec<Offset>, producers: Producers) -> Self {
        let Prepared { header, dir, db } = prepared;
        let segment = Segment::unsealed(header, dir, ends.clone(), db.clone());
        Self {
            ends,
            segment: Arc::new(segment),
            db,
            begun_at_ms: None,
            bytes: 0,
            asked_for_next: false,
            producers,
        }
    }

    /// A group without batches, at the end.
    pub(crate) fn group(&self) -> Group {
        Group {
            puts: Vec::new(),
            ends: self.ends.clone(),
            producers: HashMap::new(),
            bytes: 0,
            records: 0,
        }
    }

    /// Whether the segment is full, or old, and the next record belongs into another.
    pub(crate) fn is_over(&self, config: &Config, now_ms: i64) -> bool {
        let age_ms = i64::try_from(config.segment_age.as_millis()).unwrap_or(i64::MAX);
        self.begun_at_ms.is_some_and(|begun| {
            self.bytes >= config.segment_bytes || now_ms.saturating_sub(begun) >= age_ms
        })
    }

    /// Whether the next segment should be made ready.
    pub(crate) fn is_half_full(&self, config: &Config) -> bool {
        self.bytes >= config.segment_bytes / 2
    }

    /// Writes a group, all or nothing; the process may die after that, the machine not yet.
    pub(crate) fn write(&mut self, group: Group, shared: &Shared) -> Result<(), Error> {
        let now = now_ms();
        if self.begun_at_ms.is_none() {
            self.producers.forget_idle(now);
        }
        let beginning = Beginning {
            at_ms: now,
            starts: self.segment.starts(),
            producers: &self.producers,
        };
        let first = self.begun_at_ms.is_none();
        self.db
            .write(first.then_some(&beginning), group.puts, &group.producers)?;
        self.begun_at_ms.get_or_insert(now);
        self.ends = group.ends;
        for (key, producer) in group.producers {
            self.producers.put(key, producer);
        }
        self.bytes += group.bytes;
        shared.counts.writes.fetch_add(1, Ordering::Relaxed);
        shared
            .counts
            .bytes
            .fetch_add(group.bytes, Ordering::Relaxed);
        shared
            .counts
            .records
            .fetch_add(group.records, Ordering::Relaxed);
        Ok(())
    }
}

impl Group {
    /// Gives the batches of a request their offsets; returns the first of each. `known` is what the producers
    /// had sent before this group.
    pub(crate) fn add(&mut self, request: Request, known: &Producers) -> Vec<Placed> {
        let parts = request.parts.into_iter();
        parts.map(|part| self.add_sequenced(part, known)).collect()
    }

    fn add_sequenced(&mut self, part: Part, known: &Producers) -> Placed {
        let Some(batch) = part.sequenced else {
            return Placed::At(self.add_part(part));
        };
        let key = (part.partition, batch.producer_id);
        let producer = self.producers.get(&key).or_else(|| known.get(&key));
        match Producer::judge(producer, &batch) {
            SequenceCheck::Append => {}
            SequenceCheck::Stored(offset) => return Placed::At(offset),
            SequenceCheck::Refuse(refusal) => return Placed::Refused(refusal),
        }
        let base_offset = self.ends[part.partition as usize];
        let producer = Producer::with(producer, &batch, base_offset, now_ms());
        self.producers.insert(key, producer);
        Placed::At(self.add_part(part))
    }

    fn add_part(&mut self, mut part: Part) -> Offset {
        let end = &mut self.ends[part.partition as usize];
        let base_offset = *end;
        if part.records == 0 {
            return base_offset;
        }
        *end = base_offset.plus(u64::from(part.records));
        batch::set_base_offset(&mut part.batch, base_offset);
        self.bytes += part.batch.len() as u64;
        self.records += u64::from(part.records);
        self.puts.push(Put {
            partition: part.partition,
            base_offset,
            end_offset: *end,
            max_timestamp_ms: part.max_timestamp_ms,
            batch: part.batch,
        });
        base_offset
    }
}
