//! The part that the kinds of numbers share: texts of the form `[+-]?digits[.digits]`. Surplus zeros are accepted, a lost
//! digit never is.

use super::{ColumnType, Declaration, PLAIN, Rejection, Setting, Shown};
use crate::Reason;

/// The properties that all types of numbers share.
pub(super) const NUMBER: Declaration = Declaration {
    settings: &[Setting::Decimal, Setting::MinAndMax],
    ..PLAIN
};

/// A number's parts as text.
pub(super) struct Parts<'a> {
    pub(super) negative: bool,
    pub(super) whole: &'a [u8],
    pub(super) fraction: &'a [u8],
}

pub(super) fn split(bytes: &[u8], mark: u8) -> Option<Parts<'_>> {
    let (negative, digits) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, bytes),
    };
    let (whole, fraction) = match digits.iter().position(|byte| *byte == mark) {
        Some(at) => (&digits[..at], Some(&digits[at + 1..])),
        None => (digits, None),
    };
    // One side of the mark may be empty, as in PostgreSQL.
    let all_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let has_digits = !whole.is_empty() || fraction.is_some_and(|part| !part.is_empty());
    (has_digits && all_digits(whole) && fraction.is_none_or(all_digits)).then(|| Parts {
        negative,
        whole: if whole.is_empty() { b"0" } else { whole },
        fraction: fraction.unwrap_or_default(),
    })
}

pub(super) fn without_trailing_zeros(digits: &[u8]) -> &[u8] {
    let kept = digits
        .iter()
        .rposition(|digit| *digit != b'0')
        .map_or(0, |at| at + 1);
    &digits[..kept]
}

/// 10 to the power of 0 to 38: a decimal has at most 38 digits.
pub(super) static POWERS_OF_TEN: [i128; 39] = {
    let mut powers = [1; 39];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// Digits that always fit in a 64-bit integer
pub(super) const SHORT_MAX: usize = 18;

/// Reads what nearly all numbers are: at most [`SHORT_MAX`] characters, with or without a minus. Returns its digits as
/// one number, and how many of them are after the mark; `None` if it is longer, has a plus, or is no number.
#[inline]
pub(super) fn short(bytes: &[u8], mark: u8) -> Option<(i64, usize)> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    if digits.len() > SHORT_MAX {
        return None;
    }
    let mut value = 0i64;
    let mut mark_at = None;
    for (at, byte) in digits.iter().enumerate() {
        match byte.wrapping_sub(b'0') {
            digit @ 0..=9 => value = value * 10 + i64::from(digit),
            _ if *byte == mark && mark_at.is_none() => mark_at = Some(at),
            _ => return None,
        }
    }
    let has_digits = digits.len() > usize::from(mark_at.is_some());
    let decimals = mark_at.map_or(0, |at| digits.len() - at - 1);
    has_digits.then_some((if negative { -value } else { value }, decimals))
}

/// The digits of several parts as one number; `None` if it does not fit.
pub(super) fn unscaled(parts: &[&[u8]]) -> Option<i128> {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .try_fold(0i128, |value, byte| {
            value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))
        })
}

pub(super) fn signed(value: i128, negative: bool) -> i128 {
    if negative { -value } else { value }
}

#[cold]
pub(super) fn bad(what: &str, bytes: &[u8], mark: u8) -> Rejection {
    let other_mark = if mark == b'.' { b',' } else { b'.' };
    let hint = if bytes.first().is_some_and(u8::is_ascii_whitespace)
        || bytes.last().is_some_and(u8::is_ascii_whitespace)
    {
        "; there is space around it"
    } else if bytes.contains(&other_mark) && split_ignoring_groups(bytes, other_mark) {
        "; for numbers written like this set `decimal` to the mark before the decimals, and name the mark between \
         thousands in the column's `strip`"
    } else {
        ""
    };
    Rejection::new(
        Reason::BadValue,
        format!("{} is not {what}{hint}", Shown(bytes)),
    )
}

fn split_ignoring_groups(bytes: &[u8], mark: u8) -> bool {
    bytes.iter().all(|byte| {
        byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b',') || *byte == mark
    })
}

/// Whether a column of one type of exact numbers has as many digits as one of another, on both sides of the point.
pub(super) fn has_room(from: &ColumnType, to: &ColumnType) -> bool {
    let (Some(from), Some(to)) = (from.digits(), to.digits()) else {
        return false;
    };
    to.0 >= from.0 && to.1 >= from.1
}
