//! What is deleted because someone asks for it, whoever may still need it.
//!
//! Offsets are given once, also across deletions: a topic that is made again begins where the deleted one of
//! its name ended, so that who remembers an offset of that one is told, and does not pass over records.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::state::finish_deletion;
use crate::topic::TopicLog;
use crate::{Error, Offset, retention};

impl Core {
    /// Deletes the records of a partition before an offset, `None`: all of them; returns the log start offset.
    ///
    /// They can no longer be read when this returns; the disk gives back segments that hold nothing else.
    pub(crate) fn delete_records(
        &self,
        topic: &str,
        partition: u32,
        before: Option<Offset>,
    ) -> Result<Offset, Error> {
        let _retaining = self.retaining.lock();
        let topic = self.topic(topic)?;
        let start = topic.raise_start(partition, before)?;
        retention::drop_deleted(&topic)?;
        Ok(start)
    }

    /// Deletes a topic, with what groups have committed and holders hold of it.
    ///
    /// Persisted first; what a crash leaves of it goes when the log is opened.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let _changing = self.changing.lock();
        let topic = {
            let _retaining = self.retaining.lock();
            let topic = self.topic(name)?;
            self.shared.check_appends()?;
            topic.end_for_good(|ends| self.shared.state.delete_topic(name, ends))?;
            self.remove_from_topics(name);
            topic
        };
        topic.wake();
        close(topic);
        finish_deletion(&self.shared.state, &self.shared.config.dir, name)?;
        tracing::info!(topic = name, "the topic is deleted");
        Ok(())
    }
}

/// Waits for the last of those who use a topic, and closes it.
fn close(mut topic: Arc<TopicLog>) {
    loop {
        match Arc::try_unwrap(topic) {
            Ok(last) => return last.close(),
            Err(shared) => topic = shared,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::{Config, RecordBuffer, TopicConfig, files};

    /// The process is killed when the deletion is persisted and the directory still there.
    #[test]
    fn a_deletion_is_finished_when_the_log_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(Config::new(dir.path().to_owned())).unwrap();
        let config = TopicConfig::new(2);
        let topics = dir.path().join("topics");
        let store = open();
        for name in ["t", "other"] {
            store.core().create_topic(name, config).unwrap();
            let mut buffer = RecordBuffer::new();
            buffer.push(1, None, b"old");
            store.core().append(None, name, &[(1, &buffer)]).unwrap();
        }
        let ends = [Offset::ZERO, Offset::new(1)];
        let state = &store.core().shared.state;
        state.delete_topic("t", &ends).unwrap();
        std::fs::create_dir(topics.join("earlier~deleted")).unwrap();
        store.close().unwrap();
        assert!(topics.join("t").is_dir());

        let store = open();
        assert_eq!(store.core().topics().len(), 1);
        let left: Vec<_> = files::entries(&topics).unwrap();
        assert_eq!(left, [topics.join("other")]);
        let state = &store.core().shared.state;
        assert!(!state.is_being_deleted("t").unwrap());
        store.core().create_topic("t", config).unwrap();
        let view = store.core().topic("t").unwrap().view();
        assert_eq!((view.starts, view.highs), (ends.to_vec(), ends.to_vec()));
        store.close().unwrap();
    }
}
