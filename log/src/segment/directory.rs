//! The directory of a segment: how it is made durably, named, measured and removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::db::SegmentDb;
use super::{Header, Range, Summary};
use crate::Error;
use crate::files::{self, io_error};

/// End of the name of a directory that is to be removed.
pub(crate) const DELETED: &str = ".deleted";

/// Frees the journal of a segment whose database is closed and has written everything into tables, and writes the
/// segment's summary.
pub(crate) fn write_summary(
    dir: &Path,
    sealed_at_ms: i64,
    ranges: Vec<Range>,
) -> Result<Summary, Error> {
    empty_journal(&db_dir(dir))?;
    let summary = Summary {
        sealed_at_ms,
        bytes: disk_bytes(dir)?,
        ranges,
    };
    summary.write(dir)?;
    Ok(summary)
}

pub(crate) fn rename_away(dir: &Path, ending: &str) -> Result<PathBuf, Error> {
    let mut name = dir.as_os_str().to_owned();
    name.push(ending);
    let renamed = PathBuf::from(name);
    fs::rename(dir, &renamed).map_err(|source| io_error("rename", dir, source))?;
    files::sync_parent(dir)?;
    Ok(renamed)
}

/// Removes a directory that was renamed for it.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    fs::remove_dir_all(dir).map_err(|source| io_error("remove", dir, source))
}

pub(crate) fn db_dir(dir: &Path) -> PathBuf {
    dir.join("db")
}

/// The name of a segment's directory.
pub(crate) fn dir_name(number: u64) -> String {
    format!("{number:010}")
}

/// Makes a new segment durably, under a temporary name until it is whole: a crash leaves nothing or all of it.
pub(crate) fn create(topic_dir: &Path, header: &Header) -> Result<PathBuf, Error> {
    let dir = topic_dir.join(dir_name(header.number));
    let temporary = files::temporary_name(&dir);
    match fs::remove_dir_all(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &temporary, error));
        }
        _ => {}
    }
    files::create_dir(&temporary)?;
    header.write(&temporary)?;
    SegmentDb::create(&db_dir(&temporary), header)?;
    finish(&temporary, &dir)?;
    Ok(dir)
}

/// Renames the directory of a closed database durably from its temporary name.
pub(crate) fn finish(temporary: &Path, path: &Path) -> Result<(), Error> {
    // fjall does not fsync all of the directories it makes.
    walk(temporary, &mut |entry, is_dir| {
        if is_dir {
            files::sync_dir(entry)
        } else {
            Ok(())
        }
    })?;
    files::sync_dir(temporary)?;
    fs::rename(temporary, path).map_err(|source| io_error("rename", temporary, source))?;
    files::sync_parent(path)
}

/// Frees the journal of a closed database that has written everything into tables. An empty journal is what
/// fjall itself has after it has begun a new one.
fn empty_journal(db_dir: &Path) -> Result<(), Error> {
    let journals = journals(db_dir)?;
    let [journal] = journals.as_slice() else {
        return Ok(());
    };
    File::options()
        .write(true)
        .open(journal)
        .and_then(|file| {
            file.set_len(0)?;
            file.sync_all()
        })
        .map_err(|source| io_error("empty", journal, source))
}

/// The journals of a database, in no order.
pub(crate) fn journals(db_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = files::entries(db_dir)?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    Ok(paths)
}

/// Size of a directory on disk in bytes.
fn disk_bytes(dir: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    walk(dir, &mut |entry, is_dir| {
        if !is_dir {
            let metadata = fs::metadata(entry);
            bytes += metadata
                .map_err(|source| io_error("read", entry, source))?
                .len();
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Calls `each` with everything below a directory and whether it is a directory.
fn walk(dir: &Path, each: &mut impl FnMut(&Path, bool) -> Result<(), Error>) -> Result<(), Error> {
    let list = || {
        fs::read_dir(dir)?
            .map(|entry| {
                let entry = entry?;
                Ok((entry.path(), entry.file_type()?.is_dir()))
            })
            .collect::<io::Result<Vec<_>>>()
    };
    for (path, is_dir) in list().map_err(|source| io_error("list", dir, source))? {
        if is_dir {
            walk(&path, each)?;
        }
        each(&path, is_dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_segment_says_what_it_is_and_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let header = Header::example();
        // The rest of an earlier attempt is replaced.
        fs::create_dir_all(dir.path().join("0000000007.tmp/db/keyspaces")).unwrap();
        let path = create(dir.path(), &header).unwrap();
        assert_eq!(path, dir.path().join("0000000007"));
        assert_eq!(Header::read(&path).unwrap(), header);
        assert_eq!(Summary::read(&path, 2).unwrap(), None);
        let db = SegmentDb::open(&db_dir(&path), 2).unwrap();
        assert_eq!(db.begun_at_ms().unwrap(), None);
        db.check_ends().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
