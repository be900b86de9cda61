//! `text`, and types of the database (`pg:NAME`), whose values travel as texts.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{ColumnType, Declaration, Family, PLAIN, Rejection, Setting, ValueKind};
use crate::wire::put_varint;
use crate::{Column, CsvDialect, NulPolicy, Reason};

pub(super) static TEXT: Declaration = Declaration {
    plain: Some(|| ColumnType::Text),
    name: "text",
    synonyms: &["varchar", "string"],
    sql: "text",
    ..ANY_TEXT
};

pub(super) static POSTGRES: Declaration = ANY_TEXT;

const ANY_TEXT: Declaration = Declaration {
    family: Family::Text,
    settings: &[Setting::MinAndMax],
    widens: |_, to| to.family() == Family::Text,
    ..PLAIN
};

#[derive(Debug, Clone)]
pub(crate) struct TextKind(NulPolicy);

impl ValueKind for TextKind {
    type Content<'a> = Cow<'a, str>;

    fn new(_: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
        Ok(Self(dialect.nul))
    }

    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, str>, Rejection> {
        checked(bytes, self.0)
    }

    #[inline]
    fn encode(
        &self,
        bytes: &[u8],
        number: u8,
        row: &mut Vec<u8>,
        key: Option<&mut Vec<u8>>,
    ) -> Result<(), Rejection> {
        if !is_plain(bytes) {
            Self::append(&self.read(bytes)?, number, row, key);
            return Ok(());
        }
        row.push(number);
        put_text(row, bytes);
        if let Some(key) = key {
            key.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn write_key(out: &mut Vec<u8>, text: &Cow<'_, str>) {
        out.extend_from_slice(text.as_bytes());
    }

    fn write_csv(out: &mut String, text: &Cow<'_, str>) {
        // An empty text is in quotes, because an empty field is null.
        if !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
            out.push_str(text);
            return;
        }
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    }

    #[inline]
    fn put(out: &mut Vec<u8>, text: &Cow<'_, str>) {
        put_text(out, text.as_bytes());
    }

    fn compare(left: &Cow<'_, str>, right: &Cow<'_, str>) -> Option<Ordering> {
        Some(left.cmp(right))
    }
}

/// Appends a text as bincode encodes it.
#[inline]
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Whether a field is ASCII without NUL, and so a text as it stands. Most are, and this takes eight bytes at a time.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The highest bit of a byte is set here for a byte from 128 on, and for the first 0.
    let unlike = |word: [u8; 8]| {
        let word = u64::from_le_bytes(word);
        word.wrapping_sub(ONES) | word
    };
    let bits = match bytes.split_last_chunk() {
        Some((_, last)) => {
            let (words, _) = bytes.as_chunks();
            words
                .iter()
                .fold(unlike(*last), |bits, word| bits | unlike(*word))
        }
        None => bytes.iter().fold(0, |bits, byte| {
            bits | u64::from(byte.wrapping_sub(1) | byte)
        }),
    };
    bits & (0x80 * ONES) == 0
}

/// The text of a field, treated as the dialect says if it has a NUL.
pub(super) fn checked(bytes: &[u8], nul: NulPolicy) -> Result<Cow<'_, str>, Rejection> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        let detail = match bytes[at..] {
            // A text in UTF-16 is read with these bytes in the place of such a half.
            [0xed, 0xa0..=0xbf, ..] => format!("byte {at} of the field begins half of a surrogate pair, which is no character"),
            _ => format!(
                "byte {at} of the field (0x{byte:02x}) is not UTF-8; if the file is in another encoding, set csv = {{ encoding = … }}"
            ),
        };
        Rejection::new(Reason::BadEncoding, detail)
    })?;
    if !bytes.contains(&0) {
        return Ok(Cow::Borrowed(text));
    }
    match nul {
        NulPolicy::Reject => Err(Rejection::new(
            Reason::Nul,
            "the text holds U+0000, which PostgreSQL cannot store; csv = { nul = \"strip\" } or \"replace\" lets it through",
        )),
        NulPolicy::Strip => Ok(Cow::Owned(text.replace('\0', ""))),
        NulPolicy::Replace => Ok(Cow::Owned(text.replace('\0', "\u{fffd}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::is_plain;
    use crate::testing::{check, parse, parser, parser_of};
    use crate::{Column, ColumnType, CsvDialect, Field, NulPolicy, Reason, Value};

    #[test]
    fn texts() {
        check("text", "", Ok(Value::Text("".into())));
        check("text", "blåbær", Ok(Value::Text("blåbær".into())));
        check("text", "a\0b", Err(Reason::Nul));
        let latin1 = parser("text").parse(Field {
            bytes: b"bl\xe5b\xe6r",
            quoted: false,
        });
        assert_eq!(latin1.unwrap_err().reason, Reason::BadEncoding);
        let half = parser("text").parse(Field {
            bytes: b"a\xed\xa0\x80b",
            quoted: false,
        });
        let half = half.unwrap_err();
        assert_eq!(half.reason, Reason::BadEncoding);
        assert!(half.detail.contains("surrogate"), "{}", half.detail);
        for (nul, kept) in [(NulPolicy::Strip, "ab"), (NulPolicy::Replace, "a\u{fffd}b")] {
            let dialect = CsvDialect {
                nul,
                ..CsvDialect::default()
            };
            let parser = parser_of(&Column::new("c", ColumnType::Text), &dialect);
            assert_eq!(parse(&parser, "a\0b"), Ok(Value::Text(kept.into())));
        }
    }

    proptest! {
        #[test]
        fn plain_texts_are_ascii_without_nul(
            text in proptest::collection::vec(1u8..128, 0..40),
            at in 0usize..40,
            byte in any::<u8>(),
        ) {
            prop_assert!(is_plain(&text));
            let mut changed = text;
            if let Some(place) = changed.get_mut(at) {
                *place = byte;
            }
            prop_assert_eq!(is_plain(&changed), changed.is_ascii() && !changed.contains(&0));
        }
    }
}
