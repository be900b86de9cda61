//! Opening fjall databases, with the settings that the log needs.

use std::fs;
use std::io;
use std::path::Path;

use fjall::config::{CompressionPolicy, FilterPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions};

use crate::files::io_error;
use crate::full::Full;
use crate::{Error, files};

/// How much a keyspace holds in memory before it is written out as a table, at most.
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;
/// What the keyspaces of one database share of it; each has a 32nd of the most in any case.
pub(crate) const MEMTABLES_BYTES: u64 = 64 << 20;
/// fjall's journals are kept below this, 64 MiB and the one being written.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Block cache of one database for each keyspace that is read, and its maximum. A log is read in order, so little is read
/// twice.
const CACHE_BYTES: u64 = 1 << 20;
const CACHE_BYTES_MAX: u64 = 4 << 20;
/// The file descriptors that one database keeps.
const FILES_MAX: usize = 64;

/// Opens a database and creates it if it does not exist; `read` is the number of keyspaces that are read in order.
pub(crate) fn open(path: &Path, read: u32) -> fjall::Result<Database> {
    let cache_bytes = CACHE_BYTES * u64::from(read);
    Database::builder(path)
        // Batches are compressed already.
        .journal_compression(CompressionType::None)
        .max_journaling_size(JOURNAL_BYTES)
        .worker_threads(1)
        .cache_size(cache_bytes.min(CACHE_BYTES_MAX))
        .max_cached_files(Some(FILES_MAX))
        .open()
}

/// Opens a keyspace and creates it, as one of `count`, if it does not exist.
pub(crate) fn keyspace(db: &Database, name: &str, count: u32) -> fjall::Result<Keyspace> {
    let memtable_bytes = MEMTABLES_BYTES / u64::from(count.max(1));
    db.keyspace(name, || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(memtable_bytes.clamp(MEMTABLE_BYTES_MAX / 32, MEMTABLE_BYTES_MAX))
            .data_block_compression_policy(CompressionPolicy::disabled())
            // Keys are found by range, for which a filter is of no use.
            .filter_policy(FilterPolicy::disabled())
    })
}

/// Refuses what fjall does not survive: a link or a directory with the name of one of its files.
pub(crate) fn check_entries(dir: &Path) -> Result<(), Error> {
    for path in files::entries(dir)? {
        let metadata =
            fs::symlink_metadata(&path).map_err(|error| io_error("read", &path, error))?;
        let is_named_as_dir = path.file_name().is_some_and(|name| {
            name == "keyspaces" || name == "tables" || is_number(name) && dir.ends_with("keyspaces")
        });
        if is_named_as_dir && metadata.is_dir() {
            check_entries(&path)?;
        } else if is_named_as_dir || !metadata.is_file() {
            let expected = if is_named_as_dir { "directory" } else { "file" };
            return Err(Error::corrupt(
                path,
                format!("it is not a plain {expected}"),
            ));
        }
    }
    Ok(())
}

fn is_number(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.parse::<u64>().is_ok())
}

/// An error of fjall's, said as ours: damage as [`Error::Corrupt`], a refusal of the system as
/// [`Error::Io`].
pub(crate) fn store_error(act: &'static str, path: &Path, error: fjall::Error) -> Error {
    use fjall::LsmError;

    match error {
        fjall::Error::Locked => Error::Locked {
            path: path.to_owned(),
        },
        fjall::Error::Io(source) | fjall::Error::Storage(LsmError::Io(source)) => {
            if means_damage(&source) {
                return corrupt(path, act, &source);
            }
            Error::Io {
                act,
                path: path.to_owned(),
                source,
            }
        }
        fjall::Error::Poisoned => Error::Store {
            act,
            path: path.to_owned(),
            // fjall does not report the error of its own thread.
            detail: "an earlier write failed".to_owned(),
            full: Full::of_disk(path),
        },
        fjall::Error::Storage(LsmError::ChecksumMismatch { .. }) => {
            Error::corrupt(path, format!("{act}: a checksum does not match"))
        }
        damaged => corrupt(path, act, &damaged),
    }
}

/// Whether an error comes from what the files of a database hold, or from files that are missing, and not from a
/// system that refuses them for now. fjall seeks and reads where a damaged file says, so that nearly any may.
fn means_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{
        Interrupted, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        WouldBlock,
    };

    let is_refusal = matches!(
        error.kind(),
        Interrupted
            | OutOfMemory
            | PermissionDenied
            | QuotaExceeded
            | ReadOnlyFilesystem
            | StorageFull
            | WouldBlock
    );
    // No descriptor left, of the process or the system; or the disk cannot read or write.
    let is_limit = rustix::io::Errno::from_io_error(error).is_some_and(|errno| {
        matches!(
            errno,
            rustix::io::Errno::MFILE | rustix::io::Errno::NFILE | rustix::io::Errno::IO
        )
    });
    !is_refusal && !is_limit
}

fn corrupt(path: &Path, act: &'static str, error: &dyn std::error::Error) -> Error {
    Error::corrupt(path, format!("{act}: {error}"))
}
