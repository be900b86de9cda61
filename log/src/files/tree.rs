//! Directories copied with all that they hold.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{entries, io_error, private};
use crate::Error;

/// Copies a directory, and makes the copies durable. With links, tables get second names instead: they never change.
pub(crate) fn copy_tree(from: &Path, to: &Path, with_links: bool) -> Result<(), Error> {
    make_dir(to)?;
    let is_tables = from.file_name().is_some_and(|name| name == "tables");
    for path in entries(from)? {
        let name = path.file_name().unwrap_or_default();
        let into = to.join(name);
        if name == "tables.kept" {
            continue; // second names that an opening has left
        }
        if path.is_dir() {
            copy_tree(&path, &into, with_links)?;
        } else if !(with_links && is_tables && fs::hard_link(&path, &into).is_ok()) {
            copy_file(&path, &into)?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), Error> {
    match private::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(io_error("make directory", path, error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let copied = fs::copy(from, to).and_then(|_| File::open(to)?.sync_all());
    copied.map_err(|source| io_error("copy", from, source))
}
