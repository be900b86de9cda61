//! What a format must tell, so that it can be read at all.

use jiff::civil::Date;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::Reason;
use crate::types::Rejection;

/// What a format must tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::types) enum Told {
    Date,
    TimeOfDay,
    /// A date, at midnight if the format has no time of day.
    Moment,
}

/// Whether jiff can use the format at all; tried on a known moment, since it has no other way to ask.
pub(super) fn check_format(format: &str, told: Told) -> Result<(), Rejection> {
    let has = |directives: &[&str]| {
        directives
            .iter()
            .any(|directive| format.contains(directive))
    };
    let wrong =
        |why: &dyn std::fmt::Display| Rejection::new(Reason::BadValue, format!("`format`: {why}"));
    if has(&["%I", "%l", "%-I", "%_I"]) && !has(&["%p", "%P", "%r"]) {
        return Err(Rejection::new(
            Reason::BadValue,
            "`format` has hours from 1 to 12 without the half of the day; add %p (AM or PM), or write %H for \
            hours from 0 to 23",
        ));
    }
    // A moment whose parts have two digits each, and are read again.
    let moment = Date::constant(2024, 11, 25).at(13, 14, 15, 123_456_000);
    let moment = moment
        .to_zoned(TimeZone::UTC)
        .expect("it is an hour of UTC");
    let text = strtime::format(format, &moment).map_err(|error| wrong(&error))?;
    let parsed = strtime::parse(format, &text).map_err(|error| wrong(&error))?;
    let (is_told, needed) = match told {
        Told::Date => (parsed.to_date().is_ok(), "a year, a month and a day"),
        Told::TimeOfDay => (parsed.hour().is_some(), "an hour"),
        Told::Moment => (parsed.to_datetime().is_ok(), "a year, a month and a day"),
    };
    match is_told {
        true => Ok(()),
        false => Err(wrong(&format!(
            "it lacks {needed}, as in %Y-%m-%d %H:%M:%S"
        ))),
    }
}
