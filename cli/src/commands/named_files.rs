//! Files that are named on the command line (`bekk up my.csv`): a file that no stream takes gets a stream in `bekk.toml`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bekk_ingest::{preview_first, streams_of};
use bekk_stream::Stream;

use super::WrongUsage;
use super::new_stream::{lock, parse, pattern_for, replace, tried};
use crate::args::{Global, InputArgs};
use crate::context::Context;
use crate::database::shown_from;
use crate::infer::{self, Typed, Wanted};
use crate::screen::{Screen, counted, grouped};

/// Most records of a file that are tried as records of a stream
const TRIED_MAX: u64 = 1_000;

/// Files of one kind, and their new stream
struct Kind {
    /// The largest file is the first one: its records show most.
    files: Vec<PathBuf>,
    stream: Stream,
    text: String,
}

/// Adds streams to the configuration for the named files that no stream takes.
///
/// # Errors
/// If a file does not exist or is not CSV, or its stream is not clear.
pub(super) fn describe(
    global: &Global,
    args: &InputArgs,
    is_once: bool,
    screen: &Screen,
) -> Result<()> {
    if args.files.is_empty() {
        return Ok(());
    }
    if args.has_dash() {
        if !is_once {
            return usage("`-` is standard input, which ends: it needs --once".to_owned());
        }
        return match args.files.len() {
            1 => Ok(()),
            _ => usage("`-` is standard input: name no files beside it".to_owned()),
        };
    }
    if args.stream.is_some() || args.name.is_some() {
        return usage(
            "--stream and --name belong to standard input (`-`), not to files".to_owned(),
        );
    }
    let context = Context::load(global)?;
    let file = context.file.clone();
    // The streams of the built-in sample are not the user's.
    let streams = match file {
        Some(_) => context.config.streams.clone(),
        None => Vec::new(),
    };
    let mut files = Vec::new();
    for file in &args.files {
        let path = existing(file)?;
        if streams_of(&streams, &path)?.is_empty() && !files.contains(&path) {
            check_kinds(&streams, &path, file)?;
            files.push(path);
        }
    }
    if files.is_empty() {
        return Ok(());
    }
    let out = file.unwrap_or_else(|| PathBuf::from("bekk.toml"));
    let kinds = kinds(files, &streams, &out)?;
    write(&kinds, &out, screen)
}

fn usage<T>(text: String) -> Result<T> {
    Err(WrongUsage(text).into())
}

/// The path of a file that can be read.
fn existing(file: &Path) -> Result<PathBuf> {
    let shown = file.display().to_string();
    let path = std::path::absolute(file).with_context(|| format!("find `{shown}`"))?;
    match path.metadata() {
        Ok(found) if found.is_dir() => usage(format!(
            "`{}` is a directory; name its files: bekk up {}/*.csv",
            shown.trim_end_matches('/'),
            shown.trim_end_matches('/')
        )),
        Ok(_) => Ok(path),
        Err(error) => usage(format!("read `{shown}`: {error}")),
    }
}

/// Refuses a file whose records fit a stream that does not take it: users seldom want a second table for them.
fn check_kinds(streams: &[Stream], path: &Path, typed: &Path) -> Result<()> {
    for stream in streams {
        if is_of(path, stream)? {
            let (file, name) = (typed.display(), &stream.name);
            return usage(format!(
                "`{file}` has the columns of stream `{name}`, whose `files` do not match it; add it to `files` of [streams.{name}], or give it a stream and a table of its own: bekk init {file} --add --name NAME"
            ));
        }
    }
    Ok(())
}

/// Whether a file's first records are records of a stream.
fn is_of(path: &Path, stream: &Stream) -> Result<bool> {
    let found = preview_first(path, stream, TRIED_MAX)?;
    Ok(found.blocked.is_none() && found.records > found.rejects)
}

/// Sorts files by kind, and infers a stream for each.
fn kinds(mut files: Vec<PathBuf>, known: &[Stream], out: &Path) -> Result<Vec<Kind>> {
    let size = |path: &PathBuf| path.metadata().map_or(0, |found| found.len());
    files.sort_by_key(|path| std::cmp::Reverse(size(path)));
    let mut kinds: Vec<Kind> = Vec::new();
    'files: for path in files {
        for kind in &mut kinds {
            if is_of(&path, &kind.stream)? {
                kind.files.push(path);
                continue 'files;
            }
        }
        let (stream, text) = inferred(std::slice::from_ref(&path), out)?;
        let mut taken = known.iter().chain(kinds.iter().map(|kind| &kind.stream));
        if taken.any(|taken| taken.name == stream.name) {
            let (name, file) = (&stream.name, path.display());
            return usage(format!(
                "there is a stream `{name}` with other columns than `{file}`; give it another name: bekk init {file} --add --name NAME"
            ));
        }
        kinds.push(Kind {
            files: vec![path],
            stream,
            text,
        });
    }
    for kind in kinds.iter_mut().filter(|kind| kind.files.len() > 1) {
        (kind.stream, kind.text) = inferred(&kind.files, out)?;
    }
    Ok(kinds)
}

/// The stream of files of one kind, from the first one's records.
fn inferred(files: &[PathBuf], out: &Path) -> Result<(Stream, String)> {
    let first = &files[0];
    let name = infer::stream_name(first);
    let patterns = patterns(files, out)?;
    let wanted = Wanted {
        name: &name,
        patterns: &patterns,
        others: &files[1..],
        is_piped: false,
        table: None,
    };
    let text = infer::stream_text(first, &wanted, &Typed::default())?;
    let text = tried(first, &text, out)?;
    let mut config = parse(&text, out)?;
    Ok((config.streams.remove(0), text))
}

/// The value of `files`: one pattern if it matches these files and no others of their directory.
fn patterns(files: &[PathBuf], out: &Path) -> Result<Vec<String>> {
    let each: Result<Vec<_>> = files.iter().map(|file| pattern_for(file, out)).collect();
    let mut each = each?;
    each.sort();
    if let [one, _, ..] = &each[..]
        && let Some((directory, _)) = one.rsplit_once('/')
    {
        let pattern = format!("{directory}/*.csv");
        let parent = files[0].parent().unwrap_or(Path::new("/"));
        let mut found = csv_files(parent)?;
        let mut named = files.to_vec();
        found.sort();
        named.sort();
        if found == named {
            return Ok(vec![pattern]);
        }
    }
    Ok(each)
}

fn csv_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = directory
        .read_dir()
        .with_context(|| format!("read `{}`", directory.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_csv = |path: &PathBuf| path.extension().is_some_and(|end| end == "csv");
    Ok(paths.filter(is_csv).collect())
}

fn write(kinds: &[Kind], out: &Path, screen: &Screen) -> Result<()> {
    let _lock = lock(out)?;
    let before = match std::fs::read_to_string(out) {
        Ok(text) => format!("{}\n", text.trim_end()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "[log]\ndir = \".bekk/log\"\n".to_owned()
        }
        Err(error) => return Err(error).with_context(|| format!("read `{}`", out.display())),
    };
    let added: Vec<_> = kinds.iter().map(|kind| kind.text.trim()).collect();
    let text = format!("{before}\n{}\n", added.join("\n\n"));
    parse(&text, out)?;
    replace(out, &text)?;
    let base = std::path::absolute(out).with_context(|| format!("find `{}`", out.display()))?;
    let base = base.parent().unwrap_or(Path::new("/"));
    for kind in kinds {
        say(kind, base, out, screen);
    }
    Ok(())
}

/// Says what was added, and every guess in it.
fn say(kind: &Kind, base: &Path, out: &Path, screen: &Screen) {
    let (stream, count) = (&kind.stream, kind.stream.columns.len() as u64);
    screen.say_part(&format!(
        "config     {}: added stream `{}`: {} into table {}",
        out.display(),
        stream.name,
        counted(count, "column"),
        stream.table
    ));
    for guess in kind.text.lines().filter_map(guess) {
        screen.say_part(&format!("guess      {guess}"));
    }
    for reject in rejects(&kind.text) {
        screen.say_part(&format!("rejects    {reject}"));
    }
    if stream.key.is_empty() {
        let candidate = kind.text.lines().find_map(candidate);
        screen.say_part(&format!(
            "guess      no key: every record becomes a row of its own{}",
            candidate.unwrap_or_default()
        ));
    }
    for file in &kind.files[1..] {
        let tried = preview_first(file, stream, TRIED_MAX);
        let rejects = tried.map_or(0, |found| found.rejects);
        if rejects > 0 {
            screen.say_part(&format!(
                "config     {}: {} of its first records do not fit these types; see bekk check --files",
                shown_from(base, file).display(),
                grouped(rejects)
            ));
        }
    }
}

/// Returns the key that a line of an inferred stream proposes.
fn candidate(line: &str) -> Option<String> {
    let (columns, why) = line.strip_prefix("# key = [")?.split_once("]   # ")?;
    Some(format!("; a key may be {columns}: {why}"))
}

/// The records that would be rejected, in an inferred stream: how many, then the first of them.
fn rejects(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# "));
    lines
        .skip_while(|line| !line.ends_with("would be rejected:"))
        .enumerate()
        .take_while(|(at, line)| *at == 0 || line.starts_with("  "))
        .map(|(_, line)| line)
}

/// Returns the guess in a line of an inferred stream: its subject and its reason.
fn guess(line: &str) -> Option<String> {
    let (about, why) = line.split_once("# guess: ")?;
    let about = about.trim();
    let column = about
        .strip_prefix("{ name = \"")
        .and_then(|rest| rest.split('"').next());
    Some(match column.unwrap_or(about) {
        "" => why.to_owned(),
        about => format!("{about}: {why}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_names_what_it_is_about() {
        let shown = |line| guess(line).unwrap_or_default();
        assert_eq!(
            shown("  { name = \"at\", type = \"date\" },   # guess: by its form"),
            "at: by its form"
        );
        assert_eq!(
            shown("key = [\"id\"]   # guess: its name"),
            "key = [\"id\"]: its name"
        );
        assert_eq!(shown("# guess: the encoding"), "the encoding");
        assert_eq!(shown("  { name = \"a\", type = \"text\" },   # Ada"), "");
    }

    #[test]
    fn rejects_are_listed_with_their_number() {
        let text = "# Inferred from all 3 records.\n\
                    # 2 of the first 3 records would be rejected:\n#   bad_quote (line 2)\n#   nul (line 4)\n\n\
                    [streams.a]\n# key = [\"a\"]\n";
        let shown: Vec<_> = rejects(text).collect();
        assert_eq!(
            shown,
            [
                "2 of the first 3 records would be rejected:",
                "  bad_quote (line 2)",
                "  nul (line 4)"
            ]
        );
        assert_eq!(rejects("# guess: a\n").count(), 0);
    }
}
