//! `date`.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;

use jiff::SignedDuration;
use jiff::civil::Date;

use super::time_parser::{DAY_MICROS, TimeParser, Told};
use super::{ColumnType, Declaration, PLAIN, Rejection, Setting, Value, ValueKind};
use crate::{Column, CsvDialect};

pub(super) static DATE: Declaration = Declaration {
    plain: Some(|| ColumnType::Date),
    name: "date",
    sql: "date",
    settings: &[Setting::Format, Setting::MinAndMax],
    layout: (4, 4),
    widens: |_, to| *to == ColumnType::Timestamp,
    ..PLAIN
};

#[derive(Debug, Clone)]
pub(crate) struct DateKind(TimeParser);

impl ValueKind for DateKind {
    type Content<'a> = i32;

    fn new(column: &Column, _: &CsvDialect) -> Result<Self, Rejection> {
        TimeParser::new(Told::Date, column.format.as_deref(), None).map(Self)
    }

    #[inline]
    fn read(&self, bytes: &[u8]) -> Result<i32, Rejection> {
        self.0.date(bytes)
    }

    fn write_key(out: &mut Vec<u8>, days: &i32) {
        let since = SignedDuration::from_hours(i64::from(*days) * 24);
        let written = match Date::constant(1970, 1, 1).checked_add(since) {
            Ok(date) => write!(out, "{date}"),
            Err(_) => write!(out, "{days}"),
        };
        written.expect("a Vec takes every byte");
    }

    fn write_csv(out: &mut String, days: &i32) {
        write_date(out, i64::from(*days));
    }

    fn compare(left: &i32, right: &i32) -> Option<Ordering> {
        Some(left.cmp(right))
    }

    fn widened(days: &i32, to: &ColumnType) -> Option<Value<'static>> {
        let is_time = *to == ColumnType::Timestamp;
        is_time.then(|| Value::Timestamp(i64::from(*days) * DAY_MICROS))
    }
}

/// Appends a day since 1970-01-01 as year, month and day of the proleptic Gregorian calendar, of any year. It counts in
/// eras of 400 years that begin on a first of March, so that a leap day is the last of its year.
pub(super) fn write_date(out: &mut String, days: i64) {
    const DAYS_TO_1970: i64 = 719_468;
    const ERA_DAYS: i64 = 146_097;
    let since = days + DAYS_TO_1970;
    let era = since.div_euclid(ERA_DAYS);
    let of_era = since.rem_euclid(ERA_DAYS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    write!(out, "{year:04}-{month:02}-{day:02}").expect("a String takes every text");
}
