//! Values in PostgreSQL's binary COPY format, by the type of the *table's* column, and keys in a form
//! that sorts as bytes.

use std::fmt;

use bekk_stream::{ColumnType, Decimal, Value};

use crate::catalog::TableColumn;
use crate::input::Guard;
use crate::numeric::{self, Misfit};

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;
const EPOCH_MICROS: i64 = 10_957 * DAY_MICROS;
/// What PostgreSQL accepts: 4713-01-01 BC to 294276-12-31 for a time, in microseconds from its epoch.
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// And 4713-01-01 BC to 5874897-12-31 for a date, in days.
const DATE_MIN: i32 = -2_451_545;
const DATE_END: i32 = 2_145_031_949;
/// The version byte before the text of a binary `jsonb`.
const JSONB_VERSION: u8 = 1;

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
    fn out_of_range(value: impl fmt::Display, target: Target) -> Self {
        Self {
            reason: "out_of_range",
            detail: format!("{value} is outside the range of the table's column ({target})"),
        }
    }
}

impl Target {
    /// How values of a stream's column go into a table's column; `None` if they do not.
    pub(crate) fn of(column_type: &ColumnType, column: &TableColumn) -> Option<Self> {
        // A type of the database has texts, if the column is of it.
        if let ColumnType::Postgres(postgres) = column_type {
            return match column.is_of(postgres) {
                true => Self::of(&ColumnType::Text, column),
                false => None,
            };
        }
        let modifier = column.type_modifier;
        let base = column.base_type.as_str();
        Some(match (column_type, base) {
            (ColumnType::Bool, "bool") => Self::Bool,
            (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, "int2") => Self::Int2,
            (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, "int4") => Self::Int4,
            (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, "int8") => Self::Int8,
            (ColumnType::Float4, "float4") => Self::Float4,
            (ColumnType::Float4 | ColumnType::Float8, "float8") => Self::Float8,
            (ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, "numeric") => Self::Numeric {
                bounds: numeric_bounds(modifier)?,
                key_scale: Some(0),
            },
            (ColumnType::Decimal { scale, .. }, "numeric") => Self::Numeric {
                bounds: numeric_bounds(modifier)?,
                key_scale: Some(*scale),
            },
            (ColumnType::Numeric, "numeric") => Self::Numeric {
                bounds: numeric_bounds(modifier)?,
                key_scale: None,
            },
            (ColumnType::Time, "time") => Self::Time {
                step: timestamp_step(modifier),
            },
            (ColumnType::Uuid, "uuid") => Self::Uuid,
            (ColumnType::Date, "date") => Self::Date,
            (ColumnType::Date | ColumnType::Timestamp, "timestamp")
            | (ColumnType::Timestamptz, "timestamptz") => Self::Timestamp {
                step: timestamp_step(modifier),
            },
            (ColumnType::Text, _) if column.is_enum => Self::Text { chars_max: None },
            (ColumnType::Text | ColumnType::Uuid | ColumnType::Json, "text" | "citext") => {
                Self::Text { chars_max: None }
            }
            (ColumnType::Text | ColumnType::Uuid | ColumnType::Json, "varchar" | "bpchar") => {
                Self::Text {
                    chars_max: usize::try_from(modifier - 4).ok(),
                }
            }
            (ColumnType::Json, "json") => Self::Json,
            (ColumnType::Json, "jsonb") => Self::Jsonb,
            (ColumnType::Bytea, "bytea") => Self::Bytea,
            (ColumnType::Text, _) => Self::Input(column.guard?),
            _ => return None,
        })
    }
}

/// Precision and scale of a `numeric`; the outer `None` for a scale that decimals do not have (negative,
/// or beyond 38).
#[expect(
    clippy::option_option,
    reason = "no bounds and no fit are different answers"
)]
fn numeric_bounds(modifier: i32) -> Option<Option<(u8, u8)>> {
    if modifier < 4 {
        return Some(None);
    }
    let (precision, scale) = ((modifier - 4) >> 16, (modifier - 4) & 0x7ff);
    // More than 38 digits in all hold whatever a decimal holds, if the scale does.
    let precision = u8::try_from(precision.min(200)).ok()?;
    let scale = u8::try_from(scale).ok().filter(|scale| *scale <= 38)?;
    Some(Some((precision, scale)))
}

fn timestamp_step(modifier: i32) -> i64 {
    match u32::try_from(modifier) {
        Ok(digits @ 0..=5) => 10i64.pow(6 - digits),
        _ => 1,
    }
}

/// Appends a value as a field of binary COPY: its length and bytes.
pub(crate) fn encode_value(
    out: &mut Vec<u8>,
    value: &Value<'_>,
    target: Target,
) -> Result<(), Refusal> {
    match (value, target) {
        (Value::Null, _) => out.extend_from_slice(&(-1i32).to_be_bytes()),
        (Value::Bool(value), Target::Bool) => field(out, &[u8::from(*value)]),
        (Value::Int(value), Target::Int8) => field(out, &value.to_be_bytes()),
        (Value::Int(value), Target::Int4) => {
            let narrow = i32::try_from(*value).map_err(|_| Refusal::out_of_range(value, target))?;
            field(out, &narrow.to_be_bytes());
        }
        (Value::Int(value), Target::Int2) => {
            let narrow = i16::try_from(*value).map_err(|_| Refusal::out_of_range(value, target))?;
            field(out, &narrow.to_be_bytes());
        }
        (Value::Int(value), Target::Numeric { bounds, .. }) => {
            let decimal = Decimal {
                unscaled: i128::from(*value),
                scale: 0,
            };
            numeric::encode(out, fit(decimal, bounds, target)?);
        }
        (Value::Decimal(value), Target::Numeric { bounds, .. }) => {
            numeric::encode(out, fit(*value, bounds, target)?);
        }
        (Value::Numeric(text), Target::Numeric { bounds, .. }) => {
            numeric::encode_text(out, text, bounds).map_err(|misfit| match misfit {
                Misfit::Decimals(scale) => too_many_decimals(text, scale),
                Misfit::Range => Refusal::out_of_range(text, target),
                Misfit::NoNumber => Refusal {
                    reason: "bad_value",
                    detail: "no number".to_owned(),
                },
            })?;
        }
        (Value::Time(micros), Target::Time { step }) => {
            if !(0..=DAY_MICROS).contains(micros) {
                return Err(Refusal::out_of_range(
                    format!("microsecond {micros}"),
                    target,
                ));
            }
            check_step(*micros, step)?;
            field(out, &micros.to_be_bytes());
        }
        (Value::Float4(value), Target::Float4) => field(out, &value.to_be_bytes()),
        (Value::Float4(value), Target::Float8) => field(out, &f64::from(*value).to_be_bytes()),
        (Value::Float8(value), Target::Float8) => field(out, &value.to_be_bytes()),
        (Value::Uuid(value), Target::Uuid) => field(out, value),
        (Value::Date(value), Target::Date) => field(out, &date(*value, target)?.to_be_bytes()),
        (
            Value::Date(_) | Value::Timestamp(_) | Value::Timestamptz(_),
            Target::Timestamp { step },
        ) => {
            field(out, &timestamp(value, step, target)?.to_be_bytes());
        }
        (Value::Text(text) | Value::Json(text), Target::Text { chars_max }) => {
            check_length(text, chars_max)?;
            field(out, text.as_bytes());
        }
        (Value::Text(text), Target::Input(guard)) => {
            if let Some(why) = guard.refuses(text) {
                return Err(Refusal {
                    reason: "bad_value",
                    detail: format!("the text {why}"),
                });
            }
            field(out, text.as_bytes());
        }
        (Value::Uuid(value), Target::Text { chars_max }) => {
            let text = uuid::Uuid::from_bytes(*value).to_string();
            check_length(&text, chars_max)?;
            field(out, text.as_bytes());
        }
        (Value::Json(text), Target::Json) => field(out, text.as_bytes()),
        (Value::Json(text), Target::Jsonb) => {
            length(out, text.len() + 1);
            out.push(JSONB_VERSION);
            out.extend_from_slice(text.as_bytes());
        }
        (Value::Bytea(bytes), Target::Bytea) => field(out, bytes),
        _ => {
            return Err(Refusal {
                reason: "bad_value",
                detail: format!("a value of another type than the table's column ({target})"),
            });
        }
    }
    Ok(())
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn length(out: &mut Vec<u8>, bytes: usize) {
    let length = i32::try_from(bytes).expect("a payload has at most 16 MiB");
    out.extend_from_slice(&length.to_be_bytes());
}

fn check_length(text: &str, chars_max: Option<usize>) -> Result<(), Refusal> {
    match chars_max {
        // PostgreSQL would cut surplus blanks in silence.
        Some(max) if text.len() > max && text.chars().count() > max => Err(Refusal {
            reason: "too_long",
            detail: format!(
                "{} characters; the table's column holds {max}",
                text.chars().count()
            ),
        }),
        _ => Ok(()),
    }
}

/// The number at the column's scale: PostgreSQL would round in silence.
fn fit(value: Decimal, bounds: Option<(u8, u8)>, target: Target) -> Result<Decimal, Refusal> {
    let Some((precision, scale)) = bounds else {
        return Ok(value);
    };
    let Some(unscaled) = value.rescaled(scale) else {
        return Err(if scale < value.scale {
            too_many_decimals(value, scale)
        } else {
            Refusal::out_of_range(value, target)
        });
    };
    match 10u128.checked_pow(u32::from(precision)) {
        Some(end) if unscaled.unsigned_abs() >= end => Err(Refusal::out_of_range(value, target)),
        _ => Ok(Decimal { unscaled, scale }),
    }
}

fn too_many_decimals(value: impl fmt::Display, scale: u8) -> Refusal {
    Refusal {
        reason: "too_many_decimals",
        detail: format!("{value}; the table's column keeps {scale} fraction digits"),
    }
}

fn date(days: i32, target: Target) -> Result<i32, Refusal> {
    days.checked_sub(EPOCH_DAYS)
        .filter(|days| (DATE_MIN..DATE_END).contains(days))
        .ok_or_else(|| Refusal::out_of_range(format!("day {days}"), target))
}

fn timestamp(value: &Value<'_>, step: i64, target: Target) -> Result<i64, Refusal> {
    let micros = match value {
        Value::Date(days) => i64::from(*days) * DAY_MICROS,
        Value::Timestamp(micros) | Value::Timestamptz(micros) => *micros,
        _ => unreachable!("the caller matched dates and times"),
    };
    let since_epoch = micros
        .checked_sub(EPOCH_MICROS)
        .filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros))
        .ok_or_else(|| Refusal::out_of_range(format!("microsecond {micros}"), target))?;
    check_step(since_epoch, step)?;
    Ok(since_epoch)
}

fn check_step(micros: i64, step: i64) -> Result<(), Refusal> {
    if micros % step != 0 {
        return Err(Refusal {
            reason: "too_many_decimals",
            detail: format!("the table's column keeps steps of {step} microseconds"),
        });
    }
    Ok(())
}

/// Appends a value in a form whose equality is that of the values and whose order, byte by byte, is
/// theirs or close to it; different values of one column never begin alike without one having ended.
/// Returns false for null, which equals nothing.
pub(crate) fn encode_key(out: &mut Vec<u8>, value: &Value<'_>, target: Target) -> bool {
    const SIGN: u64 = 1 << 63;
    match value {
        Value::Null => return false,
        Value::Bool(value) => out.push(u8::from(*value)),
        // An older schema's number beside numbers of any length.
        Value::Int(_) | Value::Decimal(_) | Value::Numeric(_)
            if matches!(
                target,
                Target::Numeric {
                    key_scale: None,
                    ..
                }
            ) =>
        {
            match value {
                Value::Int(value) => numeric::encode_key(out, &value.to_string()),
                Value::Decimal(value) => numeric::encode_key(out, &value.to_string()),
                Value::Numeric(text) => numeric::encode_key(out, text),
                _ => unreachable!("the arm takes numbers"),
            }
        }
        // An older schema's integer beside decimals.
        Value::Int(value) if matches!(target, Target::Numeric { .. }) => {
            let unscaled = i128::from(*value);
            return encode_key(out, &Value::Decimal(Decimal { unscaled, scale: 0 }), target);
        }
        Value::Int(value)
        | Value::Time(value)
        | Value::Timestamp(value)
        | Value::Timestamptz(value) => {
            out.extend_from_slice(&(value.cast_unsigned() ^ SIGN).to_be_bytes());
        }
        Value::Date(days) => {
            let value = i64::from(*days) * DAY_MICROS;
            out.extend_from_slice(&(value.cast_unsigned() ^ SIGN).to_be_bytes());
        }
        Value::Float4(value) => out.extend_from_slice(&float_key(f64::from(*value))),
        Value::Float8(value) => out.extend_from_slice(&float_key(*value)),
        Value::Decimal(value) => {
            let scale = match target {
                Target::Numeric {
                    key_scale: Some(key_scale),
                    ..
                } => key_scale.max(value.scale),
                _ => value.scale,
            };
            // A value of a greater scale than the column's has been refused before, so that all have one.
            let unscaled = value.rescaled(scale).unwrap_or(value.unscaled);
            out.extend_from_slice(&(unscaled.cast_unsigned() ^ (1 << 127)).to_be_bytes());
        }
        Value::Uuid(value) => out.extend_from_slice(value),
        Value::Numeric(text) | Value::Text(text) | Value::Json(text) => {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        Value::Bytea(bytes) => {
            for byte in bytes.iter() {
                out.push(*byte);
                if *byte == 0 {
                    out.push(0xff);
                }
            }
            out.extend_from_slice(&[0, 0]);
        }
    }
    true
}

/// PostgreSQL's order: -0 equals 0, NaN equals NaN and is the greatest.
fn float_key(value: f64) -> [u8; 8] {
    const SIGN: u64 = 1 << 63;
    let value = if value == 0.0 { 0.0 } else { value };
    let value = if value.is_nan() {
        f64::NAN.abs()
    } else {
        value
    };
    let bits = value.to_bits();
    let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    ordered.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        check(
            Target::Int8,
            &[i64::MIN, -1, 0, 1, i64::MAX].map(Value::Int),
        );
        check(
            Target::Float8,
            &[
                f64::NEG_INFINITY,
                -1.5,
                -f64::MIN_POSITIVE,
                0.0,
                1.0,
                f64::INFINITY,
                f64::NAN,
            ]
            .map(Value::Float8),
        );
        check(
            Target::Text { chars_max: None },
            &["", "a", "a b", "b"].map(|text| Value::Text(text.into())),
        );
        let numeric = Target::Numeric {
            bounds: Some((5, 2)),
            key_scale: Some(2),
        };
        let decimal = |unscaled, scale| Value::Decimal(Decimal { unscaled, scale });
        check(
            numeric,
            &[
                decimal(-150, 2),
                decimal(-1, 0),
                decimal(0, 2),
                decimal(1, 1),
                decimal(11, 2),
            ],
        );
        assert_eq!(
            key(&decimal(10, 1), numeric),
            key(&decimal(100, 2), numeric)
        );
        assert_eq!(
            key(&Value::Float8(-0.0), Target::Float8),
            key(&Value::Float8(0.0), Target::Float8)
        );
    }

    #[test]
    fn refusals_name_the_type_as_postgresql_does() {
        let check = |value: Value<'_>, target: Target, expected: &str| {
            let refused = encode_value(&mut Vec::new(), &value, target).unwrap_err();
            assert_eq!(refused.detail, expected);
        };
        let numeric = Target::Numeric {
            bounds: Some((4, 2)),
            key_scale: Some(2),
        };
        let decimal = |unscaled, scale| Value::Decimal(Decimal { unscaled, scale });
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
        let decimal = |unscaled, scale| Value::Decimal(Decimal { unscaled, scale });
        let numeric = Target::Numeric {
            bounds: Some((4, 2)),
            key_scale: Some(2),
        };
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
