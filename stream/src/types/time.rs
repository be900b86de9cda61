//! `time`, a time of day.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::io::Write as _;

use super::time_parser::{TimeParser, Told};
use super::{ColumnType, Declaration, PLAIN, Rejection, Setting, ValueKind};
use crate::{Column, CsvDialect};

pub(super) static TIME: Declaration = Declaration {
    plain: Some(|| ColumnType::Time),
    name: "time",
    sql: "time",
    settings: &[Setting::Format, Setting::MinAndMax],
    layout: (8, 8),
    ..PLAIN
};

/// Reads times of day.
#[derive(Debug, Clone)]
pub(crate) struct TimeKind(TimeParser);

impl ValueKind for TimeKind {
    type Content<'a> = i64;

    fn new(column: &Column, _: &CsvDialect) -> Result<Self, Rejection> {
        let parser = TimeParser::new(Told::TimeOfDay, column.format.as_deref(), None)?;
        if parser.is_epoch() {
            return Err(Rejection::without_meaning("format", &column.column_type));
        }
        Ok(Self(parser))
    }

    #[inline]
    fn read(&self, bytes: &[u8]) -> Result<i64, Rejection> {
        self.0.time(bytes)
    }

    fn write_key(out: &mut Vec<u8>, micros: &i64) {
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(out, "{hours:02}:{minutes:02}:{:02}", seconds % 60).expect("a Vec takes every byte");
        if fraction > 0 {
            let fraction = format!(".{fraction:06}");
            out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
        }
    }

    fn write_csv(out: &mut String, micros: &i64) {
        write_clock(out, *micros);
    }

    fn compare(left: &i64, right: &i64) -> Option<Ordering> {
        Some(left.cmp(right))
    }
}

/// Appends `HH:MM:SS`, and all six fraction digits unless they are zeros.
pub(super) fn write_clock(out: &mut String, micros: i64) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = seconds % 60;
    let written = match fraction {
        ..=0 => write!(out, "{hours:02}:{minutes:02}:{seconds:02}"),
        _ => write!(out, "{hours:02}:{minutes:02}:{seconds:02}.{fraction:06}"),
    };
    written.expect("a String takes every text");
}
