//! What the system says of a file.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bekk_stream::FirstSeen;

/// What the system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    /// When its content, its name or anything else of it was changed: that cannot be set.
    pub(crate) touched: SystemTime,
}

impl Stat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            touched: {
                let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
                let nanos = u32::try_from(metadata.ctime_nsec()).unwrap_or(0);
                SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
            },
        }
    }

    /// What the system says of a path, if it is a file or a link to one.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        metadata.is_file().then(|| Self::of(&metadata))
    }

    /// What the system says of a path, if it is a file itself, and not a link to one.
    pub(crate) fn at_no_link(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        metadata.is_file().then(|| Self::of(&metadata))
    }

    /// Whether nothing tells that the content has changed since.
    pub(crate) fn has_content_of(&self, earlier: &Self) -> bool {
        let content = |stat: &Self| (stat.device, stat.inode, stat.size, stat.modified);
        content(self) == content(earlier)
    }

    /// What tells whether a file has been written to: its size on disk, and when that was, in microseconds.
    pub(crate) fn on_disk(&self) -> (u64, i64) {
        let since = self.modified.duration_since(SystemTime::UNIX_EPOCH);
        let micros = since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0));
        (self.size, micros)
    }

    /// How long the file has not been written to.
    pub(crate) fn unchanged_for(&self) -> Duration {
        self.modified.elapsed().unwrap_or_default()
    }

    /// How long nobody has done anything to the file. A program that compresses a file gives the new file the old
    /// file's time of modification, and only then removes the old file.
    pub(crate) fn untouched_for(&self) -> Duration {
        self.touched.elapsed().unwrap_or_default()
    }
}

/// What a file is when it is met.
pub(crate) fn first_seen(path: &Path, stat: &Stat) -> FirstSeen {
    let since = |time: SystemTime| match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    };
    FirstSeen {
        path: path.as_os_str().as_bytes().to_vec(),
        modified_us: since(stat.modified),
    }
}
