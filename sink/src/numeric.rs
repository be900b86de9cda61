//! PostgreSQL's binary form of `numeric`: groups of four decimal digits.
//!
//! Source: `numeric_recv` in PostgreSQL's `src/backend/utils/adt/numeric.c`.

use std::ops::{Div, Mul, Rem};

use bekk_stream::Decimal;

/// Ten groups on each side of the point hold the 38 digits of a [`Decimal`] wherever the point stands.
const GROUPS_MAX: usize = 20;
const NEGATIVE: u16 = 0x4000;
/// PostgreSQL's own limit of digits after the point.
const SCALE_MAX: u16 = 16_383;

struct Groups {
    digits: [u16; GROUPS_MAX],
    len: usize,
    /// The position of the first group: 0 is the one before the point, -1 the one behind it.
    weight: i16,
}

/// Appends a number's length and binary form.
pub(crate) fn encode(out: &mut Vec<u8>, decimal: Decimal) {
    let magnitude = decimal.unscaled.unsigned_abs();
    let groups = match u64::try_from(magnitude) {
        // Division of 128 bits is slow, and few amounts need it.
        Ok(small) if decimal.scale < 20 => split(small, decimal.scale, |n| 10u64.pow(u32::from(n))),
        _ => split(magnitude, decimal.scale, |n| 10u128.pow(u32::from(n))),
    };
    let digits = &groups.digits[..groups.len];
    let length = 8 + 2 * digits.len();
    out.extend_from_slice(&i32::try_from(length).expect("at most 48").to_be_bytes());
    out.extend_from_slice(
        &u16::try_from(digits.len())
            .expect("at most 20")
            .to_be_bytes(),
    );
    out.extend_from_slice(&groups.weight.to_be_bytes());
    let sign = if decimal.unscaled < 0 { NEGATIVE } else { 0 };
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::from(decimal.scale).to_be_bytes());
    for digit in digits {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

/// Why a number does not go into a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It has digits after the point that the column does not keep; it keeps so many.
    Decimals(u8),
    /// It has too many digits.
    Range,
    NoNumber,
}

/// A number as text, in parts; `None` if the text is not a number.
fn parts(text: &str) -> Option<(bool, &[u8], &[u8])> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole.as_bytes(), fraction.as_bytes()),
        None => (digits.as_bytes(), &[][..]),
    };
    let is_number = !whole.is_empty() && whole.iter().chain(fraction).all(u8::is_ascii_digit);
    let leading = whole.iter().take_while(|digit| **digit == b'0').count();
    is_number.then_some((is_negative, &whole[leading..], fraction))
}

/// Appends the length and binary form of a number of any length, with as many digits after the point as it has.
pub(crate) fn encode_text(
    out: &mut Vec<u8>,
    text: &str,
    bounds: Option<(u8, u8)>,
) -> Result<(), Misfit> {
    let (is_negative, whole, fraction) = parts(text).ok_or(Misfit::NoNumber)?;
    if let Some((precision, scale)) = bounds {
        let last = fraction.iter().rposition(|digit| *digit != b'0');
        if last.is_some_and(|last| last >= usize::from(scale)) {
            return Err(Misfit::Decimals(scale));
        }
        if whole.len() > usize::from(precision.saturating_sub(scale)) {
            return Err(Misfit::Range);
        }
    }
    // Groups begin at the point, in both directions.
    let padding = (4 - whole.len() % 4) % 4;
    let digits: Vec<u8> = std::iter::repeat_n(b'0', padding)
        .chain(whole.iter().copied())
        .chain(fraction.iter().copied())
        .collect();
    let mut groups: Vec<u16> = digits
        .chunks(4)
        .map(|chunk| {
            let digit = |at: usize| u16::from(chunk.get(at).map_or(0, |digit| digit - b'0'));
            digit(0) * 1000 + digit(1) * 100 + digit(2) * 10 + digit(3)
        })
        .collect();
    let kept = groups.iter().rposition(|group| *group != 0);
    groups.truncate(kept.map_or(0, |last| last + 1));
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let groups = &groups[leading..];
    let position = |groups: usize| i64::try_from(groups).unwrap_or(i64::MAX);
    let weight = match groups.is_empty() {
        true => 0,
        false => position((whole.len() + padding) / 4) - 1 - position(leading),
    };
    let weight = i16::try_from(weight).map_err(|_| Misfit::Range)?;
    let count = u16::try_from(groups.len()).map_err(|_| Misfit::Range)?;
    let scale = u16::try_from(fraction.len())
        .ok()
        .filter(|scale| *scale <= SCALE_MAX)
        .ok_or(Misfit::Range)?;
    let length = 8 + 2 * i32::from(count);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    let sign = if is_negative && !groups.is_empty() {
        NEGATIVE
    } else {
        0
    };
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
    Ok(())
}

/// Appends a number of any length in a form that is equal where the numbers are, and in their order byte by byte: its
/// sign, how many digits it has before the point, its digits. Of a negative number all but the sign is inverted.
pub(crate) fn encode_key(out: &mut Vec<u8>, text: &str) {
    let (is_negative, whole, fraction) = parts(text).unwrap_or((false, &[], &[]));
    let digits = || whole.iter().chain(fraction);
    let Some(first) = digits().position(|digit| *digit != b'0') else {
        out.push(1);
        return;
    };
    let end = digits().count() - digits().rev().take_while(|digit| **digit == b'0').count();
    let position = |digits: usize| i32::try_from(digits).unwrap_or(i32::MAX);
    let exponent = position(whole.len()) - position(first);
    out.push(if is_negative { 0 } else { 2 });
    let start = out.len();
    out.extend_from_slice(&(exponent.cast_unsigned() ^ (1 << 31)).to_be_bytes());
    out.extend(digits().take(end).skip(first));
    out.push(0);
    if is_negative {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn split<T>(magnitude: T, scale: u8, power: impl Fn(u8) -> T) -> Groups
where
    T: Copy
        + PartialEq
        + From<u16>
        + TryInto<u16>
        + Div<Output = T>
        + Rem<Output = T>
        + Mul<Output = T>,
{
    let zero = T::from(0);
    let group = |value: T| value.try_into().unwrap_or(0);
    let mut whole = magnitude / power(scale);
    let mut fraction = magnitude % power(scale);

    let mut reversed = [0u16; GROUPS_MAX / 2];
    let mut whole_len = 0;
    while whole != zero {
        reversed[whole_len] = group(whole % power(4));
        whole = whole / power(4);
        whole_len += 1;
    }
    let mut digits = [0u16; GROUPS_MAX];
    for (to, from) in digits.iter_mut().zip(reversed[..whole_len].iter().rev()) {
        *to = *from;
    }

    let mut len = whole_len;
    let mut left = scale;
    while fraction != zero {
        let value = if left >= 4 {
            let value = fraction / power(left - 4);
            fraction = fraction % power(left - 4);
            left -= 4;
            value
        } else {
            let value = fraction * power(4 - left);
            fraction = zero;
            value
        };
        digits[len] = group(value);
        len += 1;
    }
    strip(digits, len, whole_len)
}

/// Drops the zero groups at both ends, as PostgreSQL keeps them.
fn strip(mut digits: [u16; GROUPS_MAX], mut len: usize, whole_len: usize) -> Groups {
    while len > 0 && digits[len - 1] == 0 {
        len -= 1;
    }
    let leading = digits[..len]
        .iter()
        .take_while(|digit| **digit == 0)
        .count();
    digits.copy_within(leading..len, 0);
    let weight = if len == 0 {
        0
    } else {
        let position =
            i64::try_from(whole_len).unwrap_or(0) - 1 - i64::try_from(leading).unwrap_or(0);
        i16::try_from(position).expect("at most ten groups on each side")
    };
    Groups {
        digits,
        len: len - leading,
        weight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the binary form back as PostgreSQL prints it, in the test's own way.
    fn decode(bytes: &[u8]) -> String {
        let word = |at: usize| u16::from_be_bytes([bytes[4 + at], bytes[5 + at]]);
        let (count, weight, sign, scale) = (word(0), word(2).cast_signed(), word(4), word(6));
        assert_eq!(bytes.len(), 12 + 2 * usize::from(count));
        let digit = |position: i16| {
            let index = i32::from(weight) - i32::from(position);
            usize::try_from(index)
                .ok()
                .filter(|index| *index < usize::from(count))
                .map_or(0, |index| word(8 + 2 * index))
        };
        let mut whole = String::new();
        for position in (0..=weight.max(0)).rev() {
            whole.push_str(&format!("{:04}", digit(position)));
        }
        let mut fraction = String::new();
        for position in 1..=10 {
            fraction.push_str(&format!("{:04}", digit(-position)));
        }
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let sign = if sign == NEGATIVE { "-" } else { "" };
        match scale {
            0 => format!("{sign}{whole}"),
            scale => format!("{sign}{whole}.{}", &fraction[..usize::from(scale)]),
        }
    }

    #[test]
    fn numbers_come_back() {
        for unscaled in [
            0,
            1,
            -1,
            9_999,
            10_000,
            12_345,
            -100_000_000,
            99_999_999_999_999_999_999,
            10i128.pow(38) - 1,
            -(10i128.pow(38) - 1),
            10i128.pow(37),
        ] {
            for scale in 0..=38 {
                let decimal = Decimal::new(unscaled, scale);
                let mut out = Vec::new();
                encode(&mut out, decimal);
                assert_eq!(
                    decode(&out),
                    decimal.to_string(),
                    "{unscaled} at scale {scale}"
                );
                let mut of_text = Vec::new();
                encode_text(&mut of_text, &decimal.to_string(), None).unwrap();
                assert_eq!(of_text, out, "{decimal}");
            }
        }
    }

    #[test]
    fn numbers_of_any_length_have_their_order() {
        let key = |text: &str| {
            let mut out = Vec::new();
            encode_key(&mut out, text);
            out
        };
        let long = "9".repeat(200);
        let ascending = [
            &format!("-{long}"),
            "-100.5",
            "-100",
            "-1.5",
            "-1",
            "-0.01",
            "-0.001",
            "0",
            "0.001",
            "0.0011",
            "0.01",
            "1",
            "1.5",
            "1.51",
            "2",
            "10",
            "100",
            &long,
        ];
        for pair in ascending.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{pair:?}");
        }
        for (left, right) in [
            ("1.50", "1.5"),
            ("0.00", "0"),
            ("-2", "-2.000"),
            ("10", "10.0"),
        ] {
            assert_eq!(key(left), key(right), "{left} {right}");
        }
    }

    #[test]
    fn what_a_column_does_not_hold_is_refused() {
        let check = |text: &str, bounds, expected| {
            assert_eq!(
                encode_text(&mut Vec::new(), text, bounds),
                expected,
                "{text}"
            );
        };
        let bounds = Some((4, 2));
        check("99.990", bounds, Ok(()));
        check("0.001", bounds, Err(Misfit::Decimals(2)));
        check("100", bounds, Err(Misfit::Range));
        check("000099", bounds, Ok(()));
        check(&"9".repeat(131_072), None, Ok(()));
        check(&"9".repeat(131_073), None, Err(Misfit::Range));
        for text in ["", "-", "1.", ".5", "1e5", "NaN", "1.2.3"] {
            check(text, None, Err(Misfit::NoNumber));
        }
    }
}
