//! PostgreSQL's binary form of `numeric`: groups of four decimal digits.
//!
//! Source: `numeric_recv` in PostgreSQL's `src/backend/utils/adt/numeric.c`.

use std::ops::{Div, Mul, Rem};

use bekk_stream::Decimal;

/// Ten groups on each side of the point hold the 38 digits of a [`Decimal`] wherever the point stands.
const GROUPS_MAX: usize = 20;
const NEGATIVE: u16 = 0x4000;

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
                let decimal = Decimal { unscaled, scale };
                let mut out = Vec::new();
                encode(&mut out, decimal);
                assert_eq!(
                    decode(&out),
                    decimal.to_string(),
                    "{unscaled} at scale {scale}"
                );
            }
        }
    }
}
