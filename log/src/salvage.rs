//! What was set aside of a log, looked through again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::files::io_error;
use crate::remains::others;
use crate::segment::Header;
use crate::store::Store;
use crate::topic::TopicLog;
use crate::{Config, Error, Salvaged};

/// Looks through what was set aside of the log in a directory that no process has open, and restores the records that
/// can be read by now and are missing.
///
/// # Errors
/// If there is no log in the directory, it cannot be opened, or there is no room on its disk.
pub fn salvage(dir: &Path) -> Result<Vec<Salvaged>, Error> {
    let format = dir.join("format");
    std::fs::metadata(&format).map_err(|source| io_error("read", &format, source))?;
    let store = Store::open(Config::new(dir.to_owned()))?;
    let mut salvaged = Vec::new();
    let topics = store.core().topics();
    let mut mixed_up = mixed_up(&topics)?;
    for topic in topics {
        let elsewhere = mixed_up.remove(&topic.name).unwrap_or_default();
        salvaged.extend(topic.salvage(elsewhere)?);
    }
    store.close()?;
    Ok(salvaged)
}

/// The segments that were set aside with the database of another segment of the log: by the other segment's topic, its
/// number and the directory.
fn mixed_up(topics: &[Arc<TopicLog>]) -> Result<BTreeMap<String, Vec<(u64, PathBuf)>>, Error> {
    let mut mixed_up: BTreeMap<String, Vec<(u64, PathBuf)>> = BTreeMap::new();
    for topic in topics {
        for (number, path) in topic.dirs_set_aside()? {
            let others = others(&path, &topic.header(number))
                .map_err(|source| io_error("read", &path, source))?;
            for other in others.into_iter().filter(|other| is_of(other, topics)) {
                let of_topic = mixed_up.entry(other.topic).or_default();
                of_topic.push((other.number, path.clone()));
            }
        }
    }
    Ok(mixed_up)
}

/// Whether a header is that of a segment of these topics, which may exist no more.
fn is_of(header: &Header, topics: &[Arc<TopicLog>]) -> bool {
    let topic = topics.iter().find(|topic| topic.name == header.topic);
    topic.is_some_and(|topic| topic.header(header.number) == *header)
}
