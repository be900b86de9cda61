//! `decimal(precision,scale)`.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;

use super::number::{
    NUMBER, POWERS_OF_TEN, SHORT_MAX, bad, has_room, short, signed, split, unscaled,
    without_trailing_zeros,
};
use super::{ColumnType, Declaration, Family, Rejection, Shown, Value, ValueKind};
use crate::wire::{encode, put_varint, zigzag};
use crate::{Column, CsvDialect, Decimal, Reason};

pub(super) static DECIMAL: Declaration = Declaration {
    family: Family::Exact,
    widens: |from, to| {
        matches!(to, ColumnType::Decimal { .. } | ColumnType::Numeric) && has_room(from, to)
    },
    ..NUMBER
};

/// Reads decimals of one precision and scale.
#[derive(Debug, Clone)]
pub(crate) struct DecimalKind {
    precision: u8,
    scale: u8,
    mark: u8,
}

impl ValueKind for DecimalKind {
    type Content<'a> = Decimal;

    fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
        let (precision, scale) = match column.column_type {
            ColumnType::Decimal { precision, scale } => (precision, scale),
            _ => unreachable!("only columns of type decimal have decimals"),
        };
        Ok(Self {
            precision,
            scale,
            mark: column.decimal_mark(dialect),
        })
    }

    #[inline]
    fn read(&self, bytes: &[u8]) -> Result<Decimal, Rejection> {
        decimal(bytes, self.mark, self.precision, self.scale)
    }

    fn write_key(out: &mut Vec<u8>, value: &Decimal) {
        write!(out, "{value}").expect("a Vec takes every byte");
    }

    fn write_csv(out: &mut String, value: &Decimal) {
        write!(out, "{value}").expect("a String takes every text");
    }

    #[inline]
    fn put(out: &mut Vec<u8>, value: &Decimal) {
        match i64::try_from(value.unscaled) {
            Ok(unscaled) => {
                put_varint(out, zigzag(unscaled));
                out.push(value.scale);
            }
            Err(_) => encode(out, value),
        }
    }

    fn compare(left: &Decimal, right: &Decimal) -> Option<Ordering> {
        Some(left.compare(right))
    }

    fn widened(value: &Decimal, to: &ColumnType) -> Option<Value<'static>> {
        match to {
            ColumnType::Decimal { scale, .. } => Some(value.at_scale(*scale)),
            ColumnType::Numeric => Some(Value::Numeric(value.to_string().into())),
            _ => None,
        }
    }
}

impl Decimal {
    /// The same number at another scale, if it loses no digit there.
    pub(super) fn at_scale(self, scale: u8) -> Value<'static> {
        Value::Decimal(match self.rescaled(scale) {
            Some(unscaled) => Self { unscaled, scale },
            None => self,
        })
    }
}

fn decimal(bytes: &[u8], mark: u8, precision: u8, scale: u8) -> Result<Decimal, Rejection> {
    if let Some((digits, decimals)) = short(bytes, mark)
        && let Some(missing) = usize::from(scale).checked_sub(decimals)
        && missing <= SHORT_MAX
    {
        let unscaled = i128::from(digits) * POWERS_OF_TEN[missing];
        if unscaled.abs() < POWERS_OF_TEN[usize::from(precision)] {
            return Ok(Decimal::new(unscaled, scale));
        }
    }
    full_decimal(bytes, mark, precision, scale)
}

#[cold]
fn full_decimal(bytes: &[u8], mark: u8, precision: u8, scale: u8) -> Result<Decimal, Rejection> {
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
        .map(|digits| Decimal::new(signed(digits, parts.negative), scale))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{check, decimal, parse, parser, parser_of};
    use crate::{Column, ColumnType, CsvDialect, Decimal, Reason};

    #[test]
    fn decimals_lose_no_digit() {
        check("decimal(12,2)", "1.5", decimal(150, 2));
        check("decimal(12,2)", "-1.50000", decimal(-150, 2));
        check("decimal(12,2)", "-.5", decimal(-50, 2));
        check("decimal(12,2)", "7.", decimal(700, 2));
        check(
            "decimal(12,2)",
            "0000000000000000000000000000001",
            decimal(100, 2),
        );
        check("decimal(12,2)", "1.005", Err(Reason::TooManyDecimals));
        check(
            "decimal(12,2)",
            "9999999999.99",
            decimal(999_999_999_999, 2),
        );
        check("decimal(12,2)", "10000000000", Err(Reason::OutOfRange));
        check(
            "decimal(38,0)",
            &"9".repeat(38),
            decimal(10i128.pow(38) - 1, 0),
        );
        check("decimal(38,0)", &"9".repeat(39), Err(Reason::OutOfRange));
        check(
            "decimal(38,38)",
            "0.00000000000000000000000000000000000001",
            decimal(1, 38),
        );
        check("decimal(12,2)", "abc", Err(Reason::BadValue));
        check("decimal(12,2)", "1,50", Err(Reason::BadValue));
        let comma = CsvDialect {
            decimal: b',',
            ..CsvDialect::default()
        };
        let comma = parser_of(
            &Column::new(
                "c",
                ColumnType::Decimal {
                    precision: 5,
                    scale: 2,
                },
            ),
            &comma,
        );
        assert_eq!(parse(&comma, "1,5"), decimal(150, 2));
        assert_eq!(parse(&comma, "1.5"), Err(Reason::BadValue));
    }

    proptest! {
        #[test]
        fn every_decimal_survives(unscaled in -99_999_999_999_999_999_999_999i128..=99_999_999_999_999_999_999_999, scale in 0u8..=20) {
            let text = Decimal::new(unscaled, scale).to_string();
            let parser = parser(&format!("decimal(38,{scale})"));
            prop_assert_eq!(parse(&parser, &text), decimal(unscaled, scale));
        }
    }
}
