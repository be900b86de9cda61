//! Dates and times.

use super::number::ordered;
use super::{Refusal, Target, field};
use crate::catalog::TableColumn;

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;
const EPOCH_MICROS: i64 = 10_957 * DAY_MICROS;
/// PostgreSQL's range of times, 4713-01-01 BC to 294276-12-31, in microseconds from its epoch.
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// PostgreSQL's range of dates, 4713-01-01 BC to 5874897-12-31, in days from its epoch.
const DATE_MIN: i32 = -2_451_545;
const DATE_END: i32 = 2_145_031_949;

pub(super) fn date_target(column: &TableColumn) -> Option<Target> {
    match column.base_type.as_str() {
        "date" => Some(Target::Date),
        _ => timestamp_target("timestamp", column),
    }
}

pub(super) fn time_target(column: &TableColumn) -> Option<Target> {
    let step = step(column.type_modifier);
    (column.base_type == "time").then_some(Target::Time { step })
}

pub(super) fn timestamp_target(base_type: &str, column: &TableColumn) -> Option<Target> {
    let step = step(column.type_modifier);
    (column.base_type == base_type).then_some(Target::Timestamp { step })
}

/// The least difference that a column with this type modifier keeps, in microseconds.
fn step(modifier: i32) -> i64 {
    match u32::try_from(modifier) {
        Ok(digits @ 0..=5) => 10i64.pow(6 - digits),
        _ => 1,
    }
}

pub(super) fn encode_date(out: &mut Vec<u8>, days: i32, target: Target) -> Result<(), Refusal> {
    match target {
        Target::Date => {
            let since_epoch = days
                .checked_sub(EPOCH_DAYS)
                .filter(|days| (DATE_MIN..DATE_END).contains(days))
                .ok_or_else(|| Refusal::out_of_range(format!("day {days}"), target))?;
            field(out, &since_epoch.to_be_bytes());
            Ok(())
        }
        _ => encode_timestamp(out, i64::from(days) * DAY_MICROS, target),
    }
}

pub(super) fn encode_time(out: &mut Vec<u8>, micros: i64, target: Target) -> Result<(), Refusal> {
    let Target::Time { step } = target else {
        return Err(Refusal::other_type(target));
    };
    if !(0..=DAY_MICROS).contains(&micros) {
        let found = format!("microsecond {micros}");
        return Err(Refusal::out_of_range(found, target));
    }
    check_step(micros, step)?;
    field(out, &micros.to_be_bytes());
    Ok(())
}

#[inline]
pub(super) fn encode_timestamp(
    out: &mut Vec<u8>,
    micros: i64,
    target: Target,
) -> Result<(), Refusal> {
    let Target::Timestamp { step } = target else {
        return Err(Refusal::other_type(target));
    };
    let since_epoch = micros
        .checked_sub(EPOCH_MICROS)
        .filter(|micros| (TIMESTAMP_MIN..TIMESTAMP_END).contains(micros))
        .ok_or_else(|| Refusal::out_of_range(format!("microsecond {micros}"), target))?;
    check_step(since_epoch, step)?;
    field(out, &since_epoch.to_be_bytes());
    Ok(())
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

pub(super) fn date_key(out: &mut Vec<u8>, days: i32) {
    ordered(out, i64::from(days) * DAY_MICROS);
}
