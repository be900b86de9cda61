//! Numbers: integers, floats, decimals and numerics.

use std::fmt;

use bekk_stream::{ColumnType, Decimal};

use super::{Refusal, Target, field};
use crate::catalog::TableColumn;
use crate::numeric::{self, Misfit};

pub(super) fn int_target(column: &TableColumn) -> Option<Target> {
    match column.base_type.as_str() {
        "int2" => Some(Target::Int2),
        "int4" => Some(Target::Int4),
        "int8" => Some(Target::Int8),
        _ => numeric_target(column, Some(0)),
    }
}

pub(super) fn float_target(column_type: &ColumnType, column: &TableColumn) -> Option<Target> {
    match (column_type, column.base_type.as_str()) {
        (ColumnType::Float4, "float4") => Some(Target::Float4),
        (_, "float8") => Some(Target::Float8),
        _ => None,
    }
}

pub(super) fn numeric_target(column: &TableColumn, key_scale: Option<u8>) -> Option<Target> {
    if column.base_type != "numeric" {
        return None;
    }
    let bounds = numeric_bounds(column.type_modifier)?;
    Some(Target::Numeric { bounds, key_scale })
}

/// Precision and scale of a `numeric`; the outer `None` for a scale that decimals do not have (negative, or more than 38).
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

#[inline]
pub(super) fn encode_int(out: &mut Vec<u8>, value: i64, target: Target) -> Result<(), Refusal> {
    let outside = || Refusal::out_of_range(value, target);
    match target {
        Target::Int8 => field(out, &value.to_be_bytes()),
        Target::Int4 => {
            let narrow = i32::try_from(value).map_err(|_| outside())?;
            field(out, &narrow.to_be_bytes());
        }
        Target::Int2 => {
            let narrow = i16::try_from(value).map_err(|_| outside())?;
            field(out, &narrow.to_be_bytes());
        }
        _ => return encode_decimal(out, whole(value), target),
    }
    Ok(())
}

fn whole(value: i64) -> Decimal {
    Decimal::new(i128::from(value), 0)
}

pub(super) fn encode_float4(out: &mut Vec<u8>, value: f32, target: Target) -> Result<(), Refusal> {
    match target {
        Target::Float4 => field(out, &value.to_be_bytes()),
        _ => return encode_float8(out, f64::from(value), target),
    }
    Ok(())
}

pub(super) fn encode_float8(out: &mut Vec<u8>, value: f64, target: Target) -> Result<(), Refusal> {
    match target {
        Target::Float8 => field(out, &value.to_be_bytes()),
        _ => return Err(Refusal::other_type(target)),
    }
    Ok(())
}

#[inline]
pub(super) fn encode_decimal(
    out: &mut Vec<u8>,
    value: Decimal,
    target: Target,
) -> Result<(), Refusal> {
    let Target::Numeric { bounds, .. } = target else {
        return Err(Refusal::other_type(target));
    };
    numeric::encode(out, fit(value, bounds, target)?);
    Ok(())
}

pub(super) fn encode_numeric(out: &mut Vec<u8>, text: &str, target: Target) -> Result<(), Refusal> {
    let Target::Numeric { bounds, .. } = target else {
        return Err(Refusal::other_type(target));
    };
    numeric::encode_text(out, text, bounds).map_err(|misfit| match misfit {
        Misfit::Decimals(scale) => too_many_decimals(text, scale),
        Misfit::Range => Refusal::out_of_range(text, target),
        Misfit::NoNumber => Refusal {
            reason: "bad_value",
            detail: "no number".to_owned(),
        },
    })
}

/// Returns the number at the column's scale: PostgreSQL would round silently.
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
        _ => Ok(Decimal::new(unscaled, scale)),
    }
}

fn too_many_decimals(value: impl fmt::Display, scale: u8) -> Refusal {
    Refusal {
        reason: "too_many_decimals",
        detail: format!("{value}; the table's column keeps {scale} fraction digits"),
    }
}

pub(super) fn int_key(out: &mut Vec<u8>, value: i64, target: Target) {
    match target {
        // An older schema's integer beside decimals or numerics.
        Target::Numeric { .. } => decimal_key(out, whole(value), target),
        _ => ordered(out, value),
    }
}

pub(super) fn decimal_key(out: &mut Vec<u8>, value: Decimal, target: Target) {
    let scale = match target {
        // An older schema's number beside numerics.
        Target::Numeric {
            key_scale: None, ..
        } => {
            return numeric::encode_key(out, &value.to_string());
        }
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

pub(super) fn numeric_key(out: &mut Vec<u8>, text: &str, target: Target) {
    match target {
        Target::Numeric {
            key_scale: None, ..
        } => numeric::encode_key(out, text),
        _ => super::text::text_key(out, text),
    }
}

/// Appends a whole number so that its bytes have its order.
#[inline]
pub(super) fn ordered(out: &mut Vec<u8>, value: i64) {
    const SIGN: u64 = 1 << 63;
    out.extend_from_slice(&(value.cast_unsigned() ^ SIGN).to_be_bytes());
}

/// PostgreSQL's order: -0 equals 0, NaN equals NaN and is the greatest.
pub(super) fn float_key(out: &mut Vec<u8>, value: f64) {
    const SIGN: u64 = 1 << 63;
    let value = if value == 0.0 { 0.0 } else { value };
    let value = if value.is_nan() {
        f64::NAN.abs()
    } else {
        value
    };
    let bits = value.to_bits();
    let ordered = if bits & SIGN == 0 { bits | SIGN } else { !bits };
    out.extend_from_slice(&ordered.to_be_bytes());
}
