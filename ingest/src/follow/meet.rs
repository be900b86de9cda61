//! Meeting files: which of those in the inbox are new, which are known, and what has become of them.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bekk_stream::FileId;

use crate::config::Mode;
use crate::file::decision::{FileState, What};
use crate::file::entry::FileEntry;
use crate::file::evidence::{ContentCheck, verify_whole};
use crate::file::siblings::Siblings;
use crate::follow::copies::seek_copy;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::gone::miss;
use crate::follow::look::{Disk, Look};
use crate::follow::rotate::{Succession, resume_rotated, succeed};
use crate::follow::step::{Fresh, Lost, Step};
use crate::follow::tracked::{Change, Outside, State, Tracked};
use crate::inbox::Listed;
use crate::source::stat::Stat;
use crate::source::{Source, open};
use crate::stats::Stats;
use crate::text::recent::Recent;

/// A listing may take this part of the time; where it would take more, it is done less often,
const SCAN_SHARE: u32 = 100;
/// but not less often than this many times the usual interval: a busy machine makes a listing slow, too.
const SCAN_PAUSE_MAX: u32 = 10;

impl Engine<'_> {
    /// Lists the inbox, meets what is new in it, and looks after the files that are not being read.
    pub(crate) fn scan(&mut self) -> Result<(), Stopped> {
        let began = Instant::now();
        self.scan += 1;
        self.around.inbox_lock.renew(self.around.inbox)?;
        let mut failed = Vec::new();
        let listed = self
            .around
            .inbox
            .list(|path, error| failed.push((path.to_owned(), error)));
        for (path, error) in failed {
            self.report_unreadable(&path, &error);
        }
        let usual = self.around.config.poll_idle;
        let next = began + usual;
        self.scan_at = next;
        self.meet(listed)?;
        self.read_again()?;
        if self.scan == 1 {
            self.seek_rotated()?;
            self.name_missing();
        }
        if self.around.config.mode == Mode::Follow {
            if let Some(watch) = &mut self.around.watch {
                watch.renew();
            }
            self.watch_quotes();
            self.notice_gone()?;
            self.finish_files(false)?;
        }
        self.complaints.end_scan(self.scan);
        // Unless something is to be looked at sooner.
        if self.scan_at == next {
            let pause = (began.elapsed() * SCAN_SHARE).clamp(usual, usual * SCAN_PAUSE_MAX);
            self.scan_at = Instant::now() + pause;
        }
        Ok(())
    }

    /// Meets the files that a notification has named.
    pub(crate) fn meet_changed(&mut self) -> Result<(), Stopped> {
        let Some(watch) = &self.around.watch else {
            return Ok(());
        };
        let mut listed = Vec::new();
        for path in watch.take_changed() {
            let mut streams = self.around.inbox.streams_of(&path).peekable();
            if streams.peek().is_none() {
                continue;
            }
            // If it is gone again, the next listing handles it.
            if let Some(stat) = Stat::at(&path) {
                listed.extend(streams.map(|stream| Listed {
                    stream,
                    path: path.clone(),
                    stat,
                }));
            }
        }
        match listed.is_empty() {
            true => Ok(()),
            false => self.meet(listed),
        }
    }

    /// Takes note of files that are there: known ones, and new ones, oldest first.
    fn meet(&mut self, listed: Vec<Listed>) -> Result<(), Stopped> {
        let mut found = Unmatched::default();
        let mut seen = HashSet::new();
        self.meet_each(listed, &mut seen, &mut found)?;
        self.meet_copies(&mut seen, &mut found)?;
        self.sort_out(found)
    }

    /// Lists the inbox again if contents are lost. Whoever empties a file has copied it before, but the copy may be missing
    /// so far: a notification names a few files, and a listing may have passed the copy's place before it was made.
    fn meet_copies(
        &mut self,
        seen: &mut HashSet<(usize, u64, u64)>,
        found: &mut Unmatched,
    ) -> Result<(), Stopped> {
        let mut lost = 0;
        while found.lost.len() > lost {
            lost = found.lost.len();
            let mut listed = self.around.inbox.list(|_, _| {});
            listed.retain(|file| !seen.contains(&identity(file)));
            self.meet_each(listed, seen, found)?;
        }
        Ok(())
    }

    fn meet_each(
        &mut self,
        mut listed: Vec<Listed>,
        seen: &mut HashSet<(usize, u64, u64)>,
        found: &mut Unmatched,
    ) -> Result<(), Stopped> {
        listed.sort_by(|a, b| (a.stat.modified, &a.path).cmp(&(b.stat.modified, &b.path)));
        for file in listed {
            let is_first = seen.insert(identity(&file));
            match self.catalog.of_inode(file.stream, &file.stat) {
                Some(id) => self.meet_tracked(id, file, found)?,
                // Further names of a file are not files of their own.
                None if is_first => {
                    self.look_up_archived(&file)?;
                    self.meet_unknown(file, found)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Takes note of a file that is being followed.
    fn meet_tracked(
        &mut self,
        id: FileId,
        file: Listed,
        found: &mut Unmatched,
    ) -> Result<(), Stopped> {
        let scan = self.scan;
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(());
        };
        let is_other_name = tracked.path != file.path;
        // If a file has several names, the first one counts as long as it exists.
        if is_other_name
            && tracked.outside.is_none()
            && Stat::at(&tracked.path).is_some_and(|stat| tracked.entry.is_inode_of(&stat))
        {
            return Ok(());
        }
        tracked.scan = scan;
        let was_outside = tracked.outside.take().is_some();
        if is_other_name {
            self.rename(id, &file.path);
        } else if was_outside {
            self.catalog.take_name(id);
        }
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(());
        };
        let size = tracked.stat.size;
        let is_changed = tracked.notice(file.stat);
        if tracked.entry.packing.is_some() {
            if is_changed {
                Stats::subtract(&self.around.stats.bytes_known, tracked.entry.size);
                tracked.unpack_again();
            }
        } else {
            let grown = file.stat.size.saturating_sub(size);
            Stats::add(&self.around.stats.bytes_known, grown);
        }
        if tracked.is_truncated() {
            found
                .lost
                .extend(self.retire(id, ContentCheck::Truncated, size)?);
            found.new.push(file);
            return Ok(());
        }
        let is_behind = tracked.is_behind();
        match tracked.state {
            State::Blocked if is_changed => {
                let entry = tracked.entry.clone();
                self.forget(id);
                self.catalog.known.remember(file.stream, entry);
                self.meet_unknown(file, found)?;
            }
            State::Idle | State::Finished | State::Unreadable if is_changed || is_behind => {
                tracked.change(Change::Grown);
                if tracked.state == State::Active {
                    self.queue.activate(id);
                }
                self.read_turn(id)?;
            }
            State::Active if is_changed => {
                self.read_turn(id)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Finds out about a file that this run has not met: whether an earlier one has.
    fn meet_unknown(&mut self, file: Listed, found: &mut Unmatched) -> Result<(), Stopped> {
        let (mut entry, check) = match self.take_known(&file) {
            Ok(Some(known)) => known,
            Ok(None) => {
                // An empty file cannot be told from another; it is met when it has something in it.
                if file.stat.size > 0 {
                    found.new.push(file);
                }
                return Ok(());
            }
            Err(error) => {
                self.report_unreadable(&file.path, &error);
                return Ok(());
            }
        };
        let is_untouched = entry.records == 0 && entry.position == 0;
        let is_other_dialect = entry.dialect != self.formats.dialect_of(file.stream);
        if check != ContentCheck::Same {
            // Whether its inode was used again, or it may be the copy of another, for which the same holds.
            let is_other = entry.state == FileState::Gone || entry.path() != file.path;
            if is_other || self.may_be_copy(&file) {
                self.catalog.known.remember(file.stream, entry);
                if is_other && file.stat.size > 0 {
                    found.new.push(file);
                }
                return Ok(());
            }
            found.lost.push(Lost {
                size: entry.size,
                entry,
                stream: file.stream,
                check,
                recent: Recent::default(),
            });
            found.new.push(file);
        } else if is_untouched && is_other_dialect {
            tracing::info!(
                path = %file.path.display(), file = %entry.id,
                "read as a new file: nothing of it is in the log, and the stream's `csv` has changed"
            );
            found.new.push(file);
        } else {
            let mut why = format!(
                "from byte {} of {}: it has the same inode, and {}",
                entry.position,
                file.stat.size,
                check.evidence()
            );
            let was_named = (entry.path() != file.path).then(|| entry.path().to_owned());
            if let Some(was_named) = &was_named {
                why.push_str(&format!("; its name was `{}`", was_named.display()));
            }
            entry.path = file.path.as_os_str().as_bytes().to_vec();
            entry.why.clear();
            entry.decide(What::Resumed, why);
            self.summary.already += entry.records;
            let id = entry.id;
            self.track(file, entry)?;
            if let Some(tracked) = self.catalog.get_mut(id) {
                tracked.was_named = was_named;
            }
        }
        Ok(())
    }

    /// The known file that this may be: one with its inode, on its device or, as devices are numbered anew at a
    /// restart, with its path. If several files had the inode one after the other, it is the one with the same content, or
    /// else the newest.
    fn take_known(&mut self, file: &Listed) -> io::Result<Option<(FileEntry, ContentCheck)>> {
        let known = &mut self.catalog.known;
        let entries = known.of_inode(file.stream, file.stat.inode);
        let path = file.path.as_os_str().as_bytes();
        let may_be = |entry: &FileEntry| entry.device == file.stat.device || entry.path == path;
        if !entries.iter().any(may_be) {
            return Ok(None);
        }
        let mut source = Source::new(open::file(&file.path)?)?;
        let mut best = None;
        for (index, entry) in entries.iter().enumerate() {
            if !may_be(entry) {
                continue;
            }
            let check = verify_whole(&mut source, &file.stat, entry)?;
            let is_same = check == ContentCheck::Same;
            let rank = (is_same, if is_same { entry.position } else { 0 }, index);
            if best.is_none_or(|(other, _)| rank > other) {
                best = Some((rank, check));
            }
        }
        Ok(best.and_then(|((.., index), check)| {
            let entry = known.take(file.stream, file.stat.inode, index)?;
            Some((entry, check))
        }))
    }

    /// Begins anew with a file that turned out to be another than the one that was read.
    pub(crate) fn replace(&mut self, id: FileId, check: ContentCheck) -> Result<(), Stopped> {
        let Some((stream, path, size)) = self
            .catalog
            .get(id)
            .map(|file| (file.stream, file.path.clone(), file.held()))
        else {
            return Ok(());
        };
        let mut found = Unmatched::default();
        found.lost.extend(self.retire(id, check, size)?);
        // It may have been renamed meanwhile, and its name be that of another one that is followed.
        if let Some(stat) = Stat::at(&path)
            && stat.size > 0
            && self.catalog.of_inode(stream, &stat).is_none()
        {
            found.new.push(Listed { stream, path, stat });
        }
        let mut seen = found.new.iter().map(identity).collect();
        self.meet_copies(&mut seen, &mut found)?;
        self.sort_out(found)
    }

    /// Ends with a file whose content has been replaced: what was read of it stays in the log.
    fn retire(
        &mut self,
        id: FileId,
        check: ContentCheck,
        size: u64,
    ) -> Result<Option<Lost>, Stopped> {
        self.await_appends(id)?;
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(None);
        };
        let lost = Lost {
            entry: tracked.entry.clone(),
            stream: tracked.stream,
            check,
            size,
            recent: match tracked.entry.position == tracked.cursor.position {
                true => std::mem::take(&mut tracked.cursor.recent),
                false => Recent::default(),
            },
        };
        self.forget(id);
        Ok(Some(lost))
    }

    /// Finds out where contents have gone, and reads as new what holds nothing that is known.
    fn sort_out(&mut self, found: Unmatched) -> Result<(), Stopped> {
        let Unmatched { mut new, lost } = found;
        if new.is_empty() && lost.is_empty() {
            return Ok(());
        }
        let mut disk = Disk::new(self.around.inbox);
        let mut restarted = HashMap::new();
        for lost in lost {
            let inode = (lost.stream, lost.entry.device, lost.entry.inode);
            let (step, why) = seek_copy(&self.catalog, lost, &new, &mut disk);
            if let Step::Resume(resume) = &step {
                new.retain(|file| file.path != resume.file.path);
            }
            self.perform(vec![step])?;
            restarted.insert(inode, why);
        }
        let mut fresh = Vec::new();
        for file in new {
            let inode = (file.stream, file.stat.device, file.stat.inode);
            // It is met when it has something in it, unless it has been met while others were.
            if file.stat.size == 0 || self.catalog.of_inode(file.stream, &file.stat).is_some() {
                continue;
            }
            if let Some(why) = restarted.remove(&inode) {
                let what = What::Restarted;
                fresh.push(Fresh { file, what, why });
                continue;
            }
            if let Some(id) = self.catalog.named(file.stream, &file.path) {
                self.await_appends(id)?;
            }
            if self.is_coming_back(&file) {
                continue;
            }
            let Succession { steps, begin } = succeed(&self.catalog, &file, &mut disk);
            self.perform(steps)?;
            let Some((what, why)) = begin else {
                continue;
            };
            if what == What::New && self.take_back(&file)? {
                continue;
            }
            if !self.may_be_copy(&file) {
                fresh.push(Fresh { file, what, why });
            }
        }
        self.register(fresh)
    }

    /// After the first listing: looks for files that were being read when an earlier run ended, and have got a
    /// name since that the patterns do not match.
    fn seek_rotated(&mut self) -> Result<(), Stopped> {
        let mut disk = Disk::new(self.around.inbox);
        let found = self.catalog.known.unfinished(|stream, entry| {
            let (path, stat) = disk.beside(entry.path(), entry.device, entry.inode)?;
            Some(Listed { stream, path, stat })
        });
        for (file, entry) in found {
            let step = resume_rotated(&self.catalog, &file, &entry, &mut disk);
            self.perform(step.into_iter().collect())?;
        }
        Ok(())
    }

    /// After that: names the files that an earlier run was reading, and that are nowhere now.
    fn name_missing(&mut self) {
        let is_there =
            |entry: &FileEntry| Stat::at(entry.path()).is_some_and(|stat| entry.is_inode_of(&stat));
        if self.catalog.known.lose_missing(is_there) {
            self.account.touch();
        }
    }

    /// Sees which files have gone from the inbox, and ends with those that have been gone for a while.
    fn notice_gone(&mut self) -> Result<(), Stopped> {
        let unseen = self.catalog.iter();
        let unseen = unseen.filter(|(_, tracked)| tracked.scan != self.scan);
        let unseen: Vec<FileId> = unseen.map(|(id, _)| id).collect();
        let mut disk = Disk::new(self.around.inbox);
        for id in unseen {
            if let Some(tracked) = self.catalog.get(id) {
                let steps = miss(tracked, self.around.config.close_after, &mut disk);
                self.perform(steps)?;
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

    /// Looks beside its name for a file that is not there any more, and notes the name that it has now.
    pub(crate) fn find_again(&mut self, id: FileId) -> bool {
        let Some(tracked) = self.catalog.get(id) else {
            return false;
        };
        let (device, inode) = (tracked.stat.device, tracked.stat.inode);
        let found = Siblings::default().find(&tracked.path, device, inode);
        if let Some((path, _)) = &found {
            self.rename(id, path);
        }
        found.is_some()
    }
}

/// What tells files apart, whatever names they have.
fn identity(file: &Listed) -> (usize, u64, u64) {
    (file.stream, file.stat.device, file.stat.inode)
}

/// What a listing has brought that is not simply known.
#[derive(Default)]
struct Unmatched {
    /// Files of which nothing is known by their inode.
    new: Vec<Listed>,
    /// Contents that their inode does not have any more.
    lost: Vec<Lost>,
}
