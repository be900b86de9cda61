//! Texts that a column's own input function reads: which types read them without loss, and what else they must not say.
//!
//! Some input functions drop a part of a text, round it, read a word such as `now` as the moment at which they run, or
//! read it by settings of the role, such as the order of day and month. Such a text is refused here, so that a row says
//! what its file does and a replay gives it again.

/// Types whose input cuts a text in silence.
const CUTTING: [&str; 2] = ["name", "char"];
/// Types whose input rounds in silence where a number of digits is declared.
const ROUNDING: [&str; 6] = [
    "numeric",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
];
/// Types that know words for moments that change.
const DATED: [&str; 6] = [
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
];
/// Types whose input reads a negative number as another one, and, before PostgreSQL 16, takes a text that is no number for
/// the digits that it begins with, or for 0.
const UNSIGNED: [&str; 4] = ["oid", "xid", "cid", "xid8"];
/// The words.
const MOVING: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];
/// The digits of a second that PostgreSQL holds.
const SECOND_DIGITS: usize = 6;

/// What a text must not say for a type's input to read all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// The input reads all of a text, or refuses it.
    Nothing,
    Money,
    Unsigned,
    /// An array of unsigned numbers.
    ManyUnsigned,
    Date,
    Time,
    TimeWithZone,
    Timestamp,
    TimestampWithZone,
    Interval,
    /// Dates or times within another type.
    Dated,
    /// Dates or times with a zone within another type.
    DatedWithZone,
}

/// A type that a column's type is made of, with whether a number of digits or a length is declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) is_bounded: bool,
}

impl Guard {
    /// The guard of a type that consists of these parts, of which the first is the type itself or its base type;
    /// `None` if its input may lose a part of any text.
    pub(crate) fn of(base_type: &str, parts: &[Part]) -> Option<Self> {
        let loses = |part: &Part| {
            let name = part.name.as_str();
            CUTTING.contains(&name) || part.is_bounded && ROUNDING.contains(&name)
        };
        if parts.iter().any(loses) {
            return None;
        }
        let has = |names: &[&str]| parts.iter().any(|part| names.contains(&part.name.as_str()));
        Some(match base_type {
            "money" => Self::Money,
            "date" => Self::Date,
            "time" => Self::Time,
            "timetz" => Self::TimeWithZone,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampWithZone,
            "interval" => Self::Interval,
            unsigned if UNSIGNED.contains(&unsigned) => Self::Unsigned,
            _ if has(&UNSIGNED) && base_type.starts_with('_') && parts.len() == 2 => {
                Self::ManyUnsigned
            }
            _ if has(&UNSIGNED) || has(&["money"]) => return None,
            _ if has(&["date", "time", "timestamp", "interval"]) => Self::Dated,
            _ if has(&DATED) => Self::DatedWithZone,
            _ => Self::Nothing,
        })
    }

    /// Why a text must not be read; `None` if it may.
    pub(crate) fn refuses(self, text: &str) -> Option<&'static str> {
        if self == Self::Nothing {
            return None;
        }
        match self {
            Self::Money => return refuses_money(text),
            Self::Unsigned => return refuses_unsigned([text].into_iter()),
            Self::ManyUnsigned => return refuses_unsigned(pieces(text)),
            _ => {}
        }
        let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
        if words.any(|word| is_one_of(word, &MOVING)) {
            return Some("names a moment that changes, so that a replay would give another value");
        }
        if digits_after_point(text, SECOND_DIGITS) {
            return Some("is finer than a microsecond; PostgreSQL would silently round it");
        }
        let is_ordered = match self {
            Self::Dated | Self::DatedWithZone => pieces(text).any(has_ordered_date),
            _ => has_ordered_date(text),
        };
        if is_ordered {
            return Some(
                "has a date whose order of day, month and year depends on the role's DateStyle; write it as \
                 2026-01-31, or make the stream's column a date with its `format`",
            );
        }
        let clock = text.find(':').map(|at| &text[at..]);
        let has_zone = clock.is_some_and(has_zone);
        match self {
            Self::Date if clock.is_some() => {
                Some("has a time of day, which PostgreSQL would silently drop")
            }
            Self::Time if has_zone || !is_time_alone(text) => {
                Some("has a date or a zone, which PostgreSQL would silently drop")
            }
            Self::Timestamp if has_zone => Some(
                "has a zone, which PostgreSQL would silently drop; make the column timestamptz, in the table and in \
                 the stream",
            ),
            Self::TimeWithZone | Self::TimestampWithZone if !has_zone && !is_constant(text) => {
                Some(
                    "has no zone, so that it depends on the session's; use type timestamptz with `zone`",
                )
            }
            Self::Interval | Self::Dated if pieces(text).any(has_open_sign) => Some(
                "has a sign that holds for one part or for all, by the role's IntervalStyle; give each part its sign",
            ),
            Self::DatedWithZone if pieces(text).any(lacks_zone) => Some(
                "has a time without a zone, so that it depends on the session's; write it with its zone",
            ),
            _ => None,
        }
    }
}

/// The values of a text of several: an array, a range, a composite type.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(['{', '}', '(', ')', '[', ']', ',', '"'])
}

fn lacks_zone(piece: &str) -> bool {
    let has_digit = piece.contains(|c: char| c.is_ascii_digit());
    has_digit && !piece.find(':').is_some_and(|at| has_zone(&piece[at..]))
}

/// Whether an interval begins with a minus and no other part has a sign: `-1 2:03:04` is less than a day ago by one
/// `IntervalStyle`, and more by another.
fn has_open_sign(piece: &str) -> bool {
    let mut parts = piece.split_whitespace();
    let begins = parts.next().is_some_and(|first| first.starts_with('-'));
    let is_number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    begins && parts.clone().any(is_number) && !parts.any(|part| part.starts_with(['-', '+']))
}

/// The letters that the names of the months begin with.
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DatePart {
    /// A number of one or two digits.
    Short,
    /// A longer number.
    Long,
    Month,
}

/// Whether a text has a date whose order of day, month and year PostgreSQL takes from `DateStyle`: one without a year of
/// four digits at its beginning, or at its end after the name of a month.
fn has_ordered_date(text: &str) -> bool {
    use DatePart::{Long, Month, Short};
    // Each part with the characters between it and the next one.
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        rest = &rest[at..];
        let is_digit = rest.starts_with(|c: char| c.is_ascii_digit());
        let ends = |c: char| !c.is_ascii_alphanumeric() || c.is_ascii_digit() != is_digit;
        let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        let part = match (is_digit, word.len()) {
            (true, 1 | 2) => Some(Short),
            (true, _) => Some(Long),
            (false, _) => is_month(word).then_some(Month),
        };
        let gap = after.find(|c: char| c.is_ascii_alphanumeric());
        parts.push((part, &after[..gap.unwrap_or(after.len())]));
        rest = after;
    }
    let is_joint = |gap: &str| {
        let gap = gap.trim();
        matches!(gap, "" | "-" | "/" | "." | ",")
    };
    parts.windows(3).enumerate().any(|(at, window)| {
        let [
            (Some(first), one),
            (Some(second), two),
            (Some(third), after),
        ] = window
        else {
            return false;
        };
        let before = at.checked_sub(1).map_or("", |before| parts[before].1);
        let is_date = is_joint(one)
            && is_joint(two)
            && (one.trim() == two.trim() || [first, second].contains(&&Month))
            && !matches!(before, "." | ":" | "/" | "-")
            && !matches!(*after, "." | ":" | "/");
        is_date
            && matches!(
                (first, second, third),
                (Short, Short, Short | Long) | (Short, Month, Short) | (Month, Short, Short)
            )
    })
}

fn is_month(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let name = MONTHS.iter().find(|month| word.starts_with(**month));
    // Not `decade`, nor `mon`, of an interval.
    name.is_some() && (word.len() <= 4 || !word.starts_with("deca"))
}

/// Whether more digits than that follow a point, and one of the surplus ones is not 0.
fn digits_after_point(text: &str, kept: usize) -> bool {
    text.split('.').skip(1).any(|after| {
        let digits = after.bytes().take_while(u8::is_ascii_digit);
        digits.skip(kept).any(|digit| digit != b'0')
    })
}

/// Whether a zone follows in the text from its first colon on: a sign, or a word other than AM and PM.
fn has_zone(clock: &str) -> bool {
    let mut words = clock.split(|c: char| !c.is_ascii_alphabetic());
    clock.contains(['+', '-']) || words.any(|word| !is_one_of(word, &["", "AM", "PM", "BC", "AD"]))
}

/// Whether a text is one of these words, in upper or lower case.
fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn refuses_unsigned<'t>(mut numbers: impl Iterator<Item = &'t str>) -> Option<&'static str> {
    let is_other = |number: &str| {
        let number = number.trim();
        !number.bytes().all(|byte| byte.is_ascii_digit()) && !number.eq_ignore_ascii_case("null")
    };
    numbers.any(is_other).then_some(
        "is not a whole number of 0 or more; PostgreSQL would silently read it as another number",
    )
}

fn refuses_money(text: &str) -> Option<&'static str> {
    if digits_after_point(text, 2) {
        Some(
            "has more than two decimals; PostgreSQL would silently round it as money; make the column numeric",
        )
    } else if has_odd_comma(text) {
        Some("has a comma that does not separate thousands; PostgreSQL would silently ignore it")
    } else {
        None
    }
}

/// Whether a comma is followed by anything but three digits.
fn has_odd_comma(text: &str) -> bool {
    text.split(',').skip(1).any(|after| {
        let digits = after.bytes().take_while(u8::is_ascii_digit);
        digits.count() != 3
    })
}

fn is_time_alone(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_ascii_digit() || matches!(c, ':' | '.' | ' ' | 'A' | 'P' | 'M' | 'a' | 'p' | 'm')
    })
}

fn is_constant(text: &str) -> bool {
    is_one_of(text.trim(), &["infinity", "-infinity", "epoch"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn what_would_be_dropped_or_change_is_refused() {
        use Guard as G;
        for (guard, text, is_refused) in [
            (G::Nothing, "now", false),
            (G::Date, "2026-01-31", false),
            (G::Date, "Jan 31 2026", false),
            (G::Date, "Today", true),
            (G::Date, "2026-01-31 12:00", true),
            (G::Time, "12:30:00.123456", false),
            (G::Time, "12:30:00.1234560", false),
            (G::Time, "12:30:00.1234567", true),
            (G::Time, "3:04 pm", false),
            (G::Time, "12:30+02", true),
            (G::Time, "2026-01-31 12:30", true),
            (G::Time, "allballs", true),
            (G::TimeWithZone, "12:30+02", false),
            (G::TimeWithZone, "12:30 Z", false),
            (G::TimeWithZone, "12:30", true),
            (G::Timestamp, "2026-01-31 12:30 PM", false),
            (G::Timestamp, "2026-01-31T12:30:00", false),
            (G::Timestamp, "2026-01-31T12:30:00Z", true),
            (G::Timestamp, "2026-01-31 12:30 Europe/Oslo", true),
            (G::Timestamp, "infinity", false),
            (G::TimestampWithZone, "2026-01-31 12:30-05", false),
            (G::TimestampWithZone, "2026-01-31 12:30", true),
            (G::TimestampWithZone, "2026-01-31", true),
            (G::TimestampWithZone, "-Infinity", false),
            (G::Dated, "[2026-01-01,now)", true),
            (G::Dated, "{2026-01-01,2026-01-02}", false),
            (G::Interval, "1 day 02:00:00.5", false),
            (G::Date, "01/02/2026", true),
            (G::Date, "31.01.2026", true),
            (G::Date, "1-2-26", true),
            (G::Date, "26-01-02", true),
            (G::Date, "01 02 2026", true),
            (G::Date, "01-Feb-03", true),
            (G::Date, "Feb 1, 03", true),
            (G::Date, "01-Feb-2003", false),
            (G::Date, "2003-Feb-01", false),
            (G::Date, "20260102", false),
            (G::Date, "2026-01-02 BC", false),
            (G::Timestamp, "01/02/2026 12:30:00", true),
            (G::Timestamp, "2026-01-31 12:30:00.12", false),
            (G::Timestamp, "Sat Jan 31 12:30:00 2026", false),
            (G::TimestampWithZone, "2026-01-31 12:30:01.12-05", false),
            (G::TimestampWithZone, "2026-01-31 12:30:01-05:30", false),
            (G::TimeWithZone, "12:30:00.12-05", false),
            (G::Dated, "[01/02/2026,02/02/2026)", true),
            (G::Dated, "(10.0.0.1,2026-01-31)", false),
            (G::Dated, "(1,2,3,2026-01-31)", false),
            (
                G::Dated,
                "{\"2026-01-31 12:30:00\",\"2026-02-01 00:00:00\"}",
                false,
            ),
            (G::DatedWithZone, "[\"2026-01-31 12:30:00+01\",)", false),
            (G::DatedWithZone, "[\"2026-01-31 12:30:00\",)", true),
            (G::DatedWithZone, "[2026-01-31,2026-02-01)", true),
            (G::DatedWithZone, "empty", false),
            (G::DatedWithZone, "[-infinity,infinity]", false),
            (G::Interval, "-1 2:03:04", true),
            (G::Interval, "-1 day 02:03:04", true),
            (G::Interval, "-1 days +02:03:04", false),
            (G::Interval, "-1 days -02:03:04", false),
            (G::Interval, "-1-2 +3 -4:05:06", false),
            (G::Interval, "1 mon 2 days 3 hours", false),
            (G::Interval, "1 decade 2 years 3 mons", false),
            (G::Interval, "1 year 2 mons 3 days 04:05:06", false),
            (G::Interval, "P1Y2M3DT4H5M6S", false),
            (G::Interval, "-2 hours", false),
            (G::Interval, "@ 1 minute ago", false),
            (G::Dated, "{1 day,-1 day}", false),
            (G::Unsigned, "4294967295", false),
            (G::Unsigned, " 7 ", false),
            (G::Unsigned, "-1", true),
            (G::Unsigned, "12abc", true),
            (G::ManyUnsigned, "{1,NULL,\"3\"}", false),
            (G::ManyUnsigned, "{1,-3}", true),
            (G::Money, "$1,234.50", false),
            (G::Money, "1.239", true),
            (G::Money, "1,234,567", false),
            (G::Money, "1,23", true),
            (G::Money, "12,3456", true),
        ] {
            let found = guard.refuses(text).is_some();
            assert_eq!(found, is_refused, "{guard:?} {text}");
        }
    }

    #[test]
    fn the_guard_is_that_of_all_parts() {
        // A star after a part: a number of digits or a length is declared.
        let check = |base: &str, parts: &str, expected| {
            let part = |part: &str| Part {
                name: part.trim_end_matches('*').to_owned(),
                is_bounded: part.ends_with('*'),
            };
            let all: Vec<_> = parts.split(' ').map(part).collect();
            assert_eq!(Guard::of(base, &all), expected, "{base} of {parts}");
        };
        check("inet", "inet", Some(Guard::Nothing));
        check("varbit", "varbit*", Some(Guard::Nothing));
        check("xid8", "xid8", Some(Guard::Unsigned));
        check("_oid", "_oid oid", Some(Guard::ManyUnsigned));
        check("own", "own oid", None);
        check("_numeric", "_numeric* numeric*", None);
        check("own", "own char", None);
        let range = "tstzrange timestamptz";
        check("tstzrange", range, Some(Guard::DatedWithZone));
        check("own", "own timestamptz date", Some(Guard::Dated));
        check("date", "date", Some(Guard::Date));
    }
}
