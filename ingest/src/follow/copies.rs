//! Copies of files that are then emptied (copytruncate): which file is one, and how much of it has been read.

use std::time::Duration;

use crate::config::Mode;
use crate::file::decision::What;
use crate::file::evidence::ContentCheck;
use crate::file::siblings::is_named_after;
use crate::follow::catalog::Catalog;
use crate::follow::engine::Engine;
use crate::follow::look::{Look, is_copy_or_emptied};
use crate::follow::step::{Lost, Resume, Step};
use crate::follow::tracked::Tracked;
use crate::inbox::Listed;

/// How long a file that may be a copy must have stood still to be taken for a file of its own: a busy machine may take
/// its time between copying a file and emptying it.
const COPY_AFTER: Duration = Duration::from_secs(10);

/// Decides what becomes of a content that has been truncated or overwritten: it continues in its copy, or is given up.
/// Says why, for whoever reads what has taken its place.
pub(crate) fn seek_copy(
    catalog: &Catalog,
    lost: Lost,
    new: &[Listed],
    look: &mut dyn Look,
) -> (Step, String) {
    let was = format!(
        "file {} was here; {} of its {} bytes had been read; {}",
        lost.entry.id,
        lost.entry.position,
        lost.size.max(lost.entry.position),
        lost.check.evidence()
    );
    let candidates = match lost.entry.position {
        0 => Vec::new(),
        _ => candidates(catalog, &lost, new, look),
    };
    let copy = candidates.into_iter().find_map(|file| {
        let entry = look.held(&file.path, &lost.entry, &lost.recent)?;
        Some((file, entry))
    });
    let Some((file, entry)) = copy else {
        let unread = lost.size.saturating_sub(lost.entry.position);
        let why = match unread {
            0 => format!("{was}; anything written after the last check is lost"),
            _ => format!("{was}; no copy of it was found, so {unread} bytes of it are lost"),
        };
        return (Step::GiveUp(lost), why);
    };
    let goes_on = format!(
        "{was}; the rest of its content is read in `{}`",
        file.path.display()
    );
    let why = format!(
        "copied from `{}`, which was then emptied or overwritten: it holds {} bytes that were read there, and is \
         read on from there",
        entry.path().display(),
        entry.position
    );
    let what = What::Moved;
    let resume = Resume {
        file,
        entry,
        what,
        why,
    };
    (Step::Resume(resume), goes_on)
}

/// The files that may be the copy of a lost content, the oldest first.
fn candidates(catalog: &Catalog, lost: &Lost, new: &[Listed], look: &mut dyn Look) -> Vec<Listed> {
    let stream = lost.stream;
    let listed = new.iter().filter(|file| file.stream == stream);
    let mut paths: Vec<_> = listed.map(|file| file.path.clone()).collect();
    paths.extend(look.namesakes(stream, lost.entry.path()));
    let mut found: Vec<Listed> = Vec::new();
    for path in paths {
        // As it is now: the listing may have met a copy that had only been begun, and the original after it had
        // been emptied.
        let Some(stat) = look.stat(&path) else {
            continue;
        };
        let file = Listed { stream, path, stat };
        let is_known = catalog.of_inode(stream, &stat).is_some()
            || found.iter().any(|other| other.path == file.path)
            || is_known_content(catalog, &file, look);
        if !is_known && !lost.entry.is_inode_of(&stat) {
            found.push(file);
        }
    }
    found.sort_by_key(|file| file.stat.modified);
    found
}

/// Whether a file is one that was read before, as which it is known.
fn is_known_content(catalog: &Catalog, file: &Listed, look: &mut dyn Look) -> bool {
    let entries = catalog.known.of_inode(file.stream, file.stat.inode);
    entries.iter().any(|entry| {
        let is_read = entry.position > 0 || !entry.known.is_empty();
        is_read
            && entry.is_inode_of(&file.stat)
            && look.check(file, entry) == Some(ContentCheck::Same)
    })
}

impl Engine<'_> {
    /// Whether a new file may be an unfinished copy of a followed file, which is then emptied. A file that nobody has
    /// written to for a while is not such a copy.
    pub(crate) fn may_be_copy(&mut self, file: &Listed) -> bool {
        let is_like = self.around.config.mode == Mode::Follow
            && self
                .catalog
                .followed()
                .any(|tracked| is_like(file, tracked));
        if !is_like {
            self.catalog.let_pass(file);
            return false;
        }
        self.catalog.hold_back(file, COPY_AFTER)
    }
}

/// Whether a file looks like the beginning, or all, of a followed one whose name it bears.
fn is_like(file: &Listed, tracked: &Tracked) -> bool {
    // What has left the inbox is not emptied any more.
    if tracked.stream != file.stream
        || tracked.outside.is_some()
        || tracked.cursor.position == 0
        || tracked.entry.packing.is_some()
        || !is_named_after(&file.path, &tracked.path)
    {
        return false;
    }
    // What cannot be compared is not there any more, or cannot be read.
    is_copy_or_emptied(file, tracked).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::follow::testing::{World, catalog, entry, listed, stat, tracked};
    use crate::source::stat::Stat;
    use crate::text::recent::Recent;

    /// File 1 was `/in/a.csv` and has been emptied.
    fn lost() -> Lost {
        Lost {
            entry: entry(1, "/in/a.csv"),
            stream: 0,
            check: ContentCheck::Truncated,
            size: 120,
            recent: Recent::default(),
        }
    }

    #[track_caller]
    fn check(catalog: &Catalog, mut world: World, expected: Result<(&str, u64), &str>) {
        let new = [listed(3, "/in/new.csv")];
        match (seek_copy(catalog, lost(), &new, &mut world), expected) {
            ((Step::Resume(resume), _), Ok((path, position))) => {
                assert_eq!(resume.file.path, Path::new(path));
                assert_eq!(
                    (resume.what, resume.entry.position),
                    (What::Moved, position)
                );
            }
            ((Step::GiveUp(given_up), why), Err(part)) => {
                assert_eq!(given_up, lost());
                assert!(why.contains(part), "{why}");
            }
            (found, expected) => panic!("{found:?} and not {expected:?}"),
        }
    }

    fn aged(number: u8, size: u64, seconds: u64) -> Stat {
        let mut stat = stat(number);
        stat.size = size;
        stat.modified -= Duration::from_secs(seconds);
        stat
    }

    #[test]
    fn a_lost_content_goes_on_in_its_copy_or_is_given_up() {
        let empty = || catalog(Vec::new(), Vec::new());
        let copy = || World::default().with_content("/in/a.csv.1", aged(2, 120, 0), 1, 120);
        check(&empty(), copy(), Ok(("/in/a.csv.1", 100)));
        check(
            &empty(),
            World::default(),
            Err("so 20 bytes of it are lost"),
        );
        // The copy was made before the last bytes were written and read.
        let early = World::default().with_content("/in/a.csv.1", aged(2, 90, 0), 1, 90);
        check(&empty(), early, Ok(("/in/a.csv.1", 90)));
        // A listed file need not be named after it.
        let moved = World::default().with_content("/in/new.csv", aged(3, 120, 0), 1, 120);
        check(&empty(), moved, Ok(("/in/new.csv", 100)));
        let other = World::default().with_content("/in/b.csv", aged(2, 120, 0), 1, 120);
        check(&empty(), other, Err("no copy of it was found"));
        // Its name is like it, its content is not.
        let unlike = World::default().with_content("/in/a.csv.1", aged(2, 120, 0), 7, 120);
        check(&empty(), unlike, Err("no copy of it was found"));
        // The oldest of several counts.
        let several = copy().with_content("/in/a.csv.2", aged(4, 120, 5), 1, 120);
        check(&empty(), several, Ok(("/in/a.csv.2", 100)));
    }

    /// What is followed, or known to have been read, is the copy of nothing else.
    #[test]
    fn a_file_with_a_content_of_its_own_is_no_copy() {
        let copy = || World::default().with_content("/in/a.csv.1", aged(2, 120, 0), 1, 120);
        let followed = catalog(vec![tracked(2, "/in/a.csv.1")], Vec::new());
        check(&followed, copy(), Err("no copy of it was found"));
        let known = catalog(Vec::new(), vec![entry(2, "/in/a.csv.1")]);
        check(&known, copy(), Ok(("/in/a.csv.1", 100)));
        let read = World::default().with_content("/in/a.csv.1", aged(2, 120, 0), 2, 120);
        check(&known, read, Err("no copy of it was found"));
        // The file itself, with its old content restored, is met as what it is.
        let itself = World::default().with_content("/in/a.csv.1", aged(1, 120, 0), 1, 120);
        check(
            &catalog(Vec::new(), Vec::new()),
            itself,
            Err("no copy of it was found"),
        );
    }

    #[test]
    fn of_what_was_read_whole_no_loss_is_told() {
        let mut whole = lost();
        whole.size = 100;
        let (step, why) = seek_copy(
            &catalog(Vec::new(), Vec::new()),
            whole,
            &[],
            &mut World::default(),
        );
        assert!(matches!(step, Step::GiveUp(_)));
        assert!(
            why.contains("anything written after the last check is lost"),
            "{why}"
        );
    }
}
