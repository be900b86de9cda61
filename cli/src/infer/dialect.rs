//! How a file seems to be written.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bekk_ingest::{Head, head, sample};
use bekk_stream::{CsvDialect, Encoding, HeaderRow, LineEnd, Separator};

/// How much of the file the dialect is guessed from, in bytes.
pub(super) const HEAD_LEN: usize = 1 << 20;
/// How many records are tried under each delimiter.
const TRIED: usize = 300;
/// What ASCII has for the end of a record.
const RECORD_SEPARATOR: u8 = 0x1e;
/// How many lines may stand before the header.
const SKIPPED_MAX: usize = 50;

/// What was typed: it is not guessed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Typed {
    pub(crate) delimiter: Option<Separator>,
    pub(crate) record_end: Option<Separator>,
    pub(crate) quote: Option<Option<u8>>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) skip_lines: Option<u32>,
    pub(crate) header: Option<bool>,
}

/// A dialect, and what is unsure about it.
pub(super) struct Guess {
    pub(super) dialect: CsvDialect,
    pub(super) remarks: Vec<String>,
}

/// Guesses how a file is written, from its first part.
pub(super) fn guess(path: &Path, typed: &Typed) -> Result<Guess> {
    let head = head(path, HEAD_LEN).with_context(|| format!("read `{}`", path.display()))?;
    if head.bytes.is_empty() {
        bail!(
            "`{}` is empty; give a file with a header and some records",
            path.display()
        );
    }
    if let Some(what) = other_form(&head.bytes) {
        bail!(
            "`{}` is {what}, not CSV; save it as CSV, and give that",
            path.display()
        );
    }
    let mut guess = Guess {
        dialect: CsvDialect::default(),
        remarks: Vec::new(),
    };
    guess.encoding(&head, typed);
    let text = text_of(&head.bytes, guess.dialect.encoding);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    if typed.record_end.is_some() {
        guess.dialect.record_end = typed.record_end;
    } else if text
        .iter()
        .find(|byte| matches!(**byte, b'\n' | RECORD_SEPARATOR))
        == Some(&RECORD_SEPARATOR)
    {
        guess.dialect.record_end = Some(Separator::from(RECORD_SEPARATOR));
    } else if !text.contains(&b'\n') && text.trim_ascii_end().contains(&b'\r') {
        guess.dialect.line_end = LineEnd::Cr;
    }
    let lines: Vec<&[u8]> = text
        .split(|byte| *byte == guess.dialect.end().last())
        .take(TRIED)
        .map(<[u8]>::trim_ascii_end)
        .collect();
    let separator = lines.first().and_then(|line| separator_of(line));
    guess.comment(&lines, typed);
    let dialect = &mut guess.dialect;
    dialect.quote = typed.quote.unwrap_or(dialect.quote);
    dialect.escape = typed.escape;
    let separated = separator.map(Separator::from);
    let known = typed.delimiter.or(separated);
    let width = match guess.single_quoted(path, &lines, known, typed)? {
        Some(width) => width,
        None => guess.delimiter(path, known)?,
    };
    guess.quoting(path, typed)?;
    guess.preamble(&lines, width, separator.is_some(), typed);
    Ok(guess)
}

impl Guess {
    fn encoding(&mut self, head: &Head, typed: &Typed) {
        let bytes = &head.bytes[..];
        let zeros = |odd: usize| {
            let every_second = bytes.iter().skip(odd).step_by(2).take(2000);
            let (zeros, all) = every_second.fold((0, 0), |(zeros, all), byte| {
                (zeros + usize::from(*byte == 0), all + 1)
            });
            all > 1 && zeros * 4 > all * 3
        };
        self.dialect.encoding = match typed.encoding {
            Some(encoding) => encoding,
            None if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") => {
                Encoding::Utf16
            }
            None if zeros(1) => Encoding::Utf16Le,
            None if zeros(0) => Encoding::Utf16Be,
            None if is_utf8(bytes, head.is_all) => Encoding::Utf8,
            None => self.not_utf8(bytes),
        };
    }

    /// The likeliest encoding of what is not UTF-8.
    pub(super) fn not_utf8(&mut self, bytes: &[u8]) -> Encoding {
        let encoding = double_byte(bytes)
            .or_else(|| Encoding::label("windows-1252"))
            .expect("it is on the list");
        self.remarks.push(format!(
            "the file is not UTF-8: {} is a guess; compare some names with umlauts, accents or other letters, and see \
             `encoding` in the user guide",
            encoding.name()
        ));
        encoding
    }

    fn comment(&mut self, lines: &[&[u8]], typed: &Typed) {
        let is_comment = |line: &&&[u8]| line.starts_with(b"#");
        let leading = lines.iter().take_while(is_comment).count();
        let all = lines.iter().filter(is_comment).count();
        // A single one may be the header of a file whose first column is called `#`.
        let is_header = leading == 1
            && all == 1
            && lines.get(1).is_some_and(|next| {
                let count =
                    |line: &[u8]| line.iter().filter(|byte| b",;\t|".contains(byte)).count();
                count(lines[0]) == count(next) && count(next) > 0
            });
        self.dialect.comment = typed
            .comment
            .or((leading > 0 && !is_header).then_some(b'#'))
            .or(begins_with_semicolons(lines).then_some(b';'));
    }

    /// Takes single quotes for quotes where there are no others, all are in order, and most records have some; how many
    /// fields most records have with them.
    fn single_quoted(
        &mut self,
        path: &Path,
        lines: &[&[u8]],
        known: Option<Separator>,
        typed: &Typed,
    ) -> Result<Option<usize>> {
        let has = |byte: u8| lines.iter().any(|line| line.contains(&byte));
        if typed.quote.is_some() || has(b'"') || !has(b'\'') {
            return Ok(None);
        }
        let mut single = Guess {
            dialect: CsvDialect {
                quote: Some(b'\''),
                ..self.dialect.clone()
            },
            remarks: Vec::new(),
        };
        let width = single.delimiter(path, known)?;
        let found = tried(path, &single.dialect)?;
        // An apostrophe inside a field is a wrong quote.
        if found.bad > 0 || found.quoted * 2 <= found.widths.len() {
            return Ok(None);
        }
        self.dialect = single.dialect;
        self.remarks.append(&mut single.remarks);
        self.remarks
            .push("fields are in single quotes, which are not part of their values".to_owned());
        Ok(Some(width))
    }

    /// Finds the delimiter that most records agree about; how many fields they have with it.
    fn delimiter(&mut self, path: &Path, known: Option<Separator>) -> Result<usize> {
        let candidates = match known {
            Some(known) => vec![known],
            None => [b',', b';', b'\t', b'|'].map(Separator::from).to_vec(),
        };
        let mut best = None;
        for delimiter in candidates {
            let dialect = CsvDialect {
                delimiter,
                ..self.dialect.clone()
            };
            let widths = tried(path, &dialect)?.widths;
            let width = most_common(&widths);
            let agreeing = widths.iter().filter(|found| **found == width).count();
            let score = match width {
                0 | 1 => (0, 0),
                _ => (agreeing, width),
            };
            if best.is_none_or(|(other, _)| score > other) {
                best = Some((score, (delimiter, width)));
            }
        }
        let (_, (mut delimiter, mut width)) = best.expect("there is a candidate");
        if width <= 1 && known.is_none() {
            (delimiter, width) = self.rarer_delimiter(path)?.unwrap_or((delimiter, width));
            if width > 1 {
                self.remarks.push(format!(
                    "the fields seem to be separated by `{}`",
                    delimiter.text().escape_default()
                ));
            }
        } else if known.is_none() {
            (delimiter, width) = self.longer_delimiter(path, delimiter, width)?;
        }
        self.dialect.delimiter = delimiter;
        if width <= 1 {
            self.remarks.push(
                "one column was found; if there are more, name their separator: --delimiter"
                    .to_owned(),
            );
        }
        Ok(width)
    }

    /// A delimiter that few files have, if all records agree about it, and numbers or quotes say that it is one. R
    /// writes tables with blanks, Hive with U+0001.
    fn rarer_delimiter(&self, path: &Path) -> Result<Option<(Separator, usize)>> {
        for byte in [0x01, 0x1f, b'~', b'^', b' '] {
            let delimiter = Separator::from(byte);
            let dialect = CsvDialect {
                delimiter,
                ..self.dialect.clone()
            };
            let Tried {
                widths,
                bad,
                likely,
                ..
            } = tried(path, &dialect)?;
            let width = most_common(&widths);
            let first = widths.first().copied().unwrap_or(0);
            let is_even = widths.len() > 2 && widths[1..].iter().all(|other| *other == width);
            let is_headed = first == width || (first + 1 == width && width > 2);
            // Texts have blanks in them; a header in quotes says that these are none of a text.
            let fields = likely.iter().sum::<usize>();
            let is_third = fields * 3 > widths.len() * width;
            let is_plausible = match byte {
                b' ' => is_third && likely.first() == Some(&first),
                0x01 | 0x1f => true,
                _ => is_third,
            };
            if width > 1 && bad == 0 && is_even && is_headed && is_plausible {
                let (delimiter, width) = self.longer_delimiter(path, delimiter, width)?;
                return Ok(Some((delimiter, width)));
            }
        }
        Ok(None)
    }

    /// A delimiter of several characters of which one alone seemed to be it: then each record has as many of those as
    /// the longer one leaves.
    fn longer_delimiter(
        &self,
        path: &Path,
        found: Separator,
        width: usize,
    ) -> Result<(Separator, usize)> {
        let single = tried(path, &self.with_delimiter(found))?.widths;
        for text in [
            "||", "~|~", "|~|", "^|^", "|^|", "~~", "^^", ";;", "\t\t", "||~||",
        ] {
            let longer = Separator::new(text.as_bytes()).expect("it is short");
            let times = text.bytes().filter(|byte| found == *byte).count();
            if times == 0 {
                continue;
            }
            let widths = tried(path, &self.with_delimiter(longer))?.widths;
            // A header of names is enough where the records have the single character in their values.
            let is_made = |(single, longer): (&usize, &usize)| single - 1 == (longer - 1) * times;
            let is_made_of =
                single.len() == widths.len() && single.iter().zip(&widths).all(is_made);
            let is_named = single.iter().zip(&widths).next().is_some_and(is_made);
            let is_even = widths.iter().all(|width| *width == widths[0]);
            if (is_made_of || (is_named && is_even)) && most_common(&widths) > 1 {
                return Ok((longer, most_common(&widths)));
            }
        }
        Ok((found, width))
    }

    fn with_delimiter(&self, delimiter: Separator) -> CsvDialect {
        CsvDialect {
            delimiter,
            ..self.dialect.clone()
        }
    }

    /// Where quotes are wrong: whether blanks before them or escapes explain it.
    fn quoting(&mut self, path: &Path, typed: &Typed) -> Result<()> {
        let mut fewest = tried(path, &self.dialect)?.bad;
        if fewest == 0 || typed.quote.is_some() || typed.escape.is_some() {
            return Ok(());
        }
        let plain = self.dialect.clone();
        for (trim, escape) in [(true, None), (false, Some(b'\\')), (true, Some(b'\\'))] {
            let candidate = CsvDialect {
                trim,
                escape,
                ..plain.clone()
            };
            let bad = tried(path, &candidate)?.bad;
            if bad < fewest {
                (fewest, self.dialect) = (bad, candidate);
            }
        }
        if fewest == 0 {
            return Ok(());
        }
        // Inches and seconds: quotes that no field begins with.
        let without = CsvDialect {
            quote: None,
            ..plain
        };
        let width = most_common(&tried(path, &without)?.widths);
        let (mut quoted, mut uneven) = (0, 0);
        sample(path, &without, |record| {
            quoted += (0..record.width())
                .filter(|at| {
                    record
                        .field(*at)
                        .is_some_and(|(text, _)| text.starts_with(b"\""))
                })
                .count();
            uneven += usize::from(record.width() != width);
            quoted + uneven == 0
        })
        .context("read the file")?;
        if quoted + uneven == 0 {
            self.dialect = without;
            self.remarks.push(
                "quotes are taken as inches and the like: no field begins with one".to_owned(),
            );
        }
        Ok(())
    }

    /// Finds the header: the first line that is as wide as the others.
    fn preamble(&mut self, lines: &[&[u8]], width: usize, has_separator: bool, typed: &Typed) {
        if let Some(skipped) = typed.skip_lines {
            self.dialect.skip_lines = skipped;
            return;
        }
        let is_passed =
            |line: &[u8]| line.is_empty() || line.first().copied() == self.dialect.comment;
        let width_of = |line: &[u8]| self.width_of(line);
        let first = lines.iter().position(|line| {
            !is_passed(line) && (width_of(line) == width || self.names_more(line, width))
        });
        let begin = usize::from(has_separator);
        let before = |end: usize| {
            lines[begin.min(end)..end]
                .iter()
                .any(|line| !is_passed(line))
        };
        match first {
            // A header with fewer names, and records of its own: the other one comes later.
            Some(first) if self.continues(&lines[begin.min(first)..first], lines[first]) => {}
            Some(first) if first <= SKIPPED_MAX && before(first) && width > 1 => {
                let is_narrow = lines[begin..first]
                    .iter()
                    .rposition(|line| !is_passed(line));
                let narrow = is_narrow.map(|at| lines[begin + at]);
                // A header without the field that a delimiter at the end of each record makes.
                if narrow.is_some_and(|line| width_of(line) + 1 == width)
                    && lines[first].ends_with(self.dialect.delimiter.as_bytes())
                {
                    self.dialect.trailing_delimiter = true;
                    return;
                }
                let above = is_narrow.filter(|at| begin + at + 1 == first);
                self.dialect.skip_lines = u32::try_from(first).unwrap_or(0);
                if let Some(names) =
                    above.and_then(|at| self.names_beside(lines[begin + at], width))
                    && typed.header.is_none()
                {
                    self.dialect.header = HeaderRow::Named(names);
                    self.remarks.push(
                        "the header has a name less than the records have fields: the first field, which R and pandas \
                         write without a name, is called `row`"
                            .to_owned(),
                    );
                    return;
                }
                self.remarks.push(format!(
                    "line {} is taken as the header: the first one with {width} fields",
                    first + 1
                ));
            }
            _ => {}
        }
    }

    /// Whether the lines before a header are a header that it extends, and records of that.
    fn continues(&self, before: &[&[u8]], header: &[u8]) -> bool {
        let [first, records @ ..] = before else {
            return false;
        };
        let width = self.width_of(first);
        let is_extended = header
            .strip_prefix(*first)
            .is_some_and(|rest| rest.starts_with(self.dialect.delimiter.as_bytes()));
        width > 1
            && is_extended
            && !records.is_empty()
            && records.iter().all(|line| self.width_of(line) == width)
    }

    /// Whether a line is a header with more fields than most records have: it has only names.
    fn names_more(&self, line: &[u8], width: usize) -> bool {
        let (text, delimiter) = (String::from_utf8_lossy(line), self.dialect.delimiter.text());
        let mut names = text.split(delimiter.as_str()).map(str::trim);
        self.width_of(line) > width
            && names.all(|name| !name.is_empty() && name.parse::<f64>().is_err())
    }

    /// The names of a header that names all fields but the first.
    fn names_beside(&self, line: &[u8], width: usize) -> Option<Vec<String>> {
        if self.width_of(line) + 1 != width {
            return None;
        }
        let text = std::str::from_utf8(line).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let names: Vec<String> = text
            .split(self.dialect.delimiter.text().as_str())
            .map(|name| name.trim_matches('"').to_owned())
            .collect();
        let is_name = |name: &String| {
            !name.is_empty() && !name.contains('"') && name.parse::<f64>().is_err() && name != "row"
        };
        let mut different = names.clone();
        different.sort_unstable();
        different.dedup();
        let are_names = names.iter().all(is_name) && different.len() == names.len();
        (are_names && names.len() + 1 == width).then(|| [vec!["row".to_owned()], names].concat())
    }

    fn width_of(&self, line: &[u8]) -> usize {
        let delimiter = self.dialect.delimiter.as_bytes();
        let (mut quoted, mut width, mut at) = (false, 1, 0);
        while at < line.len() {
            if Some(line[at]) == self.dialect.escape {
                at += 2;
                continue;
            }
            quoted ^= Some(line[at]) == self.dialect.quote;
            let is_delimiter = !quoted && line[at..].starts_with(delimiter);
            width += usize::from(is_delimiter);
            at += if is_delimiter { delimiter.len() } else { 1 };
        }
        width
    }
}

/// What came of some records under a dialect.
struct Tried {
    widths: Vec<usize>,
    /// How many have wrong quotes.
    bad: usize,
    /// How many have fields in quotes.
    quoted: usize,
    /// How many fields of each are numbers or quoted.
    likely: Vec<usize>,
}

fn tried(path: &Path, dialect: &CsvDialect) -> Result<Tried> {
    let mut tried = Tried {
        widths: Vec::new(),
        bad: 0,
        quoted: 0,
        likely: Vec::new(),
    };
    sample(path, dialect, |record| {
        tried.widths.push(record.width());
        let is_number =
            |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.parse::<f64>().is_ok());
        let fields = || (0..record.width()).filter_map(|at| record.field(at));
        tried.quoted += usize::from(fields().any(|(_, quoted)| quoted));
        let likely = fields().filter(|(text, quoted)| *quoted || is_number(text));
        tried.likely.push(likely.count());
        tried.bad += usize::from(record.is_bad());
        tried.widths.len() < TRIED
    })
    .context("read the file")?;
    Ok(tried)
}

/// Whether a text begins with lines of comment behind semicolons, and has no others: where they separate fields, one at
/// a line's beginning may be an empty field's.
fn begins_with_semicolons(lines: &[&[u8]]) -> bool {
    let is_comment = |line: &&[u8]| line.starts_with(b";");
    let others = || lines.iter().filter(|line| !is_comment(line));
    lines.first().is_some_and(is_comment)
        && others().any(|line| !line.is_empty())
        && !others().any(|line| line.contains(&b';'))
}

fn most_common(widths: &[usize]) -> usize {
    let count = |width: &usize| widths.iter().filter(|found| *found == width).count();
    widths
        .iter()
        .copied()
        .max_by_key(|width| (count(width), *width))
        .unwrap_or(0)
}

fn is_utf8(bytes: &[u8], is_all: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => !is_all && error.error_len().is_none(),
    }
}

/// The encoding of a text that is more likely Chinese, Japanese or Korean than European: it has bytes that Windows-1252
/// lacks, or nearly all bytes above ASCII come in pairs.
fn double_byte(bytes: &[u8]) -> Option<Encoding> {
    const LACKED: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];
    const PAIRS_MIN: usize = 4;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let bytes = &bytes[..whole.map_or(bytes.len(), |at| at + 1)];
    let is_lacked = bytes.iter().any(|byte| LACKED.contains(byte));
    let runs = bytes.split(u8::is_ascii).map(<[u8]>::len);
    let (high, paired) = runs.fold((0, 0), |(high, paired), run| {
        (high + run, paired + if run % 2 == 0 { run } else { 0 })
    });
    let is_paired = high >= PAIRS_MIN * 2 && paired * 10 >= high * 9;
    let labels: &[&str] = match (is_lacked, is_paired) {
        (_, true) => &["gbk", "euc-kr", "big5"],
        (true, false) => &["shift_jis", "gbk", "big5"],
        (false, false) => &[],
    };
    labels
        .iter()
        .filter_map(|label| Encoding::label(label))
        .find(|encoding| {
            let decoder = encoding.decoder();
            decoder.is_some_and(|it| !it.decode_without_bom_handling(bytes).1)
        })
}

/// The text, so far as its structure goes.
fn text_of(bytes: &[u8], encoding: Encoding) -> Vec<u8> {
    let is_big = encoding == Encoding::Utf16Be || bytes.starts_with(b"\xfe\xff");
    match encoding {
        Encoding::Utf16 | Encoding::Utf16Le | Encoding::Utf16Be => {
            let units = bytes.chunks_exact(2).map(|pair| match is_big {
                true => u16::from_be_bytes([pair[0], pair[1]]),
                false => u16::from_le_bytes([pair[0], pair[1]]),
            });
            String::from_utf16_lossy(&units.collect::<Vec<_>>()).into_bytes()
        }
        _ => bytes.to_vec(),
    }
}

/// The delimiter that a line for spreadsheets names: `sep=;`.
fn separator_of(line: &[u8]) -> Option<u8> {
    let line = line
        .strip_prefix(b"\"")
        .and_then(|line| line.strip_suffix(b"\""))
        .unwrap_or(line);
    match line.strip_prefix(b"sep=")? {
        [separator] => Some(*separator),
        [] => Some(b'\t'),
        _ => None,
    }
}

/// What a file is that begins like one of another form.
fn other_form(bytes: &[u8]) -> Option<&'static str> {
    let forms: [(&[u8], &str); 7] = [
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "an old Excel workbook (.xls)",
        ),
        (b"PAR1", "a Parquet file"),
        (b"%PDF-", "a PDF"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY", "a numpy file"),
        (
            b"\x00\x05\x16\x07",
            "macOS metadata of a file (AppleDouble)",
        ),
    ];
    let found = forms.iter().find(|(magic, _)| bytes.starts_with(magic));
    found.map(|(_, what)| *what).or_else(|| text_form(bytes))
}

/// What a text is that is no CSV: markup, JSON, or a table as programs draw it for a screen.
fn text_form(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    let begin = String::from_utf8_lossy(&text[..text.len().min(64)]).to_ascii_lowercase();
    let squeezed: String = begin.split_whitespace().collect();
    let begins = |with: &[&str]| with.iter().any(|with| squeezed.starts_with(with));
    if begins(&["<!doctypehtml", "<html"]) {
        return Some("a web page (HTML)");
    }
    if begins(&["<?xml"]) {
        return Some("XML");
    }
    if begins(&["{\"", "[{\"", "[[", "[]", "{}"]) {
        return Some("JSON");
    }
    let is_rule = |line: &[u8]| {
        let line = line.trim_ascii();
        line.iter().all(|byte| b"-+|: ".contains(byte))
            && line.windows(2).any(|pair| pair == b"--")
            && line.iter().any(|byte| b"+|".contains(byte))
    };
    let mut lines = text.split(|byte| *byte == b'\n').take(2);
    lines
        .any(is_rule)
        .then_some("a table as psql, mysql or Markdown draw it for a screen")
}
