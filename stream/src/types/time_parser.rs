//! Dates and times: ISO 8601 by hand, since it is what most files hold; any other format by jiff.

mod format;

use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

pub(super) use self::format::Told;
use self::format::check_format;
use super::{Rejection, Shown, number};
use crate::Reason;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Microseconds in a day.
pub(super) const DAY_MICROS: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;

const EPOCH: Date = Date::constant(1970, 1, 1);

/// How a column's dates and times are written.
#[derive(Debug, Clone)]
pub(super) struct TimeParser {
    form: Form,
    zone: Option<TimeZone>,
}

/// The form of a date or time.
#[derive(Debug, Clone)]
enum Form {
    /// ISO 8601.
    Iso,
    /// In strftime's terms, `%F` and `%D` written out.
    Format(String),
    /// A number of seconds since 1970-01-01 UTC, divided by ten to this power.
    Epoch { name: &'static str, power: u32 },
}

/// The names of formats that are numbers since 1970-01-01 UTC, and which part of a second they count.
const EPOCHS: [(&str, u32); 3] = [("epoch", 0), ("epoch_ms", 3), ("epoch_us", 6)];

/// A local time and the zone that followed it.
struct Written {
    local_micros: i64,
    offset_seconds: Option<i64>,
}

impl TimeParser {
    pub(super) fn new(
        told: Told,
        format: Option<&str>,
        zone: Option<&str>,
    ) -> Result<Self, Rejection> {
        let zone = zone
            .map(|name| {
                TimeZone::get(name).map_err(|_| {
                    Rejection::new(
                        Reason::BadValue,
                        format!("`zone`: `{name}` is not a known time zone; write an IANA name, such as Europe/Oslo"),
                    )
                })
            })
            .transpose()?;
        let epoch = |format: &str| EPOCHS.iter().find(|(name, _)| *name == format);
        let form = match format {
            None => Form::Iso,
            Some(format) => match epoch(format) {
                Some(&(name, power)) => Form::Epoch { name, power },
                None => {
                    check_format(format, told)?;
                    Form::Format(format.replace("%F", "%Y-%m-%d").replace("%D", "%m/%d/%y"))
                }
            },
        };
        Ok(Self { form, zone })
    }

    /// Whether the texts count from 1970-01-01.
    pub(super) fn is_epoch(&self) -> bool {
        matches!(self.form, Form::Epoch { .. })
    }

    /// Days since 1970-01-01.
    pub(super) fn date(&self, bytes: &[u8]) -> Result<i32, Rejection> {
        let days = match &self.form {
            Form::Iso => match iso_date(bytes) {
                Some((days, [])) => Some(days),
                _ => None,
            },
            Form::Format(format) => {
                let parsed = formatted(format, bytes)?;
                let date = parsed.and_then(|parsed| parsed.to_date().ok());
                date.map(|date| date.duration_since(EPOCH).as_secs() / SECONDS_PER_DAY)
            }
            Form::Epoch { power, .. } => {
                epoch_micros(bytes, *power)?.map(|micros| micros.div_euclid(DAY_MICROS))
            }
        };
        days.and_then(|days| i32::try_from(days).ok())
            .ok_or_else(|| self.wrong("a date", "2026-01-31", bytes))
    }

    /// Microseconds since midnight.
    pub(super) fn time(&self, bytes: &[u8]) -> Result<i64, Rejection> {
        let wrong = || self.wrong("a time of day", "12:30:00.5", bytes);
        match &self.form {
            Form::Iso => {
                if bytes == b"24:00:00" || bytes == b"24:00" {
                    return Ok(DAY_MICROS);
                }
                match clock(bytes, bytes)? {
                    Some((micros, [])) => Ok(micros),
                    Some((_, rest)) if offset(rest).is_some() => Err(Rejection::new(
                        Reason::BadValue,
                        format!("{} has a zone; a time of day has none", Shown(bytes)),
                    )),
                    _ => Err(wrong()),
                }
            }
            Form::Format(format) => {
                let parsed = formatted(format, bytes)?.ok_or_else(wrong)?;
                let time = parsed.to_time().map_err(|_| wrong())?;
                micros_of(DateTime::from_parts(EPOCH, time), bytes)
            }
            Form::Epoch { .. } => Err(wrong()),
        }
    }

    /// Microseconds since 1970-01-01 00:00:00, local.
    pub(super) fn timestamp(&self, bytes: &[u8]) -> Result<i64, Rejection> {
        let written = self.written("a timestamp", bytes)?;
        if written.offset_seconds.is_some() && !self.is_epoch() {
            return Err(Rejection::new(
                Reason::BadValue,
                format!(
                    "{} has a zone, and the column is of type timestamp; use timestamptz",
                    Shown(bytes)
                ),
            ));
        }
        Ok(written.local_micros)
    }

    /// Microseconds since 1970-01-01 00:00:00 UTC.
    pub(super) fn timestamptz(&self, bytes: &[u8]) -> Result<i64, Rejection> {
        let written = self.written("a timestamptz", bytes)?;
        let offset = match (written.offset_seconds, &self.zone) {
            (Some(offset), _) => offset,
            (None, Some(zone)) => offset_in(zone, written.local_micros, bytes)?,
            (None, None) => {
                return Err(Rejection::new(
                    Reason::BadValue,
                    format!(
                        "{} has no zone; write one, or set zone = \"…\" for the column",
                        Shown(bytes)
                    ),
                ));
            }
        };
        Ok(written.local_micros - offset * MICROS_PER_SECOND)
    }

    fn written(&self, what: &str, bytes: &[u8]) -> Result<Written, Rejection> {
        let wrong = || self.wrong(what, "2026-01-31T12:30:00.5Z", bytes);
        match &self.form {
            Form::Iso => iso_time(bytes)?.ok_or_else(wrong),
            Form::Epoch { power, .. } => Ok(Written {
                local_micros: epoch_micros(bytes, *power)?.ok_or_else(wrong)?,
                offset_seconds: Some(0),
            }),
            Form::Format(format) => {
                let parsed = formatted(format, bytes)?.ok_or_else(wrong)?;
                let local = parsed.to_datetime().map_err(|_| wrong())?;
                Ok(Written {
                    local_micros: micros_of(local, bytes)?,
                    offset_seconds: parsed.offset().map(|offset| offset.seconds().into()),
                })
            }
        }
    }

    #[cold]
    fn wrong(&self, what: &str, example: &str, bytes: &[u8]) -> Rejection {
        let form = match &self.form {
            Form::Format(format) => format!("in the format {format}"),
            Form::Epoch { name, .. } => format!("a number in the format {name}"),
            Form::Iso => format!("such as {example}; for another form set format = \"…\""),
        };
        Rejection::new(
            Reason::BadValue,
            format!("{} is not {what} {form}", Shown(bytes)),
        )
    }
}

/// Parses a text by a format; `None` if it is not of it.
///
/// jiff takes one to four digits for `%Y` and one or two for `%y`. Here they are four and two: `31.12.25` is no
/// day of the year 25, and a version 1.2.3 is no date.
fn formatted(format: &str, bytes: &[u8]) -> Result<Option<BrokenDownTime>, Rejection> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(None);
    };
    let Ok(parsed) = strtime::parse(format, text) else {
        return Ok(None);
    };
    if is_leap_second(format, text, &parsed) {
        return Err(Rejection::new(
            Reason::BadValue,
            format!(
                "{} has a second 60, which PostgreSQL cannot hold",
                Shown(bytes)
            ),
        ));
    }
    let Some(year) = parsed.year() else {
        return Ok(Some(parsed));
    };
    let has_digits = |directive: &str, digits: String| {
        !format.contains(directive)
            || strtime::parse(format.replacen(directive, &digits, 1), text).is_ok()
    };
    if year < 1000 && !(year > 0 && has_digits("%Y", format!("{year:04}"))) {
        return Err(Rejection::new(
            Reason::BadValue,
            format!(
                "{} has a year of fewer than four digits; %Y takes four, %y takes two (00 to 68 are 2000 to 2068)",
                Shown(bytes)
            ),
        ));
    }
    let in_century = year.rem_euclid(100);
    let is_whole = in_century >= 10 || has_digits("%y", format!("{in_century:02}"));
    Ok(is_whole.then_some(parsed))
}

/// Whether a text has a second 60, which jiff takes for 59: then the same text with 59 means the same.
fn is_leap_second(format: &str, text: &str, parsed: &BrokenDownTime) -> bool {
    let meaning = |time: &BrokenDownTime| (time.to_date().ok(), time.to_time().ok());
    let means_the_same = |(at, _): (usize, &str)| {
        let mut other = text.to_owned();
        other.replace_range(at..at + 2, "59");
        strtime::parse(format, &other).is_ok_and(|other| meaning(&other) == meaning(parsed))
    };
    parsed.second() == Some(59) && text.match_indices("60").any(means_the_same)
}

/// Microseconds since 1970-01-01 UTC of a number that counts parts of a second; `None` if it is no number.
fn epoch_micros(bytes: &[u8], power: u32) -> Result<Option<i64>, Rejection> {
    let Some(parts) = number::split(bytes, b'.') else {
        return Ok(None);
    };
    let kept = usize::try_from(6 - power).expect("at most six");
    let fraction = number::without_trailing_zeros(parts.fraction);
    if fraction.len() > kept {
        return Err(too_fine(bytes));
    }
    let digits = parts.whole.iter().chain(fraction);
    let padding = kept - fraction.len();
    let value = digits
        .copied()
        .chain(std::iter::repeat_n(b'0', padding))
        .try_fold(0i64, |value, digit| {
            value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
        });
    // The years 1 to 9999, as everywhere.
    let bounds = -62_135_596_800_000_000..253_402_300_800_000_000;
    match value.map(|value| if parts.negative { -value } else { value }) {
        Some(micros) if bounds.contains(&micros) => Ok(Some(micros)),
        _ => Err(Rejection::new(
            Reason::OutOfRange,
            format!("{} is outside the years 1 to 9999", Shown(bytes)),
        )),
    }
}

fn micros_of(local: DateTime, bytes: &[u8]) -> Result<i64, Rejection> {
    if local.subsec_nanosecond() % 1000 != 0 {
        return Err(too_fine(bytes));
    }
    let since = local.duration_since(EPOCH.at(0, 0, 0, 0));
    Ok(since.as_secs() * MICROS_PER_SECOND + i64::from(since.subsec_micros()))
}

fn offset_in(zone: &TimeZone, local_micros: i64, bytes: &[u8]) -> Result<i64, Rejection> {
    let local = DateTime::new(1970, 1, 1, 0, 0, 0, 0)
        .and_then(|epoch| epoch.checked_add(jiff::SignedDuration::from_micros(local_micros)))
        .map_err(|_| {
            Rejection::new(
                Reason::OutOfRange,
                format!("{} is outside the years 1 to 9999", Shown(bytes)),
            )
        })?;
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => Ok(offset.seconds().into()),
        // The hour that comes twice: the first of the two, as RFC 5545 says.
        AmbiguousOffset::Fold { before, .. } => Ok(before.seconds().into()),
        AmbiguousOffset::Gap { .. } => Err(Rejection::new(
            Reason::BadValue,
            format!(
                "{} does not exist in {}: the clock is put forward over it; write an offset to say what is meant",
                Shown(bytes),
                zone.iana_name().unwrap_or("the column's zone"),
            ),
        )),
    }
}

/// `YYYY-MM-DD`, and what follows it. Years 1 to 9999.
fn iso_date(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let ([c1, c2, y1, y2, b'-', m1, m2, b'-', d1, d2], rest) = bytes.split_first_chunk::<10>()?
    else {
        return None;
    };
    let year = two([*c1, *c2])? * 100 + two([*y1, *y2])?;
    let month = two([*m1, *m2])?;
    let day = two([*d1, *d2])?;
    let in_range = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && day >= 1
        && day <= days_in(year, month);
    in_range.then(|| (days_of(year, month, day), rest))
}

/// `YYYY-MM-DD[T ]HH:MM[:SS[.ffffff]][Z|±HH[:MM[:SS]]]`; `Ok(None)` if it is something else.
fn iso_time(bytes: &[u8]) -> Result<Option<Written>, Rejection> {
    let Some((days, rest)) = iso_date(bytes) else {
        return Ok(None);
    };
    let [b'T' | b't' | b' ', rest @ ..] = rest else {
        return Ok(None);
    };
    let Some((of_day, rest)) = clock(rest, bytes)? else {
        return Ok(None);
    };
    let Some(offset_seconds) = offset(rest) else {
        return Ok(None);
    };
    Ok(Some(Written {
        local_micros: days * DAY_MICROS + of_day,
        offset_seconds,
    }))
}

/// `HH:MM[:SS[.ffffff]]` in microseconds, and what follows it; `whole` is what a message shows.
#[inline]
fn clock<'a>(bytes: &'a [u8], whole: &[u8]) -> Result<Option<(i64, &'a [u8])>, Rejection> {
    let [h1, h2, b':', m1, m2, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (Some(hour @ 0..=23), Some(minute @ 0..=59)) = (two([*h1, *h2]), two([*m1, *m2])) else {
        return Ok(None);
    };
    let (second, micros, rest) = match rest {
        [b':', tens, ones, rest @ ..] => {
            let Some(second @ 0..=59) = two([*tens, *ones]) else {
                return Ok(None);
            };
            let Some((micros, rest)) = fraction(rest, whole)? else {
                return Ok(None);
            };
            (second, micros, rest)
        }
        rest => (0, 0, rest),
    };
    let seconds = hour * 3600 + minute * 60 + second;
    Ok(Some((
        i64::from(seconds) * MICROS_PER_SECOND + micros,
        rest,
    )))
}

/// `[.f…]` in microseconds, and what follows it.
#[inline]
fn fraction<'a>(rest: &'a [u8], whole: &[u8]) -> Result<Option<(i64, &'a [u8])>, Rejection> {
    let Some((b'.' | b',', tail)) = rest.split_first() else {
        return Ok(Some((0, rest)));
    };
    const PLACES: usize = 6;
    let mut micros = 0;
    let mut len = 0;
    while let Some(byte @ b'0'..=b'9') = tail.get(len) {
        if len < PLACES {
            micros = micros * 10 + i64::from(byte - b'0');
        } else if *byte != b'0' {
            return Err(too_fine(whole));
        }
        len += 1;
    }
    for _ in len..PLACES {
        micros *= 10;
    }
    Ok((len > 0).then_some((micros, &tail[len..])))
}

#[cold]
fn too_fine(bytes: &[u8]) -> Rejection {
    Rejection::new(
        Reason::TooManyDecimals,
        format!(
            "{} is finer than a microsecond, which PostgreSQL cannot hold",
            Shown(bytes)
        ),
    )
}

/// A zone's offset in seconds, or its absence; `None` if it is something else.
fn offset(rest: &[u8]) -> Option<Option<i64>> {
    let (sign, text) = match rest {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [b'+', text @ ..] => (1, text),
        [b'-', text @ ..] => (-1, text),
        [b' ', text @ ..]
            if text
                .first()
                .is_some_and(|byte| matches!(byte, b'+' | b'-' | b'Z' | b'U')) =>
        {
            return if text == b"UTC" {
                Some(Some(0))
            } else {
                offset(text)
            };
        }
        _ => return None,
    };
    let zero = [b'0'; 2];
    let (hours, minutes, seconds) = match *text {
        [h1, h2] => ([h1, h2], zero, zero),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => ([h1, h2], [m1, m2], zero),
        [h1, h2, b':', m1, m2, b':', s1, s2] => ([h1, h2], [m1, m2], [s1, s2]),
        _ => return None,
    };
    let (hours @ 0..=15, minutes @ 0..=59, seconds @ 0..=59) =
        (two(hours)?, two(minutes)?, two(seconds)?)
    else {
        return None;
    };
    Some(Some(
        sign * i64::from(hours * 3600 + minutes * 60 + seconds),
    ))
}

#[inline]
fn two(digits: [u8; 2]) -> Option<u32> {
    let [tens, ones] = digits.map(|byte| byte.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| u32::from(tens * 10 + ones))
}

fn days_in(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar, from the year 1 on.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`. A year begins in March there,
/// so that a leap day is its last.
fn days_of(year: u32, month: u32, day: u32) -> i64 {
    let year = year - u32::from(month <= 2);
    let leap_days = year / 4 - year / 100 + year / 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    i64::from(365 * year + leap_days + day_of_year) - 719_468
}

#[cfg(test)]
mod tests;
