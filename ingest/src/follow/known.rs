//! Contents that were read before and are followed by nobody now: they may come back under any name.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bekk_stream::FileId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::file::decision::FileState;
use crate::file::entry::FileEntry;
use crate::text::recent::Recent;

/// Number of files that are gone of which the checkpoint keeps more than the log needs.
const ENDED_MAX: usize = 300;
/// Number of contents that are in no file whose last bytes are kept.
const GIVEN_UP_MAX: usize = 16;

/// The entries of files that are not followed.
#[derive(Default)]
pub(crate) struct Known {
    /// By stream and inode.
    entries: HashMap<(usize, u64), Vec<FileEntry>>,
    /// The inodes of those from earlier runs, by stream and path.
    inodes: HashMap<(usize, PathBuf), u64>,
    /// Hashes of the file names, with their streams, that any entry has had.
    names: HashSet<u64>,
    /// Files that the last run had to do with: the checkpoint has them, or they were begun after it.
    recent: HashSet<FileId>,
    /// Files that are gone, the latest last.
    ended: VecDeque<FileId>,
    /// The last bytes of contents that no file has now.
    given_up: VecDeque<(FileId, Recent)>,
}

impl Known {
    /// What earlier runs knew: entries with the index of their stream, in the order in which they were met.
    pub(crate) fn new(
        files: impl Iterator<Item = (usize, FileEntry)>,
        recent: HashSet<FileId>,
    ) -> Self {
        let mut known = Self {
            recent,
            ..Self::default()
        };
        let mut ended = Vec::new();
        for (stream, file) in files {
            let path = (stream, file.path().to_owned());
            known.inodes.insert(path, file.inode);
            if file.state == FileState::Gone {
                ended.push((file.decisions.last().map(|last| last.at_ms), file.id));
            }
            known.remember(stream, file);
        }
        ended.sort_unstable();
        known.end(ended.into_iter().map(|(_, id)| id));
        known
    }

    /// Adds an entry. Nearly all inodes are those of one file, and there may be very many.
    pub(crate) fn remember(&mut self, stream: usize, mut entry: FileEntry) {
        entry.offsets.shrink_to_fit();
        self.names.insert(name_hash(stream, entry.path()));
        let inode = (stream, entry.inode);
        let entries = self
            .entries
            .entry(inode)
            .or_insert_with(|| Vec::with_capacity(1));
        entries.push(entry);
    }

    /// Remembers a content that is gone: it may come back under another name, compressed, or as it was.
    pub(crate) fn let_go(&mut self, stream: usize, entry: FileEntry) {
        self.end([entry.id]);
        self.remember(stream, entry);
    }

    /// The same of a content whose last bytes are known.
    pub(crate) fn give_up(&mut self, stream: usize, entry: FileEntry, recent: Recent) {
        self.given_up.push_back((entry.id, recent));
        if self.given_up.len() > GIVEN_UP_MAX {
            self.given_up.pop_front();
        }
        self.let_go(stream, entry);
    }

    fn end(&mut self, ids: impl IntoIterator<Item = FileId>) {
        self.ended.extend(ids);
        let surplus = self.ended.len().saturating_sub(ENDED_MAX);
        self.ended.drain(..surplus);
    }

    /// The last bytes of a content that was given up.
    pub(crate) fn given_up(&self, id: FileId) -> Option<&Recent> {
        let mut given_up = self.given_up.iter();
        given_up.find(|(of, _)| *of == id).map(|(_, recent)| recent)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &FileEntry> {
        self.entries.values().flatten()
    }

    pub(crate) fn of_stream(&self, stream: usize) -> impl Iterator<Item = &FileEntry> {
        let entries = self
            .entries
            .iter()
            .filter(move |((of, _), _)| *of == stream);
        entries.flat_map(|(_, entries)| entries)
    }

    /// The entries of an inode, on whatever device, the newest last.
    pub(crate) fn of_inode(&self, stream: usize, inode: u64) -> &[FileEntry] {
        let entries = self.entries.get(&(stream, inode));
        entries.map_or(&[], Vec::as_slice)
    }

    /// Takes one of the entries of an inode, by its place among them.
    pub(crate) fn take(&mut self, stream: usize, inode: u64, index: usize) -> Option<FileEntry> {
        let entries = self.entries.get_mut(&(stream, inode))?;
        (index < entries.len()).then(|| entries.remove(index))
    }

    /// The newest entry that an earlier run knew by a path, unless it has this inode: a file does not take the
    /// name of what it was itself.
    pub(crate) fn named(&self, stream: usize, path: &Path, unless: u64) -> Option<&FileEntry> {
        let inode = *self.inodes.get(&(stream, path.to_owned()))?;
        if inode == unless {
            return None;
        }
        let entries = self.of_inode(stream, inode);
        let bytes = path.as_os_str().as_bytes();
        entries.iter().rfind(|entry| entry.path == bytes)
    }

    /// Takes the newest entry whose file had the name of this one, in whatever directory, and for which `is_it`.
    pub(crate) fn take_namesake(
        &mut self,
        stream: usize,
        path: &Path,
        mut is_it: impl FnMut(&FileEntry) -> bool,
    ) -> Option<FileEntry> {
        if !self.names.contains(&name_hash(stream, path)) {
            return None;
        }
        let name = path.file_name();
        let namesakes = self.of_stream(stream);
        let mut namesakes: Vec<_> = namesakes
            .filter(|entry| entry.path().file_name() == name)
            .collect();
        namesakes.sort_by_key(|entry| entry.decisions.last().map(|last| last.at_ms));
        let found = namesakes
            .into_iter()
            .rev()
            .find(|entry| is_it(entry))?
            .clone();
        self.remove(stream, &found);
        Some(found)
    }

    pub(crate) fn remove(&mut self, stream: usize, entry: &FileEntry) {
        if let Some(entries) = self.entries.get_mut(&(stream, entry.inode)) {
            entries.retain(|known| known.id != entry.id);
        }
    }

    /// The entries that an earlier run may have left in the middle, as far as `find` has a place for them.
    pub(crate) fn unfinished<T>(
        &self,
        mut find: impl FnMut(usize, &FileEntry) -> Option<T>,
    ) -> Vec<(T, FileEntry)> {
        let entries = self.entries.iter();
        let entries = entries.flat_map(|((stream, _), entries)| {
            let with_stream = entries.iter().map(|entry| (*stream, entry));
            with_stream.filter(|(_, entry)| {
                let is_read = entry.position > 0 || !entry.known.is_empty();
                self.recent.contains(&entry.id) && entry.position + entry.size > 0
                    || !entry.is_in_receipt() && is_read
            })
        });
        entries
            .filter_map(|(stream, entry)| Some((find(stream, entry)?, entry.clone())))
            .collect()
    }

    /// Notes of the files that the last run was reading that they are nowhere, if so; says whether there are any.
    pub(crate) fn lose_missing(&mut self, is_there: impl Fn(&FileEntry) -> bool) -> bool {
        let mut missing = Vec::new();
        for entry in self.entries.values_mut().flatten() {
            let is_new = !matches!(entry.state, FileState::Gone | FileState::Blocked);
            if is_new && self.recent.contains(&entry.id) && !is_there(entry) {
                entry.lose("it is not where it was");
                missing.push(entry.id);
            }
        }
        let is_any = !missing.is_empty();
        self.end(missing);
        is_any
    }

    /// The entries that the checkpoint keeps: what the log needs, and the latest of those that are gone.
    pub(crate) fn saved(&self) -> impl Iterator<Item = &FileEntry> {
        self.iter().filter(|entry| {
            let is_gone = entry.state == FileState::Gone;
            !entry.is_in_receipt() || is_gone && self.ended.contains(&entry.id)
        })
    }
}

fn name_hash(stream: usize, path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default();
    xxh3_64_with_seed(name.as_bytes(), stream as u64)
}
