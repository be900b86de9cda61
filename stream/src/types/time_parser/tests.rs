//! Dates and times, right and wrong.

use proptest::prelude::*;

use crate::testing::{check, parse, parser, parser_of};
use crate::{Column, ColumnType, CsvDialect, Reason, Value, ValueParser};

/// What a column of this type and format makes of a text.
fn parsed(column_type: &str, format: &str, text: &str) -> Result<Value<'static>, Reason> {
    let column = Column {
        format: Some(format.to_owned()),
        ..Column::new("c", column_type.parse().unwrap())
    };
    let parser = parser_of(&column, &CsvDialect::default());
    parse(&parser, text).map(Value::into_owned)
}

/// Whether a column of this type may have this format.
fn is_taken(column_type: &str, format: &str) -> bool {
    let column = Column {
        format: Some(format.to_owned()),
        ..Column::new("c", column_type.parse().unwrap())
    };
    ValueParser::new(&column, &CsvDialect::default()).is_ok()
}

#[test]
fn dates_and_times() {
    const NOON: i64 = 1_706_961_600_000_000; // 2024-02-03T12:00:00Z
    check("date", "1970-01-01", Ok(Value::Date(0)));
    check("date", "2024-02-29", Ok(Value::Date(19_782)));
    check("date", "0001-01-01", Ok(Value::Date(-719_162)));
    for text in [
        "2023-02-29",
        "2024-13-01",
        "2024-00-01",
        "0000-01-01",
        "24-01-01",
        "2024-1-1",
        "2024-01-01 ",
    ] {
        check("date", text, Err(Reason::BadValue));
    }
    check("timestamp", "2024-02-03 12:00", Ok(Value::Timestamp(NOON)));
    check(
        "timestamp",
        "2024-02-03T12:00:00.5",
        Ok(Value::Timestamp(NOON + 500_000)),
    );
    check("timestamp", "2024-02-03T12:00:00Z", Err(Reason::BadValue));
    for text in [
        "2024-02-03T12:00:00Z",
        "2024-02-03 12:00:00+00",
        "2024-02-03T13:30:00.000000+01:30",
        "2024-02-03 07:00:00-0500",
        "2024-02-03 12:00:00 UTC",
        "2024-02-03T12:00:00.000000000Z",
    ] {
        check("timestamptz", text, Ok(Value::Timestamptz(NOON)));
    }
    check(
        "timestamptz",
        "2024-02-03T12:00:00.0000001Z",
        Err(Reason::TooManyDecimals),
    );
    for text in [
        "2024-02-03T12:00:00",
        "2024-02-03T24:00:00Z",
        "2024-02-03T12:00:60Z",
        "2024-02-03T12:00:00.Z",
        "{}",
        "now",
    ] {
        check("timestamptz", text, Err(Reason::BadValue));
    }
}

/// A second 60 is refused, and other numbers that have these digits are not.
#[test]
fn a_leap_second_is_no_other_second() {
    let bad = Err(Reason::BadValue);
    let at = |text: &str| parsed("timestamp", "%d.%m.%Y %H:%M:%S", text);
    assert_eq!(at("31.12.2016 23:59:60"), bad);
    assert_eq!(parsed("time", "%H:%M:%S", "23:59:60"), bad);
    assert!(at("31.12.1960 23:59:59").is_ok());
    let fraction = "31.12.2016 23:59:59.60";
    assert!(parsed("timestamp", "%d.%m.%Y %H:%M:%S%.f", fraction).is_ok());
}

#[test]
fn times_in_a_zone_and_of_a_format() {
    let mut column = Column::new("c", ColumnType::Timestamptz);
    column.zone = Some("Europe/Oslo".into());
    column.format = Some("%d.%m.%Y %H:%M:%S".into());
    let oslo = parser_of(&column, &CsvDialect::default());
    assert_eq!(
        parse(&oslo, "03.02.2024 13:00:00"),
        Ok(Value::Timestamptz(1_706_961_600_000_000))
    );
    // The clock went from 02:00 to 03:00 that night.
    assert_eq!(parse(&oslo, "31.03.2024 02:30:00"), Err(Reason::BadValue));
    // 02:30 came twice that night; the first was summer time.
    assert_eq!(
        parse(&oslo, "27.10.2024 02:30:00"),
        Ok(Value::Timestamptz(1_729_989_000_000_000))
    );
    assert_eq!(parse(&oslo, "2024-02-03"), Err(Reason::BadValue));
    column.zone = Some("Europe/Atlantis".into());
    assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());
}

#[test]
fn years_have_the_digits_that_their_format_says() {
    let bad = Err(Reason::BadValue);
    let day = |days| Ok(Value::Date(days));
    for (format, text, expected) in [
        ("%d.%m.%Y", "31.12.2025", day(20_453)),
        ("%d.%m.%y", "31.12.25", day(20_453)),
        ("%D", "12/31/25", day(20_453)),
        ("%d.%m.%y", "1.1.70", day(0)),
        ("%d.%m.%y", "01.01.00", day(10_957)),
        ("%d.%m.%Y", "01.01.0999", day(-354_650)),
        ("%d.%m.%Y", "31.12.25", bad.clone()),
        ("%d/%m/%Y", "31/12/25", bad.clone()),
        ("%m/%d/%Y", "3/4/00", bad.clone()),
        ("%d.%m.%Y", "1.2.3", bad.clone()),
        ("%Y/%m/%d", "31/12/25", bad.clone()),
        ("%F", "25-12-31", bad.clone()),
        ("%d.%m.%Y", "01.01.0000", bad.clone()),
        ("%d.%m.%y", "03.2.3", bad.clone()),
        ("%d.%m.%y", "31.12.2025", bad),
    ] {
        assert_eq!(parsed("date", format, text), expected, "{format} of {text}");
    }
}

/// With such a format each value would be rejected, or be midnight.
#[test]
fn formats_that_tell_too_little_are_refused() {
    let check = |types: &[&str], formats: &[&str], expected| {
        for column_type in types {
            for format in formats {
                assert_eq!(
                    is_taken(column_type, format),
                    expected,
                    "{column_type} {format}"
                );
            }
        }
    };
    let days = &["date", "timestamp"];
    check(days, &["%Q", "%m", "%Y", "%H:%M", "%d.%m.", "date"], false);
    check(&["time"], &["%M", "%Y-%m-%d", "%p", "epoch"], false);
    check(days, &["%F", "%D", "%e. %B %Y", "%Y%j"], true);
    check(days, &["%G-W%V-%u", "%d-%b-%y", "%A, %-d %b %Y"], true);
    check(&["timestamp"], &["%m/%d/%Y %I:%M:%S%.f %p"], true);
    check(&["timestamptz"], &["%Y-%m-%dT%H:%M:%S%:z"], true);
    check(&["time"], &["%H.%M"], true);
}

#[test]
fn times_are_numbers_since_1970() {
    let time = |format: &str, text: &str| parsed("timestamptz", format, text);
    let at = |micros: i64| Ok(Value::Timestamptz(micros));
    assert_eq!(time("epoch", "1735689600"), at(1_735_689_600_000_000));
    assert_eq!(time("epoch", "1735689600.25"), at(1_735_689_600_250_000));
    assert_eq!(time("epoch_ms", "1735689600123"), at(1_735_689_600_123_000));
    assert_eq!(time("epoch_us", "-1"), at(-1));
    assert_eq!(time("epoch_us", "0.5"), Err(Reason::TooManyDecimals));
    assert_eq!(time("epoch", "99999999999999"), Err(Reason::OutOfRange));
    assert_eq!(time("epoch", "12:30"), Err(Reason::BadValue));
    let without_zone = time("%m/%d/%Y %I:%M %p", "12/31/2025 01:05 PM");
    assert_eq!(without_zone, Err(Reason::BadValue));
}

#[test]
fn times_of_day() {
    const MINUTE: i64 = 60_000_000;
    let at = |micros: i64| Ok(Value::Time(micros));
    check("time", "00:00", at(0));
    check("time", "23:59:59.999999", at(24 * 60 * MINUTE - 1));
    check("time", "24:00:00", at(24 * 60 * MINUTE));
    let wrong = "24:01|25:00|1:00|12|12:60|12:00:60|12:00Z|12:00+02|12:00 PM|2026-01-31 12:00|now|";
    for wrong in wrong.split('|') {
        check("time", wrong, Err(Reason::BadValue));
    }
    check("time", "12:00:00.1234567", Err(Reason::TooManyDecimals));
    let clock = |text| parsed("time", "%I:%M %p", text);
    assert_eq!(clock("12:00 AM"), at(0));
    assert_eq!(clock("12:00 PM"), at(12 * 60 * MINUTE));
    assert_eq!(clock("12:30 am"), at(30 * MINUTE));
    assert_eq!(clock("11:59 pm"), at((23 * 60 + 59) * MINUTE));
    for wrong in ["0:30 AM", "13:00 PM", "12:00", "12:00 XM"] {
        assert_eq!(clock(wrong), Err(Reason::BadValue), "{wrong}");
    }
}

#[test]
fn twelve_hours_and_numbers_before_1970() {
    let time = |format: &str, text: &str| parsed("timestamp", format, text);
    let at = |seconds: i64| Ok(Value::Timestamp(seconds * 1_000_000));
    let clock = "%Y-%m-%d %I:%M:%S %p";
    assert_eq!(time(clock, "1970-01-01 12:00:00 AM"), at(0));
    assert_eq!(time(clock, "1970-01-01 12:00:00 PM"), at(12 * 3600));
    assert_eq!(time(clock, "1969-12-31 11:59:59 PM"), at(-1));
    assert_eq!(time("epoch", "-0.5"), Ok(Value::Timestamp(-500_000)));
    assert_eq!(
        time("epoch_ms", "-1500.25"),
        Ok(Value::Timestamp(-1_500_250))
    );
    assert_eq!(time("epoch", "-0"), at(0));
    assert_eq!(time("epoch", "1e9"), Err(Reason::BadValue));
    let mut column = Column::new("c", ColumnType::Timestamp);
    column.format = Some("%Y-%m-%d %I:%M".to_owned());
    let why = ValueParser::new(&column, &CsvDialect::default()).unwrap_err();
    assert!(why.detail.contains("add %p"), "{}", why.detail);
}

proptest! {
    /// jiff writes a moment, we read it.
    #[test]
    fn every_moment_survives(micros in -62_135_596_800_000_000i64..253_402_207_200_000_000) {
        let text = jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
        prop_assert_eq!(parse(&parser("timestamptz"), &text), Ok(Value::Timestamptz(micros)));
    }

    /// No text of the characters that times have makes a parser panic.
    #[test]
    fn no_time_panics(text in "[0-9T:.+Z -]{0,35}") {
        for column_type in ["date", "timestamp", "timestamptz"] {
            let _ = parse(&parser(column_type), &text);
        }
    }
}
