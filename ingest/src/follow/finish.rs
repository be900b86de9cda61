//! Where reading a file pauses or ends: at its end, set aside, refused, or finished with a receipt.

use std::io;
use std::time::Duration;

use bekk_stream::{FileId, Receipt};
use xxhash_rust::xxh3::Xxh3;

use crate::clock::now_ms;
use crate::config::{Config, Mode};
use crate::file::decision::What;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::tracked::{ACTIVE_FOR, Change, State, Tracked};
use crate::source::writers::{Writer, Writers};
use crate::source::{Source, open};
use crate::stats::Stats;
use crate::text::notice::NoticeKind;

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
        let is_new = tracked.still_for() < ACTIVE_FOR || tracked.outside.is_some();
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

    /// At the end of a run: takes the unterminated last records of files that stand still and that nobody can be
    /// writing to, and leaves the others. Says whether all is decided.
    pub(crate) fn settle(&mut self) -> Result<bool, Stopped> {
        let mut writers = None;
        for id in self.queue.take_unsettled() {
            let Some(tracked) = self.catalog.get_mut(id) else {
                continue;
            };
            if let Err(error) = tracked.look() {
                let unreadable = (tracked.path.clone(), error.to_string());
                self.summary.unreadable.push(unreadable);
                continue;
            }
            if tracked.entry.packing.is_some() {
                match tracked.is_behind() {
                    true => self.settle_packed(id),
                    false => self.take_last(id)?,
                }
                continue;
            }
            if tracked.stat.size != tracked.until {
                self.leave_rest(id, "the file is being written");
                continue;
            }
            let writers = writers.get_or_insert_with(Writers::now);
            let still_for = tracked.still_for();
            match tracked.writer(writers) {
                Writer::Process(pid) => {
                    self.leave_rest(id, &format!("process {pid} has the file open for writing"));
                }
                Writer::Unknown if still_for < self.around.config.partial_after => self.leave_rest(
                    id,
                    "Bekk cannot see whether a program still writes to it, and reads the line once the file has not \
                     changed for `ingest.partial_after`",
                ),
                _ if still_for >= STILL_FOR => self.take_last(id)?,
                _ => self.queue.unsettle(id),
            }
        }
        Ok(self.queue.is_settled())
    }

    /// Takes what is left of a file at the end of a run, and names what cannot be taken.
    fn take_last(&mut self, id: FileId) -> Result<(), Stopped> {
        self.take_rest(id)?;
        // It is decided, whatever is left.
        self.queue.withdraw(id);
        let Some(tracked) = self.catalog.get(id) else {
            return Ok(());
        };
        if tracked.partial > 0 && tracked.cursor.header.is_none() {
            let what = "it has no header and no record yet".to_owned();
            self.summary.notices.push((tracked.path.clone(), what));
        } else if tracked.partial > 0 {
            self.leave_rest(
                id,
                "it ends in zero bytes, as files do whose writer fills them later",
            );
        }
        Ok(())
    }

    /// Names what is left of a file at the end of a run.
    fn leave_rest(&mut self, id: FileId, why: &str) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        let position = tracked.cursor.position;
        let left = format!(
            "{} bytes without a line end at byte {position} (line {}): {why}",
            tracked.stat.size.saturating_sub(position),
            tracked.cursor.line
        );
        tracked
            .cursor
            .notices
            .set(NoticeKind::HalfRecord, left.clone());
        self.summary.left.push((tracked.path.clone(), left));
        self.keep_notices(id);
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
        let decision = format!("{said}: {why}");
        match self.around.config.mode {
            Mode::Once => tracked.entry.decide_for_summary(What::Blocked, decision),
            Mode::Follow => tracked.entry.decide(What::Blocked, decision),
        }
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
            self.account.touch();
            if is_once {
                tracked.entry.decide_for_summary(What::Unreadable, why);
                let unreadable = (tracked.path.clone(), error.to_string());
                self.summary.unreadable.push(unreadable);
            } else {
                tracked.entry.decide(What::Unreadable, why);
            }
        }
    }

    /// Notes that a file was opened, and closes the ones that were opened first if they are too many.
    pub(crate) fn opened(&mut self, id: FileId) {
        let catalog = &self.catalog;
        let must_stay = |other| {
            // It is about to be read, or could not be opened again: many files that are gone may be open.
            let tracked = catalog.get(other);
            other == id
                || tracked
                    .is_some_and(|tracked| tracked.outside.is_some() && tracked.source.is_some())
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
            match due(tracked, config) {
                Some(Due::Receipt) => finished.push(id),
                Some(Due::Rest) => complete.push(id),
                None => {}
            }
        }
        if !complete.is_empty() {
            let writers = Writers::now();
            for id in complete {
                self.take_rest_unless_written(id, &writers)?;
            }
        }
        self.finish(&finished)?;
        self.put_away_finished()
    }

    /// Takes what is left of a file that has been unchanged for long, unless a process has it open for writing.
    pub(crate) fn take_rest_unless_written(
        &mut self,
        id: FileId,
        writers: &Writers,
    ) -> Result<(), Stopped> {
        let tracked = self.catalog.get(id);
        let writer = tracked.map_or(Writer::Nobody, |tracked| tracked.writer(writers));
        match writer {
            Writer::Process(_) => Ok(()),
            _ => self.take_rest(id),
        }
    }
}

/// What is to be done with a file that is read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Receipt,
    /// Its unterminated last record.
    Rest,
}

/// Decides whether a file has been closed.
fn due(tracked: &Tracked, config: &Config) -> Option<Due> {
    let is_once = config.mode == Mode::Once;
    if tracked.state != State::Idle || tracked.outside.is_some() && !is_once {
        return None;
    }
    let wait = match is_once {
        true => Duration::ZERO,
        false => config.close_after,
    };
    let unchanged_for = tracked.still_for();
    if tracked.is_done() && unchanged_for >= wait {
        Some(Due::Receipt)
    } else if !is_once && tracked.partial > 0 && unchanged_for >= config.partial_after {
        Some(Due::Rest)
    } else {
        None
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
                    &mut Source::new(open::file(&tracked.path)?)?,
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
    match source.read_blocks(len, |block| hash.update(block))? {
        true => Ok(hash),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::follow::testing::tracked;
    use crate::follow::tracked::Outside;

    fn config(mode: Mode) -> Config {
        Config {
            mode,
            close_after: Duration::from_secs(5),
            partial_after: Duration::from_secs(8),
            ..Config::new(PathBuf::from("/state"))
        }
    }

    /// The file has been unchanged for ten seconds.
    #[test]
    fn files_are_closed_when_they_stand_still() {
        let check = |mode, change: fn(&mut Tracked), expected| {
            let mut tracked = tracked(1, "/in/a.csv");
            tracked.state = State::Idle;
            change(&mut tracked);
            let found = due(&tracked, &config(mode));
            assert_eq!(found, expected, "{mode:?} {:?}", tracked.state);
        };
        for mode in [Mode::Once, Mode::Follow] {
            check(mode, |_| {}, Some(Due::Receipt));
            check(mode, |file| file.state = State::Active, None);
            check(mode, |file| file.entry.position = 50, None);
            check(mode, |file| file.state = State::Finished, None);
        }
        let now = |file: &mut Tracked| file.stat.modified = std::time::SystemTime::now();
        check(Mode::Follow, now, None);
        check(Mode::Once, now, Some(Due::Receipt));
        // A time in the future says nothing of how long it has been unchanged.
        let tomorrow = |file: &mut Tracked| {
            file.stat.modified = std::time::SystemTime::now() + Duration::from_secs(86_400);
        };
        check(Mode::Follow, tomorrow, None);
        check(Mode::Once, tomorrow, Some(Due::Receipt));
        let partial = |file: &mut Tracked| (file.partial, file.stat.size) = (7, 107);
        check(Mode::Follow, partial, Some(Due::Rest));
        check(Mode::Once, partial, None);
        // What has left the inbox is ended by its absence.
        let left = |file: &mut Tracked| file.outside = Some(Outside::Renamed);
        check(Mode::Follow, left, None);
        check(Mode::Once, left, Some(Due::Receipt));
    }
}
