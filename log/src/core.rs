//! The topics of an open log, and what changes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Mutex, RwLock};

use crate::clock::now_ms;
use crate::group_commit::{Part, Placed, Request};
use crate::mark::{Ends, Mark};
use crate::readers::{IdleHolders, Settled};
use crate::shared::Shared;
use crate::state::{ForeignCommit, Position, finish_deletion};
use crate::topic::TopicLog;
use crate::{Error, Offset, RecordBuffer, Retention, Session, Topic, TopicConfig, batch};

const NAME_BYTES_MAX: usize = 249;
const PARTITIONS_MAX: u32 = 1024;

/// What the background threads work on too.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    topics: RwLock<BTreeMap<String, Arc<TopicLog>>>,
    /// Held while a topic is made, changed or deleted.
    pub(crate) changing: Mutex<()>,
    /// What the durable mark says; held while it is written.
    marked: Mutex<Ends>,
    /// Held while retention deletes segments, so that log starts only grow.
    pub(crate) retaining: Mutex<()>,
    pub(crate) settled: Settled,
    pub(crate) idle_holders: IdleHolders,
    /// What groups have committed while the disk was full, by group, topic and partition.
    delayed: Mutex<BTreeMap<(String, String, u32), Position>>,
}

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        topics: BTreeMap<String, Arc<TopicLog>>,
    ) -> Result<Self, Error> {
        Ok(Self {
            settled: Settled::new(shared.state.committed()?),
            shared,
            topics: RwLock::new(topics),
            changing: Mutex::default(),
            marked: Mutex::default(),
            retaining: Mutex::default(),
            idle_holders: IdleHolders::default(),
            delayed: Mutex::default(),
        })
    }

    pub(crate) fn topics(&self) -> Vec<Arc<TopicLog>> {
        let topics = self.topics.read();
        topics.values().cloned().collect()
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicLog>, Error> {
        let topics = self.topics.read();
        topics
            .get(name)
            .cloned()
            .ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    pub(crate) fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Topic, Error> {
        check_topic(name, config)?;
        let _changing = self.changing.lock();
        if let Ok(existing) = self.topic(name) {
            self.change_retention(&existing, config.retention)?;
            return Ok(existing.topic());
        }
        self.add_topic(name, config)
    }

    /// Sets how long the records of a topic are kept.
    pub(crate) fn set_retention(&self, name: &str, retention: Retention) -> Result<(), Error> {
        let _changing = self.changing.lock();
        self.change_retention(&*self.topic(name)?, retention)
    }

    fn change_retention(&self, log: &TopicLog, retention: Retention) -> Result<(), Error> {
        let mut topic = log.topic();
        if topic.config.retention != retention {
            topic.config.retention = retention;
            self.shared.state.put_topic(&topic)?;
            log.set_config(topic.config);
        }
        Ok(())
    }

    /// Makes a topic that does not exist; says whether it did not.
    pub(crate) fn create_new_topic(&self, name: &str, config: TopicConfig) -> Result<bool, Error> {
        check_topic(name, config)?;
        let _changing = self.changing.lock();
        if self.topic(name).is_ok() {
            return Ok(false);
        }
        self.add_topic(name, config)?;
        Ok(true)
    }

    fn add_topic(&self, name: &str, config: TopicConfig) -> Result<Topic, Error> {
        let topic = Topic {
            name: name.to_owned(),
            config,
        };
        if self.shared.state.is_being_deleted(name)? {
            finish_deletion(&self.shared.state, &self.shared.config.dir, name)?;
        }
        // First: a topic without its directory gets it when the log is opened, not the other way round.
        self.shared.state.put_topic(&topic)?;
        let log = TopicLog::open(Arc::clone(&self.shared), topic.clone(), None, false)?;
        let mut topics = self.topics.write();
        topics.insert(name.to_owned(), Arc::new(log));
        Ok(topic)
    }

    pub(crate) fn remove_from_topics(&self, name: &str) {
        let mut topics = self.topics.write();
        topics.remove(name);
    }

    pub(crate) fn begin_session(&self, ingest: &str) -> Result<Session, Error> {
        check_name("ingest", ingest)?;
        let session = self.shared.sessions.begin(ingest, |number| {
            self.shared.state.put_session(ingest, number)
        })?;
        self.sync_all()?;
        Ok(session)
    }

    /// Begins the session of this number, if it is the one after the newest; says whether it is.
    pub(crate) fn begin_session_at(&self, ingest: &str, number: u64) -> Result<bool, Error> {
        check_name("ingest", ingest)?;
        let begun = self.shared.sessions.begin_at(ingest, number, || {
            self.shared.state.put_session(ingest, number)
        })?;
        if begun {
            self.sync_all()?;
        }
        Ok(begun)
    }

    /// Makes everything durable, and visible: also what an earlier session wrote, before a new one looks.
    pub(crate) fn sync_all(&self) -> Result<(), Error> {
        self.topics().iter().try_for_each(|topic| topic.sync())
    }

    pub(crate) fn append(
        &self,
        session: Option<&Session>,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Offset>, Error> {
        let topic = self.topic(topic)?;
        self.shared.check_appends()?;
        let max = self.shared.config.batch_bytes_max;
        if let Some((_, buffer)) = batches.iter().find(|(_, buffer)| buffer.size() > max) {
            return Err(Error::BatchTooLarge {
                bytes: buffer.size(),
                max,
            });
        }
        self.shared.space.check()?;
        let parts = batches.iter().map(|(partition, buffer)| Part {
            partition: *partition,
            records: buffer.len(),
            max_timestamp_ms: buffer.max_timestamp_ms(),
            sequenced: None,
            batch: batch::encode(buffer).unwrap_or_default(),
        });
        let request = Request {
            session: session.cloned(),
            parts: parts.collect(),
        };
        self.shared.counts.appends.fetch_add(1, Ordering::Relaxed);
        let placed = topic.append(request)?.into_iter();
        let offsets = placed.map(|placed| match placed {
            Placed::At(offset) => offset,
            Placed::Refused(_) => unreachable!("only numbered batches are refused"),
        });
        Ok(offsets.collect())
    }

    pub(crate) fn commit_offset(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        next: Offset,
    ) -> Result<(), Error> {
        check_name("group", group)?;
        let position = self.position(group, topic, partition, next)?;
        let mut delayed = self.delayed.lock();
        let key = (position.name.clone(), position.topic.clone(), partition);
        match self.shared.state.put_committed(&position) {
            // PostgreSQL has it; what the log has is for tools and retention.
            Err(error) if error.is_no_space() => {
                delayed.insert(key, position);
                Ok(())
            }
            done => {
                delayed.remove(&key);
                done
            }
        }
    }

    /// Notes what groups have committed while the disk was full.
    pub(crate) fn put_delayed(&self) -> Result<(), Error> {
        let mut delayed = self.delayed.lock();
        for position in delayed.values() {
            self.shared.state.put_committed(position)?;
        }
        delayed.clear();
        Ok(())
    }

    pub(crate) fn commit_foreign(&self, commit: &ForeignCommit) -> Result<(), Error> {
        check_name("group", &commit.group)?;
        self.position(&commit.group, &commit.topic, commit.partition, commit.next)?;
        self.shared.state.put_foreign(commit, now_ms())
    }

    pub(crate) fn hold(
        &self,
        holder: &str,
        topic: &str,
        offsets: &[(u32, Offset)],
    ) -> Result<(), Error> {
        check_name("holder", holder)?;
        let positions = offsets
            .iter()
            .map(|(partition, next)| self.position(holder, topic, *partition, *next))
            .collect::<Result<Vec<_>, _>>()?;
        self.shared.state.put_held(&positions)
    }

    fn position(
        &self,
        name: &str,
        topic: &str,
        partition: u32,
        next: Offset,
    ) -> Result<Position, Error> {
        if self.topic(topic)?.topic().config.partitions <= partition {
            return Err(Error::UnknownPartition {
                topic: topic.to_owned(),
                partition,
            });
        }
        Ok(Position {
            name: name.to_owned(),
            topic: topic.to_owned(),
            partition,
            next,
            at_ms: now_ms(),
        })
    }

    /// Writes the durable mark if it would say something new.
    pub(crate) fn write_mark_if_changed(&self) -> Result<(), Error> {
        if *self.marked.lock() == self.ends() {
            return Ok(());
        }
        self.write_mark(false)
    }

    pub(crate) fn write_mark(&self, clean: bool) -> Result<(), Error> {
        let mut marked = self.marked.lock();
        let mark = Mark {
            clean,
            ends: self.ends(),
        };
        mark.write(&mark_path(&self.shared.config.dir))?;
        *marked = mark.ends;
        Ok(())
    }

    fn ends(&self) -> Ends {
        let topics = self.topics();
        let ends = topics
            .iter()
            .map(|topic| (topic.name.clone(), topic.view().highs));
        ends.collect()
    }
}

pub(crate) fn mark_path(dir: &Path) -> PathBuf {
    dir.join("ends")
}

pub(crate) fn check_topic(name: &str, config: TopicConfig) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
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
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    if !fits || name.chars().any(char::is_control) {
        return Err(Error::Invalid {
            what,
            value: name.to_owned(),
            allowed: "1 to 249 bytes without control characters",
        });
    }
    Ok(())
}
