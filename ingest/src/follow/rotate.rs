//! Where the content of a file has gone: into a copy, into a file with its name, or nowhere.
//!
//! What was read is never believed to be in another file unless that file holds all of it, byte by byte (a
//! CRC tells): else a record that was changed in the middle would be passed over.

use std::path::{Path, PathBuf};

use bekk_stream::FileId;

use crate::file::decision::What;
use crate::file::entry::FileEntry;
use crate::file::evidence::ContentCheck;
use crate::follow::catalog::Catalog;
use crate::follow::look::{Hold, Look};
use crate::follow::step::{Resume, Step};
use crate::follow::tracked::{Outside, State, Tracked};
use crate::inbox::Listed;
use crate::text::recent::Recent;

/// What becomes of a file of which nothing is known by its inode, and of the one that had its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Succession {
    pub(crate) steps: Vec<Step>,
    /// If it is to be read from its beginning: as what, and why.
    pub(crate) begin: Option<(What, String)>,
}

impl Succession {
    /// The new file is read from its beginning.
    fn begin(steps: Vec<Step>, what: What, why: String) -> Self {
        let begin = Some((what, why));
        Self { steps, begin }
    }

    /// Nothing had been read of a file with its name.
    fn of_nothing(steps: Vec<Step>) -> Self {
        Self::begin(steps, What::New, "it was not known before".to_owned())
    }

    /// The file that had its name has another one now.
    fn of_renamed(steps: Vec<Step>, id: FileId, path: &Path) -> Self {
        let path = path.display();
        let why = format!("it took the name of file {id}, which is `{path}` now");
        Self::begin(steps, What::New, why)
    }

    /// The file that had its name is gone, with what was read of it.
    fn of_gone(steps: Vec<Step>, id: FileId) -> Self {
        let why = format!(
            "file {id}, which had this name, is gone, and this file does not begin with the same content"
        );
        Self::begin(steps, What::Restarted, why)
    }

    /// It begins with all that was read of the file that had its name.
    fn of_held(mut steps: Vec<Step>, file: &Listed, entry: FileEntry) -> Self {
        let why = format!(
            "another file has its name, and begins with all {} bytes that were read: it is read on from there",
            entry.position
        );
        steps.push(Step::Resume(Resume {
            file: file.clone(),
            entry,
            what: What::Moved,
            why,
        }));
        Self { steps, begin: None }
    }
}

/// Decides about a new file and the one that had its name. All that was read of that one is in the log.
pub(crate) fn succeed(catalog: &Catalog, file: &Listed, look: &mut dyn Look) -> Succession {
    let named = catalog.named(file.stream, &file.path);
    if let Some(tracked) = named.and_then(|id| catalog.get(id)) {
        return succeed_tracked(tracked, file, look);
    }
    let known = &catalog.known;
    if let Some(entry) = known.named(file.stream, &file.path, file.stat.inode) {
        return succeed_known(catalog, entry, file, look);
    }
    match catalog.renamed_from(file.stream, &file.path) {
        Some(tracked) => {
            let old = Old::of(tracked, tracked.path.clone(), tracked.stat.size);
            succeed_renamed(old, file, look)
        }
        None => Succession::of_nothing(Vec::new()),
    }
}

/// A file that had the name of the new one, and has another name now.
struct Old<'a> {
    entry: &'a FileEntry,
    path: PathBuf,
    /// Whether something of it has not been read.
    is_unread: bool,
    /// How it is followed on.
    kept: Vec<Step>,
    /// How it is given up.
    given_up: Vec<Step>,
}

impl<'a> Old<'a> {
    fn of(tracked: &'a Tracked, path: PathBuf, size: u64) -> Self {
        let entry = &tracked.entry;
        let read = entry.position;
        Self {
            entry,
            path,
            is_unread: entry.packing.is_some() || size != read || tracked.cursor.position != read,
            kept: Vec::new(),
            given_up: vec![Step::Forget(entry.id)],
        }
    }

    fn kept(mut self, steps: Vec<Step>) -> Self {
        self.kept = steps;
        self
    }
}

/// Decides about a new file whose name was that of a file with another name now. Rotation brings a new content. One that
/// begins with all that was read replaces the file, as programs do that write a file anew and rename it; the other name is
/// that of a backup. If the old file is in the inbox, or something of it is unread, both are read, which is reported.
fn succeed_renamed(old: Old<'_>, file: &Listed, look: &mut dyn Look) -> Succession {
    let Old { entry, path, .. } = old;
    let held = match entry.records {
        0 => None,
        _ => held(file, entry, look),
    };
    let Some(held) = held else {
        return Succession::of_renamed(old.kept, entry.id, &path);
    };
    if !old.is_unread && !look.is_listed(file.stream, entry.device, entry.inode) {
        return Succession::of_held(old.given_up, file, held);
    }
    let why = format!(
        "it took the name of file {}, which is `{}` now, and begins with all {} bytes that were read there",
        entry.id,
        path.display(),
        entry.position
    );
    tracing::warn!(
        path = %file.path.display(),
        "{why}: its records are read a second time; a stream without a key has their rows twice"
    );
    Succession::begin(old.kept, What::New, why)
}

fn succeed_tracked(tracked: &Tracked, file: &Listed, look: &mut dyn Look) -> Succession {
    let entry = &tracked.entry;
    let id = entry.id;
    if let Some((path, stat)) = look.beside(&file.path, entry.device, entry.inode) {
        let steps = vec![Step::Rename(id, path.clone())];
        let old = Old::of(tracked, path, stat.size).kept(steps);
        return succeed_renamed(old, file, look);
    }
    if look.hold(tracked) == Hold::Named {
        let steps = vec![Step::Leave(id, Outside::Renamed)];
        let old = Old::of(tracked, "another directory".into(), tracked.stat.size).kept(steps);
        return succeed_renamed(old, file, look);
    }
    if tracked.state == State::Blocked || tracked.cursor.position == 0 {
        return Succession::of_nothing(vec![Step::Forget(id)]);
    }
    match held(file, entry, look) {
        Some(held) => Succession::of_held(vec![Step::Forget(id)], file, held),
        None => Succession::of_gone(vec![Step::Leave(id, Outside::Deleted)], id),
    }
}

fn succeed_known(
    catalog: &Catalog,
    entry: &FileEntry,
    file: &Listed,
    look: &mut dyn Look,
) -> Succession {
    if let Some((path, stat)) = look.beside(&file.path, entry.device, entry.inode) {
        let stream = file.stream;
        let rotated = Listed { stream, path, stat };
        let resume = resume_rotated(catalog, &rotated, entry, look);
        let old = Old {
            entry,
            path: rotated.path,
            is_unread: entry.packing.is_some() || stat.size != entry.position,
            kept: resume.into_iter().collect(),
            given_up: Vec::new(),
        };
        return succeed_renamed(old, file, look);
    }
    if entry.position == 0 {
        return Succession::of_nothing(Vec::new());
    }
    match held(file, entry, look) {
        Some(held) => Succession::of_held(Vec::new(), file, held),
        None => Succession::of_gone(Vec::new(), entry.id),
    }
}

/// What is known of a file that holds all that was read of another.
fn held(file: &Listed, entry: &FileEntry, look: &mut dyn Look) -> Option<FileEntry> {
    let is_long_enough = file.stat.size >= entry.position;
    is_long_enough
        .then(|| look.held(&file.path, entry, &Recent::default()))
        .flatten()
}

/// Reads on in a known file that has left the inbox while nobody looked, if there is more in it.
pub(crate) fn resume_rotated(
    catalog: &Catalog,
    file: &Listed,
    entry: &FileEntry,
    look: &mut dyn Look,
) -> Option<Step> {
    // If two entries share an inode, the newest owns it.
    let is_followed = catalog.of_inode(file.stream, &file.stat).is_some();
    if is_followed
        || file.stat.size <= entry.position
        || look.check(file, entry) != Some(ContentCheck::Same)
    {
        return None;
    }
    let why = format!(
        "it was `{}`, and has the same inode and the bytes that were read: it is followed to its end from byte {}",
        entry.path().display(),
        entry.position
    );
    Some(Step::Resume(Resume {
        file: file.clone(),
        entry: entry.clone(),
        what: What::Rotated,
        why,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::testing::{World, catalog, entry, id, listed, stat, tracked};

    /// File 2 has appeared under the name that file 1 had.
    fn check(catalog: &Catalog, mut world: World, steps: &[Step], begin: Option<What>) {
        let found = succeed(catalog, &listed(2, "/in/a.csv"), &mut world);
        let what = found.begin.as_ref().map(|(what, _)| *what);
        assert_eq!((&found.steps[..], what), (steps, begin), "{found:?}");
    }

    #[test]
    fn a_name_taken_from_a_followed_file() {
        let followed = || catalog(vec![tracked(1, "/in/a.csv")], Vec::new());
        let renamed = World::default().with("/in/a.csv.1", stat(1));
        let steps = [Step::Rename(id(1), "/in/a.csv.1".into())];
        check(&followed(), renamed, &steps, Some(What::New));
        let moved = World::default().holding(1, Hold::Named);
        let steps = [Step::Leave(id(1), Outside::Renamed)];
        check(&followed(), moved, &steps, Some(What::New));
        // Deleted, and another one put there.
        let steps = [Step::Leave(id(1), Outside::Deleted)];
        for world in [
            World::default().holding(1, Hold::Nameless),
            World::default(),
        ] {
            check(&followed(), world, &steps, Some(What::Restarted));
        }
        for change in [
            (|tracked| tracked.cursor.position = 0) as fn(&mut Tracked),
            |tracked| tracked.state = State::Blocked,
        ] {
            let mut nothing_read = tracked(1, "/in/a.csv");
            change(&mut nothing_read);
            let catalog = catalog(vec![nothing_read], Vec::new());
            let steps = [Step::Forget(id(1))];
            check(&catalog, World::default(), &steps, Some(What::New));
        }
    }

    #[test]
    fn a_successor_with_all_that_was_read_goes_on() {
        let followed = catalog(vec![tracked(1, "/in/a.csv")], Vec::new());
        let known = catalog(Vec::new(), vec![entry(1, "/in/a.csv")]);
        let whole = || World::default().with_content("/in/a.csv", stat(2), 1, 100);
        for (catalog, first) in [(&followed, Some(Step::Forget(id(1)))), (&known, None)] {
            let file = listed(2, "/in/a.csv");
            let found = succeed(catalog, &file, &mut whole());
            let (last, before) = found.steps.split_last().unwrap();
            assert_eq!(before, first.as_slice());
            let Step::Resume(resume) = last else {
                panic!("{last:?} resumes nothing");
            };
            let place = (&*resume.file.path, resume.what, &resume.entry);
            let entry = entry(1, "/in/a.csv");
            assert_eq!(place, (Path::new("/in/a.csv"), What::Moved, &entry));
            assert_eq!(found.begin, None);
        }
        // One that has less than all of it is read anew, whatever it begins with.
        let mut short = listed(2, "/in/a.csv");
        short.stat.size = 99;
        let mut world = World::default().with_content("/in/a.csv", short.stat, 1, 99);
        let found = succeed(&known, &short, &mut world);
        assert!(found.steps.is_empty());
        assert_eq!(found.begin.map(|(what, _)| what), Some(What::Restarted));
    }

    /// File 1 has another name. File 2 begins with all that was read of it, and has its former name.
    #[test]
    fn a_file_that_is_written_anew_beside_a_backup_goes_on() {
        let followed = || catalog(vec![tracked(1, "/in/a.csv")], Vec::new());
        let known = || catalog(Vec::new(), vec![entry(1, "/in/a.csv")]);
        let whole = || World::default().with_content("/in/a.csv", stat(2), 1, 100);
        let elsewhere = || whole().holding(1, Hold::Named);
        let backup = || whole().with("/in/.a.bak", stat(1));
        let renamed = || {
            let mut catalog = followed();
            catalog.rename(id(1), Path::new("/in/.a.bak"));
            catalog.leave_name(id(1));
            catalog
        };
        for (catalog, mut world) in [
            (followed(), elsewhere()),
            (followed(), backup()),
            (known(), backup()),
            (renamed(), backup()),
        ] {
            let found = succeed(&catalog, &listed(2, "/in/a.csv"), &mut world);
            let last = found.steps.last();
            let is_resumed =
                matches!(last, Some(Step::Resume(resume)) if resume.what == What::Moved);
            assert!(is_resumed && found.begin.is_none(), "{found:?}");
        }
        // The old file is read under a name that the patterns match.
        let steps = [Step::Rename(id(1), "/in/b.csv".into())];
        let inside = whole().with("/in/b.csv", stat(1));
        check(&followed(), inside, &steps, Some(What::New));
        // There is more in it.
        let mut more = stat(1);
        more.size = 150;
        let steps = [Step::Rename(id(1), "/in/.a.bak".into())];
        let grown = whole().with("/in/.a.bak", more);
        check(&followed(), grown, &steps, Some(What::New));
        // No record of it was read, as where a log begins with its header.
        let mut header = tracked(1, "/in/a.csv");
        header.entry.records = 0;
        let catalog = catalog(vec![header], Vec::new());
        check(&catalog, backup(), &steps, Some(What::New));
    }

    #[test]
    fn a_name_taken_from_a_file_of_an_earlier_run() {
        let known = || catalog(Vec::new(), vec![entry(1, "/in/a.csv")]);
        check(
            &catalog(Vec::new(), Vec::new()),
            World::default(),
            &[],
            Some(What::New),
        );
        check(&known(), World::default(), &[], Some(What::Restarted));
        let mut unread = entry(1, "/in/a.csv");
        unread.position = 0;
        check(
            &catalog(Vec::new(), vec![unread]),
            World::default(),
            &[],
            Some(What::New),
        );
        // It has been renamed, and has all that was read, and no more.
        let read = World::default().with_content("/in/a.csv.1", stat(1), 1, 100);
        check(&known(), read, &[], Some(What::New));
        // There is more in it.
        let mut more = stat(1);
        more.size = 150;
        let mut world = World::default().with_content("/in/a.csv.1", more, 1, 150);
        let found = succeed(&known(), &listed(2, "/in/a.csv"), &mut world);
        assert!(
            matches!(&found.steps[..], [Step::Resume(Resume { file, what: What::Rotated, .. })]
                if file.path == Path::new("/in/a.csv.1") && file.stat == more),
            "{found:?}"
        );
        // Its inode was used again.
        let mut world = World::default().with("/in/a.csv.1", more);
        let found = succeed(&known(), &listed(2, "/in/a.csv"), &mut world);
        assert_eq!(found.steps, []);
        // A file does not take the name of what it was itself.
        let found = succeed(&known(), &listed(1, "/in/a.csv"), &mut World::default());
        assert_eq!(found.begin.map(|(what, _)| what), Some(What::New));
    }
}
