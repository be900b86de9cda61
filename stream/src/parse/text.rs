//! Texts, and the types that are little more: bool, uuid, json, bytea.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use uuid::Uuid;

use super::{Rejection, Shown};
use crate::{Column, NulPolicy, Reason};

pub(super) fn text(bytes: &[u8], nul: NulPolicy) -> Result<Cow<'_, str>, Rejection> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        Rejection::new(
            Reason::BadEncoding,
            format!("byte {at} of the field (0x{byte:02x}) is not UTF-8; if the file is in another encoding, set csv = {{ encoding = … }}"),
        )
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

pub(super) fn json(bytes: &[u8], nul: NulPolicy) -> Result<Cow<'_, str>, Rejection> {
    let text = text(bytes, nul)?;
    serde_json::from_str::<IgnoredAny>(&text).map_err(|error| {
        Rejection::new(
            Reason::BadValue,
            format!("{} is not JSON: {error}", Shown(bytes)),
        )
    })?;
    Ok(text)
}

pub(super) fn uuid(bytes: &[u8]) -> Result<[u8; 16], Rejection> {
    Uuid::try_parse_ascii(bytes)
        .map(Uuid::into_bytes)
        .map_err(|_| Rejection::new(Reason::BadValue, format!("{} is not a UUID", Shown(bytes))))
}

/// A UUID in the form that nearly all are written in, as a number in the order it is written. Made in registers
/// rather than byte by byte in memory, from where it could only be loaded late.
#[inline]
pub(super) fn hyphenated(bytes: &[u8]) -> Option<u128> {
    let text: &[u8; 36] = bytes.try_into().ok()?;
    if [8, 13, 18, 23].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let eight = |high: usize, low: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| text[high + i]);
        let [e, f, g, h] = [0, 1, 2, 3].map(|i| text[low + i]);
        hex(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    };
    let parts = [eight(0, 4), eight(9, 14), eight(19, 24), eight(28, 32)];
    let [a, b, c, d] = parts.map(|(number, _)| u128::from(number));
    let is_hex = parts.iter().all(|(_, is_hex)| *is_hex);
    is_hex.then_some(a << 96 | b << 64 | c << 32 | d)
}

/// The number that eight hexadecimal digits write, the first one in the highest byte, and whether they are such
/// digits. All at once, as a look at each would take longer than what else is done with a field.
#[inline]
fn hex(digits: u64) -> (u64, bool) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // `A` to `F` and `a` to `f` have this bit, `0` to `9` do not.
    let letters = digits >> 6 & EACH;
    let values = (digits & (0x0f * EACH)) + 9 * letters;
    // As they would be if they were right: 3 before a digit, 4 or 6 before a letter; at most 15, 10 from a letter on.
    let has_high = (digits | letters << 5) & (0xf0 * EACH) == 0x30 * EACH + 0x30 * letters;
    let has_low =
        values & (0x10 * EACH) == 0 && (values + 6 * EACH) & (0x10 * EACH) == letters << 4;
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    ((fours | fours >> 16) & 0xffff_ffff, has_high && has_low)
}

/// A text as it stands, if nothing about it must be changed or refused.
#[inline]
pub(super) fn plain(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!bytes.contains(&0)).then_some(text)
}

pub(super) fn bytea(bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
    let wrong = || {
        Rejection::new(
            Reason::BadValue,
            format!("{} is not bytea in hex form, such as \\x00ff", Shown(bytes)),
        )
    };
    let digits = bytes.strip_prefix(b"\\x").ok_or_else(wrong)?;
    if digits.len() % 2 != 0 {
        return Err(wrong());
    }
    let nibble = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?))
        .collect::<Option<_>>()
        .ok_or_else(wrong)
}

/// Texts that mean true and for false.
#[derive(Debug, Clone)]
pub(super) enum BoolWords {
    /// PostgreSQL's spellings, in any case.
    Postgres,
    /// The column's own, to the letter.
    Own { yes: Vec<String>, no: Vec<String> },
}

impl BoolWords {
    pub(super) fn new(column: &Column) -> Result<Self, Rejection> {
        match (&column.true_values, &column.false_values) {
            (None, None) => Ok(Self::Postgres),
            (Some(yes), Some(no)) if yes.iter().all(|word| !no.contains(word)) => Ok(Self::Own {
                yes: yes.clone(),
                no: no.clone(),
            }),
            (Some(_), Some(_)) => Err(Rejection::new(
                Reason::BadValue,
                "`true` and `false` share a text",
            )),
            _ => Err(Rejection::new(
                Reason::BadValue,
                "`true` and `false` go together: name both or neither",
            )),
        }
    }

    pub(super) fn parse(&self, bytes: &[u8]) -> Result<bool, Rejection> {
        let (yes, no) = match self {
            Self::Postgres => {
                let is = |words: &[&str]| {
                    words
                        .iter()
                        .any(|word| word.as_bytes().eq_ignore_ascii_case(bytes))
                };
                (
                    is(&["t", "true", "y", "yes", "on", "1"]),
                    is(&["f", "false", "n", "no", "off", "0"]),
                )
            }
            Self::Own { yes, no } => {
                let is = |words: &[String]| words.iter().any(|word| word.as_bytes() == bytes);
                (is(yes), is(no))
            }
        };
        if yes || no {
            return Ok(yes);
        }
        let hint = match self {
            Self::Postgres => "; for other spellings set true = [\"…\"], false = [\"…\"]",
            Self::Own { .. } => "; the column's `true` and `false` list what is",
        };
        Err(Rejection::new(
            Reason::BadValue,
            format!("{} is not a bool{hint}", Shown(bytes)),
        ))
    }
}
