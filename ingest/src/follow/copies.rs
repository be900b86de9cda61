//! Copies of files that are then emptied (copytruncate): which file is one, and how much of it has been read.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::config::Mode;
use crate::file::decision::What;
use crate::file::entry::FileEntry;
use crate::file::evidence::{Verdict, holds_all, verify};
use crate::file::siblings::{Siblings, is_named_after};
use crate::follow::engine::{Engine, Stopped};
use crate::follow::rotate::Lost;
use crate::follow::tracked::Tracked;
use crate::inbox::Listed;
use crate::source::fingerprint::Fingerprint;
use crate::source::stat::Stat;
use crate::source::{Source, read_file_at};
use crate::text::recent::Recent;

/// How long a file that may be a copy must have stood still to be taken for a file of its own: a busy machine may take
/// its time between copying a file and emptying it.
const COPY_AFTER: Duration = Duration::from_secs(10);
/// How many of its last bytes are compared.
const COPY_BYTES: u64 = 4096;

impl Engine<'_> {
    /// Looks for the copy of a content that has been truncated or overwritten, and goes on there. Says what
    /// became of it.
    pub(crate) fn find_copy(
        &mut self,
        lost: Lost,
        new: &mut Vec<Listed>,
        siblings: &mut Siblings,
    ) -> Result<String, Stopped> {
        let was = format!(
            "file {} was here, of which {} of {} bytes had been read; {}",
            lost.entry.id,
            lost.entry.position,
            lost.size.max(lost.entry.position),
            lost.verdict.evidence()
        );
        let candidates = match lost.entry.position {
            0 => Vec::new(),
            _ => self.candidates(&lost, new, siblings),
        };
        let copy = candidates.into_iter().find_map(|file| {
            let entry = entry_in(&file.path, &lost.entry, &lost.recent)?;
            Some((file, entry))
        });
        let Some((copy, entry)) = copy else {
            let unread = lost.size.saturating_sub(lost.entry.position);
            self.give_up(lost);
            return Ok(match unread {
                0 => format!("{was}; what it may have got after the last look is lost"),
                _ => format!("{was}; no copy of it was found, so {unread} bytes of it are lost"),
            });
        };
        new.retain(|file| file.path != copy.path);
        let shown = copy.path.display().to_string();
        let why = format!(
            "copied from `{}`, which was then emptied or overwritten: it holds {} bytes that were read there, and is \
             read on from there",
            entry.path().display(),
            entry.position
        );
        self.follow_elsewhere(copy, entry, What::Moved, why)?;
        Ok(format!("{was}; what it held goes on in `{shown}`"))
    }

    /// Lets a lost content go: it may come back, compressed or restored.
    fn give_up(&mut self, lost: Lost) {
        let mut entry = lost.entry;
        entry.size = lost.size.max(entry.position);
        entry.lose("it was emptied or overwritten");
        self.catalog.known.give_up(lost.stream, entry, lost.recent);
    }

    /// The files that may be the copy of a lost content, the oldest first.
    fn candidates(&self, lost: &Lost, new: &[Listed], siblings: &mut Siblings) -> Vec<Listed> {
        let stream = lost.stream;
        let listed = new.iter().filter(|file| file.stream == stream);
        let paths = listed.map(|file| file.path.clone());
        let beside = siblings.namesakes(lost.entry.path()).into_iter();
        // In other directories only where the patterns match.
        let inside = self.around.inbox.list(|_, _| {}).into_iter();
        let inside = inside
            .filter(|file| file.stream == stream && is_named_after(&file.path, lost.entry.path()));
        let mut found: Vec<Listed> = Vec::new();
        for path in paths
            .chain(beside.map(|(path, _)| path))
            .chain(inside.map(|file| file.path))
        {
            // As it is now: the listing may have met a copy that had only been begun, and the original after it had
            // been emptied.
            let Some(stat) = Stat::at(&path) else {
                continue;
            };
            let file = Listed { stream, path, stat };
            let is_known = self.catalog.of_inode(stream, &stat).is_some()
                || found.iter().any(|other| other.path == file.path)
                || self.is_known_content(&file);
            if !is_known && !lost.entry.is_inode_of(&stat) {
                found.push(file);
            }
        }
        found.sort_by_key(|file| file.stat.modified);
        found
    }

    /// Whether a file is one that was read before, as which it is known.
    fn is_known_content(&self, file: &Listed) -> bool {
        let entries = self.catalog.known.of_inode(file.stream, file.stat.inode);
        entries.iter().any(|entry| {
            let is_read = entry.position > 0 || !entry.known.is_empty();
            let verdict = || {
                let mut source = Source::new(File::open(&file.path)?)?;
                verify(&mut source, &file.stat, entry)
            };
            is_read && entry.is_inode_of(&file.stat) && matches!(verdict(), Ok(Verdict::Same))
        })
    }

    /// Whether a new file may be a copy of a followed one that is just being made, to be emptied next. One
    /// that has stood still for a while is none.
    pub(crate) fn may_be_copy(&mut self, file: &Listed) -> bool {
        let is_like = self.around.config.mode == Mode::Follow
            && self
                .catalog
                .followed()
                .any(|tracked| is_like(file, tracked));
        if !is_like {
            self.catalog.let_pass(file);
            return false;
        }
        self.catalog.hold_back(file, COPY_AFTER)
    }
}

/// Whether a file holds all that was read of another; not if it cannot be read.
pub(crate) fn is_held(path: &Path, entry: &FileEntry) -> bool {
    let held = open(path).and_then(|(mut source, stat)| holds_all(&mut source, &stat, entry));
    held.unwrap_or(false)
}

/// What is known of a file that holds what was read of another, as far as it goes: it may end before that, if something
/// was written and read after it was made.
fn entry_in(path: &Path, entry: &FileEntry, recent: &Recent) -> Option<FileEntry> {
    let (mut source, stat) = open(path).ok()?;
    let entry = match stat.size < entry.position {
        true => shortened(entry, recent, &mut source, stat.size)?,
        false => entry.clone(),
    };
    holds_all(&mut source, &stat, &entry)
        .is_ok_and(|held| held)
        .then_some(entry)
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

fn open(path: &Path) -> io::Result<(Source, Stat)> {
    let file = File::open(path)?;
    let stat = Stat::of(&file.metadata()?);
    Ok((Source::new(file)?, stat))
}

/// Whether a file looks like the beginning, or all, of a followed one whose name it bears.
fn is_like(file: &Listed, tracked: &Tracked) -> bool {
    // What has left the inbox is not emptied any more.
    if tracked.stream != file.stream
        || tracked.outside.is_some()
        || tracked.cursor.position == 0
        || tracked.entry.packing.is_some()
        || !is_named_after(&file.path, &tracked.path)
    {
        return false;
    }
    // What cannot be compared is not there any more, or cannot be read.
    is_copy_or_emptied(file, tracked).unwrap_or(false)
}

/// Whether a file begins as a followed one does and has the same bytes at its end, or that one does not have them any
/// more: it has been emptied, and the next look at it will find its copy.
fn is_copy_or_emptied(file: &Listed, tracked: &Tracked) -> io::Result<bool> {
    let head = tracked.entry.head;
    let copy = File::open(&file.path)?;
    // A copy that is being made begins empty.
    let is_begun = file.stat.size >= head.len;
    if is_begun && !head.matches(&mut Source::new(copy.try_clone()?)?, 0)? {
        return Ok(false);
    }
    let original = match &tracked.source {
        Some(source) => source.file().try_clone()?,
        None => File::open(&tracked.path)?,
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
