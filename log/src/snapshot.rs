//! A snapshot of a log in its own directory: what a backup is made of, while the log is in use.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::mark::{Ends, Mark};
use crate::topic::TopicLog;
use crate::{Error, files, segment, state};

/// Beginning of the names of snapshots in the log's directory
pub(crate) const SNAPSHOT: &str = "snapshot-";
/// Longest name of a snapshot, in bytes
const NAME_BYTES_MAX: usize = 64;
/// Time after which a backup gives up waiting for segments to be sealed
const SEALING_TIMEOUT: Duration = Duration::from_secs(120);
/// Poll interval of sealing
const SEALING_PAUSE: Duration = Duration::from_millis(5);

/// Removes the snapshots that were left in a log's directory.
pub(crate) fn remove_leftovers(dir: &Path) -> Result<(), Error> {
    for path in files::entries(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(SNAPSHOT)) && path.is_dir() {
            segment::remove(&path)?;
        }
    }
    Ok(())
}

/// The log at the moment of a backup, except for its segments.
struct Cut {
    /// For each topic the number of the first segment that is not in the backup
    numbers: Vec<u64>,
    ends: Ends,
    /// The body of the state's copy
    state: Vec<u8>,
}

impl Core {
    /// Makes a snapshot of the log under a name in its directory.
    pub(crate) fn snapshot(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        self.shared.check_appends()?;
        self.shared.space.check()?;
        let _changing = self.changing.lock();
        let _retaining = self.retaining.lock();
        let topics = self.topics();
        let cut = self.cut(&topics)?;
        let dir = &self.shared.config.dir;
        let path = dir.join(format!("{SNAPSHOT}{name}"));
        let temporary = files::temporary_name(&path);
        let made = self.write_snapshot(&topics, &cut, &temporary);
        if let Err(error) = made.and_then(|()| segment::finish(&temporary, &path)) {
            let _ = fs::remove_dir_all(&temporary);
            return Err(error);
        }
        Ok(())
    }

    /// Begins a new segment in each topic, all at one moment.
    fn cut(&self, topics: &[Arc<TopicLog>]) -> Result<Cut, Error> {
        for topic in topics {
            topic.prepare_next()?;
        }
        let mut writers: Vec<_> = topics.iter().map(|topic| topic.pause()).collect();
        let mut cut = Cut {
            numbers: Vec::new(),
            ends: Ends::new(),
            state: Vec::new(),
        };
        for (topic, writer) in topics.iter().zip(&mut writers) {
            let (number, ends) = topic.cut(writer)?;
            cut.numbers.push(number);
            cut.ends.insert(topic.name.clone(), ends);
        }
        // Appends are still stopped, so groups have applied nothing that is not in the segments.
        cut.state = self.shared.state.encode_copy()?;
        Ok(cut)
    }

    fn write_snapshot(&self, topics: &[Arc<TopicLog>], cut: &Cut, to: &Path) -> Result<(), Error> {
        files::create_dir(&to.join("topics"))?;
        files::copy_file(&self.shared.config.dir.join("format"), &to.join("format"))?;
        state::write_copy(&to.join("state.copy"), &cut.state)?;
        let mark = Mark {
            clean: true,
            ends: cut.ends.clone(),
        };
        mark.write(&to.join("ends"))?;
        for (topic, number) in topics.iter().zip(&cut.numbers) {
            self.wait_for_sealing(topic, *number)?;
            topic.link_segments(*number, &to.join("topics").join(&topic.name))?;
        }
        Ok(())
    }

    fn wait_for_sealing(&self, topic: &TopicLog, until: u64) -> Result<(), Error> {
        let deadline = Instant::now() + SEALING_TIMEOUT;
        let is_sealed = || {
            let chain = topic.chain();
            let mut before = chain.iter().filter(|segment| segment.number() < until);
            before.all(|segment| segment.summary().is_some())
        };
        while !is_sealed() {
            // The background thread does not seal while it waits to apply retention, until this backup ends.
            topic.care_for_segments()?;
            if self.shared.closing.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            self.shared.check_appends()?;
            if Instant::now() > deadline {
                return Err(Error::Store {
                    act: "back up",
                    path: topic.dir.clone(),
                    detail: "its segments are slow to be sealed; try again".to_owned(),
                    full: None,
                });
            }
            std::thread::sleep(SEALING_PAUSE);
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_hexdigit() || c == '-';
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "name of a snapshot",
        value: name.to_owned(),
        allowed: "1 to 64 hexadecimal digits and hyphens",
    })
}

#[cfg(test)]
mod tests {
    use crate::{Client, Config, RecordBuffer, TopicConfig};

    /// The accident: the background thread waits to apply retention, which waits until the backup ends.
    #[test]
    fn a_backup_seals_segments_while_the_background_thread_waits() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::open(Config::new(dir.path().to_owned())).unwrap();
        for name in ["a", "b"] {
            client.create_topic(name, TopicConfig::new(1)).unwrap();
        }
        let mut records = RecordBuffer::new();
        records.push(0, None, b"x");
        client.append(None, "b", &[(0, &records)]).unwrap();
        let store = client.store().unwrap();
        let topics = store.core().topics();
        let topic = |name: &str| topics.iter().find(|topic| topic.name == name).unwrap();
        // The thread looks after the segments of topic `a` first, and waits for its writer.
        let waits = topic("a").pause();
        let (number, _ends) = topic("b").cut(&mut topic("b").pause()).unwrap();
        store.core().wait_for_sealing(topic("b"), number).unwrap();
        drop(waits);
        drop(store);
        client.close().unwrap();
    }
}
