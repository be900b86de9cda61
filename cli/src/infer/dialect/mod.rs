//! How a file seems to be written.

mod delimiter;
mod encoding;
mod form;
mod padding;
mod preamble;
mod quoting;
mod tried;

use std::path::Path;

use anyhow::{Result, bail};
use bekk_ingest::{Head, Packing, head};
use bekk_stream::{CsvDialect, Encoding, LineEnd, Separator};

use encoding::text_of;
use form::{EBCDIC, GZIP_TWICE, ISO_2022_JP, TAR, is_access_log, is_fixed_width, other_form};
use preamble::Preamble;
use tried::RECORDS_MAX;

/// How much of the file the dialect is guessed from, in bytes.
pub(super) const HEAD_LEN: usize = 1 << 20;
/// ASCII's character for the end of a record
const RECORD_SEPARATOR: u8 = 0x1e;
/// End of a line to which a carriage return was added twice
const CR_CR_LF: &[u8] = b"\r\r\n";

/// Properties that were typed, which are not guessed
#[derive(Debug, Clone, Default)]
pub(crate) struct Typed {
    pub(crate) delimiter: Option<Separator>,
    pub(crate) record_end: Option<Separator>,
    pub(crate) quote: Option<Option<u8>>,
    pub(crate) escape: Option<Option<u8>>,
    pub(crate) comment: Option<u8>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) skip_lines: Option<u32>,
    pub(crate) header: Option<bool>,
    pub(crate) trim: Option<bool>,
    pub(crate) trailing_delimiter: Option<bool>,
    pub(crate) line_end: Option<LineEnd>,
    /// How the file must be compressed; inside `None` if it must not be.
    pub(crate) packing: Option<Option<Packing>>,
}

/// A dialect, and remarks on what is unsure about it
pub(super) struct Guess {
    pub(super) dialect: CsvDialect,
    pub(super) remarks: Vec<String>,
    /// The names in the last comment before the records, if it has as many as they have fields.
    pub(super) names: Option<Vec<String>>,
    /// The lines before the header, until they are settled.
    preamble: Option<Preamble>,
}

/// Guesses how a file is written, from its first part.
pub(super) fn guess(path: &Path, typed: &Typed) -> Result<Guess> {
    let head = head(path, HEAD_LEN)?;
    check_packing(path, &head, typed)?;
    if head.bytes.is_empty() {
        bail!(
            "`{}` is empty; give a file with a header and some records",
            path.display()
        );
    }
    if head.bytes.trim_ascii().is_empty() {
        bail!(
            "`{}` has only empty lines; give a file with a header and some records",
            path.display()
        );
    }
    refuse_other_form(path, &head.bytes)?;
    let mut guess = Guess {
        dialect: CsvDialect::default(),
        remarks: Vec::new(),
        names: None,
        preamble: None,
    };
    guess.encoding(&head, typed);
    let text = text_of(&head.bytes, guess.dialect.encoding);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    guess.record_end(text, typed);
    let lines: Vec<&[u8]> = text
        .split(|byte| *byte == guess.dialect.end().last())
        .take(RECORDS_MAX)
        .map(<[u8]>::trim_ascii_end)
        .collect();
    let separator = lines
        .first()
        .and_then(|line| bekk_ingest::separator_of(line));
    if typed.delimiter.is_none() && lines.iter().any(|line| is_access_log(line)) {
        bail!(
            "`{}` is a web server's access log, not CSV; to load what is between its spaces: --delimiter ' ' \
             --header false",
            path.display()
        );
    }
    guess.comment(&lines, typed);
    let dialect = &mut guess.dialect;
    dialect.quote = typed.quote.unwrap_or(dialect.quote);
    dialect.escape = typed.escape.flatten();
    dialect.trim = typed.trim.unwrap_or(false);
    dialect.trailing_delimiter = typed.trailing_delimiter.unwrap_or(false);
    let separated = separator.map(Separator::from);
    let known = typed.delimiter.or(separated);
    let width = match guess.single_quoted(path, &lines, known, typed)? {
        Some(width) => width,
        None => guess.delimiter(path, known)?,
    };
    if width <= 1 && known.is_none() && is_fixed_width(&lines) {
        bail!(
            "`{}` is a text whose columns have fixed widths, not CSV; save it as CSV, and give that",
            path.display()
        );
    }
    guess.quoting(path, typed)?;
    guess.text_format(path, typed)?;
    guess.escaped_separators(path, typed)?;
    guess.preamble(&lines, width, separator.is_some(), typed);
    guess.padding(path, typed)?;
    guess.names = guess.commented_names(&lines, width);
    Ok(guess)
}

impl Guess {
    /// Takes the end of a record from the arguments, or else from the text.
    fn record_end(&mut self, text: &[u8], typed: &Typed) {
        if let Some(line_end) = typed.line_end {
            self.dialect.line_end = line_end;
        } else if typed.record_end.is_some() {
            self.dialect.record_end = typed.record_end;
        } else if text
            .iter()
            .find(|byte| matches!(**byte, b'\n' | RECORD_SEPARATOR))
            == Some(&RECORD_SEPARATOR)
        {
            self.dialect.record_end = Some(Separator::from(RECORD_SEPARATOR));
        } else if ends_twice(text) {
            self.dialect.record_end = Separator::new(CR_CR_LF);
        } else if !text.contains(&b'\n') && text.trim_ascii_end().contains(&b'\r') {
            self.dialect.line_end = LineEnd::Cr;
        }
    }
}

/// Whether each line that is not empty ends with two carriage returns: a program wrote `\r\n` in text mode, in which
/// Windows makes `\r\n` of each `\n`.
fn ends_twice(text: &[u8]) -> bool {
    let ended = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let mut lines = text[..ended].split(|byte| *byte == b'\n').peekable();
    lines.peek().is_some_and(|line| line.len() > 2) && lines.all(|line| line.ends_with(b"\r\r"))
}

/// Refuses a file of another form than CSV, or in an encoding that is not read.
fn refuse_other_form(path: &Path, bytes: &[u8]) -> Result<()> {
    let Some(what) = other_form(bytes) else {
        return Ok(());
    };
    let (not, advice) = match what {
        TAR | GZIP_TWICE => ("not CSV", "unpack it, and give the CSV file in it"),
        EBCDIC => ("which is not read", "convert it: iconv -f IBM1047 -t UTF-8"),
        ISO_2022_JP => (
            "which is not read",
            "convert it: iconv -f ISO-2022-JP -t UTF-8",
        ),
        _ => ("not CSV", "save it as CSV, and give that"),
    };
    bail!("`{}` is {what}, {not}; {advice}", path.display());
}

/// Refuses a file that is compressed otherwise than was typed.
fn check_packing(path: &Path, head: &Head, typed: &Typed) -> Result<()> {
    let shown = |packing: Option<Packing>| match packing {
        Some(packing) => format!("compressed with {}", packing.as_str()),
        None => "not compressed".to_owned(),
    };
    match typed.packing {
        Some(packing) if packing != head.packing => bail!(
            "`{}` is {}, and --compression says {}; omit the option to read the file as it is",
            path.display(),
            shown(head.packing),
            shown(packing)
        ),
        _ => Ok(()),
    }
}
