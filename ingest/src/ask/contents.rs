//! Files read again and compared with the log: each record that a file has before its position, as ingest takes it.
//!
//! Both sides are sums that do not depend on order, for each file and each block of its positions, so that memory does
//! not grow with the number of records. The checkpoint is loaded before the ends of the log are asked for, and only
//! records before a file's position are summed: all of those are in the log by then, also beside a running ingest.

mod file_side;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bekk_log::Client;
use bekk_stream::{Body, FileId, Payload, Reason, SchemaId, Stream};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::Error;
use crate::ask::contents::file_side::each_of_file;
use crate::file::entry::FileEntry;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::scan::{Reading, Scan};
use crate::stats::Stats;
use crate::text::notice::{Notice, NoticeKind};

/// The smallest block of a file's positions, in bytes.
const BLOCK_BYTES_MIN: u64 = 1 << 20;
/// Most blocks of a file: those of a larger file are larger.
const BLOCKS_MAX: u64 = 4096;
/// Bytes of files in which differences are looked for one by one; at least one block.
const SEARCHED_BYTES: u64 = 16 << 20;
/// Most differences that are listed.
const FINDINGS_MAX: usize = 20;

/// The result of comparing files with the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Each file that the ingest knows, by path.
    pub files: Vec<FileContent>,
    /// The first differences, by file and position.
    pub findings: Vec<ContentFinding>,
}

/// The result of comparing one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// The file.
    pub id: FileId,
    /// Its path, or the last one it had.
    pub path: PathBuf,
    /// Records that ingest counted, rejects among them.
    pub records: u64,
    /// How many of them are rejects.
    pub rejects: u64,
    /// Records of the file in the log; beside a running ingest, as many of them as it had counted.
    pub in_log: u64,
    /// Whether `records` and `in_log` differ though they must not.
    pub count_differs: bool,
    /// The outcome of reading it again.
    pub comparison: Comparison,
}

/// The outcome of reading a file again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// The log has exactly the file's records.
    Same,
    /// The log has others.
    Differs,
    /// It was not compared, for this reason.
    NotCompared(String),
}

/// A difference between a file and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentFinding {
    /// Its kind.
    pub kind: ContentKind,
    /// The file's path.
    pub path: PathBuf,
    /// The record's line.
    pub line: u64,
    /// The file position of its first byte.
    pub start: u64,
    /// Its place in the log: partition and offset.
    pub at: Option<(u32, u64)>,
}

/// The kind of a difference between a file and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKind {
    /// The log lacks the file's record.
    NotInLog,
    /// The log's record is not what the file says.
    Changed,
    /// The file has no such record, or the log has it more than once.
    NotInFile,
}

/// Records, independent of their order: those of the log less those of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    records: i64,
    hashes: u128,
}

struct Compared {
    entry: FileEntry,
    block_bytes: u64,
    blocks: BTreeMap<u64, Sum>,
    /// Records of it in the log, and how many of them begin before its position.
    in_log: u64,
    before_position: u64,
    /// Whether its position lies within one of them: it is read in a copy that was made before it had that record.
    is_cut: bool,
    /// Whether the log has records of it with other columns than the configuration has now.
    has_other_schema: bool,
    /// Where the first record begins whose quotes were not closed: where it ends depends on when it was read.
    unclosed_from: Option<u64>,
}

/// A record, as it is compared.
struct Item {
    file: FileId,
    start: u64,
    end: u64,
    line: u64,
    hash: u128,
    schema: SchemaId,
    is_unclosed: bool,
}

/// Reads the files of a stream again and compares them with the log. Nothing is written.
///
/// # Errors
/// If the checkpoint or the log cannot be read.
pub fn contents(state_dir: &Path, log: &Client, stream: &Stream) -> Result<Contents, Error> {
    let checkpoint = Checkpoint::load(&state_dir.join("checkpoint"))?.unwrap_or_default();
    let is_other_log = checkpoint.log_id != log.log_id().to_string();
    let entries = checkpoint.files.into_iter();
    let mut files: HashMap<FileId, Compared> = entries
        .filter(|entry| entry.stream == stream.name)
        .map(|entry| (entry.id, Compared::new(entry)))
        .collect();
    if files.is_empty() {
        return Ok(Contents::default());
    }
    let schema = stream.schema().id();
    let topic = log.partition_ends(&stream.name);
    let has_topic = !matches!(topic, Err(bekk_log::Error::UnknownTopic(_)));
    let mut has_beginning = true;
    if has_topic {
        each_of_log(log, stream, |_, item| {
            if let Some(file) = files.get_mut(&item.file) {
                file.take_of_log(&item, schema);
            }
        })?;
        // Retention may have removed records meanwhile.
        let ends = log.partition_ends(&stream.name);
        let ends = ends.map_err(Error::log("find the log's ends"))?;
        has_beginning = ends.iter().all(|ends| ends.start.get() == 0);
    }
    let why_not = match (has_topic, has_beginning) {
        _ if is_other_log => Some("the ingest here has read it into another log"),
        (false, _) => Some("the log has no topic of the stream any more"),
        (true, false) => Some("retention has removed the log's beginning"),
        (true, true) => None,
    };
    let mut comparisons = Vec::new();
    for (id, file) in &mut files {
        let comparison = match why_not {
            Some(why) => Comparison::NotCompared(why.to_owned()),
            None => compare(file, stream)?,
        };
        comparisons.push((*id, comparison));
    }
    let differing = |(id, comparison): &(FileId, Comparison)| {
        (*comparison == Comparison::Differs).then_some(*id)
    };
    let differing: Vec<_> = comparisons.iter().filter_map(differing).collect();
    let findings = match differing.is_empty() {
        true => Vec::new(),
        false => find(log, stream, &files, differing)?,
    };
    let told = comparisons.into_iter().map(|(id, comparison)| {
        let file = &files[&id];
        let must_agree = why_not.is_none() || !has_topic && !is_other_log;
        FileContent {
            id,
            path: file.entry.path().to_owned(),
            records: file.entry.records,
            rejects: file.entry.rejects,
            in_log: match must_agree && file.is_counted() {
                true => file.entry.records,
                false => file.in_log,
            },
            count_differs: must_agree && !file.is_counted(),
            comparison,
        }
    });
    let mut files: Vec<_> = told.collect();
    files.sort_by(|a, b| (&a.path, a.id).cmp(&(&b.path, b.id)));
    Ok(Contents { files, findings })
}

impl Compared {
    fn new(entry: FileEntry) -> Self {
        let block_bytes = entry.position.div_ceil(BLOCKS_MAX).max(BLOCK_BYTES_MIN);
        Self {
            entry,
            block_bytes,
            blocks: BTreeMap::new(),
            in_log: 0,
            before_position: 0,
            is_cut: false,
            has_other_schema: false,
            unclosed_from: None,
        }
    }

    fn block_of(&self, start: u64) -> u64 {
        start / self.block_bytes
    }

    fn take_of_log(&mut self, item: &Item, schema: SchemaId) {
        self.in_log += 1;
        if item.start >= self.entry.position {
            return;
        }
        self.before_position += 1;
        self.is_cut |= item.end > self.entry.position;
        let block = self.block_of(item.start);
        let sum = self.blocks.entry(block).or_default();
        sum.records += 1;
        sum.hashes = sum.hashes.wrapping_add(item.hash);
        self.has_other_schema |= item.schema != schema;
        if item.is_unclosed {
            let from = self.unclosed_from.unwrap_or(item.start);
            self.unclosed_from = Some(from.min(item.start));
        }
    }

    fn take_of_file(&mut self, item: &Item) {
        let block = self.block_of(item.start);
        let sum = self.blocks.entry(block).or_default();
        sum.records -= 1;
        sum.hashes = sum.hashes.wrapping_sub(item.hash);
    }

    fn differing(&self) -> impl Iterator<Item = u64> {
        let differing = self
            .blocks
            .iter()
            .filter(|(_, sum)| **sum != Sum::default());
        differing.map(|(block, _)| *block)
    }

    /// Whether ingest's count can be right: all that it had counted is in the log, and all before its position counted.
    fn is_counted(&self) -> bool {
        (self.before_position..=self.in_log).contains(&self.entry.records)
    }
}

/// Reads one file again, and takes its records from the sums of the log's.
fn compare(file: &mut Compared, stream: &Stream) -> Result<Comparison, Error> {
    let not = |why: &str| Ok(Comparison::NotCompared(why.to_owned()));
    if file.entry.position == 0 {
        return not("it has not been read, or is being read again");
    }
    if file.has_other_schema {
        return not("its records have other columns than the configuration has now");
    }
    if file.is_cut {
        return not("its copy ends within a record that was read before");
    }
    let is_superseded = |notice: &Notice| notice.kind == NoticeKind::Superseded;
    if file.entry.notices.iter().any(is_superseded) {
        return not("the log had lost records of it, which were not all appended again");
    }
    let entry = file.entry.clone();
    let is_known = match each_of_file(&entry, stream, |item| file.take_of_file(&item))? {
        Ok(is_known) => is_known,
        Err(why) => return Ok(Comparison::NotCompared(why)),
    };
    let Some(first) = file.differing().next() else {
        return Ok(Comparison::Same);
    };
    if file
        .unclosed_from
        .is_some_and(|from| file.block_of(from) <= first)
    {
        return not("it has a quote that is not closed, and grew after that record was taken");
    }
    match is_known {
        true => Ok(Comparison::Differs),
        false => not("no checksum of it is known, and it may have changed since it was read"),
    }
}

/// Finds the records that differ in the first differing blocks.
fn find(
    log: &Client,
    stream: &Stream,
    files: &HashMap<FileId, Compared>,
    mut differing: Vec<FileId>,
) -> Result<Vec<ContentFinding>, Error> {
    differing.sort_by_key(|id| files[id].entry.path());
    let mut expected: HashMap<(FileId, u64), (u64, u128)> = HashMap::new();
    let mut searched: HashMap<FileId, Vec<u64>> = HashMap::new();
    let mut left = SEARCHED_BYTES;
    for id in differing {
        let file = &files[&id];
        let blocks_max = usize::try_from(left / file.block_bytes).unwrap_or(usize::MAX);
        let blocks: Vec<u64> = file.differing().take(blocks_max.max(1)).collect();
        left = left.saturating_sub(file.block_bytes * blocks.len() as u64);
        let read = each_of_file(&file.entry, stream, |item| {
            if blocks.contains(&file.block_of(item.start)) {
                expected.insert((id, item.start), (item.line, item.hash));
            }
        })?;
        if read.is_ok() {
            searched.insert(id, blocks);
        }
        if left == 0 {
            break;
        }
    }
    expected.retain(|(id, _), _| searched.contains_key(id));
    let mut findings = Vec::new();
    let finding = |kind, id: FileId, line, start, at| ContentFinding {
        kind,
        path: files[&id].entry.path().to_owned(),
        line,
        start,
        at,
    };
    each_of_log(log, stream, |at, item| {
        let Some(blocks) = searched.get(&item.file) else {
            return;
        };
        let file = &files[&item.file];
        let is_searched =
            item.start < file.entry.position && blocks.contains(&file.block_of(item.start));
        if !is_searched {
            return;
        }
        let kind = match expected.remove(&(item.file, item.start)) {
            Some((_, hash)) if hash == item.hash => return,
            Some(_) => ContentKind::Changed,
            None => ContentKind::NotInFile,
        };
        if findings.len() < FINDINGS_MAX {
            findings.push(finding(kind, item.file, item.line, item.start, Some(at)));
        }
    })?;
    let missing = expected.into_iter();
    findings.extend(
        missing
            .map(|((id, start), (line, _))| finding(ContentKind::NotInLog, id, line, start, None)),
    );
    findings.sort_by(|a, b| (&a.path, a.start).cmp(&(&b.path, b.start)));
    findings.truncate(FINDINGS_MAX);
    Ok(findings)
}

/// Gives each record that the log has of files, with its partition and offset.
fn each_of_log(
    log: &Client,
    stream: &Stream,
    mut take: impl FnMut((u32, u64), Item),
) -> Result<(), Error> {
    let (stats, stop) = (Stats::default(), AtomicBool::new(false));
    let reading = Reading {
        log,
        stats: &stats,
        stop: &stop,
    };
    let mut scan = Scan::new(reading, &stream.name, &[])?;
    while scan.step(|partition, record| {
        // Records of other producers come from no file.
        if let Some(item) = Item::of(record.value) {
            take((partition, record.offset.get()), item);
        }
    })? {}
    Ok(())
}

impl Item {
    fn of(bytes: &[u8]) -> Option<Self> {
        let payload = Payload::decode(bytes).ok()?;
        let mut is_unclosed = false;
        let hash = match &payload.body {
            Body::Row(_) => xxh3_128(bytes),
            // The detail is a text for people, which may change with the version.
            Body::Reject(reject) => {
                is_unclosed = reject.reason == Reason::UnclosedQuote;
                let mut hash = Xxh3::new();
                for number in [
                    payload.origin.start,
                    payload.origin.end,
                    payload.origin.line,
                    reject.length,
                ] {
                    hash.update(&number.to_le_bytes());
                }
                hash.update(reject.reason.as_str().as_bytes());
                hash.update(&reject.hash.unwrap_or_default().to_le_bytes());
                hash.update(&reject.raw);
                hash.digest128()
            }
        };
        Some(Self {
            file: payload.origin.file,
            start: payload.origin.start,
            end: payload.origin.end,
            line: payload.origin.line,
            hash,
            schema: payload.schema,
            is_unclosed,
        })
    }
}

#[cfg(test)]
mod tests;
