//! Commits that nobody waits for: a thread commits a group's newest offsets, and repeats what failed.
//!
//! librdkafka reports the outcome of an asynchronous commit only to a callback that its binding does not set, so the
//! thread commits synchronously. While an answer is due, newer offsets replace older ones.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::GroupClient;
use crate::remote::context::take_events;
use crate::remote::link::Link;
use crate::remote::place::{list, to_kafka};
use crate::remote::reaction::{Reaction, code};
use crate::remote::request::Request;
use crate::{Error, Offset};

/// Pause before a commit that failed is repeated; each time twice as long, up to a cap.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long an answer may take before that is reported.
const ANSWER_DUE: Duration = Duration::from_secs(2);

/// Commits one group's offsets.
pub(super) struct Committer {
    link: Arc<Link>,
    group: String,
    client: Arc<GroupClient>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Next offsets by partition.
type Places = BTreeMap<u32, Offset>;

#[derive(Default)]
struct State {
    /// What is not committed yet, by topic.
    waiting: BTreeMap<String, Places>,
    /// The topic whose offsets are being committed, and since when.
    asked: Option<(String, Instant)>,
    /// The refusal of the group's coordinator since then.
    refusal: Option<KafkaError>,
    stops: bool,
    has_ended: bool,
}

impl Committer {
    pub(super) fn start(
        link: &Arc<Link>,
        group: &str,
        client: Arc<GroupClient>,
    ) -> Result<Arc<Self>, Error> {
        let committer = Arc::new(Self {
            link: Arc::clone(link),
            group: group.to_owned(),
            client,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&committer);
        let thread = thread::Builder::new().name("commits".to_owned());
        thread
            .spawn(move || own.run())
            .map_err(|error| link.refused(Request::cluster("set up a client"), error))?;
        Ok(committer)
    }

    /// Has an offset committed, in place of an earlier one of the partition.
    pub(super) fn push(&self, topic: &str, partition: u32, next: Offset) {
        let mut state = self.state.lock();
        match state.waiting.get_mut(topic) {
            Some(places) => _ = places.insert(partition, next),
            None => {
                let places = Places::from([(partition, next)]);
                state.waiting.insert(topic.to_owned(), places);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Takes the events of the group's client, and reports an answer that does not come: while no coordinator takes
    /// the group, librdkafka keeps the commit back, and only an event tells why.
    pub(super) fn take_events(&self) {
        let events = take_events(&self.client).into_iter();
        let refusal = events
            .filter(|error| Reaction::of(error) == Reaction::Right)
            .last();
        let mut state = self.state.lock();
        if let Some(refusal) = refusal {
            state.refusal = Some(refusal);
        }
        let due = state.asked.clone();
        let due = due.filter(|(_, since)| since.elapsed() >= ANSWER_DUE);
        let refusal = state.refusal.clone();
        drop(state);
        if let Some((topic, _)) = due {
            let silent = KafkaError::ConsumerCommit(Code::RequestTimedOut);
            self.tell(&topic, refusal.as_ref().unwrap_or(&silent));
        }
    }

    /// Ends the thread once it has tried to commit what waits; waits for that at most `timeout`.
    pub(super) fn stop(&self, timeout: Duration) {
        let mut state = self.state.lock();
        state.stops = true;
        self.changed.notify_all();
        self.changed
            .wait_while_for(&mut state, |state| !state.has_ended, timeout);
    }

    fn run(&self) {
        let mut last = String::new();
        let mut pause = PAUSE;
        while let Some((topic, places)) = self.next(&last) {
            let offsets = places.iter().map(|(p, next)| (*p, to_kafka(*next)));
            let committed = list(&topic, offsets)
                .and_then(|offsets| self.client.commit(&offsets, CommitMode::Sync));
            let mut state = self.state.lock();
            (state.asked, state.refusal) = (None, None);
            match committed {
                Ok(()) => {
                    drop(state);
                    let waits = &self.link.config.waits;
                    waits.succeeded(|| self.request(&topic).to_string());
                    pause = PAUSE;
                }
                Err(error) => {
                    let waiting = state.waiting.entry(topic.clone()).or_default();
                    for (partition, next) in places {
                        waiting.entry(partition).or_insert(next);
                    }
                    drop(state);
                    self.tell(&topic, &error);
                    if self.pause(pause) {
                        break;
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            last = topic;
        }
        self.state.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// Waits for offsets to commit, and takes those of the topic after `last`; `None` once the thread is to end and
    /// none wait.
    fn next(&self, last: &str) -> Option<(String, Places)> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.stops;
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, is_idle);
        let after = (Bound::Excluded(last), Bound::Unbounded);
        let mut all = state.waiting.range::<str, _>(after);
        let topic = all.next().or_else(|| state.waiting.first_key_value());
        let topic = topic.map(|(topic, _)| topic.clone())?;
        let places = state.waiting.remove(&topic)?;
        state.asked = Some((topic.clone(), Instant::now()));
        Some((topic, places))
    }

    /// Waits; returns whether the thread is to end.
    fn pause(&self, time: Duration) -> bool {
        let is_going_on = |state: &mut State| !state.stops;
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, is_going_on, time);
        state.stops
    }

    fn request<'a>(&'a self, topic: &'a str) -> Request<'a> {
        Request::offsets("commit the offset of", &self.group, topic)
    }

    /// Reports a commit that failed and is repeated.
    fn tell(&self, topic: &str, error: &KafkaError) {
        let request = self.request(topic);
        let why = match (Reaction::of(error), code(error)) {
            (Reaction::Right | Reaction::Login, _) => self.link.failed(request, error).to_string(),
            (_, Some(Code::UnknownMemberId | Code::IllegalGeneration)) if !self.link.is_bekk => {
                format!(
                    "{error}: a consumer of another program is in group `{}`; give one of them another group",
                    self.group
                )
            }
            _ => error.to_string(),
        };
        let effect = if self.link.is_bekk {
            "rows are applied all the same, and the log keeps the group's records"
        } else {
            "rows are applied all the same, and the lag that the cluster shows for the group is too high"
        };
        let why = format!("{why}; {effect}");
        let waits = &self.link.config.waits;
        waits.failed(&request.to_string(), &why, || None);
    }
}
