//! The topics: what they are, what changes them, and where their partitions begin and end.

use super::{Client, Role};
use crate::remote::{topic_settings, topics};
use crate::{Error, Offset, PartitionEnds, Retention, Topic, TopicConfig};

impl Client {
    /// The topics, by name; of a Kafka cluster those that
    /// [`RemoteConfig::topics`](crate::RemoteConfig::topics) names.
    ///
    /// # Errors
    /// If the store fails.
    pub fn topics(&self) -> Result<Vec<Topic>, Error> {
        if let Role::Remote { remote, .. } = &self.role {
            return topics::list(remote.link()?);
        }
        let topics = self.store()?.core().topics();
        Ok(topics.iter().map(|topic| topic.topic()).collect())
    }

    /// Makes a topic if it does not exist, and returns it as it is: an existing topic keeps its partition
    /// count (the caller compares) and takes the new retention, unless it is a Kafka cluster's.
    ///
    /// # Errors
    /// If the name or count is outside what is allowed, or the store fails.
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Topic, Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().create_topic(name, config),
            Role::Remote { remote, .. } => topics::create(remote.link()?, name, config),
        }
    }

    /// Sets how long the records of a topic are kept; persisted, and followed by [`Self::apply_retention`] from then on.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::RetentionElsewhere`] of a log that another process or a cluster serves; others
    /// if the store fails.
    pub fn set_retention(&self, topic: &str, retention: Retention) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => self.store()?.core().set_retention(topic, retention),
            Role::Remote { remote, .. } => Err(remote.retention_elsewhere(topic)),
        }
    }

    /// Removes what lies below an offset of a partition, of a log elsewhere.
    ///
    /// # Errors
    /// If the server refuses.
    pub(crate) fn delete_before(
        &self,
        topic: &str,
        partition: u32,
        offset: Offset,
    ) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => Ok(()),
            Role::Remote { remote, .. } => {
                topics::delete_before(remote.link()?, topic, partition, offset)
            }
        }
    }

    /// Checks that a topic of a Kafka cluster has no settings with which records would be refused or lost; warns of
    /// those that keep records less safely or shorter than is `wished`. Checks nothing of other logs.
    ///
    /// # Errors
    /// [`Error::TopicSetting`].
    pub fn check_topic(&self, topic: &str, wished: Retention) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => Ok(()),
            Role::Remote { remote, .. } => topic_settings::check(remote.link()?, topic, wished),
        }
    }

    /// Where each partition of a topic begins and ends, by partition.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn partition_ends(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        match &self.role {
            Role::Owner { .. } => Ok(self.topic(topic)?.partition_ends()),
            Role::Remote { remote, .. } => remote.consumer()?.partition_ends(topic),
        }
    }

    /// Where each partition of a topic ends, by partition; costs a request less than [`Self::partition_ends`].
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn ends(&self, topic: &str) -> Result<Vec<Offset>, Error> {
        match &self.role {
            Role::Owner { .. } => Ok(self.topic(topic)?.view().highs),
            Role::Remote { remote, .. } => remote.consumer()?.ends(topic),
        }
    }

    /// As [`Self::partition_ends`], but up to the high watermark also where reads end before it: on a Kafka cluster
    /// what lies behind the first record of an open transaction (the *last stable offset*) cannot be read before that
    /// has ended.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn high_watermarks(&self, topic: &str) -> Result<Vec<PartitionEnds>, Error> {
        match &self.role {
            Role::Owner { .. } => self.partition_ends(topic),
            Role::Remote { remote, .. } => remote.consumer()?.high_watermarks(topic),
        }
    }

    /// The offset of the first record whose timestamp is not before `timestamp_ms`; `None` if absent.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn offset_for_time(
        &self,
        topic: &str,
        partition: u32,
        timestamp_ms: i64,
    ) -> Result<Option<Offset>, Error> {
        match &self.role {
            Role::Owner { .. } => self.topic(topic)?.offset_for_time(partition, timestamp_ms),
            Role::Remote { remote, .. } => {
                remote
                    .consumer()?
                    .offset_for_time(topic, partition, timestamp_ms)
            }
        }
    }
}
