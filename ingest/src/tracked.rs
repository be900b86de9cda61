//! A file that this run has met.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::checkpoint::FileEntry;
use crate::identity::{Fingerprint, HEAD_MAX, Stat, Verdict, verify};
use crate::reader::Cursor;
use crate::trial::Trial;

/// How long after its last change a file is looked at every few milliseconds.
pub(crate) const ACTIVE_FOR: Duration = Duration::from_secs(2);
/// How long a file that has gone from the inbox is still read, for a writer that has it open.
pub(crate) const GONE_FOR: Duration = Duration::from_secs(5);

/// A file being followed.
pub(crate) struct Tracked {
    /// The stream it feeds, by index.
    pub(crate) stream: usize,
    /// How it is read, by index.
    pub(crate) format: usize,
    pub(crate) path: PathBuf,
    /// How far it is in the log.
    pub(crate) entry: FileEntry,
    /// How far it is read.
    pub(crate) cursor: Cursor,
    pub(crate) file: Option<File>,
    /// As it was when last looked at.
    pub(crate) stat: Stat,
    pub(crate) changed_at: Instant,
    /// Where this run ends with it; `u64::MAX` if it may grow.
    pub(crate) until: u64,
    /// The bytes of the incomplete record that was at its end when it was read last.
    pub(crate) partial: u64,
    pub(crate) state: State,
    /// Whether it was read to its end when it was read last.
    pub(crate) is_caught_up: bool,
    /// The scan that saw it last.
    pub(crate) scan: u64,
}

/// What is to be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It waits for its turn to be read, among those found together.
    Backlog,
    /// It has been read to its end and changed lately.
    Active,
    /// It has been read to its end and is looked at now and then.
    Idle,
    /// It is set aside until it changes.
    Blocked,
    /// It is no longer in the inbox.
    Gone(Instant),
    /// All of it is in the log, as a receipt says.
    Finished,
}

impl Tracked {
    /// Puts a file on track where it is to be read on from.
    pub(crate) fn new(
        (stream, format): (usize, usize),
        path: PathBuf,
        entry: FileEntry,
        stat: Stat,
    ) -> Self {
        let mut cursor = Cursor::new(entry.id);
        cursor.position = entry.position;
        cursor.line = entry.line;
        if entry.position > 0 {
            cursor.hash = None;
        }
        // Once something of it is in the log, a file is not set aside any more.
        if entry.records == 0 {
            cursor.trial = Some(Box::<Trial>::default());
        }
        cursor.tail = entry.tail;
        cursor.known = entry.known.clone();
        Self {
            stream,
            format,
            path,
            entry,
            cursor,
            file: None,
            stat,
            changed_at: Instant::now(),
            until: u64::MAX,
            partial: 0,
            state: State::Backlog,
            is_caught_up: false,
            scan: 0,
        }
    }

    /// Opens the file if it is not, and makes sure that it is still the one that was read.
    pub(crate) fn open(&mut self) -> io::Result<Verdict> {
        if self.file.is_some() {
            return Ok(Verdict::Same);
        }
        let file = File::open(&self.path)?;
        let stat = Stat::of(&file.metadata()?);
        if (stat.device, stat.inode) != (self.stat.device, self.stat.inode) {
            return Ok(Verdict::OtherHead);
        }
        let verdict = verify(&file, &stat, &self.entry)?;
        self.file = Some(file);
        Ok(verdict)
    }

    /// Whether the bytes before the position are those that were read: looked at once each time the file is
    /// read on from its end, where it may have been emptied and filled again in the meantime.
    pub(crate) fn is_as_read(&mut self) -> bool {
        if !std::mem::take(&mut self.is_caught_up) {
            return true;
        }
        let tail = self.cursor.tail;
        let start = self.cursor.position.saturating_sub(tail.len);
        let matches = |file: &File| tail.matches(file, start).unwrap_or(true);
        self.file.as_ref().is_none_or(matches)
    }

    /// Looks at the file; says whether it has changed. Whether another one has its name is for a listing to
    /// find out.
    pub(crate) fn look(&mut self) -> io::Result<bool> {
        let metadata = match &self.file {
            Some(file) => file.metadata()?,
            None => fs::metadata(&self.path)?,
        };
        let stat = Stat::of(&metadata);
        let is_same = (stat.device, stat.inode) == (self.stat.device, self.stat.inode);
        Ok(is_same && self.notice(stat))
    }

    /// Takes note of what the system says; says whether that is a change.
    pub(crate) fn notice(&mut self, stat: Stat) -> bool {
        let is_changed = stat != self.stat;
        if is_changed {
            self.stat = stat;
            self.changed_at = Instant::now();
        }
        is_changed
    }

    /// How many of its bytes are not in the log.
    pub(crate) fn unlogged(&self) -> u64 {
        self.stat.size.saturating_sub(self.entry.position)
    }

    /// Whether it has fewer bytes than were read of it.
    pub(crate) fn is_truncated(&self) -> bool {
        self.stat.size < self.cursor.position
    }

    /// Whether everything that was read of it is acknowledged, and nothing is left to read.
    pub(crate) fn is_done(&self) -> bool {
        self.partial == 0
            && self.cursor.trial.is_none()
            && self.entry.position == self.cursor.position
            && self.cursor.position == self.stat.size.min(self.until)
    }

    /// Lets the head cover more of the file, as far as it has been read: a short head says little.
    pub(crate) fn grow_head(&mut self) -> io::Result<()> {
        let read = self.cursor.position.min(HEAD_MAX);
        if let Some(file) = &self.file
            && self.entry.head.len < read
        {
            self.entry.head = Fingerprint::of_head(file, read)?;
        }
        Ok(())
    }
}
