//! From a field's text to a column's value: the one place where values are checked.

mod strip;

use crate::types::{Bounds, FLOAT4_DIGITS, Prepared, Setting, Shown};
use crate::{Column, CsvDialect, Reason, Rejection, Value};
use strip::{Strip, ZEROS};

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
    strip: Option<Strip>,
    loses_zeros: bool,
    /// Digits of a whole number that a value holds in any case
    whole_digits: usize,
    allowed: Option<Vec<Vec<u8>>>,
    bounds: Option<Bounds>,
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
            strip: Strip::new(column, dialect)?,
            whole_digits: column.column_type.whole_digits(),
            loses_zeros: column.column_type.is_number()
                && !column.strip.iter().any(|item| item == ZEROS),
            allowed: None,
            bounds: None,
        };
        let bound = |name: &str, text: &Option<String>| {
            let bound = |text: &String| parser.bound(column, name, text);
            text.as_ref().map(bound).transpose()
        };
        let (min, max) = (bound("min", &column.min)?, bound("max", &column.max)?);
        parser.bounds = (min.is_some() || max.is_some()).then_some(Bounds { min, max });
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
        Ok(parser)
    }

    /// Whether a number's text loses digits: zeros before the others, unless its column says that they mean nothing, or
    /// digits of a whole number that a float does not hold.
    #[inline]
    #[must_use]
    pub fn loses_digits(&self, text: &[u8]) -> bool {
        self.loses_zeros && matches!(text, [b'0', b'0'..=b'9', ..])
            || text.len() > self.whole_digits && is_rounded(text, self.whole_digits)
    }

    /// The value that a field holds. An unquoted field that is one of the dialect's null texts is null.
    ///
    /// # Errors
    /// Why it holds none.
    pub fn parse<'a>(&self, field: Field<'a>) -> Result<Value<'a>, Rejection> {
        if self.is_null(field) {
            return match self.nullable {
                true => Ok(Value::Null),
                false => Err(missing()),
            };
        }
        self.check_allowed(field.bytes)?;
        self.bounded(field.bytes)
    }

    /// Appends the value that a field holds, as [`ValueParser::parse`] finds it, to a row's payload that
    /// [`begin_row`](crate::begin_row) has begun. Appends its canonical text to `key`, for a column of the key.
    ///
    /// # Errors
    /// Why it holds none; then nothing is appended.
    #[inline]
    pub fn encode(
        &self,
        field: Field<'_>,
        row: &mut Vec<u8>,
        key: Option<&mut Vec<u8>>,
    ) -> Result<(), Rejection> {
        if self.is_null(field) {
            if !self.nullable {
                return Err(missing());
            }
            Value::Null.encode(row, key);
            return Ok(());
        }
        self.check_allowed(field.bytes)?;
        match (&self.strip, &self.bounds) {
            (None, None) => self.prepared.encode(field.bytes, row, key),
            (None, Some(bounds)) => self.prepared.encode_within(bounds, field.bytes, row, key),
            (Some(_), _) => {
                self.bounded(field.bytes)?.encode(row, key);
                Ok(())
            }
        }
    }

    #[inline]
    fn check_allowed(&self, bytes: &[u8]) -> Result<(), Rejection> {
        match &self.allowed {
            Some(allowed) if !allowed.iter().any(|text| text == bytes) => {
                Err(not_allowed(bytes, allowed))
            }
            _ => Ok(()),
        }
    }

    /// The value of a text, if it is within the column's bounds.
    fn bounded<'a>(&self, bytes: &'a [u8]) -> Result<Value<'a>, Rejection> {
        let value = self.read(bytes)?;
        if let Some(bounds) = &self.bounds {
            bounds.check(bytes, |bound| value.compare(bound))?;
        }
        Ok(value)
    }

    /// The value of a text without what the column takes away.
    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Value<'a>, Rejection> {
        let Some(strip) = &self.strip else {
            return self.prepared.read(bytes);
        };
        let stripped = strip.apply(bytes)?;
        let value = self.prepared.read(&stripped).map(Value::into_owned);
        value.map_err(|fault| match stripped == bytes {
            true => fault,
            false => Rejection::new(fault.reason, format!("{}: {}", Shown(bytes), fault.detail)),
        })
    }

    #[inline]
    fn is_null(&self, field: Field<'_>) -> bool {
        match field.bytes {
            [] if field.quoted => self.is_quoted_empty_null,
            [] => self.is_empty_null,
            bytes => {
                self.has_other_nulls && !field.quoted && self.nulls.iter().any(|null| null == bytes)
            }
        }
    }

    fn bound(&self, column: &Column, name: &str, text: &str) -> Result<Value<'static>, Rejection> {
        let value = self
            .prepared
            .read(text.as_bytes())
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
}

/// Whether a text is a whole number and a float, which holds any of so many digits, holds another one.
#[cold]
fn is_rounded(text: &[u8], whole_digits: usize) -> bool {
    let digits = match text {
        [b'-' | b'+', digits @ ..] => digits,
        digits => digits,
    };
    // Most long texts are fractions, and this is asked of each.
    if !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    let held = match whole_digits {
        FLOAT4_DIGITS => digits.parse::<f32>().map(|held| held.to_string()),
        _ => digits.parse::<f64>().map(|held| held.to_string()),
    };
    held.is_ok_and(|held| held != digits.trim_start_matches('0') && held != digits)
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
