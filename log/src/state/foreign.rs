//! What the state keeps for other programs: how far their groups have come, and which producer ids were given.

use std::collections::HashMap;

use fjall::PersistMode;

use super::{State, key};
use crate::wire::Fields;
use crate::{Commit, Error, Offset};

/// How far a group of another program has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignCommit {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) next: Offset,
    /// What the program wants to remember with it.
    pub(crate) metadata: String,
}

impl State {
    /// What has been committed for a group: by another program, and by a sink of ours.
    pub(crate) fn commits_of(&self, group: &str) -> Result<Vec<ForeignCommit>, Error> {
        let names = |rest: &[u8]| {
            let mut names = rest.splitn(2, |byte| *byte == 0);
            let topic = std::str::from_utf8(names.next()?).ok()?.to_owned();
            Some((topic, Fields::of(names.next()?).u32()?))
        };
        let commit = |rest: &[u8], next: u64, metadata: &str| {
            let (topic, partition) = names(rest)?;
            Some(ForeignCommit {
                group: group.to_owned(),
                topic,
                partition,
                next: Offset::new(next),
                metadata: metadata.to_owned(),
            })
        };
        let mut commits = self.scan(&key(b'o', &[group, ""]), |rest, value| {
            commit(rest, Fields::of(value).u64()?, "")
        })?;
        commits.extend(self.scan(&key(b'c', &[group, ""]), |rest, value| {
            let mut fields = Fields::of(value);
            let (next, _at_ms) = (fields.u64()?, fields.i64()?);
            commit(rest, next, std::str::from_utf8(fields.rest()).ok()?)
        })?);
        Ok(commits)
    }

    /// What has been committed for all groups.
    pub(crate) fn all_commits(&self) -> Result<Vec<Commit>, Error> {
        let mut commits = Vec::new();
        for (kind, is_sink) in [(b'o', true), (b'c', false)] {
            let positions = self.positions(kind, &[])?.into_iter();
            commits.extend(positions.map(|position| Commit {
                group: position.name,
                topic: position.topic,
                partition: position.partition,
                next: position.next,
                at_ms: position.at_ms,
                is_sink,
            }));
        }
        Ok(commits)
    }

    /// The groups for which something has been committed, in order.
    pub(crate) fn groups(&self) -> Result<Vec<String>, Error> {
        let mut groups = self.own_groups()?;
        groups.extend(self.foreign_groups()?);
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// The groups of sinks of ours, in order.
    pub(crate) fn own_groups(&self) -> Result<Vec<String>, Error> {
        self.groups_of(b'o')
    }

    /// The groups for which other programs have committed something, in order.
    pub(crate) fn foreign_groups(&self) -> Result<Vec<String>, Error> {
        self.groups_of(b'c')
    }

    fn groups_of(&self, kind: u8) -> Result<Vec<String>, Error> {
        let mut groups = self.scan(&[kind], |rest, _| {
            let name = rest.split(|byte| *byte == 0).next()?;
            Some(std::str::from_utf8(name).ok()?.to_owned())
        })?;
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// Forgets what has been committed for a group and a partition, if something has.
    pub(crate) fn remove_commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<(), Error> {
        let keys = [b'o', b'c'].map(|kind| {
            let mut key = key(kind, &[group, topic, ""]);
            key.extend_from_slice(&partition.to_be_bytes());
            key
        });
        self.remove(keys)
    }

    /// Forgets what has been committed for a group; says whether something had.
    pub(crate) fn remove_group(&self, group: &str) -> Result<bool, Error> {
        let mut keys = Vec::new();
        for kind in [b'o', b'c'] {
            keys.extend(self.scan_keys(&key(kind, &[group, ""]), |key, _| Some(key.to_vec()))?);
        }
        let is_any = !keys.is_empty();
        self.remove(keys)?;
        Ok(is_any)
    }

    /// Forgets the groups of other programs that have committed nothing since a time, as Kafka does.
    pub(crate) fn expire_foreign(&self, since_ms: i64) -> Result<(), Error> {
        let mut newest: HashMap<String, i64> = HashMap::new();
        for position in self.positions(b'c', &[])? {
            let at_ms = newest.entry(position.name).or_insert(i64::MIN);
            *at_ms = position.at_ms.max(*at_ms);
        }
        for (group, _) in newest.iter().filter(|(_, at_ms)| **at_ms < since_ms) {
            let keys = self.scan_keys(&key(b'c', &[group, ""]), |key, _| Some(key.to_vec()))?;
            self.remove(keys)?;
            tracing::info!(
                group,
                "the offsets of a group that is not used any more are forgotten"
            );
        }
        Ok(())
    }

    /// Whether a sink of ours has committed for the group.
    pub(crate) fn is_own_group(&self, group: &str) -> Result<bool, Error> {
        self.is_group_of(b'o', group)
    }

    /// Whether another program has committed for the group.
    pub(crate) fn is_foreign_group(&self, group: &str) -> Result<bool, Error> {
        self.is_group_of(b'c', group)
    }

    fn is_group_of(&self, kind: u8, group: &str) -> Result<bool, Error> {
        let prefix = key(kind, &[group, ""]);
        Ok(!self.scan(&prefix, |_, _| Some(()))?.is_empty())
    }

    /// Notes a commit, not fsynced, as [`State::put_committed`].
    pub(crate) fn put_foreign(&self, commit: &ForeignCommit, at_ms: i64) -> Result<(), Error> {
        let mut key = key(b'c', &[&commit.group, &commit.topic, ""]);
        key.extend_from_slice(&commit.partition.to_be_bytes());
        let mut value = commit.next.get().to_be_bytes().to_vec();
        value.extend_from_slice(&at_ms.to_be_bytes());
        value.extend_from_slice(commit.metadata.as_bytes());
        self.put(key, value, PersistMode::Buffer)
    }

    /// The first producer id that was not given; `None` if none ever was.
    pub(crate) fn first_free_producer_id(&self) -> Result<Option<i64>, Error> {
        let value = self
            .keys
            .get(b"p")
            .map_err(|error| self.failed("read", error))?;
        Ok(value.and_then(|value| Fields::of(&value).i64()))
    }

    pub(crate) fn put_first_free_producer_id(&self, id: i64) -> Result<(), Error> {
        self.put(
            b"p".to_vec(),
            id.to_be_bytes().to_vec(),
            PersistMode::SyncAll,
        )
    }
}
