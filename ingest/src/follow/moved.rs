//! Files that are somewhere else with the same name: their directory was moved or copied to another disk, restored or
//! mounted anew, or they were deleted and put back. Content decides, not device and path.

use bekk_stream::{FileId, Finished};

use crate::file::decision::What;
use crate::file::entry::FileEntry;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::look::{Disk, Look};
use crate::follow::step::{Resume, Step};
use crate::follow::tracked::Outside;
use crate::inbox::Listed;
use crate::ledger::archive::finished_entry;
use crate::source::{Source, open};
use crate::text::recent::Recent;

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
        if let Some(entry) = entry.filter(|entry| is_back(file, entry, &mut disk)) {
            self.perform(vec![Step::Forget(entry.id)])?;
            return self.continue_in(file, entry);
        }
        // What Bekk has put away itself comes back only if somebody delivers it again.
        let is_kept = self.around.streams[file.stream].finished == Finished::Keep;
        let taken = self
            .catalog
            .known
            .take_namesake(file.stream, &file.path, |entry| {
                (is_kept || !entry.is_in_receipt()) && is_back(file, entry, &mut disk)
            });
        match taken {
            Some(entry) => self.continue_in(file, entry),
            None => Ok(false),
        }
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
            "it was `{}`, which is not there any more; this one has its name and all {} bytes that were read: it is \
             read on from there",
            entry.path().display(),
            entry.position
        );
        self.summary.already += entry.records;
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

/// Whether a file holds all that was read of a known one, which is not where it was.
fn is_back(file: &Listed, entry: &FileEntry, look: &mut dyn Look) -> bool {
    let there = look.stat(entry.path());
    entry.position > 0
        && file.stat.size >= entry.position
        && !there.is_some_and(|stat| entry.is_inode_of(&stat))
        && look.held(&file.path, entry, &Recent::default()).is_some()
}
