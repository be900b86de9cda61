//! Takes the steps that were decided: the one place that changes what is known of files, and the files.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bekk_stream::{FileId, Meta};

use crate::config::Mode;
use crate::file::decision::{FileState, What};
use crate::follow::engine::{Engine, Stopped};
use crate::follow::finish::receipt;
use crate::follow::step::{Lost, Resume, Step};
use crate::follow::tracked::{Change, Outside, State};
use crate::ledger::hold::persist;
use crate::ledger::metas::append_metas;
use crate::source::writers::Writers;
use crate::stats::Stats;

impl Engine<'_> {
    pub(crate) fn perform(&mut self, steps: Vec<Step>) -> Result<(), Stopped> {
        for step in steps {
            match step {
                Step::Note(id, what, why) => {
                    if let Some(tracked) = self.catalog.get_mut(id) {
                        tracked.entry.decide(what, why);
                    }
                }
                Step::Rename(id, path) => self.rename(id, &path),
                Step::Leave(id, how) => self.leave(id, how),
                Step::Forget(id) => self.forget(id),
                Step::Resume(resume) => self.resume(resume)?,
                Step::GiveUp(lost) => self.give_up(lost),
                Step::End(id) => self.end(id)?,
                Step::LetGo(id) => self.let_go(id),
                Step::TakeRest(id) => self.take_rest_unless_written(id, &Writers::now())?,
                Step::Finish(id) => self.finish(&[id])?,
            }
        }
        Ok(())
    }

    /// Notes the name that a followed file has now.
    pub(crate) fn rename(&mut self, id: FileId, path: &Path) {
        let Some(from) = self.catalog.rename(id, path) else {
            return;
        };
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        let stream = tracked.stream;
        let mut streams = self.around.inbox.streams_of(path);
        let is_inside = streams.any(|matching| matching == stream);
        self.account.touch();
        let from = from.display();
        if is_inside {
            let why = format!(
                "it was `{from}`, and has the same inode: reading continues at its position"
            );
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

    /// Follows a file on that has left the inbox.
    fn leave(&mut self, id: FileId, how: Outside) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        if how == Outside::Deleted || tracked.outside.is_none() {
            tracked.outside = Some(how);
        }
        tracked.change(Change::Left);
        if tracked.state == State::Active {
            self.queue.activate(id);
        }
        self.catalog.leave_name(id);
        self.account.touch();
    }

    /// Ends with a file, of which only the log remembers anything.
    pub(crate) fn forget(&mut self, id: FileId) {
        if let Some(tracked) = self.catalog.remove(id) {
            let stats = self.around.stats;
            match tracked.state {
                State::Blocked => Stats::subtract(&stats.files_blocked, 1),
                // What is left of it will not be read.
                _ => Stats::subtract(&stats.bytes_known, tracked.unlogged()),
            }
            self.account.touch();
        }
    }

    /// Follows a known content in the file where it is now.
    fn resume(&mut self, resume: Resume) -> Result<(), Stopped> {
        let Resume {
            file,
            mut entry,
            what,
            why,
        } = resume;
        let mut streams = self.around.inbox.streams_of(&file.path);
        let is_outside = streams.all(|stream| stream != file.stream);
        drop(streams);
        let before = entry.clone();
        entry.path = file.path.as_os_str().as_bytes().to_vec();
        (entry.device, entry.inode) = (file.stat.device, file.stat.inode);
        // Also without the checkpoint it must be known which file has this content now.
        let meta = Meta::File(entry.record(self.around.identity));
        let around = &self.around;
        let (log, stats, stop) = (around.log, around.stats, around.stop);
        if !append_metas(log, &self.session, &[meta], stats, stop)? {
            return Ok(());
        }
        self.catalog.known.remove(file.stream, &before);
        if matches!(what, What::Rotated | What::Moved) || self.around.config.mode == Mode::Once {
            // An earlier run has met it.
            self.summary.already += entry.records;
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

    /// Lets a lost content go: it may come back, compressed or restored.
    fn give_up(&mut self, lost: Lost) {
        let mut entry = lost.entry;
        entry.size = lost.size.max(entry.position);
        entry.lose("it was emptied or overwritten");
        self.catalog.known.give_up(lost.stream, entry, lost.recent);
    }

    /// Ends with a file of which nothing can be read any more.
    fn end(&mut self, id: FileId) -> Result<(), Stopped> {
        self.await_appends(id)?;
        if let Some(tracked) = self.catalog.get_mut(id) {
            tracked.entry.size = tracked.size();
            tracked.entry.lose("it is not there any more");
        }
        self.let_go(id);
        Ok(())
    }

    /// Lets a file go that may come back, under whatever name.
    fn let_go(&mut self, id: FileId) {
        let Some(tracked) = self.catalog.get(id) else {
            return;
        };
        let (stream, mut entry) = (tracked.stream, tracked.saved());
        entry.state = FileState::Gone;
        self.forget(id);
        self.catalog.known.let_go(stream, entry);
    }

    /// Takes what is left of a file that is closed for good, its unterminated last record included.
    pub(crate) fn take_rest(&mut self, id: FileId) -> Result<(), Stopped> {
        let position = |engine: &Self| {
            let tracked = engine.catalog.get(id);
            tracked.map(|tracked| tracked.cursor.position)
        };
        let before = position(self);
        while self.read_block_as(id, true)? {}
        if position(self) > before
            && let Some(tracked) = self.catalog.get_mut(id)
        {
            tracked.is_short = true;
        }
        Ok(())
    }

    /// Writes receipts for files all of which is in the log.
    pub(crate) fn finish(&mut self, ids: &[FileId]) -> Result<(), Stopped> {
        let mut metas = Vec::new();
        let mut finished = Vec::new();
        for id in ids {
            let Some(tracked) = self.catalog.get_mut(*id) else {
                continue;
            };
            if tracked.entry.receipt_bytes != Some(tracked.entry.position) {
                match receipt(tracked) {
                    Ok(receipt) => metas.push(Meta::Receipt(receipt)),
                    // It is tried again at the next listing.
                    Err(error) => {
                        let path = tracked.path.clone();
                        self.complain(&path, "cannot be read for its receipt", &error);
                        continue;
                    }
                }
            }
            finished.push(*id);
        }
        // A receipt replaces records, and a file with one may be moved or deleted.
        if !finished.is_empty() {
            persist(self.around.log)?;
        }
        let around = &self.around;
        if !append_metas(around.log, &self.session, &metas, around.stats, around.stop)? {
            return Ok(());
        }
        let mut count = 0;
        for id in &finished {
            let Some(tracked) = self.catalog.get_mut(*id) else {
                continue;
            };
            // A file that could not be put away was counted before.
            count += u64::from(tracked.state != State::Finished);
            tracked.change(Change::Finished);
            let entry = &mut tracked.entry;
            if entry.receipt_bytes != Some(entry.position) {
                entry.receipt_bytes = Some(entry.position);
                let (records, rejects) = (entry.records, entry.rejects);
                let why = format!("{records} records, {rejects} of them rejects, are in the log");
                entry.decide(What::Finished, why);
            }
        }
        Stats::add(&self.around.stats.files_finished, count);
        if !metas.is_empty() {
            self.account.touch();
        }
        Ok(())
    }
}
