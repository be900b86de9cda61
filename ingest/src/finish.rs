//! Where reading a file pauses or ends: at its end, set aside, gone, or finished with a receipt.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bekk_stream::{FileId, Finished, Meta, Receipt};
use xxhash_rust::xxh3::Xxh3;

use crate::config::Mode;
use crate::engine::{Engine, Stopped};
use crate::recover::{append_metas, now_ms};
use crate::stats::Stats;
use crate::tracked::{ACTIVE_FOR, GONE_FOR, State, Tracked};

/// How long a file must have stood still at the end of a run for its end to be taken as it is.
const STILL_FOR: Duration = Duration::from_secs(1);

impl Engine<'_> {
    /// Notes that a file has been read as far as it goes, but for so many bytes of an incomplete record.
    pub(crate) fn caught_up(&mut self, id: FileId, partial: u64) {
        let mode = self.around.config.mode;
        let Some(tracked) = self.files.get_mut(&id) else {
            return;
        };
        tracked.partial = partial;
        tracked.is_caught_up = true;
        if let Err(error) = tracked.grow_head() {
            tracing::debug!(file = %id, %error, "its first bytes could not be read again");
        }
        let is_new = tracked.stat.unchanged_for() < ACTIVE_FOR;
        if mode == Mode::Once {
            tracked.state = State::Idle;
            if partial > 0 {
                self.unsettled.push(id);
            } else {
                tracked.file = None;
            }
        } else if matches!(tracked.state, State::Gone(_)) {
        } else if is_new || tracked.state == State::Active {
            tracked.state = State::Active;
            if !self.active.contains(&id) {
                self.active.push(id);
            }
        } else {
            tracked.state = State::Idle;
            if partial == 0 {
                tracked.file = None;
            }
        }
    }

    /// At the end of a run: takes the unterminated last records of files that stand still, and leaves those
    /// of files that are being written. Says whether all is decided.
    pub(crate) fn settle(&mut self) -> Result<bool, Stopped> {
        for id in std::mem::take(&mut self.unsettled) {
            let Some(tracked) = self.files.get_mut(&id) else {
                continue;
            };
            if let Err(error) = tracked.look() {
                self.summary
                    .left
                    .push((tracked.path.clone(), error.to_string()));
                continue;
            }
            if tracked.stat.size != tracked.until {
                let left = format!(
                    "an incomplete record at byte {} (line {}): the file is being written",
                    tracked.cursor.position, tracked.cursor.line
                );
                self.summary.left.push((tracked.path.clone(), left));
                tracked.file = None;
            } else if tracked.stat.unchanged_for() >= STILL_FOR {
                self.take_rest(id)?;
            } else {
                self.unsettled.push(id);
            }
        }
        Ok(self.unsettled.is_empty())
    }

    /// Takes what is left of a file that is closed for good, its unterminated last record included.
    fn take_rest(&mut self, id: FileId) -> Result<(), Stopped> {
        while self.read_block_as(id, true)? {}
        Ok(())
    }

    /// Sets a file aside.
    pub(crate) fn block(&mut self, id: FileId, why: String) {
        let Some(tracked) = self.files.get_mut(&id) else {
            return;
        };
        tracing::warn!(
            path = %tracked.path.display(),
            "set aside, and tried again when it or the configuration changes: {why}"
        );
        tracked.state = State::Blocked;
        tracked.file = None;
        Stats::add(&self.around.stats.files_blocked, 1);
        Stats::subtract(&self.around.stats.bytes_known, tracked.unlogged());
        self.summary
            .blocked
            .retain(|(path, _)| *path != tracked.path);
        self.summary.blocked.push((tracked.path.clone(), why));
    }

    /// Notes that a file could not be read.
    pub(crate) fn fail(&mut self, id: FileId, error: &io::Error) {
        let Some(tracked) = self.files.get_mut(&id) else {
            return;
        };
        tracked.file = None;
        tracked.state = State::Idle;
        let path = tracked.path.clone();
        self.report_unreadable(&path, &error.to_string());
    }

    /// Keeps the number of open files bounded: gives up one that was opened just for a block.
    pub(crate) fn close_some(&mut self, opened: FileId) {
        // Others are closed when they have been read to their end.
        let open = self.active.len() + self.unsettled.len();
        if open >= self.around.config.open_files_max
            && let Some(tracked) = self.files.get_mut(&opened)
        {
            tracked.file = None;
        }
    }

    /// Sees which files have gone from the inbox, and ends with those that have been gone for a while.
    pub(crate) fn notice_gone(&mut self) -> Result<(), Stopped> {
        let mut ended = Vec::new();
        let mut blocked = Vec::new();
        for (id, tracked) in &mut self.files {
            if tracked.scan == self.scan {
                continue;
            }
            match tracked.state {
                State::Gone(since) if since.elapsed() > GONE_FOR => ended.push(*id),
                State::Gone(_) => {}
                State::Blocked => blocked.push(*id),
                _ => {
                    tracing::info!(path = %tracked.path.display(), file = %id, "gone from the inbox");
                    tracked.state = State::Gone(Instant::now());
                    if !self.active.contains(id) {
                        self.active.push(*id);
                    }
                }
            }
        }
        for id in blocked {
            self.forget(id);
        }
        for id in ended {
            self.end_gone(id)?;
        }
        Ok(())
    }

    fn end_gone(&mut self, id: FileId) -> Result<(), Stopped> {
        let Some(tracked) = self.files.get(&id) else {
            return Ok(());
        };
        if tracked.file.is_some()
            && (tracked.partial > 0 || tracked.cursor.position < tracked.stat.size)
        {
            return self.take_rest(id);
        }
        if tracked.entry.position == tracked.cursor.position {
            let entry = tracked.entry.clone();
            let key = (tracked.stream, entry.inode);
            self.forget(id);
            // It may come back, under whatever name.
            self.known.entry(key).or_default().push(entry);
        }
        Ok(())
    }

    /// Writes receipts for the files that are read and closed, then does with them what the stream says.
    /// `is_end`: the run ends, and with it what it reads of them.
    pub(crate) fn finish_files(&mut self, is_end: bool) -> Result<(), Stopped> {
        let is_once = self.around.config.mode == Mode::Once;
        let partial_after = self.around.config.partial_after;
        if is_end && !is_once {
            return Ok(());
        }
        let mut finished = Vec::new();
        let mut complete = Vec::new();
        for (id, tracked) in &self.files {
            if !matches!(tracked.state, State::Idle) {
                continue;
            }
            let unchanged_for = tracked.stat.unchanged_for();
            let must_wait = match self.around.streams[tracked.stream].finished {
                Finished::Keep => Duration::ZERO,
                _ => STILL_FOR,
            };
            let wait = match is_once {
                true => must_wait,
                false => self.around.config.close_after,
            };
            if tracked.is_done() && unchanged_for >= wait {
                finished.push(*id);
            } else if !is_once && tracked.partial > 0 && unchanged_for >= partial_after {
                complete.push(*id);
            }
        }
        for id in complete {
            self.take_rest(id)?;
        }
        self.finish(&finished)
    }

    fn finish(&mut self, ids: &[FileId]) -> Result<(), Stopped> {
        let mut metas = Vec::new();
        for id in ids {
            let Some(tracked) = self.files.get_mut(id) else {
                continue;
            };
            tracked.state = State::Finished;
            if tracked.entry.receipt_bytes == Some(tracked.entry.position) {
                continue;
            }
            match receipt(tracked) {
                Ok(receipt) => metas.push(Meta::Receipt(receipt)),
                Err(error) => {
                    let path = tracked.path.clone();
                    self.report_unreadable(&path, &error.to_string());
                }
            }
        }
        let around = &self.around;
        if !append_metas(around.log, &self.session, &metas, around.stats, around.stop)? {
            return Ok(());
        }
        for id in ids {
            if let Some(tracked) = self.files.get_mut(id) {
                tracked.entry.receipt_bytes = Some(tracked.entry.position);
            }
            self.put_away(*id);
        }
        Stats::add(&self.around.stats.files_finished, ids.len() as u64);
        self.is_dirty |= !metas.is_empty();
        Ok(())
    }

    /// Deletes or moves a finished file, if the stream says so.
    fn put_away(&mut self, id: FileId) {
        let Some(tracked) = self.files.get(&id) else {
            return;
        };
        let path = tracked.path.clone();
        let done = match &self.around.streams[tracked.stream].finished {
            Finished::Keep => return,
            // Someone may have written to it in the meantime; then it is not finished.
            _ if fs::metadata(&path).is_ok_and(|now| now.len() != tracked.stat.size) => return,
            Finished::Delete => fs::remove_file(&path),
            Finished::Move(directory) => move_to(directory, &path),
        };
        match done {
            Ok(()) => {
                tracing::info!(path = %path.display(), file = %id, "finished and put away");
                self.forget(id);
            }
            Err(error) => self.report_unreadable(&path, &error.to_string()),
        }
    }
}

fn receipt(tracked: &mut Tracked) -> io::Result<Receipt> {
    let entry = &tracked.entry;
    let hash = match &tracked.cursor.hash {
        Some(hash) => hash.digest128(),
        None => {
            let hash = hash_file(&tracked.path, entry.position)?;
            let digest = hash.digest128();
            tracked.cursor.hash = Some(Box::new(hash));
            digest
        }
    };
    Ok(Receipt {
        file: entry.id,
        stream: entry.stream.clone(),
        records: entry.records,
        rejects: entry.rejects,
        bytes: entry.position,
        hash,
        offsets: entry.offsets.clone(),
        finished_at_ms: now_ms(),
    })
}

/// Hashes the first `len` bytes of a file that was not read in one go.
fn hash_file(path: &Path, len: u64) -> io::Result<Xxh3> {
    let mut hash = Xxh3::new();
    let mut rest = io::Read::take(File::open(path)?, len);
    let mut block = vec![0; crate::reader::BLOCK_BYTES];
    loop {
        match io::Read::read(&mut rest, &mut block)? {
            0 => return Ok(hash),
            read => hash.update(&block[..read]),
        }
    }
}

/// Moves a file into a directory, beside any of the same name that is there.
fn move_to(directory: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let mut target = directory.join(name);
    let mut number = 1;
    while target.exists() {
        let mut numbered = name.to_owned();
        numbered.push(format!(".{number}"));
        target = directory.join(numbered);
        number += 1;
    }
    fs::rename(path, PathBuf::from(&target))
}
