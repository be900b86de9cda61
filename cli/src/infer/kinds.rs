//! The types that a column's values may be of.

use bekk_stream::{Column, ColumnType, CsvDialect, Field, ValueParser};

/// How dates are written where not as ISO 8601 says, the less ambiguous first.
pub(super) const DATE_FORMATS: &[&str] = &[
    "%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d %b %Y",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%y",
];
/// What may follow a date.
pub(super) const CLOCK_FORMATS: &[&str] = &["%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p"];
/// Where 12-hour clocks begin in [`CLOCK_FORMATS`].
const CLOCKS_12: usize = 2;
/// How numbers with marks between their thousands are written: that mark and the decimal mark.
pub(super) const GROUPINGS: &[(&str, char)] = &[
    (",", '.'),
    (".", ','),
    (" ", ','),
    (" ", '.'),
    ("'", '.'),
    ("’", '.'),
];
/// What stands beside amounts and shares.
pub(super) const UNITS: &[&str] = &["%", "$", "€", "£", "¥", "USD", "EUR", "GBP", "CHF"];

/// A type that every value so far is of.
pub(super) struct Candidate {
    pub(super) kind: Kind,
    test: Test,
}

enum Test {
    Parser(Box<ValueParser>),
    /// A plain number, of however many digits, with this decimal mark.
    Number(u8),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Number {
        comma: bool,
    },
    Float,
    Uuid,
    Date(Option<usize>),
    Timestamp(Option<(usize, usize)>),
    Timestamptz,
    Time(Option<usize>),
    /// A date whose year has two digits and whose day or month may have one, and what follows it. A column of these is text:
    /// 1.2.25 is as likely a version.
    ShortDate(usize, Option<usize>),
    /// A number beside or around which a column's `strip` takes something away, with a grouping.
    Marked(usize),
    Json,
}

/// Whether a field is a whole number of so few digits that each kind of number takes it.
pub(super) fn is_short_whole(field: &[u8]) -> bool {
    (1..=18).contains(&field.len()) && field.iter().all(u8::is_ascii_digit)
}

impl Candidate {
    /// Whether a field is of this type; `is_whole` is the result of [`is_short_whole`] for it.
    pub(super) fn takes(&self, field: &[u8], is_whole: bool) -> bool {
        use Kind::{Float, Int, Marked, Number};
        if is_whole && matches!(self.kind, Int | Float | Number { .. } | Marked(_)) {
            return true;
        }
        let is_value = match &self.test {
            Test::Number(mark) => is_number(field, *mark),
            Test::Parser(parser) => parser
                .parse(Field {
                    bytes: field,
                    quoted: true,
                })
                .is_ok(),
        };
        is_value
            && match self.kind {
                Kind::Json => matches!(field.first(), Some(b'{' | b'[')),
                Kind::Date(Some(date)) | Kind::Timestamp(Some((date, _))) => {
                    !has_short_year(date) || is_written_out(field)
                }
                _ => true,
            }
    }
}

/// Whether a format's year has two digits and its month is a number. A date with the name of a month cannot be a version.
fn has_short_year(date: usize) -> bool {
    let format = DATE_FORMATS[date];
    format.contains("%y") && !format.contains("%b")
}

/// Whether each part of a date has two digits at least.
fn is_written_out(field: &[u8]) -> bool {
    let date = field.split(|byte| *byte == b' ').next().unwrap_or_default();
    date.split(|byte| matches!(byte, b'.' | b'/' | b'-'))
        .all(|part| part.len() >= 2)
}

fn is_number(field: &[u8], mark: u8) -> bool {
    let digits = field
        .strip_prefix(b"-")
        .or(field.strip_prefix(b"+"))
        .unwrap_or(field);
    let mut parts = digits.split(|byte| *byte == mark);
    let is_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    let has_digits = digits.iter().any(u8::is_ascii_digit);
    has_digits
        && parts.next().is_some_and(is_digits)
        && parts.next().is_none_or(is_digits)
        && parts.next().is_none()
}

/// Whether a `float8` keeps all digits of a number: the shortest text of the float that is read has the same ones.
pub(super) fn is_kept_by_float(field: &[u8]) -> bool {
    let Some((text, value)) = std::str::from_utf8(field)
        .ok()
        .and_then(|text| Some((text, text.parse::<f64>().ok()?)))
    else {
        return false;
    };
    let digits = |text: &str| -> String {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        digits.trim_matches('0').to_owned()
    };
    digits(text) == digits(&format!("{value:e}"))
}

/// The format of a date and what follows it.
pub(super) fn time_format(date: usize, clock: usize) -> String {
    format!("{} {}", DATE_FORMATS[date], CLOCK_FORMATS[clock])
}

/// The type of a date, with or without what follows it.
pub(super) fn short_type(clock: Option<usize>) -> ColumnType {
    clock.map_or(ColumnType::Date, |_| ColumnType::Timestamp)
}

/// The format of a date and of what may follow it.
pub(super) fn short_format(date: usize, clock: Option<usize>) -> String {
    clock.map_or_else(
        || DATE_FORMATS[date].to_owned(),
        |clock| time_format(date, clock),
    )
}

pub(super) fn all_candidates() -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut add = |kind, column_type, format: Option<String>| {
        let mut column = Column::new("candidate", column_type);
        column.format = format;
        let parser =
            ValueParser::new(&column, &CsvDialect::default()).expect("the candidates are right");
        candidates.push(Candidate {
            kind,
            test: Test::Parser(Box::new(parser)),
        });
    };
    add(Kind::Int, ColumnType::Int8, None);
    add(Kind::Float, ColumnType::Float8, None);
    add(Kind::Uuid, ColumnType::Uuid, None);
    add(Kind::Timestamptz, ColumnType::Timestamptz, None);
    add(Kind::Date(None), ColumnType::Date, None);
    add(Kind::Timestamp(None), ColumnType::Timestamp, None);
    for (date, format) in DATE_FORMATS.iter().enumerate() {
        add(
            Kind::Date(Some(date)),
            ColumnType::Date,
            Some((*format).to_owned()),
        );
        for clock in 0..CLOCK_FORMATS.len() {
            add(
                Kind::Timestamp(Some((date, clock))),
                ColumnType::Timestamp,
                Some(time_format(date, clock)),
            );
        }
    }
    for date in (0..DATE_FORMATS.len()).filter(|date| has_short_year(*date)) {
        for clock in std::iter::once(None).chain((0..CLOCK_FORMATS.len()).map(Some)) {
            let kind = Kind::ShortDate(date, clock);
            add(kind, short_type(clock), Some(short_format(date, clock)));
        }
    }
    add(Kind::Time(None), ColumnType::Time, None);
    for (clock, format) in CLOCK_FORMATS.iter().enumerate().skip(CLOCKS_12) {
        let format = Some((*format).to_owned());
        add(Kind::Time(Some(clock)), ColumnType::Time, format);
    }
    add(Kind::Json, ColumnType::Json, None);
    for (grouping, (mark, decimal)) in GROUPINGS.iter().enumerate() {
        let mut column = Column::new("candidate", ColumnType::Numeric);
        column.decimal = u8::try_from(*decimal).ok();
        column.strip = [mark, "()", "-"]
            .iter()
            .chain(UNITS)
            .map(|item| (*item).to_owned())
            .collect();
        let parser =
            ValueParser::new(&column, &CsvDialect::default()).expect("the candidates are right");
        candidates.push(Candidate {
            kind: Kind::Marked(grouping),
            test: Test::Parser(Box::new(parser)),
        });
    }
    for comma in [false, true] {
        candidates.push(Candidate {
            kind: Kind::Number { comma },
            test: Test::Number(if comma { b',' } else { b'.' }),
        });
    }
    candidates
}
