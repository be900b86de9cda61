//! Notification of changes: a hint that wakes ingest early. Polling finds the same, only later.

use std::collections::HashSet;
use std::fs;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;

use crate::inbox::{Inbox, Root};

/// "Too many open files", as Linux numbers it.
const EMFILE: i32 = 24;

/// Watches the inbox's directories with one watcher, whatever their number.
pub(crate) struct Watch {
    watcher: Option<RecommendedWatcher>,
    changed: Arc<Mutex<HashSet<PathBuf>>>,
    roots: Vec<Watched>,
    has_warned: bool,
}

struct Watched {
    root: Root,
    /// Device and inode that are watched: a directory may go and come again, or be mounted over.
    inode: Option<(u64, u64)>,
}

impl Watch {
    /// Begins to watch; `wake` is called, from another thread, when paths have changed and none was waiting
    /// to be taken.
    pub(crate) fn new(inbox: &Inbox, wake: impl Fn() + Send + 'static) -> Self {
        let changed = Arc::new(Mutex::new(HashSet::new()));
        let collected = Arc::clone(&changed);
        let handler = move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            if !is_change(event.kind) {
                return;
            }
            let mut collected = collected.lock();
            let was_empty = collected.is_empty();
            collected.extend(event.paths);
            if was_empty {
                wake();
            }
        };
        let mut roots: Vec<Watched> = Vec::new();
        for root in inbox.roots() {
            if roots.iter().all(|watched| watched.root != *root) {
                let root = root.clone();
                roots.push(Watched { root, inode: None });
            }
        }
        let mut watch = Self {
            watcher: None,
            changed,
            roots,
            has_warned: false,
        };
        match notify::recommended_watcher(handler) {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => watch.warn(&error),
        }
        watch.renew();
        watch
    }

    /// Watches directories that have appeared.
    pub(crate) fn renew(&mut self) {
        let Some(mut watcher) = self.watcher.take() else {
            return;
        };
        let mut failure = None;
        for watched in &mut self.roots {
            let directory = &watched.root.directory;
            let inode = directory
                .metadata()
                .ok()
                .map(|metadata| (metadata.dev(), metadata.ino()));
            if inode.is_none() || inode == watched.inode {
                watched.inode = inode;
                continue;
            }
            let mode = match watched.root.depth {
                0 => RecursiveMode::NonRecursive,
                _ => RecursiveMode::Recursive,
            };
            match watcher.watch(directory, mode) {
                Ok(()) => watched.inode = inode,
                Err(error) => failure = Some(error),
            }
        }
        self.watcher = Some(watcher);
        if let Some(error) = failure {
            self.warn(&error);
        }
    }

    /// The paths that have changed since they were last taken.
    pub(crate) fn take_changed(&self) -> HashSet<PathBuf> {
        let mut changed = self.changed.lock();
        mem::take(&mut *changed)
    }

    /// Says once what is missing.
    fn warn(&mut self, error: &notify::Error) {
        if mem::replace(&mut self.has_warned, true) {
            return;
        }
        let advice = match exhausted(error) {
            Some(setting) => {
                let path = Path::new("/proc/sys").join(setting.replace('.', "/"));
                let now = fs::read_to_string(path).unwrap_or_default();
                let now = now.trim();
                format!("{setting} (now {now}) is used up: raise it with `sysctl`; until then")
            }
            None => "meanwhile".to_owned(),
        };
        tracing::warn!(%error, "not all files can be watched for changes; {advice} Bekk checks them every second");
    }
}

/// The setting whose limit a failure comes from.
fn exhausted(error: &notify::Error) -> Option<&'static str> {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => Some("fs.inotify.max_user_watches"),
        // The same is said if the process has no descriptors left; then it cannot open other files either.
        notify::ErrorKind::Io(error) if error.raw_os_error() == Some(EMFILE) => {
            let has_descriptors = fs::File::open("/dev/null").is_ok();
            has_descriptors.then_some("fs.inotify.max_user_instances")
        }
        _ => None,
    }
}

/// Whether an event can mean that there is something to read; opening and reading do not.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
