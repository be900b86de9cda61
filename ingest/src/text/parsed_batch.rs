//! Batches: what is appended at once, and what is known when it is.

use bekk_log::RecordBuffer;
use bekk_stream::{FileId, Meta};

use crate::source::fingerprint::Fingerprint;
use crate::text::convert::Converted;
use crate::text::trial::describe;

/// Number of rejects that are reported.
const TOLD_MAX: usize = 5;

/// Records of one stream on their way into the log, with how far their files are read with them.
#[derive(Debug)]
pub(crate) struct ParsedBatch {
    pub(crate) stream: usize,
    /// One for each partition.
    pub(crate) buffers: Vec<RecordBuffer>,
    /// In the order in which the files were read.
    pub(crate) progress: Vec<Progress>,
    /// Records about files whose first records these are; they are appended first.
    pub(crate) begun: Vec<Meta>,
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    bytes: usize,
    /// What the first rejects are, where somebody wants to know.
    pub(crate) told: Option<Vec<String>>,
    /// The payloads as they were pushed, where they are compared: a buffer does not give them back.
    pub(crate) payloads: Option<Vec<Vec<u8>>>,
}

/// How far a file is in the log once a batch is.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) file: FileId,
    pub(crate) position: u64,
    pub(crate) line: u64,
    pub(crate) header_at: u64,
    pub(crate) tail: Fingerprint,
    pub(crate) crc: Option<u32>,
    /// Records of the file in this part of the batch.
    pub(crate) records: u64,
    pub(crate) rejects: u64,
    /// Where in the batch they lie: partition, first record, the one behind the last.
    pub(crate) spans: Vec<(u32, u32, u32)>,
}

impl Progress {
    /// The same for `bekk.meta`, of a file that begins with these bytes; where its records will lie is not known yet.
    pub(crate) fn to_be_told(&self, head: Fingerprint) -> bekk_stream::Progress {
        bekk_stream::Progress {
            file: self.file,
            position: self.position,
            line: self.line,
            header_at: self.header_at,
            records: self.records,
            rejects: self.rejects,
            crc: self.crc,
            head: (head.len, head.hash),
            tail: (self.tail.len, self.tail.hash),
            offsets: Vec::new(),
            known: Vec::new(),
        }
    }
}

/// A place in a batch.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    records: u64,
    rejects: u64,
    lens: Vec<u32>,
}

impl Mark {
    /// How many records lay before it.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }
}

impl ParsedBatch {
    pub(crate) fn new(stream: usize, partitions: u32) -> Self {
        Self {
            stream,
            buffers: (0..partitions).map(|_| RecordBuffer::new()).collect(),
            progress: Vec::new(),
            begun: Vec::new(),
            records: 0,
            rejects: 0,
            bytes: 0,
            told: None,
            payloads: cfg!(test).then(Vec::new),
        }
    }

    /// An empty one for the same stream.
    pub(crate) fn new_alike(&self) -> Self {
        let partitions = u32::try_from(self.buffers.len());
        Self::new(
            self.stream,
            partitions.expect("a topic has at most 1,024 partitions"),
        )
    }

    /// Makes it empty, keeping its memory.
    pub(crate) fn clear(&mut self) {
        self.buffers.iter_mut().for_each(RecordBuffer::clear);
        self.progress.clear();
        self.begun.clear();
        self.records = 0;
        self.rejects = 0;
        self.bytes = 0;
    }

    #[inline]
    pub(crate) fn push(&mut self, timestamp_ms: i64, record: &Converted<'_>) {
        let buffer = &mut self.buffers[record.partition as usize];
        buffer.push(timestamp_ms, record.key, record.payload);
        if let Some(payloads) = &mut self.payloads {
            payloads.push(record.payload.to_vec());
        }
        self.records += 1;
        self.rejects += u64::from(record.is_reject);
        if record.is_reject
            && let Some(told) = &mut self.told
            && told.len() < TOLD_MAX
        {
            told.push(describe(record.payload));
        }
        self.bytes += record.payload.len() + record.key.map_or(0, <[u8]>::len);
    }

    /// Whether nothing would come of appending it.
    pub(crate) fn is_empty(&self) -> bool {
        self.progress.is_empty()
    }

    /// The size of its records in bytes, without what the log adds to each.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            records: self.records,
            rejects: self.rejects,
            lens: self.buffers.iter().map(RecordBuffer::len).collect(),
        }
    }

    /// Notes how far a file is read, whose records were pushed since `mark`.
    pub(crate) fn note(&mut self, mark: &Mark, progress: Progress) {
        let spans = (0..).zip(self.buffers.iter().zip(&mark.lens));
        let spans = spans
            .filter(|(_, (buffer, first))| buffer.len() > **first)
            .map(|(partition, (buffer, first))| (partition, *first, buffer.len()))
            .collect();
        self.progress.push(Progress {
            records: self.records - mark.records,
            rejects: self.rejects - mark.rejects,
            spans,
            ..progress
        });
    }
}
