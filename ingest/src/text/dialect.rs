//! A dialect as text: a file keeps the one it was begun with, so `bekk.meta` remembers it.
//!
//! The form is `name=value` pairs in a fixed order; bytes outside `[A-Za-z0-9_.-]` are written `%2C`, and
//! the null spellings each end with `|`.

use std::fmt::Write;

use bekk_stream::{CsvDialect, Encoding, NulPolicy, UnknownPolicy};

/// The dialect's canonical text.
pub(crate) fn to_text(dialect: &CsvDialect) -> String {
    let byte = |byte: Option<u8>| byte.map_or_else(String::new, |byte| escaped(&[byte]));
    let encoding = match dialect.encoding {
        Encoding::Utf8 => "utf8",
        Encoding::Latin1 => "latin1",
        Encoding::Utf16 => "utf16",
        Encoding::Utf16Le => "utf16le",
        Encoding::Utf16Be => "utf16be",
    };
    let nul = match dialect.nul {
        NulPolicy::Reject => "reject",
        NulPolicy::Strip => "strip",
        NulPolicy::Replace => "replace",
    };
    let unknown = match dialect.unknown {
        UnknownPolicy::Ignore => "ignore",
        UnknownPolicy::Reject => "reject",
    };
    let null: String = dialect
        .null
        .iter()
        .map(|text| escaped(text.as_bytes()) + "|")
        .collect();
    format!(
        "delimiter={} quote={} encoding={encoding} skip_lines={} comment={} decimal={} null={null} nul={nul} \
         unknown={unknown} record_max={}",
        byte(Some(dialect.delimiter)),
        byte(dialect.quote),
        dialect.skip_lines,
        byte(dialect.comment),
        byte(Some(dialect.decimal)),
        dialect.record_max,
    )
}

/// The dialect that a text describes; `None` if it is none that this version knows.
pub(crate) fn from_text(text: &str) -> Option<CsvDialect> {
    let mut dialect = CsvDialect::default();
    for pair in text.split(' ') {
        let (name, value) = pair.split_once('=')?;
        let byte = || unescaped(value).map(|bytes| bytes.first().copied());
        match name {
            "delimiter" => dialect.delimiter = byte()??,
            "quote" => dialect.quote = byte()?,
            "encoding" => {
                dialect.encoding = match value {
                    "utf8" => Encoding::Utf8,
                    "latin1" => Encoding::Latin1,
                    "utf16" => Encoding::Utf16,
                    "utf16le" => Encoding::Utf16Le,
                    "utf16be" => Encoding::Utf16Be,
                    _ => return None,
                }
            }
            "skip_lines" => dialect.skip_lines = value.parse().ok()?,
            "comment" => dialect.comment = byte()?,
            "decimal" => dialect.decimal = byte()??,
            "null" => {
                dialect.null = value
                    .split_terminator('|')
                    .map(|text| String::from_utf8(unescaped(text)?).ok())
                    .collect::<Option<_>>()?;
            }
            "nul" => {
                dialect.nul = match value {
                    "reject" => NulPolicy::Reject,
                    "strip" => NulPolicy::Strip,
                    "replace" => NulPolicy::Replace,
                    _ => return None,
                }
            }
            "unknown" => {
                dialect.unknown = match value {
                    "ignore" => UnknownPolicy::Ignore,
                    "reject" => UnknownPolicy::Reject,
                    _ => return None,
                }
            }
            "record_max" => dialect.record_max = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(dialect)
}

fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes every text");
        }
    }
    out
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.extend_from_slice(before.as_bytes());
        out.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialect_survives() {
        let mut dialect = CsvDialect::default();
        assert_eq!(
            to_text(&dialect),
            "delimiter=%2C quote=%22 encoding=utf8 skip_lines=0 comment= decimal=. null=| nul=reject unknown=ignore \
             record_max=900000"
        );
        assert_eq!(from_text(&to_text(&dialect)), Some(dialect.clone()));
        dialect.delimiter = b'\t';
        dialect.quote = None;
        dialect.encoding = Encoding::Latin1;
        dialect.skip_lines = 2;
        dialect.comment = Some(b'#');
        dialect.decimal = b',';
        dialect.null = vec!["NULL".into(), "-|=% å".into(), String::new()];
        dialect.nul = NulPolicy::Replace;
        dialect.unknown = UnknownPolicy::Reject;
        dialect.record_max = 1;
        assert_eq!(from_text(&to_text(&dialect)), Some(dialect.clone()));
        dialect.null = Vec::new();
        assert_eq!(from_text(&to_text(&dialect)), Some(dialect));
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "delimiter",
            "delimiter=%",
            "delimiter=%z",
            "colour=red",
            "nul=maybe",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }
}
