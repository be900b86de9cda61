//! What the state forgets with a topic, how far its deletion is, and what is left of its directory.

use std::path::{Path, PathBuf};

use fjall::PersistMode;

use super::{State, key, position_key};
use crate::{Error, Offset, files, segment};

/// What the name of a topic's directory ends in once the topic is deleted. No topic's name holds this.
const ENDING: &str = "~deleted";

impl State {
    /// Forgets a topic and what was committed and held of it, in one write. Its log starts stay, at `ends`, for
    /// the case that it is made again.
    pub(crate) fn delete_topic(&self, topic: &str, ends: &[Offset]) -> Result<(), Error> {
        let mut batch = self.db.batch();
        batch.insert(&self.keys, key(b'd', &[topic]), []);
        batch.remove(&self.keys, key(b't', &[topic]));
        for kind in [b'o', b'c', b'h'] {
            let positions = self.positions(kind, &[])?;
            for position in positions.iter().filter(|one| one.topic == topic) {
                batch.remove(&self.keys, position_key(kind, position));
            }
        }
        let gaps = self.scan_keys(&key(b'g', &[topic, ""]), |key, _| Some(key.to_vec()))?;
        for gap in gaps {
            batch.remove(&self.keys, gap);
        }
        for (partition, end) in (0u32..).zip(ends) {
            let mut key = key(b'b', &[topic, ""]);
            key.extend_from_slice(&partition.to_be_bytes());
            batch.insert(&self.keys, key, end.get().to_be_bytes());
        }
        self.commit(batch, PersistMode::SyncAll)
    }

    /// The topics that are deleted and whose directories may still be there.
    pub(crate) fn topics_being_deleted(&self) -> Result<Vec<String>, Error> {
        self.scan(b"d", |name, _| {
            Some(std::str::from_utf8(name).ok()?.to_owned())
        })
    }

    pub(crate) fn is_being_deleted(&self, topic: &str) -> Result<bool, Error> {
        let found = self.keys.contains_key(key(b'd', &[topic]));
        found.map_err(|error| self.failed("read", error))
    }

    /// Notes that a deleted topic's directory has made room.
    pub(crate) fn note_deleted(&self, topic: &str) -> Result<(), Error> {
        self.remove([key(b'd', &[topic])])
    }
}

/// Removes the directory of a topic whose deletion is persisted.
pub(crate) fn finish_deletion(state: &State, log_dir: &Path, name: &str) -> Result<(), Error> {
    let dir = log_dir.join("topics").join(name);
    let mut renamed = dir.clone().into_os_string();
    renamed.push(ENDING);
    let renamed = PathBuf::from(renamed);
    if renamed.is_dir() {
        segment::remove(&renamed)?;
    }
    if dir.is_dir() {
        segment::rename_away(&dir, ENDING)?;
    }
    // From here on the name is free.
    state.note_deleted(name)?;
    match renamed.is_dir() {
        true => segment::remove(&renamed),
        false => Ok(()),
    }
}

/// Finishes what a crash has interrupted.
pub(crate) fn finish_deletions(state: &State, log_dir: &Path) -> Result<(), Error> {
    for name in state.topics_being_deleted()? {
        finish_deletion(state, log_dir, &name)?;
    }
    for dir in files::entries(&log_dir.join("topics"))? {
        if is_deleted(&dir) {
            segment::remove(&dir)?;
        }
    }
    Ok(())
}

/// Whether a directory is what is left of a deleted topic.
pub(super) fn is_deleted(dir: &Path) -> bool {
    let name = dir.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.ends_with(ENDING))
}
