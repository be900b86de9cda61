//! `timestamp` and `timestamptz`.

use std::cmp::Ordering;
use std::io::Write as _;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

use super::date::write_date;
use super::time::write_clock;
use super::time_parser::{DAY_MICROS, TimeParser, Told};
use super::{ColumnType, Declaration, PLAIN, Rejection, Setting, ValueKind};
use crate::wire::{put_varint, zigzag};
use crate::{Column, CsvDialect};

pub(super) static TIMESTAMP: Declaration = Declaration {
    plain: Some(|| ColumnType::Timestamp),
    name: "timestamp",
    sql: "timestamp",
    settings: &[Setting::Format, Setting::MinAndMax],
    layout: (8, 8),
    ..PLAIN
};

pub(super) static TIMESTAMPTZ: Declaration = Declaration {
    plain: Some(|| ColumnType::Timestamptz),
    name: "timestamptz",
    sql: "timestamptz",
    settings: &[Setting::Format, Setting::Zone, Setting::MinAndMax],
    layout: (8, 8),
    ..PLAIN
};

/// Reads local times.
#[derive(Debug, Clone)]
pub(crate) struct TimestampKind(TimeParser);

impl ValueKind for TimestampKind {
    type Content<'a> = i64;

    fn new(column: &Column, _: &CsvDialect) -> Result<Self, Rejection> {
        TimeParser::new(Told::Moment, column.format.as_deref(), None).map(Self)
    }

    #[inline]
    fn read(&self, bytes: &[u8]) -> Result<i64, Rejection> {
        self.0.timestamp(bytes)
    }

    fn write_key(out: &mut Vec<u8>, micros: &i64) {
        let epoch = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
        let written = match epoch.checked_add(SignedDuration::from_micros(*micros)) {
            Ok(time) => write!(out, "{time}"),
            Err(_) => write!(out, "{micros}"),
        };
        written.expect("a Vec takes every byte");
    }

    fn write_csv(out: &mut String, micros: &i64) {
        write_local(out, *micros);
    }

    fn compare(left: &i64, right: &i64) -> Option<Ordering> {
        Some(left.cmp(right))
    }
}

/// Reads moments.
#[derive(Debug, Clone)]
pub(crate) struct TimestamptzKind(TimeParser);

impl ValueKind for TimestamptzKind {
    type Content<'a> = i64;

    fn new(column: &Column, _: &CsvDialect) -> Result<Self, Rejection> {
        TimeParser::new(
            Told::Moment,
            column.format.as_deref(),
            column.zone.as_deref(),
        )
        .map(Self)
    }

    #[inline]
    fn read(&self, bytes: &[u8]) -> Result<i64, Rejection> {
        self.0.timestamptz(bytes)
    }

    fn write_key(out: &mut Vec<u8>, micros: &i64) {
        let written = match Timestamp::from_microsecond(*micros) {
            Ok(time) => write!(out, "{time}"),
            Err(_) => write!(out, "{micros}"),
        };
        written.expect("a Vec takes every byte");
    }

    fn write_csv(out: &mut String, micros: &i64) {
        write_local(out, *micros);
        out.push('Z');
    }

    #[inline]
    fn put(out: &mut Vec<u8>, micros: &i64) {
        put_varint(out, zigzag(*micros));
    }

    fn compare(left: &i64, right: &i64) -> Option<Ordering> {
        Some(left.cmp(right))
    }
}

/// Appends date and time of day by ISO 8601.
fn write_local(out: &mut String, micros: i64) {
    write_date(out, micros.div_euclid(DAY_MICROS));
    out.push('T');
    write_clock(out, micros.rem_euclid(DAY_MICROS));
}
