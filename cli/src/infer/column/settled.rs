//! The type that a column's values decide.

use bekk_stream::ColumnType;

use super::{FLOAT_DIGITS, NULL_OF_DUMPS, Profile};
use crate::infer::kinds::{
    CLOCK_FORMATS, DATE_FORMATS, Kind, short_format, short_type, time_format,
};

/// Pairs of words that mean true and false, in any case; both of a pair must occur.
const BOOL_PAIRS: &[(&str, &str)] = &[
    ("true", "false"),
    ("t", "f"),
    ("yes", "no"),
    ("y", "n"),
    ("on", "off"),
];
/// Pairs of words that mean true and false in other languages. A column of both is text until a person says so.
const FOREIGN_PAIRS: &[(&str, &str)] = &[
    ("ja", "nein"),
    ("wahr", "falsch"),
    ("oui", "non"),
    ("vrai", "faux"),
    ("si", "no"),
    ("sí", "no"),
    ("sì", "no"),
    ("sim", "não"),
    ("verdadero", "falso"),
    ("ja", "nee"),
    ("ja", "nej"),
    ("ja", "nei"),
    ("tak", "nie"),
    ("да", "нет"),
];
/// Last words of names of columns whose numbers are codes
const CODES: &[&str] = &[
    "zip",
    "zipcode",
    "postal",
    "postcode",
    "plz",
    "postleitzahl",
    "phone",
    "telephone",
    "telefon",
    "tel",
    "ean",
    "gtin",
    "upc",
    "isbn",
    "ssn",
    "blz",
];
/// Fewest digits of a code
const CODE_DIGITS: usize = 4;
/// The most digits that a decimal has.
const DECIMAL_DIGITS: usize = 38;

/// A column's type, and how its texts are read
pub(in crate::infer) struct Settled {
    pub(in crate::infer) column_type: ColumnType,
    pub(in crate::infer) format: Option<String>,
    /// Marks that are removed from its numbers
    pub(in crate::infer) strip: Vec<String>,
    pub(in crate::infer) decimal: Option<char>,
    pub(in crate::infer) remark: Option<String>,
}

impl Settled {
    fn plain(column_type: ColumnType) -> Self {
        Self {
            column_type,
            format: None,
            strip: Vec::new(),
            decimal: None,
            remark: None,
        }
    }

    fn remarked(column_type: ColumnType, remark: &str) -> Self {
        Self {
            remark: Some(remark.to_owned()),
            ..Self::plain(column_type)
        }
    }
}

impl Profile {
    /// Decides on a type.
    pub(in crate::infer) fn decided(&self, decimal_comma: bool) -> Settled {
        let number = Kind::Number {
            comma: decimal_comma,
        };
        if self.values == 0 {
            return Settled::remarked(ColumnType::Text, "no value was seen");
        }
        if self.is(Kind::Uuid) {
            return Settled::plain(ColumnType::Uuid);
        }
        if self.is(number) {
            return self.settle_number();
        }
        let is_float = self.has_exponent || (self.has_infinity && self.has_digit);
        if self.is(Kind::Float) && self.has_exponent && !self.is_scientific {
            return Settled::remarked(
                ColumnType::Text,
                "digits with an e between them, as codes have; as numbers: type = \"float8\"",
            );
        }
        if self.is(Kind::Float) && !decimal_comma && is_float {
            return match self.whole_digits + self.fraction_digits <= FLOAT_DIGITS
                || self.are_kept_by_floats
            {
                true => Settled::plain(ColumnType::Float8),
                false => Settled::remarked(
                    ColumnType::Text,
                    "numbers with exponents or infinities, and more digits than a float8 keeps; type = \"float8\" rounds them",
                ),
            };
        }
        if self.is_bool() {
            return Settled::plain(ColumnType::Bool);
        }
        if self.is(Kind::Marked(0)) && self.is(Kind::Marked(1)) && self.marks.are_grouped() {
            return Settled::remarked(
                ColumnType::Text,
                "the marks may separate thousands or decimals: type = \"numeric\" with strip = [\",\"] or decimal = \
                 \",\"",
            );
        }
        let marked = self
            .candidates
            .iter()
            .find_map(|candidate| match candidate.kind {
                Kind::Marked(grouping) => self.marks.settle(grouping, &self.example),
                _ => None,
            });
        if let Some(marked) = marked {
            return marked;
        }
        self.settle_time()
            .unwrap_or_else(|| match self.is(Kind::Json) {
                true => Settled::plain(ColumnType::Json),
                false => self.settle_text(),
            })
    }

    /// Whole numbers and decimals, as wide as it takes to lose no digit.
    fn settle_number(&self) -> Settled {
        if self.leading_zero {
            return Settled::remarked(
                ColumnType::Text,
                "digits, but some begin with 0, which a number would lose",
            );
        }
        if self.pluses == self.values && self.fraction_digits == 0 {
            return Settled::remarked(
                ColumnType::Text,
                "each begins with +, as telephone numbers do, which a number would lose",
            );
        }
        if self.is(Kind::Int) && self.fraction_digits == 0 && !self.bare_mark {
            if self.is_code() {
                return Settled::remarked(
                    ColumnType::Text,
                    "a code of digits, by its name: a number would lose a 0 before a later one; as numbers: type = \"int8\"",
                );
            }
            return Settled::plain(ColumnType::Int8);
        }
        let scale = self.fraction_digits;
        if self.bare_mark && scale == 0 {
            return Settled::remarked(ColumnType::Text, "digits, some with a mark after them");
        }
        if self.whole_digits + scale > DECIMAL_DIGITS
            && self.are_kept_by_floats
            && self.is(Kind::Float)
        {
            return Settled::plain(ColumnType::Float8);
        }
        if self.whole_digits + scale > DECIMAL_DIGITS {
            return Settled::plain(ColumnType::Numeric);
        }
        // Twice the digits seen before the point, at least 12, so that later values fit too.
        let whole = (self.whole_digits * 2).max(12).min(DECIMAL_DIGITS - scale);
        let narrow = |digits: usize| u8::try_from(digits).expect("at most 38");
        Settled::plain(ColumnType::Decimal {
            precision: narrow(whole + scale).max(1),
            scale: narrow(scale),
        })
    }

    /// Doubts decimals of which each may be a whole number with points between thousands: 1.500. `has_commas` is whether
    /// other columns of the file have decimal commas.
    pub(super) fn doubt_points(&mut self, has_commas: bool) {
        let are_groups = self.is(Kind::Marked(1)) && self.marks.are_points_groups();
        let Some(settled) = self.settled.as_mut().filter(|_| are_groups) else {
            return;
        };
        if !matches!(settled.column_type, ColumnType::Decimal { .. }) {
            return;
        }
        const THOUSANDS: &str = "type = \"numeric\", decimal = \",\", strip = [\".\"]";
        *settled = match has_commas {
            true => Settled::remarked(
                ColumnType::Text,
                &format!(
                    "the points may separate thousands, as other columns have decimal commas; if so: {THOUSANDS}"
                ),
            ),
            false => Settled::remarked(
                settled.column_type.clone(),
                &format!(
                    "the points are read as decimal marks; if they separate thousands: {THOUSANDS}"
                ),
            ),
        };
    }

    /// Whether its name is one of codes, whose values may begin with 0: `zip_code`, `phone_2`.
    fn is_code(&self) -> bool {
        let is_other = |word: &&str| {
            ["code", "number", "no", "nr"].contains(word) || word.parse::<u8>().is_ok()
        };
        let mut words = self.name.rsplit('_').skip_while(is_other);
        self.whole_digits >= CODE_DIGITS && words.next().is_some_and(|word| CODES.contains(&word))
    }

    /// Both words of a pair, or one of the first, which can mean nothing else: a column of NO, F or N alone is text.
    fn is_bool(&self) -> bool {
        let has = |word: &str| self.words.iter().any(|seen| seen == word);
        let is_only =
            |(yes, no): &(&str, &str)| self.words.iter().all(|word| word == yes || word == no);
        let plain = &BOOL_PAIRS[0];
        is_only(plain) && !self.words.is_empty()
            || BOOL_PAIRS
                .iter()
                .any(|pair| is_only(pair) && has(pair.0) && has(pair.1))
    }

    fn settle_time(&self) -> Option<Settled> {
        if self.is(Kind::Timestamptz) {
            return Some(Settled::plain(ColumnType::Timestamptz));
        }
        let kinds = || self.candidates.iter().map(|candidate| candidate.kind);
        let dates: Vec<_> = kinds()
            .filter_map(|kind| match kind {
                Kind::Date(format) => Some(format),
                _ => None,
            })
            .collect();
        let times: Vec<_> = kinds()
            .filter_map(|kind| match kind {
                Kind::Timestamp(format) => Some(format),
                _ => None,
            })
            .collect();
        let is_swappable = |formats: &[Option<(usize, usize)>]| {
            let date = |format: &Option<(usize, usize)>| format.map(|(date, _)| DATE_FORMATS[date]);
            let has = |part: &str| {
                let mut found = formats.iter().filter_map(date);
                found.any(|format| format.starts_with(part))
            };
            (has("%d/%m") && has("%m/%d")) || (has("%d-%m") && has("%m-%d"))
        };
        let settled = |column_type, format: Option<(usize, usize)>, remark: Option<&str>| Settled {
            format: format.map(|(date, clock)| time_format(date, clock)),
            remark: remark.map(str::to_owned),
            ..Settled::plain(column_type)
        };
        let clock = kinds().find_map(|kind| match kind {
            Kind::Time(clock) => Some(clock),
            _ => None,
        });
        if let Some(clock) = clock {
            return Some(Settled {
                format: clock.map(|clock| CLOCK_FORMATS[clock].to_owned()),
                ..Settled::plain(ColumnType::Time)
            });
        }
        const ORDER: &str = "check the order of day and month: every value can be read either way";
        if let Some(first) = dates.first() {
            let dated: Vec<_> = dates
                .iter()
                .map(|date| date.map(|date| (date, 0)))
                .collect();
            let remark = is_swappable(&dated).then_some(ORDER);
            let format = first.map(|date| DATE_FORMATS[date].to_owned());
            return Some(Settled {
                format,
                ..settled(ColumnType::Date, None, remark)
            });
        }
        let first = times.first()?;
        let remark = match is_swappable(&times) {
            true => ORDER,
            false => "no zone in the file: for moments use timestamptz with zone = \"…\"",
        };
        Some(settled(ColumnType::Timestamp, *first, Some(remark)))
    }

    /// In a column of texts a text that means null elsewhere is as likely a text.
    fn settle_text(&self) -> Settled {
        if has_more_than_microseconds(&self.example) {
            return Settled::remarked(
                ColumnType::Text,
                "times with more than six digits after the second, which PostgreSQL cannot store",
            );
        }
        let is_kept = |text: &&&str| **text != NULL_OF_DUMPS;
        let kept = self.null_texts.iter().filter(is_kept);
        let texts: Vec<_> = kept.map(|text| format!("{text:?}")).collect();
        if texts.is_empty() {
            return match self.other_type() {
                Some(remark) => Settled::remarked(ColumnType::Text, &remark),
                None => Settled::plain(ColumnType::Text),
            };
        }
        let texts = texts.join(", ");
        Settled::remarked(
            ColumnType::Text,
            &format!(
                "{texts} kept as text; if it means null: nullable = true, null = [\"\", {texts}]"
            ),
        )
    }
}

impl Profile {
    /// The type that its texts may also be of, if a person says so.
    fn other_type(&self) -> Option<String> {
        if self.are_braced {
            return Some(
                "kept as text; for an array: type = \"pg:text[]\", \"pg:int8[]\" or the like"
                    .to_owned(),
            );
        }
        self.short_dates().or_else(|| self.foreign_bool())
    }

    /// Words for true and false of another language, each as the file spells it.
    fn foreign_bool(&self) -> Option<String> {
        let is_pair = |(yes, no): &&(&str, &str)| {
            self.words.len() == 2 && self.words.iter().all(|word| word == yes || word == no)
        };
        let (yes, no) = FOREIGN_PAIRS.iter().find(is_pair)?;
        let spelled = |word: &str| -> Vec<&String> {
            let spellings = self.spellings.iter();
            spellings
                .filter(|text| text.to_lowercase() == word)
                .collect()
        };
        let (yes, no) = (spelled(yes), spelled(no));
        Some(format!(
            "kept as text; for true and false: type = \"bool\", true = {yes:?}, false = {no:?}"
        ))
    }

    /// Dates such as 1/2/25, which may be versions as well, with each order of day and month that fits all of them.
    fn short_dates(&self) -> Option<String> {
        let kinds = self.candidates.iter().map(|candidate| candidate.kind);
        let mut settings = Vec::new();
        for kind in kinds {
            if let Kind::ShortDate(date, clock) = kind {
                let (column_type, format) = (short_type(clock), short_format(date, clock));
                settings.push(format!("type = \"{column_type}\", format = \"{format}\""));
            }
        }
        (!settings.is_empty()).then(|| {
            format!(
                "kept as text; for dates with years of two digits: {}",
                settings.join(", or ")
            )
        })
    }
}

/// Whether a text is a time with more than six digits after the second.
fn has_more_than_microseconds(text: &str) -> bool {
    const TIME: &[u8] = b"0000-00-00 00:00:00.0000000";
    let begin = text.as_bytes().get(..TIME.len()).unwrap_or_default();
    let is_like = |(byte, pattern): (&u8, &u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        b' ' => matches!(byte, b' ' | b'T'),
        mark => byte == mark,
    };
    begin.len() == TIME.len() && begin.iter().zip(TIME).all(is_like)
}
