//! `bekk dead-letters edit`: one letter's text in an editor, then retried.
//!
//! **Invariant:** what a person wrote is either in the table, or in a file that the output names.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, anyhow, bail};
use bekk_sink::{ConnectOptions, Letter, Retried};
use signal_hook::consts::{SIGINT, SIGQUIT};
use tempfile::NamedTempFile;

use super::chosen::read_one;
use super::correction::{check_text, with_own_line_ends};
use super::text::{for_person, from_person};
use crate::args::{DeadLettersEdit, RetryArgs};
use crate::commands::{Outcome, print_json, print_result};
use crate::context::Context;
use crate::letters::{check_letter, encoding_of};
use crate::retrier::{Retrier, Tally, tell};
use crate::screen::Screen;

/// The editor if neither $VISUAL nor $EDITOR names one.
const DEFAULT_EDITOR: &str = "vi";

pub(super) fn run(context: &Context, args: &DeadLettersEdit, screen: &Screen) -> Result<Outcome> {
    let database = context.database(&args.with.postgres)?;
    let letter = read_one(&database.options, args.id)?;
    let letter = for_person(encoding_of(&context.streams(), &letter), letter);
    check_letter(&letter).map_err(|why| anyhow!(why))?;
    let try_text = |text| {
        let corrected = corrected(&letter, text);
        retry(context, &database.options, &corrected, &args.with, screen)
    };
    if let Some(path) = &args.text {
        let text = fs::read(path).with_context(|| format!("read `{}`", path.display()))?;
        return end(args, try_text(text)?.as_ref(), screen, path);
    }
    let file = write_out(&letter)?;
    let ended = edit(&letter, file.path(), screen).and_then(try_text);
    let is_resolved = matches!(&ended, Ok(Some(tally)) if tally.open == 0);
    let is_changed = fs::read(file.path()).is_ok_and(|text| {
        let raw = corrected(&letter, text).raw;
        raw != letter.raw && !raw.is_empty()
    });
    // Only what nobody could want back is deleted.
    let path = match is_changed && !is_resolved {
        true => file.keep().context("keep the text")?.1,
        false => PathBuf::new(),
    };
    match ended {
        Ok(tally) => end(args, tally.as_ref(), screen, &path),
        Err(error) => {
            tell_of_text(args.id, &path, screen);
            Err(error)
        }
    }
}

fn corrected(letter: &Letter, mut text: Vec<u8>) -> Letter {
    // Editors end the last line.
    if text.ends_with(b"\n") && !letter.raw.ends_with(b"\n") {
        text.pop();
        if text.ends_with(b"\r") && !letter.raw.ends_with(b"\r") {
            text.pop();
        }
    }
    Letter {
        raw: with_own_line_ends(letter, text),
        ..letter.clone()
    }
}

/// Writes a letter's text to a file that only this user can read.
fn write_out(letter: &Letter) -> Result<NamedTempFile> {
    let prefix = format!("bekk-dead-letter-{}-", letter.id);
    let mut file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".csv")
        .tempfile()
        .context("make a file for the text")?;
    file.write_all(&letter.raw)
        .and_then(|()| file.flush())
        .with_context(|| format!("write `{}`", file.path().display()))?;
    Ok(file)
}

/// Has a person edit a file, and returns what it holds then.
fn edit(letter: &Letter, path: &Path, screen: &Screen) -> Result<Vec<u8>> {
    let column = letter.column.as_deref();
    screen.say(&format!(
        "dead letter {}: {}{}{}",
        letter.id,
        letter.reason,
        column.map_or_else(String::new, |column| format!(" in `{column}`")),
        letter
            .detail
            .as_deref()
            .map_or_else(String::new, |detail| format!(": {detail}"))
    ));
    // Not from `.env`: it must not choose programs.
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let named = named("VISUAL").or_else(|| named("EDITOR"));
    // Without a terminal, it would wait for keys forever.
    let has_terminal = || io::stdin().is_terminal() && io::stdout().is_terminal();
    if named.is_none() && !has_terminal() {
        bail!(
            "`{DEFAULT_EDITOR}` needs a terminal, which this command does not have; name a program in EDITOR that changes \
             the file without one, or take the corrected text from a file: bekk dead-letters edit {} --text FILE",
            letter.id
        );
    }
    let editor = named.unwrap_or_else(|| DEFAULT_EDITOR.to_owned());
    // A Ctrl-C that is meant for the editor must not end this process, which has the text. A program that is started
    // does not inherit it.
    let ignored = Arc::new(AtomicBool::new(false));
    let signals =
        [SIGINT, SIGQUIT].map(|signal| signal_hook::flag::register(signal, Arc::clone(&ignored)));
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$@\""), &editor])
        .arg(path)
        .status();
    for signal in signals.into_iter().flatten() {
        signal_hook::low_level::unregister(signal);
    }
    let status = status.with_context(|| format!("start the editor `{editor}`"))?;
    match status.code() {
        Some(0) => {}
        Some(127) => {
            bail!("the editor `{editor}` is not installed; name another in VISUAL or EDITOR")
        }
        _ => bail!(
            "the editor `{editor}` failed ({status}); dead letter {} stays as it was",
            letter.id
        ),
    }
    fs::read(path).with_context(|| format!("read `{}`", path.display()))
}

/// Retries a corrected letter; `None` if its text is not another.
fn retry(
    context: &Context,
    postgres: &ConnectOptions,
    corrected: &Letter,
    args: &RetryArgs,
    screen: &Screen,
) -> Result<Option<Tally>> {
    let original = read_one(postgres, corrected.id)?;
    let encoding = encoding_of(&context.streams(), &original);
    let original = for_person(encoding, original);
    if original.raw == corrected.raw {
        return Ok(None);
    }
    check_text(&original, &corrected.raw).map_err(|why| anyhow!(why))?;
    let corrected = from_person(encoding, corrected.clone()).map_err(|why| anyhow!(why))?;
    let log = context.open_log(&args.log)?;
    let retrier = Retrier::new(context, postgres, &log, args.header.as_deref())?;
    let mut tally = Tally::default();
    let mut told = |letter: &Letter, retried: &Retried| tell(letter, retried, screen);
    retrier.retry(std::slice::from_ref(&corrected), &mut tally, &mut told)?;
    log.close()?;
    Ok(Some(tally))
}

/// Reports the end; `path` is where the text is, if it is kept.
fn end(
    args: &DeadLettersEdit,
    tally: Option<&Tally>,
    screen: &Screen,
    path: &Path,
) -> Result<Outcome> {
    let unchanged = Tally::default();
    if args.with.output.json {
        print_json(tally.unwrap_or(&unchanged))?;
    } else {
        match tally {
            Some(tally) => print_result(&tally.to_string())?,
            None => print_result("the text is unchanged, and the dead letter stays open")?,
        }
    }
    match tally {
        Some(tally) if tally.open == 0 => Ok(Outcome::Done),
        Some(_) => {
            tell_of_text(args.id, path, screen);
            Ok(Outcome::Incomplete)
        }
        None => Ok(Outcome::Incomplete),
    }
}

/// Says where the text is that a person wrote.
fn tell_of_text(id: i64, path: &Path, screen: &Screen) {
    if !path.as_os_str().is_empty() {
        let path = path.display();
        screen.say(&format!(
            "your text is in {path}; correct it there, then: bekk dead-letters edit {id} --text {path}"
        ));
    }
}
