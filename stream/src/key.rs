//! A record's key: the canonical text of the key columns' values.

use crate::Value;

/// Separator of the texts of several key columns: U+001F, the unit separator.
pub const KEY_SEPARATOR: u8 = 0x1f;

/// Appends the key of a row: the canonical texts of the values at `key_indexes`, in that order, with
/// [`KEY_SEPARATOR`] between them. Equal keys have equal texts, so that they meet in one partition.
///
/// Null is empty, numbers are plain decimals (a decimal with its column's scale), a UUID is lower case with hyphens,
/// dates and times are ISO 8601 (a timestamptz in UTC), bytes are `\x` and hex.
pub fn key_text(out: &mut Vec<u8>, values: &[Value<'_>], key_indexes: &[usize]) {
    for (i, &index) in key_indexes.iter().enumerate() {
        if i > 0 {
            out.push(KEY_SEPARATOR);
        }
        values[index].write_key(out);
    }
}

/// Appends the key whose columns have these canonical texts, as [`key_text`] makes it of their values.
pub fn join_key<'t>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'t [u8]>) {
    for (i, text) in texts.enumerate() {
        if i > 0 {
            out.push(KEY_SEPARATOR);
        }
        out.extend_from_slice(text);
    }
}

/// A key as a person reads and types it: the texts with commas between them, as a line of CSV. Only the key of several
/// columns has quotes, around texts with a comma or a quote.
#[must_use]
pub fn key_shown(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    let separator = char::from(KEY_SEPARATOR);
    if !key.contains(separator) {
        return key.into_owned();
    }
    let parts = key
        .split(separator)
        .map(|part| match part.contains([',', '"']) {
            true => format!("\"{}\"", part.replace('"', "\"\"")),
            false => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join(",")
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
        check(Value::Decimal(Decimal::new(-150, 2)), "-1.50");
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
