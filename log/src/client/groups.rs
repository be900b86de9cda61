//! How far groups have come, and who else needs records kept.

use super::{Client, Role};
use crate::{Commit, Error, Offset};

impl Client {
    /// Notes how far a group has come, for tools and for retention. Elsewhere it is not waited for.
    ///
    /// # Errors
    /// If the store fails.
    pub fn commit_offset(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        next: Offset,
    ) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => {
                let store = self.store()?;
                store.core().commit_offset(group, topic, partition, next)
            }
            Role::Remote { remote, .. } => remote.groups()?.commit(group, topic, partition, next),
        }
    }

    /// How far a group has come in each partition of a topic, where it has committed.
    ///
    /// # Errors
    /// If the store fails.
    pub fn committed_offsets(&self, group: &str, topic: &str) -> Result<Vec<(u32, Offset)>, Error> {
        if let Role::Remote { remote, .. } = &self.role {
            return remote.committed_offsets(group, topic);
        }
        let store = self.store()?;
        let committed = store.core().shared.state.committed_by(group, topic)?;
        Ok(committed.iter().map(|c| (c.partition, c.next)).collect())
    }

    /// Forgets how far a group has come; it holds no records from then on.
    ///
    /// # Errors
    /// If the store fails, or a Kafka cluster refuses.
    pub fn forget_group(&self, group: &str) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => {
                let store = self.store()?;
                store.core().shared.state.remove_group(group).map(|_| ())
            }
            Role::Remote { remote, .. } => remote.groups()?.forget(group),
        }
    }

    /// What all groups have committed: sinks of ours and other programs.
    ///
    /// # Errors
    /// If the store fails; [`Error::NotHere`] of a log elsewhere.
    pub fn commits(&self) -> Result<Vec<Commit>, Error> {
        self.owned("what groups have committed")?;
        self.store()?.core().shared.state.all_commits()
    }

    /// Keeps the records of some partitions from the given offsets on, whatever retention says, until the same
    /// holder names later offsets or [lets go](Self::release). For an ingest's checkpoint, before which
    /// nothing is looked up any more; a group's committed offsets hold without it. Holds do not expire. A Kafka
    /// cluster knows none: its retention must be longer than an ingest may be stopped.
    ///
    /// # Errors
    /// If the topic or a partition does not exist, or the store fails.
    pub fn hold(&self, holder: &str, topic: &str, offsets: &[(u32, Offset)]) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().hold(holder, topic, offsets),
            Role::Remote { remote, .. } => remote.groups()?.hold(holder, topic, offsets),
        }
    }

    /// Releases all holds of a holder.
    ///
    /// # Errors
    /// If the store fails.
    pub fn release(&self, holder: &str) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().shared.state.remove_held(holder),
            Role::Remote { remote, .. } => remote.groups()?.release(holder),
        }
    }
}
