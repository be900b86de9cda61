//! Where reading a file pauses or ends: at its end, set aside, refused, or finished with a receipt.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bekk_stream::{FileId, Finished, Receipt};
use xxhash_rust::xxh3::Xxh3;

use crate::clock::now_ms;
use crate::config::{Config, Mode};
use crate::file::decision::What;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::tracked::{ACTIVE_FOR, Change, State, Tracked};
use crate::source::Source;
use crate::source::stat::Stat;
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
        tracked.change(match mode {
            Mode::Once => Change::Ended,
            Mode::Follow if is_new => Change::CaughtUpLately,
            Mode::Follow => Change::CaughtUp,
        });
        if mode == Mode::Once && partial > 0 {
            self.queue.unsettle(id);
        } else if tracked.state == State::Active {
            self.queue.activate(id);
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

    /// Sets a file aside.
    pub(crate) fn block(&mut self, id: FileId, why: String) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        Stats::add(&self.around.stats.files_blocked, 1);
        Stats::subtract(&self.around.stats.bytes_known, tracked.unlogged());
        tracked.change(Change::SetAside);
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
            tracked.change(Change::Vanished);
        } else if tracked.state != State::Unreadable {
            tracked.change(Change::Refused);
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
        let config = self.around.config;
        if is_end && config.mode != Mode::Once {
            return Ok(());
        }
        let mut finished = Vec::new();
        let mut complete = Vec::new();
        for (id, tracked) in self.catalog.iter() {
            match due(
                tracked,
                &self.around.streams[tracked.stream].finished,
                config,
            ) {
                Some(Due::Receipt) => finished.push(id),
                Some(Due::Rest) => complete.push(id),
                None => {}
            }
        }
        for id in complete {
            self.take_rest(id)?;
        }
        self.finish(&finished)
    }
}

/// What is to be done with a file that is read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// Its receipt.
    Receipt,
    /// Its unterminated last record.
    Rest,
}

/// Decides whether a file has been closed.
fn due(tracked: &Tracked, finished: &Finished, config: &Config) -> Option<Due> {
    let is_once = config.mode == Mode::Once;
    let must_wait = match finished {
        Finished::Keep => Duration::ZERO,
        _ => STILL_FOR,
    };
    let is_open_end = match tracked.state {
        State::Idle => true,
        // It could not be put away.
        State::Finished => *finished != Finished::Keep,
        _ => false,
    };
    if !is_open_end || tracked.outside.is_some() && !is_once {
        return None;
    }
    let wait = match is_once {
        true => must_wait,
        false => config.close_after,
    };
    let unchanged_for = tracked.stat.unchanged_for();
    if tracked.is_done() && unchanged_for >= wait {
        Some(Due::Receipt)
    } else if !is_once && tracked.partial > 0 && unchanged_for >= config.partial_after {
        Some(Due::Rest)
    } else {
        None
    }
}

/// What is done with a file that has its receipt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Disposal {
    Keep,
    Delete,
    Move(PathBuf),
}

/// Decides what is done with a file that has its receipt. `now`: what the system says of its path. Someone may have
/// written to it or replaced it since it was read; then it is not finished.
pub(crate) fn dispose(
    finished: &Finished,
    tracked: &Tracked,
    now: impl FnOnce() -> Option<Stat>,
) -> Disposal {
    let is_as_read = || now().is_some_and(|now| now.has_content_of(&tracked.stat));
    match finished {
        _ if tracked.outside.is_some() => Disposal::Keep,
        Finished::Keep => Disposal::Keep,
        _ if !is_as_read() => Disposal::Keep,
        Finished::Delete => Disposal::Delete,
        Finished::Move(directory) => Disposal::Move(directory.clone()),
    }
}

/// The receipt of a file all of which is in the log.
///
/// # Errors
/// If it cannot be read again for its hash.
pub(crate) fn receipt(tracked: &mut Tracked) -> io::Result<Receipt> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::testing::{stat, tracked};
    use crate::follow::tracked::Outside;

    fn config(mode: Mode) -> Config {
        Config {
            mode,
            close_after: Duration::from_secs(5),
            partial_after: Duration::from_secs(8),
            ..Config::new(PathBuf::from("/state"))
        }
    }

    fn move_away() -> Finished {
        Finished::Move(PathBuf::from("/done"))
    }

    /// The file has been unchanged for ten seconds.
    #[test]
    fn files_are_closed_when_they_stand_still() {
        let check = |mode, finished: Finished, change: fn(&mut Tracked), expected| {
            let mut tracked = tracked(1, "/in/a.csv");
            tracked.state = State::Idle;
            change(&mut tracked);
            let found = due(&tracked, &finished, &config(mode));
            assert_eq!(found, expected, "{mode:?} {finished:?} {:?}", tracked.state);
        };
        let keep = Finished::Keep;
        for mode in [Mode::Once, Mode::Follow] {
            check(mode, keep.clone(), |_| {}, Some(Due::Receipt));
            check(mode, keep.clone(), |file| file.state = State::Active, None);
            check(mode, keep.clone(), |file| file.entry.position = 50, None);
            check(
                mode,
                keep.clone(),
                |file| file.state = State::Finished,
                None,
            );
            // It could not be deleted or moved: that is tried again.
            let finished = |file: &mut Tracked| file.state = State::Finished;
            check(mode, Finished::Delete, finished, Some(Due::Receipt));
            check(mode, move_away(), finished, Some(Due::Receipt));
        }
        let now = |file: &mut Tracked| file.stat.modified = std::time::SystemTime::now();
        check(Mode::Follow, keep.clone(), now, None);
        check(Mode::Once, keep.clone(), now, Some(Due::Receipt));
        check(Mode::Once, Finished::Delete, now, None);
        let partial = |file: &mut Tracked| (file.partial, file.stat.size) = (7, 107);
        check(Mode::Follow, keep.clone(), partial, Some(Due::Rest));
        check(Mode::Once, keep.clone(), partial, None);
        // What has left the inbox is ended by its absence.
        let left = |file: &mut Tracked| file.outside = Some(Outside::Renamed);
        check(Mode::Follow, keep.clone(), left, None);
        check(Mode::Once, keep, left, Some(Due::Receipt));
    }

    #[test]
    fn only_the_file_that_was_read_is_put_away() {
        let check = |finished: &Finished, now: Option<Stat>, expected| {
            let mut tracked = tracked(1, "/in/a.csv");
            if let Some(now) = now {
                // The time of the two may differ in the test, not in the case.
                tracked.stat.modified = now.modified;
            }
            assert_eq!(dispose(finished, &tracked, || now), expected);
            tracked.outside = Some(Outside::Renamed);
            assert_eq!(dispose(finished, &tracked, || now), Disposal::Keep);
        };
        let to_done = Disposal::Move(PathBuf::from("/done"));
        check(&Finished::Keep, Some(stat(1)), Disposal::Keep);
        check(&Finished::Delete, Some(stat(1)), Disposal::Delete);
        check(&move_away(), Some(stat(1)), to_done);
        let mut longer = stat(1);
        longer.size += 1;
        // Another file with its name and its size.
        for now in [None, Some(longer), Some(stat(2))] {
            check(&Finished::Delete, now, Disposal::Keep);
            check(&move_away(), now, Disposal::Keep);
        }
        let tracked = tracked(1, "/in/a.csv");
        let mut rewritten = tracked.stat;
        rewritten.modified += Duration::from_millis(1);
        let kept = dispose(&Finished::Delete, &tracked, || Some(rewritten));
        assert_eq!(kept, Disposal::Keep);
    }
}
