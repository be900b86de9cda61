//! A stream that is added to a configuration: its pattern, a try of it, and the file that is written.

use std::fs::{self, File, Metadata};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bekk_stream::{Config, ConfigError, escape_pattern};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::screen::plural;

/// Most records that are tried under an inferred configuration.
const TRIED_MAX: u64 = 10_000;
/// How long another process may change the same configuration
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Most rejected records that are shown.
const SHOWN_MAX: usize = 3;

/// Keeps other processes from changing a configuration until the lock is dropped: of two that add a stream to the same
/// text, the later one would remove the other's. Locks the file, and the directory only if there is no file yet, because an
/// ingest that runs holds a lock on the directories of its files. Where files take no locks, nothing is kept.
///
/// # Errors
/// If another process holds the lock for [`LOCK_WAIT`], or the file cannot be opened.
pub(super) fn lock(out: &Path) -> Result<File> {
    let path = std::path::absolute(out).with_context(|| format!("find `{}`", out.display()))?;
    let begun = Instant::now();
    loop {
        let place = match path.exists() {
            true => &path,
            false => path.parent().unwrap_or(Path::new("/")),
        };
        let lock = File::open(place).with_context(|| format!("open `{}`", place.display()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if begun.elapsed() < LOCK_WAIT => thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => bail!(
                "change `{}`: another process has locked `{}`; run the command again when that one has ended",
                out.display(),
                place.display()
            ),
            // Another process may have made or replaced the file meanwhile.
            Ok(()) if !is_at(&lock, place) || place != path && path.exists() => {}
            _ => return Ok(lock),
        }
    }
}

/// Whether a file that was opened is still the one of its name.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: Metadata| (found.dev(), found.ino());
    let opened = file.metadata().map(place);
    opened.is_ok_and(|opened| {
        fs::metadata(path)
            .map(place)
            .is_ok_and(|named| named == opened)
    })
}

/// Replaces a file's text in one step.
pub(super) fn replace(out: &Path, text: &str) -> Result<()> {
    let beside = out.with_extension("toml.new");
    bekk_ingest::create_file(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, out))
        .with_context(|| format!("write `{}`", out.display()))
}

pub(super) fn parse(text: &str, out: &Path) -> Result<Config, ConfigError> {
    Config::parse(text, out, Path::new("/"), &|_| Some(String::new()))
}

/// Reads the file's first records as `bekk up` would under the inferred text, and adds the first rejects to the text as
/// comments.
///
/// # Errors
/// If the file would be set aside.
pub(super) fn tried(file: &Path, text: &str, out: &Path) -> Result<String> {
    let config = parse(text, out)?;
    let stream = config.streams.first().context("find the inferred stream")?;
    let found = bekk_ingest::preview_first(file, stream, TRIED_MAX)?;
    if let Some(why) = found.blocked {
        bail!("`{}` would be set aside as it is: {why}", file.display());
    }
    if found.rejects == 0 {
        return Ok(text.to_owned());
    }
    let first = found.first_rejects.iter().take(SHOWN_MAX);
    let lines: String = first
        .map(|reject| format!("#   {}\n", reject.replace(char::is_control, " ")))
        .collect();
    let count = format!(
        "# {} of the first {} {} would be rejected:\n",
        found.rejects,
        found.records,
        plural(found.records, "record")
    );
    let section = text.find("\n[").map_or(0, |at| at + 1);
    let (before, after) = text.split_at(section);
    Ok(format!("{}\n{count}{lines}\n{after}", before.trim_end()))
}

/// The file as the configuration names it: relative where it lies below the configuration's directory.
pub(super) fn pattern_for(file: &Path, out: &Path) -> Result<String> {
    let file = std::path::absolute(file).with_context(|| format!("find `{}`", file.display()))?;
    let out = std::path::absolute(out).with_context(|| format!("find `{}`", out.display()))?;
    let relative = out
        .parent()
        .and_then(|base| file.strip_prefix(base).ok())
        .unwrap_or(&file);
    let text = relative
        .to_str()
        .with_context(|| format!("the path `{}` is not UTF-8", file.display()))?;
    Ok(escape_pattern(text))
}
