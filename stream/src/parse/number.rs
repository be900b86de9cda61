//! Numbers: `[+-]?digits[.digits]`. Surplus zeros are accepted, a lost digit never is.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Rejection, Shown};
use crate::{Decimal, Reason};

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
    // As PostgreSQL reads them: one side of the mark may be empty.
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

pub(super) fn int(bytes: &[u8], mark: u8, min: i64, max: i64) -> Result<i64, Rejection> {
    let value = plain_int(bytes).map_or_else(|| full_int(bytes, mark), Ok)?;
    if value < min || value > max {
        return Err(int_out_of_range(bytes, min, max));
    }
    Ok(value)
}

/// The common case: up to 18 digits, which cannot overflow, perhaps behind a minus.
fn plain_int(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, bytes),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

fn full_int(bytes: &[u8], mark: u8) -> Result<i64, Rejection> {
    let parts = split(bytes, mark).ok_or_else(|| bad("a whole number", bytes, mark))?;
    if !without_trailing_zeros(parts.fraction).is_empty() {
        return Err(Rejection::new(
            Reason::TooManyDecimals,
            format!(
                "{} has fraction digits, and the column holds whole numbers",
                Shown(bytes)
            ),
        ));
    }
    let value = unscaled(&[parts.whole])
        .and_then(|value| i64::try_from(signed(value, parts.negative)).ok());
    value.ok_or_else(|| int_out_of_range(bytes, i64::MIN, i64::MAX))
}

#[cold]
fn int_out_of_range(bytes: &[u8], min: i64, max: i64) -> Rejection {
    Rejection::new(
        Reason::OutOfRange,
        format!("{} is outside {min} to {max}", Shown(bytes)),
    )
}

/// 10 to the power of 0 to 38: a decimal has at most 38 digits.
static POWERS_OF_TEN: [i128; 39] = {
    let mut powers = [1; 39];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

pub(super) fn decimal(
    bytes: &[u8],
    mark: u8,
    precision: u8,
    scale: u8,
) -> Result<Decimal, Rejection> {
    let parts = split(bytes, mark).ok_or_else(|| bad("a number", bytes, mark))?;
    let mut fraction = parts.fraction;
    if fraction.len() > usize::from(scale) {
        fraction = without_trailing_zeros(fraction);
        if fraction.len() > usize::from(scale) {
            return Err(Rejection::new(
                Reason::TooManyDecimals,
                format!(
                    "{} has {} decimals; the column keeps {scale}",
                    Shown(bytes),
                    fraction.len()
                ),
            ));
        }
    }
    let missing = usize::from(scale) - fraction.len();
    unscaled(&[parts.whole, fraction])
        .and_then(|digits| digits.checked_mul(POWERS_OF_TEN[missing]))
        .filter(|digits| *digits < POWERS_OF_TEN[usize::from(precision)])
        .map(|digits| Decimal {
            unscaled: signed(digits, parts.negative),
            scale,
        })
        .ok_or_else(|| {
            let whole = precision - scale;
            Rejection::new(
                Reason::OutOfRange,
                format!(
                    "{} has more than the {whole} digits before the point that the column holds",
                    Shown(bytes)
                ),
            )
        })
}

/// The most digits that PostgreSQL's `numeric` has before and after the point.
const NUMERIC_WHOLE_MAX: usize = 131_072;
const NUMERIC_FRACTION_MAX: usize = 16_383;

/// A number of any length, with a point and without surplus zeros before it; 0 has no sign.
pub(super) fn numeric(bytes: &[u8], mark: u8) -> Result<Cow<'_, str>, Rejection> {
    let Some(parts) = split(bytes, mark) else {
        let name = bytes.strip_prefix(b"-").unwrap_or(bytes);
        let is_none = [&b"nan"[..], b"inf", b"infinity"]
            .iter()
            .any(|none| name.eq_ignore_ascii_case(none));
        return Err(match is_none {
            true => Rejection::new(
                Reason::BadValue,
                format!(
                    "{} is no number with digits; if it means null: nullable = true, null = [\"\", …]",
                    Shown(bytes)
                ),
            ),
            false => bad("a number", bytes, mark),
        });
    };
    if parts.fraction.len() > NUMERIC_FRACTION_MAX {
        return Err(Rejection::new(
            Reason::TooManyDecimals,
            format!(
                "{} has {} decimals; numeric holds {NUMERIC_FRACTION_MAX}",
                Shown(bytes),
                parts.fraction.len()
            ),
        ));
    }
    let first = parts.whole.iter().position(|digit| *digit != b'0');
    let whole = &parts.whole[first.unwrap_or(parts.whole.len() - 1)..];
    if whole.len() > NUMERIC_WHOLE_MAX {
        return Err(Rejection::new(
            Reason::OutOfRange,
            format!(
                "{} has {} digits before the point; numeric holds {NUMERIC_WHOLE_MAX}",
                Shown(bytes),
                whole.len()
            ),
        ));
    }
    let is_zero = first.is_none() && parts.fraction.iter().all(|digit| *digit == b'0');
    let is_negative = parts.negative && !is_zero;
    let is_written_so = mark == b'.'
        && bytes[usize::from(is_negative)..].starts_with(whole)
        && bytes.len()
            == usize::from(is_negative)
                + whole.len()
                + usize::from(!parts.fraction.is_empty())
                + parts.fraction.len();
    let text = |bytes| std::str::from_utf8(bytes).expect("digits, a point and a sign are ASCII");
    if is_written_so {
        return Ok(Cow::Borrowed(text(bytes)));
    }
    let sign = if is_negative { "-" } else { "" };
    let point = if parts.fraction.is_empty() { "" } else { "." };
    Ok(Cow::Owned(
        [sign, text(whole), point, text(parts.fraction)].concat(),
    ))
}

/// The order of two numbers as [`numeric`] writes them.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let magnitude = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction = fraction.trim_end_matches('0').to_owned();
        (whole.len(), whole.to_owned(), fraction)
    };
    match (left.strip_prefix('-'), right.strip_prefix('-')) {
        (None, None) => magnitude(left).cmp(&magnitude(right)),
        (Some(left), Some(right)) => magnitude(right).cmp(&magnitude(left)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

/// The digits of several parts as one number; `None` where 38 digits are exceeded.
fn unscaled(parts: &[&[u8]]) -> Option<i128> {
    const SAFE: usize = 18;
    if parts.iter().map(|part| part.len()).sum::<usize>() <= SAFE {
        let digits = parts.iter().flat_map(|part| part.iter());
        return Some(i128::from(
            digits.fold(0i64, |value, byte| value * 10 + i64::from(byte - b'0')),
        ));
    }
    parts
        .iter()
        .flat_map(|part| part.iter())
        .try_fold(0i128, |value, byte| {
            value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))
        })
}

fn signed(value: i128, negative: bool) -> i128 {
    if negative { -value } else { value }
}

pub(super) fn float4(bytes: &[u8], mark: u8) -> Result<f32, Rejection> {
    let text = float_text(bytes, mark)?;
    let value: f32 = text.parse().map_err(|_| bad("a number", bytes, mark))?;
    check_float(value.is_infinite(), value == 0.0, &text, bytes, "float4").map(|()| value)
}

pub(super) fn float8(bytes: &[u8], mark: u8) -> Result<f64, Rejection> {
    let text = float_text(bytes, mark)?;
    let value: f64 = text.parse().map_err(|_| bad("a number", bytes, mark))?;
    check_float(value.is_infinite(), value == 0.0, &text, bytes, "float8").map(|()| value)
}

/// The text as Rust's own parser takes it, once it is known to be of a form that PostgreSQL takes too:
/// a number, perhaps with an exponent, or one of PostgreSQL's three names.
fn float_text(bytes: &[u8], mark: u8) -> Result<String, Rejection> {
    let wrong = || bad("a number", bytes, mark);
    let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
    let unsigned = text.trim_start_matches(['+', '-']);
    if ["nan", "inf", "infinity"]
        .iter()
        .any(|name| unsigned.eq_ignore_ascii_case(name))
    {
        return if text.len() - unsigned.len() <= 1 {
            Ok(text.to_owned())
        } else {
            Err(wrong())
        };
    }
    let mantissa = match text.find(['e', 'E']) {
        Some(at) => {
            split(&bytes[at + 1..], 0).ok_or_else(wrong)?;
            &bytes[..at]
        }
        None => bytes,
    };
    split(mantissa, mark).ok_or_else(wrong)?;
    Ok(if mark == b'.' {
        text.to_owned()
    } else {
        text.replace(char::from(mark), ".")
    })
}

fn check_float(
    infinite: bool,
    zero: bool,
    text: &str,
    bytes: &[u8],
    name: &str,
) -> Result<(), Rejection> {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let has_digits = mantissa.bytes().any(|byte| byte.is_ascii_digit());
    let lost_all = zero && mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    if has_digits && infinite || lost_all {
        return Err(Rejection::new(
            Reason::OutOfRange,
            format!("{} is outside the range of {name}", Shown(bytes)),
        ));
    }
    Ok(())
}

#[cold]
fn bad(what: &str, bytes: &[u8], mark: u8) -> Rejection {
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
