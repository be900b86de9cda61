//! What the patterns match: said at the start, since nothing else tells a mistyped one from an empty inbox.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Outcome;
use super::summary::Report;
use crate::context::Context;
use crate::screen::Screen;

/// What the patterns match when a run begins
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matched {
    Files,
    /// No file matches, and none ever has.
    Nothing,
    /// No file matches or is to be matched, which is no mistake.
    NothingNow,
}

/// Says which configuration is used where none was found, and which streams match no file; what matches in all.
pub(crate) fn announce(context: &Context, screen: &Screen) -> Result<Matched> {
    if context.file.is_none() {
        screen.say_part(&format!(
            "config     no bekk.toml in {}: the built-in sample is used; for files of your own: bekk init --from FILE",
            context.base.display()
        ));
    }
    let streams = &context.config.streams;
    if streams.iter().all(|stream| stream.files.is_empty()) {
        screen.say_part("inbox      no stream has `files`: there is nothing to ingest");
        return Ok(Matched::NothingNow);
    }
    let matched = bekk_ingest::matched(streams).context("look for files")?;
    for (stream, _) in streams
        .iter()
        .zip(&matched)
        .filter(|(stream, count)| **count == 0 && !stream.files.is_empty())
    {
        let hint = stream.files.iter().find_map(|pattern| hint(pattern));
        screen.say_part(&format!(
            "inbox      no file matches the patterns of stream `{}` yet{}",
            stream.name,
            hint.unwrap_or_default()
        ));
    }
    if matched.iter().any(|count| *count > 0) {
        return Ok(Matched::Files);
    }
    let state_dir = context.ingest_config(true).state_dir;
    let known =
        bekk_ingest::files(&state_dir, streams).context("read what ingest has written down")?;
    Ok(match known.files.is_empty() {
        true => Matched::Nothing,
        false => Matched::NothingNow,
    })
}

/// What may be wrong with a pattern that matches no file.
fn hint(pattern: &str) -> Option<String> {
    let mut parts = Path::new(pattern).components();
    if Path::new(pattern).is_dir() {
        let name = parts.next_back()?.as_os_str().display();
        return Some(format!(
            ": `{name}` is a directory, so write `{name}/*.csv`"
        ));
    }
    parts
        .any(|part| part.as_os_str() == "~")
        .then(|| ": write the path of your home directory in place of `~`".to_owned())
}

/// A run that found no file is not a success, unless that was expected.
pub(crate) fn outcome(
    outcome: Outcome,
    matched: Matched,
    report: &Report,
    context: &Context,
    screen: &Screen,
) -> Result<Outcome> {
    if report.files() > 0 || report.is_stopped() || report.is_incomplete() {
        return Ok(outcome);
    }
    let streams = &context.config.streams;
    let is_gone = || -> Result<bool> {
        let matched = bekk_ingest::matched(streams).context("look for files")?;
        Ok(matched.iter().all(|count| *count == 0))
    };
    screen.say(match matched {
        Matched::Nothing => {
            "no file matches any pattern: correct `files` in the configuration, or say that this is right: --allow-empty"
        }
        // An empty file was not read either, but is still there.
        Matched::Files if is_gone()? => {
            "the files that matched when the run began are gone: none of them was read"
        }
        Matched::Files | Matched::NothingNow => return Ok(outcome),
    });
    Ok(Outcome::Incomplete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_names_a_directory_or_a_home_is_corrected() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        let check = |pattern: &str, expected: Option<&str>| {
            let pattern = dir.path().join(pattern);
            assert_eq!(hint(pattern.to_str().unwrap()).as_deref(), expected);
        };
        check("in", Some(": `in` is a directory, so write `in/*.csv`"));
        check("in/", Some(": `in` is a directory, so write `in/*.csv`"));
        check(
            "~/in/*.csv",
            Some(": write the path of your home directory in place of `~`"),
        );
        check("in/*.csv", None);
    }
}
