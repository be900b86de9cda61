//! From a field's text to a column's value: the one place where values are checked.

mod number;
mod strip;
mod text;
mod time;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::{Column, ColumnType, CsvDialect, NulPolicy, Reason, Value};
use strip::Strip;
use text::BoolWords;
use time::TimeParser;

/// How much of a faulty value a message shows, in characters.
const SHOWN_MAX: usize = 60;

/// A field as the splitter found it: without its quotes, doubled quotes made single.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field's bytes, already UTF-8 if the file was (converted if it was in another encoding).
    pub bytes: &'a [u8],
    /// Whether it stood in quotes: a quoted field is null only if it is empty and its column's type has no empty
    /// value.
    pub quoted: bool,
}

/// Why a field is no value of its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The kind of fault.
    pub reason: Reason,
    /// What was found and what would have been right, for a person.
    pub detail: String,
}

impl Rejection {
    fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

/// Parses the fields of one column.
#[derive(Debug, Clone)]
pub struct ValueParser {
    kind: Kind,
    nullable: bool,
    nulls: Vec<Vec<u8>>,
    is_empty_null: bool,
    /// Of a type that has no empty value: there `""` can mean nothing else.
    is_quoted_empty_null: bool,
    has_other_nulls: bool,
    /// Whether a field is a value just as it stands: the column takes nothing away from it, and sets no conditions.
    is_plain: bool,
    strip: Option<Strip>,
    allowed: Option<Vec<Vec<u8>>>,
    min: Option<Value<'static>>,
    max: Option<Value<'static>>,
}

#[derive(Debug, Clone)]
enum Kind {
    Text(NulPolicy),
    Bool(BoolWords),
    Int { min: i64, max: i64, mark: u8 },
    Float4 { mark: u8 },
    Float8 { mark: u8 },
    Decimal { precision: u8, scale: u8, mark: u8 },
    Numeric { mark: u8 },
    Uuid,
    Date(TimeParser),
    Time(TimeParser),
    Timestamp(TimeParser),
    Timestamptz(TimeParser),
    Json(NulPolicy),
    Bytea,
}

impl ValueParser {
    /// Prepares the parser of a column.
    ///
    /// # Errors
    /// If a condition of the column (`allowed`, `min`, `max`, `format`, `zone`) is itself no value of its
    /// type, or has no meaning for it.
    pub fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
        let nulls = column.null.as_ref().unwrap_or(&dialect.null);
        let is_empty_null = nulls.iter().any(String::is_empty);
        let mut parser = Self {
            kind: Kind::new(column, dialect)?,
            nullable: column.nullable,
            nulls: nulls.iter().map(|text| text.clone().into_bytes()).collect(),
            is_empty_null,
            is_quoted_empty_null: is_empty_null
                && column.nullable
                && !column.column_type.may_be_empty(),
            has_other_nulls: nulls.iter().any(|text| !text.is_empty()),
            is_plain: false,
            strip: Strip::new(column, dialect)?,
            allowed: None,
            min: None,
            max: None,
        };
        parser.min = column
            .min
            .as_deref()
            .map(|text| parser.bound("min", text))
            .transpose()?;
        parser.max = column
            .max
            .as_deref()
            .map(|text| parser.bound("max", text))
            .transpose()?;
        for text in column.allowed.iter().flatten() {
            parser.read(text.as_bytes()).map_err(|fault| {
                Rejection::new(
                    fault.reason,
                    format!(
                        "`allowed` holds a value that is not of the column's type: {}",
                        fault.detail
                    ),
                )
            })?;
        }
        let to_bytes =
            |texts: &Vec<String>| texts.iter().map(|text| text.clone().into_bytes()).collect();
        parser.allowed = column.allowed.as_ref().map(to_bytes);
        parser.is_plain = parser.strip.is_none()
            && parser.allowed.is_none()
            && parser.min.is_none()
            && parser.max.is_none();
        Ok(parser)
    }

    /// The value that a field holds. An unquoted field that is one of the dialect's null texts is null.
    ///
    /// # Errors
    /// Why it holds none.
    pub fn parse<'a>(&self, field: Field<'a>) -> Result<Value<'a>, Rejection> {
        self.parse_into(field, |value| value)
    }

    /// Appends the value that a field holds to a row, as [`ValueParser::parse`] finds it.
    ///
    /// # Errors
    /// Why it holds none; then nothing is appended.
    #[inline]
    pub fn parse_onto<'a>(
        &self,
        field: Field<'a>,
        row: &mut Vec<Value<'a>>,
    ) -> Result<(), Rejection> {
        self.parse_into(field, |value| row.push(value))
    }

    /// Parses a field and hands its value to `take`. A value is large, and this runs for every field: so
    /// each kind of value is made where `take` puts it, which is a fifth faster than moving it there.
    #[inline]
    fn parse_into<'a, T>(
        &self,
        field: Field<'a>,
        take: impl FnOnce(Value<'a>) -> T,
    ) -> Result<T, Rejection> {
        let is_null = match field.quoted {
            false => self.is_null(field.bytes),
            true => field.bytes.is_empty() && self.is_quoted_empty_null,
        };
        if is_null {
            return if self.nullable {
                Ok(take(Value::Null))
            } else {
                Err(missing())
            };
        }
        if self.is_plain {
            return self.value(field.bytes, take);
        }
        self.conditional(field.bytes).map(take)
    }

    /// The value of a field of a column that sets conditions, or takes something away from its fields.
    fn conditional<'a>(&self, bytes: &'a [u8]) -> Result<Value<'a>, Rejection> {
        if let Some(allowed) = &self.allowed
            && !allowed.iter().any(|text| text == bytes)
        {
            return Err(not_allowed(bytes, allowed));
        }
        let value = self.read(bytes)?;
        self.check_bounds(&value, bytes)?;
        Ok(value)
    }

    /// The value of a text without what the column takes away.
    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Value<'a>, Rejection> {
        let Some(strip) = &self.strip else {
            return self.value(bytes, |value| value);
        };
        let stripped = strip.apply(bytes)?;
        self.value(&stripped, Value::into_owned).map_err(|fault| {
            Rejection::new(fault.reason, format!("{}: {}", Shown(bytes), fault.detail))
        })
    }

    #[inline]
    fn is_null(&self, bytes: &[u8]) -> bool {
        match bytes {
            [] => self.is_empty_null,
            _ => self.has_other_nulls && self.nulls.iter().any(|null| null == bytes),
        }
    }

    #[inline]
    fn value<'a, T>(
        &self,
        bytes: &'a [u8],
        take: impl FnOnce(Value<'a>) -> T,
    ) -> Result<T, Rejection> {
        // What most fields are goes straight to where `take` puts it, not through a `Result` in memory.
        Ok(match &self.kind {
            Kind::Text(nul) => match text::plain(bytes) {
                Some(text) => take(Value::Text(Cow::Borrowed(text))),
                None => take(Value::Text(text::text(bytes, *nul)?)),
            },
            Kind::Bool(words) => take(Value::Bool(words.parse(bytes)?)),
            Kind::Int { min, max, mark } => {
                take(Value::Int(number::int(bytes, *mark, *min, *max)?))
            }
            Kind::Float4 { mark } => take(Value::Float4(number::float4(bytes, *mark)?)),
            Kind::Float8 { mark } => take(Value::Float8(number::float8(bytes, *mark)?)),
            Kind::Decimal {
                precision,
                scale,
                mark,
            } => take(Value::Decimal(number::decimal(
                bytes, *mark, *precision, *scale,
            )?)),
            Kind::Numeric { mark } => take(Value::Numeric(number::numeric(bytes, *mark)?)),
            Kind::Uuid => match text::hyphenated(bytes) {
                Some(uuid) => take(Value::Uuid(uuid.to_be_bytes())),
                None => take(Value::Uuid(text::uuid(bytes)?)),
            },
            Kind::Date(parser) => take(Value::Date(parser.date(bytes)?)),
            Kind::Time(parser) => take(Value::Time(parser.time(bytes)?)),
            Kind::Timestamp(parser) => take(Value::Timestamp(parser.timestamp(bytes)?)),
            Kind::Timestamptz(parser) => take(Value::Timestamptz(parser.timestamptz(bytes)?)),
            Kind::Json(nul) => take(Value::Json(text::json(bytes, *nul)?)),
            Kind::Bytea => take(Value::Bytea(Cow::Owned(text::bytea(bytes)?))),
        })
    }

    fn bound(&self, name: &str, text: &str) -> Result<Value<'static>, Rejection> {
        let value = self
            .value(text.as_bytes(), |value| value)
            .map_err(|fault| Rejection::new(fault.reason, format!("`{name}`: {}", fault.detail)))?
            .into_owned();
        if compare(&value, &value).is_none() {
            return Err(Rejection::new(
                Reason::BadValue,
                format!("`{name}` has no meaning for this type"),
            ));
        }
        Ok(value)
    }

    fn check_bounds(&self, value: &Value<'_>, bytes: &[u8]) -> Result<(), Rejection> {
        let outside = |bound: &Option<Value<'static>>, wrong: Ordering| {
            bound
                .as_ref()
                .is_some_and(|bound| compare(value, bound).is_none_or(|order| order == wrong))
        };
        if outside(&self.min, Ordering::Less) {
            return Err(Rejection::new(
                Reason::OutOfRange,
                format!("{} is below the column's min", Shown(bytes)),
            ));
        }
        if outside(&self.max, Ordering::Greater) {
            return Err(Rejection::new(
                Reason::OutOfRange,
                format!("{} is above the column's max", Shown(bytes)),
            ));
        }
        Ok(())
    }
}

impl Kind {
    fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
        let mark = column.decimal.unwrap_or(dialect.decimal);
        let int = |min, max| Self::Int { min, max, mark };
        let without_meaning = |name: &str| {
            Err(Rejection::new(
                Reason::BadValue,
                format!("`{name}` has no meaning for type {}", column.column_type),
            ))
        };
        let is_time = matches!(
            column.column_type,
            ColumnType::Date | ColumnType::Time | ColumnType::Timestamp | ColumnType::Timestamptz
        );
        if column.decimal.is_some() && !is_number(&column.column_type) {
            return without_meaning("decimal");
        }
        if column.format.is_some() && !is_time {
            return without_meaning("format");
        }
        if column.zone.is_some() && column.column_type != ColumnType::Timestamptz {
            return without_meaning("zone");
        }
        if column.column_type != ColumnType::Bool
            && (column.true_values.is_some() || column.false_values.is_some())
        {
            return without_meaning("true` and `false");
        }
        let time = || TimeParser::new(column.format.as_deref(), column.zone.as_deref());
        Ok(match column.column_type {
            ColumnType::Text | ColumnType::Postgres(_) => Self::Text(dialect.nul),
            ColumnType::Bool => Self::Bool(BoolWords::new(column)?),
            ColumnType::Int2 => int(i16::MIN.into(), i16::MAX.into()),
            ColumnType::Int4 => int(i32::MIN.into(), i32::MAX.into()),
            ColumnType::Int8 => int(i64::MIN, i64::MAX),
            ColumnType::Float4 => Self::Float4 { mark },
            ColumnType::Float8 => Self::Float8 { mark },
            ColumnType::Decimal { precision, scale } => Self::Decimal {
                precision,
                scale,
                mark,
            },
            ColumnType::Numeric => Self::Numeric { mark },
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Time => match time()? {
                parser if parser.is_epoch() => return without_meaning("format"),
                parser => Self::Time(parser),
            },
            ColumnType::Date => Self::Date(time()?),
            ColumnType::Timestamp => Self::Timestamp(time()?),
            ColumnType::Timestamptz => Self::Timestamptz(time()?),
            ColumnType::Json => Self::Json(dialect.nul),
            ColumnType::Bytea => Self::Bytea,
        })
    }
}

/// Whether the values of a type are numbers.
fn is_number(column_type: &ColumnType) -> bool {
    matches!(
        column_type,
        ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Float4
            | ColumnType::Float8
            | ColumnType::Decimal { .. }
            | ColumnType::Numeric
    )
}

/// The order of two values of one type; `None` where the type has none that `min` and `max` could mean.
fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float4(left), Value::Float4(right)) => left.partial_cmp(right),
        (Value::Float8(left), Value::Float8(right)) => left.partial_cmp(right),
        (Value::Decimal(left), Value::Decimal(right)) => Some(left.compare(right)),
        (Value::Numeric(left), Value::Numeric(right)) => Some(number::compare(left, right)),
        (Value::Date(left), Value::Date(right)) => Some(left.cmp(right)),
        (Value::Time(left), Value::Time(right)) => Some(left.cmp(right)),
        (Value::Timestamp(left), Value::Timestamp(right))
        | (Value::Timestamptz(left), Value::Timestamptz(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

#[cold]
fn missing() -> Rejection {
    Rejection::new(
        Reason::MissingValue,
        "the column is not nullable and the field is empty or a null text",
    )
}

#[cold]
fn not_allowed(bytes: &[u8], allowed: &[Vec<u8>]) -> Rejection {
    let names: Vec<_> = allowed
        .iter()
        .map(|text| String::from_utf8_lossy(text))
        .collect();
    Rejection::new(
        Reason::NotAllowed,
        format!("{} is not one of: {}", Shown(bytes), names.join(", ")),
    )
}

/// A faulty value as a message shows it: quoted, escaped, cut to [`SHOWN_MAX`].
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.0[..self.0.len().min(SHOWN_MAX * 4)];
        let text = String::from_utf8_lossy(head);
        let shown: String = text
            .chars()
            .take(SHOWN_MAX)
            .flat_map(char::escape_debug)
            .collect();
        let more = if self.0.len() > head.len() || text.chars().nth(SHOWN_MAX).is_some() {
            "…"
        } else {
            ""
        };
        write!(f, "`{shown}{more}`")
    }
}

#[cfg(test)]
mod tests;
