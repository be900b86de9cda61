//! Piped inputs: standard input, kept as a file until all of it is in the log.
//!
//! A pipe cannot be read twice, so nothing of an input is read into the log before all of it is on disk. From then on it
//! is a file in an inbox of its own, with a state directory of its own, so that other ingests may run beside it.
//! **Invariant:** an input continues an earlier one of the same name only if it begins with everything that was read of
//! that one.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bekk_stream::{CsvDialect, Encoding, Finished, Stream};

use crate::Error;
use crate::ask::files::{FileStatus, files};
use crate::file::decision::FileState;
use crate::inbox::lock::lock_state;
use crate::source::{BLOCK_BYTES, Kind, kind_of};
use crate::text::notice::NoticeKind;

/// Longest name of an input, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// The inputs of one installation, held by this process.
#[derive(Debug)]
pub struct PipedInputs {
    dir: PathBuf,
    _lock: File,
}

/// An input that has been stored, before it is moved to the inbox.
#[derive(Debug)]
pub struct PipedInput {
    /// Length in bytes, as it was piped.
    pub bytes: u64,
    /// Whether a line end was added to the last line.
    pub is_completed: bool,
    part: PathBuf,
    path: PathBuf,
}

/// An input that stays on disk after a run, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptInput {
    /// Where it is.
    pub path: PathBuf,
    /// Why it stays.
    pub why: String,
}

/// Checks the name of an input: a relative path without hidden parts and without names that ingest skips.
///
/// # Errors
/// What is wrong with it.
pub fn check_input_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err("a name has 1 to 200 bytes");
    }
    if name.contains(char::is_control) {
        return Err("a name has no control characters");
    }
    let parts = Path::new(name).components();
    let is_plain = |part: Component<'_>| match part {
        Component::Normal(part) => {
            let part = part.to_string_lossy();
            !part.starts_with('.') && !part.starts_with('#') && !part.ends_with('~')
        }
        _ => false,
    };
    match parts.into_iter().all(is_plain) && !name.ends_with('/') {
        true => Ok(()),
        false => Err(
            "a name is a relative path, such as `orders.csv` or `dt=2025-01-01/orders.csv`, whose parts begin neither \
             with `.` nor with `#`, and do not end in `~`",
        ),
    }
}

impl PipedInputs {
    /// Takes the inputs below a directory for this process, and removes those that did not arrive completely.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has them.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::io("make directory", dir))?;
        bekk_log::make_private(dir).map_err(Error::log("close the directory of piped inputs"))?;
        let lock = lock_state(dir)?;
        let inputs = Self {
            dir: dir.to_owned(),
            _lock: lock,
        };
        inputs.discard()?;
        for made in [inputs.parts(), dir.join("inbox")] {
            fs::create_dir_all(&made).map_err(Error::io("make directory", &made))?;
        }
        Ok(inputs)
    }

    /// Removes what has not arrived completely.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn discard(&self) -> Result<(), Error> {
        let parts = self.parts();
        match fs::remove_dir_all(&parts) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", &parts)(error))
            }
            _ => Ok(()),
        }
    }

    /// The state directory of the ingest that reads them.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        state_dir(&self.dir)
    }

    /// The streams, with their inputs for files.
    #[must_use]
    pub fn streams(&self, streams: &[Stream]) -> Vec<Stream> {
        streams_below(&self.dir, streams)
    }

    /// Stores an input completely and durably; `None` if the flag `stop` was set before its end.
    ///
    /// # Errors
    /// If it cannot be read or stored.
    pub fn store(
        &self,
        stream: &Stream,
        name: &str,
        input: &mut impl Read,
        stop: &AtomicBool,
    ) -> Result<Option<PipedInput>, Error> {
        let part = self.parts().join("input");
        let failed = |error| Error::io("store standard input in", &part)(error);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&part)
            .map_err(failed)?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut bytes = 0;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match input.read(&mut block) {
                Ok(0) => break,
                Ok(read) => {
                    file.write_all(&block[..read]).map_err(failed)?;
                    bytes += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", Path::new("standard input"))(error)),
            }
        }
        let is_completed = end_last_line(&mut file, bytes, &stream.csv).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(Some(PipedInput {
            bytes,
            is_completed,
            part,
            path: self.inbox_of(stream).join(name),
        }))
    }

    /// Whether an earlier input with the name of this one is not yet completely in the log.
    ///
    /// # Errors
    /// If the state of the inputs cannot be read.
    pub fn has_unread_namesake(
        &self,
        input: &PipedInput,
        streams: &[Stream],
    ) -> Result<bool, Error> {
        if !input.part.exists() || !input.path.exists() {
            return Ok(false);
        }
        let known = files(&self.state_dir(), &self.streams(streams))?;
        let is_namesake = |file: &FileStatus| {
            file.path == input.path && is_at(file) && file.state != FileState::Finished
        };
        Ok(known.files.iter().any(is_namesake))
    }

    /// Moves an input to its place in the inbox, where it replaces an earlier one of its name.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn publish(&self, input: &PipedInput) -> Result<(), Error> {
        if !input.part.exists() {
            return Ok(());
        }
        let parent = input.path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(Error::io("make directory", parent))?;
        fs::rename(&input.part, &input.path).map_err(Error::io("move to", &input.path))?;
        for directory in parent
            .ancestors()
            .take_while(|path| path.starts_with(&self.dir))
        {
            let synced = File::open(directory).and_then(|opened| opened.sync_all());
            synced.map_err(Error::io("sync", directory))?;
        }
        Ok(())
    }

    /// Deletes the inputs that are completely in the log; those that stay are returned, each with the reason.
    ///
    /// # Errors
    /// If the state of the inputs cannot be read.
    pub fn clear(&self, streams: &[Stream]) -> Result<Vec<KeptInput>, Error> {
        let known = files(&self.state_dir(), &self.streams(streams))?;
        let mut kept = Vec::new();
        for file in known.files {
            if !file.path.starts_with(&self.dir) || !is_at(&file) {
                continue;
            }
            match why_kept(&file) {
                Some(why) => kept.push(KeptInput {
                    path: file.path,
                    why,
                }),
                None => fs::remove_file(&file.path).map_err(Error::io("remove", &file.path))?,
            }
        }
        Ok(kept)
    }

    fn parts(&self) -> PathBuf {
        self.dir.join("parts")
    }

    fn inbox_of(&self, stream: &Stream) -> PathBuf {
        inbox_of(&self.dir, stream)
    }
}

/// Lists the inputs that are stored below a directory, also while another process holds them.
///
/// # Errors
/// If the state of the inputs cannot be read.
pub fn stored_inputs(dir: &Path, streams: &[Stream]) -> Result<Vec<FileStatus>, Error> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut known = files(&state_dir(dir), &streams_below(dir, streams))?.files;
    known.retain(is_at);
    for file in &mut known {
        let is_aside = matches!(file.state, FileState::Blocked | FileState::Unreadable);
        let aside = file.why.take().filter(|_| is_aside);
        file.why = Some(match aside.or_else(|| why_kept(file)) {
            Some(why) => format!("standard input that was stored: {why}"),
            None => "standard input that was stored".to_owned(),
        });
    }
    Ok(known)
}

fn state_dir(dir: &Path) -> PathBuf {
    dir.join("state")
}

fn inbox_of(dir: &Path, stream: &Stream) -> PathBuf {
    dir.join("inbox").join(&stream.name)
}

/// The streams, with the inputs below a directory for files.
fn streams_below(dir: &Path, streams: &[Stream]) -> Vec<Stream> {
    let with_inputs = |stream: &Stream| {
        let inbox = inbox_of(dir, stream);
        Stream {
            files: vec![format!(
                "{}/**/*",
                globset::escape(&inbox.to_string_lossy())
            )],
            exclude: Vec::new(),
            finished: Finished::Keep,
            ..stream.clone()
        }
    };
    streams.iter().map(with_inputs).collect()
}

/// Whether a file is the one that has its path now, and not one that was replaced.
fn is_at(file: &FileStatus) -> bool {
    let found = fs::symlink_metadata(&file.path);
    found.is_ok_and(|found| (found.dev(), found.ino()) == (file.device, file.inode))
}

/// Why an input is not deleted after a run.
fn why_kept(file: &FileStatus) -> Option<String> {
    let is_cut = |kind: NoticeKind| kind == NoticeKind::LetterCut;
    if file.state != FileState::Finished {
        return Some("it is not completely in the log; the next run with `-` continues".to_owned());
    }
    if file.notices.iter().any(|notice| is_cut(notice.kind)) {
        return Some("a dead letter has only the beginning of its record".to_owned());
    }
    (file.rejects > 0).then(|| {
        "some of its records were rejected, and `bekk dead-letters retry` reads its header; the next input of this name \
         replaces it"
            .to_owned()
    })
}

/// Adds a line end to an input whose last line has none; says whether it did. Without it, a longer input of the same name,
/// as a program that failed writes it the second time, would continue in the middle of a record.
fn end_last_line(file: &mut File, bytes: u64, dialect: &CsvDialect) -> io::Result<bool> {
    let end = dialect.end();
    let [end] = end.as_bytes() else {
        return Ok(false);
    };
    if bytes == 0 || matches!(kind_of(file)?, Kind::Packed(_)) {
        return Ok(false);
    }
    let mut mark = [0; 2];
    let mut last = [0];
    let marked = file.read_at(&mut mark, 0)?;
    file.read_exact_at(&mut last, bytes - 1)?;
    let is_wide = matches!(
        dialect.encoding,
        Encoding::Utf16 | Encoding::Utf16Le | Encoding::Utf16Be
    ) || matches!(&mark[..marked], b"\xff\xfe" | b"\xfe\xff");
    // For zeros at the end ingest waits: it reports them.
    if is_wide || last == [*end] || last == [0] {
        return Ok(false);
    }
    file.write_all(&[*end])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use bekk_testing::assert_matches;

    use super::*;
    use crate::testing::stream;

    fn store(inputs: &PipedInputs, name: &str, text: &[u8]) -> PipedInput {
        let stop = AtomicBool::new(false);
        let stored = inputs.store(&stream(), name, &mut &*text, &stop);
        stored.unwrap().unwrap()
    }

    #[test]
    fn an_input_is_stored_whole_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let check = |text: &[u8], expected: &[u8]| {
            let inputs = PipedInputs::open(dir.path()).unwrap();
            let input = store(&inputs, "dt=1/a.csv", text);
            assert_eq!(input.is_completed, text != expected);
            assert_eq!(input.bytes, text.len() as u64);
            inputs.publish(&input).unwrap();
            assert_eq!(fs::read(&input.path).unwrap(), expected);
            // A second time, as after a change of the log's owner, nothing happens.
            inputs.publish(&input).unwrap();
        };
        check(b"id\n1\n", b"id\n1\n");
        check(b"id\n12", b"id\n12\n");
        check(b"id\r\n12\r", b"id\r\n12\r\n");
        check(b"", b"");
        check(b"id\n1\0\0", b"id\n1\0\0");
        check(b"\x1f\x8b\x08\0", b"\x1f\x8b\x08\0");
        check(b"\xff\xfei\0d\0", b"\xff\xfei\0d\0");
    }

    /// A process that was killed while it read leaves nothing; two processes do not read at once.
    #[test]
    fn a_part_is_no_input() {
        let dir = tempfile::tempdir().unwrap();
        let inputs = PipedInputs::open(dir.path()).unwrap();
        assert_matches!(PipedInputs::open(dir.path()), Err(Error::Locked { .. }));
        let part = store(&inputs, "a.csv", b"id\n1\n").part;
        drop(inputs);
        let inputs = PipedInputs::open(dir.path()).unwrap();
        assert!(!part.exists());
        let stopped = AtomicBool::new(true);
        let stored = inputs.store(&stream(), "a.csv", &mut &b"id\n1\n"[..], &stopped);
        assert!(stored.unwrap().is_none());
    }

    #[test]
    fn names_of_inputs_are_names_of_files() {
        for name in ["stdin", "a.csv", "dt=2025-01-01/a b.csv", "*?[x]"] {
            assert_eq!(check_input_name(name), Ok(()), "{name}");
        }
        for name in [
            "", "/a", "../a", "a/../b", ".a", "a/.b", "a~", "#a#", "a\nb", "a/",
        ] {
            assert!(check_input_name(name).is_err(), "{name}");
        }
    }
}
