//! OffsetCommit and OffsetFetch: how far groups have come. There are no members of groups here, so that only
//! programs that divide the partitions among themselves can commit.
//!
//! Groups of four names are something else, which Bekk's programs ask for this way since Kafka's clients offer
//! no other: `bekk-session/<ingest>` is the ingest's newest session, `bekk-hold/<holder>` is what is held, a commit of
//! `bekk-persist/…` makes everything durable that was appended before it, and one of `bekk-snapshot/<name>` makes a
//! snapshot of the log, for a backup.

use std::collections::HashMap;

use super::Broker;
use super::caller::{Caller, META_TOPIC};
use super::code::Code;
use super::connection::Ended;
use super::guard::{self, GroupKind};
use super::named::Named;
use super::requests::Request;
use super::visitor::Sender;
use super::wire::{Malformed, Reader, Writer};
use crate::state::ForeignCommit;
use crate::{Error, Offset};

/// What a program may remember with an offset.
const METADATA_BYTES_MAX: usize = 4096;

/// The kind of a group, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group<'a> {
    Session { ingest: &'a str },
    Hold { holder: &'a str },
    Persist,
    Snapshot { name: &'a str },
    Plain(&'a str),
}

impl<'a> Group<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        if let Some(ingest) = name.strip_prefix("bekk-session/") {
            return Self::Session { ingest };
        }
        if name.starts_with("bekk-persist/") {
            return Self::Persist;
        }
        if let Some(name) = name.strip_prefix("bekk-snapshot/") {
            return Self::Snapshot { name };
        }
        match name.strip_prefix("bekk-hold/") {
            Some(holder) => Self::Hold { holder },
            None => Self::Plain(name),
        }
    }
}

struct Commit<'a> {
    partition: i32,
    next: i64,
    metadata: &'a str,
}

impl Commit<'_> {
    fn position(&self) -> Result<(u32, Offset), Code> {
        if self.metadata.len() > METADATA_BYTES_MAX {
            return Err(Code::OFFSET_METADATA_TOO_LARGE);
        }
        let partition = u32::try_from(self.partition);
        let partition = partition.map_err(|_| Code::UNKNOWN_TOPIC_OR_PARTITION)?;
        let next = u64::try_from(self.next).map_err(|_| Code::OFFSET_OUT_OF_RANGE)?;
        Ok((partition, Offset::new(next)))
    }
}

pub(super) fn commit(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, version, mut body) = request;
    let group = body.string()?;
    let generation = body.i32()?;
    let member = body.string()?;
    let _instance = body.when(version >= 7, Reader::nullable_string)?;
    let _retention_ms = body.when(version <= 4, Reader::i64)?;
    let topics = body.array(|body| {
        let topic = body.string()?;
        Ok((topic, body.array(|body| decode_commit(version, body))?))
    })?;
    body.end()?;
    let is_member = generation >= 0 || !member.is_empty();
    out.when(version >= 3, |out| out.i32(0)); // throttle time
    let mut named = Named::default();
    out.array(&topics, |out, (topic, commits)| {
        let is_twice = |commit: &Commit<'_>| named.partition(topic, commit.partition).is_err();
        let codes = if is_member {
            vec![Code::UNKNOWN_MEMBER_ID; commits.len()]
        } else if commits.iter().any(is_twice) {
            vec![Code::INVALID_REQUEST; commits.len()]
        } else {
            note(broker, sender, group, topic, commits)
        };
        let answers: Vec<_> = commits.iter().zip(codes).collect();
        out.string(topic);
        out.array(&answers, |out, (commit, code)| {
            out.i32(commit.partition);
            out.i16(code.0);
        });
    });
    Ok(())
}

fn decode_commit<'a>(version: i16, body: &mut Reader<'a>) -> Result<Commit<'a>, Malformed> {
    let partition = body.i32()?;
    let next = body.i64()?;
    let _leader_epoch = body.when(version >= 6, Reader::i32)?;
    Ok(Commit {
        partition,
        next,
        metadata: body.nullable_string()?.unwrap_or_default(),
    })
}

/// Notes what is committed for a topic; a code for each.
fn note(
    broker: &Broker,
    sender: &Sender<'_>,
    group: &str,
    topic: &str,
    commits: &[Commit<'_>],
) -> Vec<Code> {
    let codes = |noted: Result<(), Code>| {
        let code = noted.err().unwrap_or(Code::NONE);
        vec![code; commits.len()]
    };
    match Group::of(group) {
        Group::Session { ingest } => {
            let begun = begin_session(broker, sender, ingest, topic, commits);
            let code = begun.err().unwrap_or(Code::NONE);
            sender.note("begin a session of ingest", ingest, code);
            codes(begun)
        }
        Group::Hold { holder } => {
            let held = hold(broker, sender, holder, topic, commits);
            if let Err(code) = held {
                sender.note("hold records for", holder, code);
            }
            codes(held)
        }
        Group::Snapshot { name } => {
            let made = snapshot(broker, sender, name);
            sender.note("make a snapshot", name, made.err().unwrap_or(Code::NONE));
            codes(made)
        }
        Group::Persist if !sender.is_own() => {
            let code = Code::GROUP_AUTHORIZATION_FAILED;
            sender.note("make the log durable", group, code);
            codes(Err(code))
        }
        Group::Persist => {
            let persisted = broker.store().and_then(|store| store.core().sync_all());
            codes(broker.checked(persisted))
        }
        Group::Plain(group) => {
            let each = commits.iter().map(|commit| {
                let noted = note_one(broker, sender, group, topic, commit);
                noted.err().unwrap_or(Code::NONE)
            });
            let codes: Vec<_> = each.collect();
            if let Some(code) = codes.iter().find(|code| code.is_error()) {
                sender.note_refused("commit offsets for group", group, *code);
            }
            codes
        }
    }
}

/// Begins the session whose number is committed, if it is the one after the newest.
fn begin_session(
    broker: &Broker,
    sender: &Sender<'_>,
    ingest: &str,
    topic: &str,
    commits: &[Commit<'_>],
) -> Result<(), Code> {
    let [commit] = commits else {
        return Err(Code::INVALID_REQUEST);
    };
    let (partition, number) = commit.position()?;
    if topic != META_TOPIC || partition != 0 {
        return Err(Code::UNKNOWN_TOPIC_OR_PARTITION);
    }
    if !sender.is_own() {
        return Err(Code::GROUP_AUTHORIZATION_FAILED);
    }
    guard::check_ingest(broker, ingest)?;
    let begun = broker
        .store()
        .and_then(|store| store.core().begin_session_at(ingest, number.get()));
    match broker.checked(begun)? {
        true => Ok(()),
        false => Err(Code::FENCED_INSTANCE_ID),
    }
}

/// Makes a snapshot in the log's directory, for a program of the same host and user.
fn snapshot(broker: &Broker, sender: &Sender<'_>, name: &str) -> Result<(), Code> {
    if !sender.is_own() || broker.config.guests.is_none() {
        return Err(Code::GROUP_AUTHORIZATION_FAILED);
    }
    let made = broker.store().and_then(|store| store.core().snapshot(name));
    broker.checked(made)
}

fn hold(
    broker: &Broker,
    sender: &Sender<'_>,
    holder: &str,
    topic: &str,
    commits: &[Commit<'_>],
) -> Result<(), Code> {
    if !sender.is_own() {
        return Err(Code::GROUP_AUTHORIZATION_FAILED);
    }
    guard::check_holder(broker, holder)?;
    let offsets: Vec<_> = commits
        .iter()
        .map(Commit::position)
        .collect::<Result<_, _>>()?;
    let held = broker
        .store()
        .and_then(|store| store.core().hold(holder, topic, &offsets));
    broker.checked(held)
}

fn note_one(
    broker: &Broker,
    sender: &Sender<'_>,
    group: &str,
    topic: &str,
    commit: &Commit<'_>,
) -> Result<(), Code> {
    let (partition, next) = commit.position()?;
    let kind = match is_sink(sender) {
        true => GroupKind::Sink,
        false => GroupKind::Foreign,
    };
    guard::check_group(broker, group, kind)?;
    let noted = broker.store().and_then(|store| {
        let core = store.core();
        if kind == GroupKind::Sink {
            return core
                .commit_offset(group, topic, partition, next)
                .map(|()| true);
        }
        // The offsets of a sink's group are those in PostgreSQL. Retention must keep the records after them.
        if core.shared.state.is_own_group(group)? {
            return Ok(false);
        }
        core.commit_foreign(&ForeignCommit {
            group: group.to_owned(),
            topic: topic.to_owned(),
            partition,
            next,
            metadata: commit.metadata.to_owned(),
        })?;
        Ok(true)
    });
    match broker.checked(noted)? {
        true => Ok(()),
        false => Err(Code::GROUP_AUTHORIZATION_FAILED),
    }
}

fn is_sink(sender: &Sender<'_>) -> bool {
    sender.caller == Caller::Sink && sender.is_own()
}

pub(super) fn fetch(request: Request<'_>, out: &mut Writer) -> Result<(), Ended> {
    let Request(broker, sender, version, mut body) = request;
    let group = body.string()?;
    let asked = body.nullable_array(|body| {
        let topic = body.string()?;
        Ok((topic, body.array(Reader::i32)?))
    })?;
    body.end()?;
    let (commits, code) = match commits_of(broker, sender, group) {
        Ok(commits) => (commits, Code::NONE),
        Err(error) => (Vec::new(), Code::from(&error)),
    };
    let asked = asked.unwrap_or_else(|| all(&commits));
    let by_place: HashMap<_, _> = commits
        .iter()
        .map(|commit| {
            (
                (commit.topic.as_str(), commit.partition.cast_signed()),
                commit,
            )
        })
        .collect();
    out.when(version >= 3, |out| out.i32(0)); // throttle time
    // Each partition once: the metadata of an offset would make a large answer of a small request.
    let mut named = Named::default();
    out.array(&asked, |out, (topic, partitions)| {
        out.string(topic);
        out.array(partitions, |out, partition| {
            let found = named
                .partition(topic, *partition)
                .map(|()| by_place.get(&(*topic, *partition)));
            let commit = found.ok().flatten();
            out.i32(*partition);
            out.i64(commit.map_or(-1, |commit| commit.next.get().cast_signed()));
            out.when(version >= 5, |out| out.i32(-1)); // leader epoch: not remembered
            out.string(commit.map_or("", |commit| &commit.metadata));
            out.i16(found.err().unwrap_or(code).0);
        });
    });
    out.when(version >= 2, |out| out.i16(code.0));
    Ok(())
}

/// The offsets committed for a group of any kind. A sink of ours is not told what others have committed in
/// the name of its group.
fn commits_of(
    broker: &Broker,
    sender: &Sender<'_>,
    group: &str,
) -> Result<Vec<ForeignCommit>, Error> {
    let store = broker.store()?;
    let core = store.core();
    let commit = |topic: &str, partition, next| ForeignCommit {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
        next,
        metadata: String::new(),
    };
    match Group::of(group) {
        Group::Session { ingest } => {
            let newest = core.shared.sessions.newest(ingest);
            let commits = newest.map(|number| commit(META_TOPIC, 0, Offset::new(number)));
            Ok(commits.into_iter().collect())
        }
        Group::Hold { holder } => {
            let mut held = core.shared.state.held()?;
            held.retain(|position| position.name == holder);
            let commits = held.iter();
            Ok(commits
                .map(|held| commit(&held.topic, held.partition, held.next))
                .collect())
        }
        Group::Persist | Group::Snapshot { .. } => Ok(Vec::new()),
        Group::Plain(group) if is_sink(sender) => {
            let mut committed = core.shared.state.committed()?;
            committed.retain(|position| position.name == group);
            let commits = committed.iter();
            Ok(commits
                .map(|one| commit(&one.topic, one.partition, one.next))
                .collect())
        }
        Group::Plain(group) => core.shared.state.commits_of(group),
    }
}

/// Everything that has been committed, by topic.
fn all(commits: &[ForeignCommit]) -> Vec<(&str, Vec<i32>)> {
    let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
    for commit in commits {
        let partition = commit.partition.cast_signed();
        match topics.iter_mut().find(|(topic, _)| *topic == commit.topic) {
            Some((_, partitions)) => partitions.push(partition),
            None => topics.push((&commit.topic, vec![partition])),
        }
    }
    topics
}
