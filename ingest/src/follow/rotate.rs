//! Where the content of a file has gone: into a copy, into a file with its name, or nowhere.
//!
//! What was read is never believed to be in another file unless that file holds all of it, byte by byte (a
//! CRC tells): else a record that was changed in the middle would be passed over.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bekk_stream::{FileId, Meta};

use crate::file::decision::What;
use crate::file::entry::FileEntry;
use crate::file::evidence::Verdict;
use crate::file::siblings::Siblings;
use crate::follow::copies::is_held;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::tracked::{Outside, State};
use crate::inbox::Listed;
use crate::ledger::metas::append_metas;
use crate::text::recent::Recent;

/// What a listing has brought that is not simply known.
#[derive(Default)]
pub(crate) struct Found {
    /// Files of which nothing is known by their inode.
    pub(crate) new: Vec<Listed>,
    /// Contents that their inode does not have any more.
    pub(crate) lost: Vec<Lost>,
}

/// A known content that its inode does not have any more.
pub(crate) struct Lost {
    pub(crate) entry: FileEntry,
    pub(crate) stream: usize,
    pub(crate) verdict: Verdict,
    /// Its size when it was last looked at.
    pub(crate) size: u64,
    /// The bytes before its position, if they were read just now.
    pub(crate) recent: Recent,
}

/// A file to be read from its beginning, and what is to be said of it.
pub(crate) struct Fresh {
    pub(crate) file: Listed,
    pub(crate) what: What,
    pub(crate) why: String,
}

/// What has become of the file that had a name before.
enum Owner {
    /// There was none, or nothing had been read of it.
    None,
    /// It has another name now.
    Elsewhere(FileId, PathBuf),
    /// It is gone, and its successor has all that was read of it.
    Inherited,
    /// It is gone.
    Gone(FileId),
}

impl Engine<'_> {
    /// Finds out where contents have gone, and reads as new what holds nothing that is known.
    pub(crate) fn sort_out(&mut self, found: Found) -> Result<(), Stopped> {
        let Found { mut new, lost } = found;
        if new.is_empty() && lost.is_empty() {
            return Ok(());
        }
        let mut siblings = Siblings::default();
        let mut restarted = HashMap::new();
        for lost in lost {
            let inode = (lost.stream, lost.entry.device, lost.entry.inode);
            let why = self.find_copy(lost, &mut new, &mut siblings)?;
            restarted.insert(inode, why);
        }
        let mut fresh = Vec::new();
        for file in new {
            let inode = (file.stream, file.stat.device, file.stat.inode);
            // It is met when it has something in it.
            if file.stat.size == 0 {
                continue;
            }
            if let Some(why) = restarted.remove(&inode) {
                let what = What::Restarted;
                fresh.push(Fresh { file, what, why });
                continue;
            }
            let (what, why) = match self.find_owner(&file, &mut siblings)? {
                Owner::None => (What::New, "nothing of it was known".to_owned()),
                Owner::Elsewhere(id, path) => {
                    let path = path.display();
                    let why = format!("it took the name of file {id}, which is `{path}` now");
                    (What::New, why)
                }
                Owner::Gone(id) => {
                    let why = format!(
                        "file {id}, which had its name, is gone, and this one does not begin with what was read of it"
                    );
                    (What::Restarted, why)
                }
                Owner::Inherited => continue,
            };
            if self.may_be_copy(&file) {
                continue;
            }
            fresh.push(Fresh { file, what, why });
        }
        self.register(fresh)
    }

    /// Follows a known content in the file where it is now.
    pub(crate) fn follow_elsewhere(
        &mut self,
        file: Listed,
        mut entry: FileEntry,
        what: What,
        why: String,
    ) -> Result<(), Stopped> {
        let is_outside = self
            .around
            .inbox
            .streams_of(&file.path)
            .all(|stream| stream != file.stream);
        entry.path = file.path.as_os_str().as_bytes().to_vec();
        (entry.device, entry.inode) = (file.stat.device, file.stat.inode);
        // Also without the checkpoint it must be known which file has this content now.
        let meta = Meta::File(entry.record(self.around.identity));
        let around = &self.around;
        if !append_metas(
            around.log,
            &self.session,
            &[meta],
            around.stats,
            around.stop,
        )? {
            return Ok(());
        }
        entry.decide(what, why);
        self.account.hasten();
        let id = entry.id;
        self.track(file, entry)?;
        if is_outside && let Some(tracked) = self.catalog.get_mut(id) {
            tracked.outside = Some(Outside::Renamed);
        }
        Ok(())
    }

    /// Finds out what has become of the file that had the name of this one.
    fn find_owner(&mut self, file: &Listed, siblings: &mut Siblings) -> Result<Owner, Stopped> {
        if let Some(id) = self.catalog.named(file.stream, &file.path) {
            return self.find_tracked_owner(id, file, siblings);
        }
        let known = &mut self.catalog.known;
        let Some(entry) = known.take_named(file.stream, &file.path, file.stat.inode) else {
            return Ok(Owner::None);
        };
        let id = entry.id;
        if let Some((path, stat)) = siblings.find(&file.path, entry.device, entry.inode) {
            let stream = file.stream;
            let listed = Listed { stream, path, stat };
            let path = listed.path.clone();
            self.follow_rotated(listed, entry)?;
            return Ok(Owner::Elsewhere(id, path));
        }
        if entry.position > 0 && file.stat.size >= entry.position && is_held(&file.path, &entry) {
            self.inherit(file.clone(), entry)?;
            return Ok(Owner::Inherited);
        }
        let had_content = entry.position > 0;
        self.catalog.known.remember(file.stream, entry);
        Ok(match had_content {
            true => Owner::Gone(id),
            false => Owner::None,
        })
    }

    fn find_tracked_owner(
        &mut self,
        id: FileId,
        file: &Listed,
        siblings: &mut Siblings,
    ) -> Result<Owner, Stopped> {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(Owner::None);
        };
        let (device, inode) = (tracked.entry.device, tracked.entry.inode);
        if let Some((path, _)) = siblings.find(&file.path, device, inode) {
            self.rename(id, path.clone());
            return Ok(Owner::Elsewhere(id, path));
        }
        if tracked.has_other_name() {
            self.leave(id, Outside::Renamed);
            return Ok(Owner::Elsewhere(id, PathBuf::from("another directory")));
        }
        if tracked.state == State::Blocked || tracked.cursor.position == 0 {
            self.forget(id);
            return Ok(Owner::None);
        }
        self.await_appends(id)?;
        let entry = self.catalog.get(id).map(|tracked| tracked.entry.clone());
        if let Some(entry) = entry
            && file.stat.size >= entry.position
            && is_held(&file.path, &entry)
        {
            self.forget(id);
            self.inherit(file.clone(), entry)?;
            return Ok(Owner::Inherited);
        }
        self.leave(id, Outside::Deleted);
        Ok(Owner::Gone(id))
    }

    /// Goes on in a file that was put in the place of a known one and begins with all that was read of it.
    fn inherit(&mut self, file: Listed, entry: FileEntry) -> Result<(), Stopped> {
        let why = format!(
            "another file has its name, and begins with all {} bytes that were read: it is read on from there",
            entry.position
        );
        self.follow_elsewhere(file, entry, What::Moved, why)
    }
}
