//! The client: one type with the same operations, whether this process owns the log, is the guest of another
//! that does, or reaches it over a network.

mod figures;
mod groups;
mod marks;
mod topics;

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::owner_watch::OwnerWatch;
use crate::places::Places;
use crate::remote::Remote;
use crate::store::Store;
use crate::topic::TopicLog;
use crate::{
    Config, Error, LogId, Offset, RecordBuffer, Records, RemoteConfig, ServedClient, Session,
};

/// A log in use. Clones share it; every call blocks.
///
/// Calls to a log that another process serves wait for its server for a time, and then fail with [`Error::Away`]. The
/// caller then makes a new client and carries nothing over.
#[derive(Clone)]
pub struct Client {
    log_id: LogId,
    role: Role,
}

/// Ends the server for guests.
pub(crate) type StopHost = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
enum Role {
    /// This process.
    Owner {
        store: Arc<RwLock<Option<Arc<Store>>>>,
        /// Ends the server for guests, while there is one; not in the clones that serve.
        host: Arc<Mutex<Option<StopHost>>>,
        /// The places of the clients of each server of this log, shared by all clones.
        served: Arc<Mutex<Vec<Weak<Places>>>>,
    },
    /// Another one.
    Remote {
        remote: Arc<Remote>,
        /// Looks whether the owner is there still, of a guest.
        _watch: Option<Arc<OwnerWatch>>,
    },
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Client");
        shown.field("log_id", &self.log_id);
        if let Role::Remote { remote, .. } = &self.role {
            shown.field("remote", remote);
        }
        shown.finish_non_exhaustive()
    }
}

impl Client {
    /// Opens the log in a directory and creates it if it does not exist. Nobody else has it meanwhile, and nobody is
    /// served.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it; others if it cannot be read.
    pub fn open(config: Config) -> Result<Self, Error> {
        let store = Store::open(config)?;
        Ok(Self {
            log_id: store.core().shared.log_id,
            role: Role::Owner {
                store: Arc::new(RwLock::new(Some(Arc::new(store)))),
                host: Arc::default(),
                served: Arc::default(),
            },
        })
    }

    /// Connects to a log that is served elsewhere, or to a Kafka cluster; waits for it at most `timeout`.
    ///
    /// # Errors
    /// [`Error::Away`] if it does not answer, [`Error::Remote`] if it refuses us or the configuration is wrong.
    pub fn connect(config: RemoteConfig, timeout: Duration) -> Result<Self, Error> {
        let remote = Remote::connect(config, timeout, &|| false)?;
        Ok(Self {
            log_id: remote.log_id(),
            role: Role::Remote {
                remote: Arc::new(remote),
                _watch: None,
            },
        })
    }

    pub(crate) fn of_guest(remote: Arc<Remote>, watch: OwnerWatch) -> Self {
        Self {
            log_id: remote.log_id(),
            role: Role::Remote {
                remote,
                _watch: Some(Arc::new(watch)),
            },
        }
    }

    /// Gives an owner what ends its server for guests.
    pub(crate) fn set_host(&self, new: StopHost) {
        if let Role::Owner { host, .. } = &self.role {
            *host.lock() = Some(new);
        }
    }

    /// Notes a server of this log, with the places of its clients.
    pub(crate) fn is_served_to(&self, places: &Arc<Places>) {
        if let Role::Owner { served, .. } = &self.role {
            let mut served = served.lock();
            served.retain(|places| places.strong_count() > 0);
            served.push(Arc::downgrade(places));
        }
    }

    /// The programs that are connected to this process for the log, by name and host; empty if another process owns it.
    #[must_use]
    pub fn served_clients(&self) -> Vec<ServedClient> {
        let mut clients = Vec::new();
        if let Role::Owner { served, .. } = &self.role {
            let served = served.lock();
            for places in served.iter().filter_map(Weak::upgrade) {
                places.list(&mut clients);
            }
        }
        clients.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        clients
    }

    /// A clone that does not keep the server for guests, for that server.
    pub(crate) fn without_host(&self) -> Self {
        let mut client = self.clone();
        if let Role::Owner { host, .. } = &mut client.role {
            *host = Arc::default();
        }
        client
    }

    /// The log's id.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Whether this process has the log.
    #[must_use]
    pub const fn is_owner(&self) -> bool {
        matches!(self.role, Role::Owner { .. })
    }

    /// Whether a guest's owner is still there; to be asked now and then by who makes no other call for long, as a
    /// guest is to take over. Costs nothing.
    ///
    /// # Errors
    /// [`Error::Away`] if it has gone.
    pub fn check(&self) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => Ok(()),
            Role::Remote { remote, .. } => remote.check(),
        }
    }

    /// Checks that the disk has more free than the log keeps in reserve; does nothing for a log elsewhere. Costs next to
    /// nothing.
    ///
    /// # Errors
    /// [`Error::NoSpace`], and if the disk cannot be measured.
    pub fn check_space(&self) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().shared.space.check(),
            Role::Remote { .. } => Ok(()),
        }
    }

    /// Returns the failed write after which this process writes no more to the log until it is opened again, if there was one;
    /// `None` for a log elsewhere. Costs next to nothing.
    #[must_use]
    pub fn failed_write(&self) -> Option<Error> {
        let Role::Owner { store, .. } = &self.role else {
            return None;
        };
        let store = store.read().clone()?;
        store.core().shared.failed_write()
    }

    /// How often the log may have been replaced by another since it was opened: each time the connection to a log
    /// elsewhere was lost, or an end moved backwards. What was read while this stays the same is of one log. Costs
    /// next to nothing.
    #[must_use]
    pub fn doubts(&self) -> u64 {
        match &self.role {
            Role::Owner { .. } => 0,
            Role::Remote { remote, .. } => remote.doubts(),
        }
    }

    /// Asks a server anew whose log it serves.
    ///
    /// # Errors
    /// [`Error::Replaced`] if it is not the one that was connected to.
    pub fn recheck(&self, topic: &str) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => Ok(()),
            Role::Remote { remote, .. } => remote.recheck(topic),
        }
    }

    /// From now on calls give up within seconds on a server that does not answer. For a process that ends.
    pub fn give_up(&self) {
        if let Role::Remote { remote, .. } = &self.role {
            remote.give_up();
        }
    }

    /// What calls wait for at this moment, if they have waited for more than an instant; of a log elsewhere.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        match &self.role {
            Role::Owner { .. } => None,
            Role::Remote { remote, .. } => remote.waits_for(),
        }
    }

    /// Begins a session of an ingest: from now on appends of its earlier sessions fail. Persisted before it
    /// returns. On a Kafka cluster the transactional id is what fences, and the session's number is 0.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin_session(&self, ingest: &str) -> Result<Session, Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().begin_session(ingest),
            Role::Remote { remote, .. } => remote.begin_session(ingest),
        }
    }

    /// Appends a batch to each of some partitions of one topic and returns the first offset that each got, in
    /// their order; in this process all or none of them, elsewhere perhaps some of them if it fails, and other
    /// writers' records may lie between. Returns when they are as durable as [`Config::durability`] says;
    /// readers see them from then on, with [`Durability::Interval`](crate::Durability::Interval) after the next
    /// fsync. Empty buffers are skipped (their offset is the end).
    ///
    /// # Errors
    /// [`Error::Fenced`] if the session has been succeeded, [`Error::NoSpace`] while the disk is full (both
    /// before anything is written). After [`Error::Store`], [`Error::Io`], [`Error::Away`] or
    /// [`Error::Remote`] the outcome is unknown.
    pub fn append(
        &self,
        session: Option<&Session>,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Offset>, Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().append(session, topic, batches),
            Role::Remote { remote, .. } => remote.append(session, topic, batches),
        }
    }

    /// Makes everything durable that was appended before the call, whatever [`Config::durability`] says: to be
    /// called before something is destroyed, or remembered, that rests on it. Costs nothing where all of it is.
    /// A Kafka cluster's acknowledgement is all that can be had of it.
    ///
    /// # Errors
    /// If the store fails, or the log's server.
    pub fn persist(&self) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().sync_all(),
            Role::Remote { remote, .. } => remote.groups()?.persist(),
        }
    }

    /// Has the owner make a snapshot of the log in its directory.
    pub(crate) fn snapshot(&self, name: &str) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().snapshot(name),
            Role::Remote { remote, .. } => remote.groups()?.snapshot(name),
        }
    }

    /// Reads whole record batches from the one that holds `from` on, at least one if there is one, else up
    /// to `bytes_max` (compressed); records below `from` are left out. Returns no records at the end. The end of a log
    /// elsewhere is the one that [`Self::ends`] or [`Self::partition_ends`] returned last, or a later one.
    ///
    /// # Errors
    /// [`Error::OffsetOutOfRange`] if `from` lies below the log start offset or above the high watermark.
    pub fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Records, Error> {
        match &self.role {
            Role::Owner { .. } => self.topic(topic)?.read(partition, from, bytes_max),
            Role::Remote { remote, .. } => {
                remote.consumer()?.read(topic, partition, from, bytes_max)
            }
        }
    }

    /// Begins to fetch from the given places at once, for [`Self::read`] to take one after the other. Does
    /// nothing for a log in this process.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn read_ahead(&self, topic: &str, places: &[(u32, Offset)]) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => Ok(()),
            Role::Remote { remote, .. } => remote.consumer()?.read_ahead(topic, places),
        }
    }

    /// Fetches nothing more until something is read again: a log over a network is fetched ahead. What another thread
    /// reads at this moment is still fetched.
    ///
    /// # Errors
    /// If the log's server has gone.
    pub fn stop_reading(&self) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => Ok(()),
            Role::Remote { remote, .. } => remote.consumer()?.stop_reading(),
        }
    }

    /// Waits until a partition of the topic has its high watermark behind one of the given offsets, at most
    /// `timeout`; says whether one has.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn wait_for_records(
        &self,
        topic: &str,
        behind: &[(u32, Offset)],
        timeout: Duration,
    ) -> Result<bool, Error> {
        match &self.role {
            Role::Owner { .. } => self.topic(topic)?.wait_for_records(behind, timeout),
            Role::Remote { remote, .. } => remote.wait_for_records(topic, behind, timeout),
        }
    }

    /// Makes everything durable, notes the partitions' ends and gives the log up; its guests look for another
    /// owner. The other clones fail from then on. A log elsewhere stays open there.
    ///
    /// # Errors
    /// If the store fails.
    pub fn close(self) -> Result<(), Error> {
        let Role::Owner { store, host, .. } = self.role else {
            return Ok(());
        };
        let stop = host.lock().take();
        stop.into_iter().for_each(|stop| stop());
        let mut slot = store.write();
        let mut store = slot.take().ok_or(Error::Closed)?;
        drop(slot);
        // Calls of other clones that have begun end first; those that wait for records give up.
        store.wake_waiting();
        loop {
            match Arc::try_unwrap(store) {
                Ok(last) => return last.close(),
                Err(shared) => store = shared,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn owned(&self, what: &'static str) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => Ok(()),
            Role::Remote { remote, .. } => Err(remote.not_here(what)),
        }
    }

    pub(crate) fn store(&self) -> Result<Arc<Store>, Error> {
        match &self.role {
            Role::Owner { store, .. } => {
                let store = store.read();
                store.clone().ok_or(Error::Closed)
            }
            Role::Remote { remote, .. } => Err(remote.not_here("what it holds")),
        }
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicLog>, Error> {
        self.store()?.core().topic(name)
    }
}
