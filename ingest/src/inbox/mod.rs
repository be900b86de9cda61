//! The inbox: which files there are for which stream.

pub(crate) mod lock;
pub(crate) mod watch;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use bekk_stream::{Stream, pattern_glob};
use globset::{Glob, GlobSet, GlobSetBuilder};

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
    /// As many as patterns, in their order.
    roots: Vec<Root>,
    /// The parts of each pattern behind its root.
    parts: Vec<Vec<String>>,
}

/// Where the files of a pattern are to be sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) directory: PathBuf,
    /// How many levels of directories below it a match can lie in; 0: in the directory itself.
    pub(crate) depth: usize,
}

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
                roots: stream.files.iter().map(|pattern| root(pattern).0).collect(),
                parts: stream.files.iter().map(|pattern| root(pattern).1).collect(),
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

    /// Every file that is there, in no order. A directory that is missing has none; inaccessible files are skipped
    /// and reported through `unreadable`.
    pub(crate) fn list(&self, unreadable: impl FnMut(&Path, std::io::Error)) -> Vec<Listed> {
        self.list_and_skip(unreadable, &mut Vec::new())
    }

    /// As [`Inbox::list`]; `skipped` gets the files and directories that match but for their hidden or temporary names.
    pub(crate) fn list_and_skip(
        &self,
        mut unreadable: impl FnMut(&Path, std::io::Error),
        skipped: &mut Vec<PathBuf>,
    ) -> Vec<Listed> {
        let mut found = Vec::new();
        for (stream, patterns) in self.streams.iter().enumerate() {
            for root in &patterns.roots {
                let mut walk = Walk {
                    patterns,
                    stream,
                    above: Vec::new(),
                    found: &mut found,
                    skipped,
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
        self.include.is_match(path) && !self.exclude.is_match(path) && !self.is_skipped(path)
    }

    /// Whether a path that matches is not meant all the same: it lies in a hidden directory, or is a hidden file, or one
    /// that a program makes beside another, and no pattern that it matches names such.
    fn is_skipped(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        let is_marked = memchr::memchr3_iter(b'.', b'~', b'#', bytes).any(|at| is_edge(bytes, at));
        if !is_marked && !path.iter().any(|part| is_made_beside(part.as_bytes())) {
            return false;
        }
        let matching = self.include.matches(path);
        matching.into_iter().all(|at| {
            let parts = &self.parts[at];
            let below = path.strip_prefix(&self.roots[at].directory).unwrap_or(path);
            let mut names = below.components().map(|part| part.as_os_str().as_bytes());
            let name = names.next_back().unwrap_or_default();
            let pattern = parts.last().map(String::as_bytes).unwrap_or_default();
            !names_kind(name, pattern)
                || names.any(|directory| is_hidden(directory) && !has_hidden(parts))
        })
    }

    /// Whether a directory is entered: a hidden one is if a pattern names a hidden one.
    fn enters(&self, directory: &Path) -> bool {
        let name = directory.file_name().map_or(&[][..], OsStr::as_bytes);
        !is_hidden(name) || self.parts.iter().any(|parts| has_hidden(parts))
    }
}

/// Whether a mark stands where it makes a name one of those that are skipped.
fn is_edge(path: &[u8], at: usize) -> bool {
    let begins = at == 0 || path[at - 1] == b'/';
    let ends = at + 1 == path.len();
    begins || ends
}

/// Whether a name begins with a dot, or is that of a directory in which Spark and Hadoop keep what is not committed yet.
fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".") || WORK_DIRECTORIES.contains(&name)
}

/// Directories that Spark, Hadoop and Delta Lake make beside a table's files
const WORK_DIRECTORIES: [&[u8]; 3] = [b"_temporary", b"_spark_metadata", b"_delta_log"];
/// Beginnings of the names of files that Spark and Hadoop make beside a table's files
const MARKERS: [&[u8]; 3] = [b"_SUCCESS", b"_committed_", b"_started_"];
/// Ends of the names that files have while a browser or WinSCP receives them
const PARTIAL: [&[u8]; 3] = [b".filepart", b".crdownload", b".partial"];

/// Whether a name is one that a program gives to what it makes beside files, or to a file that is not complete.
fn is_made_beside(name: &[u8]) -> bool {
    WORK_DIRECTORIES.contains(&name) || is_marker(name) || is_partial(name)
}

fn is_marker(name: &[u8]) -> bool {
    MARKERS.iter().any(|begin| name.starts_with(begin))
}

fn is_partial(name: &[u8]) -> bool {
    PARTIAL.iter().any(|end| name.ends_with(end))
}

/// Whether a pattern's directories behind its root have a hidden one.
fn has_hidden(parts: &[String]) -> bool {
    let directories = parts
        .split_last()
        .map_or(&[][..], |(_, directories)| directories);
    directories.iter().any(|part| is_hidden(part.as_bytes()))
}

/// Whether a name is an ordinary one, or of the kind that the pattern's name is of: hidden (`.a.csv`, `.~lock.a.csv#`), an
/// editor's (`#a.csv#`, `a.csv~`), a marker of Spark's, or that of a file that is not complete.
fn names_kind(name: &[u8], pattern: &[u8]) -> bool {
    let is_mark = |name: &[u8]| name.starts_with(b"#") && name.ends_with(b"#");
    let is_copy = |name: &[u8]| name.ends_with(b"~");
    (!is_hidden(name) || is_hidden(pattern))
        && (!is_mark(name) || is_mark(pattern))
        && (!is_copy(name) || is_copy(pattern))
        && (!is_marker(name) || is_marker(pattern))
        && (!is_partial(name) || is_partial(pattern))
}

struct Walk<'a> {
    patterns: &'a Patterns,
    stream: usize,
    /// The directories that lead here, by device and inode: a link may lead back.
    above: Vec<(u64, u64)>,
    found: &'a mut Vec<Listed>,
    skipped: &'a mut Vec<PathBuf>,
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
                if depth > 0 && self.patterns.enters(&path) {
                    self.enter(&path, depth - 1);
                } else if depth > 0 {
                    self.skipped.push(path);
                }
            } else if self.patterns.matches(&path) {
                self.file(path);
            } else if self.patterns.include.is_match(&path) && self.patterns.is_skipped(&path) {
                self.skipped.push(path);
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
            Ok(metadata) => self.passed_over(&path, no_file(metadata.file_type())),
            Err(error) => self.passed_over(&path, error),
        }
    }

    fn passed_over(&mut self, path: &Path, error: std::io::Error) {
        if error.kind() != std::io::ErrorKind::NotFound {
            (self.unreadable)(path, error);
        }
    }
}

/// Why what is no file is not read.
fn no_file(kind: fs::FileType) -> std::io::Error {
    let why = match kind {
        kind if kind.is_fifo() => {
            "it is a named pipe (FIFO), which cannot be read again after a crash; let its writer write to a \
            file in the inbox, or load what it writes until its end: bekk up --once - < PIPE"
        }
        kind if kind.is_dir() => "it is a directory",
        _ => "it is a device or a socket, not a file",
    };
    std::io::Error::new(std::io::ErrorKind::Unsupported, why)
}

fn glob(stream: &Stream, pattern: &str) -> Result<Glob, Error> {
    pattern_glob(pattern).map_err(|error| Error::Pattern {
        stream: stream.name.clone(),
        pattern: pattern.to_owned(),
        detail: error.kind().to_string(),
    })
}

/// The directory below which all matches of a pattern lie, and how deep; and the parts of the pattern behind it.
fn root(pattern: &str) -> (Root, Vec<String>) {
    let parts: Vec<Component<'_>> = Path::new(pattern).components().collect();
    let directory: Vec<OsString> = parts
        .iter()
        .take(parts.len().saturating_sub(1))
        .map_while(|part| literal(&part.as_os_str().to_string_lossy()))
        .collect();
    let below = &parts[directory.len()..];
    // Braces may hold slashes, which `components` has cut.
    let unbounded = below
        .iter()
        .any(|part| part.as_os_str() == "**" || part.as_os_str().as_bytes().contains(&b'{'));
    let root = Root {
        depth: match unbounded {
            true => DEPTH_MAX,
            false => below.len().saturating_sub(1),
        },
        directory: directory.iter().collect(),
    };
    let below = below
        .iter()
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    (root, below.collect())
}

/// The only name that a part of a pattern matches; `None` if there are several. `[*]` is a star.
fn literal(part: &str) -> Option<OsString> {
    let mut name = String::new();
    let mut rest = part.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' | '?' | '{' | '\\' => return None,
            '[' => {
                let class: Vec<char> = rest.by_ref().take(2).collect();
                match class[..] {
                    [only, ']'] if !matches!(only, '!' | '^') => name.push(only),
                    _ => return None,
                }
            }
            c => name.push(c),
        }
    }
    Some(name.into())
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
            assert_eq!(root(pattern).0, expected, "{pattern}");
        };
        check("/data/*.csv", "/data", 0);
        check("/data/a.csv", "/data", 0);
        check("/data/*/in-?.csv", "/data", 1);
        check("/data/**/*.csv", "/data", DEPTH_MAX);
        check("/{a,b/c}/x.csv", "/", DEPTH_MAX);
        check("/*.csv", "/", 0);
        check("/a [[]b[]]/[{]c[}]/*.csv", "/a [b]/{c}", 0);
        check("/a[bc]/d[!]/*.csv", "/", 2);
    }

    /// Files that programs make beside others, or have not completed, are not read unless a pattern names them.
    #[test]
    fn names_of_programs_are_passed_over() {
        let mut stream = stream();
        stream.files = vec![
            "/in/**/*".to_owned(),
            "/named/_temporary/*.partial".to_owned(),
        ];
        let inbox = Inbox::new(&[stream]).unwrap();
        for (path, is_read) in [
            ("/in/part-0.csv", true),
            ("/in/_part.csv", true),
            ("/in/_SUCCESS", false),
            ("/in/_committed_123", false),
            ("/in/_temporary/0/part-0.csv", false),
            ("/in/_delta_log/0.json", false),
            ("/in/a.csv.filepart", false),
            ("/in/a.csv~", false),
            ("/named/_temporary/a.partial", true),
        ] {
            assert_eq!(
                inbox.streams_of(Path::new(path)).count() > 0,
                is_read,
                "{path}"
            );
        }
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
        // Hidden directories and editors' files are read only if a pattern names them.
        for name in [
            "a.csv~",
            "#a.csv#",
            ".~lock.a.csv#",
            ".hidden/e.csv",
            "sub/.deep/f.csv",
        ] {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), "x").unwrap();
        }
        check(&["sub/**/*"], &[at("sub/c.csv"), at("sub/deep/d.csv")]);
        check(&["sub/.deep/*.csv"], &[at("sub/.deep/f.csv")]);
        check(&["**/.deep/*.csv"], &[at("sub/.deep/f.csv")]);
        check(&[".hidden/**/*.csv"], &[at(".hidden/e.csv")]);
        check(&["a*"], &[at("a.csv")]);
        check(&["*~"], &[at("a.csv~")]);
        check(&["[#]*#"], &[]);
        check(&["#*#"], &[at("#a.csv#")]);
        check(&["missing/*.csv"], &[]);
        let odd = "a [b]/{c}/d\\e*.csv";
        fs::create_dir_all(at(odd).parent().unwrap()).unwrap();
        fs::create_dir_all(at("a b/c")).unwrap();
        fs::write(at(odd), "x").unwrap();
        fs::write(at("a b/c/de.csv"), "x").unwrap();
        check(&[&bekk_stream::escape_pattern(odd)], &[at(odd)]);
    }
}
