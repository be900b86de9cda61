//! What a column's values have in common.

mod fallen;
mod settled;

use bekk_stream::{Column, ColumnType, CsvDialect, Field, SYSTEM_COLUMNS, ValueParser};

use super::kinds::{Candidate, Kind, all_candidates, is_kept_by_float, is_short_whole};
use super::marks::Marks;

use fallen::Fallen;
pub(super) use settled::Settled;

/// Texts that mean null in files of other programs
const NULL_TEXTS: &[&str] = &[
    "NULL",
    "null",
    "(null)",
    "NA",
    "N/A",
    "n/a",
    "<NA>",
    "#N/A",
    "#NV",
    NULL_OF_DUMPS,
    "-",
    "--",
    ".",
    "..",
    "?",
    "None",
    "NaT",
    NAN,
    "NaN",
];
/// Null in the dumps of MySQL and PostgreSQL, which write a text of these characters in another way
const NULL_OF_DUMPS: &str = "\\N";
/// The value of a float that is not a number
const NAN: &str = "nan";
/// More digits than this are lost in a float8.
const FLOAT_DIGITS: usize = 15;
/// What is known of a column after some of its values.
pub(super) struct Profile {
    /// Its name in the file, or its place as `#2` where that is empty or another's too.
    pub(super) header: String,
    pub(super) name: String,
    candidates: Vec<Candidate>,
    /// The types it had until a value came that fits none of them
    fallen: Option<Fallen>,
    /// Fields that are empty, in quotes or not.
    empty: u64,
    empty_quoted: u64,
    /// Fields that hold a null text.
    null_text_count: u64,
    pub(super) null_texts: Vec<&'static str>,
    values: u64,
    whole_digits: usize,
    fraction_digits: usize,
    leading_zero: bool,
    /// How many values begin with a plus.
    pluses: u64,
    has_exponent: bool,
    /// Whether an exponent has a sign, or the digits before one have a mark.
    is_scientific: bool,
    has_infinity: bool,
    has_digit: bool,
    /// Whether a number ends with its mark: `5.`
    bare_mark: bool,
    /// Whether a `float8` keeps all digits of each value.
    are_kept_by_floats: bool,
    marks: Marks,
    /// Whether each value is in braces, as PostgreSQL writes arrays.
    are_braced: bool,
    /// Distinct values in lower case, up to three.
    words: Vec<String>,
    /// Distinct values as they are, of the first two of `words`
    spellings: Vec<String>,
    example: String,
    settled: Option<Settled>,
    /// Whether the table's column may be null, where a table decides.
    nullable: Option<bool>,
}

impl Profile {
    /// A column with that name in the file; `place` is its number, from 1, if it has none that is its own.
    pub(super) fn new(header: &str, place: Option<usize>, earlier: &[Self]) -> Self {
        let base = match (header, place) {
            ("", Some(place)) => format!("column_{place}"),
            _ => sql_name(header),
        };
        let taken =
            |name: &str| earlier.iter().any(|column| column.name == name) || name == "ingested_at";
        let numbered = |n: usize| {
            let end = format!("_{n}");
            let mut begin = base.len().min(NAME_MAX - end.len());
            while !base.is_char_boundary(begin) {
                begin -= 1;
            }
            format!("{}{end}", &base[..begin])
        };
        let name = std::iter::once(base.clone())
            .chain((2..).map(numbered))
            .find(|name| !taken(name))
            .expect("there are more numbers than columns");
        Self {
            header: place.map_or_else(|| header.to_owned(), |place| format!("#{place}")),
            name,
            candidates: all_candidates(),
            fallen: None,
            empty: 0,
            empty_quoted: 0,
            null_text_count: 0,
            null_texts: Vec::new(),
            values: 0,
            whole_digits: 1,
            fraction_digits: 0,
            leading_zero: false,
            pluses: 0,
            has_exponent: false,
            is_scientific: false,
            has_infinity: false,
            has_digit: false,
            bare_mark: false,
            are_kept_by_floats: true,
            marks: Marks::default(),
            are_braced: true,
            words: Vec::new(),
            spellings: Vec::new(),
            example: String::new(),
            settled: None,
            nullable: None,
        }
    }

    pub(super) fn see(&mut self, field: &[u8], quoted: bool) {
        if field.is_empty() {
            self.empty += 1;
            self.empty_quoted += u64::from(quoted);
            return;
        }
        let is_whole = is_short_whole(field);
        let null = match quoted || is_whole {
            true => None,
            false => NULL_TEXTS.iter().find(|text| text.as_bytes() == field),
        };
        if let Some(text) = null {
            self.null_text_count += 1;
            if !self.null_texts.contains(text) {
                self.null_texts.push(text);
            }
            return;
        }
        self.values += 1;
        if self.values == 1 {
            self.example = String::from_utf8_lossy(field).chars().take(40).collect();
        }
        self.narrow(field, is_whole);
        self.measure(field);
        self.marks.see(field);
        self.are_braced &= field.starts_with(b"{") && field.ends_with(b"}");
        if self.words.len() < 3 {
            self.see_word(&String::from_utf8_lossy(field));
        }
    }

    fn see_word(&mut self, text: &str) {
        if self.spellings.iter().any(|known| known == text) {
            return;
        }
        self.spellings.push(text.to_owned());
        let word = text.to_lowercase();
        if !self.words.contains(&word) {
            self.words.push(word);
        }
    }

    /// Notes a value of another file of the stream if it would silently change: a number would lose a leading 0, or day
    /// and month would be swapped.
    pub(super) fn see_also(&mut self, field: &[u8]) {
        let digits = field.strip_prefix(b"-").unwrap_or(field);
        self.leading_zero |= matches!(digits, [b'0', b'0'..=b'9', ..]);
        let is_date = |kind| matches!(kind, Kind::Date(_) | Kind::Timestamp(_));
        let takes =
            |candidate: &Candidate| is_date(candidate.kind) && candidate.takes(field, false);
        if self.candidates.iter().any(takes) {
            self.candidates.retain(takes);
        }
    }

    /// Counts the digits on both sides of a number's point, if it is one.
    fn measure(&mut self, field: &[u8]) {
        let digits = field
            .strip_prefix(b"-")
            .or(field.strip_prefix(b"+"))
            .unwrap_or(field);
        self.pluses += u64::from(field.starts_with(b"+"));
        let exponent = digits.iter().position(|byte| matches!(byte, b'e' | b'E'));
        self.has_exponent |= exponent.is_some();
        self.is_scientific |= exponent.is_some_and(|at| {
            matches!(digits.get(at + 1), Some(b'-' | b'+')) || digits[..at].contains(&b'.')
        });
        self.has_infinity |= matches!(digits.first(), Some(b'i' | b'I'));
        self.has_digit |= digits.first().is_some_and(u8::is_ascii_digit);
        let digits = &digits[..exponent.unwrap_or(digits.len())];
        let mark = digits
            .iter()
            .position(|byte| matches!(byte, b'.' | b','))
            .unwrap_or(digits.len());
        self.bare_mark |= mark + 1 == digits.len();
        // Fewer digits than that say nothing, and most numbers have fewer.
        if self.are_kept_by_floats && self.is(Kind::Float) && digits.len() > FLOAT_DIGITS {
            self.are_kept_by_floats = is_kept_by_float(field);
        }
        self.leading_zero |= digits.len() > 1 && digits[0] == b'0' && mark != 1;
        self.whole_digits = self.whole_digits.max(mark);
        self.fraction_digits = self
            .fraction_digits
            .max(digits.len().saturating_sub(mark + 1));
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        self.values > 0
            && self
                .candidates
                .iter()
                .any(|candidate| candidate.kind == kind)
    }

    /// Whether it has a value that can only be a text.
    pub(super) fn is_any_text(&self) -> bool {
        self.values > 0 && self.candidates.is_empty()
    }

    /// Whether its values are numbers only if a comma is the decimal mark.
    pub(super) fn needs_decimal_comma(&self) -> bool {
        self.is(Kind::Number { comma: true })
            && !self.is(Kind::Number { comma: false })
            && !self.are_groups()
    }

    /// Whether each comma may part thousands as well as be the decimal mark: 1,234.
    fn are_groups(&self) -> bool {
        self.is(Kind::Marked(0)) && self.marks.are_commas_groups()
    }

    /// Whether it has numbers with a point that separates no thousands.
    fn has_decimal_point(&self) -> bool {
        self.is(Kind::Number { comma: false }) && self.marks.has_decimal_point()
    }

    /// Takes the type of a table's column. A format stays where the type does.
    pub(super) fn take_type(&mut self, column_type: ColumnType, nullable: bool) {
        self.nullable = Some(nullable);
        let Some(settled) = &mut self.settled else {
            return;
        };
        let is_number = |column_type: &ColumnType| {
            use ColumnType::{Decimal, Float4, Float8, Int2, Int4, Int8, Numeric};
            matches!(
                column_type,
                Int2 | Int4 | Int8 | Float4 | Float8 | Numeric | Decimal { .. }
            )
        };
        // A date's form says nothing of a moment's.
        if settled.column_type != column_type {
            settled.format = None;
        }
        if !is_number(&column_type) {
            settled.strip.clear();
            settled.decimal = None;
        }
        settled.column_type = column_type;
        settled.remark = None;
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

    /// Whether all values were empty, as after a delimiter at the end of each record.
    pub(super) fn is_all_empty(&self) -> bool {
        self.values == 0 && self.null_text_count == 0
    }

    fn is_text(&self) -> bool {
        self.settled().column_type == ColumnType::Text
    }

    /// Whether some of its fields are null.
    pub(super) fn has_nulls(&self) -> bool {
        if let Some(nullable) = self.nullable {
            return nullable;
        }
        match self.is_text() {
            true => self.empty > self.empty_quoted || self.values == 0 || self.has_null_of_dumps(),
            false => self.empty + self.null_text_count > 0,
        }
    }

    /// The null texts of its own, where it has some.
    pub(super) fn own_nulls(&self) -> Option<Vec<&'static str>> {
        if self.is_text() {
            // A dump writes this for null, and an empty text as an empty field.
            return self.has_null_of_dumps().then(|| vec![NULL_OF_DUMPS]);
        }
        // A float may be NaN.
        let is_float = self.settled().column_type == ColumnType::Float8;
        let is_value = |text: &str| is_float && text.eq_ignore_ascii_case(NAN);
        let own = self.null_texts.iter().filter(|text| !is_value(text));
        let nulls: Vec<_> = std::iter::once("").chain(own.copied()).collect();
        (nulls.len() > 1).then_some(nulls)
    }

    fn has_null_of_dumps(&self) -> bool {
        self.null_texts.contains(&NULL_OF_DUMPS)
    }

    /// Whether a text is a value of the type decided on, and that is one which names are not of.
    pub(super) fn takes(&self, text: &str, decimal_comma: bool) -> Option<bool> {
        let settled = self.settled();
        // What may be a missing value is no evidence.
        if text.is_empty() || NULL_TEXTS.contains(&text) {
            return None;
        }
        if settled.column_type == ColumnType::Text && self.is(Kind::Float) {
            // Numbers, kept as text for their digits.
            return Some(text.parse::<f64>().is_ok());
        }
        if matches!(settled.column_type, ColumnType::Text | ColumnType::Json) {
            return None;
        }
        let mut column = Column::new("c", settled.column_type.clone()).nullable();
        column.format.clone_from(&settled.format);
        column.strip.clone_from(&settled.strip);
        column.decimal = settled.decimal.and_then(|mark| u8::try_from(mark).ok());
        let dialect = CsvDialect {
            decimal: if decimal_comma { b',' } else { b'.' },
            ..CsvDialect::default()
        };
        let parser = ValueParser::new(&column, &dialect).ok()?;
        let field = Field {
            bytes: text.as_bytes(),
            quoted: true,
        };
        Some(parser.parse(field).is_ok())
    }
}

/// Decides the columns' types. `is_semicolon` says that semicolons separate the fields, which suggests decimal commas.
pub(super) fn settle(columns: &mut [Profile], decimal_comma: bool, is_semicolon: bool) {
    for column in &mut *columns {
        column.settled = Some(column.decided(decimal_comma));
        column.remark_fallen(decimal_comma);
    }
    let has_commas = (columns.iter()).any(|column| column.settled().decimal == Some(','));
    let has_points = columns.iter().any(Profile::has_decimal_point);
    if !decimal_comma && (has_commas || (is_semicolon && !has_points)) {
        for column in columns {
            column.doubt_points(has_commas);
        }
    }
}

/// Most bytes of a name; PostgreSQL takes 63.
const NAME_MAX: usize = 60;

/// A header as a name that SQL takes without quotes: lower case, letters, digits and `_`.
pub(super) fn sql_name(header: &str) -> String {
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
    let is_digit = |c: char| c.is_ascii_digit();
    if name.is_empty() || name.starts_with(is_digit) || SYSTEM_COLUMNS.contains(&name.as_str()) {
        name.insert_str(0, "c_");
    }
    name
}
