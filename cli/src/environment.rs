//! The environment: `.env`, and variables that may also be files.
//!
//! **Invariant:** `.env` sets nothing for other programs. Names that the command line's arguments go by are set in this
//! process; all others are known here only, to those who ask for them by name: a file in a directory where others may
//! write must not tell `psql` or the loader what to do.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::found_file::{self, Owners};
use crate::secrets;

/// What `.env` says beside the names of arguments.
static KNOWN: OnceLock<HashMap<String, String>> = OnceLock::new();
const DOTENV: &str = ".env";
/// Variable with the filter of messages
pub(crate) const FILTER: &str = "RUST_LOG";
/// Whether the environment has that variable, so that the one of `.env` does not count.
static HAS_FILTER: OnceLock<bool> = OnceLock::new();
/// What the names of Bekk's own variables begin with.
const OWN: [&str; 3] = ["BEKK_", "POSTGRES_", "DATABASE_URL"];
/// Names that arguments go by, beside those that begin with `BEKK_`, and those of settings for messages.
const ARGUMENTS: [&str; 6] = [
    "MIN_EVENTS",
    "MAX_EVENTS",
    "SLEEP_INTERVAL",
    "EVENT_TYPES",
    FILTER,
    "NO_COLOR",
];

/// Reads `.env` in the working directory, if there is one; what the environment has already stays.
///
/// # Errors
/// If it cannot be read, belongs to another user, or a line of it is not `NAME=value`. The text of the line is not
/// shown: it may be a secret.
pub(crate) fn load_dotenv() -> Result<()> {
    let _ = HAS_FILTER.set(std::env::var_os(FILTER).is_some());
    let Some(text) = read_dotenv()? else {
        return Ok(());
    };
    let mut known = HashMap::new();
    let mut arguments = String::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        let Ok((name, value)) = item else {
            let is_wrong =
                |line: &&str| dotenvy::from_read_iter(line.as_bytes()).any(|item| item.is_err());
            let line = text
                .lines()
                .position(|line| is_wrong(&line))
                .map_or(1, |at| at + 1);
            bail!("`.env`, line {line} is not NAME=value (a value with spaces or # needs quotes)");
        };
        if name.starts_with("BEKK_") || ARGUMENTS.contains(&name.as_str()) {
            arguments.push_str(&assignment(&name, &value));
        }
        known.entry(name).or_insert(value);
    }
    dotenvy::from_read(arguments.as_bytes()).context("take the variables of `.env`")?;
    let _ = KNOWN.set(known);
    Ok(())
}

fn read_dotenv() -> Result<Option<String>> {
    found_file::read(Path::new(DOTENV), Owners::Trusted).context("use `.env`")
}

/// Reads the filter of messages again: from the environment, else from `.env` as it is now.
///
/// # Errors
/// If `.env` cannot be read, or is not right up to that line.
pub(crate) fn filter_now() -> Result<Option<String>> {
    if HAS_FILTER.get().copied().unwrap_or_default() {
        return Ok(std::env::var(FILTER).ok());
    }
    let Some(text) = read_dotenv()? else {
        return Ok(None);
    };
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        // The text of the line is not shown: it may be a secret.
        let Ok((name, value)) = item else {
            bail!("read `.env`: a line is not NAME=value");
        };
        if name == FILTER {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Warns of a `.env` with a password that others can read.
pub(crate) fn warn_of_dotenv() {
    let holds_secret = |(name, value): (&String, &String)| {
        name.contains("PASSWORD") || value.contains("://") && value.contains('@')
    };
    if KNOWN
        .get()
        .is_some_and(|known| known.iter().any(holds_secret))
    {
        secrets::warn_if_open(Path::new(DOTENV));
    }
}

/// A line of `.env` that gives a variable just this value.
fn assignment(name: &str, value: &str) -> String {
    let mut line = format!("{name}=\"");
    for c in value.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '"' | '\\' | '$' => line.extend(['\\', c]),
            c => line.push(c),
        }
    }
    line + "\"\n"
}

/// A variable of the environment, or what the file holds that `NAME_FILE` names. Empty means unset.
///
/// # Errors
/// If both are set, or the file cannot be read.
pub(crate) fn variable(name: &str) -> Result<Option<String>> {
    let plain = plain(name);
    let Some(path) = self::plain(&format!("{name}_FILE")) else {
        return Ok(plain);
    };
    if plain.is_some() {
        bail!("{name} and {name}_FILE are both set; keep one");
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("read `{path}`, which {name}_FILE names"))?;
    if name.contains("PASSWORD") || name.ends_with("URL") {
        secrets::warn_if_open(Path::new(&path));
    }
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty()))
}

/// A variable of the environment, or one of Bekk's own of `.env`. Empty means unset.
pub(crate) fn plain(name: &str) -> Option<String> {
    let is_own = OWN.iter().any(|own| name.starts_with(own));
    let set = std::env::var(name).ok().filter(|value| !value.is_empty());
    set.or_else(|| is_own.then(|| referred(name)).flatten())
}

/// A variable that bekk.toml refers to: of the environment, or of `.env` whatever its name. Empty means unset.
pub(crate) fn referred(name: &str) -> Option<String> {
    let set = std::env::var(name).ok().filter(|value| !value.is_empty());
    set.or_else(|| KNOWN.get()?.get(name).cloned())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_as_it_was() {
        for value in [
            "plain",
            "with space",
            "q\"uo'te",
            "b\\ack",
            "d$ollar ${X}",
            "two\nlines",
            "#",
        ] {
            let line = assignment("BEKK_X", value);
            let back: Vec<_> = dotenvy::from_read_iter(line.as_bytes())
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(back, [("BEKK_X".to_owned(), value.to_owned())]);
        }
    }
}
