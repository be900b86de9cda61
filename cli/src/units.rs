//! Numbers as people read them: bytes, durations, rates, ages.

use std::time::Duration;

use crate::screen::grouped;

const BYTE_UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];

/// A size in decimal units: 812 bytes, 1.4 GB.
pub(crate) fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = "B";
    for next in BYTE_UNITS {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    match value < 9.95 {
        true => format!("{value:.1} {unit}"),
        false => format!("{value:.0} {unit}"),
    }
}

/// A rate as a whole number, or with a digit where it is small.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        return format!("{per_second:.1}");
    }
    whole(per_second)
}

/// A number without fraction, its thousands grouped.
pub(crate) fn whole(number: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rounded number that is not negative; a float that is too large saturates"
    )]
    let number = number.round().max(0.0) as u64;
    grouped(number)
}

/// A duration and its unit: 9 ms, 0.4 s, 12 s, 3 min, 5 h, 2 days.
pub(crate) fn seconds(seconds: f64) -> (String, &'static str) {
    match seconds {
        _ if seconds < 0.0005 => ("0".to_owned(), "ms"),
        _ if seconds < 0.0995 => (whole((seconds * 1000.0).max(1.0)), "ms"),
        _ if seconds < 9.95 => (format!("{seconds:.1}"), "s"),
        _ if seconds < 119.5 => (whole(seconds), "s"),
        _ if seconds < 7170.0 => (whole(seconds / 60.0), "min"),
        _ if seconds < 172_000.0 => (whole(seconds / 3600.0), "h"),
        _ => (whole(seconds / 86_400.0), "days"),
    }
}

/// The same as one text.
pub(crate) fn duration(value: f64) -> String {
    let (number, unit) = seconds(value);
    format!("{number} {unit}")
}

/// Formats an age: now, 12 s ago, 3 min ago.
pub(crate) fn ago(age: Duration) -> String {
    match age.as_secs() {
        0..3 => "now".to_owned(),
        seconds @ 3..120 => format!("{seconds} s ago"),
        _ => format!("{} ago", duration(age.as_secs_f64())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_and_few_digits() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (34_724, "35 kB"),
            (999_600, "1.0 MB"),
            (1_400_000_000, "1.4 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (value, text) in [
            (0.0, "0 ms"),
            (0.0006, "1 ms"),
            (0.009, "9 ms"),
            (0.0996, "0.1 s"),
            (0.34, "0.3 s"),
            (9.96, "10 s"),
            (119.0, "119 s"),
            (180.0, "3 min"),
            (7200.0, "2 h"),
            (50.0 * 86_400.0, "50 days"),
        ] {
            assert_eq!(duration(value), text);
        }
        assert_eq!(rate(0.25), "0.2");
        assert_eq!(rate(48_210.4), "48,210");
        assert_eq!(rate(0.0), "0");
        assert_eq!(ago(Duration::from_millis(2_900)), "now");
        assert_eq!(ago(Duration::from_millis(6_900)), "6 s ago");
        assert_eq!(ago(Duration::from_millis(12_900)), "12 s ago");
    }
}
