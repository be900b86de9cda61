//! A file that was read before, found again.

use std::io;
use std::path::{Path, PathBuf};

use bekk_stream::{Finished, Stream};

use crate::source::{Source, open};

/// Finds a file of a stream where it was, or where finished files are moved to. `is_it` compares what is found there with
/// the file.
///
/// # Errors
/// If a file cannot be opened or compared; with its path.
pub(super) fn find_again(
    path: &Path,
    stream: &Stream,
    mut is_it: impl FnMut(&mut Source) -> io::Result<bool>,
) -> Result<Option<(PathBuf, Source)>, (PathBuf, io::Error)> {
    let mut paths = vec![path.to_owned()];
    if let (Finished::Move(directory), Some(name)) = (&stream.finished, path.file_name()) {
        paths.push(directory.join(name));
    }
    for path in paths {
        let mut source = match open::file(&path).and_then(Source::new) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err((path, error)),
        };
        match is_it(&mut source) {
            Ok(true) => return Ok(Some((path, source))),
            Ok(false) => {}
            Err(error) => return Err((path, error)),
        }
    }
    Ok(None)
}
