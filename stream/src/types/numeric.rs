//! `numeric`, of any number of digits, kept as text.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::number::{NUMBER, bad, split};
use super::{ColumnType, Declaration, Family, Rejection, Shown, ValueKind};
use crate::{Column, CsvDialect, Reason};

pub(super) static NUMERIC: Declaration = Declaration {
    plain: Some(|| ColumnType::Numeric),
    name: "numeric",
    synonyms: &["decimal"],
    sql: "numeric",
    family: Family::Exact,
    // More than any other type of exact numbers has.
    digits: Some((u8::MAX, u8::MAX)),
    ..NUMBER
};

/// Reads numbers of any length.
#[derive(Debug, Clone)]
pub(crate) struct NumericKind {
    mark: u8,
}

impl ValueKind for NumericKind {
    type Content<'a> = Cow<'a, str>;

    fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
        Ok(Self {
            mark: column.decimal_mark(dialect),
        })
    }

    #[inline]
    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, str>, Rejection> {
        numeric(bytes, self.mark)
    }

    fn write_key(out: &mut Vec<u8>, text: &Cow<'_, str>) {
        out.extend_from_slice(shortest(text).as_bytes());
    }

    fn write_csv(out: &mut String, text: &Cow<'_, str>) {
        out.push_str(text);
    }

    fn compare(left: &Cow<'_, str>, right: &Cow<'_, str>) -> Option<Ordering> {
        Some(compare(left, right))
    }
}

/// The number without zeros after its last fraction digit: 1.50 equals 1.5.
fn shortest(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// The most digits that PostgreSQL's `numeric` has before and after the point.
const NUMERIC_WHOLE_MAX: usize = 131_072;
const NUMERIC_FRACTION_MAX: usize = 16_383;

/// Reads a number of any length as text, with a point and without surplus zeros before it; 0 has no sign.
fn numeric(bytes: &[u8], mark: u8) -> Result<Cow<'_, str>, Rejection> {
    let Some(parts) = split(bytes, mark) else {
        let name = bytes.strip_prefix(b"-").unwrap_or(bytes);
        let has_no_digits = [&b"nan"[..], b"inf", b"infinity"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        return Err(match has_no_digits {
            true => Rejection::new(
                Reason::BadValue,
                format!(
                    "{} is not a finite number; if it means null: nullable = true, null = [\"\", …]",
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
fn compare(left: &str, right: &str) -> Ordering {
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

#[cfg(test)]
mod tests {
    use crate::testing::{self, parse, parser_of};
    use crate::{Column, ColumnType, CsvDialect, Reason, Value};

    #[test]
    fn numerics_keep_every_digit() {
        let check = |text: &str, expected: &str| {
            testing::check("numeric", text, Ok(Value::Numeric(expected.into())));
        };
        let long = format!("{}.{}", "9".repeat(60), "1".repeat(60));
        for (text, expected) in [
            ("0", "0"),
            ("-0.00", "0.00"),
            ("+1.50", "1.50"),
            ("-007.5", "-7.5"),
            ("000", "0"),
            (".5", "0.5"),
            ("-.0", "0.0"),
            ("+.5", "0.5"),
            ("7.", "7"),
            (long.as_str(), long.as_str()),
        ] {
            check(text, expected);
        }
        check(&"9".repeat(131_072), &"9".repeat(131_072));
        for (text, reason) in [
            ("NaN", Reason::BadValue),
            ("-Infinity", Reason::BadValue),
            ("1e5", Reason::BadValue),
            (".", Reason::BadValue),
            ("1,5", Reason::BadValue),
            (" 1", Reason::BadValue),
            (&"9".repeat(131_073), Reason::OutOfRange),
            (
                &format!("0.{}", "0".repeat(16_384)),
                Reason::TooManyDecimals,
            ),
        ] {
            testing::check("numeric", text, Err(reason));
        }
        let mut column = Column::new("c", ColumnType::Numeric);
        column.decimal = Some(b',');
        (column.min, column.max) = (Some("-10,5".into()), Some("100,00".into()));
        let parser = parser_of(&column, &CsvDialect::default());
        for (text, is_right) in [
            ("-10,50", true),
            ("-10,51", false),
            ("-9", true),
            ("100", true),
            ("100,01", false),
            ("99,999", true),
            ("-1000", false),
        ] {
            assert_eq!(parse(&parser, text).is_ok(), is_right, "{text}");
        }
    }
}
