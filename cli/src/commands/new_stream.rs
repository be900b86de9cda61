//! A stream that is added to a configuration: its pattern, a try of it, and the file that is written.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bekk_stream::{Config, ConfigError, escape_pattern};
use rustix::fs::FlockOperation;

use crate::screen::plural;

/// Most records that are tried under an inferred configuration.
const TRIED_MAX: u64 = 10_000;
/// Most rejected records that are shown.
const SHOWN_MAX: usize = 3;

/// Keeps other processes from changing a configuration until the lock is dropped: of two that add a stream to the same
/// text, the later one would remove the other's. Where directories take no locks, nothing is kept.
pub(super) fn lock(out: &Path) -> Result<File> {
    let path = std::path::absolute(out).with_context(|| format!("find `{}`", out.display()))?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let lock = File::open(dir).with_context(|| format!("open `{}`", dir.display()))?;
    let _ = rustix::fs::flock(&lock, FlockOperation::LockExclusive);
    Ok(lock)
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
