//! What is to be done about files: the decisions of this folder are lists of steps, which `perform` takes.

use std::path::PathBuf;

use bekk_stream::FileId;

use crate::file::decision::What;
use crate::file::entry::FileEntry;
use crate::file::evidence::ContentCheck;
use crate::follow::tracked::Outside;
use crate::inbox::Listed;
use crate::text::recent::Recent;

/// A step that changes what is known of a file, or the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Notes a decision and its evidence.
    Note(FileId, What, String),
    /// Notes the name that a followed file has now.
    Rename(FileId, PathBuf),
    /// Follows a file on that has left the inbox.
    Leave(FileId, Outside),
    /// Ends with a file, of which only the log remembers anything.
    Forget(FileId),
    /// Reads on in this file what is known of another name or inode.
    Resume(Resume),
    /// Lets a content go that no file has now; it may come back compressed or restored.
    GiveUp(Lost),
    /// Ends with a file of which nothing can be read any more.
    End(FileId),
    /// Lets a file go all of which was read; it may come back under whatever name.
    LetGo(FileId),
    /// Takes the unterminated last record of a file that is closed for good.
    TakeRest(FileId),
    /// Writes a receipt, then does with the file what the stream says.
    Finish(FileId),
}

/// A known content in the file where it is now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) file: Listed,
    pub(crate) entry: FileEntry,
    pub(crate) what: What,
    pub(crate) why: String,
}

/// A known content that its inode does not have any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) entry: FileEntry,
    pub(crate) stream: usize,
    pub(crate) check: ContentCheck,
    /// Its size when it was last looked at, before another content took its place.
    pub(crate) size: u64,
    /// The bytes before its position, if they were read just now.
    pub(crate) recent: Recent,
}

/// A file to be read from its beginning, and what is to be said of it.
pub(crate) struct Fresh {
    pub(crate) file: Listed,
    pub(crate) what: What,
    pub(crate) why: String,
}
