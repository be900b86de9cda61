//! `DIR/format`: that the directory is a log, of which format, and its id.

use std::io;
use std::path::{Path, PathBuf};

use crate::files::{self, FileKind, ReadFailure};
use crate::segment::Header;
use crate::wire::Fields;
use crate::{Error, LogId};

const FILE: FileKind = FileKind {
    magic: *b"bekk log",
    version: 1,
};

/// What a log's directory has, some of which damage may have left
const ENTRIES: [&str; 6] = ["LOCK", "format", "ends", "state", "state.copy", "topics"];
/// What a new file system has
const LOST_AND_FOUND: &str = "lost+found";

/// Refuses a directory that is not empty and has nothing of a log: to make a log there, it would be closed to other users
/// with all that is in it.
pub(crate) fn refuse_other_files(dir: &Path) -> Result<(), Error> {
    if !dir.is_dir() {
        let source = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(files::io_error("use", dir, source));
    }
    if ENTRIES.iter().any(|name| dir.join(name).exists()) {
        return Ok(());
    }
    let is_other = |entry: &PathBuf| {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        name != LOST_AND_FOUND && !name.ends_with(files::TEMPORARY)
    };
    match files::entries(dir)?.into_iter().find(is_other) {
        Some(found) => Err(Error::OtherFiles {
            path: dir.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

/// Reads the log's id; a log that is new gets one. One that has lost its own gets the id that its segments name, or,
/// where it has none, another: nobody remembers an offset of it. If they disagree it is refused: with another id all
/// of its segments would be another log's.
pub(crate) fn open(dir: &Path, is_new: bool) -> Result<LogId, Error> {
    let path = dir.join("format");
    let error = match FILE.read(&path) {
        Ok(body) => match Fields::of(&body).bytes() {
            Some(id) => return Ok(LogId::from_bytes(id)),
            None => Error::corrupt(&path, "it is too short"),
        },
        Err(ReadFailure::Missing) if is_new => return write(&path, LogId::random()),
        Err(ReadFailure::Missing) => Error::corrupt(&path, "it is missing"),
        Err(ReadFailure::Damaged(detail)) => Error::corrupt(&path, detail),
        Err(ReadFailure::Failed(error)) => return Err(error),
    };
    let mut named = named_by_segments(&dir.join("topics"))?;
    let id = named.next();
    if let Some(other) = named.find(|other| Some(*other) != id) {
        let detail = format!(
            "it cannot be read, and the segments name more than one log ({} and {other}): move those of the other \
             log out of `topics`",
            id.unwrap_or(other)
        );
        return Err(Error::corrupt(&path, detail));
    }
    tracing::warn!(%error, "the log's identity is damaged; it is written again from its segments, nothing is lost");
    write(&path, id.unwrap_or_else(LogId::random))
}

fn write(path: &Path, id: LogId) -> Result<LogId, Error> {
    FILE.write(path, &id.to_bytes())?;
    Ok(id)
}

/// The log ids in the headers of all segments that can be read.
fn named_by_segments(topics: &Path) -> Result<impl Iterator<Item = LogId> + use<>, Error> {
    let mut named = Vec::new();
    if topics.is_dir() {
        for topic in files::entries(topics)?
            .iter()
            .filter(|topic| topic.is_dir())
        {
            let segments = files::entries(topic)?;
            let headers = segments
                .iter()
                .filter_map(|segment| Header::read(segment).ok());
            named.extend(headers.map(|header| header.log_id));
        }
    }
    Ok(named.into_iter())
}
