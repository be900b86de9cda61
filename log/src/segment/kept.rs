//! Second names for a segment's tables while fjall opens it.
//!
//! fjall deletes what its own manifests do not name: the tables of a keyspace whose manifest is damaged, or all
//! keyspaces if the list of them is. The second names keep what the tables hold until it has opened.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::db_dir;
use crate::Error;
use crate::files::{self, io_error};

/// Where the second names are, beside the database.
const KEPT: &str = "tables.kept";

/// Gives each table of a segment a second name, unless the file system refuses.
pub(crate) fn keep(dir: &Path) {
    if let Err(error) = link_all(dir) {
        tracing::debug!(%error, dir = %dir.display(), "tables have no second names");
    }
}

/// Forgets the second names.
pub(crate) fn forget(dir: &Path) -> Result<(), Error> {
    let kept = dir.join(KEPT);
    match fs::remove_dir_all(&kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", &kept, error))
        }
        _ => Ok(()),
    }
}

/// Where the tables of a keyspace may be.
pub(crate) fn places(dir: &Path, keyspace: u64) -> [PathBuf; 2] {
    [
        db_dir(dir).join(format!("keyspaces/{keyspace}/tables")),
        dir.join(KEPT).join(keyspace.to_string()),
    ]
}

fn link_all(dir: &Path) -> Result<(), Error> {
    for keyspace in files::entries(&db_dir(dir).join("keyspaces"))? {
        let tables = keyspace.join("tables");
        let Some(name) = keyspace.file_name().filter(|_| tables.is_dir()) else {
            continue;
        };
        let kept = dir.join(KEPT).join(name);
        for table in files::entries(&tables)? {
            fs::create_dir_all(&kept)
                .map_err(|source| io_error("make directory", &kept, source))?;
            let to = kept.join(table.file_name().unwrap_or_default());
            match fs::hard_link(&table, &to) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(io_error("link", &table, error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
