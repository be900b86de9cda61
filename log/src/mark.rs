//! The durable mark: `DIR/ends` notes up to where each partition is durable, outside the databases, so that
//! an end that comes back lower is seen to be one.
//!
//! It is written after an fsync, at most once a second, and when a segment is sealed and the log closed. What
//! was acknowledged since then is behind it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{self, FileKind, ReadFailure};
use crate::wire::{Fields, put_text};
use crate::{Error, Offset};

const FILE: FileKind = FileKind {
    magic: *b"bekkmark",
    version: 1,
};

/// The ends of all partitions, by topic.
pub(crate) type Ends = BTreeMap<String, Vec<Offset>>;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Whether the log was closed in order, and not opened since.
    pub(crate) clean: bool,
    pub(crate) ends: Ends,
}

impl Mark {
    /// Reads the mark; of a log that has none it is empty. A damaged one is set aside, for the log is better
    /// read without it than not at all.
    pub(crate) fn read(path: &Path, now_ms: i64) -> Result<Self, Error> {
        match FILE.read(path) {
            Ok(body) => match Self::decode(&body) {
                Some(mark) => Ok(mark),
                None => Self::set_aside(path, "it is malformed", now_ms),
            },
            Err(ReadFailure::Missing) => Ok(Self::default()),
            Err(ReadFailure::Damaged(detail)) => Self::set_aside(path, &detail, now_ms),
            Err(ReadFailure::Failed(error)) => Err(error),
        }
    }

    fn set_aside(path: &Path, detail: &str, now_ms: i64) -> Result<Self, Error> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".damaged-{now_ms}"));
        let aside = PathBuf::from(aside);
        std::fs::rename(path, &aside).map_err(|error| files::io_error("rename", path, error))?;
        tracing::error!(
            path = %aside.display(),
            detail,
            "the durable mark is damaged and set aside; records lost before this start would go unseen"
        );
        Ok(Self::default())
    }

    /// Replaces the file; durable when it returns.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let mut body = vec![u8::from(self.clean)];
        for (topic, ends) in &self.ends {
            put_text(&mut body, topic);
            let count = u32::try_from(ends.len()).expect("at most 1,024 partitions");
            body.extend_from_slice(&count.to_be_bytes());
            for end in ends {
                body.extend_from_slice(&end.get().to_be_bytes());
            }
        }
        FILE.write(path, &body)
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(body);
        let clean = fields.u8()? == 1;
        let mut ends = Ends::new();
        while !fields.rest().is_empty() {
            let topic = fields.text()?.to_owned();
            let count = fields.u32()?;
            let of_topic = (0..count).map(|_| fields.u64().map(Offset::new));
            ends.insert(topic, of_topic.collect::<Option<_>>()?);
        }
        Some(Self { clean, ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_a_damaged_one_is_kept_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ends");
        assert_eq!(Mark::read(&path, 5).unwrap(), Mark::default());
        let mark = Mark {
            clean: true,
            ends: Ends::from([
                ("a".to_owned(), vec![Offset::new(7), Offset::new(u64::MAX)]),
                ("b".to_owned(), vec![Offset::ZERO]),
            ]),
        };
        mark.write(&path).unwrap();
        assert_eq!(Mark::read(&path, 5).unwrap(), mark);

        std::fs::write(&path, b"torn").unwrap();
        assert_eq!(Mark::read(&path, 5).unwrap(), Mark::default());
        assert_eq!(
            std::fs::read(dir.path().join("ends.damaged-5")).unwrap(),
            b"torn"
        );
        assert!(!path.exists());
    }
}
