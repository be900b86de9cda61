//! The files that a session knows, by id, inode and path.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bekk_stream::FileId;

use crate::follow::known::Known;
use crate::follow::tracked::Tracked;
use crate::inbox::Listed;
use crate::source::stat::Stat;

/// The files being followed, and what is known of others.
pub(crate) struct Catalog {
    files: HashMap<FileId, Tracked>,
    /// Followed files by stream, device and inode.
    by_inode: HashMap<(usize, u64, u64), FileId>,
    /// Followed files that the patterns match, by stream and path.
    by_path: HashMap<(usize, PathBuf), FileId>,
    /// Files that may be copies being made, by stream, device and inode: their size, and since when.
    held_back: HashMap<(usize, u64, u64), (u64, Instant)>,
    /// The header names of the files that had a name last, by stream and path: their successors may have no header.
    headers: HashMap<(usize, PathBuf), Vec<String>>,
    pub(crate) known: Known,
}

impl Catalog {
    pub(crate) fn new(known: Known) -> Self {
        Self {
            files: HashMap::new(),
            by_inode: HashMap::new(),
            by_path: HashMap::new(),
            held_back: HashMap::new(),
            headers: HashMap::new(),
            known,
        }
    }

    pub(crate) fn get(&self, id: FileId) -> Option<&Tracked> {
        self.files.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: FileId) -> Option<&mut Tracked> {
        self.files.get_mut(&id)
    }

    /// A followed file, beside what is known of others.
    pub(crate) fn with_known(&mut self, id: FileId) -> Option<(&mut Tracked, &Known)> {
        let tracked = self.files.get_mut(&id)?;
        Some((tracked, &self.known))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (FileId, &Tracked)> {
        self.files.iter().map(|(id, tracked)| (*id, tracked))
    }

    pub(crate) fn followed(&self) -> impl Iterator<Item = &Tracked> {
        self.files.values()
    }

    /// The followed file that has an inode.
    pub(crate) fn of_inode(&self, stream: usize, stat: &Stat) -> Option<FileId> {
        let key = (stream, stat.device, stat.inode);
        self.by_inode.get(&key).copied()
    }

    /// The followed file that has a name.
    pub(crate) fn named(&self, stream: usize, path: &Path) -> Option<FileId> {
        self.by_path.get(&(stream, path.to_owned())).copied()
    }

    /// The followed file that had a name before the one that it has.
    pub(crate) fn renamed_from(&self, stream: usize, path: &Path) -> Option<&Tracked> {
        let mut files = self.files.values();
        files.find(|file| file.stream == stream && file.was_named.as_deref() == Some(path))
    }

    /// Adds a file to those that are followed.
    pub(crate) fn insert(&mut self, tracked: Tracked) {
        let (id, stream) = (tracked.entry.id, tracked.stream);
        let inode = (stream, tracked.entry.device, tracked.entry.inode);
        self.by_inode.insert(inode, id);
        self.by_path.insert((stream, tracked.path.clone()), id);
        self.files.insert(id, tracked);
    }

    /// Takes a file out of those that are followed.
    pub(crate) fn remove(&mut self, id: FileId) -> Option<Tracked> {
        self.leave_name(id);
        let tracked = self.files.remove(&id)?;
        let key = (tracked.stream, tracked.entry.device, tracked.entry.inode);
        if self.by_inode.get(&key) == Some(&id) {
            self.by_inode.remove(&key);
        }
        Some(tracked)
    }

    /// Notes the name that a followed file has now; returns the one that it had.
    pub(crate) fn rename(&mut self, id: FileId, path: &Path) -> Option<PathBuf> {
        self.leave_name(id);
        let tracked = self.files.get_mut(&id)?;
        let from = std::mem::replace(&mut tracked.path, path.to_owned());
        tracked.was_named = Some(from.clone());
        tracked.entry.path = path.as_os_str().as_bytes().to_vec();
        self.take_name(id);
        Some(from)
    }

    /// Gives a followed file the name that it bears.
    pub(crate) fn take_name(&mut self, id: FileId) {
        if let Some(tracked) = self.files.get(&id) {
            let key = (tracked.stream, tracked.path.clone());
            self.by_path.insert(key, id);
        }
    }

    /// Lets another file have the name of one that has left it.
    pub(crate) fn leave_name(&mut self, id: FileId) {
        let Some(tracked) = self.files.get(&id) else {
            return;
        };
        let key = (tracked.stream, tracked.path.clone());
        if self.by_path.get(&key) == Some(&id) {
            self.by_path.remove(&key);
            if let Some(header) = &tracked.cursor.header {
                self.headers.insert(key, header.names.clone());
            }
        }
    }

    /// The header names of the file that had a name last.
    pub(crate) fn header_of_last(&self, stream: usize, path: &Path) -> Option<&[String]> {
        let names = self.headers.get(&(stream, path.to_owned()))?;
        Some(names)
    }

    /// Holds a file back that may be a copy being made, until it has stood still for so long; says whether it is.
    pub(crate) fn hold_back(&mut self, file: &Listed, still_for: Duration) -> bool {
        let key = (file.stream, file.stat.device, file.stat.inode);
        let now = Instant::now();
        let (size, since) = self.held_back.entry(key).or_insert((file.stat.size, now));
        if *size != file.stat.size {
            (*size, *since) = (file.stat.size, now);
        }
        let is_held = since.elapsed() < still_for;
        if !is_held {
            self.held_back.remove(&key);
        }
        is_held
    }

    /// Ends holding a file back.
    pub(crate) fn let_pass(&mut self, file: &Listed) {
        let key = (file.stream, file.stat.device, file.stat.inode);
        self.held_back.remove(&key);
    }
}
