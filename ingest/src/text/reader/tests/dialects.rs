//! Files of other dialects: some by hand, and random ones, written by a plain writer, of which the reader finds what was
//! written, and nothing else.

use bekk_stream::{LineEnd, Value};
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
    let without = CsvDialect {
        quote: None,
        ..CsvDialect::default()
    };
    check_in(
        &without,
        "id,name\n1,\"a\n2,b\"c\n",
        &[("1,\"a\n", None), ("2,b\"c\n", None)],
    );
    let latin1 = CsvDialect {
        encoding: Encoding::Latin1,
        ..CsvDialect::default()
    };
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
    /// What is put before each row: nothing, a blank line, a comment, a footer.
    between: Vec<u8>,
}

/// Characters that mean something in some dialect, and others.
fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop::sample::select("xé ,;|~\t\"'\\\n\r#$\u{1e}N=".chars().collect::<Vec<_>>()),
        1..6,
    )
    .prop_map(String::from_iter)
}

fn form() -> impl Strategy<Value = Form> {
    let delimiters = ["\t", ",", ";", "||", "~|~", "\u{1}"];
    let ends = [None, Some("\u{1e}"), Some("$\n"), Some("\r")];
    (
        prop::sample::select(delimiters.to_vec()),
        prop::sample::select(ends.to_vec()),
        prop::sample::select(vec![Some(b'"'), Some(b'\''), None]),
        prop::sample::select(vec![None, Some(b'\\')]),
        (
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>(),
        ),
        (0u32..3, any::<bool>()),
        proptest::collection::vec(0u8..4, 8),
    )
        .prop_map(
            |(
                delimiter,
                end,
                quote,
                escape,
                (trim, trailing, comment, footer, mark),
                skip,
                between,
            )| {
                let end_of = |text: &str| Separator::new(text.as_bytes()).unwrap();
                let dialect = CsvDialect {
                    delimiter: end_of(delimiter),
                    record_end: end.filter(|end| *end != "\r").map(end_of),
                    line_end: if end == Some("\r") {
                        LineEnd::Cr
                    } else {
                        LineEnd::Lf
                    },
                    quote,
                    escape,
                    trim,
                    trailing_delimiter: trailing,
                    comment: comment.then_some(b'#'),
                    footer: footer.then(|| "Total".to_owned()).into_iter().collect(),
                    skip_lines: skip.0,
                    ..CsvDialect::default()
                };
                let names_separator =
                    skip.1 && skip.0 == 0 && end.is_none() && [",", ";"].contains(&delimiter);
                Form {
                    dialect,
                    has_mark: mark,
                    names_separator,
                    between,
                }
            },
        )
}

impl Form {
    /// A field as a writer writes it, and what it means then: where nothing protects a character, it is left out.
    fn field(&self, text: &str) -> (String, String) {
        let CsvDialect {
            quote,
            escape,
            trim,
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
                let inside = text.chars().map(|c| match c {
                    c if Some(c) == escape || c == quote => protect(c, escape.unwrap_or(quote)),
                    c => c.to_string(),
                });
                (
                    format!("{quote}{}{quote}", inside.collect::<String>()),
                    text.to_owned(),
                )
            }
            (None, Some(escape)) => {
                let inside = text.chars().map(|c| match c {
                    '\n' => format!("{escape}n"),
                    '\r' => format!("{escape}r"),
                    '\t' => format!("{escape}t"),
                    c if is_special(c) || c == ' ' => protect(c, escape),
                    c => c.to_string(),
                });
                (inside.collect(), text.to_owned())
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

    /// The file, and the names in it.
    fn write(&self, names: &[String]) -> (String, Vec<String>) {
        let (delimiter, end) = (self.dialect.delimiter.text(), self.dialect.end().text());
        let last = match self.dialect.trailing_delimiter {
            true => format!("{delimiter}{end}"),
            false => end.clone(),
        };
        let mut text = String::new();
        text.push_str(if self.has_mark { "\u{feff}" } else { "" });
        if self.names_separator {
            text.push_str(&format!("sep={delimiter}{end}"));
        }
        for line in 0..self.dialect.skip_lines {
            text.push_str(&format!("title {line}{end}"));
        }
        text.push_str(&format!("id{delimiter}name{delimiter}Price{last}"));
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
            let (written, name) = self.field(name);
            text.push_str(&format!("{at}{delimiter}{written}{delimiter}1.5{last}"));
            meant.push(name);
        }
        (text, meant)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_file_of_any_dialect_says_what_was_written(form in form(), names in proptest::collection::vec(name(), 1..6)) {
        let (text, meant) = form.write(&names);
        let taken = read_both(text.as_bytes(), &form.dialect);
        let taken = taken.map_err(|why| TestCaseError::fail(format!("{why}: {text:?}")))?;
        let found: Vec<String> = taken
            .iter()
            .map(|taken| match Payload::decode(&taken.payload).unwrap().body {
                Body::Row(mut row) => match row.nth(1) {
                    Some(Ok(Value::Text(name))) => name.to_string(),
                    other => format!("{other:?}"),
                },
                Body::Reject(reject) => format!("{reject:?}"),
            })
            .collect();
        prop_assert_eq!(found, meant, "{:?}", text);
    }
}
