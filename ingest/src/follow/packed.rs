//! Compressed files: taken when they stand still and are whole, as nothing can be taken back.
//!
//! Before anything of one is read, all of it is decompressed once: a damaged one is set aside whole, one that is
//! cut off may still be on its way. Positions are those of its text. What was rotated and then compressed is
//! known again by its text.

use std::io;
use std::time::Duration;

use bekk_stream::FileId;

use crate::file::decision::{FileState, What};
use crate::file::entry::FileEntry;
use crate::file::evidence::ContentCheck;
use crate::file::siblings::is_named_after;
use crate::follow::engine::{Engine, Stopped};
use crate::follow::finish::STILL_FOR;
use crate::follow::look::shortened;
use crate::follow::step::{Resume, Step};
use crate::follow::tracked::Change;
use crate::inbox::Listed;
use crate::source::Packing;
use crate::source::Source;
use crate::source::fingerprint::Fingerprint;
use crate::source::stat::Stat;
use crate::stats::Stats;

/// How much text is checked before others get their turn, in bytes.
const TURN_BYTES: usize = 4 << 20;

/// What is known of a file before a block of it is read.
pub(crate) enum Checked {
    /// It can be read.
    Whole,
    /// It is being checked.
    More,
    /// It cannot be read now.
    Not,
}

impl Engine<'_> {
    /// Makes sure of a compressed file that it is whole and has what was read of it.
    pub(crate) fn check_packed(&mut self, id: FileId) -> Result<Checked, Stopped> {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(Checked::Not);
        };
        let Some(Source::Packed(packed)) = &mut tracked.source else {
            return Ok(Checked::Whole);
        };
        if packed.text_len().is_some() {
            return Ok(Checked::Whole);
        }
        let is_cut = tracked.cut == Some(tracked.stat);
        let name = packing_name(tracked.entry.packing);
        match judge(&tracked.stat, is_cut, name, self.around.config.close_after) {
            Judgement::Check => {}
            Judgement::Wait(why) => {
                self.wait_for(id, why);
                return Ok(Checked::Not);
            }
            Judgement::SetAside(why) => {
                self.block(id, why);
                return Ok(Checked::Not);
            }
        }
        if packed.is_unchecked() {
            self.want_crcs(id);
        }
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(Checked::Not);
        };
        let Some(Source::Packed(packed)) = &mut tracked.source else {
            return Ok(Checked::Not);
        };
        match packed.check(TURN_BYTES) {
            Ok(true) => Ok(Checked::More),
            Ok(false) => self.take_checked(id),
            Err(error) => {
                match error.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        tracked.cut = Some(tracked.stat);
                        tracked.close();
                        let close_after = self.around.config.close_after;
                        match judge(&tracked.stat, true, name, close_after) {
                            Judgement::SetAside(why) => self.block(id, why),
                            Judgement::Wait(why) => self.wait_for(id, why),
                            Judgement::Check => {}
                        }
                    }
                    io::ErrorKind::Unsupported => self.block(id, error.to_string()),
                    io::ErrorKind::InvalidData => {
                        let why = format!("its {name} data is damaged ({error}); replace the file");
                        self.block(id, why);
                    }
                    _ => self.fail(id, &error),
                }
                Ok(Checked::Not)
            }
        }
    }

    /// Asks for the CRCs of what was read of the file itself, and of those that it may be a copy of.
    fn want_crcs(&mut self, id: FileId) {
        let originals = self.originals_of(id);
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        let position = tracked.entry.position;
        if let Some(Source::Packed(packed)) = &mut tracked.source {
            packed.want_crc(position);
            for original in &originals {
                packed.want_crc(original.position);
            }
        }
    }

    /// Followed or known files that a compressed one of which nothing is read may be the copy of.
    fn originals_of(&mut self, id: FileId) -> Vec<FileEntry> {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Vec::new();
        };
        if tracked.entry.position > 0 {
            return Vec::new();
        }
        let (stream, path) = (tracked.stream, tracked.path.clone());
        let Some(mut source) = tracked.source.take() else {
            return Vec::new();
        };
        let followed = self
            .catalog
            .followed()
            .filter(|other| other.stream == stream);
        let known = self.catalog.known.of_stream(stream);
        let mut entries: Vec<FileEntry> = followed
            .map(|other| &other.entry)
            .chain(known)
            .filter(|entry| {
                let may_be = entry.packing.is_none() && entry.position > 0 && entry.crc.is_some();
                may_be && is_named_after(&path, entry.path())
            })
            .cloned()
            .collect();
        entries.retain(|entry| {
            Fingerprint::of_head(&mut source, entry.head.len).is_ok_and(|head| head == entry.head)
        });
        if let Some(tracked) = self.catalog.get_mut(id) {
            tracked.source = Some(source);
        }
        entries
    }

    /// Continues with a compressed file that is whole.
    fn take_checked(&mut self, id: FileId) -> Result<Checked, Stopped> {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return Ok(Checked::Not);
        };
        let Some(Source::Packed(packed)) = &tracked.source else {
            return Ok(Checked::Not);
        };
        let len = packed.text_len().unwrap_or(0);
        let position = tracked.entry.position;
        if position > 0 && packed.crc_of(position) != tracked.entry.crc {
            self.replace(id, ContentCheck::OtherTail)?;
            return Ok(Checked::Not);
        }
        Stats::subtract(&self.around.stats.bytes_known, tracked.entry.size);
        Stats::add(&self.around.stats.bytes_known, len);
        tracked.entry.size = len;
        tracked.entry.why.clear();
        self.account.touch();
        match self.original_of(id) {
            Some(entry) => {
                self.go_on_compressed(id, entry)?;
                Ok(Checked::Not)
            }
            None => Ok(Checked::Whole),
        }
    }

    /// What is known of the file that a compressed one was made of.
    fn original_of(&mut self, id: FileId) -> Option<FileEntry> {
        let originals = self.originals_of(id);
        let (tracked, known) = self.catalog.with_known(id)?;
        let source = tracked.source.as_mut()?;
        let crc_of = |source: &Source, len| match source {
            Source::Packed(packed) => packed.crc_of(len),
            Source::Plain(_) => None,
        };
        let len = tracked.entry.size;
        originals.into_iter().find_map(|entry| {
            // One that was copied and emptied is where it was, without this content.
            let is_there = entry.state != FileState::Gone
                && Stat::at(entry.path()).is_some_and(|stat| entry.is_inode_of(&stat));
            if is_there || crc_of(source, entry.position) == entry.crc {
                return (!is_there).then_some(entry);
            }
            let entry = shortened(&entry, known.given_up(entry.id)?, source, len)?;
            (crc_of(source, len) == entry.crc).then_some(entry)
        })
    }

    /// Reads on in a compressed file what was begun in the one that it was made of.
    fn go_on_compressed(&mut self, id: FileId, entry: FileEntry) -> Result<(), Stopped> {
        self.await_appends(entry.id)?;
        let original = self.catalog.get(entry.id);
        let mut entry = original.map_or(entry, |original| original.entry.clone());
        let Some(tracked) = self.catalog.get(id) else {
            return Ok(());
        };
        let (stream, path, stat) = (tracked.stream, tracked.path.clone(), tracked.stat);
        (entry.size, entry.packing) = (tracked.entry.size, tracked.entry.packing);
        self.forget(id);
        self.forget(entry.id);
        let why = format!(
            "it is `{}` compressed: its text begins with all {} bytes that were read there, and is read on from there",
            entry.path().display(),
            entry.position
        );
        let file = Listed { stream, path, stat };
        let what = What::Moved;
        self.perform(vec![Step::Resume(Resume {
            file,
            entry,
            what,
            why,
        })])
    }

    /// Notes why a file is not read now; it is tried again at each listing.
    fn wait_for(&mut self, id: FileId, why: String) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        tracked.change(Change::Waits);
        tracked.is_caught_up = false;
        if self.around.config.mode == crate::config::Mode::Once {
            self.queue.unsettle(id);
        }
        if tracked.entry.why != why {
            tracked.entry.why.clone_from(&why);
            tracked.entry.decide(What::Waiting, why);
            self.account.touch();
        }
    }

    /// At the end of a run: tries once more with a compressed file, or leaves it.
    pub(crate) fn settle_packed(&mut self, id: FileId) {
        let Some(tracked) = self.catalog.get_mut(id) else {
            return;
        };
        if tracked.cut == Some(tracked.stat) {
            let why = tracked.entry.why.clone();
            self.summary.left.push((tracked.path.clone(), why));
        } else if tracked.stat.untouched_for() < STILL_FOR {
            self.queue.unsettle(id);
        } else {
            self.queue.enqueue(id);
        }
    }
}

/// Whether a compressed file is to be read.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    /// All of it is decompressed once, to see whether it is whole.
    Check,
    Wait(String),
    SetAside(String),
}

/// Decides about a compressed file that is not known to be whole. `is_cut`: as it is now, it was found to be cut off.
fn judge(stat: &Stat, is_cut: bool, name: &str, close_after: Duration) -> Judgement {
    if stat.untouched_for() < STILL_FOR {
        let why = "it is compressed, and will be read after a second without changes";
        return Judgement::Wait(why.to_owned());
    }
    if !is_cut {
        return Judgement::Check;
    }
    match stat.unchanged_for() < close_after {
        true => Judgement::Wait(format!(
            "its {name} data is cut off: it may still be on its way"
        )),
        false => Judgement::SetAside(format!("its {name} data is cut off; replace the file")),
    }
}

fn packing_name(packing: Option<Packing>) -> &'static str {
    packing.map_or("compressed", Packing::as_str)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::follow::testing::stat;

    #[test]
    fn a_compressed_file_is_read_when_it_stands_still() {
        let check = |touched_secs: u64, modified_secs: u64, is_cut, expected: Option<&str>| {
            let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
            let mut stat = stat(1);
            (stat.touched, stat.modified) = (ago(touched_secs), ago(modified_secs));
            let why = match judge(&stat, is_cut, "gzip", Duration::from_secs(60)) {
                Judgement::Check => None,
                Judgement::Wait(why) => Some(format!("wait: {why}")),
                Judgement::SetAside(why) => Some(format!("set aside: {why}")),
            };
            let is_expected = match (&why, expected) {
                (Some(why), Some(part)) => why.contains(part),
                (why, expected) => why.is_none() && expected.is_none(),
            };
            assert!(is_expected, "{why:?} and not {expected:?}");
        };
        check(2, 2, false, None);
        check(2, 1000, false, None);
        // `gzip` gives its file the time of the original, and continues.
        check(0, 1000, false, Some("wait: it is compressed"));
        check(0, 0, true, Some("wait: it is compressed"));
        check(2, 2, true, Some("wait: its gzip data is cut off"));
        check(100, 100, true, Some("set aside: its gzip data is cut off"));
    }
}
