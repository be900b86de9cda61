//! OffsetCommit and OffsetFetch: how far groups have come. There are no members of groups here, so that only
//! programs that divide the partitions among themselves can commit.

use super::Broker;
use super::code::Code;
use super::connection::Ended;
use super::wire::{Malformed, Reader, Writer};
use crate::Offset;
use crate::state::ForeignCommit;

/// What a program may remember with an offset.
const METADATA_BYTES_MAX: usize = 4096;

struct Commit<'a> {
    partition: i32,
    next: i64,
    metadata: &'a str,
}

pub(super) fn commit(
    broker: &Broker,
    version: i16,
    mut body: Reader<'_>,
    out: &mut Writer,
) -> Result<(), Ended> {
    let group = body.string()?;
    let generation = body.i32()?;
    let member = body.string()?;
    if version >= 7 {
        let _instance = body.nullable_string()?;
    }
    if version <= 4 {
        let _retention_ms = body.i64()?;
    }
    let topics = body.array(|body| {
        let topic = body.string()?;
        Ok((topic, body.array(|body| decode_commit(version, body))?))
    })?;
    body.end()?;
    let refusal = if generation >= 0 || !member.is_empty() {
        Some(Code::UNKNOWN_MEMBER_ID)
    } else {
        match broker.client.is_own_group(group) {
            // Its offsets are those in PostgreSQL, and what it has not applied must not be let go of.
            Ok(true) => Some(Code::GROUP_AUTHORIZATION_FAILED),
            Ok(false) => None,
            Err(error) => Some(Code::from(&error)),
        }
    };
    if version >= 3 {
        out.i32(0); // throttle time
    }
    out.array(&topics, |out, (topic, commits)| {
        out.string(topic);
        out.array(commits, |out, commit| {
            let code = refusal.map_or_else(|| note(broker, group, topic, commit), Err);
            out.i32(commit.partition);
            out.i16(code.err().unwrap_or(Code::NONE).0);
        });
    });
    Ok(())
}

fn decode_commit<'a>(version: i16, body: &mut Reader<'a>) -> Result<Commit<'a>, Malformed> {
    let partition = body.i32()?;
    let next = body.i64()?;
    if version >= 6 {
        let _leader_epoch = body.i32()?;
    }
    Ok(Commit {
        partition,
        next,
        metadata: body.nullable_string()?.unwrap_or_default(),
    })
}

fn note(broker: &Broker, group: &str, topic: &str, commit: &Commit<'_>) -> Result<(), Code> {
    if commit.metadata.len() > METADATA_BYTES_MAX {
        return Err(Code::OFFSET_METADATA_TOO_LARGE);
    }
    let partition =
        u32::try_from(commit.partition).map_err(|_| Code::UNKNOWN_TOPIC_OR_PARTITION)?;
    let next = u64::try_from(commit.next).map_err(|_| Code::OFFSET_OUT_OF_RANGE)?;
    let noted = broker.client.commit_foreign(&ForeignCommit {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
        next: Offset::new(next),
        metadata: commit.metadata.to_owned(),
    });
    noted.map_err(|error| {
        broker.note_failure(&error);
        Code::from(&error)
    })
}

pub(super) fn fetch(
    broker: &Broker,
    version: i16,
    mut body: Reader<'_>,
    out: &mut Writer,
) -> Result<(), Ended> {
    let group = body.string()?;
    let asked = body.nullable_array(|body| {
        let topic = body.string()?;
        Ok((topic, body.array(Reader::i32)?))
    })?;
    body.end()?;
    let (commits, code) = match broker.client.commits_of(group) {
        Ok(commits) => (commits, Code::NONE),
        Err(error) => (Vec::new(), Code::from(&error)),
    };
    let asked = asked.unwrap_or_else(|| all(&commits));
    if version >= 3 {
        out.i32(0); // throttle time
    }
    out.array(&asked, |out, (topic, partitions)| {
        out.string(topic);
        out.array(partitions, |out, partition| {
            let is_it = |commit: &&ForeignCommit| {
                commit.topic == *topic && i64::from(commit.partition) == i64::from(*partition)
            };
            let commit = commits.iter().find(is_it);
            out.i32(*partition);
            out.i64(commit.map_or(-1, |commit| commit.next.get().cast_signed()));
            if version >= 5 {
                out.i32(-1); // leader epoch: not remembered
            }
            out.string(commit.map_or("", |commit| &commit.metadata));
            out.i16(code.0);
        });
    });
    if version >= 2 {
        out.i16(code.0);
    }
    Ok(())
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
