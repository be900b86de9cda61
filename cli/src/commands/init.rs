//! `bekk init`: a configuration to begin with.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bekk_ingest::Packing;
use bekk_stream::{Encoding, LineEnd, SAMPLE_CONFIG, Separator, line_of_stream};

use super::new_stream::{lock, parse, pattern_for, replace, tried};
use super::{Outcome, WrongUsage, print_result};
use crate::args::{FormArgs, Global, Init};
use crate::context::{Context, table_name};
use crate::infer::{self, ExistingTable, Typed, Wanted};
use crate::screen::Screen;

/// The name of standard input in messages
const PIPED_NAME: &str = "standard input";

/// The file to infer from.
struct From {
    path: PathBuf,
    /// Directory of the stored standard input, which is deleted with this
    piped: Option<tempfile::TempDir>,
}

impl From {
    /// The file that was typed; standard input, stored in a file, for `-`.
    fn typed(path: &Path) -> Result<Self> {
        if path != Path::new("-") {
            return Ok(Self {
                path: path.to_owned(),
                piped: None,
            });
        }
        if io::stdin().is_terminal() {
            let text = "standard input is a terminal; pipe a file into it, such as: zcat FILE | bekk init -";
            return Err(WrongUsage(text.to_owned()).into());
        }
        let dir = tempfile::tempdir().context("store standard input")?;
        let path = dir.path().join(PIPED_NAME);
        let mut file = bekk_ingest::create_file(&path).context("store standard input")?;
        io::copy(&mut io::stdin().lock(), &mut file).context("store standard input")?;
        Ok(Self {
            path,
            piped: Some(dir),
        })
    }

    fn command(&self) -> &'static str {
        match self.piped {
            Some(_) => "bekk up --once -, with the same standard input",
            None => "bekk up --once",
        }
    }
}

pub(crate) fn run(global: &Global, args: &Init, screen: &Screen) -> Result<Outcome> {
    let to_stdout = args.out == Path::new("-");
    if args.add {
        return add(global, args, screen);
    }
    if !to_stdout && args.out.exists() && !args.force {
        bail!(
            "`{}` exists; --add adds the stream to it, --force replaces it, --out names another",
            args.out.display()
        );
    }
    let from = args.source().map(From::typed).transpose()?;
    let text = match &from {
        Some(from) => {
            let text = with_wanted(global, args, from, |wanted, typed| {
                infer::config_text(&from.path, wanted, typed)
            })?;
            tried(&from.path, &text, &args.out)?
        }
        None => SAMPLE_CONFIG.to_owned(),
    };
    parse(&text, &args.out)?;
    if to_stdout {
        print_result(text.trim_end())?;
        return Ok(Outcome::Done);
    }
    bekk_ingest::create_file(&args.out)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write `{}`", args.out.display()))?;
    screen.say(&format!(
        "wrote {}; look at its guesses, then: {}",
        args.out.display(),
        from.as_ref().map_or("bekk up --once", From::command)
    ));
    Ok(Outcome::Done)
}

/// Adds a stream to the configuration that is there.
fn add(global: &Global, args: &Init, screen: &Screen) -> Result<Outcome> {
    let out = &args.out;
    let from = From::typed(
        args.source()
            .context("name the file: bekk init FILE --add")?,
    )?;
    let read = || std::fs::read_to_string(out).with_context(|| format!("read `{}`", out.display()));
    let name = stream_name(args, &from);
    refuse_known(&name, &read()?, out)?;
    let added = with_wanted(global, args, &from, |wanted, typed| {
        infer::stream_text(&from.path, wanted, typed)
    })?;
    let added = tried(&from.path, &added, out)?;
    let _lock = lock(out)?;
    let before = read()?;
    refuse_known(&name, &before, out)?;
    let text = format!("{}\n\n{added}", before.trim_end());
    parse(&text, out).context("add the stream")?;
    replace(out, &text)?;
    screen.say(&format!(
        "added stream `{name}` to {}; look at its guesses, then: bekk check --files",
        out.display()
    ));
    Ok(Outcome::Done)
}

/// Refuses the name of a stream that the configuration has.
fn refuse_known(name: &str, text: &str, out: &Path) -> Result<()> {
    let Some(line) = line_of_stream(text, name) else {
        return Ok(());
    };
    bail!(
        "`{}`, line {line}, has a stream `{name}`; if the file is one of that stream, add it to the stream's `files`; if \
         not, give the new stream another name: --name NAME",
        out.display()
    )
}

fn stream_name(args: &Init, from: &From) -> String {
    let path = match from.piped {
        Some(_) => Path::new("stdin"),
        None => &from.path,
    };
    let typed = args.name.clone();
    typed.unwrap_or_else(|| infer::stream_name(path))
}

/// Infers a text with what was typed of the stream and of the file.
fn with_wanted(
    global: &Global,
    args: &Init,
    from: &From,
    text: impl FnOnce(&Wanted<'_>, &Typed) -> Result<String>,
) -> Result<String> {
    let table = match &args.table {
        Some(name) => Some(existing_table(global, args, name)?),
        None => None,
    };
    let name = &stream_name(args, from);
    let pattern = match from.piped {
        Some(_) => format!("{name}/*"),
        None => pattern_for(&from.path, &args.out)?,
    };
    let wanted = Wanted {
        name,
        patterns: &[pattern],
        others: &[],
        is_piped: from.piped.is_some(),
        table: table.as_ref(),
    };
    text(&wanted, &typed(&args.form)?)
}

/// Reads the columns of the table that was typed.
fn existing_table(global: &Global, args: &Init, name: &str) -> Result<ExistingTable> {
    let database = Context::load(global)?.database(&args.postgres)?;
    let columns = bekk_sink::existing_columns(&database.options, &table_name(name)?)?;
    let columns = columns.with_context(|| {
        format!(
            "take the types of table `{name}`: it does not exist in {}; name an existing table, or leave --table out",
            database.description
        )
    })?;
    Ok(ExistingTable {
        name: name.to_owned(),
        columns,
    })
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
        known.with_context(|| format!("--encoding: `{label}` is not a known encoding"))
    });
    Ok(Typed {
        delimiter: separator(args.delimiter.as_deref(), "delimiter")?,
        record_end: separator(args.record_end.as_deref(), "record-end")?,
        quote: match &args.quote {
            None => None,
            quote => Some(character(quote, "quote")?),
        },
        escape: match &args.escape {
            None => None,
            escape => Some(character(escape, "escape")?),
        },
        comment: character(&args.comment, "comment")?,
        encoding: encoding.transpose()?,
        skip_lines: args.skip_lines,
        header: args.header,
        trim: args.trim,
        trailing_delimiter: args.trailing_delimiter,
        line_end: args.line_end.as_deref().map(|end| match end {
            "cr" => LineEnd::Cr,
            _ => LineEnd::Lf,
        }),
        packing: args.compression.as_deref().map(Packing::named),
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
