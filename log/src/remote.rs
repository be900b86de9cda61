//! A log that another process serves, here or elsewhere, over the Kafka protocol: the operations of
//! [`Client`](crate::Client) by librdkafka.
//!
//! The server may be Bekk's own (its cluster id begins with `bekk.`) or a Kafka cluster. What the protocol has
//! no request for goes to Bekk's server in the requests that come closest: sessions and holds are offsets of
//! groups with names of their own (`docs/format.md`); a cluster fences by transactions instead and holds
//! nothing.

mod consumer;
mod context;
mod groups;
mod place;
mod producer;
mod reader;
mod request;
mod settings;
mod topic_settings;
mod topics;
mod verdict;
mod waits;
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
pub use waits::Waits;

use self::consumer::Consumer;
use self::context::{Context, Heard};
use self::groups::Groups;
use self::producer::Producer;
use self::request::Request;
use self::verdict::{Verdict, code};
use crate::{
    Error, LogId, Losses, Offset, PartitionEnds, RecordBuffer, Records, Retention, Session, Topic,
    TopicConfig, TopicSize,
};

/// How long the first attempt at a request may take; each further one twice as long as the one before, up to a cap.
/// Between attempts it is seen whether the server has gone.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);
const ATTEMPT_TIMEOUT_MAX: Duration = Duration::from_secs(8);
/// How long to wait before a request that failed at once is tried again; each time twice as long, up to a cap.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
const ATTEMPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long it may take to find out more about what is waited for.
const TROUBLE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a call continues waiting for a server that does not answer once it is told to stop.
const STOPPING_TIMEOUT: Duration = Duration::from_secs(2);

/// Where ingest tells of files and schemas; also what sessions are kept under, on Bekk's server.
const META_TOPIC: &str = "bekk.meta";
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
    /// Asks where things are, over a connection of its own: on a reader's a fetch that waits for records makes the
    /// next request wait too.
    asker: BaseConsumer<Context>,
    heard: Heard,
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
            .map_err(|error| self.refused(Request::cluster("set up a client"), error))?;
        Ok(Arc::clone(admin.insert(Arc::new(created))))
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

    /// Waits until the server answers, at most `timeout`, and returns the cluster's id.
    fn await_server(
        &self,
        timeout: Duration,
        has_gone: &dyn Fn() -> bool,
    ) -> Result<String, Error> {
        let request = Request::cluster("connect");
        let client = self.asker.client();
        let begun = Instant::now();
        let mut is_closed = false;
        // Of one topic: a cluster may have very many.
        while let Err(error) = client.fetch_metadata(Some(META_TOPIC), ATTEMPT_TIMEOUT) {
            // The events tell more than the time-out does.
            let _ = self.asker.poll(Duration::ZERO);
            if let Some(refusal) = self.heard.login() {
                return Err(self.unauthenticated(&refusal));
            }
            is_closed |= code(&error) == Some(RDKafkaErrorCode::BrokerTransportFailure);
            if begun.elapsed() >= timeout || has_gone() {
                let detail = match self.heard.connection() {
                    Some(heard) => heard,
                    // Librdkafka says nothing of a connection that was made, and ended by the other side.
                    None if is_closed => settings::CLOSED.to_owned(),
                    None => error.to_string(),
                };
                return Err(self.away(request, detail));
            }
        }
        client
            .fetch_cluster_id(timeout)
            .ok_or_else(|| self.away(request, "it does not tell its cluster id"))
    }

    /// Makes a request that may be made twice, until the server answers, or has been waited for long enough. What
    /// Kafka calls retriable is waited for, and told.
    fn attempt<T>(
        &self,
        request: Request<'_>,
        mut ask: impl FnMut(Duration) -> KafkaResult<T>,
    ) -> Result<T, Error> {
        let mut patience = Patience::new(self);
        loop {
            self.check()?;
            match ask(patience.timeout) {
                Ok(answer) => {
                    let took = patience.begun.elapsed();
                    tracing::debug!(%request, ?took, "answered");
                    self.config.waits.succeeded(|| request.to_string());
                    return Ok(answer);
                }
                Err(error) => patience.wait(request, &error)?,
            }
        }
    }

    /// Whether an error says that the server cannot be reached, or cannot do at this moment what was asked for.
    fn is_away(&self, error: &KafkaError) -> bool {
        // Bekk's server is one: a topic that it does not know does not exist.
        Verdict::of(error).is_retriable() && !(self.is_bekk && is_unknown_topic(error))
    }

    /// How often the log may have been replaced by another: a connection was lost, a request was refused, or an end
    /// moved backwards.
    fn doubts(&self) -> u64 {
        self.heard.doubts()
    }

    /// Notes that the log may be another from now on.
    fn doubt(&self) {
        self.heard.doubt();
    }

    /// Tells that a request has failed and is repeated.
    fn tell_wait(&self, request: Request<'_>, error: &KafkaError) {
        let what = request.to_string();
        self.config.waits.failed(&what, &error.to_string(), || {
            // Hears what the client has to say of its connections.
            let _ = self.asker.poll(Duration::ZERO);
            let mut all = self.heard.connection().into_iter().collect::<Vec<_>>();
            let topic = request.topic_name().filter(|_| !self.is_bekk);
            all.extend(topic.and_then(|topic| self.trouble(topic)));
            (!all.is_empty()).then(|| all.join("; "))
        });
    }

    /// What is wrong with the partitions of a topic: no leader, or replicas that are not in sync.
    fn trouble(&self, topic: &str) -> Option<String> {
        let client = self.asker.client();
        let metadata = client.fetch_metadata(Some(topic), TROUBLE_TIMEOUT).ok()?;
        topics::trouble(&metadata, topic)
    }

    fn check(&self) -> Result<(), Error> {
        if self.is_lost.load(Ordering::Acquire) {
            return Err(Error::Away {
                address: self.config.hosts.clone(),
                detail: "its owner has gone".to_owned(),
            });
        }
        Ok(())
    }
}

fn is_unknown_topic(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{UnknownTopic, UnknownTopicId, UnknownTopicOrPartition};
    let code = code(error);
    matches!(
        code,
        Some(UnknownTopicOrPartition | UnknownTopic | UnknownTopicId)
    )
}

/// How long and how often a call repeats a request.
struct Patience<'a> {
    link: &'a Link,
    begun: Instant,
    /// How long the next attempt may take.
    timeout: Duration,
    pause: Duration,
}

impl<'a> Patience<'a> {
    fn new(link: &'a Link) -> Self {
        Self {
            link,
            begun: Instant::now(),
            timeout: ATTEMPT_TIMEOUT,
            pause: ATTEMPT_PAUSE,
        }
    }

    /// Waits before the next attempt, and tells of it.
    ///
    /// # Errors
    /// The request's error if it is none that passes, or has been waited for long enough.
    fn wait(&mut self, request: Request<'_>, error: &KafkaError) -> Result<(), Error> {
        self.note(request, error)?;
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(ATTEMPT_PAUSE_MAX);
        self.timeout = (self.timeout * 2).min(ATTEMPT_TIMEOUT_MAX);
        Ok(())
    }

    /// Tells of an error, for a caller that waits by itself.
    ///
    /// # Errors
    /// As [`Self::wait`].
    fn note(&self, request: Request<'_>, error: &KafkaError) -> Result<(), Error> {
        let link = self.link;
        if is_unknown_topic(error) {
            // It may have been deleted, and be made again by the time it answers.
            link.doubt();
        }
        if !link.is_away(error) {
            return Err(link.failed(request, error));
        }
        link.tell_wait(request, error);
        if self.begun.elapsed() >= link.patience() {
            return Err(link.failed(request, error));
        }
        Ok(())
    }
}

/// Gives the clients up side by side: for each, librdkafka's binding waits up to a tenth of a second.
impl Drop for Remote {
    fn drop(&mut self) {
        let producers = std::mem::take(&mut *self.producers());
        let admin = self.link.admin.lock();
        let admin = admin.unwrap_or_else(PoisonError::into_inner).take();
        let watermarks = self.consumer.take_watermarks();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(admin));
            scope.spawn(|| drop(watermarks));
            drop(producers);
        });
    }
}

impl Remote {
    /// Connects to the log; waits for its server at most `timeout`, and no longer than `has_gone` says that there
    /// is one.
    pub(crate) fn connect(
        config: RemoteConfig,
        timeout: Duration,
        has_gone: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let heard = Heard::default();
        let asker: BaseConsumer<Context> = config
            .client_config("bekk")
            .create_with_context(Context::noting(&heard))
            .map_err(|error| Error::Remote {
                request: "set up a client".to_owned(),
                address: config.hosts.clone(),
                detail: settings::explain(&error),
            })?;
        let mut link = Link {
            is_bekk: false,
            gives_up: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            admin: Mutex::default(),
            config,
            asker,
            heard,
        };
        let cluster_id = link.await_server(timeout, has_gone)?;
        let own = cluster_id
            .strip_prefix(CLUSTER_ID_PREFIX)
            .and_then(|id| id.parse().ok());
        link.is_bekk = own.is_some();
        let link = Arc::new(link);
        Ok(Self {
            log_id: own.unwrap_or_else(|| LogId::of_cluster(&cluster_id)),
            consumer: Consumer::new(Arc::clone(&link))?,
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

    /// How often the log may have been replaced since it was connected to.
    pub(crate) fn doubts(&self) -> u64 {
        self.consumer.take_events();
        self.link.doubts()
    }

    /// Asks the server anew whose log it serves.
    pub(crate) fn recheck(&self, topic: &str) -> Result<(), Error> {
        self.link.check()?;
        let found = self.consumer.cluster_id(topic)?;
        let own = found.strip_prefix(CLUSTER_ID_PREFIX);
        let found = own
            .and_then(|id| id.parse().ok())
            .unwrap_or_else(|| LogId::of_cluster(&found));
        if found == self.log_id {
            return Ok(());
        }
        Err(Error::Replaced {
            address: self.link.config.hosts.clone(),
            found,
            expected: self.log_id,
        })
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
        topics::create(&self.link, name, config)
    }

    pub(crate) fn delete_before(
        &self,
        topic: &str,
        partition: u32,
        offset: Offset,
    ) -> Result<(), Error> {
        self.link.check()?;
        topics::delete_before(&self.link, topic, partition, offset)
    }

    pub(crate) fn check_topic(&self, topic: &str, wished: Retention) -> Result<(), Error> {
        self.link.check()?;
        if self.link.is_bekk {
            return Ok(());
        }
        topic_settings::check(&self.link, topic, wished)
    }

    pub(crate) fn waits_for(&self) -> Option<String> {
        self.link.config.waits.reason()
    }

    pub(crate) fn topics(&self) -> Result<Vec<Topic>, Error> {
        self.link.check()?;
        topics::list(&self.link)
    }

    pub(crate) fn topic_size(&self, topic: &str) -> Result<TopicSize, Error> {
        self.link.check()?;
        topics::size(&self.link, topic)
    }

    pub(crate) fn losses(&self, topic: &str) -> Result<Losses, Error> {
        self.link.check()?;
        topics::losses(&self.link, topic)
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
        let message_bytes_max = match self.link.is_bekk {
            true => None,
            false => topic_settings::message_bytes_max(&self.link)?,
        };
        let producer = Producer::of_session(Arc::clone(&self.link), &session, message_bytes_max)?;
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

    pub(crate) fn read_ahead(&self, topic: &str, places: &[(u32, Offset)]) -> Result<(), Error> {
        self.link.check()?;
        self.consumer.read_ahead(topic, places)
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

    pub(crate) fn persist(&self) -> Result<(), Error> {
        self.link.check()?;
        self.groups.persist()
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

    pub(crate) fn retention_elsewhere(&self, topic: &str) -> Error {
        Error::RetentionElsewhere {
            topic: topic.to_owned(),
            address: self.link.config.hosts.clone(),
        }
    }

    fn producers(&self) -> MutexGuard<'_, HashMap<Option<Session>, Arc<Producer>>> {
        self.producers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
