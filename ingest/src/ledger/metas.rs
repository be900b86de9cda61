//! `bekk.meta`: what is told there of schemas, files and their receipts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicBool;

use bekk_log::{Client, Error as LogError, RecordBuffer, Retention, Session, TopicConfig};
use bekk_stream::{FileId, FileRecord, META_TOPIC, Meta, Progress, Receipt, SchemaId, Stream};

use crate::Error;
use crate::clock::now_ms;
use crate::ledger::archive::Archived;
use crate::ledger::brief::Briefs;
use crate::ledger::scan::{Reading, Scan};
use crate::ledger::space::{Append, wait_for_space};
use crate::stats::Stats;

/// How many records of `bekk.meta` are appended at once: each can be as long as a path.
const METAS_PER_BATCH: usize = 1000;

#[derive(Default)]
pub(crate) struct Metas {
    schemas: HashSet<SchemaId>,
    /// In the order in which they were met: by the offset of the last record of each.
    pub(crate) files: BTreeMap<u64, FileRecord>,
    /// Those offsets.
    files_at: HashMap<FileId, u64>,
    /// Finished files of which nothing more is kept.
    pub(crate) archived: BTreeMap<FileId, Archived>,
    pub(crate) receipts: HashMap<FileId, Receipt>,
    pub(crate) progress: HashMap<FileId, Progress>,
    /// How far each file is if its first records are in the log.
    pub(crate) begun: HashMap<FileId, Progress>,
    /// How far the newest progress says that a file is.
    pub(crate) told: HashMap<FileId, u64>,
}

/// Makes the topics that do not exist, and checks the settings of those that do.
pub(crate) fn create_topics(log: &Client, streams: &[Stream]) -> Result<(), Error> {
    let forever = TopicConfig::new(1);
    log.create_topic(META_TOPIC, forever)
        .and_then(|_| log.check_topic(META_TOPIC, forever.retention))
        .map_err(Error::log("create topic `bekk.meta`"))?;
    for stream in streams {
        let config = TopicConfig {
            partitions: stream.partitions,
            retention: Retention {
                age: stream.retention.age,
                size: stream.retention.size,
            },
        };
        let topic = log
            .create_topic(&stream.name, config)
            .map_err(Error::log("create a topic"))?;
        if topic.config.partitions != stream.partitions {
            let (kept, wanted) = (topic.config.partitions, stream.partitions);
            tracing::warn!(
                "topic `{0}` keeps the partition count that it was made with, and `partitions = {wanted}` has no effect: \
                 write `partitions = {kept}` for stream `{0}`, or read its files again as a stream of another name (user \
                 guide: Change the number of partitions)",
                topic.name
            );
        }
        log.check_topic(&stream.name, config.retention)
            .map_err(Error::log("check the settings of a topic"))?;
    }
    Ok(())
}

/// Reads `bekk.meta`, and appends the schemas that it does not have.
pub(crate) fn read_and_complete(
    reading: Reading<'_>,
    session: &Session,
    needed: &Needed<'_>,
) -> Result<Metas, Error> {
    let Reading { log, stats, stop } = reading;
    let metas = read_metas(reading, needed)?;
    let mut missing = Vec::new();
    for stream in needed.streams {
        let schema = stream.schema();
        if !metas.schemas.contains(&schema.id()) {
            missing.push(Meta::Schema(schema.id(), schema));
        }
    }
    append_metas(log, session, &missing, stats, stop)?;
    Ok(metas)
}

/// Appends to `bekk.meta`; durable when it returns. Says `false` if told to stop while the disk was full.
///
/// # Errors
/// If the log fails.
pub(crate) fn append_metas(
    log: &Client,
    session: &Session,
    metas: &[Meta],
    stats: &Stats,
    stop: &AtomicBool,
) -> Result<bool, Error> {
    let append =
        |topic: &str, batches: &[(u32, &RecordBuffer)]| log.append(Some(session), topic, batches);
    append_metas_with(&append, metas, stats, stop)
        .map_err(Error::log("append to topic `bekk.meta`"))
}

/// The same with another way to append records.
pub(crate) fn append_metas_with(
    append: &Append<'_>,
    metas: &[Meta],
    stats: &Stats,
    stop: &AtomicBool,
) -> Result<bool, LogError> {
    let mut buffer = RecordBuffer::new();
    for metas in metas.chunks(METAS_PER_BATCH) {
        buffer.clear();
        for meta in metas {
            buffer.push(now_ms(), Some(meta.key().as_bytes()), &meta.encode());
        }
        let append = || append(META_TOPIC, &[(0, &buffer)]);
        if wait_for_space(stats, stop, append)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read_metas(reading: Reading<'_>, needed: &Needed<'_>) -> Result<Metas, Error> {
    let mut metas = Metas::default();
    let mut briefs = Briefs::default();
    let mut scan = Scan::new(reading, META_TOPIC, &[])?;
    while scan.step(|_, record| match Meta::decode(record.value) {
        Ok(Meta::Schema(id, _)) => {
            metas.schemas.insert(id);
        }
        Ok(meta) => briefs.add(&meta, record.offset.get(), needed),
        Err(error) => {
            tracing::warn!(offset = %record.offset, %error, "a record of `bekk.meta` is skipped")
        }
    })? {}
    // What is finished is skipped when the rest is read: to keep all of it until its receipt came would take much
    // memory where many files were met together.
    let (finished, first) = briefs.finished();
    if let Some(first) = first {
        let mut scan = Scan::new(reading, META_TOPIC, &[first])?;
        while scan.step(|_, record| match Meta::decode(record.value) {
            Ok(meta) if meta.file().is_some_and(|id| !finished.contains_key(&id)) => {
                metas.add(meta, record.offset.get(), needed);
            }
            _ => {}
        })? {}
    }
    let begun = metas.progress.keys().chain(metas.begun.keys()).copied();
    let begun: Vec<_> = begun.filter(|id| metas.archived.contains_key(id)).collect();
    metas.restore(reading.log, begun)?;
    metas.archived.extend(finished);
    Ok(metas)
}

/// The finished files of which more is needed than the place of their record in `bekk.meta`
pub(crate) struct Needed<'a> {
    /// Those that the checkpoint has.
    pub(crate) files: &'a HashSet<FileId>,
    /// Those that another ingest has met.
    pub(crate) ingest: &'a str,
    pub(crate) streams: &'a [Stream],
}

impl Metas {
    /// Takes the finished files of a topic back among those of which all is known: they have to be read again.
    ///
    /// # Errors
    /// If the log fails.
    pub(crate) fn recall_archived(
        &mut self,
        log: &Client,
        topic: &str,
        streams: &[Stream],
    ) -> Result<(), Error> {
        let at = streams.iter().position(|stream| stream.name == topic);
        let archived = self.archived.iter();
        let of_topic = archived.filter(|(_, archived)| at.is_some_and(|at| archived.is_of(at)));
        let of_topic: Vec<_> = of_topic.map(|(id, archived)| (*id, *archived)).collect();
        for (id, archived) in of_topic {
            if let Some((file, receipt)) = archived.look_up(log)? {
                self.files.insert(archived.file_at(), file);
                self.files_at.insert(id, archived.file_at());
                self.receipts.insert(id, receipt);
            }
            self.archived.remove(&id);
        }
        Ok(())
    }

    fn add(&mut self, meta: Meta, at: u64, needed: &Needed<'_>) {
        match meta {
            Meta::Schema(id, _) => {
                self.schemas.insert(id);
            }
            Meta::File(file) => self.add_file(file, at),
            Meta::Receipt(receipt) => self.add_receipt(receipt, at, needed),
            Meta::Progress(progress) => {
                if self.is_past(&progress) {
                    self.begun.remove(&progress.file);
                    self.told.insert(progress.file, progress.position);
                    self.progress.insert(progress.file, progress);
                }
            }
            Meta::Begun(progress) => {
                if self.is_past(&progress) {
                    self.begun.insert(progress.file, progress);
                }
            }
        }
    }

    fn add_file(&mut self, file: FileRecord, at: u64) {
        if let Some(archived) = self.archived.get_mut(&file.id) {
            archived.tell_again(&file, at);
            return;
        }
        // If a file has several records, the last one counts, with its place.
        if let Some(before) = self.files_at.insert(file.id, at) {
            self.files.remove(&before);
        }
        self.files.insert(at, file);
    }

    fn add_receipt(&mut self, receipt: Receipt, at: u64, needed: &Needed<'_>) {
        // It tells more than what was told at the beginning.
        self.begun.remove(&receipt.file);
        match self.to_archive(&receipt, at, needed) {
            Some(archived) => {
                self.progress.remove(&receipt.file);
                self.told.remove(&receipt.file);
                self.receipts.remove(&receipt.file);
                if let Some(file_at) = self.files_at.remove(&receipt.file) {
                    self.files.remove(&file_at);
                }
                self.archived.insert(receipt.file, archived);
            }
            None => {
                self.receipts.insert(receipt.file, receipt);
            }
        }
    }

    /// What is kept of a file that has a receipt, if nothing more is needed.
    fn to_archive(&self, receipt: &Receipt, at: u64, needed: &Needed<'_>) -> Option<Archived> {
        let is_further = |progress: &Progress| progress.position > receipt.bytes;
        if needed.files.contains(&receipt.file)
            || self.progress.get(&receipt.file).is_some_and(is_further)
        {
            return None;
        }
        if let Some(archived) = self.archived.get(&receipt.file) {
            return Some(archived.with_receipt(at, receipt.bytes));
        }
        let file_at = *self.files_at.get(&receipt.file)?;
        let file = self.files.get(&file_at)?;
        let stream = needed
            .streams
            .iter()
            .position(|stream| stream.name == file.stream)?;
        (file.ingest == needed.ingest)
            .then(|| Archived::new(file, stream, (file_at, at), receipt.bytes))
            .flatten()
    }

    /// Whether a file is further than its receipt tells, if it is archived.
    fn is_past(&self, progress: &Progress) -> bool {
        let archived = self.archived.get(&progress.file);
        archived.is_none_or(|archived| progress.position > archived.bytes)
    }

    /// Takes files out of the archive of which more is needed.
    pub(crate) fn restore(
        &mut self,
        log: &Client,
        ids: impl IntoIterator<Item = FileId>,
    ) -> Result<(), Error> {
        for id in ids {
            let Some(archived) = self.archived.remove(&id) else {
                continue;
            };
            if let Some((file, receipt)) = archived.look_up(log)? {
                self.add_file(file, archived.file_at());
                self.receipts.insert(id, receipt);
            }
        }
        Ok(())
    }
}
