//! `decimal(precision,scale)`.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;

use super::number::{
    POWERS_OF_TEN, bad, has_room, signed, split, unscaled, without_trailing_zeros,
};
use super::{ColumnType, Declaration, Family, PLAIN, Rejection, Setting, Shown, Value, ValueKind};
use crate::payload::{encode, put_varint, zigzag};
use crate::{Column, CsvDialect, Decimal, Reason};

pub(super) static DECIMAL: Declaration = Declaration {
    family: Family::Exact,
    settings: &[Setting::Decimal, Setting::MinAndMax],
    widens: |from, to| {
        matches!(to, ColumnType::Decimal { .. } | ColumnType::Numeric) && has_room(from, to)
    },
    ..PLAIN
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
        let mark = column.decimal.unwrap_or(dialect.decimal);
        Ok(Self {
            precision,
            scale,
            mark,
        })
    }

    #[inline]
    fn parse<'a, T>(
        &self,
        bytes: &'a [u8],
        take: impl FnOnce(Self::Content<'a>) -> T,
    ) -> Result<T, Rejection> {
        Ok(take(decimal(bytes, self.mark, self.precision, self.scale)?))
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
