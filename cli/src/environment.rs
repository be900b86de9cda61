//! The environment: `.env`, and variables that may also be files.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Reads `.env` in the working directory, if there is one; what the environment has already stays.
///
/// # Errors
/// If it cannot be read or a line of it is not `NAME=value`. The text of the line is not shown: it may be
/// a secret.
pub(crate) fn load_dotenv() -> Result<()> {
    let path = Path::new(".env");
    match dotenvy::from_path(path) {
        Ok(()) => Ok(()),
        Err(dotenvy::Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(dotenvy::Error::Io(error)) => Err(error).context("read `.env`"),
        Err(_) => {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let is_wrong =
                |line: &&str| dotenvy::from_read_iter(line.as_bytes()).any(|item| item.is_err());
            let line = text
                .lines()
                .position(|line| is_wrong(&line))
                .map_or(1, |at| at + 1);
            bail!("`.env`, line {line} is not NAME=value (a value with spaces or # needs quotes)");
        }
    }
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
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty()))
}

/// A variable of the environment. Empty means unset.
pub(crate) fn plain(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
