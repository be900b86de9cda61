//! The shared connection of all parts of a [`Remote`](super::Remote): its queries, and how long it repeats a request.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::context::{Context, Heard, take_events};
use super::reaction::{Reaction, code};
use super::request::Request;
use super::{RemoteConfig, direction, settings, topics};
use crate::config::META_TOPIC;
use crate::{Error, LogId};

/// Time limit of the first attempt at a request; each further one has twice as long, up to a cap. Between attempts the
/// link checks whether the server has gone.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);
const ATTEMPT_TIMEOUT_MAX: Duration = Duration::from_secs(8);
/// Pause before a request that failed is repeated; each time twice as long, up to a cap.
pub(super) const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
const ATTEMPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Time limit for finding out more about what a call waits for.
pub(super) const TROUBLE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a short command waits before it looks whether waiting has any prospect.
const BRIEF_PATIENCE: Duration = Duration::from_secs(1);
/// How long logins are refused before a call gives up: a broker that starts may not know its users yet.
const LOGIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a call continues to wait for a server that does not answer once it is told to stop.
pub(super) const STOPPING_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) type Admin = AdminClient<DefaultClientContext>;

/// The connection to one log.
pub(crate) struct Link {
    pub(super) config: RemoteConfig,
    /// Makes queries over a connection of its own: on a reader's connection they would wait for a fetch that waits for
    /// records.
    pub(super) asker: BaseConsumer<Context>,
    pub(super) heard: Heard,
    /// Whether Bekk's own server serves the log, not a Kafka cluster.
    pub(super) is_bekk: bool,
    /// The cluster's id when it was connected to.
    cluster_id: String,
    /// Set once whatever waits for the server is to give up.
    gives_up: AtomicBool,
    /// The server is known to have gone for good.
    is_lost: AtomicBool,
    /// Why no further call of a short command has any prospect.
    misdirected: OnceLock<String>,
    /// The brokers that the cluster has named last, with their addresses.
    pub(super) brokers: Mutex<Vec<(i32, String)>>,
    /// Made once and kept: librdkafka's binding takes up to a tenth of a second to drop one.
    admin: Mutex<Option<Arc<Admin>>>,
    /// The topics that a server of the cluster has reported.
    seen: Mutex<BTreeSet<String>>,
}

impl Link {
    /// Connects to a server, and returns the id of its log too; waits for it at most `timeout`, and only until
    /// `has_gone` returns true.
    pub(super) fn connect(
        config: RemoteConfig,
        timeout: Duration,
        has_gone: &dyn Fn() -> bool,
    ) -> Result<(Self, LogId), Error> {
        let heard = Heard::default();
        let asker: BaseConsumer<Context> = config
            .client_config("bekk")
            .create_with_context(Context::noting(&heard))
            .map_err(|error| Error::Remote {
                request: "set up a client".to_owned(),
                address: config.hosts.clone(),
                detail: config
                    .unreadable_file()
                    .unwrap_or_else(|| settings::explain(&error)),
            })?;
        let mut link = Self {
            is_bekk: false,
            cluster_id: String::new(),
            gives_up: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            misdirected: OnceLock::new(),
            brokers: Mutex::default(),
            admin: Mutex::default(),
            seen: Mutex::default(),
            config,
            asker,
            heard,
        };
        let cluster_id = link.await_server(timeout, has_gone)?;
        let (log_id, is_bekk) = LogId::of_server(&cluster_id);
        link.is_bekk = is_bekk;
        link.cluster_id = cluster_id;
        Ok((link, log_id))
    }

    /// Makes calls give up soon on a server that does not answer.
    pub(super) fn give_up(&self) {
        self.gives_up.store(true, Ordering::Release);
    }

    /// Makes every further call fail: the server has gone.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Release);
    }

    /// librdkafka's settings for a client of the given name.
    pub(super) fn client_config(&self, client_id: &str) -> ClientConfig {
        self.config.client_config(client_id)
    }

    /// The client for administrative requests.
    pub(super) fn admin(&self) -> Result<Arc<Admin>, Error> {
        let mut admin = self.admin.lock();
        if let Some(admin) = &*admin {
            return Ok(Arc::clone(admin));
        }
        // The server recognises Bekk's own programs by this name: only those may delete a sink's group.
        let created: Admin = self
            .client_config("bekk-admin")
            .create()
            .map_err(|error| self.refused(Request::cluster("set up a client"), error))?;
        Ok(Arc::clone(admin.insert(Arc::new(created))))
    }

    /// Takes the client for administrative requests away, so that it can be dropped beside others.
    pub(super) fn take_admin(&self) -> Option<Arc<Admin>> {
        let mut admin = self.admin.lock();
        admin.take()
    }

    /// How long a call may still wait for a server that does not answer.
    pub(super) fn patience(&self) -> Duration {
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
        // It asks for one topic: a cluster may have very many.
        loop {
            let error = match client.fetch_metadata(Some(META_TOPIC), ATTEMPT_TIMEOUT) {
                Ok(metadata) => {
                    direction::note_brokers(self, &metadata);
                    break;
                }
                Err(error) => error,
            };
            // The events say more than the time-out does.
            take_events(&self.asker);
            if let Some(refusal) = self.heard.login() {
                return Err(self.unauthenticated(&refusal));
            }
            is_closed |= code(&error) == Some(RDKafkaErrorCode::BrokerTransportFailure);
            if begun.elapsed() >= timeout || has_gone() {
                let detail = match self.heard.connection() {
                    Some(heard) if settings::is_cut(&heard) => {
                        format!("{heard}; {}", settings::CLOSED)
                    }
                    Some(heard) => heard,
                    // librdkafka does not report a connection that was made, and closed by the other side.
                    None if is_closed => settings::CLOSED.to_owned(),
                    None => error.to_string(),
                };
                return Err(self.away(request, detail));
            }
        }
        client
            .fetch_cluster_id(timeout)
            .ok_or_else(|| self.away(request, "it does not report its cluster id"))
    }

    /// Notes that a server has reported a topic.
    pub(super) fn see(&self, topic: &str) {
        let mut seen = self.seen.lock();
        if !seen.contains(topic) {
            seen.insert(topic.to_owned());
        }
    }

    /// Whether a server has reported a topic. Other servers of the cluster may learn of a new topic later.
    pub(super) fn has_seen(&self, topic: &str) -> bool {
        let seen = self.seen.lock();
        seen.contains(topic)
    }

    /// Makes an idempotent request, and repeats it after retriable errors until the server answers or patience ends.
    /// Each wait is reported.
    pub(super) fn attempt<T>(
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

    /// Whether an error means that the server is unreachable, or cannot do at this moment what was asked for.
    pub(super) fn is_away(&self, error: &KafkaError) -> bool {
        // Bekk's server is a single one: a topic that it does not know does not exist.
        Reaction::of(error).is_retriable() && !(self.is_bekk && is_unknown_topic(error))
    }

    /// How often the log may have been replaced by another: the number of lost connections, refused requests, and ends
    /// that moved backwards.
    pub(super) fn doubts(&self) -> u64 {
        self.heard.doubts()
    }

    /// Notes that the log may be another from now on.
    pub(super) fn doubt(&self) {
        self.heard.doubt();
    }

    /// Reports that a request has failed and is repeated.
    fn tell_wait(&self, request: Request<'_>, error: &KafkaError) {
        let what = request.to_string();
        self.config.waits.failed(&what, &self.explained(error), || {
            // This delivers the events of the client's connections to `heard`.
            take_events(&self.asker);
            let mut all = self.heard.throttle().into_iter().collect::<Vec<_>>();
            all.extend(self.heard.connection());
            all.extend(direction::misdirection(self).map(|found| found.text));
            let topic = request.topic_name().filter(|_| !self.is_bekk);
            all.extend(topic.and_then(|topic| self.trouble(topic)));
            (!all.is_empty()).then(|| all.join("; "))
        });
    }

    /// Describes what is wrong with the partitions of a topic: another cluster, no leader, or replicas that are not in sync.
    fn trouble(&self, topic: &str) -> Option<String> {
        let client = self.asker.client();
        let metadata = client.fetch_metadata(Some(topic), TROUBLE_TIMEOUT).ok()?;
        // As of the answer that was just received.
        let found = client.fetch_cluster_id(TROUBLE_TIMEOUT);
        if let Some(found) = found.filter(|found| *found != self.cluster_id) {
            return Some(format!(
                "another cluster answers there now (cluster id {found}; it was {}); check the address",
                self.cluster_id
            ));
        }
        topics::trouble(&metadata, topic)
    }

    /// Fails if waiting has no prospect for a short command: the cluster gives addresses that are unreachable from here.
    pub(super) fn check_direction(&self, waited: Duration) -> Result<(), Error> {
        if self.config.is_brief
            && waited >= BRIEF_PATIENCE
            && let Some(found) = direction::misdirection(self)
            && found.is_lasting
        {
            self.misdirected.get_or_init(|| found.text);
        }
        self.check()
    }

    /// Fails if the server is known to have gone, or to be unreachable.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Some(detail) = self.misdirected.get() {
            return Err(Error::Away {
                address: self.config.hosts.clone(),
                detail: detail.clone(),
            });
        }
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
pub(super) struct Patience<'a> {
    link: &'a Link,
    begun: Instant,
    /// How long the next attempt may take.
    timeout: Duration,
    pause: Duration,
}

impl<'a> Patience<'a> {
    pub(super) fn new(link: &'a Link) -> Self {
        Self {
            link,
            begun: Instant::now(),
            timeout: ATTEMPT_TIMEOUT,
            pause: ATTEMPT_PAUSE,
        }
    }

    /// Reports an error, and waits before the next attempt.
    ///
    /// # Errors
    /// The request's error if it is not retriable, or if patience has ended.
    pub(super) fn wait(&mut self, request: Request<'_>, error: &KafkaError) -> Result<(), Error> {
        self.note(request, error)?;
        std::thread::sleep(self.pause);
        self.pause = (self.pause * 2).min(ATTEMPT_PAUSE_MAX);
        self.timeout = (self.timeout * 2).min(ATTEMPT_TIMEOUT_MAX);
        Ok(())
    }

    /// Reports an error, for a caller that waits by itself.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub(super) fn note(&self, request: Request<'_>, error: &KafkaError) -> Result<(), Error> {
        let link = self.link;
        if is_unknown_topic(error) {
            // The topic may have been deleted, and created again by the time it answers.
            link.doubt();
        }
        if !link.is_away(error) {
            return Err(link.failed(request, error));
        }
        let waited = self.begun.elapsed();
        link.check_direction(waited)?;
        take_events(&link.asker);
        if let Some(refusal) = link.heard.login_refused_for(LOGIN_PATIENCE) {
            return Err(link.unauthenticated(&refusal));
        }
        link.tell_wait(request, error);
        if waited >= link.patience() {
            return Err(link.failed(request, error));
        }
        Ok(())
    }
}
