//! Groups' offsets on the server; sessions and holds, which to Bekk's server are offsets of groups too.

mod committer;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{mem, thread};

use parking_lot::Mutex;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use self::committer::Committer;
use super::context::{Context, close, take_events};
use super::link::{Link, STOPPING_TIMEOUT};
use super::place::{from_kafka, list, to_kafka};
use super::reaction::Reaction;
use super::request::Request;
use super::topics::block_on;
use crate::config::META_TOPIC;
use crate::{Error, Offset};

/// The topic under which sessions are kept; it need not exist.
const SESSIONS_TOPIC: &str = META_TOPIC;
/// Groups that are sessions and holds begin so.
const SESSION_PREFIX: &str = "bekk-session/";
const HOLD_PREFIX: &str = "bekk-hold/";
/// Group by whose commits everything is made durable that was appended before
const PERSIST_GROUP: &str = "bekk-persist/all";
/// Prefix of the groups whose commits make a snapshot of the log
const SNAPSHOT_PREFIX: &str = "bekk-snapshot/";
/// How often a session is tried to begin while others begin theirs.
const SESSION_ATTEMPTS_MAX: usize = 20;
/// How long to wait for an answer before it is seen whether the server has gone.
const ANSWER_WAIT: Duration = Duration::from_millis(50);

pub(crate) struct Groups {
    link: Arc<Link>,
    /// A client for each group: its name is librdkafka's setting.
    clients: Mutex<HashMap<String, Arc<GroupClient>>>,
    committers: Mutex<HashMap<String, Arc<Committer>>>,
}

struct GroupClient(Option<BaseConsumer<Context>>);

impl Deref for GroupClient {
    type Target = BaseConsumer<Context>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("only `drop` takes it")
    }
}

impl Drop for GroupClient {
    /// Closes the client, except after a fatal error, such as a session that another program began first: then
    /// librdkafka (2.12) would neither close nor end it, and its thread would occupy a core until the process ends.
    /// An open one idles.
    fn drop(&mut self) {
        let is_dead = self.client().fatal_error().is_some();
        let client = self.0.take();
        if is_dead {
            mem::forget(client);
        }
    }
}

fn session_group(ingest: &str) -> String {
    format!("{SESSION_PREFIX}{ingest}")
}

fn hold_group(holder: &str) -> String {
    format!("{HOLD_PREFIX}{holder}")
}

/// What the client of a group is called. Groups that stand for something else have its name.
fn client_id(group: &str) -> String {
    let is_other = |prefix: &&str| group.starts_with(*prefix);
    if [SESSION_PREFIX, HOLD_PREFIX, PERSIST_GROUP, SNAPSHOT_PREFIX]
        .iter()
        .any(is_other)
    {
        return group.to_owned();
    }
    // The server takes commits of such a client for a sink's.
    format!("bekk-sink/{group}")
}

impl Groups {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            clients: Mutex::default(),
            committers: Mutex::default(),
        }
    }

    /// Notes how far a sink's group has come. It is for tools and retention, so nobody waits for the answer.
    pub(crate) fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        next: Offset,
    ) -> Result<(), Error> {
        self.committer(group)?.push(topic, partition, next);
        Ok(())
    }

    /// Takes the events of the clients that commit, and reports commits that are not answered.
    pub(super) fn take_events(&self) {
        let committers = self.committers.lock();
        let all: Vec<_> = committers.values().map(Arc::clone).collect();
        drop(committers);
        for committer in all {
            committer.take_events();
        }
    }

    pub(super) fn committed(
        &self,
        group: &str,
        topic: &str,
        partitions: u32,
    ) -> Result<Vec<(u32, Offset)>, Error> {
        let client = self.client(group)?;
        let asked = (0..partitions).map(|partition| (partition, rdkafka::Offset::Invalid));
        let request = Request::offsets("read the offsets of", group, topic);
        self.link.attempt(request, |timeout| {
            // A coordinator's refusal comes as an event of the client, while the request waits for a coordinator.
            let found = client
                .committed_offsets(list(topic, asked.clone())?, timeout)
                .map_err(|error| refusal(&client).unwrap_or(error))?;
            let mut offsets = Vec::new();
            for element in found.elements() {
                element.error()?;
                let partition = u32::try_from(element.partition()).ok();
                offsets.extend(partition.zip(from_kafka(element.offset())));
            }
            Ok(offsets)
        })
    }

    /// The newest session of an ingest, if it has had one.
    pub(super) fn newest_session(&self, ingest: &str) -> Result<Option<u64>, Error> {
        let found = self.committed(&session_group(ingest), SESSIONS_TOPIC, 1)?;
        Ok(found.first().map(|(_, number)| number.get()))
    }

    /// Begins the session behind the newest one.
    pub(super) fn begin_session(&self, ingest: &str) -> Result<u64, Error> {
        for _ in 0..SESSION_ATTEMPTS_MAX {
            let newest = self.newest_session(ingest)?.unwrap_or(0);
            let Some(number) = newest.checked_add(1).filter(|n| i64::try_from(*n).is_ok()) else {
                break;
            };
            let group = session_group(ingest);
            let begun = self.commit_now(&group, SESSIONS_TOPIC, &[(0, Offset::new(number))]);
            self.drop_client(&group);
            match begun? {
                Ok(()) => return Ok(number),
                // Another has begun in between, or this one, and its answer was lost.
                Err(error)
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId) => {}
                Err(error) => {
                    let request = Request::cluster("begin a session");
                    return Err(self.link.failed(request, &error));
                }
            }
        }
        Err(self.link.refused(
            Request::cluster("begin a session"),
            "another program begins sessions of this ingest; look at who may write to the log",
        ))
    }

    pub(crate) fn hold(
        &self,
        holder: &str,
        topic: &str,
        offsets: &[(u32, Offset)],
    ) -> Result<(), Error> {
        if !self.link.is_bekk {
            return Ok(());
        }
        self.commit_now(&hold_group(holder), topic, offsets)?
            .map_err(|error| self.link.failed(Request::cluster("hold records"), &error))
    }

    pub(crate) fn persist(&self) -> Result<(), Error> {
        if !self.link.is_bekk {
            return Ok(());
        }
        self.commit_now(PERSIST_GROUP, SESSIONS_TOPIC, &[(0, Offset::ZERO)])?
            .map_err(|error| {
                self.link
                    .failed(Request::cluster("make records durable"), &error)
            })
    }

    pub(crate) fn snapshot(&self, name: &str) -> Result<(), Error> {
        if !self.link.is_bekk {
            return Err(Error::NotHere {
                what: "its files",
                address: self.link.config.hosts.clone(),
            });
        }
        let group = format!("{SNAPSHOT_PREFIX}{name}");
        let made = self.commit_now(&group, SESSIONS_TOPIC, &[(0, Offset::ZERO)]);
        self.drop_client(&group);
        made?.map_err(|error| {
            self.link
                .failed(Request::cluster("make a snapshot"), &error)
        })
    }

    pub(crate) fn release(&self, holder: &str) -> Result<(), Error> {
        if !self.link.is_bekk {
            return Ok(());
        }
        self.delete(&hold_group(holder), "release records of")
    }

    /// Forgets how far a group has come.
    pub(crate) fn forget(&self, group: &str) -> Result<(), Error> {
        self.delete(group, "forget")
    }

    fn delete(&self, group: &str, act: &'static str) -> Result<(), Error> {
        self.drop_client(group);
        let admin = self.link.admin()?;
        let request = Request::group(act, group, "Delete");
        self.link.attempt(request, |timeout| {
            let options = AdminOptions::new().request_timeout(Some(timeout));
            let deleted = block_on(admin.delete_groups(&[group], &options))?;
            match deleted.into_iter().next() {
                Some(Err((_, code))) if code != RDKafkaErrorCode::GroupIdNotFound => {
                    Err(KafkaError::AdminOp(code))
                }
                _ => Ok(()),
            }
        })
    }

    /// Commits, and waits for the answer: on a thread, since librdkafka's call does not end before its server
    /// answers, or has been away for a minute.
    fn commit_now(
        &self,
        group: &str,
        topic: &str,
        offsets: &[(u32, Offset)],
    ) -> Result<KafkaResult<()>, Error> {
        let client = self.client(group)?;
        let offsets = offsets.iter().map(|(p, next)| (*p, to_kafka(*next)));
        let offsets = match list(topic, offsets) {
            Ok(offsets) => offsets,
            Err(error) => return Ok(Err(error)),
        };
        let (answer, answered) = mpsc::channel();
        let thread = thread::Builder::new().name("commit".to_owned());
        let thread = thread.spawn(move || {
            // Nobody may wait any more.
            let _ = answer.send(client.commit(&offsets, CommitMode::Sync));
        });
        let request = Request::offsets("commit the offset of", group, topic);
        thread.map_err(|error| self.link.refused(request, error))?;
        let begun = Instant::now();
        loop {
            if let Ok(answer) = answered.recv_timeout(ANSWER_WAIT) {
                return Ok(answer);
            }
            self.link.check()?;
            if begun.elapsed() >= self.link.patience() {
                return Err(self.link.away(request, "no answer"));
            }
        }
    }

    fn committer(&self, group: &str) -> Result<Arc<Committer>, Error> {
        let mut committers = self.committers.lock();
        if let Some(committer) = committers.get(group) {
            return Ok(Arc::clone(committer));
        }
        let committer = Committer::start(&self.link, group, self.client(group)?)?;
        committers.insert(group.to_owned(), Arc::clone(&committer));
        Ok(committer)
    }

    /// How long the end of a client is waited for.
    fn end_timeout(&self) -> Duration {
        self.link.patience().min(STOPPING_TIMEOUT)
    }

    fn client(&self, group: &str) -> Result<Arc<GroupClient>, Error> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(group) {
            return Ok(Arc::clone(client));
        }
        let mut config = self.link.client_config(&client_id(group));
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false");
        let client = config
            .create_with_context(Context::noting(&self.link.heard))
            .map_err(|error| {
                self.link
                    .refused(Request::cluster("set up a client"), error)
            })?;
        let client = Arc::new(GroupClient(Some(client)));
        clients.insert(group.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    /// Gives up a group's client, which has connections of its own.
    fn drop_client(&self, group: &str) {
        let committer = self.committers.lock().remove(group);
        if let Some(committer) = committer {
            committer.stop(self.end_timeout());
        }
        let mut clients = self.clients.lock();
        let client = clients.remove(group);
        drop(clients);
        self.close(client);
    }

    /// Closes clients on another thread, and waits for it at most [`Self::end_timeout`]: closing waits for the answers to
    /// commits, and librdkafka may wait for ever for one that was lost.
    fn close(&self, clients: impl IntoIterator<Item = Arc<GroupClient>>) {
        let clients: Vec<_> = clients.into_iter().collect();
        if clients.is_empty() {
            return;
        }
        let (is_closed, closed) = mpsc::channel();
        let thread = thread::Builder::new().name("close".to_owned());
        let thread = thread.spawn(move || {
            clients.iter().for_each(|client| close(client));
            drop(clients);
            // Nobody may wait any more.
            let _ = is_closed.send(());
        });
        if thread.is_ok() {
            let _ = closed.recv_timeout(self.end_timeout());
        }
    }
}

/// An error that the client of a group has been told of, and that waiting does not help with.
fn refusal(client: &BaseConsumer<Context>) -> Option<KafkaError> {
    let mut errors = take_events(client).into_iter();
    errors.find(|error| Reaction::of(error) == Reaction::Right)
}

impl Drop for Groups {
    fn drop(&mut self) {
        let committers = std::mem::take(&mut *self.committers.lock());
        for committer in committers.into_values() {
            committer.stop(self.end_timeout());
        }
        let clients = self.clients.get_mut();
        let clients = mem::take(clients);
        self.close(clients.into_values());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_called_for_what_they_do() {
        assert_eq!(client_id("main"), "bekk-sink/main");
        assert_eq!(client_id(&session_group("a")), "bekk-session/a");
        assert_eq!(
            client_id(&hold_group("bekk-ingest/a")),
            "bekk-hold/bekk-ingest/a"
        );
    }
}
