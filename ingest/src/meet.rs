//! Meeting files: which of those in the inbox are new, which are known, and what has become of them.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;
use std::{fs, io};

use bekk_stream::{FileId, FileRecord, Meta};

use crate::checkpoint::FileEntry;
use crate::config::Mode;
use crate::engine::{Engine, Stopped};
use crate::identity::{Fingerprint, HEAD_MAX, Stat, Verdict, verify};
use crate::inbox::Listed;
use crate::reader::Format;
use crate::recover::{append_metas, now_ms};
use crate::stats::Stats;
use crate::tracked::{State, Tracked};
use crate::{Error, dialect};

/// A listing may take this part of the time; where it would take more, it is done less often,
const SCAN_SHARE: u32 = 100;
/// but not less often than this many times the usual interval: a busy machine makes a listing slow, too.
const SCAN_PAUSE_MAX: u32 = 10;

impl Engine<'_> {
    /// Lists the inbox, meets what is new in it, and looks after the files that are not being read.
    pub(crate) fn scan(&mut self) -> Result<(), Stopped> {
        let began = Instant::now();
        self.scan += 1;
        let mut failed = Vec::new();
        let listed = self
            .around
            .inbox
            .list(|path, error| failed.push((path.to_owned(), error.to_string())));
        for (path, error) in failed {
            self.report_unreadable(&path, &error);
        }
        self.meet(listed)?;
        if self.around.config.mode == Mode::Follow {
            if let Some(watch) = &mut self.around.watch {
                watch.renew();
            }
            self.notice_gone()?;
            self.finish_files(false)?;
        }
        let usual = self.around.config.poll_idle;
        let pause = (began.elapsed() * SCAN_SHARE).clamp(usual, usual * SCAN_PAUSE_MAX);
        self.scan_at = Instant::now() + pause;
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
            // If it has gone again, the next listing will see to it.
            if let Ok(metadata) = fs::metadata(&path)
                && metadata.is_file()
            {
                let stat = Stat::of(&metadata);
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
    fn meet(&mut self, mut listed: Vec<Listed>) -> Result<(), Stopped> {
        listed.sort_by(|a, b| (a.stat.modified, &a.path).cmp(&(b.stat.modified, &b.path)));
        let mut new = Vec::new();
        for file in listed {
            let key = (file.stream, file.stat.device, file.stat.inode);
            match self.by_inode.get(&key) {
                Some(&id) => self.meet_tracked(id, file, &mut new)?,
                None => self.meet_unknown(file, &mut new)?,
            }
        }
        self.register(new)
    }

    /// Takes note of a file that is being followed.
    fn meet_tracked(
        &mut self,
        id: FileId,
        file: Listed,
        new: &mut Vec<Listed>,
    ) -> Result<(), Stopped> {
        let scan = self.scan;
        let Some(tracked) = self.files.get_mut(&id) else {
            return Ok(());
        };
        let is_other_name = tracked.path != file.path;
        // Of several names of one file the first one counts, as long as it is there.
        if is_other_name && (tracked.scan == scan || tracked.path.exists()) {
            let same = fs::metadata(&tracked.path).map(|metadata| Stat::of(&metadata));
            if same
                .is_ok_and(|same| (same.device, same.inode) == (file.stat.device, file.stat.inode))
            {
                return Ok(());
            }
        }
        tracked.scan = scan;
        if is_other_name {
            tracing::info!(
                file = %id, from = %tracked.path.display(), to = %file.path.display(),
                "renamed: it has the same inode, and goes on where it was"
            );
            tracked.path = file.path.clone();
            tracked.entry.path = file.path.as_os_str().as_bytes().to_vec();
            self.is_dirty = true;
        }
        let grown = file.stat.size.saturating_sub(tracked.stat.size);
        Stats::add(&self.around.stats.bytes_known, grown);
        let is_changed = tracked.notice(file.stat);
        if tracked.is_truncated() {
            self.retire(id, Verdict::Truncated, Some(&file.stat));
            new.push(file);
            return Ok(());
        }
        let is_behind = tracked.cursor.position + tracked.partial < file.stat.size;
        match tracked.state {
            State::Blocked if is_changed => {
                let entry = tracked.entry.clone();
                self.forget(id);
                let key = (file.stream, file.stat.inode);
                self.known.entry(key).or_default().push(entry);
                self.meet_unknown(file, new)?;
            }
            State::Idle | State::Finished | State::Gone(_) if is_changed || is_behind => {
                tracked.state = State::Active;
                if !self.active.contains(&id) {
                    self.active.push(id);
                }
                self.read_turn(id)?;
            }
            State::Gone(_) => tracked.state = State::Active,
            State::Active if is_changed => {
                self.read_turn(id)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Finds out about a file that this run has not met: whether an earlier one has.
    fn meet_unknown(&mut self, file: Listed, new: &mut Vec<Listed>) -> Result<(), Stopped> {
        // An empty file cannot be told from another; it is met when it has something in it.
        if file.stat.size == 0 {
            return Ok(());
        }
        let Some(entry) = self.take_known(&file) else {
            new.push(file);
            return Ok(());
        };
        let verdict = fs::File::open(&file.path).and_then(|open| verify(&open, &file.stat, &entry));
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) => {
                self.report_unreadable(&file.path, &error.to_string());
                let key = (file.stream, file.stat.inode);
                self.known.entry(key).or_default().push(entry);
                return Ok(());
            }
        };
        let is_untouched = entry.records == 0 && entry.position == 0;
        let is_other_dialect = entry.dialect != self.dialect_of(file.stream);
        if verdict != Verdict::Same {
            explain_new(&file.path, &entry, verdict, Some(&file.stat));
            new.push(file);
        } else if is_untouched && is_other_dialect {
            tracing::info!(
                path = %file.path.display(), file = %entry.id,
                "read as a new file: nothing of it is in the log, and the stream's `csv` has changed"
            );
            new.push(file);
        } else {
            tracing::info!(
                path = %file.path.display(), file = %entry.id, position = entry.position, size = file.stat.size,
                in_log = entry.records, evidence = verdict.evidence(), "resumed"
            );
            self.summary.already += entry.records;
            self.track(file, entry)?;
        }
        Ok(())
    }

    /// The newest of the known files that this may be: one with its inode, on its device or, as devices
    /// are numbered anew at a restart, with its path.
    fn take_known(&mut self, file: &Listed) -> Option<FileEntry> {
        let candidates = self.known.get_mut(&(file.stream, file.stat.inode))?;
        let path = file.path.as_os_str().as_bytes();
        let index = candidates
            .iter()
            .rposition(|entry| entry.device == file.stat.device || entry.path == path)?;
        Some(candidates.remove(index))
    }

    /// Gives new files their ids, durably, before anything of them is read.
    fn register(&mut self, new: Vec<Listed>) -> Result<(), Stopped> {
        let mut metas = Vec::new();
        let mut met = Vec::new();
        for file in new {
            match self.identify(&file) {
                Ok(record) => {
                    met.push((file, record.clone()));
                    metas.push(Meta::File(record));
                }
                Err(error) => self.report_unreadable(&file.path, &error.to_string()),
            }
        }
        let around = &self.around;
        if !append_metas(around.log, &self.session, &metas, around.stats, around.stop)? {
            return Ok(());
        }
        for (file, record) in met {
            tracing::info!(
                path = %file.path.display(), file = %record.id, device = record.device, inode = record.inode,
                size = file.stat.size, "new file"
            );
            self.track(file, FileEntry::new(record))?;
        }
        Ok(())
    }

    fn identify(&mut self, file: &Listed) -> io::Result<FileRecord> {
        let open = fs::File::open(&file.path)?;
        let stat = Stat::of(&open.metadata()?);
        let head = Fingerprint::of_head(&open, stat.size.min(HEAD_MAX))?;
        Ok(FileRecord {
            id: FileId::random(),
            stream: self.around.streams[file.stream].name.clone(),
            path: file.path.as_os_str().as_bytes().to_vec(),
            device: stat.device,
            inode: stat.inode,
            head_len: head.len,
            head_hash: head.hash,
            found_at_ms: now_ms(),
            dialect: self.dialect_of(file.stream),
        })
    }

    fn dialect_of(&self, stream: usize) -> String {
        dialect::to_text(&self.around.streams[stream].csv)
    }

    /// Puts a file into the backlog.
    fn track(&mut self, file: Listed, mut entry: FileEntry) -> Result<(), Stopped> {
        let format = self.format(file.stream, &entry.dialect)?;
        (entry.device, entry.inode) = (file.stat.device, file.stat.inode);
        entry.path = file.path.as_os_str().as_bytes().to_vec();
        let id = entry.id;
        self.by_inode
            .insert((file.stream, file.stat.device, file.stat.inode), id);
        let stats = self.around.stats;
        Stats::add(&stats.files_found, 1);
        Stats::add(&stats.bytes_known, file.stat.size);
        Stats::add(&stats.bytes_read, entry.position);
        self.summary.files += 1;
        let mut tracked = Tracked::new((file.stream, format), file.path, entry, file.stat);
        tracked.scan = self.scan;
        if self.around.config.mode == Mode::Once {
            tracked.until = file.stat.size;
        }
        self.files.insert(id, tracked);
        self.backlog.push_back(id);
        self.is_dirty = true;
        Ok(())
    }

    /// The format of a file that was begun with a dialect.
    fn format(&mut self, stream: usize, dialect: &str) -> Result<usize, Error> {
        let key = (stream, dialect.to_owned());
        if let Some(&format) = self.format_indexes.get(&key) {
            return Ok(format);
        }
        let configured = &self.around.streams[stream];
        let parsed = dialect::from_text(dialect).unwrap_or_else(|| configured.csv.clone());
        let format = Format::new(configured, parsed, self.partitions[stream])?;
        self.formats.push(format);
        self.format_indexes.insert(key, self.formats.len() - 1);
        Ok(self.formats.len() - 1)
    }

    /// Begins anew with a file that turned out to be another than the one that was read.
    pub(crate) fn replace(&mut self, id: FileId, verdict: Verdict) -> Result<(), Stopped> {
        let Some((stream, path)) = self
            .files
            .get(&id)
            .map(|file| (file.stream, file.path.clone()))
        else {
            return Ok(());
        };
        let stat = fs::metadata(&path).map(|metadata| Stat::of(&metadata));
        self.retire(id, verdict, stat.as_ref().ok());
        match stat {
            Ok(stat) if stat.size > 0 => self.register(vec![Listed { stream, path, stat }]),
            _ => Ok(()),
        }
    }

    /// Ends with a file whose content has been replaced: what was read of it stays in the log.
    fn retire(&mut self, id: FileId, verdict: Verdict, stat: Option<&Stat>) {
        if let Some(tracked) = self.files.get(&id) {
            explain_new(&tracked.path, &tracked.entry, verdict, stat);
        }
        self.forget(id);
    }

    pub(crate) fn forget(&mut self, id: FileId) {
        if let Some(tracked) = self.files.remove(&id) {
            let stats = self.around.stats;
            match tracked.state {
                State::Blocked => Stats::subtract(&stats.files_blocked, 1),
                // What is left of it will not be read.
                _ => Stats::subtract(&stats.bytes_known, tracked.unlogged()),
            }
            let key = (tracked.stream, tracked.entry.device, tracked.entry.inode);
            if self.by_inode.get(&key) == Some(&id) {
                self.by_inode.remove(&key);
            }
            self.is_dirty = true;
        }
    }

    /// Says once that a path cannot be read; it is tried again at each listing.
    pub(crate) fn report_unreadable(&mut self, path: &Path, error: &str) {
        if self.unreadable.insert(path.to_owned()) {
            if self.around.config.mode == Mode::Once {
                self.summary.left.push((path.to_owned(), error.to_owned()));
            }
            tracing::warn!(path = %path.display(), error, "cannot be read; it is tried again");
        }
    }
}

/// Says why a file that was known is read from its beginning.
fn explain_new(path: &Path, entry: &FileEntry, verdict: Verdict, stat: Option<&Stat>) {
    let decision = match verdict {
        Verdict::Truncated => "truncated: read from its beginning as a new file",
        _ => "replaced: read from its beginning as a new file",
    };
    tracing::warn!(
        path = %path.display(), was = %entry.id, position = entry.position, size = stat.map(|stat| stat.size),
        evidence = verdict.evidence(), "{decision}"
    );
}
