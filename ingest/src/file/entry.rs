//! What is remembered of a file: an entry of the checkpoint.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bekk_stream::{FileId, FileRecord, FirstSeen, Progress};

use crate::clock::now_ms;
use crate::file::decision::{Decision, FileState, What};
use crate::file::owner::Identity;
use crate::source::Packing;
use crate::source::fingerprint::Fingerprint;
use crate::source::stat::Stat;
use crate::text::cursor::Place;
use crate::text::later::ReadAgain;
use crate::text::notice::Notice;
use crate::text::ranges::Ranges;

/// How many decisions about a file are kept: the first and the latest.
const DECISIONS_MAX: usize = 12;

/// How far a file is in the log, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    pub(crate) id: FileId,
    pub(crate) stream: String,
    /// The path's bytes.
    pub(crate) path: Vec<u8>,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// The fingerprint of the file's first bytes.
    pub(crate) head: Fingerprint,
    /// The fingerprint of the bytes just before `position`.
    pub(crate) tail: Fingerprint,
    /// The CRC-32C of all bytes before `position`, if they were read one after the other.
    pub(crate) crc: Option<u32>,
    /// All records before this byte are in the log.
    pub(crate) position: u64,
    /// The number of the line that begins there, from 1.
    pub(crate) line: u64,
    /// The place of the header that counts from `position` on; no header has been read if `position` is 0.
    pub(crate) header_at: u64,
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    /// Partitions with records of the file: the first offset and the one behind the last.
    pub(crate) offsets: Vec<(u32, u64, u64)>,
    pub(crate) dialect: String,
    /// The length that the newest receipt tells of.
    pub(crate) receipt_bytes: Option<u64>,
    /// What else of it is in the log, behind `position`.
    pub(crate) known: Ranges,
    pub(crate) packing: Option<Packing>,
    pub(crate) state: FileState,
    /// Why it is in this state, if there is more to say.
    pub(crate) why: String,
    /// Its size when it was last looked at; of a compressed file, of its text.
    pub(crate) size: u64,
    /// Its size on disk then, and when it had been changed: microseconds since 1970-01-01 UTC.
    pub(crate) disk: (u64, i64),
    pub(crate) decisions: Vec<Decision>,
    /// What has been noticed of it.
    pub(crate) notices: Vec<Notice>,
    /// Set where the log has lost records of it; not written down.
    pub(crate) again: Option<ReadAgain>,
    /// What it was when it was met, if its stream asks for that.
    pub(crate) first: Option<FirstSeen>,
}

impl FileEntry {
    /// The entry of a file that has just been met.
    pub(crate) fn new(record: FileRecord) -> Self {
        Self {
            id: record.id,
            stream: record.stream,
            path: record.path,
            device: record.device,
            inode: record.inode,
            head: Fingerprint {
                len: record.head_len,
                hash: record.head_hash,
            },
            tail: Fingerprint::of(&[]),
            crc: Some(0),
            position: 0,
            line: 1,
            header_at: 0,
            records: 0,
            rejects: 0,
            offsets: Vec::new(),
            dialect: record.dialect,
            receipt_bytes: None,
            known: Ranges::default(),
            packing: None,
            state: FileState::Waiting,
            why: String::new(),
            size: 0,
            disk: (0, 0),
            decisions: Vec::new(),
            notices: Vec::new(),
            again: None,
            first: record.first,
        }
    }

    /// The entry of a file whose newest news is in `bekk.meta`.
    pub(crate) fn from_progress(record: FileRecord, progress: Progress) -> Self {
        let mut entry = Self::new(record);
        entry.stand_at(&progress);
        for (start, end) in progress.known {
            entry.known.insert(start, end);
        }
        (entry.records, entry.rejects) = (progress.records, progress.rejects);
        entry.offsets = progress.offsets;
        entry
    }

    /// Takes a place from what `bekk.meta` tells.
    pub(crate) fn stand_at(&mut self, progress: &Progress) {
        let print = |(len, hash)| Fingerprint { len, hash };
        self.head = print(progress.head);
        self.tail = print(progress.tail);
        self.crc = progress.crc;
        self.position = progress.position;
        self.line = progress.line;
        self.header_at = progress.header_at;
        self.known.forget_before(progress.position);
    }

    /// The file's position in `bekk.meta`.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            file: self.id,
            position: self.position,
            line: self.line,
            header_at: self.header_at,
            records: self.records,
            rejects: self.rejects,
            crc: self.crc,
            head: (self.head.len, self.head.hash),
            tail: (self.tail.len, self.tail.hash),
            offsets: self.offsets.clone(),
            known: self.known.iter().collect(),
        }
    }

    /// Lets it be read again from its beginning; what is known of its content stays.
    pub(crate) fn begin_again(&mut self) {
        self.tail = Fingerprint::of(&[]);
        self.crc = Some(0);
        (self.position, self.line, self.header_at) = (0, 1, 0);
        (self.receipt_bytes, self.state) = (None, FileState::Waiting);
    }

    /// The file's record in `bekk.meta`.
    pub(crate) fn record(&self, by: &Identity) -> FileRecord {
        FileRecord {
            id: self.id,
            stream: self.stream.clone(),
            path: self.path.clone(),
            device: self.device,
            inode: self.inode,
            head_len: self.head.len,
            head_hash: self.head.hash,
            found_at_ms: now_ms(),
            dialect: self.dialect.clone(),
            ingest: by.ingest.clone(),
            host: by.host.clone(),
            first: self.first.clone(),
        }
    }

    /// Where it is read on from.
    pub(crate) fn place(&self) -> Place {
        Place {
            position: self.position,
            line: self.line,
            // Before the first reading only the head is known.
            tail: match (self.position, self.packing) {
                (0, None) => self.head,
                _ => self.tail,
            },
            crc: self.crc,
            known: self.known.clone(),
            again: self.again.clone(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// Whether the file is the one that the system describes.
    pub(crate) fn is_inode_of(&self, stat: &Stat) -> bool {
        (self.device, self.inode) == (stat.device, stat.inode)
    }

    /// Whether all that is in the log of the file is told by its receipt as well.
    pub(crate) fn is_in_receipt(&self) -> bool {
        let end = self
            .known
            .iter()
            .last()
            .map_or(self.position, |(_, end)| end);
        self.receipt_bytes == Some(end.max(self.position))
    }

    /// Takes note that the file is gone, or has been emptied.
    pub(crate) fn lose(&mut self, why: &str) {
        self.state = FileState::Gone;
        self.why.clear();
        let unread = self.size.saturating_sub(self.position);
        let why = match unread {
            0 => format!("{why}; all of it was read"),
            _ => {
                self.why = format!("{why}, and {unread} bytes of it had not been read");
                self.why.clone()
            }
        };
        self.decide(What::Gone, why);
    }

    /// Takes note of a decision, and says it. One that repeats the last takes its place.
    pub(crate) fn decide(&mut self, what: What, why: String) {
        let (path, id) = (self.path().display(), self.id);
        match what {
            What::Gone if self.size <= self.position => {
                tracing::info!(%path, file = %id, "{what}: {why}");
            }
            What::Blocked | What::Unreadable | What::Restarted | What::Gone => {
                tracing::warn!(%path, file = %id, "{what}: {why}");
            }
            _ => tracing::info!(%path, file = %id, "{what}: {why}"),
        }
        self.keep_decision(what, why);
    }

    /// Takes note of a decision that the summary of the run reports.
    pub(crate) fn decide_for_summary(&mut self, what: What, why: String) {
        tracing::info!(path = %self.path().display(), file = %self.id, "{what}: {why}");
        self.keep_decision(what, why);
    }

    fn keep_decision(&mut self, what: What, why: String) {
        let is_repeated = matches!(self.decisions.last(), Some(last) if last.what == what);
        let decision = Decision {
            at_ms: now_ms(),
            what,
            why,
        };
        if is_repeated {
            self.decisions.pop();
        } else if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.remove(1);
        }
        self.decisions.push(decision);
    }
}

/// Makes the span of offsets that a partition has of a file hold these as well.
pub(crate) fn widen(offsets: &mut Vec<(u32, u64, u64)>, partition: u32, first: u64, end: u64) {
    match offsets.iter_mut().find(|(known, ..)| *known == partition) {
        Some((_, known_first, known_end)) => {
            *known_first = first.min(*known_first);
            *known_end = end.max(*known_end);
        }
        None => offsets.push((partition, first, end)),
    }
}
