//! `float4` and `float8`.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;

use super::number::{NUMBER, bad, split};
use super::{ColumnType, Declaration, Family, Rejection, Shown, ValueKind};
use crate::{Column, CsvDialect, Reason};

/// Digits of a whole number that `float4` holds in any case
pub(crate) const FLOAT4_DIGITS: usize = 7;
/// Digits of a whole number that `float8` holds in any case
pub(crate) const FLOAT8_DIGITS: usize = 15;

const FLOAT: Declaration = Declaration {
    family: Family::Float,
    ..NUMBER
};

pub(super) static FLOAT4: Declaration = Declaration {
    plain: Some(|| ColumnType::Float4),
    name: "float4",
    synonyms: &["real"],
    sql: "real",
    layout: (4, 4),
    widens: |_, to| *to == ColumnType::Float8,
    ..FLOAT
};

pub(super) static FLOAT8: Declaration = Declaration {
    plain: Some(|| ColumnType::Float8),
    name: "float8",
    synonyms: &["double precision", "double"],
    sql: "double precision",
    layout: (8, 8),
    ..FLOAT
};

macro_rules! float_kind {
    ($(#[$doc:meta])* $kind:ident, $float:ty, $name:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $kind {
            mark: u8,
        }

        impl ValueKind for $kind {
            type Content<'a> = $float;

            fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
                Ok(Self {
                    mark: column.decimal_mark(dialect),
                })
            }

            #[inline]
            fn read(&self, bytes: &[u8]) -> Result<$float, Rejection> {
                let text = float_text(bytes, self.mark)?;
                let parsed = text.parse();
                let value: $float = parsed.map_err(|_| bad("a number", bytes, self.mark))?;
                check_float(value.is_infinite(), value == 0.0, &text, bytes, $name)?;
                Ok(value)
            }

            fn write_key(out: &mut Vec<u8>, value: &$float) {
                // -0 equals 0.
                write!(out, "{}", value + 0.0).expect("a Vec takes every byte");
            }

            fn write_csv(out: &mut String, value: &$float) {
                write!(out, "{value}").expect("a String takes every text");
            }

            fn compare(left: &$float, right: &$float) -> Option<Ordering> {
                left.partial_cmp(right)
            }
        }
    };
}

float_kind!(
    /// Reads numbers of single precision.
    Float4Kind,
    f32,
    "float4"
);
float_kind!(
    /// Reads numbers of double precision.
    Float8Kind,
    f64,
    "float8"
);

/// Returns the text for Rust's own parser, if it has a form that PostgreSQL takes too: a number, with or without an
/// exponent, or one of PostgreSQL's three names.
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

#[cfg(test)]
mod tests {
    use crate::testing::check;
    use crate::{Reason, Value};

    #[test]
    fn floats() {
        check("float8", "1.5e-3", Ok(Value::Float8(0.0015)));
        check("float8", ".5e1", Ok(Value::Float8(5.0)));
        check("float8", "-Infinity", Ok(Value::Float8(f64::NEG_INFINITY)));
        check("float4", "0e999", Ok(Value::Float4(0.0)));
        check("float8", "1e400", Err(Reason::OutOfRange));
        check("float4", "1e-60", Err(Reason::OutOfRange));
        for text in [
            "", "e5", "1e", "1e1.5", "--nan", "infinite", "0x1p3", "1_000",
        ] {
            check("float8", text, Err(Reason::BadValue));
        }
    }
}
