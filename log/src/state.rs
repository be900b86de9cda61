//! What the log knows beside its records: topics, sessions, groups. One small fjall database.
//!
//! All of it is in one keyspace, so that no rarely written one keeps old journals alive. Keys begin with a
//! byte that says what they are; names end in NUL, which no name holds:
//!
//! | key | value |
//! |---|---|
//! | `t` topic | partitions u32, retention age in ms u64, size u64 (all ones: none) |
//! | `s` ingest | number of the newest session u64 |
//! | `o` group NUL topic NUL partition u32 | offset u64, when it was committed i64 |

use std::path::{Path, PathBuf};
use std::time::Duration;

use fjall::{Database, Keyspace, PersistMode};

use crate::wire::Fields;
use crate::{Error, Offset, Retention, Topic, TopicConfig, database};

const NONE: u64 = u64::MAX;

/// The open database.
pub(crate) struct State {
    path: PathBuf,
    db: Database,
    keys: Keyspace,
}

/// What a group has committed for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) partition: u32,
    pub(crate) next: Offset,
    pub(crate) at_ms: i64,
}

impl State {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let db = database::open(path)?;
            let keys = database::keyspace(&db, "state")?;
            Ok((db, keys))
        };
        let (db, keys) = open().map_err(|error| database::store_error("open", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            db,
            keys,
        })
    }

    pub(crate) fn topics(&self) -> Result<Vec<Topic>, Error> {
        self.scan(b"t", |key, value| {
            let mut fields = Fields::of(value);
            let partitions = fields.u32()?;
            let age = fields.u64().filter(|age| *age != NONE);
            let size = fields.u64().filter(|size| *size != NONE);
            Some(Topic {
                name: std::str::from_utf8(key).ok()?.to_owned(),
                config: TopicConfig {
                    partitions,
                    retention: Retention {
                        age: age.map(Duration::from_millis),
                        size,
                    },
                },
            })
        })
    }

    pub(crate) fn put_topic(&self, topic: &Topic) -> Result<(), Error> {
        let retention = topic.config.retention;
        let age = retention
            .age
            .map_or(NONE, |age| u64::try_from(age.as_millis()).unwrap_or(NONE));
        let mut value = topic.config.partitions.to_be_bytes().to_vec();
        value.extend_from_slice(&age.to_be_bytes());
        value.extend_from_slice(&retention.size.unwrap_or(NONE).to_be_bytes());
        self.put(key(b't', &[&topic.name]), value, PersistMode::SyncAll)
    }

    pub(crate) fn sessions(&self) -> Result<Vec<(String, u64)>, Error> {
        self.scan(b"s", |key, value| {
            let ingest = std::str::from_utf8(key).ok()?.to_owned();
            Some((ingest, Fields::of(value).u64()?))
        })
    }

    pub(crate) fn put_session(&self, ingest: &str, number: u64) -> Result<(), Error> {
        let value = number.to_be_bytes().to_vec();
        self.put(key(b's', &[ingest]), value, PersistMode::SyncAll)
    }

    pub(crate) fn committed(&self, group: &str, topic: &str) -> Result<Vec<Committed>, Error> {
        let prefix = key(b'o', &[group, topic, ""]);
        self.scan(&prefix, |rest, value| {
            let mut fields = Fields::of(value);
            Some(Committed {
                partition: Fields::of(rest).u32()?,
                next: Offset::new(fields.u64()?),
                at_ms: fields.i64()?,
            })
        })
    }

    /// Notes a group's offset. It is not fsynced: a power loss takes it back to an earlier one, which costs
    /// retention a little room.
    pub(crate) fn put_committed(
        &self,
        group: &str,
        topic: &str,
        committed: Committed,
    ) -> Result<(), Error> {
        let mut key = key(b'o', &[group, topic, ""]);
        key.extend_from_slice(&committed.partition.to_be_bytes());
        let mut value = committed.next.get().to_be_bytes().to_vec();
        value.extend_from_slice(&committed.at_ms.to_be_bytes());
        self.put(key, value, PersistMode::Buffer)
    }

    fn put(&self, key: Vec<u8>, value: Vec<u8>, mode: PersistMode) -> Result<(), Error> {
        let mut batch = self.db.batch().durability(Some(mode));
        batch.insert(&self.keys, key, value);
        batch
            .commit()
            .map_err(|error| database::store_error("write", &self.path, error))
    }

    /// Every entry whose key begins with `prefix`, decoded from the rest of the key and the value.
    fn scan<T>(
        &self,
        prefix: &[u8],
        decode: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        self.keys
            .prefix(prefix)
            .map(|entry| {
                let (key, value) = entry
                    .into_inner()
                    .map_err(|error| database::store_error("read", &self.path, error))?;
                decode(&key[prefix.len()..], &value).ok_or_else(|| Error::Corrupt {
                    path: self.path.clone(),
                    detail: format!("key `{}` has a malformed value", key.escape_ascii()),
                })
            })
            .collect()
    }
}

fn key(kind: u8, names: &[&str]) -> Vec<u8> {
    let mut key = vec![kind];
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            key.push(0);
        }
        key.extend_from_slice(name.as_bytes());
    }
    key
}
