//! What a running or later ingest is asked to do: files in its directory, each with a path.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bekk_stream::FileId;

use crate::Error;

/// Where requests to read a file again are put, below the state directory.
const DIRECTORY: &str = "reread";
const BEING_WRITTEN: &str = "new";

/// Asks the ingest of a state directory to read a file again from its beginning: the one that runs, or the next.
///
/// # Errors
/// If the request cannot be written.
pub fn request_reread(state_dir: &Path, path: &Path) -> Result<(), Error> {
    let directory = state_dir.join(DIRECTORY);
    fs::create_dir_all(&directory).map_err(Error::io("make directory", &directory))?;
    let request = directory.join(FileId::random().to_string());
    let beside = request.with_extension(BEING_WRITTEN);
    File::create(&beside)
        .and_then(|mut file| {
            file.write_all(path.as_os_str().as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, &request))
        .and_then(|()| File::open(&directory)?.sync_all())
        .map_err(Error::io("write", &request))
}

/// The requests that are there: each with the file that it names.
pub(crate) fn reread_requests(state_dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let Ok(entries) = fs::read_dir(state_dir.join(DIRECTORY)) else {
        return Vec::new();
    };
    let requests = entries.flatten().map(|entry| entry.path());
    let whole = requests.filter(|request| request.extension().is_none());
    whole
        .filter_map(|request| {
            let path = PathBuf::from(OsString::from_vec(bekk_log::read_plain(&request).ok()?));
            Some((request, path))
        })
        .collect()
}
