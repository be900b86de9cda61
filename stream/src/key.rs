//! A record's key: the canonical text of the key columns' values.

use std::io::Write;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::Value;

/// What stands between the texts of several key columns: U+001F, the unit separator.
pub const KEY_SEPARATOR: u8 = 0x1f;

/// Appends the key of a row: the canonical texts of the values at `key_indexes`, in that order, with
/// [`KEY_SEPARATOR`] between them. Equal keys have equal texts, so that they meet in one partition.
pub fn key_text(out: &mut Vec<u8>, values: &[Value<'_>], key_indexes: &[usize]) {
    for (i, &index) in key_indexes.iter().enumerate() {
        if i > 0 {
            out.push(KEY_SEPARATOR);
        }
        write_canonical(out, &values[index]);
    }
}

/// Appends a value's canonical text: null is empty, numbers are plain decimals (a decimal with its
/// column's scale), a UUID is lower case with hyphens, dates and times are ISO 8601 (a timestamptz in
/// UTC), bytes are `\x` and hex.
fn write_canonical(out: &mut Vec<u8>, value: &Value<'_>) {
    let written = match value {
        Value::Null => Ok(()),
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        // -0 equals 0.
        Value::Float4(value) => write!(out, "{}", value + 0.0),
        Value::Float8(value) => write!(out, "{}", value + 0.0),
        Value::Decimal(value) => write!(out, "{value}"),
        Value::Uuid(bytes) => {
            let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
            let text = Uuid::from_bytes(*bytes)
                .hyphenated()
                .encode_lower(&mut text);
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        Value::Date(days) => {
            let since = SignedDuration::from_hours(i64::from(*days) * 24);
            match Date::constant(1970, 1, 1).checked_add(since) {
                Ok(date) => write!(out, "{date}"),
                Err(_) => write!(out, "{days}"),
            }
        }
        Value::Timestamp(micros) => {
            let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
            match epoch.checked_add(SignedDuration::from_micros(*micros)) {
                Ok(time) => write!(out, "{time}"),
                Err(_) => write!(out, "{micros}"),
            }
        }
        Value::Timestamptz(micros) => match Timestamp::from_microsecond(*micros) {
            Ok(time) => write!(out, "{time}"),
            Err(_) => write!(out, "{micros}"),
        },
        Value::Time(micros) => write_time(out, *micros),
        Value::Numeric(text) => {
            out.extend_from_slice(shortest(text).as_bytes());
            Ok(())
        }
        Value::Text(text) | Value::Json(text) => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        Value::Bytea(bytes) => {
            out.extend_from_slice(b"\\x");
            bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
    };
    written.expect("a Vec takes every byte");
}

/// A number of type `numeric` without zeros after its last digit behind the point: 1.50 equals 1.5.
fn shortest(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// `HH:MM:SS[.ffffff]`, without surplus zeros.
fn write_time(out: &mut Vec<u8>, micros: i64) -> std::io::Result<()> {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    write!(out, "{hours:02}:{minutes:02}:{:02}", seconds % 60)?;
    if fraction > 0 {
        let fraction = format!(".{fraction:06}");
        out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decimal;

    #[test]
    fn keys_are_canonical() {
        let check = |value: Value<'_>, expected: &str| {
            let mut out = Vec::new();
            key_text(&mut out, &[Value::Null, value], &[1, 0]);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\u{1f}"));
        };
        check(Value::Null, "");
        check(Value::Bool(true), "true");
        check(Value::Int(-7), "-7");
        check(Value::Float8(0.5), "0.5");
        check(
            Value::Decimal(Decimal {
                unscaled: -150,
                scale: 2,
            }),
            "-1.50",
        );
        check(
            Value::Uuid([0xAB; 16]),
            "abababab-abab-abab-abab-abababababab",
        );
        check(Value::Date(-1), "1969-12-31");
        check(Value::Date(i32::MAX), "2147483647");
        check(Value::Timestamp(1_500_000), "1970-01-01T00:00:01.5");
        check(Value::Timestamptz(-1), "1969-12-31T23:59:59.999999Z");
        check(Value::Time(0), "00:00:00");
        check(Value::Time(86_400_000_000), "24:00:00");
        check(Value::Time(3_723_000_500), "01:02:03.0005");
        check(Value::Numeric("-100".into()), "-100");
        check(Value::Numeric("0.00".into()), "0");
        check(Value::Numeric("1.500".into()), "1.5");
        check(Value::Text("blå".into()), "blå");
        check(Value::Bytea(vec![0, 255].into()), "\\x00ff");
    }
}
