//! Where the content of a file has gone: into a copy, into a file with its name, or nowhere.
//!
//! What was read is never believed to be in another file unless that file holds all of it, byte by byte (a
//! CRC tells): else a record that was changed in the middle would be passed over.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bekk_stream::{FileId, Meta};

use crate::config::Mode;
use crate::decision::What;
use crate::engine::{Engine, Stopped};
use crate::entry::FileEntry;
use crate::identity::{Fingerprint, Stat, Verdict, holds_all};
use crate::inbox::Listed;
use crate::recover::append_metas;
use crate::siblings::{Siblings, is_named_after};
use crate::source::{Source, read_file_at};
use crate::tracked::{Outside, State, Tracked};

/// How long a file that may be a copy being made must have stood still to be taken for what it is.
const COPY_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked at.
const COPY_POLL: Duration = Duration::from_millis(200);
/// How many of its last bytes are compared.
const COPY_BYTES: u64 = 4096;

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

    /// Looks for the copy of a content that has been truncated or overwritten, and goes on there. Says what
    /// became of it.
    fn find_copy(
        &mut self,
        lost: Lost,
        new: &mut Vec<Listed>,
        siblings: &mut Siblings,
    ) -> Result<String, Stopped> {
        let Lost { entry, stream, .. } = lost;
        let inode = entry.inode;
        let was = format!(
            "file {} was here, of which {} of {} bytes had been read; {}",
            entry.id,
            entry.position,
            lost.size.max(entry.position),
            lost.verdict.evidence()
        );
        let mut candidates: Vec<Listed> = Vec::new();
        if entry.position > 0 {
            let is_new = |file: &&Listed| file.stream == stream && file.stat.inode != inode;
            // As they are now: the listing may have met a copy that had only been begun, and the original after it
            // had been emptied.
            candidates.extend(new.iter().filter(is_new).filter_map(|file| {
                let stat = stat_of(&file.path)?;
                let (stream, path) = (file.stream, file.path.clone());
                Some(Listed { stream, path, stat })
            }));
            for (path, stat) in siblings.namesakes(entry.path()) {
                let key = (stream, stat.device, stat.inode);
                let is_known = self.by_inode.contains_key(&key)
                    || candidates.iter().any(|file| file.path == path);
                if !is_known && stat.inode != inode {
                    candidates.push(Listed { stream, path, stat });
                }
            }
        }
        let copy = candidates
            .into_iter()
            .find(|file| file.stat.size >= entry.position && is_held(&file.path, &entry));
        let Some(copy) = copy else {
            let unread = lost.size.saturating_sub(entry.position);
            return Ok(match unread {
                0 => format!("{was}; what it may have got after the last look is lost"),
                _ => format!("{was}; no copy of it was found, so {unread} bytes of it are lost"),
            });
        };
        new.retain(|file| file.path != copy.path);
        let shown = copy.path.display().to_string();
        let why = format!(
            "copied from `{}`, which was then emptied or overwritten: it holds all {} bytes that were read there, and \
             is read on from there",
            entry.path().display(),
            entry.position
        );
        self.follow_elsewhere(copy, entry, What::Moved, why)?;
        Ok(format!("{was}; what it held goes on in `{shown}`"))
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
        let id = entry.id;
        self.track(file, entry)?;
        if is_outside && let Some(tracked) = self.files.get_mut(&id) {
            tracked.outside = Some(Outside::Renamed);
        }
        Ok(())
    }

    /// Finds out what has become of the file that had the name of this one.
    fn find_owner(&mut self, file: &Listed, siblings: &mut Siblings) -> Result<Owner, Stopped> {
        let key = (file.stream, file.path.clone());
        if let Some(&id) = self.by_path.get(&key) {
            return self.find_tracked_owner(id, file, siblings);
        }
        let Some(inode) = self.known_paths.get(&key) else {
            return Ok(Owner::None);
        };
        let key = (file.stream, *inode);
        let path = file.path.as_os_str().as_bytes();
        let candidates = self.known.get_mut(&key);
        let found = candidates.and_then(|entries| {
            let at = entries.iter().rposition(|entry| entry.path == path)?;
            Some(entries.remove(at))
        });
        let Some(entry) = found else {
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
        self.known.entry(key).or_default().push(entry);
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
        let Some(tracked) = self.files.get_mut(&id) else {
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
        let entry = self.files.get(&id).map(|tracked| tracked.entry.clone());
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

    /// Whether a new file may be a copy of a followed one that is just being made, to be emptied next. One
    /// that has stood still for a while is none.
    fn may_be_copy(&mut self, file: &Listed) -> bool {
        let key = (file.stream, file.stat.device, file.stat.inode);
        let is_like = self.around.config.mode == Mode::Follow
            && self.files.values().any(|tracked| is_like(file, tracked));
        if !is_like {
            self.held_back.remove(&key);
            return false;
        }
        let now = Instant::now();
        let (size, since) = self.held_back.entry(key).or_insert((file.stat.size, now));
        if *size != file.stat.size {
            (*size, *since) = (file.stat.size, now);
        }
        if since.elapsed() >= COPY_AFTER {
            self.held_back.remove(&key);
            return false;
        }
        self.scan_at = self.scan_at.min(now + COPY_POLL);
        true
    }
}

/// Whether a file holds all that was read of another; not if it cannot be read.
fn is_held(path: &Path, entry: &FileEntry) -> bool {
    let held = File::open(path).and_then(|file| {
        let stat = Stat::of(&file.metadata()?);
        holds_all(&mut Source::new(file)?, &stat, entry)
    });
    held.unwrap_or(false)
}

/// Whether a file looks like the beginning, or all, of a followed one whose name it bears.
fn is_like(file: &Listed, tracked: &Tracked) -> bool {
    let head = tracked.entry.head;
    if tracked.stream != file.stream
        || tracked.cursor.position == 0
        || tracked.entry.packing.is_some()
        || !is_named_after(&file.path, &tracked.path)
    {
        return false;
    }
    let compare = || {
        let (copy, original) = (File::open(&file.path)?, File::open(&tracked.path)?);
        let mut source = Source::new(copy.try_clone()?)?;
        // A copy that is being made begins empty. It may also have more than was seen of the other at the last look.
        let is_begun = file.stat.size >= head.len;
        if is_begun && Fingerprint::of_head(&mut source, head.len)? != head {
            return Ok(false);
        }
        let start = file.stat.size.saturating_sub(COPY_BYTES);
        let len = usize::try_from(file.stat.size - start).unwrap_or(0);
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        read_file_at(&copy, &mut a, start)?;
        // One that ends before the copy does has just been emptied.
        let is_emptied = read_file_at(&original, &mut b, start)? < len;
        Ok(is_emptied || a == b)
    };
    let is_like: std::io::Result<bool> = compare();
    // One that cannot be compared may be a copy whose original has just been emptied: the next look tells.
    is_like.unwrap_or(true)
}

/// What the system says of a path, if it is a file.
pub(crate) fn stat_of(path: &Path) -> Option<Stat> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| Stat::of(&metadata))
}
