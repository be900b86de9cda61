//! What the log knows beside its records: topics, sessions, groups. One small fjall database.
//!
//! All of it is in one keyspace, so that no rarely written one keeps old journals alive. Keys begin with a
//! byte that says what they are; names end in NUL, which no name holds:
//!
//! | key | value |
//! |---|---|
//! | `v` | version of these keys and values u32: 1; written last when the state is made |
//! | `d` topic | nothing; the topic is deleted, and its directory may still be there |
//! | `t` topic | partitions u32, retention age in ms u64, size u64 (all ones: none) |
//! | `s` ingest | number of the newest session u64 |
//! | `f` | no session has a number below this u64; there if an earlier state was lost |
//! | `o` group NUL topic NUL partition u32 | offset u64, when it was committed, ms i64 |
//! | `c` group NUL topic NUL partition u32 | of another program: offset u64, when it was committed, ms i64, metadata (text) |
//! | `p` | the first producer id that was not given, i64 |
//! | `h` holder NUL topic NUL partition u32 | offset u64 |
//! | `b` topic NUL partition u32 | log start offset u64 |
//! | `g` topic NUL partition u32, start u64 | end u64, when it was found, ms i64, the byte 1 if no group had come to it, 2 if all had come past it, 3 if its records were appended again, or none of these, why (text) |

mod copy;
mod deletion;
mod foreign;
mod gaps;
mod open;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fjall::{Database, Keyspace, PersistMode};

pub(crate) use self::copy::write as write_copy;
pub(crate) use self::deletion::{finish_deletion, finish_deletions};
pub(crate) use self::foreign::ForeignCommit;
pub(crate) use self::open::open;
use crate::poison::Poison;
use crate::space::Space;
use crate::wire::Fields;
use crate::{Error, Offset, Retention, Topic, TopicConfig, database, files, segment};

const NONE: u64 = u64::MAX;
/// With fewer bytes free on the disk nothing is written to the state
const SPACE_MIN: u64 = 4 << 20;
const VERSION: u32 = 1;
const VERSION_KEY: &[u8] = b"v";

/// The open database.
pub(crate) struct State {
    path: PathBuf,
    db: Database,
    keys: Keyspace,
    /// How many writes there were that the copy should have soon, and others.
    writes: Writes,
    poison: Poison,
    space: Space,
}

/// Counts of writes since the state was opened.
#[derive(Default)]
struct Writes {
    durable: AtomicU64,
    all: AtomicU64,
}

/// What a group has committed for one partition, or a holder holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// The group or holder.
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) next: Offset,
    /// When a group committed it; 0 for a holder.
    pub(crate) at_ms: i64,
}

impl State {
    /// Opens the state.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not whole, [`Error::Version`] if a later version has written it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let state = Self::open_or_create(path)?;
        let value = state.keys.get(VERSION_KEY).ok().flatten();
        match value.and_then(|value| Fields::of(&value).u32()) {
            Some(VERSION) => Ok(state),
            Some(found) if found > VERSION => Err(Error::Version {
                path: path.to_owned(),
                found,
                known: VERSION,
            }),
            // fjall makes anew what it misses.
            _ => Err(Error::corrupt(path, "it does not name its version")),
        }
    }

    /// Makes the state, with what `fill` puts into it: all of it or, after a crash, nothing.
    pub(crate) fn create(
        path: &Path,
        fill: impl FnOnce(&Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let temporary = files::temporary_name(path);
        if temporary.is_dir() {
            segment::remove(&temporary)?;
        }
        let state = Self::open_or_create(&temporary)?;
        fill(&state)?;
        let version = VERSION.to_be_bytes().to_vec();
        state.put(VERSION_KEY.to_vec(), version, PersistMode::SyncAll)?;
        drop(state);
        segment::finish(&temporary, path)
    }

    fn open_or_create(path: &Path) -> Result<Self, Error> {
        let open = || {
            let db = database::open(path, 1)?;
            let keys = database::keyspace(&db, "state", 1)?;
            Ok((db, keys))
        };
        let (db, keys) = open().map_err(|error| database::store_error("open", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            db,
            keys,
            writes: Writes::default(),
            poison: Poison::default(),
            space: Space::new(path.to_owned(), SPACE_MIN),
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

    /// The number below which no session may be.
    pub(crate) fn session_floor(&self) -> Result<u64, Error> {
        let value = self
            .keys
            .get(b"f")
            .map_err(|error| self.failed("read", error))?;
        Ok(value
            .and_then(|value| Fields::of(&value).u64())
            .unwrap_or(1))
    }

    pub(crate) fn put_session_floor(&self, floor: u64) -> Result<(), Error> {
        self.put(
            b"f".to_vec(),
            floor.to_be_bytes().to_vec(),
            PersistMode::SyncAll,
        )
    }

    pub(crate) fn committed(&self) -> Result<Vec<Position>, Error> {
        self.positions(b'o', &[])
    }

    pub(crate) fn committed_by(&self, group: &str, topic: &str) -> Result<Vec<Position>, Error> {
        self.positions(b'o', &[group, topic, ""])
    }

    /// Notes a group's offset. It is not fsynced: a power loss takes it back to an earlier one, which costs
    /// retention a little room.
    pub(crate) fn put_committed(&self, position: &Position) -> Result<(), Error> {
        let mut value = position.next.get().to_be_bytes().to_vec();
        value.extend_from_slice(&position.at_ms.to_be_bytes());
        self.put(position_key(b'o', position), value, PersistMode::Buffer)
    }

    /// Everything that is held.
    pub(crate) fn held(&self) -> Result<Vec<Position>, Error> {
        self.positions(b'h', &[])
    }

    /// Notes holds. A hold that only moves forward is not fsynced: if a crash takes it back, it keeps more records.
    pub(crate) fn put_held(&self, positions: &[Position]) -> Result<(), Error> {
        let mut mode = PersistMode::Buffer;
        let mut batch = self.db.batch();
        for position in positions {
            let key = position_key(b'h', position);
            let earlier = self
                .keys
                .get(&key)
                .map_err(|error| self.failed("read", error))?;
            let earlier = earlier.and_then(|value| Fields::of(&value).u64());
            if earlier.is_none_or(|earlier| earlier > position.next.get()) {
                mode = PersistMode::SyncAll;
            }
            batch.insert(&self.keys, key, position.next.get().to_be_bytes());
        }
        self.commit(batch, mode)
    }

    pub(crate) fn remove_held(&self, holder: &str) -> Result<(), Error> {
        let held = self.positions(b'h', &[holder, ""])?;
        self.remove(held.iter().map(|held| position_key(b'h', held)))
    }

    /// The log start offset of each partition that has one above zero.
    pub(crate) fn log_starts(&self, topic: &str) -> Result<Vec<(u32, Offset)>, Error> {
        self.scan(&key(b'b', &[topic, ""]), |rest, value| {
            let start = Fields::of(value).u64()?;
            Some((Fields::of(rest).u32()?, Offset::new(start)))
        })
    }

    pub(crate) fn put_log_starts(&self, topic: &str, starts: &[Offset]) -> Result<(), Error> {
        let mut batch = self.db.batch();
        for (partition, start) in (0u32..).zip(starts) {
            let mut key = key(b'b', &[topic, ""]);
            key.extend_from_slice(&partition.to_be_bytes());
            batch.insert(&self.keys, key, start.get().to_be_bytes());
        }
        self.commit(batch, PersistMode::SyncAll)
    }

    fn positions(&self, kind: u8, names: &[&str]) -> Result<Vec<Position>, Error> {
        let prefix = key(kind, names);
        self.scan_keys(&prefix, |key, value| {
            let mut names = key[1..].splitn(3, |byte| *byte == 0);
            let mut text = || std::str::from_utf8(names.next()?).ok().map(str::to_owned);
            let (name, topic) = (text()?, text()?);
            let partition = Fields::of(names.next()?).u32()?;
            let mut fields = Fields::of(value);
            Some(Position {
                name,
                topic,
                partition,
                next: Offset::new(fields.u64()?),
                at_ms: fields.i64().unwrap_or(0),
            })
        })
    }

    fn put(&self, key: Vec<u8>, value: Vec<u8>, mode: PersistMode) -> Result<(), Error> {
        let mut batch = self.db.batch();
        batch.insert(&self.keys, key, value);
        self.commit(batch, mode)
    }

    /// Writes a batch. With the disk full it is not begun: a write that fails would be the last one.
    fn commit(&self, batch: fjall::OwnedWriteBatch, mode: PersistMode) -> Result<(), Error> {
        self.space.check()?;
        self.writes.all.fetch_add(1, Ordering::Relaxed);
        if mode != PersistMode::Buffer {
            self.writes.durable.fetch_add(1, Ordering::Relaxed);
        }
        let committed = batch.durability(Some(mode)).commit();
        committed.or_else(|error| {
            self.poison.set(&self.failed("write", error));
            self.failed_write().map_or(Ok(()), Err)
        })
    }

    /// The failed write after which the state takes no more until it is opened again, if there was one.
    pub(crate) fn failed_write(&self) -> Option<Error> {
        self.poison.error("write", &self.path)
    }

    /// How many writes there were, and how many of them are durable.
    pub(crate) fn writes(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.writes.all), load(&self.writes.durable))
    }

    /// All keys and values.
    fn entries(&self) -> Result<Vec<copy::Entry>, Error> {
        self.scan_keys(&[], |key, value| Some((key.to_vec(), value.to_vec())))
    }

    /// Takes entries over from another state, but for producer ids: it may not have known of the last ones.
    fn put_all(&self, entries: &[copy::Entry]) -> Result<(), Error> {
        let mut batch = self.db.batch();
        let is_taken = |key: &[u8]| key != VERSION_KEY && key != b"p";
        for (key, value) in entries.iter().filter(|(key, _)| is_taken(key)) {
            batch.insert(&self.keys, key.clone(), value.clone());
        }
        self.commit(batch, PersistMode::SyncAll)
    }

    fn remove(&self, keys: impl IntoIterator<Item = Vec<u8>>) -> Result<(), Error> {
        let mut batch = self.db.batch();
        for key in keys {
            batch.remove(&self.keys, key);
        }
        self.commit(batch, PersistMode::SyncAll)
    }

    /// Every entry whose key begins with `prefix`, decoded from the rest of its key and its value.
    fn scan<T>(
        &self,
        prefix: &[u8],
        decode: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        self.scan_keys(prefix, |key, value| decode(&key[prefix.len()..], value))
    }

    /// The same with the whole key.
    fn scan_keys<T>(
        &self,
        prefix: &[u8],
        decode: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        self.keys
            .prefix(prefix)
            .map(|entry| {
                let (key, value) = entry
                    .into_inner()
                    .map_err(|error| self.failed("read", error))?;
                decode(&key, &value).ok_or_else(|| {
                    let key = key.escape_ascii();
                    Error::corrupt(&self.path, format!("key `{key}` has a malformed value"))
                })
            })
            .collect()
    }

    fn failed(&self, act: &'static str, error: fjall::Error) -> Error {
        database::store_error(act, &self.path, error)
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

fn position_key(kind: u8, position: &Position) -> Vec<u8> {
    let mut key = key(kind, &[&position.name, &position.topic, ""]);
    key.extend_from_slice(&position.partition.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use bekk_testing::assert_matches;

    use super::*;

    #[test]
    fn a_state_of_a_later_version_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        State::create(&path, |_| Ok(())).unwrap();
        let state = State::open(&path).unwrap();
        let later = (VERSION + 1).to_be_bytes().to_vec();
        state
            .put(VERSION_KEY.to_vec(), later, PersistMode::SyncAll)
            .unwrap();
        drop(state);
        for _ in 0..2 {
            let refused = open(dir.path()).map(|_| ());
            assert_matches!(
                refused,
                Err(Error::Version {
                    found: 2,
                    known: 1,
                    ..
                })
            );
        }
        assert_eq!(files::entries(dir.path()).unwrap(), [path]);
    }
}
