//! Files that leave the inbox: renamed out of the patterns, moved away, deleted. They are followed to their end.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use bekk_stream::FileId;

use crate::file::decision::{FileState, What};
use crate::file::entry::FileEntry;
use crate::file::evidence::{Verdict, verify};
use crate::file::siblings::Siblings;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::tracked::{GONE_FOR, Outside, State, Tracked};
use crate::inbox::Listed;
use crate::source::Source;
use crate::source::stat::Stat;

impl Engine<'_> {
    /// Notes the name that a followed file has now.
    pub(crate) fn rename(&mut self, id: FileId, path: PathBuf) {
        let Some(from) = self.catalog.rename(id, &path) else {
            return;
        };
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        let stream = tracked.stream;
        let is_inside = self
            .around
            .inbox
            .streams_of(&path)
            .any(|matching| matching == stream);
        self.account.touch();
        let from = from.display();
        if is_inside {
            let why = format!("it was `{from}`, and has the same inode: it goes on where it was");
            tracked.entry.decide(What::Renamed, why);
        } else {
            let why = format!(
                "it was `{from}`, and has the same inode: the patterns do not match its name any more, so it is \
                 followed to its end"
            );
            tracked.entry.decide(What::Rotated, why);
            self.leave(id, Outside::Renamed);
        }
    }

    /// Looks beside its name for a file that is not there any more, and notes the name that it has now.
    pub(crate) fn find_again(&mut self, id: FileId) -> bool {
        let Some(tracked) = self.catalog.get(id) else {
            return false;
        };
        let (device, inode) = (tracked.stat.device, tracked.stat.inode);
        let found = Siblings::default().find(&tracked.path, device, inode);
        let is_found = found.is_some();
        if let Some((path, _)) = found {
            self.rename(id, path);
        }
        is_found
    }

    /// Follows a file on that has left the inbox.
    pub(crate) fn leave(&mut self, id: FileId, how: Outside) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        if how == Outside::Deleted || tracked.outside.is_none() {
            tracked.outside = Some(how);
        }
        if tracked.state != State::Backlog {
            tracked.state = State::Active;
            self.queue.activate(id);
        }
        self.catalog.leave_name(id);
        self.account.touch();
    }

    /// Sees which files have gone from the inbox, and ends with those that have been gone for a while.
    pub(crate) fn notice_gone(&mut self) -> Result<(), Stopped> {
        let unseen: Vec<FileId> = self
            .catalog
            .iter()
            .filter(|(_, tracked)| tracked.scan != self.scan)
            .map(|(id, _)| id)
            .collect();
        let mut siblings = Siblings::default();
        for id in unseen {
            let Some(tracked) = self.catalog.get_mut(id) else {
                continue;
            };
            if tracked.state == State::Blocked {
                self.forget(id);
            } else if let Some(outside) = tracked.outside {
                self.end_outside(id, outside)?;
            } else if let Some((path, _)) =
                siblings.find(&tracked.path, tracked.entry.device, tracked.entry.inode)
            {
                self.rename(id, path);
            } else if tracked.source.is_none() {
                self.end_unseen(id)?;
            } else if tracked.has_other_name() {
                let why = "it has been moved to another directory, and is followed to its end";
                tracked.entry.decide(What::Rotated, why.to_owned());
                self.leave(id, Outside::Renamed);
            } else {
                let why = "it has been deleted; what is open is read to its end";
                tracked.entry.decide(What::Gone, why.to_owned());
                self.leave(id, Outside::Deleted);
            }
        }
        let is_held = |tracked: &&Tracked| {
            tracked.outside == Some(Outside::Deleted) && tracked.source.is_some()
        };
        let held = self.catalog.followed().filter(is_held).count();
        let counter = &self.around.stats.files_deleted_open;
        counter.store(held as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Ends with a file outside of the inbox once all of it is read and nobody has written to it for a while.
    fn end_outside(&mut self, id: FileId, outside: Outside) -> Result<(), Stopped> {
        let Some(tracked) = self.catalog.get(id) else {
            return Ok(());
        };
        let wait = match outside {
            Outside::Renamed => self.around.config.close_after,
            Outside::Deleted => GONE_FOR,
        };
        if tracked.source.is_none() && !tracked.path.exists() {
            return self.end_unseen(id);
        }
        if tracked.is_behind() || tracked.changed_at.elapsed() < wait {
            return Ok(());
        }
        if tracked.partial > 0 {
            return self.take_rest(id);
        }
        if !tracked.is_done() {
            return Ok(());
        }
        if tracked.entry.receipt_bytes != Some(tracked.entry.position) {
            self.finish(&[id])?;
        }
        self.retain_known(id);
        Ok(())
    }

    /// Ends with a file of which nothing can be read any more.
    fn end_unseen(&mut self, id: FileId) -> Result<(), Stopped> {
        self.await_appends(id)?;
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(());
        };
        tracked.entry.size = tracked.size();
        tracked.entry.lose("it is not there any more");
        self.retain_known(id);
        Ok(())
    }

    /// Lets a file go that may come back, under whatever name.
    fn retain_known(&mut self, id: FileId) {
        let Some(tracked) = self.catalog.get(id) else {
            return;
        };
        let (stream, mut entry) = (tracked.stream, tracked.saved());
        entry.state = FileState::Gone;
        self.forget(id);
        self.catalog.known.let_go(stream, entry);
    }

    /// After the first listing: looks for files that were being read when an earlier run ended, and have got a
    /// name since that the patterns do not match.
    pub(crate) fn seek_rotated(&mut self) -> Result<(), Stopped> {
        let mut siblings = Siblings::default();
        let found = self.catalog.known.take_unfinished(|stream, entry| {
            let (path, stat) = siblings.find(entry.path(), entry.device, entry.inode)?;
            Some(Listed { stream, path, stat })
        });
        for (file, entry) in found {
            self.follow_rotated(file, entry)?;
        }
        Ok(())
    }

    /// After that: names the files that an earlier run was reading, and that are nowhere now.
    pub(crate) fn name_missing(&mut self) {
        let is_there =
            |entry: &FileEntry| Stat::at(entry.path()).is_some_and(|stat| entry.is_inode_of(&stat));
        if self.catalog.known.lose_missing(is_there) {
            self.account.touch();
        }
    }

    /// Reads on in a known file that has left the inbox while nobody looked, if there is more in it.
    pub(crate) fn follow_rotated(&mut self, file: Listed, entry: FileEntry) -> Result<(), Stopped> {
        let open = File::open(&file.path).and_then(Source::new);
        let verdict = open.and_then(|mut source| verify(&mut source, &file.stat, &entry));
        let is_same = matches!(verdict, Ok(Verdict::Same));
        // If two entries share an inode, the newest owns it.
        let is_followed = self.catalog.of_inode(file.stream, &file.stat).is_some();
        if !is_same || is_followed || file.stat.size <= entry.position {
            self.catalog.known.remember(file.stream, entry);
            return Ok(());
        }
        let why = format!(
            "it was `{}`, and has the same inode and the bytes that were read: it is followed to its end from byte {}",
            entry.path().display(),
            entry.position
        );
        self.summary.already += entry.records;
        self.follow_elsewhere(file, entry, What::Rotated, why)
    }
}

impl Tracked {
    /// Whether the open file has a name still, though not the one that it had.
    pub(crate) fn has_other_name(&self) -> bool {
        let metadata = self.source.as_ref().map(|source| source.file().metadata());
        matches!(metadata, Some(Ok(metadata)) if metadata.nlink() > 0)
    }
}
