//! `bekk init`: a configuration to begin with.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bekk_stream::{Config, SAMPLE_CONFIG};

use super::{Outcome, print_result};
use crate::args::Init;
use crate::infer;
use crate::screen::Screen;

pub(crate) fn run(args: &Init, screen: &Screen) -> Result<Outcome> {
    let to_stdout = args.out == Path::new("-");
    if !to_stdout && args.out.exists() && !args.force {
        bail!(
            "`{}` exists; --force replaces it, --out names another",
            args.out.display()
        );
    }
    let text = match &args.from {
        Some(path) => {
            let name = args
                .name
                .clone()
                .unwrap_or_else(|| infer::stream_name(path));
            infer::config_text(path, &name, &pattern_for(path, &args.out)?)?
        }
        None => SAMPLE_CONFIG.to_owned(),
    };
    Config::parse(&text, &args.out, Path::new("/"), &|_| Some(String::new()))?;
    if to_stdout {
        print_result(text.trim_end())?;
        return Ok(Outcome::Done);
    }
    std::fs::write(&args.out, text).with_context(|| format!("write `{}`", args.out.display()))?;
    screen.say(&format!(
        "wrote {}; look at its guesses, then: bekk up --once",
        args.out.display()
    ));
    Ok(Outcome::Done)
}

/// The file as the configuration names it: relative where it lies below the configuration's directory.
fn pattern_for(file: &Path, out: &Path) -> Result<String> {
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

/// The text as a pattern that matches nothing else.
fn escape_pattern(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        match c {
            '*' | '?' | '[' | ']' | '{' | '}' => pattern.extend(['[', c, ']']),
            c => pattern.push(c),
        }
    }
    pattern
}
