//! A backup of a log, made while it is in use: all topics as they were at one moment.
//!
//! The owner begins a new segment in every topic while nothing is appended. All that was appended before is then in
//! sealed segments, which no longer change; their tables get second names in `DIR/snapshot-<name>`, beside copies of
//! the small files. The state is there as its copy, from which it is restored. The process that asked for the backup then
//! moves or copies the directory to its place.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::files::{self, io_error};
use crate::mark::{Ends, Mark};
use crate::segment::{self, Header, Summary};
use crate::store::Core;
use crate::topic::{TopicLog, lock};
use crate::{Client, Error, LogId, Offset, private, state};

/// Beginning of the names of snapshots in the log's directory
const SNAPSHOT: &str = "snapshot-";
/// Longest name of a snapshot, in bytes
const NAME_BYTES_MAX: usize = 64;
/// Time after which a backup gives up waiting for segments to be sealed
const SEALING_TIMEOUT: Duration = Duration::from_secs(120);
/// Poll interval of sealing
const SEALING_PAUSE: Duration = Duration::from_millis(5);

/// The content of a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backup {
    /// Topics.
    pub topics: u64,
    /// Segments.
    pub segments: u64,
    /// Records, including those that damage has taken.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Client {
    /// Makes a backup of the log in `dir`, whose owner or guest this is, at `to`, which does not exist or is empty. If
    /// both are on one file system, the tables of the backup are hard links to the log's.
    ///
    /// # Errors
    /// If `to` holds something; [`Error::NotHere`] if the log is not in a directory of this host; others if the owner or
    /// the file system fails.
    pub fn backup(&self, dir: &Path, to: &Path) -> Result<Backup, Error> {
        check_target(to)?;
        let name = LogId::random().to_string();
        self.snapshot(&name)?;
        let made = dir.join(format!("{SNAPSHOT}{name}"));
        if let Err(error) = move_to(&made, to) {
            // The first error is reported.
            let _ = fs::remove_dir_all(&made);
            return Err(error);
        }
        contents(to)
    }
}

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
        if self.shared.poison.get().is_some() {
            return Err(self.shared.poisoned());
        }
        self.shared.space.check()?;
        let _changing = lock(&self.changing);
        let _retaining = lock(&self.retaining);
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
        copy_file(&self.shared.config.dir.join("format"), &to.join("format"))?;
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
            if self.shared.poison.get().is_some() {
                return Err(self.shared.poisoned());
            }
            if Instant::now() > deadline {
                return Err(Error::Store {
                    act: "back up",
                    path: topic.dir.clone(),
                    detail: "its segments are slow to be sealed; try again".to_owned(),
                });
            }
            std::thread::sleep(SEALING_PAUSE);
        }
        Ok(())
    }
}

/// Copies a closed segment to another directory. Its tables, which never change, get second names there.
pub(crate) fn link_segment(from: &Path, to: &Path) -> Result<(), Error> {
    copy_tree(from, to, true)
}

fn copy_tree(from: &Path, to: &Path, with_links: bool) -> Result<(), Error> {
    make_dir(to)?;
    let is_tables = from.file_name().is_some_and(|name| name == "tables");
    for path in files::entries(from)? {
        let name = path.file_name().unwrap_or_default();
        let into = to.join(name);
        if name == "tables.kept" {
            continue; // second names that an opening has left
        }
        if path.is_dir() {
            copy_tree(&path, &into, with_links)?;
        } else if !(with_links && is_tables && fs::hard_link(&path, &into).is_ok()) {
            copy_file(&path, &into)?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), Error> {
    match private::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("make directory", path, error))
        }
        _ => Ok(()),
    }
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let copied = fs::copy(from, to).and_then(|_| File::open(to)?.sync_all());
    copied.map_err(|source| io_error("copy", from, source))
}

/// Moves a snapshot to its place, or copies it if that is on another file system.
fn move_to(made: &Path, to: &Path) -> Result<(), Error> {
    let absolute = std::path::absolute(to).map_err(|source| io_error("name", to, source))?;
    if let Some(parent) = absolute.parent() {
        files::create_dir(parent)?;
    }
    match fs::rename(made, &absolute) {
        Ok(()) => return files::sync_parent(&absolute),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        Err(error) => return Err(io_error("move", made, error)),
    }
    let temporary = files::temporary_name(&absolute);
    if temporary.is_dir() {
        segment::remove(&temporary)?;
    }
    copy_tree(made, &temporary, false)?;
    segment::finish(&temporary, &absolute)?;
    segment::remove(made)
}

fn check_target(to: &Path) -> Result<(), Error> {
    let is_free = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(io_error("list", to, error)),
    };
    if is_free {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "directory for a backup",
        value: to.display().to_string(),
        allowed: "one that does not exist, or is empty",
    })
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

/// The content of a backup, from the summaries of its segments.
fn contents(dir: &Path) -> Result<Backup, Error> {
    let mut backup = Backup::default();
    for topic in files::entries(&dir.join("topics"))? {
        backup.topics += 1;
        for segment in files::entries(&topic)? {
            let partitions = Header::read(&segment)?.partitions;
            let Some(summary) = Summary::read(&segment, partitions)? else {
                continue;
            };
            backup.segments += 1;
            backup.bytes += summary.bytes;
            let records = |(start, end): (Offset, Offset)| end.get() - start.get();
            let ranges = summary.ranges.iter().map(|range| (range.start, range.end));
            backup.records += ranges.map(records).sum::<u64>();
        }
    }
    Ok(backup)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, RecordBuffer, Retention, TopicConfig};

    /// The accident: the background thread waits to apply retention, which waits until the backup ends.
    #[test]
    fn a_backup_seals_segments_while_the_background_thread_waits() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::open(Config::new(dir.path().to_owned())).unwrap();
        let config = TopicConfig {
            partitions: 1,
            retention: Retention::default(),
        };
        for name in ["a", "b"] {
            client.create_topic(name, config).unwrap();
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
