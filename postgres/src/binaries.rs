//! Where PostgreSQL is installed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::account::clean_command;

/// The oldest major version that is accepted.
const OLDEST: u32 = 13;

/// The programs of one installed PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds an installed PostgreSQL of at least version 13, in `PATH` or the places that packages use.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`], which names the ways out.
    pub fn find() -> Result<Self, Error> {
        Self::find_all()
            .next()
            .ok_or_else(|| not_installed(candidates()))
    }

    /// Finds the programs for a cluster that the given major version made.
    pub(crate) fn find_for(data: &Path, major: u32) -> Result<Self, Error> {
        let mut installed = Vec::new();
        for found in Self::find_all() {
            if found.major == major {
                return Ok(found);
            }
            if !installed.contains(&found.major) {
                installed.push(found.major);
            }
        }
        if installed.is_empty() {
            return Err(not_installed(candidates()));
        }
        Err(Error::OtherVersion {
            data: data.to_owned(),
            made_by: major,
            installed: join(installed.iter().map(u32::to_string)),
        })
    }

    /// Takes the programs of one directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotInstalled`] if it does not hold a server's programs of at least version 13.
    pub fn in_directory(directory: &Path) -> Result<Self, Error> {
        Self::look(directory).ok_or_else(|| not_installed(vec![directory.to_owned()]))
    }

    /// The directory that holds `postgres`, `initdb` and `psql`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The major version, 15 for instance.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn find_all() -> impl Iterator<Item = Self> {
        candidates()
            .into_iter()
            .filter_map(|directory| Self::look(&directory))
    }

    /// A `postgres` in `PATH` may be a link or a wrapper: the link is followed, and what stands there
    /// must say its version and have its companions beside it.
    fn look(directory: &Path) -> Option<Self> {
        let postgres = directory.join("postgres").canonicalize().ok()?;
        [postgres.parent()?, directory]
            .into_iter()
            .find_map(Self::look_exactly)
    }

    fn look_exactly(directory: &Path) -> Option<Self> {
        let has = |name| directory.join(name).is_file();
        if !(has("postgres") && has("initdb") && has("psql")) {
            return None;
        }
        let major = version_of(&directory.join("postgres"))?;
        (major >= OLDEST && version_of(&directory.join("initdb")) == Some(major)).then(|| Self {
            directory: directory.to_owned(),
            major,
        })
    }
}

/// The directories to look at, in order; each once, and only those that exist.
fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .collect();
    all.extend(pg_config_directory());
    all.extend(numbered("/usr/lib/postgresql", ""));
    all.extend(numbered("/usr", "pgsql-"));
    all.push("/usr/local/pgsql/bin".into());
    all.push("/usr/libexec/postgresql".into());
    for homebrew in ["/opt/homebrew", "/usr/local", "/home/linuxbrew/.linuxbrew"] {
        all.extend(numbered(&format!("{homebrew}/opt"), "postgresql@"));
        all.push(Path::new(homebrew).join("bin"));
    }
    all.push("/Applications/Postgres.app/Contents/Versions/latest/bin".into());

    let mut seen: Vec<PathBuf> = Vec::new();
    for directory in all {
        if directory.is_dir() && !seen.contains(&directory) {
            seen.push(directory);
        }
    }
    seen
}

/// `parent/<prefix><number>/bin`, the greatest number first.
fn numbered(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join("bin")))
        })
        .collect();
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, path)| path).collect()
}

fn pg_config_directory() -> Option<PathBuf> {
    let output = clean_command(Path::new("pg_config"))
        .arg("--bindir")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(text.trim_end()))
}

/// The major version in a line such as `postgres (PostgreSQL) 15.4 (Debian 15.4-1)`.
fn version_of(program: &Path) -> Option<u32> {
    let output = clean_command(program).arg("--version").output().ok()?;
    if !output.status.success() {
        return None;
    }
    let line = String::from_utf8(output.stdout).ok()?;
    let version = line.split("(PostgreSQL) ").nth(1)?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version.get(..digits)?.parse().ok()
}

fn not_installed(looked: Vec<PathBuf>) -> Error {
    Error::NotInstalled {
        looked: join(looked.iter().map(|path| path.display().to_string())),
    }
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(directory: &Path, name: &str, line: &str) {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\necho '{line}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// One test, not two: a fork in another thread could keep a script open that is run at that moment.
    #[test]
    fn takes_only_complete_installations_of_a_known_version() {
        let found = Binaries::find().unwrap();
        assert!(found.major() >= OLDEST, "{found:?}");
        assert!(found.program("initdb").is_file());

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let refused = |what: &str| {
            let error = Binaries::in_directory(path).unwrap_err().to_string();
            assert!(
                error.contains("apt-get install postgresql"),
                "{what}: {error}"
            );
            assert!(
                error.contains(&path.display().to_string()),
                "{what}: {error}"
            );
        };
        refused("empty");
        script(
            path,
            "postgres",
            "postgres (PostgreSQL) 16.1 (Debian 16.1-1)",
        );
        refused("no initdb beside it");
        script(path, "initdb", "initdb (PostgreSQL) 15.4");
        script(path, "psql", "psql (PostgreSQL) 16.1");
        refused("another version's initdb");
        script(path, "initdb", "initdb (PostgreSQL) 16.1");
        assert_eq!(Binaries::in_directory(path).unwrap().major(), 16);
        script(path, "postgres", "postgres (PostgreSQL) 12.9");
        script(path, "initdb", "initdb (PostgreSQL) 12.9");
        refused("too old");
        script(path, "postgres", "choose a version first");
        refused("a wrapper that says no version");
    }

    #[test]
    fn numbered_directories_come_newest_first() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["9", "15", "13", "doc"] {
            fs::create_dir_all(directory.path().join(name).join("bin")).unwrap();
        }
        let found = numbered(directory.path().to_str().unwrap(), "");
        let names: Vec<_> = found
            .iter()
            .map(|path| path.parent().unwrap().file_name().unwrap())
            .collect();
        assert_eq!(names, ["15", "13", "9"]);
    }
}
