//! Texts that a column's own input function reads: which types read them without loss, and what else they must not say.
//!
//! Some input functions drop a part of a text, round it, or read a word such as `now` as the moment at which they run.
//! Such a text is refused here, so that a row says what its file does and a replay gives it again.

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
    Date,
    Time,
    TimeWithZone,
    Timestamp,
    TimestampWithZone,
    /// Dates or times within another type, or an interval.
    Dated,
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
            _ if has(&["money"]) => return None,
            _ if has(&DATED) => Self::Dated,
            _ => Self::Nothing,
        })
    }

    /// Why a text must not be read; `None` if it may.
    pub(crate) fn refuses(self, text: &str) -> Option<&'static str> {
        if self == Self::Nothing {
            return None;
        }
        if self == Self::Money {
            return digits_after_point(text, 2)
                .then_some("has more than two decimals, and money is rounded in silence; make the column numeric");
        }
        let mut words = text.split(|c: char| !c.is_ascii_alphabetic());
        if words.any(|word| {
            MOVING
                .iter()
                .any(|moving| word.eq_ignore_ascii_case(moving))
        }) {
            return Some("names a moment that changes, so that a replay would give another value");
        }
        if digits_after_point(text, SECOND_DIGITS) {
            return Some("is finer than a microsecond, which PostgreSQL would round in silence");
        }
        let clock = text.find(':').map(|at| &text[at..]);
        let has_zone = clock.is_some_and(has_zone);
        match self {
            Self::Date if clock.is_some() => {
                Some("has a time of day, which PostgreSQL would drop in silence")
            }
            Self::Time if has_zone || !is_time_alone(text) => {
                Some("has a date or a zone, which PostgreSQL would drop in silence")
            }
            Self::Timestamp if has_zone => Some(
                "has a zone, which PostgreSQL would drop in silence; make column and stream timestamptz",
            ),
            Self::TimeWithZone | Self::TimestampWithZone if !has_zone && !is_constant(text) => {
                Some(
                    "has no zone, so that it depends on the session's; use type timestamptz with `zone`",
                )
            }
            _ => None,
        }
    }
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
    clock.contains(['+', '-'])
        || words.any(|word| {
            let is_other = ["", "AM", "PM", "BC", "AD"]
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known));
            !is_other
        })
}

fn is_time_alone(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_ascii_digit() || matches!(c, ':' | '.' | ' ' | 'A' | 'P' | 'M' | 'a' | 'p' | 'm')
    })
}

fn is_constant(text: &str) -> bool {
    ["infinity", "-infinity", "epoch"]
        .iter()
        .any(|word| text.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
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
            (G::Dated, "1 day 02:00:00.5", false),
            (G::Money, "$1,234.50", false),
            (G::Money, "1.239", true),
        ] {
            assert_eq!(
                guard.refuses(text).is_some(),
                is_refused,
                "{guard:?} {text}"
            );
        }
    }

    #[test]
    fn the_guard_is_that_of_all_parts() {
        let part = |name: &str, is_bounded| Part {
            name: name.to_owned(),
            is_bounded,
        };
        let check = |base, parts: &[Part], expected| assert_eq!(Guard::of(base, parts), expected);
        check("inet", &[part("inet", false)], Some(Guard::Nothing));
        check("varbit", &[part("varbit", true)], Some(Guard::Nothing));
        check(
            "_numeric",
            &[part("_numeric", true), part("numeric", true)],
            None,
        );
        check("own", &[part("own", false), part("char", false)], None);
        check(
            "tstzrange",
            &[part("tstzrange", false), part("timestamptz", false)],
            Some(Guard::Dated),
        );
        check("date", &[part("date", false)], Some(Guard::Date));
    }
}
