//! Which file is read next, and for how long: active ones every few milliseconds, the backlog one after the other.

use std::io;

use bekk_stream::FileId;

use crate::config::Mode;
use crate::file::evidence::ContentCheck;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::packed::Checked;
use crate::follow::tracked::{ACTIVE_FOR, Change, State};
use crate::stats::Stats;
use crate::text::reader::Outcome;

/// How many blocks of one active file are read before others get their turn.
const BLOCKS_PER_TURN: usize = 4;

impl Engine<'_> {
    /// Reads what has come to active files, and a block of the backlog; says whether there is more.
    pub(crate) fn read_some(&mut self) -> Result<bool, Stopped> {
        let mut is_busy = false;
        for file in self.queue.take_active(self.around.config.poll_active) {
            is_busy |= self.poll(file)?;
        }
        if let Some(file) = self.queue.first() {
            is_busy = true;
            if !self.read_block(file)? {
                self.queue.dequeue();
            }
        }
        Ok(is_busy)
    }

    /// Looks at an active file and reads what is new in it; says whether there is more.
    pub(crate) fn poll(&mut self, file: FileId) -> Result<bool, Stopped> {
        let Some(tracked) = self.catalog.get_mut(file) else {
            return Ok(false);
        };
        if tracked.state != State::Active {
            return Ok(false);
        }
        let size = tracked.stat.size;
        let is_changed = tracked.look().unwrap_or(true);
        if tracked.entry.packing.is_none() {
            let grown = tracked.stat.size.saturating_sub(size);
            Stats::add(&self.around.stats.bytes_known, grown);
        } else if is_changed {
            Stats::subtract(&self.around.stats.bytes_known, tracked.entry.size);
            tracked.unpack_again();
        }
        let is_lagging = tracked.is_behind();
        let is_quiet = !is_changed && tracked.changed_at.elapsed() > ACTIVE_FOR;
        if is_quiet && tracked.outside.is_none() {
            tracked.change(Change::Quiet);
            return Ok(false);
        }
        self.queue.activate(file);
        match is_changed || is_lagging {
            true => self.read_turn(file),
            false => Ok(false),
        }
    }

    /// Reads on in a file until there is no more, or others should have their turn; says whether there is
    /// more.
    pub(crate) fn read_turn(&mut self, file: FileId) -> Result<bool, Stopped> {
        for _ in 0..BLOCKS_PER_TURN {
            if !self.read_block(file)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a block of a file into the pending batch; says whether there may be more to read.
    pub(crate) fn read_block(&mut self, id: FileId) -> Result<bool, Stopped> {
        self.read_block_as(id, false)
    }

    /// The same; with `last` the file ends for good where it ends now.
    pub(crate) fn read_block_as(&mut self, id: FileId, last: bool) -> Result<bool, Stopped> {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(false);
        };
        if tracked.state == State::Blocked {
            return Ok(false);
        }
        let is_open = tracked.source.is_some();
        if !tracked.has_its_crc() {
            self.replace(id, ContentCheck::OtherTail)?;
            return Ok(false);
        }
        match tracked.open() {
            Ok(ContentCheck::Same) => {}
            Ok(check) => {
                self.replace(id, check)?;
                return Ok(false);
            }
            Err(error) => {
                let is_once = self.around.config.mode == Mode::Once;
                let is_renamed = error.kind() == io::ErrorKind::NotFound && is_once;
                // Otherwise the next listing finds it.
                if is_renamed && self.find_again(id) {
                    return Ok(true);
                }
                self.fail(id, &error);
                return Ok(false);
            }
        }
        if !is_open {
            self.opened(id);
        }
        match self.check_packed(id)? {
            Checked::Whole => {}
            Checked::More => return Ok(true),
            Checked::Not => return Ok(false),
        }
        let outcome = self.read_open(id, last);
        match outcome {
            Ok(Outcome::More | Outcome::Full) => Ok(true),
            Ok(Outcome::CaughtUp(partial)) => {
                self.caught_up(id, partial);
                Ok(false)
            }
            Ok(Outcome::Blocked(why)) => {
                self.block(id, why);
                Ok(false)
            }
            Ok(Outcome::Rewritten) => {
                self.replace(id, ContentCheck::OtherTail)?;
                Ok(false)
            }
            Ok(Outcome::Conflict(position)) => {
                tracing::warn!(file = %id, position, "the log has a different record of this position");
                self.replace(id, ContentCheck::OtherTail)?;
                Ok(false)
            }
            Err(error) => {
                self.fail(id, &error);
                Ok(false)
            }
        }
    }

    /// Reads a block of a file that is open.
    fn read_open(&mut self, id: FileId, last: bool) -> io::Result<Outcome> {
        let tracked = self.catalog.get_mut(id).expect("it has just been opened");
        tracked.watch_short();
        let source = tracked.source.as_mut().expect("it has just been opened");
        let format = self.formats.get_mut(tracked.format);
        let batch = self.outflow.pending_mut(tracked.stream);
        let before = batch.records;
        let cursor = &mut tracked.cursor;
        // Without progress only zeros have been passed over, and the header is still to come.
        if tracked.entry.position > 0 && cursor.header.is_none() {
            let at = tracked.entry.header_at;
            if let Err(why) = self.reader.reload_header(source, cursor, format, at)? {
                return Ok(Outcome::Blocked(why));
            }
        }
        let until = (tracked.until, last);
        let outcome = self.reader.read(source, cursor, format, until, batch)?;
        if !matches!(outcome, Outcome::Rewritten | Outcome::Conflict(_)) {
            tracked.note_held();
        }
        if tracked.state == State::Unreadable {
            tracing::info!(path = %tracked.path.display(), "can be read again");
            tracked.change(Change::Readable);
        }
        Stats::add(&self.around.stats.records_read, batch.records - before);
        tracked.watch_quote();
        self.report_notices(id);
        Ok(outcome)
    }
}
