//! What can be seen of files: the evidence on which it is decided what becomes of them.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::file::entry::FileEntry;
use crate::file::evidence::{ContentCheck, holds_all, verify};
use crate::file::siblings::{Siblings, is_named_after};
use crate::follow::tracked::Tracked;
use crate::inbox::{Inbox, Listed};
use crate::source::fingerprint::Fingerprint;
use crate::source::stat::Stat;
use crate::source::{Source, open, read_file_at};
use crate::text::recent::Recent;

/// Number of last bytes of a possible copy that are compared.
const COPY_BYTES: u64 = 4096;

/// How a followed file is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is not open.
    Closed,
    /// It is open, and has a name, though perhaps not the one that it had.
    Named,
    /// It is open, and has no name any more.
    Nameless,
}

/// What decisions ask for: of the disk, or of a test's table.
pub(crate) trait Look {
    /// What the system says of a path, if it is a file.
    fn stat(&mut self, path: &Path) -> Option<Stat>;

    /// The name that an inode has in the directory of a path.
    fn beside(&mut self, path: &Path, device: u64, inode: u64) -> Option<(PathBuf, Stat)>;

    /// Files that are named after a path: in its directory, and of those that the stream's patterns match.
    fn namesakes(&mut self, stream: usize, path: &Path) -> Vec<PathBuf>;

    /// Whether the patterns of a stream match a name of an inode.
    fn is_listed(&mut self, stream: usize, device: u64, inode: u64) -> bool;

    fn hold(&mut self, tracked: &Tracked) -> Hold;

    /// Whether a file is the one that an entry tells of; `None` if it cannot be read.
    fn check(&mut self, file: &Listed, entry: &FileEntry) -> Option<ContentCheck>;

    /// What is known of a file that holds, byte by byte, what was read of another. It may hold less of it, as far as the
    /// bytes that were read last can tell.
    fn held(&mut self, path: &Path, entry: &FileEntry, recent: &Recent) -> Option<FileEntry>;
}

/// The disk, each directory as it was when it was first looked at.
pub(crate) struct Disk<'a> {
    inbox: &'a Inbox,
    siblings: Siblings,
}

impl<'a> Disk<'a> {
    pub(crate) fn new(inbox: &'a Inbox) -> Self {
        Self {
            inbox,
            siblings: Siblings::default(),
        }
    }
}

impl Look for Disk<'_> {
    fn stat(&mut self, path: &Path) -> Option<Stat> {
        Stat::at(path)
    }

    fn beside(&mut self, path: &Path, device: u64, inode: u64) -> Option<(PathBuf, Stat)> {
        self.siblings.find(path, device, inode)
    }

    fn namesakes(&mut self, stream: usize, path: &Path) -> Vec<PathBuf> {
        let beside = self.siblings.namesakes(path).into_iter();
        // In other directories only where the patterns match.
        let inside = self.inbox.list(|_, _| {}).into_iter();
        let inside =
            inside.filter(|file| file.stream == stream && is_named_after(&file.path, path));
        beside
            .map(|(path, _)| path)
            .chain(inside.map(|file| file.path))
            .collect()
    }

    fn is_listed(&mut self, stream: usize, device: u64, inode: u64) -> bool {
        let listed = self.inbox.list(|_, _| {});
        listed
            .iter()
            .any(|file| (file.stream, file.stat.device, file.stat.inode) == (stream, device, inode))
    }

    fn hold(&mut self, tracked: &Tracked) -> Hold {
        let Some(source) = &tracked.source else {
            return Hold::Closed;
        };
        match source.file().metadata() {
            Ok(metadata) if metadata.nlink() > 0 => Hold::Named,
            _ => Hold::Nameless,
        }
    }

    fn check(&mut self, file: &Listed, entry: &FileEntry) -> Option<ContentCheck> {
        let mut source = open::file(&file.path).and_then(Source::new).ok()?;
        verify(&mut source, &file.stat, entry).ok()
    }

    fn held(&mut self, path: &Path, entry: &FileEntry, recent: &Recent) -> Option<FileEntry> {
        let file = open::file(path).ok()?;
        let stat = Stat::of(&file.metadata().ok()?);
        let mut source = Source::new(file).ok()?;
        let entry = match stat.size < entry.position {
            true => shortened(entry, recent, &mut source, stat.size)?,
            false => entry.clone(),
        };
        holds_all(&mut source, &stat, &entry)
            .is_ok_and(|held| held)
            .then_some(entry)
    }
}

/// What was known of a file when only so many bytes of it had been read, if that can be said.
pub(crate) fn shortened(
    entry: &FileEntry,
    recent: &Recent,
    source: &mut Source,
    len: u64,
) -> Option<FileEntry> {
    let passed = recent.before(entry.position.checked_sub(len)?)?;
    if len == 0 || entry.header_at >= len {
        return None;
    }
    let mut entry = entry.clone();
    entry.position = len;
    entry.crc = Some(passed.crc);
    entry.tail = passed.tail;
    entry.line -= passed.lines;
    if entry.head.len > len {
        // Whether it is the same beginning, the CRC tells.
        entry.head = Fingerprint::of_head(source, len).ok()?;
    }
    Some(entry)
}

/// Whether a file begins as a followed one does and has the same bytes at its end, or that one does not have them any
/// more: it has been emptied, and the next look at it will find its copy.
pub(crate) fn is_copy_or_emptied(file: &Listed, tracked: &Tracked) -> io::Result<bool> {
    let head = tracked.entry.head;
    let copy = open::file(&file.path)?;
    // A copy that is being made begins empty.
    let is_begun = file.stat.size >= head.len;
    if is_begun && !head.matches(&mut Source::new(copy.try_clone()?)?, 0)? {
        return Ok(false);
    }
    let original = match &tracked.source {
        Some(source) => source.file().try_clone()?,
        None => open::file(&tracked.path)?,
    };
    let start = file.stat.size.saturating_sub(COPY_BYTES);
    let len = usize::try_from(file.stat.size - start).unwrap_or(0);
    let (mut a, mut b) = (vec![0; len], vec![0; len]);
    let read = read_file_at(&copy, &mut a, start)?;
    read_file_at(&original, &mut b, start)?;
    if read == len && a == b {
        return Ok(true);
    }
    let tail = tracked.cursor.tail;
    let tail_start = tracked.cursor.position - tail.len;
    Ok(!tail.matches(&mut Source::new(original)?, tail_start)?)
}
