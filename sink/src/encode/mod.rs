//! Values in PostgreSQL's binary COPY format, by the type of the *table's* column, and keys in a form
//! that sorts as bytes.

mod number;
mod scalar;
mod text;
mod time;

use std::fmt;

use bekk_stream::{ColumnType, Value};

use crate::catalog::TableColumn;
use crate::input::Guard;

/// How a value is encoded: the table's column type with what bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// `key_scale` is the scale at which all values of the column are whole numbers; `None` if absent.
    Numeric {
        bounds: Option<(u8, u8)>,
        key_scale: Option<u8>,
    },
    Uuid,
    Date,
    /// `time`; `step` as for timestamps.
    Time {
        step: i64,
    },
    /// `timestamp` or `timestamptz`; `step` is the least difference that the column keeps, in microseconds.
    Timestamp {
        step: i64,
    },
    /// `text`, `varchar`, `char` and enums.
    Text {
        chars_max: Option<usize>,
    },
    /// Any other type: a text that the type's own input function reads.
    Input(Guard),
    Json,
    Jsonb,
    Bytea,
}

/// The type as PostgreSQL names it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "boolean",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Numeric {
                bounds: Some((precision, scale)),
                ..
            } => return write!(f, "numeric({precision},{scale})"),
            Self::Numeric { bounds: None, .. } => "numeric",
            Self::Uuid => "uuid",
            Self::Date => "date",
            Self::Time { .. } => "time",
            Self::Timestamp { .. } => "timestamp",
            Self::Text {
                chars_max: Some(max),
            } => return write!(f, "text of at most {max} characters"),
            Self::Text { chars_max: None } | Self::Input(_) => "text",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Bytea => "bytea",
        })
    }
}

/// Why a value does not go into a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// As dead letters name it.
    pub(crate) reason: &'static str,
    /// What was found and what would have been right.
    pub(crate) detail: String,
}

impl Refusal {
    fn other_type(target: Target) -> Self {
        Self {
            reason: "bad_value",
            detail: format!("a value of another type than the table's column ({target})"),
        }
    }

    fn out_of_range(value: impl fmt::Display, target: Target) -> Self {
        Self {
            reason: "out_of_range",
            detail: format!("{value} is outside the range of the table's column ({target})"),
        }
    }
}

impl Target {
    /// Returns how values of a stream's column go into a table's column; `None` if they do not.
    pub(crate) fn of(column_type: &ColumnType, column: &TableColumn) -> Option<Self> {
        use ColumnType as T;
        match column_type {
            T::Bool => scalar::bool_target(column),
            T::Int2 | T::Int4 | T::Int8 => number::int_target(column),
            T::Float4 | T::Float8 => number::float_target(column_type, column),
            T::Decimal { scale, .. } => number::numeric_target(column, Some(*scale)),
            T::Numeric => number::numeric_target(column, None),
            T::Uuid => scalar::uuid_target(column),
            T::Date => time::date_target(column),
            T::Time => time::time_target(column),
            T::Timestamp => time::timestamp_target("timestamp", column),
            T::Timestamptz => time::timestamp_target("timestamptz", column),
            T::Text => text::text_target(column),
            // A type of the database has texts, if the column is of it.
            T::Postgres(postgres) if column.is_of(postgres) => text::text_target(column),
            T::Postgres(_) => None,
            T::Json => text::json_target(column),
            T::Bytea => scalar::bytea_target(column),
        }
    }
}

/// Appends a value as a field of binary COPY: its length and bytes.
pub(crate) fn encode_value(
    out: &mut Vec<u8>,
    value: &Value<'_>,
    target: Target,
) -> Result<(), Refusal> {
    match value {
        Value::Null => {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            Ok(())
        }
        Value::Bool(value) => scalar::encode_bool(out, *value, target),
        Value::Int(value) => number::encode_int(out, *value, target),
        Value::Float4(value) => number::encode_float4(out, *value, target),
        Value::Float8(value) => number::encode_float8(out, *value, target),
        Value::Decimal(value) => number::encode_decimal(out, *value, target),
        Value::Numeric(value) => number::encode_numeric(out, value, target),
        Value::Uuid(value) => scalar::encode_uuid(out, value, target),
        Value::Date(days) => time::encode_date(out, *days, target),
        Value::Time(micros) => time::encode_time(out, *micros, target),
        Value::Timestamp(micros) | Value::Timestamptz(micros) => {
            time::encode_timestamp(out, *micros, target)
        }
        Value::Text(value) => text::encode_text(out, value, target),
        Value::Json(value) => text::encode_json(out, value, target),
        Value::Bytea(value) => scalar::encode_bytea(out, value, target),
    }
}

/// Appends a value in a form whose equality is that of the values and whose order, byte by byte, is theirs or close to it;
/// the forms of two different values of one column differ before either ends. Returns false for null, which equals
/// nothing.
pub(crate) fn encode_key(out: &mut Vec<u8>, value: &Value<'_>, target: Target) -> bool {
    match value {
        Value::Null => return false,
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Int(value) => number::int_key(out, *value, target),
        Value::Float4(value) => number::float_key(out, f64::from(*value)),
        Value::Float8(value) => number::float_key(out, *value),
        Value::Decimal(value) => number::decimal_key(out, *value, target),
        Value::Uuid(value) => out.extend_from_slice(value),
        Value::Date(days) => time::date_key(out, *days),
        Value::Time(micros) | Value::Timestamp(micros) | Value::Timestamptz(micros) => {
            number::ordered(out, *micros);
        }
        Value::Numeric(text) => number::numeric_key(out, text, target),
        Value::Text(text) | Value::Json(text) => text::text_key(out, text),
        Value::Bytea(bytes) => scalar::bytea_key(out, bytes),
    }
    true
}

/// Appends a field's length and bytes.
#[inline]
fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len());
    out.extend_from_slice(bytes);
}

#[inline]
fn length(out: &mut Vec<u8>, bytes: usize) {
    let length = i32::try_from(bytes).expect("a payload has at most 16 MiB");
    out.extend_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use bekk_stream::Decimal;

    use super::*;

    fn decimal(unscaled: i128, scale: u8) -> Value<'static> {
        Value::Decimal(Decimal::new(unscaled, scale))
    }

    fn numeric(precision: u8) -> Target {
        Target::Numeric {
            bounds: Some((precision, 2)),
            key_scale: Some(2),
        }
    }

    fn key(value: &Value<'_>, target: Target) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(encode_key(&mut out, value, target));
        out
    }

    #[test]
    fn keys_sort_as_their_values() {
        let check = |target: Target, values: &[Value<'_>]| {
            for pair in values.windows(2) {
                assert!(key(&pair[0], target) < key(&pair[1], target), "{pair:?}");
            }
        };
        let integers = [i64::MIN, -1, 0, 1, i64::MAX];
        check(Target::Int8, &integers.map(Value::Int));
        let (least, infinity) = (f64::MIN_POSITIVE, f64::INFINITY);
        let floats = [-infinity, -1.5, -least, 0.0, 1.0, infinity, f64::NAN];
        check(Target::Float8, &floats.map(Value::Float8));
        let texts = ["", "a", "a b", "b"].map(|text| Value::Text(text.into()));
        check(Target::Text { chars_max: None }, &texts);
        let numeric = numeric(5);
        let decimals = [(-150, 2), (-1, 0), (0, 2), (1, 1), (11, 2)];
        check(
            numeric,
            &decimals.map(|(unscaled, scale)| decimal(unscaled, scale)),
        );
        for (left, right, target) in [
            (decimal(10, 1), decimal(100, 2), numeric),
            (Value::Float8(-0.0), Value::Float8(0.0), Target::Float8),
        ] {
            assert_eq!(key(&left, target), key(&right, target));
        }
    }

    #[test]
    fn refusals_name_the_type_as_postgresql_does() {
        let check = |value: Value<'_>, target: Target, expected: &str| {
            let refused = encode_value(&mut Vec::new(), &value, target).unwrap_err();
            assert_eq!(refused.detail, expected);
        };
        let numeric = numeric(4);
        check(
            Value::Int(40_000),
            Target::Int2,
            "40000 is outside the range of the table's column (smallint)",
        );
        check(
            decimal(10_000, 2),
            numeric,
            "100.00 is outside the range of the table's column (numeric(4,2))",
        );
        check(
            Value::Bool(true),
            Target::Date,
            "a value of another type than the table's column (date)",
        );
    }

    #[test]
    fn what_would_lose_digits_or_range_is_refused() {
        let check = |value: Value<'_>, target: Target, expected: Option<&str>| {
            let refused = encode_value(&mut Vec::new(), &value, target).err();
            assert_eq!(refused.map(|refusal| refusal.reason), expected, "{value:?}");
        };
        let numeric = numeric(4);
        check(decimal(9999, 2), numeric, None);
        check(decimal(99_990, 3), numeric, None);
        check(decimal(10_000, 2), numeric, Some("out_of_range"));
        check(decimal(1, 3), numeric, Some("too_many_decimals"));
        check(Value::Int(40_000), Target::Int2, Some("out_of_range"));
        check(Value::Int(40_000), Target::Int4, None);
        let varchar = Target::Text { chars_max: Some(3) };
        check(Value::Text("æøå".into()), varchar, None);
        check(Value::Text("abc ".into()), varchar, Some("too_long"));
        check(
            Value::Timestamp(i64::MIN),
            Target::Timestamp { step: 1 },
            Some("out_of_range"),
        );
        check(
            Value::Timestamp(1500),
            Target::Timestamp { step: 1000 },
            Some("too_many_decimals"),
        );
        check(Value::Date(i32::MAX), Target::Date, Some("out_of_range"));
        check(Value::Bool(true), Target::Int4, Some("bad_value"));
    }
}
