//! `int2`, `int4` and `int8`.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;

use super::number::{
    NUMBER, bad, has_room, short, signed, split, unscaled, without_trailing_zeros,
};
use super::{ColumnType, Declaration, Family, Rejection, Shown, Value, ValueKind};
use crate::wire::{put_varint, zigzag};
use crate::{Column, CsvDialect, Decimal, Reason};

const INT: Declaration = Declaration {
    family: Family::Exact,
    widens: has_room,
    ..NUMBER
};

pub(super) static INT2: Declaration = Declaration {
    plain: Some(|| ColumnType::Int2),
    name: "int2",
    synonyms: &["smallint"],
    sql: "smallint",
    digits: Some((5, 0)),
    layout: (2, 2),
    ..INT
};

pub(super) static INT4: Declaration = Declaration {
    plain: Some(|| ColumnType::Int4),
    name: "int4",
    synonyms: &["int", "integer"],
    sql: "integer",
    digits: Some((10, 0)),
    layout: (4, 4),
    ..INT
};

pub(super) static INT8: Declaration = Declaration {
    plain: Some(|| ColumnType::Int8),
    name: "int8",
    synonyms: &["bigint"],
    sql: "bigint",
    digits: Some((19, 0)),
    layout: (8, 8),
    ..INT
};

/// Reads whole numbers within a range.
#[derive(Debug, Clone)]
pub(crate) struct IntKind {
    min: i64,
    max: i64,
    mark: u8,
}

impl ValueKind for IntKind {
    type Content<'a> = i64;

    fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
        let (min, max) = match column.column_type {
            ColumnType::Int2 => (i16::MIN.into(), i16::MAX.into()),
            ColumnType::Int4 => (i32::MIN.into(), i32::MAX.into()),
            _ => (i64::MIN, i64::MAX),
        };
        Ok(Self {
            min,
            max,
            mark: column.decimal_mark(dialect),
        })
    }

    #[inline]
    fn read(&self, bytes: &[u8]) -> Result<i64, Rejection> {
        int(bytes, self.mark, self.min, self.max)
    }

    fn write_key(out: &mut Vec<u8>, value: &i64) {
        write!(out, "{value}").expect("a Vec takes every byte");
    }

    fn write_csv(out: &mut String, value: &i64) {
        write!(out, "{value}").expect("a String takes every text");
    }

    #[inline]
    fn put(out: &mut Vec<u8>, value: &i64) {
        put_varint(out, zigzag(*value));
    }

    fn compare(left: &i64, right: &i64) -> Option<Ordering> {
        Some(left.cmp(right))
    }

    fn widened(value: &i64, to: &ColumnType) -> Option<Value<'static>> {
        match to {
            ColumnType::Decimal { scale, .. } => {
                let unscaled = i128::from(*value);
                Some(Decimal::new(unscaled, 0).at_scale(*scale))
            }
            ColumnType::Numeric => Some(Value::Numeric(value.to_string().into())),
            _ => None,
        }
    }
}

fn int(bytes: &[u8], mark: u8, min: i64, max: i64) -> Result<i64, Rejection> {
    let value = match short(bytes, mark) {
        Some((value, 0)) => value,
        _ => full_int(bytes, mark)?,
    };
    if value < min || value > max {
        return Err(int_out_of_range(bytes, min, max));
    }
    Ok(value)
}

#[cold]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{check, parse, parser};
    use crate::{Reason, Value};

    #[test]
    fn whole_numbers() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("+7", 7),
            ("007", 7),
            ("12.00", 12),
            ("-32768", -32768),
            ("32767", 32767),
        ] {
            check("int2", text, Ok(Value::Int(value)));
        }
        check("int8", "9223372036854775807", Ok(Value::Int(i64::MAX)));
        check("int8", "-9223372036854775808", Ok(Value::Int(i64::MIN)));
        for (column_type, text) in [
            ("int2", "32768"),
            ("int4", "-2147483649"),
            ("int8", "9223372036854775808"),
            ("int8", &"9".repeat(60)),
        ] {
            check(column_type, text, Err(Reason::OutOfRange));
        }
        check("int4", "1.5", Err(Reason::TooManyDecimals));
        check("int4", ".5", Err(Reason::TooManyDecimals));
        for text in [
            "", "-", "+", "abc", "1e3", " 1", "1 ", "1,5", ".", "-.", "--1", "0x10", "१",
        ] {
            check("int4", text, Err(Reason::BadValue));
        }
    }

    proptest! {
        /// A number's own text is parsed as that number.
        #[test]
        fn every_int_survives(value: i64) {
            let text = value.to_string();
            prop_assert_eq!(parse(&parser("int8"), &text), Ok(Value::Int(value)));
        }
    }
}
