//! What is known of each file, for whoever asks: whether an ingest runs or not, without the log.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bekk_stream::{FileId, Stream};

use crate::Error;
use crate::file::decision::{Decision, FileState};
use crate::file::entry::FileEntry;
use crate::inbox::lock::{Holder, holder};
use crate::inbox::{Inbox, Listed};
use crate::ledger::checkpoint::Checkpoint;
use crate::source::Packing;
use crate::source::stat::Stat;
use crate::text::notice::Notice;

/// What is known of the files of some streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The ingest that runs, if one does.
    pub running: Option<Running>,
    /// When an ingest last wrote down what it knows; `None` if none ever has.
    pub as_of: Option<SystemTime>,
    /// By stream, then path.
    pub files: Vec<FileStatus>,
    /// Files and directories that match but for their hidden or temporary names: they are not read.
    pub skipped: Vec<PathBuf>,
}

/// An ingest that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its process, if it can be seen from here.
    pub pid: Option<u32>,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// Its id; `None` if no ingest has met it yet.
    pub id: Option<FileId>,
    /// The stream that it feeds.
    pub stream: String,
    /// Its path, or the last one it had.
    pub path: PathBuf,
    /// The device that holds it.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// How it is compressed, if it is. Position and size are then those of its text.
    pub packing: Option<Packing>,
    /// All before this byte is in the log.
    pub position: u64,
    /// Its size, as far as it is known.
    pub size: u64,
    /// Records of it in the log, rejects among them.
    pub records: u64,
    /// How many of them are rejects.
    pub rejects: u64,
    /// What is to become of it.
    pub state: FileState,
    /// Why, where there is more to say.
    pub why: Option<String>,
    /// What was decided about it, the latest last.
    pub decisions: Vec<Decision>,
    /// What has been noticed of it that stops nothing.
    pub notices: Vec<Notice>,
}

impl FileStatus {
    /// How many bytes of it are not in the log.
    #[must_use]
    pub fn lag(&self) -> u64 {
        match self.state {
            FileState::Gone => 0,
            _ => self.size.saturating_sub(self.position),
        }
    }
}

/// Splits a file's reason or notice into the fault and the advice, which follows the first semicolon.
#[must_use]
pub fn fault_and_advice(text: &str) -> (&str, Option<&str>) {
    match text.split_once("; ") {
        Some((fault, advice)) => (fault, Some(advice)),
        None => (text, None),
    }
}

/// Tells of the files of some streams: those that an ingest with this state directory knows, and those in the
/// inbox that it has not met.
///
/// # Errors
/// If the checkpoint cannot be read, or a pattern cannot be understood.
pub fn files(state_dir: &Path, streams: &[Stream]) -> Result<Files, Error> {
    let path = state_dir.join("checkpoint");
    let checkpoint = Checkpoint::load(&path)?;
    let as_of = checkpoint
        .is_some()
        .then(|| path.metadata().and_then(|metadata| metadata.modified()));
    let is_configured = |name: &str| streams.iter().any(|stream| stream.name == name);
    let mut files = Vec::new();
    let mut known = HashSet::new();
    for entry in checkpoint.unwrap_or_default().files {
        if is_configured(&entry.stream) {
            let inode = (entry.stream.clone(), entry.device, entry.inode);
            // Those that are followed come first: a further one with the same inode is a content that it had before.
            let is_first = known.insert(inode);
            files.push(status(entry, is_first));
        }
    }
    let inbox = Inbox::new(streams)?;
    let mut skipped = Vec::new();
    let mut refused = Vec::new();
    let listed = inbox.list_and_skip(
        |path, error| {
            if error.kind() == std::io::ErrorKind::Unsupported {
                refused.push((path.to_owned(), error.to_string()));
            }
        },
        &mut skipped,
    );
    for (path, why) in refused {
        for stream in inbox.streams_of(&path) {
            files.push(refused_path(&path, &streams[stream].name, &why));
        }
    }
    for file in listed {
        let stream = &streams[file.stream].name;
        if known.insert((stream.clone(), file.stat.device, file.stat.inode)) {
            files.push(unmet(file, stream.clone()));
        }
    }
    files.sort_by(|a, b| (&a.stream, &a.path).cmp(&(&b.stream, &b.path)));
    files.dedup_by(|a, b| (&a.stream, &a.path, a.id) == (&b.stream, &b.path, b.id));
    skipped.retain(|path| {
        path.file_name() != Some(OsStr::new(".bekk")) && inbox.streams_of(path).next().is_none()
    });
    skipped.sort();
    skipped.dedup();
    Ok(Files {
        running: holder(&state_dir.join("LOCK")).map(|holder| Running {
            pid: match holder {
                Holder::Process(process) => Some(process),
                Holder::Unknown => None,
            },
        }),
        as_of: as_of.and_then(Result::ok),
        files,
        skipped,
    })
}

/// The streams that a path feeds.
///
/// # Errors
/// If a pattern cannot be understood.
pub fn streams_of<'a>(streams: &'a [Stream], path: &Path) -> Result<Vec<&'a Stream>, Error> {
    let inbox = Inbox::new(streams)?;
    Ok(inbox.streams_of(path).map(|at| &streams[at]).collect())
}

/// The files that match the patterns of each stream.
///
/// # Errors
/// If a pattern cannot be understood.
pub fn matched_files(streams: &[Stream]) -> Result<Vec<Vec<PathBuf>>, Error> {
    let mut files = vec![Vec::new(); streams.len()];
    for file in Inbox::new(streams)?.list(|_, _| {}) {
        files[file.stream].push(file.path);
    }
    for paths in &mut files {
        paths.sort();
    }
    Ok(files)
}

/// How many files match the patterns of each stream.
///
/// # Errors
/// If a pattern cannot be understood.
pub fn matched(streams: &[Stream]) -> Result<Vec<usize>, Error> {
    let mut counts = vec![0; streams.len()];
    // The reader of a file reports it if it is inaccessible.
    for file in Inbox::new(streams)?.list(|_, _| {}) {
        counts[file.stream] += 1;
    }
    Ok(counts)
}

/// What an entry says, and what the system says now if the file may still be there.
fn status(entry: FileEntry, is_there: bool) -> FileStatus {
    let path = entry.path().to_owned();
    let stat = Stat::at(&path).filter(|stat| is_there && entry.is_inode_of(stat));
    let size = match (&stat, entry.packing) {
        (Some(Stat { size, .. }), None) => *size,
        _ => entry.size,
    };
    let state = match entry.state {
        _ if stat.is_none() => FileState::Gone,
        FileState::Blocked => FileState::Blocked,
        FileState::Gone => FileState::Waiting,
        FileState::Finished if size > entry.position => FileState::Waiting,
        state => state,
    };
    let has_reason = matches!(
        state,
        FileState::Blocked | FileState::Unreadable | FileState::Waiting | FileState::Gone
    );
    FileStatus {
        id: Some(entry.id),
        stream: entry.stream,
        path,
        device: entry.device,
        inode: entry.inode,
        packing: entry.packing,
        position: entry.position,
        size,
        records: entry.records,
        rejects: entry.rejects,
        state,
        why: Some(entry.why).filter(|why| has_reason && !why.is_empty()),
        decisions: entry.decisions,
        notices: entry.notices,
    }
}

/// A file that no ingest has met.
fn unmet(file: Listed, stream: String) -> FileStatus {
    let why = match file.stat.size {
        0 => "it is empty",
        _ => "no ingest has met it yet",
    };
    FileStatus {
        id: None,
        stream,
        path: file.path,
        device: file.stat.device,
        inode: file.stat.inode,
        packing: None,
        position: 0,
        size: file.stat.size,
        records: 0,
        rejects: 0,
        state: FileState::Waiting,
        why: Some(why.to_owned()),
        decisions: Vec::new(),
        notices: Vec::new(),
    }
}

/// An entry that a pattern matches, but that is not a readable file
fn refused_path(path: &Path, stream: &str, why: &str) -> FileStatus {
    FileStatus {
        id: None,
        stream: stream.to_owned(),
        path: path.to_owned(),
        device: 0,
        inode: 0,
        packing: None,
        position: 0,
        size: 0,
        records: 0,
        rejects: 0,
        state: FileState::Unreadable,
        why: Some(why.to_owned()),
        decisions: Vec::new(),
        notices: Vec::new(),
    }
}
