//! Finished files that the stream wants deleted or moved: when they may go, and what keeps them. No other place deletes
//! or moves a file.

use std::path::Path;
use std::time::{Duration, Instant};

use bekk_stream::{FileId, Finished};

use crate::config::Mode;
use crate::file::put_away::{Expected, delete, move_into};
use crate::follow::engine::{Engine, Stopped};
use crate::follow::finish::STILL_FOR;
use crate::follow::tracked::{State, Tracked};
use crate::ledger::hold::persist;
use crate::source::writers::{Writer, Writers};
use crate::text::notice::NoticeKind;

/// When a file that could not go is looked at again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Why a file does not go.
enum Stays {
    /// It may go later, by itself.
    ForNow(String),
    /// Someone must act.
    UntilSomeoneActs(String),
}

/// Whether a finished file is to be moved or deleted. One that the patterns match where it was moved to stays there.
fn goes_away(finished: &Finished, path: &Path) -> bool {
    match finished {
        Finished::Keep => false,
        Finished::Delete => true,
        Finished::Move(directory) => path.parent() != Some(directory.as_path()),
    }
}

impl Engine<'_> {
    /// Puts away what is finished and may go.
    pub(crate) fn put_away_finished(&mut self) -> Result<(), Stopped> {
        let now = Instant::now();
        let is_once = self.around.config.mode == Mode::Once;
        let streams = self.around.streams;
        let may_go = |tracked: &Tracked| {
            tracked.state == State::Finished
                && tracked.outside.is_none()
                && goes_away(&streams[tracked.stream].finished, &tracked.path)
                && tracked.entry.receipt_bytes == Some(tracked.entry.position)
                && (is_once || tracked.put_away_at.is_none_or(|at| at <= now))
        };
        let files = self.catalog.iter();
        let ready: Vec<FileId> = files
            .filter(|(_, tracked)| may_go(tracked))
            .map(|(id, _)| id)
            .collect();
        if ready.is_empty() {
            return Ok(());
        }
        // A receipt replaces records, and the file is moved or deleted.
        persist(self.around.log)?;
        let writers = Writers::now();
        for id in ready {
            match self.put_away(id, &writers) {
                Ok(()) => self.forget(id),
                Err(stays) => self.keep(id, stays),
            }
        }
        Ok(())
    }

    fn put_away(&self, id: FileId, writers: &Writers) -> Result<(), Stays> {
        let Some(tracked) = self.catalog.get(id) else {
            return Ok(());
        };
        self.check_rest(tracked)?;
        self.check_writers(tracked, writers)?;
        self.check_streams(tracked)?;
        let expected = Expected {
            stat: tracked.stat,
            crc: tracked
                .entry
                .crc
                .filter(|_| tracked.entry.packing.is_none()),
        };
        let path = &tracked.path;
        let done = match &self.around.streams[tracked.stream].finished {
            Finished::Keep => return Ok(()),
            Finished::Delete => delete(path, &expected),
            Finished::Move(directory) => move_into(directory, path, &expected),
        };
        match done {
            Ok(()) => {
                tracing::info!(path = %path.display(), file = %id, "finished and put away");
                Ok(())
            }
            Err(error) => Err(Stays::UntilSomeoneActs(format!(
                "it is finished, but stays in place because it cannot be moved or deleted: {error}"
            ))),
        }
    }

    /// A dead letter that has not all bytes of its record leaves them to the file.
    fn check_rest(&self, tracked: &Tracked) -> Result<(), Stays> {
        let notices = tracked.cursor.notices.all();
        match notices
            .iter()
            .find(|notice| notice.kind == NoticeKind::LetterCut)
        {
            None => Ok(()),
            Some(notice) => Err(Stays::UntilSomeoneActs(format!(
                "it is finished and stays where it is: {}",
                notice.text
            ))),
        }
    }

    /// Whoever has it open for writing may go on, and what came would be lost.
    fn check_writers(&self, tracked: &Tracked, writers: &Writers) -> Result<(), Stays> {
        let still_for = tracked.still_for();
        let wait = match tracked.writer(writers) {
            Writer::Process(pid) => {
                let why = format!("process {pid} has the file open for writing");
                return Err(Stays::ForNow(why));
            }
            Writer::Nobody if self.around.config.mode == Mode::Once => STILL_FOR,
            _ => self.around.config.close_after,
        };
        match still_for >= wait {
            true => Ok(()),
            false => Err(Stays::ForNow(format!(
                "it has been unchanged for less than {} s",
                wait.as_secs()
            ))),
        }
    }

    /// Every stream that the file feeds must have all of it.
    fn check_streams(&self, tracked: &Tracked) -> Result<(), Stays> {
        for stream in self.around.inbox.streams_of(&tracked.path) {
            let other = self.catalog.of_inode(stream, &tracked.stat);
            let is_done = other
                .and_then(|id| self.catalog.get(id))
                .is_some_and(|other| {
                    other.state == State::Finished
                        && other.entry.receipt_bytes == Some(other.entry.position)
                        && other.stat.has_content_of(&tracked.stat)
                });
            if !is_done {
                let name = &self.around.streams[stream].name;
                return Err(Stays::ForNow(format!(
                    "stream `{name}` has not all of it yet"
                )));
            }
        }
        Ok(())
    }

    fn keep(&mut self, id: FileId, stays: Stays) {
        let is_once = self.around.config.mode == Mode::Once;
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        tracked.put_away_at = Some(Instant::now() + RETRY_AFTER);
        match stays {
            Stays::ForNow(why) if is_once => {
                let noticed = (
                    tracked.path.clone(),
                    format!("finished, but not moved or deleted: {why}"),
                );
                self.summary.notices.push(noticed);
            }
            Stays::ForNow(why) => {
                tracing::debug!(path = %tracked.path.display(), file = %id, "stays for now: {why}");
            }
            Stays::UntilSomeoneActs(why) => {
                tracked.cursor.notices.set(NoticeKind::Kept, why);
                self.report_notices(id);
            }
        }
    }
}
