//! Where reading a file pauses or ends: at its end, set aside, gone, or finished with a receipt.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bekk_stream::{FileId, Finished, Meta, Receipt};
use xxhash_rust::xxh3::Xxh3;

use crate::clock::now_ms;
use crate::config::Mode;
use crate::file::decision::What;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::tracked::{ACTIVE_FOR, State, Tracked};
use crate::ledger::hold::persist;
use crate::ledger::metas::append_metas;
use crate::source::Source;
use crate::stats::Stats;

/// How long a file must have stood still for its end to be taken as it is.
pub(crate) const STILL_FOR: Duration = Duration::from_secs(1);

impl Engine<'_> {
    /// Notes that a file has been read as far as it goes, but for so many bytes of an incomplete record.
    pub(crate) fn caught_up(&mut self, id: FileId, partial: u64) {
        let mode = self.around.config.mode;
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        tracked.partial = partial;
        tracked.is_caught_up = true;
        if let Err(error) = tracked.grow_head() {
            tracing::debug!(file = %id, %error, "its first bytes could not be read again");
        }
        let is_new = tracked.stat.unchanged_for() < ACTIVE_FOR || tracked.outside.is_some();
        if mode == Mode::Once {
            tracked.state = State::Idle;
            if partial > 0 {
                self.queue.unsettle(id);
            }
        } else if is_new || tracked.state == State::Active {
            tracked.state = State::Active;
            self.queue.activate(id);
        } else {
            tracked.state = State::Idle;
        }
    }

    /// At the end of a run: takes the unterminated last records of files that stand still, and leaves those
    /// of files that are being written. Says whether all is decided.
    pub(crate) fn settle(&mut self) -> Result<bool, Stopped> {
        for id in self.queue.take_unsettled() {
            let Some(tracked) = self.catalog.get_mut(id) else {
                continue;
            };
            if let Err(error) = tracked.look() {
                let unreadable = (tracked.path.clone(), error.to_string());
                self.summary.unreadable.push(unreadable);
                continue;
            }
            if tracked.entry.packing.is_some() && tracked.is_behind() {
                self.settle_packed(id);
            } else if tracked.entry.packing.is_none() && tracked.stat.size != tracked.until {
                let left = format!(
                    "an incomplete record at byte {} (line {}): the file is being written",
                    tracked.cursor.position, tracked.cursor.line
                );
                self.summary.left.push((tracked.path.clone(), left));
            } else if tracked.stat.unchanged_for() >= STILL_FOR {
                self.take_rest(id)?;
            } else {
                self.queue.unsettle(id);
            }
        }
        Ok(self.queue.is_settled())
    }

    /// Takes what is left of a file that is closed for good, its unterminated last record included.
    pub(crate) fn take_rest(&mut self, id: FileId) -> Result<(), Stopped> {
        while self.read_block_as(id, true)? {}
        Ok(())
    }

    /// Sets a file aside.
    pub(crate) fn block(&mut self, id: FileId, why: String) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        Stats::add(&self.around.stats.files_blocked, 1);
        Stats::subtract(&self.around.stats.bytes_known, tracked.unlogged());
        tracked.state = State::Blocked;
        tracked.close();
        tracked.entry.why.clone_from(&why);
        let said = "set aside, and tried again when it or the configuration changes";
        tracked
            .entry
            .decide(What::Blocked, format!("{said}: {why}"));
        self.account.touch();
        self.summary
            .blocked
            .retain(|(path, _)| *path != tracked.path);
        self.summary.blocked.push((tracked.path.clone(), why));
    }

    /// Notes that a file could not be read.
    pub(crate) fn fail(&mut self, id: FileId, error: &io::Error) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        tracked.close();
        let is_once = self.around.config.mode == Mode::Once;
        if error.kind() == io::ErrorKind::NotFound && !is_once {
            // The next listing finds out where it has gone.
            tracked.state = State::Idle;
        } else if tracked.state != State::Unreadable {
            tracked.state = State::Unreadable;
            tracked.entry.why = error.to_string();
            let why = format!("{error}; it is tried again");
            tracked.entry.decide(What::Unreadable, why);
            self.account.touch();
            if is_once {
                let unreadable = (tracked.path.clone(), error.to_string());
                self.summary.unreadable.push(unreadable);
            }
        }
    }

    /// Notes that a file was opened, and closes the ones that were opened first if they are too many.
    pub(crate) fn opened(&mut self, id: FileId) {
        let catalog = &self.catalog;
        let must_stay = |id| {
            // It could not be opened again.
            let tracked = catalog.get(id);
            tracked.is_some_and(|tracked| tracked.outside.is_some() && tracked.source.is_some())
        };
        let open_max = self.around.config.open_files_max;
        for surplus in self.queue.opened(id, open_max, must_stay) {
            if let Some(tracked) = self.catalog.get_mut(surplus) {
                tracked.close();
            }
        }
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
        for (id, tracked) in self.catalog.iter() {
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
            if tracked.outside.is_some() && !is_once {
                continue;
            }
            if tracked.is_done() && unchanged_for >= wait {
                finished.push(id);
            } else if !is_once && tracked.partial > 0 && unchanged_for >= partial_after {
                complete.push(id);
            }
        }
        for id in complete {
            self.take_rest(id)?;
        }
        self.finish(&finished)
    }

    pub(crate) fn finish(&mut self, ids: &[FileId]) -> Result<(), Stopped> {
        let mut metas = Vec::new();
        for id in ids {
            let Some(tracked) = self.catalog.get_mut(*id) else {
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
                    self.report_unreadable(&path, &error);
                }
            }
        }
        // A receipt stands for records, and a file may go that has one.
        if !ids.is_empty() {
            persist(self.around.log)?;
        }
        let around = &self.around;
        if !append_metas(around.log, &self.session, &metas, around.stats, around.stop)? {
            return Ok(());
        }
        for id in ids {
            let Some(tracked) = self.catalog.get_mut(*id) else {
                continue;
            };
            let entry = &mut tracked.entry;
            if entry.receipt_bytes != Some(entry.position) {
                entry.receipt_bytes = Some(entry.position);
                let (records, rejects) = (entry.records, entry.rejects);
                let why = format!("{records} records, {rejects} of them rejects, are in the log");
                entry.decide(What::Finished, why);
            }
            if tracked.outside.is_none() {
                self.put_away(*id);
            }
        }
        Stats::add(&self.around.stats.files_finished, ids.len() as u64);
        if !metas.is_empty() {
            self.account.touch();
        }
        Ok(())
    }

    /// Deletes or moves a finished file, if the stream says so.
    fn put_away(&mut self, id: FileId) {
        let Some(tracked) = self.catalog.get(id) else {
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
            Err(error) => self.report_unreadable(&path, &error),
        }
    }
}

fn receipt(tracked: &mut Tracked) -> io::Result<Receipt> {
    let entry = &tracked.entry;
    let hash = match &tracked.cursor.hash {
        Some(hash) => hash.digest128(),
        None => {
            let hash = match &mut tracked.source {
                Some(source) => hash_text(source, entry.position)?,
                None => hash_text(
                    &mut Source::new(File::open(&tracked.path)?)?,
                    entry.position,
                )?,
            };
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
fn hash_text(source: &mut Source, len: u64) -> io::Result<Xxh3> {
    let mut hash = Xxh3::new();
    let mut block = vec![0; crate::source::BLOCK_BYTES];
    let mut at = 0;
    while at < len {
        let wanted = block
            .len()
            .min(usize::try_from(len - at).unwrap_or(usize::MAX));
        let read = source.read_full_at(&mut block[..wanted], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hash.update(&block[..read]);
        at += read as u64;
    }
    Ok(hash)
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
