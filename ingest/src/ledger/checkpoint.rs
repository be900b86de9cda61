//! The checkpoint: how far each file is in the log, and where the log ended then.
//!
//! It is a cache: without it the same is found by reading the whole log. Its form: the 8 bytes `bekkckpt`, a
//! version (u32), the length of the body (u64), the body, and the CRC-32C of all before it (u32).

use std::error::Error as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::Error;
use crate::file::entry::FileEntry;
use crate::file::replace::replace;
use crate::ledger::codec::{FieldReader, FieldWriter, frame, unframe};

const MAGIC: &[u8; 8] = b"bekkckpt";
/// Version 2 added to each file its CRC, compression, state, size and decisions, version 3 its notices,
/// version 4 what it was when it was met.
const VERSION: u32 = 4;

/// How far ingest has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) log_id: String,
    /// Topics and the ends of their partitions, below which nothing of any file is unknown here.
    pub(crate) ends: Vec<(String, Vec<u64>)>,
    pub(crate) files: Vec<FileEntry>,
}

impl Checkpoint {
    /// Reads a checkpoint; `None` if absent. One that is damaged or of another version is reported
    /// and taken as none: what it tells is in the log.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Error> {
        let bytes = match bekk_log::read_plain(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Vec::new(),
            Err(error) => return Err(Error::io("read checkpoint", path)(error)),
        };
        let checkpoint = Self::decode(&bytes);
        if checkpoint.is_none() {
            tracing::warn!(
                path = %path.display(),
                "the checkpoint is damaged or of another version; the log is read instead, nothing is lost"
            );
        }
        Ok(checkpoint)
    }

    /// As [`Checkpoint::load`], for the ingest that owns it. One that cannot be read is reported and taken as absent, since
    /// the log has the same facts.
    pub(crate) fn load_own(path: &Path) -> Option<Self> {
        Self::load(path).unwrap_or_else(|error| {
            let cause = error.source().map(ToString::to_string);
            tracing::warn!(
                %error,
                cause = cause.unwrap_or_default(),
                "the checkpoint cannot be read; the log is read instead, nothing is lost"
            );
            None
        })
    }

    /// Writes the checkpoint durably in place of the one that is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn store(&self, path: &Path) -> Result<(), Error> {
        let beside = path.with_extension("new");
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(&self.encode())?;
            file.sync_all()
        });
        written.map_err(Error::io("write checkpoint", &beside))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        replace(&beside, path)
            .and_then(|()| File::open(directory)?.sync_all())
            .map_err(Error::io("replace checkpoint", path))
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = FieldWriter(Vec::new());
        body.bytes(self.log_id.as_bytes());
        body.list(&self.ends, |body, (topic, ends)| {
            body.bytes(topic.as_bytes());
            body.list(ends, |body, end| body.u64(*end));
        });
        body.list(&self.files, |body, entry| entry.write(body));
        frame(MAGIC, VERSION, &body)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, mut body) = unframe(MAGIC, bytes)?;
        if !(1..=VERSION).contains(&version) {
            return None;
        }
        let checkpoint = Self {
            log_id: body.text()?,
            ends: body.list(|body| Some((body.text()?, body.list(FieldReader::u64)?)))?,
            files: body.list(|body| FileEntry::read(body, version))?,
        };
        body.0.is_empty().then_some(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use bekk_stream::FileId;

    use super::*;
    use crate::file::decision::{Decision, FileState, What};
    use crate::source::Packing;
    use crate::source::fingerprint::Fingerprint;
    use crate::text::notice::{Notice, NoticeKind};
    use crate::text::ranges::Ranges;

    fn sample() -> Checkpoint {
        let print = |len| Fingerprint {
            len,
            hash: u128::MAX - u128::from(len),
        };
        Checkpoint {
            log_id: "a log".to_owned(),
            ends: vec![
                ("events".to_owned(), vec![1, u64::MAX]),
                (String::new(), vec![]),
            ],
            files: vec![FileEntry {
                id: FileId::from_bytes([3; 16]),
                stream: "events".to_owned(),
                path: b"/\xff\n".to_vec(),
                device: 1,
                inode: 2,
                head: print(5),
                tail: print(6),
                position: 7,
                line: 8,
                header_at: 9,
                records: 10,
                rejects: 11,
                offsets: vec![(12, 13, 14)],
                dialect: "delimiter=".to_owned(),
                receipt_bytes: Some(0),
                known: {
                    let mut known = Ranges::default();
                    known.insert(20, 30);
                    known.insert(40, 50);
                    known
                },
                crc: Some(u32::MAX),
                packing: Some(Packing::Zstd),
                state: FileState::Blocked,
                why: "it has no header".to_owned(),
                size: 99,
                disk: (98, -97),
                decisions: vec![Decision {
                    at_ms: -1,
                    what: What::Gone,
                    why: "it is not there".to_owned(),
                }],
                notices: vec![Notice {
                    kind: NoticeKind::HeaderNear,
                    text: "`Id` for `id`".to_owned(),
                }],
                again: None,
                first: Some(bekk_stream::FirstSeen {
                    path: b"/first".to_vec(),
                    modified_us: -5,
                }),
            }],
        }
    }

    #[test]
    fn it_is_what_was_stored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint");
        assert_eq!(Checkpoint::load(&path).unwrap(), None);
        for checkpoint in [Checkpoint::default(), sample()] {
            checkpoint.store(&path).unwrap();
            assert_eq!(Checkpoint::load(&path).unwrap(), Some(checkpoint));
        }
    }

    /// A checkpoint as the first version wrote it.
    #[test]
    fn version_1_is_read() {
        let bytes = include_bytes!("../../tests/fixtures/checkpoint.v1");
        let mut expected = sample();
        let file = &mut expected.files[0];
        (file.crc, file.packing, file.state) = (None, None, FileState::Following);
        (file.why, file.size, file.disk) = (String::new(), 0, (0, 0));
        (file.decisions, file.notices) = (Vec::new(), Vec::new());
        file.first = None;
        assert_eq!(Checkpoint::decode(bytes), Some(expected));
    }

    /// A checkpoint as the second version wrote it.
    #[test]
    fn version_2_is_read() {
        let bytes = include_bytes!("../../tests/fixtures/checkpoint.v2");
        let mut expected = sample();
        expected.files[0].notices = Vec::new();
        expected.files[0].first = None;
        assert_eq!(Checkpoint::decode(bytes), Some(expected));
    }

    /// A checkpoint as the third version wrote it.
    #[test]
    fn version_3_is_read() {
        let bytes = include_bytes!("../../tests/fixtures/checkpoint.v3");
        let mut expected = sample();
        expected.files[0].first = None;
        assert_eq!(Checkpoint::decode(bytes), Some(expected));
    }

    #[test]
    fn damage_is_seen() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            assert_eq!(Checkpoint::decode(&bytes[..at]), None, "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert_eq!(Checkpoint::decode(&flipped), None, "flipped at {at}");
        }
        assert_eq!(Checkpoint::decode(&[]), None);
    }
}
