//! Who has files open for writing: what they have written may not be all that they will write.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether a file is open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    Process(u32),
    Nobody,
    /// It cannot be seen from here.
    Unknown,
}

/// The files that were open for writing at a moment, as far as that can be seen.
#[derive(Debug, Default)]
pub(crate) struct Writers {
    /// By device and inode: a process.
    open: HashMap<(u64, u64), u32>,
    /// The users of whose processes nothing can be seen.
    hidden: BTreeSet<u32>,
    /// Whether processes can be seen at all.
    is_known: bool,
}

/// The part of the flags in `/proc/PID/fdinfo/FD` that is not zero where a file is open for writing.
const ACCESS_MODE: u32 = 0o3;

impl Writers {
    /// Looks at the open files of all processes.
    pub(crate) fn now() -> Self {
        Self::in_proc(Path::new("/proc"))
    }

    fn in_proc(proc: &Path) -> Self {
        let mut writers = Self::default();
        let Ok(processes) = fs::read_dir(proc) else {
            return writers;
        };
        for process in processes.flatten() {
            let name = process.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            writers.is_known = true;
            if writers.look(pid, &process.path()).is_none()
                && let Ok(metadata) = process.metadata()
            {
                writers.hidden.insert(metadata.uid());
            }
        }
        writers
    }

    /// Looks at one process; `None` if that is not allowed. One that ends meanwhile has nothing open.
    fn look(&mut self, pid: u32, process: &Path) -> Option<()> {
        let open = match fs::read_dir(process.join("fd")) {
            Ok(open) => open,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return None,
            Err(_) => return Some(()),
        };
        for descriptor in open.flatten() {
            let Ok(metadata) = fs::metadata(descriptor.path()) else {
                continue;
            };
            if !metadata.is_file() {
                continue;
            }
            let info = process.join("fdinfo").join(descriptor.file_name());
            if fs::read_to_string(info).is_ok_and(|info| is_writing(&info)) {
                self.open.insert((metadata.dev(), metadata.ino()), pid);
            }
        }
        Some(())
    }

    /// Who has a file open for writing. A process of which nothing can be seen counts if its user could have opened
    /// the file.
    pub(crate) fn of(&self, file: &Metadata) -> Writer {
        const WRITABLE_BY_GROUP: u32 = 0o020;
        const WRITABLE_BY_ALL: u32 = 0o002;
        if let Some(pid) = self.open.get(&(file.dev(), file.ino())) {
            return Writer::Process(*pid);
        }
        let root = 0;
        let others = self.hidden.iter().any(|user| *user != root);
        let is_hidden = self.hidden.contains(&file.uid())
            || (file.mode() & WRITABLE_BY_ALL != 0 && others)
            || (file.mode() & WRITABLE_BY_GROUP != 0 && others && file.gid() != own_group());
        match self.is_known && !is_hidden {
            true => Writer::Nobody,
            false => Writer::Unknown,
        }
    }
}

fn own_group() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |metadata| metadata.gid())
}

fn is_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & ACCESS_MODE != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn who_writes_is_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let metadata = file.as_file().metadata().unwrap();
        let own = Writer::Process(std::process::id());
        assert_eq!(Writers::now().of(&metadata), own);
        let path = file.into_temp_path();
        assert_eq!(Writers::now().of(&metadata), Writer::Nobody);
        let reading = File::open(&path).unwrap();
        assert_eq!(Writers::now().of(&metadata), Writer::Nobody);
        drop(reading);
        let appending = File::options().append(true).open(&path).unwrap();
        assert_eq!(Writers::now().of(&metadata), own);
        drop(appending);
    }

    #[test]
    fn what_cannot_be_seen_is_unknown() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(Writers::default().of(&metadata), Writer::Unknown);
        let of_hidden = |user| Writers {
            hidden: [user].into(),
            is_known: true,
            ..Writers::default()
        };
        assert_eq!(of_hidden(metadata.uid()).of(&metadata), Writer::Unknown);
        // Another user could not have opened it.
        assert_eq!(of_hidden(metadata.uid() + 1).of(&metadata), Writer::Nobody);
    }

    #[test]
    fn flags_tell_how_a_file_is_open() {
        assert!(is_writing("pos:\t0\nflags:\t0100001\nmnt_id:\t29\n"));
        assert!(is_writing("flags:\t02102002\n"));
        assert!(!is_writing("pos:\t0\nflags:\t0100000\n"));
        assert!(!is_writing(""));
    }
}
