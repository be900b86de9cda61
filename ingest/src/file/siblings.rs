//! What else stands in a file's directory, whatever the patterns say: where a file goes when it is rotated.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use crate::source::stat::Stat;

/// How many files that are named after another one are looked at.
const NAMESAKES_MAX: usize = 1000;

/// Directories as they were when they were first looked at; made anew for each look around.
#[derive(Default)]
pub(crate) struct Siblings {
    directories: HashMap<PathBuf, Vec<(u64, PathBuf)>>,
}

impl Siblings {
    /// The name that a file has now in the directory where it had `path`.
    pub(crate) fn find(&mut self, path: &Path, device: u64, inode: u64) -> Option<(PathBuf, Stat)> {
        let files = self.of(path);
        let first = files.partition_point(|(known, _)| *known < inode);
        files[first..]
            .iter()
            .take_while(|(known, _)| *known == inode)
            .find_map(|(_, path)| {
                let stat = Stat::at_no_link(path)?;
                ((stat.device, stat.inode) == (device, inode)).then(|| (path.clone(), stat))
            })
    }

    /// The other files there that are [named after](is_named_after) one.
    pub(crate) fn namesakes(&mut self, path: &Path) -> Vec<(PathBuf, Stat)> {
        let files = self.of(path).iter().map(|(_, other)| other);
        files
            .filter(|other| is_named_after(other, path) && *other != path)
            .take(NAMESAKES_MAX)
            .filter_map(|other| Some((other.clone(), Stat::at_no_link(other)?)))
            .collect()
    }

    /// The files beside one, by inode.
    fn of(&mut self, path: &Path) -> &[(u64, PathBuf)] {
        let directory = path.parent().unwrap_or(Path::new("/"));
        self.directories
            .entry(directory.to_owned())
            .or_insert_with(|| {
                let entries = fs::read_dir(directory).into_iter().flatten().flatten();
                let mut files: Vec<_> = entries.map(|entry| (entry.ino(), entry.path())).collect();
                files.sort_unstable();
                files
            })
    }
}

/// Whether a name is one that rotation gives, in whatever directory: `a.csv` becomes `a.csv.1`, `a.csv-20261122.gz`,
/// `a-20261122.csv`.
pub(crate) fn is_named_after(other: &Path, path: &Path) -> bool {
    let stem = path.file_stem().map_or(&[][..], OsStr::as_bytes);
    let name = other.file_name().map_or(&[][..], OsStr::as_bytes);
    let is_longer = name.len() > stem.len() || other.file_name() == path.file_name();
    !stem.is_empty() && name.starts_with(stem) && is_longer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_names_files_after_themselves() {
        let check = |other: &str, expected| {
            let is = is_named_after(Path::new(other), Path::new("/in/a.csv"));
            assert_eq!(is, expected, "{other}");
        };
        let rotated = Path::new("/in/a.csv.1");
        assert!(!is_named_after(Path::new("/in/a.csv"), rotated));
        assert!(is_named_after(Path::new("/in/a.csv.2.gz"), rotated));
        check("/in/a.csv.1", true);
        check("/in/a-20261122.csv", true);
        check("/in/a.csv.2.gz", true);
        check("/in/b.csv", false);
        check("/old/a.csv.1", true);
        check("/old/a.csv", true);
    }
}
