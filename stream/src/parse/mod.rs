//! From a field's text to a column's value: the one place where values are checked.

mod strip;

use std::cmp::Ordering;

use crate::types::{Prepared, Setting, Shown};
use crate::{Column, CsvDialect, Reason, Rejection, Value};
use strip::Strip;

/// A field as the splitter found it: without its quotes, doubled quotes made single.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field's bytes, already UTF-8 if the file was (converted if it was in another encoding).
    pub bytes: &'a [u8],
    /// Whether it stood in quotes: a quoted field is null only if it is empty and its column's type has no empty
    /// value.
    pub quoted: bool,
}

/// Parses the fields of one column.
#[derive(Debug, Clone)]
pub struct ValueParser {
    prepared: Prepared,
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

impl ValueParser {
    /// Prepares the parser of a column.
    ///
    /// # Errors
    /// If a condition of the column (`allowed`, `min`, `max`, `format`, `zone`) is itself no value of its
    /// type, or has no meaning for it.
    pub fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection> {
        let nulls = column.null.as_ref().unwrap_or(&dialect.null);
        let is_empty_null = nulls.iter().any(String::is_empty);
        check_settings(column)?;
        let mut parser = Self {
            prepared: Prepared::new(column, dialect)?,
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
            .map(|text| parser.bound(column, "min", text))
            .transpose()?;
        parser.max = column
            .max
            .as_deref()
            .map(|text| parser.bound(column, "max", text))
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

    /// Parses a field and hands its value to `take`: see [`Prepared::parse`], which makes parsing a fifth faster.
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
            return self.prepared.parse(field.bytes, take);
        }
        self.conditional(field.bytes).map(take)
    }

    /// The value of a field of a column that sets conditions, or takes something away from its fields.
    #[inline]
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
    #[inline]
    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Value<'a>, Rejection> {
        let Some(strip) = &self.strip else {
            return self.prepared.parse(bytes, |value| value);
        };
        let stripped = strip.apply(bytes)?;
        self.prepared
            .parse(&stripped, Value::into_owned)
            .map_err(|fault| {
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

    fn bound(&self, column: &Column, name: &str, text: &str) -> Result<Value<'static>, Rejection> {
        let value = self
            .prepared
            .parse(text.as_bytes(), |value| value)
            .map_err(|fault| Rejection::new(fault.reason, format!("`{name}`: {}", fault.detail)))?
            .into_owned();
        // NaN has no order.
        if !column.column_type.takes(Setting::MinAndMax) || value.compare(&value).is_none() {
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
                .is_some_and(|bound| value.compare(bound).is_none_or(|order| order == wrong))
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

/// Checks that the settings of a column have a meaning for its type.
fn check_settings(column: &Column) -> Result<(), Rejection> {
    let has_words = column.true_values.is_some() || column.false_values.is_some();
    let settings = [
        (Setting::Decimal, "decimal", column.decimal.is_some()),
        (Setting::Format, "format", column.format.is_some()),
        (Setting::Zone, "zone", column.zone.is_some()),
        (Setting::TrueAndFalse, "true` and `false", has_words),
    ];
    let column_type = &column.column_type;
    let wrong = settings
        .iter()
        .find(|(setting, _, is_set)| *is_set && !column_type.takes(*setting));
    match wrong {
        Some((_, name, _)) => Err(Rejection::without_meaning(name, column_type)),
        None => Ok(()),
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

#[cfg(test)]
mod tests;
