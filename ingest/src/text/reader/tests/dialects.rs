//! Files of other dialects, some by hand and some random. A plain writer writes the random ones, and the reader must find
//! exactly the names that were written.

use bekk_stream::{HeaderMatch, LineEnd, NulPolicy, UnknownPolicy, Value};
use bekk_testing::dialect_with;
use proptest::prelude::*;

use super::*;

#[test]
fn separators_may_be_longer() {
    let separator = |text: &str| Separator::new(text.as_bytes()).unwrap();
    let check = |delimiter: &str, end: &str, content: &str, expected: &[(&str, usize)]| {
        let dialect = CsvDialect {
            delimiter: separator(delimiter),
            record_end: Some(separator(end)).filter(|_| end != "\n"),
            comment: Some(b'#'),
            ..CsvDialect::default()
        };
        for step in [content.len(), 1, 3] {
            let steps: Vec<_> = (step..content.len()).step_by(step).collect();
            let taken = read(content.as_bytes(), &dialect, &steps).unwrap();
            let found: Vec<_> = taken
                .iter()
                .map(|taken| (&content[taken.start..taken.end], taken.fault.is_none()))
                .collect();
            let lines: Vec<_> = taken.iter().map(|taken| taken.line).collect();
            let expected_lines: Vec<_> = expected.iter().map(|(_, line)| *line as u64).collect();
            let expected: Vec<_> = expected.iter().map(|(text, _)| (*text, true)).collect();
            assert_eq!((found, lines), (expected, expected_lines), "{content:?}");
        }
    };
    check(
        "||",
        "\n",
        "id||name||Price\r\n1||a|b||2\n# none\n2||\"x||y\nz\"||3\n",
        &[("1||a|b||2\n", 2), ("2||\"x||y\nz\"||3\n", 4)],
    );
    check(
        "~|~",
        "\u{1e}",
        "id~|~name~|~Price\u{1e}1~|~a\nb~|~2\u{1e}\u{1e}2~|~~~|~3",
        &[("1~|~a\nb~|~2\u{1e}", 2), ("2~|~~~|~3", 4)],
    );
    check(
        "|",
        "|\n",
        "id|name|Price|\n1|a|2|\n2||3|\n",
        &[("1|a|2|\n", 2), ("2||3|\n", 3)],
    );
}

#[test]
fn other_dialects() {
    let dialect = CsvDialect {
        delimiter: b';'.into(),
        quote: Some(b'\''),
        skip_lines: 2,
        comment: Some(b'#'),
        ..CsvDialect::default()
    };
    let content = "made by x\n;;\"\n# note\nid;name\n1;'a;''b'\n#2;c\n3;\"\n#";
    check_in(
        &dialect,
        content,
        &[("1;'a;''b'\n", None), ("3;\"\n", None)],
    );
    let without = dialect_with(|it| it.quote = None);
    check_in(
        &without,
        "id,name\n1,\"a\n2,b\"c\n",
        &[("1,\"a\n", None), ("2,b\"c\n", None)],
    );
    let latin1 = dialect_with(|it| it.encoding = Encoding::Latin1);
    let taken = read_both(b"id,name\n1,\"bl\xe5\"\n", &latin1).unwrap();
    let Body::Row(row) = Payload::decode(&taken[0].payload).unwrap().body else {
        panic!("a row")
    };
    let values: Vec<_> = row.map(Result::unwrap).collect();
    assert_eq!(values[1], bekk_stream::Value::Text("blå".into()));
}

/// How a file is written.
#[derive(Debug, Clone)]
struct Form {
    dialect: CsvDialect,
    has_mark: bool,
    names_separator: bool,
    /// Whether the header has a name, and each record a field, that no column has.
    has_more: bool,
    /// What is put before each row: nothing, a blank line, a comment, a footer.
    between: Vec<u8>,
}

/// Characters that mean something in some dialect, and others.
fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop::sample::select("xé ,;|~\t\"'\\\n\r#$\u{1e}N=\0".chars().collect::<Vec<_>>()),
        1..6,
    )
    .prop_map(String::from_iter)
}

/// The keys that separate fields and records.
fn separated() -> impl Strategy<Value = CsvDialect> {
    let delimiters = ["\t", ",", ";", "||", "~|~", "\u{1}"];
    let ends = [None, Some("\u{1e}"), Some("$\n"), Some("\r")];
    (
        prop::sample::select(delimiters.to_vec()),
        prop::sample::select(ends.to_vec()),
        prop::sample::select(vec![Some(b'"'), Some(b'\''), None]),
        prop::sample::select(vec![None, Some(b'\\')]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(delimiter, end, quote, escape, trim, quoted_newlines)| {
            let separator = |text: &str| Separator::new(text.as_bytes()).unwrap();
            CsvDialect {
                delimiter: separator(delimiter),
                record_end: end.filter(|end| *end != "\r").map(separator),
                line_end: if end == Some("\r") {
                    LineEnd::Cr
                } else {
                    LineEnd::Lf
                },
                quote,
                escape,
                trim,
                quoted_newlines,
                ..CsvDialect::default()
            }
        })
}

/// The keys for the lines around records and for the meaning of fields.
fn meaning() -> impl Strategy<Value = CsvDialect> {
    let names = ["id", "name", "Price"].map(str::to_owned).to_vec();
    let headers = [
        HeaderRow::InFile,
        HeaderRow::InFile,
        HeaderRow::Absent,
        HeaderRow::Named(names),
    ];
    let nulls = [vec![String::new()], vec!["N".to_owned()], Vec::new()];
    (
        prop::sample::select(headers.to_vec()),
        prop::sample::select(nulls.to_vec()),
        prop::sample::select(vec![NulPolicy::Strip, NulPolicy::Replace]),
        prop::sample::select(vec![b'.', b',']),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        0u32..3,
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(
                header,
                null,
                nul,
                decimal,
                (trailing, comment, footer),
                skip_lines,
                (near, ignore),
            )| {
                CsvDialect {
                    header,
                    null,
                    nul,
                    decimal,
                    trailing_delimiter: trailing,
                    comment: comment.then_some(b'#'),
                    footer: footer.then(|| "Total".to_owned()).into_iter().collect(),
                    skip_lines,
                    header_match: if near {
                        HeaderMatch::Near
                    } else {
                        HeaderMatch::Exact
                    },
                    unknown: if ignore {
                        UnknownPolicy::Ignore
                    } else {
                        UnknownPolicy::Report
                    },
                    ..CsvDialect::default()
                }
            },
        )
}

/// The encodings, and whether a file has a byte order mark.
const ENCODINGS: [(&str, bool); 9] = [
    ("utf8", false),
    ("utf8", true),
    ("utf16", true),
    ("utf16le", false),
    ("utf16le", true),
    ("utf16be", false),
    ("utf16be", true),
    ("windows-1252", false),
    ("shift_jis", false),
];

fn form() -> impl Strategy<Value = Form> {
    (
        separated(),
        meaning(),
        prop::sample::select(ENCODINGS.to_vec()),
        (any::<bool>(), any::<bool>()),
        proptest::collection::vec(0u8..4, 8),
    )
        .prop_map(
            |(separated, meaning, (label, has_mark), (sep, more), between)| {
                let mut dialect = CsvDialect {
                    delimiter: separated.delimiter,
                    record_end: separated.record_end,
                    line_end: separated.line_end,
                    quote: separated.quote,
                    escape: separated.escape,
                    trim: separated.trim,
                    quoted_newlines: separated.quoted_newlines,
                    encoding: Encoding::label(label).unwrap(),
                    ..meaning
                };
                let delimiter = dialect.delimiter.text();
                // These cannot be told from the second byte of a character if that may be ASCII.
                if dialect.encoding.has_ascii_trails() {
                    dialect.escape = None;
                    if delimiter.bytes().any(|byte| byte >= 0x30) {
                        dialect.delimiter = Separator::from(b'\t');
                    }
                }
                if delimiter == "," {
                    dialect.decimal = b'.';
                }
                let names_separator = sep
                    && dialect.skip_lines == 0
                    && dialect.end() == b'\n'
                    && [",", ";"].contains(&delimiter.as_str());
                Form {
                    has_more: more && dialect.header == HeaderRow::InFile,
                    dialect,
                    has_mark,
                    names_separator,
                    between,
                }
            },
        )
}

impl Form {
    /// Returns a field as a writer writes it, and its value, `None` for null. Characters that nothing can protect are left
    /// out.
    fn field(&self, text: &str) -> (String, Option<String>) {
        let (written, meant) = self.protected(text);
        let is_null = written == meant && self.dialect.null.contains(&meant);
        let meant = match self.dialect.nul {
            NulPolicy::Strip => meant.replace('\0', ""),
            _ => meant.replace('\0', "\u{fffd}"),
        };
        (written, (!is_null).then_some(meant))
    }

    fn protected(&self, text: &str) -> (String, String) {
        let CsvDialect {
            quote,
            escape,
            trim,
            quoted_newlines,
            ..
        } = self.dialect;
        let (delimiter, end) = (self.dialect.delimiter.text(), self.dialect.end().text());
        let is_special = |c: char| {
            delimiter.contains(c)
                || end.contains(c)
                || matches!(c, '\r' | '\n')
                || [quote, escape].contains(&u8::try_from(c).ok())
        };
        let blank = |c: char| matches!(c, ' ' | '\t');
        let is_plain = !text.contains(is_special) && (!trim || text.trim_matches(blank) == text);
        let protect = |c: char, with: char| format!("{with}{c}");
        match (quote.map(char::from), escape.map(char::from)) {
            _ if is_plain => (text.to_owned(), text.to_owned()),
            (Some(quote), escape) => {
                let is_kept =
                    |c: &char| quoted_newlines || !(end.contains(*c) || matches!(c, '\r' | '\n'));
                let kept: String = text.chars().filter(is_kept).collect();
                let inside = kept.chars().map(|c| match c {
                    c if Some(c) == escape || c == quote => protect(c, escape.unwrap_or(quote)),
                    c => c.to_string(),
                });
                (
                    format!("{quote}{}{quote}", inside.collect::<String>()),
                    kept.clone(),
                )
            }
            (None, Some(escape)) => {
                // Without newlines in fields, the end of a record ends it in any case.
                let is_kept = |c: &char| quoted_newlines || !end.contains(*c) || c.is_whitespace();
                let kept: String = text.chars().filter(is_kept).collect();
                let inside = kept.chars().map(|c| match c {
                    '\n' => format!("{escape}n"),
                    '\r' => format!("{escape}r"),
                    '\t' => format!("{escape}t"),
                    c if is_special(c) || c == ' ' => protect(c, escape),
                    c => c.to_string(),
                });
                (inside.collect(), kept.clone())
            }
            (None, None) => {
                let mut kept: String = text.chars().filter(|c| !is_special(*c)).collect();
                if trim {
                    kept = kept.trim_matches(blank).to_owned();
                }
                if kept.is_empty() {
                    kept.push('x');
                }
                (kept.clone(), kept)
            }
        }
    }

    /// The header line's names, as the dialect lets them be written.
    fn header(&self) -> Option<String> {
        if self.dialect.header != HeaderRow::InFile {
            return None;
        }
        let name = match self.dialect.header_match {
            HeaderMatch::Near => "NAME",
            HeaderMatch::Exact => "name",
        };
        let names = ["id", name, "Price", "more"];
        let count = if self.has_more { 4 } else { 3 };
        Some(names[..count].join(&self.dialect.delimiter.text()))
    }

    /// The file, and the names in it.
    fn write(&self, names: &[String]) -> (Vec<u8>, Vec<Option<String>>) {
        let (delimiter, end) = (self.dialect.delimiter.text(), self.dialect.end().text());
        let last = match self.dialect.trailing_delimiter {
            true => format!("{delimiter}{end}"),
            false => end.clone(),
        };
        let mut text = String::new();
        if self.names_separator {
            text.push_str(&format!("sep={delimiter}{end}"));
        }
        for line in 0..self.dialect.skip_lines {
            text.push_str(&format!("title {line}{end}"));
        }
        if let Some(header) = self.header() {
            text.push_str(&format!("{header}{last}"));
        }
        let price = format!("1{}5", char::from(self.dialect.decimal));
        let more = match self.has_more {
            true => format!("{delimiter}y"),
            false => String::new(),
        };
        let is_japanese = self.dialect.encoding.has_ascii_trails();
        let mut meant = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match self.between.get(at) {
                Some(1) => text.push_str(&end),
                Some(2) if self.dialect.comment.is_some() => text.push_str(&format!("# {at}{end}")),
                Some(3) if !self.dialect.footer.is_empty() => {
                    text.push_str(&format!("Total{delimiter}{at}{end}"));
                }
                _ => {}
            }
            // Its second byte in Shift_JIS is that of a backslash.
            let name = match is_japanese {
                true => name.replace('é', "ソ"),
                false => name.clone(),
            };
            let (written, name) = self.field(&name);
            text.push_str(&format!(
                "{at}{delimiter}{written}{delimiter}{price}{more}{last}"
            ));
            meant.push(name);
        }
        (self.encode(&text), meant)
    }

    fn encode(&self, text: &str) -> Vec<u8> {
        let marked = format!("{}{text}", if self.has_mark { "\u{feff}" } else { "" });
        let wide = |bytes: fn(u16) -> [u8; 2]| marked.encode_utf16().flat_map(bytes).collect();
        match self.dialect.encoding {
            Encoding::Utf16 | Encoding::Utf16Le => wide(u16::to_le_bytes),
            Encoding::Utf16Be => wide(u16::to_be_bytes),
            other => match other.decoder() {
                Some(encoding) => encoding.encode(&marked).0.into_owned(),
                None => marked.into_bytes(),
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_file_of_any_dialect_says_what_was_written(form in form(), names in proptest::collection::vec(name(), 1..6)) {
        let (content, meant) = form.write(&names);
        let shown = content.escape_ascii().to_string();
        let taken = read_both(&content, &form.dialect);
        let taken = taken.map_err(|why| TestCaseError::fail(format!("{why}: {shown}")))?;
        let found: Vec<Option<String>> = taken
            .iter()
            .map(|taken| match Payload::decode(&taken.payload).unwrap().body {
                Body::Row(mut row) => match row.nth(1) {
                    Some(Ok(Value::Text(name))) => Some(name.to_string()),
                    Some(Ok(Value::Null)) => None,
                    other => Some(format!("{other:?}")),
                },
                Body::Reject(reject) => Some(format!("{reject:?}")),
            })
            .collect();
        prop_assert_eq!(found, meant, "{}", shown);
    }

    /// For any bytes and separators, the splitter finds the same as a slow reader, which looks at one byte after the other.
    #[test]
    fn any_bytes_are_split_as_slowly(dialect in separated(), bytes in any_bytes()) {
        crate::text::property::check_form(&dialect, &bytes);
    }
}

/// Bytes among which the special ones of all dialects are frequent.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(b",,;;\t|~\x01\"\"''\\\\\n\n\r\r$\x1e  x1\xff".to_vec());
    proptest::collection::vec(special, 0..60)
}
