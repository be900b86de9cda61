//! Files that are somewhere else with the same name: their directory was moved or copied to another disk, restored or
//! mounted anew, or they were deleted and put back. Content decides, not device and path.

use std::io;
use std::path::Path;
use std::time::Duration;

use bekk_stream::{FileId, Finished};

use crate::config::Mode;

use crate::file::decision::What;
use crate::file::entry::FileEntry;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::look::{Disk, Look};
use crate::follow::step::{Resume, Step};
use crate::follow::tracked::Outside;
use crate::inbox::{Inbox, Listed};
use crate::ledger::archive::finished_entry;
use crate::source::stat::Stat;
use crate::source::{Source, open, read_file_at};
use crate::text::recent::Recent;

/// How long a file must not have been written to before it is another one than that of which it has a beginning.
const COMING_BACK_FOR: Duration = Duration::from_secs(3);
/// How many bytes are compared at once.
const COMPARED_BYTES: usize = 64 * 1024;

impl Engine<'_> {
    /// Takes the files that began as this one does out of the archive: it may be one of them.
    pub(crate) fn look_up_archived(&mut self, file: &Listed) -> Result<(), Stopped> {
        if self.archive.is_empty() {
            return Ok(());
        }
        let opened = open::file(&file.path).and_then(Source::new);
        let archive = &mut self.archive;
        let alike = opened.and_then(|mut source| archive.take_alike(file.stream, &mut source));
        // What cannot be read is reported where it is read.
        for archived in alike.unwrap_or_default() {
            if let Some((record, receipt)) = archived.look_up(self.around.log)? {
                let entry = finished_entry(record, &receipt);
                self.catalog.known.remember(file.stream, entry);
            }
        }
        Ok(())
    }

    /// Continues in a file that has the name of one that is not where it was, and all that was read of it; says whether
    /// it does.
    pub(crate) fn take_back(&mut self, file: &Listed) -> Result<bool, Stopped> {
        let deleted = self.deleted_named_as(file);
        if let Some(id) = deleted {
            self.await_appends(id)?;
        }
        let entry = deleted
            .and_then(|id| self.catalog.get(id))
            .map(|tracked| tracked.entry.clone());
        let mut disk = Disk::new(self.around.inbox);
        let inbox = self.around.inbox;
        if let Some(entry) = entry.filter(|entry| is_back(file, entry, inbox, &mut disk)) {
            self.perform(vec![Step::Forget(entry.id)])?;
            return self.continue_in(file, entry);
        }
        // What Bekk has put away itself comes back only if somebody delivers it again.
        let is_kept = self.around.streams[file.stream].finished == Finished::Keep;
        let taken = self
            .catalog
            .known
            .take_namesake(file.stream, &file.path, |entry| {
                (is_kept || !entry.is_in_receipt()) && is_back(file, entry, inbox, &mut disk)
            });
        match taken {
            Some(entry) => self.continue_in(file, entry),
            None => Ok(false),
        }
    }

    /// Whether a file may be the one that had its name, which is being put back: it has no more than a beginning of
    /// what was read of that one, and was written to a moment ago. It is decided when it has stopped changing, or
    /// continues otherwise.
    pub(crate) fn is_coming_back(&self, file: &Listed) -> bool {
        if self.around.config.mode == Mode::Once || file.stat.untouched_for() >= COMING_BACK_FOR {
            return false;
        }
        let is_short = |entry: &FileEntry| {
            file.stat.size < entry.position
                && entry.packing.is_none()
                && !Stat::at(entry.path()).is_some_and(|stat| entry.is_inode_of(&stat))
        };
        let name = file.path.file_name();
        let is_named = |path: &Path| path.file_name() == name;
        let mut followed = self.catalog.iter().map(|(_, tracked)| tracked);
        followed.any(|tracked| {
            tracked.stream == file.stream
                && is_named(&tracked.path)
                && is_short(&tracked.entry)
                && begins_as(file, &tracked.entry, tracked.source.as_ref())
        }) || self
            .catalog
            .known
            .of_stream(file.stream)
            .any(|entry| is_named(entry.path()) && is_short(entry) && begins_as(file, entry, None))
    }

    /// A followed file of this name that was deleted a moment ago.
    fn deleted_named_as(&self, file: &Listed) -> Option<FileId> {
        let mut followed = self.catalog.iter();
        let found = followed.find(|(_, tracked)| {
            tracked.outside == Some(Outside::Deleted)
                && tracked.stream == file.stream
                && tracked.path.file_name() == file.path.file_name()
        });
        found.map(|(id, _)| id)
    }

    fn continue_in(&mut self, file: &Listed, entry: FileEntry) -> Result<bool, Stopped> {
        let why = format!(
            "it was `{}`, which is no longer in the inbox; this file has the same name and begins with all {} bytes \
             that were read: Bekk continues after them",
            entry.path().display(),
            entry.position
        );
        let resume = Resume {
            file: file.clone(),
            entry,
            what: What::Moved,
            why,
        };
        self.perform(vec![Step::Resume(resume)])?;
        Ok(true)
    }
}

/// Whether a file is only the beginning of a known one: compared with the open original, or else by the hash of its
/// first bytes.
fn begins_as(file: &Listed, entry: &FileEntry, original: Option<&Source>) -> bool {
    let compare = || -> io::Result<bool> {
        let found = open::file(&file.path)?;
        let Some(original) = original else {
            let is_long_enough = file.stat.size >= entry.head.len;
            return Ok(is_long_enough && entry.head.matches(&mut Source::new(found)?, 0)?);
        };
        let (mut a, mut b) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
        let mut at = 0;
        while at < file.stat.size {
            let left = usize::try_from(file.stat.size - at).unwrap_or(usize::MAX);
            let len = left.min(COMPARED_BYTES);
            let read = read_file_at(&found, &mut a[..len], at)?;
            if read == 0 {
                break;
            }
            let same = read_file_at(original.file(), &mut b[..read], at)?;
            if a[..read] != b[..same] {
                return Ok(false);
            }
            at += read as u64;
        }
        Ok(true)
    };
    compare().unwrap_or(false)
}

/// Whether a file holds all that was read of a known one, which is not where it was in the inbox. Outside the patterns the
/// original may still exist: the project was copied, or restored beside it.
fn is_back(file: &Listed, entry: &FileEntry, inbox: &Inbox, look: &mut dyn Look) -> bool {
    let is_in_inbox = inbox.streams_of(entry.path()).any(|of| of == file.stream);
    let there = is_in_inbox.then(|| look.stat(entry.path())).flatten();
    entry.position > 0
        && file.stat.size >= entry.position
        && !there.is_some_and(|stat| entry.is_inode_of(&stat))
        && look.held(&file.path, entry, &Recent::default()).is_some()
}
