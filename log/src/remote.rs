//! A log that another process serves, here or elsewhere, over the Kafka protocol: the operations of
//! [`Client`](crate::Client) by librdkafka.
//!
//! The server may be Bekk's own (its cluster id begins with `bekk.`) or a Kafka cluster. Where the protocol has no
//! request, Bekk's server gets the one that comes closest: sessions and holds are offsets of groups with reserved names
//! (`docs/format.md`). A cluster fences by transactions instead, and has no holds.

mod consumer;
mod context;
mod direction;
mod groups;
mod link;
mod place;
mod producer;
mod reaction;
mod reader;
mod request;
mod settings;
pub(crate) mod topic_settings;
pub(crate) mod topics;
mod waits;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use settings::RemoteConfig;
pub use waits::Waits;

use self::consumer::Consumer;
use self::groups::Groups;
use self::link::Link;
use self::producer::Producer;
use crate::{Error, LogId, Offset, RecordBuffer, Session};

/// A log elsewhere.
pub(crate) struct Remote {
    link: Arc<Link>,
    log_id: LogId,
    consumer: Consumer,
    groups: Groups,
    /// The producer of each session's appends, and that of those without one.
    producers: Mutex<HashMap<Option<Session>, Arc<Producer>>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("address", &self.link.config.hosts)
            .finish_non_exhaustive()
    }
}

/// Closes the clients side by side: for each, librdkafka's binding waits up to a tenth of a second.
impl Drop for Remote {
    fn drop(&mut self) {
        let producers = std::mem::take(&mut *self.producers.lock());
        let admin = self.link.take_admin();
        let watermarks = self.consumer.take_watermarks();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(admin));
            scope.spawn(|| drop(watermarks));
            scope.spawn(|| self.consumer.close());
            drop(producers);
        });
    }
}

impl Remote {
    /// Connects to the log; waits for its server at most `timeout`, and only until `has_gone` returns true.
    pub(crate) fn connect(
        config: RemoteConfig,
        timeout: Duration,
        has_gone: &dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let (link, log_id) = Link::connect(config, timeout, has_gone)?;
        let link = Arc::new(link);
        Ok(Self {
            log_id,
            consumer: Consumer::new(Arc::clone(&link))?,
            groups: Groups::new(Arc::clone(&link)),
            producers: Mutex::default(),
            link,
        })
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Fails if the server is known to have gone.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.link.check()
    }

    /// How often the log may have been replaced since it was connected to.
    pub(crate) fn doubts(&self) -> u64 {
        self.consumer.take_events();
        self.link.doubts()
    }

    /// Checks that the server still serves the same log.
    pub(crate) fn recheck(&self, topic: &str) -> Result<(), Error> {
        self.link.check()?;
        let found = self.consumer.cluster_id(topic)?;
        let (found, _) = LogId::of_server(&found);
        if found == self.log_id {
            return Ok(());
        }
        Err(Error::Replaced {
            address: self.link.config.hosts.clone(),
            found,
            expected: self.log_id,
        })
    }

    /// The connection, for requests about topics.
    pub(crate) fn link(&self) -> Result<&Link, Error> {
        self.link.check()?;
        Ok(&self.link)
    }

    /// Waits for records as [`Consumer::wait_for_records`] does. An idle sink takes the answers to its last commits here.
    pub(crate) fn wait_for_records(
        &self,
        topic: &str,
        behind: &[(u32, Offset)],
        timeout: Duration,
    ) -> Result<bool, Error> {
        self.groups.take_events();
        self.consumer()?.wait_for_records(topic, behind, timeout)
    }

    /// The part that reads.
    pub(crate) fn consumer(&self) -> Result<&Consumer, Error> {
        self.link.check()?;
        Ok(&self.consumer)
    }

    /// The part that commits.
    pub(crate) fn groups(&self) -> Result<&Groups, Error> {
        self.link.check()?;
        Ok(&self.groups)
    }

    /// Makes calls give up soon on a server that does not answer.
    pub(crate) fn give_up(&self) {
        self.link.give_up();
        self.consumer.wake();
    }

    /// Makes every further call fail: the server has gone.
    pub(crate) fn lose(&self) {
        self.link.lose();
        self.consumer.wake();
    }

    pub(crate) fn waits_for(&self) -> Option<String> {
        self.link.config.waits.reason()
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
        // On a cluster, the new producer keeps the last session's appends out from now on.
        let message_bytes_max = topic_settings::message_bytes_max(&self.link)?;
        let producer = Producer::of_session(Arc::clone(&self.link), &session, message_bytes_max)?;
        let mut producers = self.producers.lock();
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
        let known = self.producers.lock().get(&session.cloned()).cloned();
        let producer = match (known, session) {
            (Some(producer), _) => producer,
            (None, None) => {
                let max = topic_settings::message_bytes_max(&self.link)?;
                let link = Arc::clone(&self.link);
                let producer = Arc::new(Producer::without_session(link, max)?);
                self.producers.lock().insert(None, Arc::clone(&producer));
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

    /// Returns the offsets of an append, for an empty buffer the partition's end.
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
                        *ends = Some(self.consumer.ends(topic)?);
                    }
                    let found = ends.iter().flatten().nth(*partition as usize);
                    found.copied().unwrap_or(Offset::ZERO)
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

    pub(crate) fn committed_offsets(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<Vec<(u32, Offset)>, Error> {
        self.link.check()?;
        let partitions = self.consumer.partition_count(topic)?;
        self.groups.committed(group, topic, partitions)
    }

    /// The error of an operation for which the protocol has no request.
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
}
