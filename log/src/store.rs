//! The log in its directory, held by this process.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::append::{Part, Request};
use crate::sessions::Sessions;
use crate::state::{Committed, State};
use crate::topic::TopicLog;
use crate::{Config, Error, LogId, Offset, RecordBuffer, Session, Topic, TopicConfig, batch};
use crate::{files, identity};

const TOPIC_NAME_BYTES_MAX: usize = 249;
const PARTITIONS_MAX: u32 = 1024;

/// The log in its directory.
pub(crate) struct Store {
    config: Config,
    log_id: LogId,
    state: State,
    sessions: Sessions,
    topics: RwLock<BTreeMap<String, Arc<TopicLog>>>,
    /// Released last, when all else is closed.
    _lock: File,
}

impl Store {
    pub(crate) fn open(config: Config) -> Result<Self, Error> {
        files::create_dir(&config.dir)?;
        let lock = take_lock(&config.dir)?;
        let log_id = identity::open(&config.dir.join("format"))?;
        let state = State::open(&config.dir.join("state"))?;
        let sessions = Sessions::new(state.sessions()?);
        let topics_dir = config.dir.join("topics");
        files::create_dir(&topics_dir)?;
        let mut topics = BTreeMap::new();
        for topic in state.topics()? {
            let name = topic.name.clone();
            let log = TopicLog::open(&topics_dir, topic, config.durability)?;
            topics.insert(name, Arc::new(log));
        }
        Ok(Self {
            config,
            log_id,
            state,
            sessions,
            topics: RwLock::new(topics),
            _lock: lock,
        })
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.log_id
    }

    pub(crate) fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Topic, Error> {
        check_topic(name, config)?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(existing) = topics.get(name) {
            let mut topic = existing.topic();
            if topic.config.retention != config.retention {
                topic.config.retention = config.retention;
                self.state.put_topic(&topic)?;
                existing.set_topic(topic.clone());
            }
            return Ok(topic);
        }
        let topic = Topic {
            name: name.to_owned(),
            config,
        };
        self.state.put_topic(&topic)?;
        let dir = self.config.dir.join("topics");
        let log = TopicLog::open(&dir, topic.clone(), self.config.durability)?;
        topics.insert(name.to_owned(), Arc::new(log));
        Ok(topic)
    }

    pub(crate) fn topics(&self) -> Vec<Topic> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().map(|log| log.topic()).collect()
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicLog>, Error> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics
            .get(name)
            .cloned()
            .ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    pub(crate) fn begin_session(&self, ingest: &str) -> Result<Session, Error> {
        check_name("ingest", ingest)?;
        let mut newest = self.sessions.write();
        let number = newest.get(ingest).copied().unwrap_or(0) + 1;
        self.state.put_session(ingest, number)?;
        newest.insert(ingest.to_owned(), number);
        Ok(Session {
            ingest: ingest.to_owned(),
            number,
        })
    }

    pub(crate) fn append(
        &self,
        session: Option<&Session>,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Offset>, Error> {
        let topic = self.topic(topic)?;
        let max = self.config.batch_bytes_max;
        if let Some((_, buffer)) = batches.iter().find(|(_, buffer)| buffer.size() > max) {
            return Err(Error::BatchTooLarge {
                bytes: buffer.size(),
                max,
            });
        }
        let parts = batches.iter().map(|(partition, buffer)| Part {
            partition: *partition,
            records: buffer.len(),
            max_timestamp_ms: buffer.max_timestamp_ms(),
            batch: batch::encode(buffer).unwrap_or_default(),
        });
        let request = Request {
            session: session.cloned(),
            parts: parts.collect(),
        };
        topic.append(request, &self.sessions)
    }

    pub(crate) fn commit_offset(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        next: Offset,
    ) -> Result<(), Error> {
        check_name("group", group)?;
        self.topic(topic)?;
        let committed = Committed {
            partition,
            next,
            at_ms: now_ms(),
        };
        self.state.put_committed(group, topic, committed)
    }

    pub(crate) fn committed_offsets(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<Vec<(u32, Offset)>, Error> {
        let committed = self.state.committed(group, topic)?;
        Ok(committed.iter().map(|c| (c.partition, c.next)).collect())
    }

    /// Makes everything durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().try_for_each(|log| log.sync())
    }
}

fn take_lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("LOCK");
    let lock = File::create(&path).map_err(|source| files::io_error("open", &path, source))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(files::io_error("lock", &path, source)),
    }
}

fn check_topic(name: &str, config: TopicConfig) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len());
    if !fits || !name.chars().all(allowed) || matches!(name, "." | "..") {
        return Err(Error::Invalid {
            what: "topic",
            value: name.to_owned(),
            allowed: "1 to 249 letters, digits, dots, underscores and hyphens",
        });
    }
    if !(1..=PARTITIONS_MAX).contains(&config.partitions) {
        return Err(Error::Invalid {
            what: "partition count",
            value: config.partitions.to_string(),
            allowed: "1 to 1,024",
        });
    }
    Ok(())
}

fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    let fits = (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len());
    if !fits || name.chars().any(char::is_control) {
        return Err(Error::Invalid {
            what,
            value: name.to_owned(),
            allowed: "1 to 249 bytes without control characters",
        });
    }
    Ok(())
}

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
