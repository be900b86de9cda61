//! The files of a segment that say what it is and what it holds.

use std::path::Path;

use crate::files::{FileKind, ReadFailure};
use crate::wire::{Fields, put_text};
use crate::{Error, LogId, Offset};

const HEADER: FileKind = FileKind {
    magic: *b"bekk seg",
    version: 1,
};
const SUMMARY: FileKind = FileKind {
    magic: *b"bekk end",
    version: 1,
};

/// The identity of a segment: file `segment` in its directory, written when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) log_id: LogId,
    pub(crate) topic: String,
    pub(crate) number: u64,
    pub(crate) partitions: u32,
}

/// The content of a sealed segment: file `sealed` in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) sealed_at_ms: i64,
    pub(crate) bytes: u64,
    pub(crate) ranges: Vec<Range>,
}

/// The content of a segment in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    /// The greatest timestamp; `None` if it holds no record.
    pub(crate) newest_ms: Option<i64>,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = self.log_id.to_bytes().to_vec();
        put_text(&mut body, &self.topic);
        body.extend_from_slice(&self.number.to_be_bytes());
        body.extend_from_slice(&self.partitions.to_be_bytes());
        body
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(body);
        Some(Self {
            log_id: LogId::from_bytes(fields.bytes()?),
            topic: fields.text()?.to_owned(),
            number: fields.u64()?,
            partitions: fields.u32()?,
        })
    }

    /// Writes the file into the directory of a segment.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Error> {
        HEADER.write(&dir.join("segment"), &self.encode())
    }

    /// Reads the file of the segment in `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("segment");
        let damaged = |detail| {
            Err(Error::Corrupt {
                path: path.clone(),
                detail,
            })
        };
        match HEADER.read(&path) {
            Ok(body) => match Self::decode(&body) {
                Some(header) => Ok(header),
                None => damaged("it is malformed".to_owned()),
            },
            Err(ReadFailure::Missing) => damaged("it is missing".to_owned()),
            Err(ReadFailure::Damaged(detail)) => damaged(detail),
            Err(ReadFailure::Failed(error)) => Err(error),
        }
    }
}

#[cfg(test)]
impl Header {
    /// The header of a segment of two partitions, number 7
    pub(crate) fn example() -> Self {
        Self {
            log_id: LogId::random(),
            topic: "events".to_owned(),
            number: 7,
            partitions: 2,
        }
    }
}

impl Summary {
    fn encode(&self) -> Vec<u8> {
        let mut body = self.sealed_at_ms.to_be_bytes().to_vec();
        body.extend_from_slice(&self.bytes.to_be_bytes());
        for range in &self.ranges {
            body.extend_from_slice(&range.start.get().to_be_bytes());
            body.extend_from_slice(&range.end.get().to_be_bytes());
            body.push(u8::from(range.newest_ms.is_some()));
            body.extend_from_slice(&range.newest_ms.unwrap_or(0).to_be_bytes());
        }
        body
    }

    fn decode(body: &[u8], partitions: u32) -> Option<Self> {
        let mut fields = Fields::of(body);
        let sealed_at_ms = fields.i64()?;
        let bytes = fields.u64()?;
        let ranges = (0..partitions).map(|_| {
            let start = Offset::new(fields.u64()?);
            let end = Offset::new(fields.u64()?);
            let has_newest = fields.u8()? == 1;
            let newest_ms = fields.i64()?;
            Some(Range {
                start,
                end,
                newest_ms: has_newest.then_some(newest_ms),
            })
        });
        let ranges = ranges.collect::<Option<Vec<_>>>()?;
        Some(Self {
            sealed_at_ms,
            bytes,
            ranges,
        })
    }

    /// Writes the file into the directory of a segment.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        SUMMARY.write(&dir.join("sealed"), &self.encode())
    }

    /// Reads the file of the segment in `dir`; `None` if it is not sealed, or its file is damaged and must be made again.
    pub(crate) fn read(dir: &Path, partitions: u32) -> Result<Option<Self>, Error> {
        match SUMMARY.read(&dir.join("sealed")) {
            Ok(body) => Ok(Self::decode(&body, partitions)),
            Err(ReadFailure::Missing) => Ok(None),
            Err(ReadFailure::Damaged(detail)) => {
                tracing::warn!(path = %dir.join("sealed").display(), detail, "segment summary is damaged and made again");
                Ok(None)
            }
            Err(ReadFailure::Failed(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_comes_back() {
        let range = |start, end, newest_ms| Range {
            start: Offset::new(start),
            end: Offset::new(end),
            newest_ms,
        };
        let summary = Summary {
            sealed_at_ms: 5,
            bytes: 7,
            ranges: vec![range(1, 9, Some(-3)), range(4, 4, None)],
        };
        let body = summary.encode();
        assert_eq!(Summary::decode(&body, 2), Some(summary));
        assert_eq!(Summary::decode(&body, 3), None);
        assert_eq!(Header::decode(&Header::example().encode()[1..]), None);
    }
}
