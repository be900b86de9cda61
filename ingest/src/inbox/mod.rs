//! The inbox: which files there are for which stream.

pub(crate) mod lock;
pub(crate) mod watch;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use bekk_stream::Stream;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::Error;
use crate::source::open;
use crate::source::stat::Stat;

/// The patterns of all streams.
#[derive(Debug)]
pub(crate) struct Inbox {
    streams: Vec<Patterns>,
}

#[derive(Debug)]
struct Patterns {
    include: GlobSet,
    exclude: GlobSet,
    roots: Vec<Root>,
    /// Whether files whose names begin with a dot are meant: they are if a pattern's name does.
    takes_hidden: bool,
}

/// Where the files of a pattern are to be sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) directory: PathBuf,
    /// How many levels of directories below it a match can lie in; 0: in the directory itself.
    pub(crate) depth: usize,
}

/// A file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) stream: usize,
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
}

impl Inbox {
    /// # Errors
    /// If a pattern cannot be understood.
    pub(crate) fn new(streams: &[Stream]) -> Result<Self, Error> {
        let patterns = streams.iter().map(|stream| {
            let globs = |patterns: &[String]| {
                let mut set = GlobSetBuilder::new();
                for pattern in patterns {
                    set.add(glob(stream, pattern)?);
                }
                set.build().map_err(|error| Error::Pattern {
                    stream: stream.name.clone(),
                    pattern: patterns.join(", "),
                    detail: error.kind().to_string(),
                })
            };
            Ok(Patterns {
                include: globs(&stream.files)?,
                exclude: globs(&stream.exclude)?,
                takes_hidden: stream.files.iter().any(|pattern| {
                    let name = pattern.rsplit('/').next().unwrap_or(pattern);
                    name.starts_with('.')
                }),
                roots: stream.files.iter().map(|pattern| root(pattern)).collect(),
            })
        });
        Ok(Self {
            streams: patterns.collect::<Result<_, Error>>()?,
        })
    }

    /// The directories where files are sought.
    pub(crate) fn roots(&self) -> impl Iterator<Item = &Root> {
        self.streams.iter().flat_map(|patterns| &patterns.roots)
    }

    /// The streams that a path feeds.
    pub(crate) fn streams_of(&self, path: &Path) -> impl Iterator<Item = usize> {
        self.streams
            .iter()
            .enumerate()
            .filter(move |(_, patterns)| patterns.matches(path))
            .map(|(stream, _)| stream)
    }

    /// Every file that is there, in no order. A directory that is missing has none; what cannot be looked
    /// at is passed over and reported through `unreadable`.
    pub(crate) fn list(&self, mut unreadable: impl FnMut(&Path, std::io::Error)) -> Vec<Listed> {
        let mut found = Vec::new();
        for (stream, patterns) in self.streams.iter().enumerate() {
            for root in &patterns.roots {
                let mut walk = Walk {
                    patterns,
                    stream,
                    above: Vec::new(),
                    found: &mut found,
                    unreadable: &mut unreadable,
                };
                walk.enter(&root.directory, root.depth);
            }
        }
        found
    }
}

impl Patterns {
    fn matches(&self, path: &Path) -> bool {
        let name = path.file_name().map_or(&[][..], OsStr::as_bytes);
        (self.takes_hidden || !name.starts_with(b"."))
            && self.include.is_match(path)
            && !self.exclude.is_match(path)
    }
}

struct Walk<'a> {
    patterns: &'a Patterns,
    stream: usize,
    /// The directories that lead here, by device and inode: a link may lead back.
    above: Vec<(u64, u64)>,
    found: &'a mut Vec<Listed>,
    unreadable: &'a mut dyn FnMut(&Path, std::io::Error),
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, depth: usize) {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.passed_over(directory, error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.passed_over(directory, error),
            };
            let path = entry.path();
            let is_directory = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => {
                    if let Err(error) = open::check(&path) {
                        self.passed_over(&path, error);
                        continue;
                    }
                    path.is_dir()
                }
                kind => kind.is_ok_and(|kind| kind.is_dir()),
            };
            if is_directory {
                if depth > 0 {
                    self.enter(&path, depth - 1);
                }
            } else if self.patterns.matches(&path) {
                self.file(path);
            }
        }
    }

    /// Walks a directory below, unless it is one above.
    fn enter(&mut self, directory: &Path, depth: usize) {
        match fs::metadata(directory) {
            Ok(metadata) => {
                let inode = (metadata.dev(), metadata.ino());
                if !self.above.contains(&inode) {
                    self.above.push(inode);
                    self.directory(directory, depth);
                    self.above.pop();
                }
            }
            Err(error) => self.passed_over(directory, error),
        }
    }

    fn file(&mut self, path: PathBuf) {
        // Follows symbolic links: what counts is the file.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => self.found.push(Listed {
                stream: self.stream,
                stat: Stat::of(&metadata),
                path,
            }),
            Ok(_) => {}
            Err(error) => self.passed_over(&path, error),
        }
    }

    fn passed_over(&mut self, path: &Path, error: std::io::Error) {
        if error.kind() != std::io::ErrorKind::NotFound {
            (self.unreadable)(path, error);
        }
    }
}

fn glob(stream: &Stream, pattern: &str) -> Result<Glob, Error> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| Error::Pattern {
            stream: stream.name.clone(),
            pattern: pattern.to_owned(),
            detail: error.kind().to_string(),
        })
}

/// The directory below which all matches of a pattern lie, and how deep.
fn root(pattern: &str) -> Root {
    let is_literal = |part: &OsStr| !part.as_bytes().iter().any(|byte| b"*?[{\\".contains(byte));
    let parts: Vec<Component<'_>> = Path::new(pattern).components().collect();
    let literal = parts
        .iter()
        .take(parts.len().saturating_sub(1))
        .take_while(|part| is_literal(part.as_os_str()))
        .count();
    // Braces may hold slashes, which `components` has cut.
    let unbounded = parts[literal..]
        .iter()
        .any(|part| part.as_os_str() == "**" || part.as_os_str().as_bytes().contains(&b'{'));
    Root {
        directory: parts[..literal].iter().collect(),
        depth: match unbounded {
            true => DEPTH_MAX,
            false => (parts.len() - literal).saturating_sub(1),
        },
    }
}

/// How deep directories are searched for `**`.
const DEPTH_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stream;

    #[test]
    fn roots_are_the_literal_beginnings() {
        let check = |pattern: &str, directory: &str, depth| {
            let expected = Root {
                directory: directory.into(),
                depth,
            };
            assert_eq!(root(pattern), expected, "{pattern}");
        };
        check("/data/*.csv", "/data", 0);
        check("/data/a.csv", "/data", 0);
        check("/data/*/in-?.csv", "/data", 1);
        check("/data/**/*.csv", "/data", DEPTH_MAX);
        check("/{a,b/c}/x.csv", "/", DEPTH_MAX);
        check("/*.csv", "/", 0);
    }

    #[test]
    fn files_are_found_by_pattern() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("sub/deep")).unwrap();
        fs::create_dir(at("dir.csv")).unwrap();
        let odd = directory.path().join(OsStr::from_bytes(b"odd \n\xff.csv"));
        for path in [
            at("a.csv"),
            at("b.txt"),
            at(".a.csv"),
            at("skip.csv"),
            at("sub/c.csv"),
            at("sub/deep/d.csv"),
            odd.clone(),
        ] {
            fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink(at("b.txt"), at("link.csv")).unwrap();
        let check = |patterns: &[&str], expected: &[PathBuf]| {
            let mut stream = stream();
            let absolute = |pattern: &&str| format!("{}/{pattern}", directory.path().display());
            stream.files = patterns.iter().map(absolute).collect();
            stream.exclude = vec![absolute(&"skip*")];
            let inbox = Inbox::new(&[stream]).unwrap();
            let mut found: Vec<PathBuf> = inbox
                .list(|path, error| panic!("{}: {error}", path.display()))
                .into_iter()
                .map(|listed| listed.path)
                .collect();
            found.sort();
            let mut expected = expected.to_vec();
            expected.sort();
            assert_eq!(found, expected, "{patterns:?}");
            assert!(found.iter().all(|path| inbox.streams_of(path).eq([0])));
        };
        check(&["*.csv"], &[at("a.csv"), at("link.csv"), odd]);
        check(&["a.csv"], &[at("a.csv")]);
        check(&["*/*.csv"], &[at("sub/c.csv")]);
        check(&["sub/**/*.csv"], &[at("sub/c.csv"), at("sub/deep/d.csv")]);
        check(&[".*.csv"], &[at(".a.csv")]);
        check(&["missing/*.csv"], &[]);
    }
}
