//! A file that this run has met.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bekk_stream::CsvDialect;

use crate::file::decision::{FileState, What};
use crate::file::entry::FileEntry;
use crate::file::evidence::{COMPARED_MAX, ContentCheck, crc_of, verify};
pub(crate) use crate::follow::{Change, State};
use crate::source::fingerprint::{Fingerprint, HEAD_MAX};
use crate::source::stat::Stat;
use crate::source::writers::{Writer, Writers};
use crate::source::{Source, open};
use crate::text::cursor::Cursor;
use crate::text::notice::{Notice, NoticeKind, Notices};
use crate::text::trial::Trial;

/// How long after its last change a file is looked at every few milliseconds.
pub(crate) const ACTIVE_FOR: Duration = Duration::from_secs(2);
/// How long a deleted file must have been unchanged for nobody to be thought to write to it still.
pub(crate) const GONE_FOR: Duration = Duration::from_secs(5);

/// How long a quote may be open before it is reported: a record may be written in parts.
const QUOTE_OPEN_FOR: Duration = Duration::from_secs(3);

/// A file being followed.
pub(crate) struct Tracked {
    /// The stream it feeds, by index.
    pub(crate) stream: usize,
    /// How it is read, by index.
    pub(crate) format: usize,
    pub(crate) path: PathBuf,
    /// The name that it had before.
    pub(crate) was_named: Option<PathBuf>,
    /// How far it is in the log.
    pub(crate) entry: FileEntry,
    /// How far it is read.
    pub(crate) cursor: Cursor,
    pub(crate) source: Option<Source>,
    /// Something of it is in the log, or on its way there.
    pub(crate) is_begun: bool,
    /// As it was when last looked at.
    pub(crate) stat: Stat,
    /// The length of its text when it was last found to have all that was read of it.
    held: u64,
    pub(crate) changed_at: Instant,
    /// Where this run ends with it; `u64::MAX` if it may grow.
    pub(crate) until: u64,
    /// The bytes of the incomplete record that was at its end when it was read last.
    pub(crate) partial: u64,
    pub(crate) state: State,
    /// Whether it was read to its end when it was read last.
    pub(crate) is_caught_up: bool,
    /// Whether it was written to and has not become longer, so that it may have been rewritten in place.
    is_doubtful: bool,
    /// The scan that saw it last.
    pub(crate) scan: u64,
    /// Whether it has left the inbox; it is followed until nobody writes to it any more.
    pub(crate) outside: Option<Outside>,
    /// Whether the last record that was taken had no line end.
    pub(crate) is_short: bool,
    /// When it is tried again to put it away, if that failed.
    pub(crate) put_away_at: Option<Instant>,
    /// Where a quote is open that is not closed, and since when.
    pub(crate) quote_open: Option<(u64, Instant)>,
    /// As it was when its compressed data was found cut off.
    pub(crate) cut: Option<Stat>,
}

/// How a file that is followed has left the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outside {
    /// It has a name that the patterns do not match.
    Renamed,
    /// It has none any more.
    Deleted,
}

impl Tracked {
    /// Puts a file on track where it is to be read on from.
    pub(crate) fn new(
        (stream, format): (usize, usize),
        path: PathBuf,
        entry: FileEntry,
        stat: Stat,
    ) -> Self {
        let mut cursor = Cursor::resumed(entry.id, entry.place());
        cursor.seen.clone_from(&entry.first);
        // Once something of it is in the log, a file is not set aside any more.
        cursor.notices = Notices::known(&entry.notices);
        if entry.records == 0 {
            cursor.trial = Some(Box::<Trial>::default());
        }
        Self {
            stream,
            format,
            path,
            was_named: None,
            is_begun: entry.records > 0,
            held: entry.packing.map_or(stat.size, |_| entry.size),
            entry,
            cursor,
            source: None,
            stat,
            changed_at: Instant::now(),
            until: u64::MAX,
            partial: 0,
            state: State::Backlog,
            is_caught_up: false,
            is_doubtful: false,
            scan: 0,
            outside: None,
            is_short: false,
            put_away_at: None,
            quote_open: None,
            cut: None,
        }
    }

    /// Moves it on in its life.
    pub(crate) fn change(&mut self, change: Change) {
        self.state = self.state.after(change);
    }

    /// Opens the file if it is not, and makes sure that it is still the one that was read. It is not found, either,
    /// if another file has its name now.
    pub(crate) fn open(&mut self) -> io::Result<ContentCheck> {
        if self.source.is_some() {
            return Ok(ContentCheck::Same);
        }
        let file = open::file(&self.path)?;
        let stat = Stat::of(&file.metadata()?);
        if (stat.device, stat.inode) != (self.stat.device, self.stat.inode) {
            let why = "another file has its name now";
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let mut source = Source::new(file)?;
        let mut check = verify(&mut source, &stat, &self.entry)?;
        let doubt = self.take_doubt();
        if check == ContentCheck::Same
            && !has_crc(&mut source, (self.cursor.position, self.stat.size), doubt)
        {
            check = ContentCheck::OtherMiddle;
        }
        self.entry.packing = source.packing();
        if source.packing().is_some() {
            // A compressed file is read whole or not at all.
            self.until = u64::MAX;
        }
        self.is_short |= check == ContentCheck::Same && self.ends_short(&mut source)?;
        self.source = Some(source);
        Ok(check)
    }

    /// Whether the last record that was taken has no line end.
    fn ends_short(&self, source: &mut Source) -> io::Result<bool> {
        let position = self.entry.position;
        if source.packing().is_some() || self.entry.records == 0 || position == 0 {
            return Ok(false);
        }
        let mut last = [b'\n'];
        source.read_full_at(&mut last, position - 1)?;
        let end = CsvDialect::from_text(&self.entry.dialect)
            .map_or(b'\n', |dialect| dialect.end().last());
        Ok(!matches!(last[0], b'\n' | b'\r' | 0) && last[0] != end)
    }

    /// Takes note of a file that has grown behind a record which was taken without its line end.
    pub(crate) fn watch_short(&mut self) {
        if !self.is_short || self.stat.size <= self.cursor.position {
            return;
        }
        self.is_short = false;
        let text = format!(
            "line {} was read before its line end was written, and the file has grown since: its row may lack the end \
             of the line, and the rest becomes a record of its own; to read the file again: bekk ingest reread FILE",
            self.cursor.line
        );
        self.cursor.notices.set(NoticeKind::TakenShort, text);
    }

    pub(crate) fn close(&mut self) {
        self.source = None;
        self.cursor.recent.clear();
    }

    /// Takes up a compressed file again that has changed: what was read of it is compared then.
    pub(crate) fn unpack_again(&mut self) {
        self.close();
        self.entry.size = 0;
        self.cut = None;
    }

    /// Whether it is compressed, has been read whole, and has not been touched since.
    pub(crate) fn is_finished_packed(&self) -> bool {
        self.entry.packing.is_some()
            && self.entry.receipt_bytes == Some(self.entry.position)
            && self.entry.size == self.entry.position
            && self.entry.disk == self.stat.on_disk()
    }

    /// The entry as it is written down.
    pub(crate) fn saved(&self) -> FileEntry {
        let state = match self.state {
            State::Backlog => FileState::Waiting,
            State::Active | State::Idle => FileState::Following,
            State::Blocked => FileState::Blocked,
            State::Unreadable => FileState::Unreadable,
            State::Finished => FileState::Finished,
        };
        let is_waiting =
            matches!(self.entry.decisions.last(), Some(last) if last.what == What::Waiting);
        FileEntry {
            state: match is_waiting && state == FileState::Following {
                true => FileState::Waiting,
                false => state,
            },
            size: self.size(),
            disk: self.stat.on_disk(),
            ..self.entry.clone()
        }
    }

    /// The length of its text, as far as it is known.
    pub(crate) fn size(&self) -> u64 {
        match (&self.source, self.entry.packing) {
            (_, None) => self.stat.size,
            (Some(Source::Packed(packed)), _) => packed.text_len().unwrap_or(self.entry.size),
            _ => self.entry.size,
        }
    }

    /// Whether the bytes before the position have the CRC of those that were read: looked at once each time the file is read
    /// on from its end, where it may have been rewritten in place in the meantime.
    pub(crate) fn has_its_crc(&mut self) -> bool {
        if !std::mem::take(&mut self.is_caught_up) || !matches!(self.source, Some(Source::Plain(_)))
        {
            return true;
        }
        let doubt = self.take_doubt();
        let place = (self.cursor.position, self.stat.size);
        let source = self.source.as_mut();
        source.is_none_or(|source| has_crc(source, place, doubt))
    }

    /// The CRC that its bytes before the position must have, where it was written to and has not grown.
    fn take_doubt(&mut self) -> Option<u32> {
        let position = self.cursor.position;
        let is_doubtful = std::mem::take(&mut self.is_doubtful)
            && self.entry.packing.is_none()
            && self.stat.size == position + self.partial
            && position <= COMPARED_MAX;
        self.cursor.crc.filter(|_| is_doubtful)
    }

    /// Looks at the file; says whether it has changed. Whether another one has its name is for a listing to
    /// find out.
    pub(crate) fn look(&mut self) -> io::Result<bool> {
        let metadata = match &self.source {
            Some(source) => source.file().metadata()?,
            None => fs::metadata(&self.path)?,
        };
        let stat = Stat::of(&metadata);
        let is_same = (stat.device, stat.inode) == (self.stat.device, self.stat.inode);
        Ok(is_same && self.notice(stat))
    }

    /// Takes note of what the system says; says whether that is a change.
    pub(crate) fn notice(&mut self, stat: Stat) -> bool {
        let is_changed = !stat.has_content_of(&self.stat);
        // Appending makes it longer.
        self.is_doubtful |= is_changed && stat.size == self.stat.size;
        self.stat = stat;
        if is_changed {
            self.changed_at = Instant::now();
        }
        is_changed
    }

    /// How many of its bytes are not in the log.
    pub(crate) fn unlogged(&self) -> u64 {
        self.size().saturating_sub(self.entry.position)
    }

    /// Takes note that it has all that was read of it.
    pub(crate) fn note_held(&mut self) {
        self.held = self.size();
    }

    /// The length of the text that it had, of which a file that was overwritten has none any more.
    pub(crate) fn held(&self) -> u64 {
        self.held.max(self.entry.position)
    }

    /// Whether it has fewer bytes than were read of it.
    pub(crate) fn is_truncated(&self) -> bool {
        self.entry.packing.is_none() && self.stat.size < self.cursor.position
    }

    /// Whether it is compressed, and not known to be whole.
    fn is_unchecked(&self) -> bool {
        match &self.source {
            Some(Source::Packed(packed)) => packed.text_len().is_none(),
            Some(Source::Plain(_)) => false,
            None => self.entry.packing.is_some() && self.entry.size == 0,
        }
    }

    /// Whether it has bytes that have not been looked at.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_unchecked() || self.cursor.position + self.partial < self.size()
    }

    /// Whether everything that was read of it is acknowledged, and nothing is left to read.
    pub(crate) fn is_done(&self) -> bool {
        self.partial == 0
            && self.cursor.trial.is_none()
            && self.entry.position == self.cursor.position
            && !self.is_unchecked()
            && self.cursor.position == self.size().min(self.until)
    }

    /// What has been noticed since this was asked last, and is not reported yet; `None` if nothing has changed.
    pub(crate) fn take_news(&mut self) -> Option<Vec<Notice>> {
        let (news, is_changed) = self.cursor.notices.take_news();
        if is_changed {
            self.entry.notices = self.cursor.notices.all().to_vec();
        }
        is_changed.then_some(news)
    }

    /// How long nobody has written to it. A time of modification that lies in the future says nothing: then since it
    /// was first seen so.
    pub(crate) fn still_for(&self) -> Duration {
        match self.stat.modified.elapsed() {
            Ok(elapsed) => elapsed,
            Err(_) => self.changed_at.elapsed(),
        }
    }

    /// Who has it open for writing.
    pub(crate) fn writer(&self, writers: &Writers) -> Writer {
        let metadata = match &self.source {
            Some(source) => source.file().metadata(),
            None => fs::metadata(&self.path),
        };
        metadata.map_or(Writer::Unknown, |metadata| writers.of(&metadata))
    }

    /// Takes note of a quote that stays open where the file ends: what follows it waits, and somebody should know.
    pub(crate) fn watch_quote(&mut self) {
        let position = self.cursor.position;
        if !self.cursor.is_quote_open {
            self.quote_open = None;
            self.cursor.notices.clear(NoticeKind::OpenQuote);
            return;
        }
        let (at, since) = *self.quote_open.get_or_insert((position, Instant::now()));
        if at != position {
            self.quote_open = Some((position, Instant::now()));
            self.cursor.notices.clear(NoticeKind::OpenQuote);
        } else if since.elapsed() >= QUOTE_OPEN_FOR {
            let text = format!(
                "line {} opens a quote that is not closed: what follows it waits ({} bytes); if no field of the \
                 stream's files holds newlines, set `quoted_newlines = false` in `csv`",
                self.cursor.line,
                self.size().saturating_sub(position)
            );
            self.cursor.notices.set(NoticeKind::OpenQuote, text);
        }
    }

    /// Lets the head cover more of the file, as far as it has been read: a short head says little. The head is read again
    /// for that, and the file may have been emptied or rewritten since it was read: then its head stays as it was.
    pub(crate) fn grow_head(&mut self) -> io::Result<()> {
        let read = self.cursor.position.min(HEAD_MAX);
        if let Some(source) = &mut self.source
            && source.packing().is_none()
            && self.entry.head.len < read
        {
            let head = Fingerprint::of_head(source, read)?;
            if head.len == read && self.cursor.is_as_read(source)? {
                self.entry.head = head;
            }
        }
        Ok(())
    }
}

/// Whether the bytes of a file before a position have this CRC. Also true without a CRC to compare with, if the file cannot
/// be read, which the next reading reports, and if the file ends in a zero: its writer fills reserved space.
fn has_crc(source: &mut Source, (position, size): (u64, u64), crc: Option<u32>) -> bool {
    let Some(crc) = crc else {
        return true;
    };
    let mut last = [1];
    if position < size && source.read_full_at(&mut last, size - 1).is_ok() && last == [0] {
        return true;
    }
    crc_of(source, position).map_or(true, |found| found == Some(crc))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::follow::testing::tracked;
    use crate::source::open;

    /// A file of which all has been read, with a head that covers only its first line.
    fn read_file(path: &Path, text: &str) -> Tracked {
        fs::write(path, text).unwrap();
        let mut tracked = tracked(1, path.to_str().unwrap());
        tracked.source = Some(Source::new(open::file(path).unwrap()).unwrap());
        tracked.cursor.position = text.len() as u64;
        tracked.cursor.tail = Fingerprint::of(&text.as_bytes()[text.len() - 10..]);
        tracked.entry.head = Fingerprint::of(b"id,name\n");
        tracked
    }

    #[test]
    fn a_head_covers_what_has_been_read() {
        let directory = tempfile::tempdir().unwrap();
        let text = "id,name\n1,one\n2,two\n3,three\n";
        let mut tracked = read_file(&directory.path().join("a.csv"), text);
        tracked.grow_head().unwrap();
        assert_eq!(tracked.entry.head, Fingerprint::of(text.as_bytes()));
    }

    /// Whoever copies a file and empties it may do so just after it has been read.
    #[test]
    fn a_file_that_was_emptied_after_it_was_read_keeps_its_head() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.csv");
        for text in [
            "",
            "id,name\n4,four\n",
            "id,name\n4,four\n5,five\n6,six and more\n",
        ] {
            let mut tracked = read_file(&path, "id,name\n1,one\n2,two\n3,three\n");
            fs::write(&path, text).unwrap();
            tracked.grow_head().unwrap();
            assert_eq!(
                tracked.entry.head,
                Fingerprint::of(b"id,name\n"),
                "{text:?}"
            );
        }
    }
}
