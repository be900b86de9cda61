//! `bekk init`: a configuration to begin with.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bekk_stream::{Config, Encoding, SAMPLE_CONFIG, Separator};

use super::{Outcome, print_result};
use crate::args::{FormArgs, Init};
use crate::infer::{self, Typed};
use crate::screen::Screen;

pub(crate) fn run(args: &Init, screen: &Screen) -> Result<Outcome> {
    let to_stdout = args.out == Path::new("-");
    if args.add {
        return add(args, screen);
    }
    if !to_stdout && args.out.exists() && !args.force {
        bail!(
            "`{}` exists; --add adds the stream to it, --force replaces it, --out names another",
            args.out.display()
        );
    }
    let text = match &args.from {
        Some(path) => {
            let name = args
                .name
                .clone()
                .unwrap_or_else(|| infer::stream_name(path));
            let pattern = pattern_for(path, &args.out)?;
            infer::config_text(path, &name, &pattern, &typed(&args.form)?)?
        }
        None => SAMPLE_CONFIG.to_owned(),
    };
    Config::parse(&text, &args.out, Path::new("/"), &|_| Some(String::new()))?;
    if to_stdout {
        print_result(text.trim_end())?;
        return Ok(Outcome::Done);
    }
    bekk_ingest::create_file(&args.out)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write `{}`", args.out.display()))?;
    screen.say(&format!(
        "wrote {}; look at its guesses, then: bekk up --once",
        args.out.display()
    ));
    Ok(Outcome::Done)
}

/// Adds a stream to the configuration that is there.
fn add(args: &Init, screen: &Screen) -> Result<Outcome> {
    let out = &args.out;
    let from = args.from.as_deref().context("name the file: --from FILE")?;
    let before =
        std::fs::read_to_string(out).with_context(|| format!("read `{}`", out.display()))?;
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| infer::stream_name(from));
    let added = infer::stream_text(from, &name, &pattern_for(from, out)?, &typed(&args.form)?)?;
    let text = format!("{}\n\n{added}", before.trim_end());
    Config::parse(&text, out, Path::new("/"), &|_| Some(String::new()))
        .context("add the stream (--name gives it another name)")?;
    let beside = out.with_extension("toml.new");
    bekk_ingest::create_file(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, out))
        .with_context(|| format!("write `{}`", out.display()))?;
    screen.say(&format!(
        "added stream `{name}` to {}; look at its guesses, then: bekk check --files",
        out.display()
    ));
    Ok(Outcome::Done)
}

/// What was typed of how the file is written.
fn typed(args: &FormArgs) -> Result<Typed> {
    let character = |text: &Option<String>, flag: &str| -> Result<Option<u8>> {
        match text.as_deref() {
            None | Some("") => Ok(None),
            Some("tab" | "\\t") => Ok(Some(b'\t')),
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() => Ok(Some(*byte)),
                _ => bail!("--{flag}: `{text}` is not one ASCII character"),
            },
        }
    };
    let encoding = args.encoding.as_deref().map(|label| {
        let known = Encoding::label(label);
        known.with_context(|| format!("--encoding: `{label}` is no encoding that is read here"))
    });
    Ok(Typed {
        delimiter: separator(args.delimiter.as_deref(), "delimiter")?,
        record_end: separator(args.record_end.as_deref(), "record-end")?,
        quote: match &args.quote {
            None => None,
            quote => Some(character(quote, "quote")?),
        },
        escape: character(&args.escape, "escape")?,
        comment: character(&args.comment, "comment")?,
        encoding: encoding.transpose()?,
        skip_lines: args.skip_lines,
        header: args.header,
    })
}

/// What was typed between fields or at the end of records: some characters, with `tab`, `\\t`, `\\n` and `\\x1e` for those
/// that a shell does not take.
fn separator(text: Option<&str>, flag: &str) -> Result<Option<Separator>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let control = |digits: &str| {
        let byte = u8::from_str_radix(digits, 16).ok()?;
        byte.is_ascii().then(|| char::from(byte).to_string())
    };
    let meant = match text {
        "tab" => "\t".to_owned(),
        text => match text.strip_prefix("\\x").and_then(control) {
            Some(control) => control,
            None => text.replace("\\t", "\t").replace("\\n", "\n"),
        },
    };
    let separator = Separator::new(meant.as_bytes());
    let found =
        separator.with_context(|| format!("--{flag}: `{text}` is not one to eight bytes"))?;
    Ok(Some(found))
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
