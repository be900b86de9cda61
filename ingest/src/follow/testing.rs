//! A world of files for decisions, without a disk.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bekk_stream::{FileId, FileRecord};

use crate::file::entry::FileEntry;
use crate::file::evidence::ContentCheck;
use crate::file::siblings::is_named_after;
use crate::follow::catalog::Catalog;
use crate::follow::known::Known;
use crate::follow::look::{Hold, Look};
use crate::follow::tracked::Tracked;
use crate::inbox::Listed;
use crate::source::stat::Stat;
use crate::text::recent::Recent;

pub(crate) fn id(number: u8) -> FileId {
    FileId::from_bytes([number; 16])
}

/// What is known of file `number`: its inode has the same number, and 100 of its bytes have been read.
pub(crate) fn entry(number: u8, path: &str) -> FileEntry {
    let mut entry = FileEntry::new(FileRecord {
        id: id(number),
        stream: "things".to_owned(),
        path: Path::new(path).as_os_str().as_bytes().to_vec(),
        device: 1,
        inode: number.into(),
        head_len: 0,
        head_hash: 0,
        found_at_ms: 0,
        dialect: String::new(),
        ingest: String::new(),
        host: String::new(),
        first: None,
    });
    (entry.position, entry.records, entry.size) = (100, 10, 100);
    entry
}

/// A file of 100 bytes, unchanged for ten seconds.
pub(crate) fn stat(number: u8) -> Stat {
    let then = SystemTime::now() - Duration::from_secs(10);
    Stat {
        device: 1,
        inode: number.into(),
        size: 100,
        modified: then,
        touched: then,
    }
}

/// File `number`, all of which has been read.
pub(crate) fn tracked(number: u8, path: &str) -> Tracked {
    Tracked::new(
        (0, 0),
        PathBuf::from(path),
        entry(number, path),
        stat(number),
    )
}

pub(crate) fn listed(number: u8, path: &str) -> Listed {
    Listed {
        stream: 0,
        path: PathBuf::from(path),
        stat: stat(number),
    }
}

pub(crate) fn catalog(followed: Vec<Tracked>, known: Vec<FileEntry>) -> Catalog {
    let known = known.into_iter().map(|entry| (0, entry));
    let mut catalog = Catalog::new(Known::new(known, Default::default()));
    followed
        .into_iter()
        .for_each(|tracked| catalog.insert(tracked));
    catalog
}

/// What there is to be seen.
#[derive(Default)]
pub(crate) struct World {
    stats: HashMap<PathBuf, Stat>,
    /// The known file whose bytes a path has, and how many of them
    contents: HashMap<PathBuf, (FileId, u64)>,
    holds: HashMap<FileId, Hold>,
}

impl World {
    /// Puts a file there.
    pub(crate) fn with(mut self, path: &str, stat: Stat) -> Self {
        self.stats.insert(PathBuf::from(path), stat);
        self
    }

    /// Puts a file there that begins with so many bytes of file `number`.
    pub(crate) fn with_content(mut self, path: &str, stat: Stat, number: u8, len: u64) -> Self {
        self.contents.insert(PathBuf::from(path), (id(number), len));
        self.with(path, stat)
    }

    pub(crate) fn holding(mut self, number: u8, hold: Hold) -> Self {
        self.holds.insert(id(number), hold);
        self
    }
}

impl Look for World {
    fn stat(&mut self, path: &Path) -> Option<Stat> {
        self.stats.get(path).copied()
    }

    fn beside(&mut self, path: &Path, device: u64, inode: u64) -> Option<(PathBuf, Stat)> {
        let beside = self
            .stats
            .iter()
            .filter(|(other, _)| other.parent() == path.parent());
        let mut found = beside.filter(|(_, stat)| (stat.device, stat.inode) == (device, inode));
        found.next().map(|(path, stat)| (path.clone(), *stat))
    }

    fn namesakes(&mut self, _: usize, path: &Path) -> Vec<PathBuf> {
        let paths = self.stats.keys();
        paths
            .filter(|other| is_named_after(other, path) && *other != path)
            .cloned()
            .collect()
    }

    fn is_listed(&mut self, _: usize, device: u64, inode: u64) -> bool {
        let csv = self
            .stats
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|is| is == "csv"));
        csv.into_iter()
            .any(|(_, stat)| (stat.device, stat.inode) == (device, inode))
    }

    fn hold(&mut self, tracked: &Tracked) -> Hold {
        let hold = self.holds.get(&tracked.entry.id);
        hold.copied().unwrap_or(Hold::Closed)
    }

    fn check(&mut self, file: &Listed, entry: &FileEntry) -> Option<ContentCheck> {
        self.stats.get(&file.path)?;
        let (of, len) = *self.contents.get(&file.path).unwrap_or(&(id(0), 0));
        Some(match (of == entry.id, len >= entry.position) {
            (true, true) => ContentCheck::Same,
            (true, false) => ContentCheck::Truncated,
            (false, _) => ContentCheck::OtherHead,
        })
    }

    fn held(&mut self, path: &Path, entry: &FileEntry, _: &Recent) -> Option<FileEntry> {
        let (of, len) = *self.contents.get(path)?;
        let mut held = entry.clone();
        held.position = held.position.min(len);
        (of == entry.id && len > 0).then_some(held)
    }
}
