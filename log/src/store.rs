//! The log in its directory, held by this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::append::{Part, Placed, Request};
use crate::background::Threads;
use crate::lock::DirLock;
use crate::mark::{Ends, Mark};
use crate::producer_ids::ProducerIds;
use crate::segment::{self, DAMAGED, Header};
use crate::sessions::Sessions;
use crate::shared::{Counts, OpenSegments, Poison, Shared, Signal, now_ms};
use crate::space::Space;
use crate::state::{ForeignCommit, Position, State};
use crate::topic::{TopicLog, lock};
use crate::{
    Config, Error, Offset, RecordBuffer, Retention, Session, Topic, TopicConfig, batch, deletion,
    files, identity, journal, network_fs,
};

const NAME_BYTES_MAX: usize = 249;
const PARTITIONS_MAX: u32 = 1024;

/// The log in its directory. Dropping it closes it.
pub(crate) struct Store {
    threads: Threads,
    core: Arc<Core>,
    closed: bool,
    /// Released last, when all else is closed.
    _lock: DirLock,
}

/// What the background threads work on too.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    topics: RwLock<BTreeMap<String, Arc<TopicLog>>>,
    /// Held while a topic is made, changed or deleted.
    pub(crate) changing: Mutex<()>,
    /// What the durable mark says; held while it is written.
    marked: Mutex<Ends>,
    /// Held while segments are let go of, so that log starts only grow.
    pub(crate) retaining: Mutex<()>,
}

impl Store {
    pub(crate) fn open(config: Config) -> Result<Self, Error> {
        network_fs::refuse(&config.dir)?;
        files::create_dir(&config.dir)?;
        let lock = DirLock::take(&config.dir)?;
        let is_new = !config.dir.join("state").exists() && !config.dir.join("topics").exists();
        let log_id = identity::open(&config.dir.join("format"), is_new)?;
        let mark = Mark::read(&mark_path(&config.dir), now_ms())?;
        let state = open_state(&config.dir, mark.clean)?;
        let shared = Arc::new(Shared {
            sessions: Sessions::new(state.sessions()?, state.session_floor()?),
            space: Space::new(config.dir.clone(), config.reserve_bytes),
            config,
            log_id,
            state,
            poison: Poison::default(),
            open_segments: OpenSegments::default(),
            counts: Counts::default(),
            producer_ids: ProducerIds::default(),
            advanced: tokio::sync::watch::Sender::default(),
            segment_work: Signal::default(),
            mark_work: Signal::default(),
            closing: AtomicBool::new(false),
        });
        files::create_dir(&shared.config.dir.join("topics"))?;
        deletion::finish_all(&shared.state, &shared.config.dir)?;
        let mut topics = BTreeMap::new();
        for topic in shared.state.topics()? {
            let name = topic.name.clone();
            let ends = mark.ends.get(&name).map(Vec::as_slice);
            let log = TopicLog::open(Arc::clone(&shared), topic, ends, mark.clean)?;
            topics.insert(name, Arc::new(log));
        }
        let core = Arc::new(Core {
            shared,
            topics: RwLock::new(topics),
            changing: Mutex::default(),
            marked: Mutex::default(),
            retaining: Mutex::default(),
        });
        // From here on the log is no longer one that was closed in order.
        core.write_mark(false)?;
        Ok(Self {
            threads: Threads::start(&core),
            core,
            closed: false,
            _lock: lock,
        })
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Makes everything durable and notes where it ends.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        self.shut_down()
    }

    /// Makes those who wait for records give up.
    pub(crate) fn wake_waiting(&self) {
        self.core.shared.closing.store(true, Ordering::Release);
        self.core.topics().iter().for_each(|topic| topic.wake());
    }

    fn shut_down(&mut self) -> Result<(), Error> {
        self.closed = true;
        self.wake_waiting();
        self.core.shared.segment_work.notify();
        self.core.shared.mark_work.notify();
        self.threads.join();
        self.core
            .topics()
            .iter()
            .try_for_each(|topic| topic.sync())?;
        self.core.shared.open_segments.close();
        self.core.write_mark(true)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        if let Err(error) = self.shut_down() {
            tracing::error!(%error, "the log could not be closed in order");
        }
    }
}

impl Core {
    pub(crate) fn topics(&self) -> Vec<Arc<TopicLog>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().cloned().collect()
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicLog>, Error> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics
            .get(name)
            .cloned()
            .ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    pub(crate) fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Topic, Error> {
        check_topic(name, config)?;
        let _changing = lock(&self.changing);
        if let Ok(existing) = self.topic(name) {
            self.change_retention(&existing, config.retention)?;
            return Ok(existing.topic());
        }
        self.add_topic(name, config)
    }

    /// Sets how long the records of a topic are kept.
    pub(crate) fn set_retention(&self, name: &str, retention: Retention) -> Result<(), Error> {
        let _changing = lock(&self.changing);
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
        let _changing = lock(&self.changing);
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
            deletion::finish(&self.shared.state, &self.shared.config.dir, name)?;
        }
        // First: a topic without its directory gets it when the log is opened, not the other way round.
        self.shared.state.put_topic(&topic)?;
        let log = TopicLog::open(Arc::clone(&self.shared), topic.clone(), None, false)?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(name.to_owned(), Arc::new(log));
        Ok(topic)
    }

    pub(crate) fn remove_from_topics(&self, name: &str) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.remove(name);
    }

    pub(crate) fn begin_session(&self, ingest: &str) -> Result<Session, Error> {
        check_name("ingest", ingest)?;
        let session = self.shared.sessions.begin(ingest, |number| {
            self.shared.state.put_session(ingest, number)
        })?;
        self.show_all()?;
        Ok(session)
    }

    /// Begins the session of this number, if it is above all earlier ones; says whether it is.
    pub(crate) fn begin_session_at(&self, ingest: &str, number: u64) -> Result<bool, Error> {
        check_name("ingest", ingest)?;
        let begun = self.shared.sessions.begin_at(ingest, number, || {
            self.shared.state.put_session(ingest, number)
        })?;
        if begun {
            self.show_all()?;
        }
        Ok(begun)
    }

    /// Makes what the earlier sessions wrote visible before the new one looks.
    fn show_all(&self) -> Result<(), Error> {
        self.topics().iter().try_for_each(|topic| topic.sync())
    }

    pub(crate) fn append(
        &self,
        session: Option<&Session>,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Offset>, Error> {
        let topic = self.topic(topic)?;
        if self.shared.poison.get().is_some() {
            return Err(self.shared.poisoned());
        }
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
        self.shared.state.put_committed(&position)
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
        if *lock(&self.marked) == self.ends() {
            return Ok(());
        }
        self.write_mark(false)
    }

    fn write_mark(&self, clean: bool) -> Result<(), Error> {
        let mut marked = lock(&self.marked);
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

fn mark_path(dir: &Path) -> PathBuf {
    dir.join("ends")
}

/// Opens the state, making it if there is none. A damaged one is set aside. A new one begins with what the
/// segments say of themselves: the topics come back without retention, groups and holds do not, and sessions
/// go on above any earlier number.
fn open_state(dir: &Path, clean: bool) -> Result<State, Error> {
    let path = dir.join("state");
    if path.is_dir() {
        if !clean {
            for cut in journal::cut(&path, dir, now_ms())? {
                cut.report();
            }
        }
        match State::open(&path) {
            Err(error @ Error::Corrupt { .. }) => {
                let kept = segment::rename_away(&path, &format!("{DAMAGED}{}", now_ms()))?;
                tracing::error!(%error, kept = %kept.display(), "the log's state is damaged and set aside");
            }
            opened => return opened,
        }
    }
    let topics = topics_of_segments(&dir.join("topics"))?;
    State::create(&path, |state| {
        if topics.is_empty() {
            return Ok(());
        }
        tracing::error!(
            "the log's state is made again from its segments; what groups have committed is lost"
        );
        state.put_session_floor(now_ms().unsigned_abs())?;
        topics.iter().try_for_each(|topic| state.put_topic(topic))
    })?;
    State::open(&path)
}

fn topics_of_segments(dir: &Path) -> Result<Vec<Topic>, Error> {
    let mut topics = Vec::new();
    if !dir.is_dir() {
        return Ok(topics);
    }
    for topic_dir in files::entries(dir)? {
        if deletion::is_deleted(&topic_dir) {
            continue;
        }
        let segments = files::entries(&topic_dir)?;
        let header = segments
            .iter()
            .find_map(|segment| Header::read(segment).ok());
        topics.extend(header.map(|header| Topic {
            name: header.topic,
            config: TopicConfig {
                partitions: header.partitions,
                retention: Retention::default(),
            },
        }));
    }
    Ok(topics)
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
