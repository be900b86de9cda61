//! A log that another process serves, here or elsewhere, over the Kafka protocol: the operations of
//! [`Client`](crate::Client) by librdkafka.
//!
//! The server may be Bekk's own (its cluster id begins with `bekk.`) or a Kafka cluster. What the protocol has
//! no request for goes to Bekk's server in the requests that come closest: sessions and holds are offsets of
//! groups with names of their own (`docs/format.md`); a cluster fences by transactions instead and holds
//! nothing.

mod consumer;
mod groups;
mod place;
mod producer;
mod reader;
mod settings;
mod topics;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

pub use settings::RemoteConfig;

use self::consumer::Consumer;
use self::groups::Groups;
use self::producer::Producer;
use self::settings::Context;
use crate::{
    Error, LogId, Offset, PartitionEnds, RecordBuffer, Records, Session, Topic, TopicConfig,
    TopicSize,
};

/// How long the first attempt at a request may take; each further one twice as long as the one before. Between
/// attempts it is seen whether the server has gone.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long to wait before a request that failed at once is tried again.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
/// How long a call goes on waiting for a server that does not answer once it is told to stop.
const STOPPING_TIMEOUT: Duration = Duration::from_secs(2);

/// The cluster id of a Bekk server before its log id.
pub(crate) const CLUSTER_ID_PREFIX: &str = "bekk.";

/// A log elsewhere.
pub(crate) struct Remote {
    link: Arc<Link>,
    log_id: LogId,
    consumer: Consumer,
    groups: Groups,
    /// The producer of each session's appends, and that of those without one.
    producers: Mutex<HashMap<Option<Session>, Arc<Producer>>>,
}

/// What all parts of a [`Remote`] share.
pub(crate) struct Link {
    config: RemoteConfig,
    /// The log is Bekk's own server's, not a Kafka cluster's.
    is_bekk: bool,
    /// Set once whatever waits for the server is to give up.
    gives_up: AtomicBool,
    /// The server is known to have gone for good.
    is_lost: AtomicBool,
    /// Kept once it is there: to give one up takes librdkafka's binding up to a tenth of a second.
    admin: Mutex<Option<Arc<Admin>>>,
}

type Admin = AdminClient<DefaultClientContext>;

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("address", &self.link.config.hosts)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// librdkafka's settings for a client of the given name.
    fn client_config(&self, client_id: &str) -> ClientConfig {
        self.config.client_config(client_id)
    }

    /// The client for administrative requests.
    fn admin(&self) -> Result<Arc<Admin>, Error> {
        let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(admin) = &*admin {
            return Ok(Arc::clone(admin));
        }
        // By that name the server knows one of Bekk's programs: only those may delete a sink's group.
        let created: Admin = self
            .client_config("bekk-admin")
            .create()
            .map_err(|error| self.refused("set up a client for", error))?;
        Ok(Arc::clone(admin.insert(Arc::new(created))))
    }

    fn away(&self, detail: impl fmt::Display) -> Error {
        Error::Away {
            address: self.config.hosts.clone(),
            detail: detail.to_string(),
        }
    }

    /// How long a call may still wait for a server that does not answer.
    fn patience(&self) -> Duration {
        if self.is_lost.load(Ordering::Acquire) {
            Duration::ZERO
        } else if self.gives_up.load(Ordering::Acquire) {
            STOPPING_TIMEOUT
        } else {
            self.config.patience
        }
    }

    /// Makes a request that may be made twice, until the server answers, or has been waited for long enough.
    fn attempt<T>(
        &self,
        act: &'static str,
        mut request: impl FnMut(Duration) -> KafkaResult<T>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let mut timeout = ATTEMPT_TIMEOUT;
        loop {
            self.check()?;
            match request(timeout) {
                Err(error) if !is_away(&error) || begun.elapsed() >= self.patience() => {
                    return Err(self.failed(act, &error));
                }
                Err(_) => std::thread::sleep(ATTEMPT_PAUSE),
                Ok(answer) => return Ok(answer),
            }
            timeout *= 2;
        }
    }

    /// An error that a request ended with.
    fn failed(&self, act: &'static str, error: &KafkaError) -> Error {
        if is_away(error) {
            self.away(error)
        } else {
            self.refused(act, error)
        }
    }

    fn refused(&self, act: &'static str, detail: impl fmt::Display) -> Error {
        Error::Remote {
            act,
            address: self.config.hosts.clone(),
            detail: detail.to_string(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.is_lost.load(Ordering::Acquire) {
            return Err(self.away("its owner has gone"));
        }
        Ok(())
    }
}

/// Whether an error says that the server cannot be reached, or does not answer in time.
fn is_away(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let code = match error {
        // Of which librdkafka's binding does not tell the code.
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    matches!(
        code,
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::MessageTimedOut
                | Code::TimedOutQueue
                | Code::RequestTimedOut
                | Code::NetworkException
                | Code::WaitingForCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::LeaderNotAvailable
                | Code::BrokerNotAvailable
                | Code::PurgeQueue
                | Code::PurgeInflight
                | Code::Resolve
                | Code::BrokerDestroy,
        )
    )
}

impl Remote {
    /// Connects to the log; waits for its server at most `timeout`, and no longer than `has_gone` says that there
    /// is one.
    pub(crate) fn connect(
        config: RemoteConfig,
        timeout: Duration,
        has_gone: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let away = |detail: String| Error::Away {
            address: config.hosts.clone(),
            detail,
        };
        let failure = Arc::new(Mutex::new(None));
        let asker: BaseConsumer<Context> = config
            .client_config("bekk")
            .create_with_context(Context::noting(Arc::clone(&failure)))
            .map_err(|error| Error::Remote {
                act: "set up the connection to",
                address: config.hosts.clone(),
                detail: settings::explain(&error),
            })?;
        let begun = Instant::now();
        while let Err(error) = asker.client().fetch_metadata(None, ATTEMPT_TIMEOUT) {
            // The events tell more than the time-out does.
            let _ = asker.poll(Duration::ZERO);
            if begun.elapsed() >= timeout || has_gone() {
                let noted = failure.lock().unwrap_or_else(PoisonError::into_inner);
                return Err(away(noted.clone().unwrap_or_else(|| error.to_string())));
            }
        }
        let cluster_id = asker
            .client()
            .fetch_cluster_id(timeout)
            .ok_or_else(|| away("it does not tell its cluster id".to_owned()))?;
        let own = cluster_id
            .strip_prefix(CLUSTER_ID_PREFIX)
            .and_then(|id| id.parse().ok());
        let link = Arc::new(Link {
            is_bekk: own.is_some(),
            gives_up: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            admin: Mutex::default(),
            config,
        });
        Ok(Self {
            log_id: own.unwrap_or_else(|| LogId::of_cluster(&cluster_id)),
            consumer: Consumer::new(Arc::clone(&link), asker)?,
            groups: Groups::new(Arc::clone(&link)),
            producers: Mutex::default(),
            link,
        })
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Whether the server is not known to have gone.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.link.check()
    }

    /// From now on calls give up soon on a server that does not answer.
    pub(crate) fn give_up(&self) {
        self.link.gives_up.store(true, Ordering::Release);
        self.consumer.wake();
    }

    /// From now on every call fails: the server has gone.
    pub(crate) fn lose(&self) {
        self.link.is_lost.store(true, Ordering::Release);
        self.consumer.wake();
    }

    pub(crate) fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Topic, Error> {
        self.link.check()?;
        topics::create(&self.link, self.consumer.asker(), name, config)
    }

    pub(crate) fn topics(&self) -> Result<Vec<Topic>, Error> {
        self.link.check()?;
        topics::list(&self.link, self.consumer.asker())
    }

    pub(crate) fn topic_size(&self, topic: &str) -> Result<TopicSize, Error> {
        self.link.check()?;
        topics::size(&self.link, topic)
    }

    pub(crate) fn gap_count(&self, topic: &str) -> Result<u64, Error> {
        self.link.check()?;
        topics::gap_count(&self.link, topic)
    }

    pub(crate) fn begin_session(&self, ingest: &str) -> Result<Session, Error> {
        self.link.check()?;
        let number = if self.link.is_bekk {
            self.groups.begin_session(ingest)?
        } else {
            0
        };
        let session = Session {
            ingest: ingest.to_owned(),
            number,
        };
        // On a cluster this is what keeps the last session's appends out from now on.
        let producer = Producer::of_session(Arc::clone(&self.link), &session)?;
        let mut producers = self.producers();
        producers.retain(|session, _| session.as_ref().is_none_or(|s| s.ingest != ingest));
        producers.insert(Some(session.clone()), Arc::new(producer));
        Ok(session)
    }

    pub(crate) fn append(
        &self,
        session: Option<&Session>,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
    ) -> Result<Vec<Offset>, Error> {
        self.link.check()?;
        let known = self.producers().get(&session.cloned()).cloned();
        let producer = match (known, session) {
            (Some(producer), _) => producer,
            (None, None) => {
                let producer = Arc::new(Producer::without_session(Arc::clone(&self.link))?);
                self.producers().insert(None, Arc::clone(&producer));
                producer
            }
            (None, Some(session)) => return Err(self.fenced(session)),
        };
        let appended = producer.append(topic, batches);
        match (appended, session) {
            (Err(error @ Error::Remote { .. }), Some(session)) if self.link.is_bekk => {
                // The refusal may be the fence's.
                match self.groups.newest_session(&session.ingest) {
                    Ok(Some(newest)) if newest > session.number => Err(Error::Fenced {
                        ingest: session.ingest.clone(),
                        session: session.number,
                        newest,
                    }),
                    _ => Err(error),
                }
            }
            (appended, _) => self.with_ends(topic, batches, appended?),
        }
    }

    /// The offsets of an append; of a buffer that was empty, the partition's end.
    fn with_ends(
        &self,
        topic: &str,
        batches: &[(u32, &RecordBuffer)],
        offsets: Vec<Option<Offset>>,
    ) -> Result<Vec<Offset>, Error> {
        let mut ends = None;
        let mut all = Vec::with_capacity(offsets.len());
        for (offset, (partition, _)) in offsets.into_iter().zip(batches) {
            let offset = match (offset, &mut ends) {
                (Some(offset), _) => offset,
                (None, ends) => {
                    if ends.is_none() {
                        *ends = Some(self.partition_ends(topic)?);
                    }
                    let found = ends.iter().flatten().find(|e| e.partition == *partition);
                    found.map_or(Offset::ZERO, |ends| ends.end)
                }
            };
            all.push(offset);
        }
        Ok(all)
    }

    fn fenced(&self, session: &Session) -> Error {
        let newest = self.groups.newest_session(&session.ingest);
        Error::Fenced {
            ingest: session.ingest.clone(),
            session: session.number,
            newest: newest.ok().flatten().unwrap_or(session.number),
        }
    }

    pub(crate) fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Records, Error> {
        self.link.check()?;
        self.consumer.read(topic, partition, from, bytes_max)
    }

    pub(crate) fn partition_ends(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        self.link.check()?;
        self.consumer.partition_ends(topic)
    }

    pub(crate) fn high_watermarks(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        self.link.check()?;
        self.consumer.high_watermarks(topic)
    }

    pub(crate) fn wait_for_records(
        &self,
        topic: &str,
        behind: &[(u32, Offset)],
        timeout: Duration,
    ) -> Result<bool, Error> {
        self.link.check()?;
        self.consumer.wait_for_records(topic, behind, timeout)
    }

    pub(crate) fn offset_for_time(
        &self,
        topic: &str,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        self.link.check()?;
        self.consumer
            .offset_for_time(topic, partition, timestamp_ms)
    }

    pub(crate) fn commit_offset(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        next: Offset,
    ) -> Result<(), Error> {
        self.link.check()?;
        self.groups.commit(group, topic, partition, next)
    }

    pub(crate) fn committed_offsets(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<Vec<(u32, Offset)>, Error> {
        self.link.check()?;
        let partitions = self.consumer.partition_count(topic)?;
        self.groups.committed(group, topic, partitions)
    }

    pub(crate) fn forget_group(&self, group: &str) -> Result<(), Error> {
        self.link.check()?;
        self.groups.forget(group)
    }

    pub(crate) fn hold(
        &self,
        holder: &str,
        topic: &str,
        offsets: &[(u32, Offset)],
    ) -> Result<(), Error> {
        self.link.check()?;
        self.groups.hold(holder, topic, offsets)
    }

    pub(crate) fn release(&self, holder: &str) -> Result<(), Error> {
        self.link.check()?;
        self.groups.release(holder)
    }

    /// What the protocol cannot ask of a server.
    pub(crate) fn not_here(&self, what: &'static str) -> Error {
        Error::NotHere {
            what,
            address: self.link.config.hosts.clone(),
        }
    }

    fn producers(&self) -> MutexGuard<'_, HashMap<Option<Session>, Arc<Producer>>> {
        self.producers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
