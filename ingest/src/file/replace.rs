//! Ingest's own small files, replaced as a whole.

use std::fs;
use std::io;
use std::path::Path;

use crate::clock::now_ms;

/// Gives a file the name of another one. A directory that has the name is set aside.
pub(crate) fn replace(file: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(file, path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!(".damaged-{}", now_ms()));
            fs::rename(path, aside)?;
            fs::rename(file, path)
        }
        done => done,
    }
}
