//! What a column's values have in common.

use bekk_stream::{Column, ColumnType, CsvDialect, Field, ValueParser};

/// Texts that stand for null in files that others write.
const NULL_TEXTS: &[&str] = &[
    "NULL", "null", "NA", "N/A", "n/a", "\\N", "-", "None", "nan", "NaN",
];
/// How dates are written where not as ISO 8601 says, the less ambiguous first.
const DATE_FORMATS: &[&str] = &["%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"];
/// What may follow a date.
const CLOCK_FORMATS: &[&str] = &["%H:%M:%S", "%H:%M"];

/// What is known of a column after some of its values.
pub(super) struct Profile {
    pub(super) header: String,
    pub(super) name: String,
    candidates: Vec<Candidate>,
    pub(super) nulls: u64,
    pub(super) null_texts: Vec<&'static str>,
    values: u64,
    whole_digits: usize,
    fraction_digits: usize,
    leading_zero: bool,
    example: String,
    settled: Option<Settled>,
}

/// A type that every value so far is of.
struct Candidate {
    kind: Kind,
    parser: ValueParser,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    Decimal { comma: bool },
    Float,
    Uuid,
    Date(Option<usize>),
    Timestamp(Option<(usize, usize)>),
    Timestamptz,
    Json,
}

/// The type decided on.
pub(super) struct Settled {
    pub(super) column_type: ColumnType,
    pub(super) format: Option<String>,
    pub(super) remark: Option<String>,
}

impl Profile {
    pub(super) fn new(header: &str, earlier: &[Profile]) -> Self {
        let base = sql_name(header);
        let taken =
            |name: &str| earlier.iter().any(|column| column.name == name) || name == "ingested_at";
        let name = std::iter::once(base.clone())
            .chain((2..).map(|n| format!("{base}_{n}")))
            .find(|name| !taken(name))
            .expect("there are more numbers than columns");
        Self {
            header: header.to_owned(),
            name,
            candidates: all_candidates(),
            nulls: 0,
            null_texts: Vec::new(),
            values: 0,
            whole_digits: 1,
            fraction_digits: 0,
            leading_zero: false,
            example: String::new(),
            settled: None,
        }
    }

    pub(super) fn see(&mut self, field: &[u8]) {
        if field.is_empty() {
            self.nulls += 1;
            return;
        }
        if let Some(text) = NULL_TEXTS.iter().find(|text| text.as_bytes() == field) {
            self.nulls += 1;
            if !self.null_texts.contains(text) {
                self.null_texts.push(text);
            }
            return;
        }
        self.values += 1;
        if self.values == 1 {
            self.example = String::from_utf8_lossy(field).chars().take(40).collect();
        }
        let is_value = |candidate: &Candidate| {
            candidate
                .parser
                .parse(Field {
                    bytes: field,
                    quoted: true,
                })
                .is_ok()
        };
        self.candidates.retain(|candidate| {
            is_value(candidate) && (candidate.kind != Kind::Json || is_nested(field))
        });
        self.measure(field);
    }

    /// Counts the digits on both sides of a number's point, if it is one.
    fn measure(&mut self, field: &[u8]) {
        let digits = field
            .strip_prefix(b"-")
            .or(field.strip_prefix(b"+"))
            .unwrap_or(field);
        let mark = digits
            .iter()
            .position(|byte| matches!(byte, b'.' | b','))
            .unwrap_or(digits.len());
        self.leading_zero |= digits.len() > 1 && digits[0] == b'0' && mark != 1;
        self.whole_digits = self.whole_digits.max(mark);
        self.fraction_digits = self
            .fraction_digits
            .max(digits.len().saturating_sub(mark + 1));
    }

    fn is(&self, kind: Kind) -> bool {
        self.values > 0
            && self
                .candidates
                .iter()
                .any(|candidate| candidate.kind == kind)
    }

    /// Whether its values are numbers only if a comma is the decimal mark.
    pub(super) fn needs_decimal_comma(&self) -> bool {
        self.is(Kind::Decimal { comma: true }) && !self.is(Kind::Decimal { comma: false })
    }

    /// Decides on a type.
    pub(super) fn settle(&mut self, decimal_comma: bool) {
        let plain = |column_type| Settled {
            column_type,
            format: None,
            remark: None,
        };
        let remarked = |column_type, remark: String| Settled {
            column_type,
            format: None,
            remark: Some(remark),
        };
        let date = self
            .candidates
            .iter()
            .find_map(|candidate| match candidate.kind {
                Kind::Date(format) => Some(format.map(|format| DATE_FORMATS[format].to_owned())),
                _ => None,
            });
        let timestamp = self
            .candidates
            .iter()
            .find_map(|candidate| match candidate.kind {
                Kind::Timestamp(format) => Some(format.map(|(date, clock)| {
                    format!("{} {}", DATE_FORMATS[date], CLOCK_FORMATS[clock])
                })),
                _ => None,
            });
        let settled = if self.values == 0 {
            remarked(ColumnType::Text, "no value was seen".to_owned())
        } else if self.is(Kind::Uuid) {
            plain(ColumnType::Uuid)
        } else if self.is(Kind::Int) && self.fraction_digits == 0 && !self.leading_zero {
            plain(ColumnType::Int8)
        } else if self.is(Kind::Decimal {
            comma: decimal_comma,
        }) && !self.leading_zero
        {
            self.settle_decimal()
        } else if self.is(Kind::Int) && self.leading_zero {
            remarked(
                ColumnType::Text,
                "digits, but some begin with 0, which a number would lose".to_owned(),
            )
        } else if self.is(Kind::Float) && !decimal_comma {
            plain(ColumnType::Float8)
        } else if self.is(Kind::Bool) {
            plain(ColumnType::Bool)
        } else if self.is(Kind::Timestamptz) {
            plain(ColumnType::Timestamptz)
        } else if let Some(format) = date {
            settle_time(ColumnType::Date, format, None)
        } else if let Some(format) = timestamp {
            let remark = "no zone in the file: for moments use timestamptz with zone = \"…\"";
            settle_time(ColumnType::Timestamp, format, Some(remark))
        } else if self.is(Kind::Json) {
            plain(ColumnType::Json)
        } else {
            plain(ColumnType::Text)
        };
        self.settled = Some(settled);
    }

    /// Twice the digits seen before the point, at least 12, so that later values fit too.
    fn settle_decimal(&self) -> Settled {
        let scale = self.fraction_digits.min(38);
        let whole = (self.whole_digits * 2).max(12).min(38 - scale);
        let narrow = |digits: usize| u8::try_from(digits).expect("at most 38");
        let column_type = ColumnType::Decimal {
            precision: narrow(whole + scale).max(1),
            scale: narrow(scale),
        };
        Settled {
            column_type,
            format: None,
            remark: None,
        }
    }

    pub(super) fn settled(&self) -> &Settled {
        self.settled
            .as_ref()
            .expect("settled before it is rendered")
    }

    pub(super) fn example(&self) -> &str {
        &self.example
    }

    pub(super) fn values(&self) -> u64 {
        self.values
    }
}

fn settle_time(column_type: ColumnType, format: Option<String>, remark: Option<&str>) -> Settled {
    let ambiguous = format
        .as_deref()
        .is_some_and(|format| format.contains("%d/%m") || format.contains("%m/%d"));
    let remark = if ambiguous {
        Some("check the order of day and month")
    } else {
        remark
    };
    Settled {
        column_type,
        format,
        remark: remark.map(str::to_owned),
    }
}

fn is_nested(field: &[u8]) -> bool {
    matches!(field.first(), Some(b'{' | b'['))
}

fn all_candidates() -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut add = |kind, column_type, format: Option<String>, comma: bool| {
        let mut column = Column::new("candidate", column_type);
        column.format = format;
        let dialect = CsvDialect {
            decimal: if comma { b',' } else { b'.' },
            ..CsvDialect::default()
        };
        let parser = ValueParser::new(&column, &dialect).expect("the candidates are right");
        candidates.push(Candidate { kind, parser });
    };
    add(Kind::Bool, ColumnType::Bool, None, false);
    add(Kind::Int, ColumnType::Int8, None, false);
    // More digits on either side than any value of 38 digits in all can have is not asked for here.
    let widest = ColumnType::Decimal {
        precision: 38,
        scale: 19,
    };
    add(Kind::Decimal { comma: false }, widest, None, false);
    add(Kind::Decimal { comma: true }, widest, None, true);
    add(Kind::Float, ColumnType::Float8, None, false);
    add(Kind::Uuid, ColumnType::Uuid, None, false);
    add(Kind::Timestamptz, ColumnType::Timestamptz, None, false);
    add(Kind::Date(None), ColumnType::Date, None, false);
    add(Kind::Timestamp(None), ColumnType::Timestamp, None, false);
    for (date, format) in DATE_FORMATS.iter().enumerate() {
        add(
            Kind::Date(Some(date)),
            ColumnType::Date,
            Some((*format).to_owned()),
            false,
        );
        for (clock, suffix) in CLOCK_FORMATS.iter().enumerate() {
            let format = format!("{format} {suffix}");
            add(
                Kind::Timestamp(Some((date, clock))),
                ColumnType::Timestamp,
                Some(format),
                false,
            );
        }
    }
    add(Kind::Json, ColumnType::Json, None, false);
    candidates
}

/// A header as a name that SQL takes without quotes: lower case, letters, digits and `_`.
pub(super) fn sql_name(header: &str) -> String {
    const NAME_MAX: usize = 60;
    let mut name = String::new();
    let mut previous_lower = false;
    for c in header.trim().chars() {
        if c.is_uppercase() && previous_lower {
            name.push('_');
        }
        previous_lower = c.is_lowercase() || c.is_ascii_digit();
        if c.is_alphanumeric() {
            name.extend(c.to_lowercase());
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    let mut name = name.trim_matches('_').to_owned();
    while name.len() > NAME_MAX {
        name.pop();
    }
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "c_");
    }
    name
}
