//! The log in its directory, held by this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::background::Threads;
use crate::clock::now_ms;
use crate::core::{Core, mark_path};
use crate::files::{self, make_private};
use crate::lock::DirLock;
use crate::mark::Mark;
use crate::poison::Poison;
use crate::producer_ids::ProducerIds;
use crate::sessions::Sessions;
use crate::shared::{Counts, OpenSegments, Shared, Signal};
use crate::space::{self, Space};
use crate::topic::TopicLog;
use crate::{Config, Error, identity, network_fs, snapshot, state};

/// The log in its directory. Dropping it closes it.
pub(crate) struct Store {
    threads: Threads,
    core: Arc<Core>,
    closed: bool,
    /// Released last, when all else is closed.
    _lock: DirLock,
}

impl Store {
    pub(crate) fn open(config: Config) -> Result<Self, Error> {
        network_fs::refuse(&config.dir)?;
        files::create_dir(&config.dir)?;
        identity::refuse_other_files(&config.dir)?;
        make_private(&config.dir)?;
        let lock = DirLock::take(&config.dir)?;
        space::use_spare(&config.dir);
        snapshot::remove_leftovers(&config.dir)?;
        let is_new = !config.dir.join("state").exists() && !config.dir.join("topics").exists();
        let log_id = identity::open(&config.dir, is_new)?;
        let mark = Mark::read(&mark_path(&config.dir), now_ms())?;
        let state = state::open(&config.dir)?;
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
        state::finish_deletions(&shared.state, &shared.config.dir)?;
        let mut topics = BTreeMap::new();
        for topic in shared.state.topics()? {
            let name = topic.name.clone();
            let ends = mark.ends.get(&name).map(Vec::as_slice);
            let log = TopicLog::open(Arc::clone(&shared), topic, ends, mark.clean)?;
            topics.insert(name, Arc::new(log));
        }
        let core = Arc::new(Core::new(shared, topics)?);
        // From here on the log does not count as closed in order. Without room to write that down there is no room for
        // records either.
        match core.write_mark(false) {
            Err(error) if error.is_no_space() => {
                tracing::warn!(%error, "the log's disk is full; reads continue, appends wait for space");
            }
            done => done?,
        }
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
        let closed = self
            .core
            .shared
            .state
            .write_copy()
            .and_then(|()| self.core.write_mark(true));
        match closed {
            // The next opening reads more for it.
            Err(error) if error.is_no_space() => {
                tracing::warn!(%error, "the log's disk is full, so its clean end is not recorded; the next start reads more of it, and nothing is lost");
                Ok(())
            }
            closed => closed,
        }
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
