//! Figures about a log, its losses, and the check of what it holds.

use super::Role;
use crate::remote::topics;
use crate::{
    Client, Counters, DiskSpace, Error, Gap, Latencies, Losses, SegmentInfo, TopicSize,
    VerifyReport, retention, verify,
};

impl Client {
    /// Size of a topic on disk.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`]; [`Error::NotHere`] of a Kafka cluster.
    pub fn topic_size(&self, topic: &str) -> Result<TopicSize, Error> {
        if let Role::Remote { remote, .. } = &self.role {
            return topics::size(remote.link()?, topic);
        }
        let segments = self.segments(topic)?;
        Ok(TopicSize {
            segments: u32::try_from(segments.len()).unwrap_or(u32::MAX),
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
        })
    }

    /// A topic's segments, in order; the last one is written to.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`]; [`Error::NotHere`] of a log elsewhere.
    pub fn segments(&self, topic: &str) -> Result<Vec<SegmentInfo>, Error> {
        self.owned("where the segments are")?;
        Ok(self.topic(topic)?.segment_infos())
    }

    /// The gaps that were found in a topic: records that are lost. Reads pass over them.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`]; [`Error::NotHere`] of a log elsewhere.
    pub fn gaps(&self, topic: &str) -> Result<Vec<Gap>, Error> {
        self.owned("which records are lost")?;
        Ok(self.topic(topic)?.gaps())
    }

    /// How many gaps a topic has between its log starts and ends.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`]; [`Error::NotHere`] of a Kafka cluster.
    pub fn gap_count(&self, topic: &str) -> Result<u64, Error> {
        match &self.role {
            Role::Owner { .. } => Ok(self.topic(topic)?.gaps_above_start().len() as u64),
            Role::Remote { remote, .. } => topics::gap_count(remote.link()?, topic),
        }
    }

    /// How many offsets between a topic's log starts and ends have no record any more.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`]; [`Error::NotHere`] of a Kafka cluster.
    pub fn losses(&self, topic: &str) -> Result<Losses, Error> {
        match &self.role {
            Role::Owner { .. } => Ok(Losses::of(&self.topic(topic)?.gaps_above_start())),
            Role::Remote { remote, .. } => topics::losses(remote.link()?, topic),
        }
    }

    /// Notes that the lost records of a topic that not every group had applied were appended again. Does nothing for a log
    /// elsewhere.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or if the store fails.
    pub fn settle_losses(&self, topic: &str) -> Result<(), Error> {
        match &self.role {
            Role::Owner { .. } => self.topic(topic)?.settle_gaps(),
            Role::Remote { .. } => Ok(()),
        }
    }

    /// Counts of what was done since the log was opened.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NotHere`].
    pub fn counters(&self) -> Result<Counters, Error> {
        self.owned("what has been written")?;
        Ok(self.store()?.core().shared.counts.get())
    }

    /// How long appends and fsyncs took since the log was opened.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NotHere`].
    pub fn latencies(&self) -> Result<Latencies, Error> {
        self.owned("how long things take")?;
        Ok(self.store()?.core().shared.counts.latencies())
    }

    /// The space on the log's disk.
    ///
    /// # Errors
    /// If the system does not say; [`Error::NotHere`].
    pub fn space(&self) -> Result<DiskSpace, Error> {
        self.owned("the space on its disk")?;
        let store = self.store()?;
        let shared = &store.core().shared;
        Ok(DiskSpace {
            free_bytes: shared.space.free_bytes()?,
            reserve_bytes: shared.config.reserve_bytes,
        })
    }

    /// Reads every batch below the high watermarks and says what is wrong; `progress` is called after each
    /// segment. For a log that is not open, see [`verify`](crate::verify()).
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::NotHere`].
    pub fn verify(&self, progress: &mut dyn FnMut(&VerifyReport)) -> Result<VerifyReport, Error> {
        self.owned("whether it is whole")?;
        Ok(verify::verify_core(self.store()?.core(), progress))
    }

    /// Drops sealed segments that retention no longer keeps, and returns how many bytes that freed; the log does so itself
    /// each minute. Besides what the topic's [`Retention`](crate::Retention) says, it keeps the records that a group has
    /// not passed, however long ago it committed, those that are [held](Self::hold), and everything until a first group
    /// has committed. Does nothing for a log elsewhere.
    ///
    /// # Errors
    /// If the store fails.
    pub fn apply_retention(&self) -> Result<u64, Error> {
        match &self.role {
            Role::Owner { .. } => retention::apply(self.store()?.core()),
            Role::Remote { .. } => Ok(0),
        }
    }
}
