//! The types of columns. Each kind of value is one file here, which holds all that a value of the kind does, and one
//! entry in the table below.

#[macro_use]
mod generate;

mod boolean;
mod bounds;
mod bytea;
mod column;
mod column_source;
mod date;
mod decimal;
mod float;
mod int;
mod json;
mod name;
mod number;
mod numeric;
mod rejection;
mod text;
mod time;
mod time_parser;
mod timestamp;
mod uuid;

use std::borrow::Cow;
use std::cmp::Ordering;

use bincode::de::{BorrowDecoder, Decode as _};
use bincode::error::{AllowedEnumVariants, DecodeError};
use bincode::{BorrowDecode, Encode};
#[cfg(test)]
use bincode::{enc::Encoder, error::EncodeError};

pub(crate) use self::bounds::Bounds;
pub use self::column::Column;
pub use self::column_source::ColumnSource;
pub(crate) use self::float::{FLOAT4_DIGITS, FLOAT8_DIGITS};
pub use self::name::ParseColumnTypeError;
pub use self::rejection::Rejection;
pub(crate) use self::rejection::Shown;

use crate::wire::encode;
use crate::{CsvDialect, Decimal, PostgresType};

// A kind of value has a number, its name and its content, and the parser that implements `ValueKind`. The number
// identifies it in payloads and never changes; 0 is null. Each column type with such values has a declaration.
column_types! {
    /// `text`, and the text of a type of the database.
    10 Text(Cow<'a, str>) by text::TextKind {
        /// `text`: UTF-8 without NUL.
        Text = text::TEXT;
        /// `pg:NAME`: a type of the database, whose own input function reads the text.
        Postgres(PostgresType) = text::POSTGRES;
    }
    /// `bool`.
    1 Bool(bool) by boolean::BoolKind {
        /// `bool`.
        Bool = boolean::BOOL;
    }
    /// `int2`, `int4` and `int8`, in the range that the column's type says.
    2 Int(i64) by int::IntKind {
        /// `int2`: 16 bits, signed.
        Int2 = int::INT2;
        /// `int4`: 32 bits, signed.
        Int4 = int::INT4;
        /// `int8`: 64 bits, signed.
        Int8 = int::INT8;
    }
    /// `float4`.
    3 Float4(f32) by float::Float4Kind {
        /// `float4`: IEEE 754 single precision.
        Float4 = float::FLOAT4;
    }
    /// `float8`.
    4 Float8(f64) by float::Float8Kind {
        /// `float8`: IEEE 754 double precision.
        Float8 = float::FLOAT8;
    }
    /// `numeric`: `[-]digits[.digits]`, without surplus zeros before the point.
    13 Numeric(Cow<'a, str>) by numeric::NumericKind {
        /// `numeric`: exact, with as many digits as PostgreSQL holds.
        Numeric = numeric::NUMERIC;
    }
    /// `uuid`, its 16 bytes in the order they are written.
    6 Uuid([u8; 16]) by uuid::UuidKind {
        /// `uuid`.
        Uuid = uuid::UUID;
    }
    /// `date`: days since 1970-01-01.
    7 Date(i32) by date::DateKind {
        /// `date`.
        Date = date::DATE;
    }
    /// `time`: microseconds since midnight, 0 to 86,400,000,000.
    14 Time(i64) by time::TimeKind {
        /// `time`: a time of day without a zone, microseconds.
        Time = time::TIME;
    }
    /// `timestamp`: microseconds since 1970-01-01 00:00:00, local.
    8 Timestamp(i64) by timestamp::TimestampKind {
        /// `timestamp`: a local time, microseconds.
        Timestamp = timestamp::TIMESTAMP;
    }
    /// `timestamptz`: microseconds since 1970-01-01 00:00:00 UTC.
    9 Timestamptz(i64) by timestamp::TimestamptzKind {
        /// `timestamptz`: a moment, microseconds.
        Timestamptz = timestamp::TIMESTAMPTZ;
    }
    /// `json`, as text.
    11 Json(Cow<'a, str>) by json::JsonKind {
        /// `json`, for `json` and `jsonb` columns: checked to be well formed, kept as text.
        Json = json::JSON;
    }
    /// `bytea`.
    12 Bytea(Cow<'a, [u8]>) by bytea::ByteaKind {
        /// `bytea`: PostgreSQL's hex form, `\x00ff`.
        Bytea = bytea::BYTEA;
    }
    /// `decimal`.
    5 Decimal(Decimal) by decimal::DecimalKind {
        /// `decimal(precision,scale)`: exact, 1 to 38 digits, of which `scale` after the point.
        Decimal {
            /// Digits in all, 1 to 38.
            precision: u8,
            /// Digits after the point, 0 to `precision`.
            scale: u8,
        } = decimal::DECIMAL;
    }
}

/// The operations of a kind of value.
pub(crate) trait ValueKind: Sized {
    /// A value's content.
    type Content<'a>: Encode;

    /// Prepares to read the texts of a column.
    ///
    /// # Errors
    /// If one of the column's settings is wrong for its type.
    fn new(column: &Column, dialect: &CsvDialect) -> Result<Self, Rejection>;

    /// Reads a text.
    ///
    /// # Errors
    /// Why the text is no value.
    fn read<'a>(&self, bytes: &'a [u8]) -> Result<Self::Content<'a>, Rejection>;

    /// Reads a text and appends its value as [`ValueKind::append`] does. Kinds whose values `read` returns through memory
    /// try a shorter way first.
    ///
    /// # Errors
    /// As [`ValueKind::read`]; then nothing is appended.
    #[inline]
    fn encode(
        &self,
        bytes: &[u8],
        number: u8,
        row: &mut Vec<u8>,
        key: Option<&mut Vec<u8>>,
    ) -> Result<(), Rejection> {
        Self::append(&self.read(bytes)?, number, row, key);
        Ok(())
    }

    /// Appends a value to a row's payload: the number of its kind, and its content. Appends its canonical text to `key`,
    /// for a column of the key.
    #[inline]
    fn append(
        content: &Self::Content<'_>,
        number: u8,
        row: &mut Vec<u8>,
        key: Option<&mut Vec<u8>>,
    ) {
        row.push(number);
        Self::put(row, content);
        if let Some(key) = key {
            Self::write_key(key, content);
        }
    }

    /// Appends the canonical text: equal values have equal texts.
    fn write_key(out: &mut Vec<u8>, content: &Self::Content<'_>);

    /// Appends the text of a CSV field, as a dead letter shows it.
    fn write_csv(out: &mut String, content: &Self::Content<'_>);

    /// Appends the content as bincode encodes it. The frequent kinds do so by hand, which makes ingest a tenth faster; a
    /// test compares the two.
    #[inline]
    fn put(out: &mut Vec<u8>, content: &Self::Content<'_>) {
        encode(out, content);
    }

    /// The order of two values; `None` for NaN.
    fn compare(left: &Self::Content<'_>, right: &Self::Content<'_>) -> Option<Ordering>;

    /// The value as a column of a wider type has it; `None` if that is the value itself.
    fn widened(content: &Self::Content<'_>, to: &ColumnType) -> Option<Value<'static>> {
        let _ = (content, to);
        None
    }
}

/// The properties of a type that all its columns share.
#[derive(Debug)]
pub(crate) struct Declaration {
    /// Makes the type; `None` if it has parameters.
    pub(crate) plain: Option<fn() -> ColumnType>,
    pub(crate) name: &'static str,
    pub(crate) synonyms: &'static [&'static str],
    /// The type of a created table's column, if it has no parameters.
    pub(crate) sql: &'static str,
    pub(crate) family: Family,
    /// The settings of a column that have a meaning for it.
    pub(crate) settings: &'static [Setting],
    /// Most digits of its numbers before and after the point, for exact numbers without parameters.
    pub(crate) digits: Option<(u8, u8)>,
    /// Least size of a stored value in PostgreSQL, and its alignment, in bytes.
    pub(crate) layout: (usize, usize),
    /// Whether every value of the first type, which is this one, is a value of the second, another one.
    pub(crate) widens: fn(&ColumnType, &ColumnType) -> bool,
}

/// The properties of a type that declares no others.
const PLAIN: Declaration = Declaration {
    plain: None,
    name: "",
    synonyms: &[],
    sql: "",
    family: Family::Other,
    settings: &[],
    digits: None,
    layout: (0, 1),
    widens: |_, _| false,
};

/// A group of types that are treated alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Texts, of which the empty one may be a value.
    Text,
    /// Exact numbers.
    Exact,
    /// Floating-point numbers, which have no exact equality.
    Float,
    /// JSON, which has no exact equality.
    Json,
    /// All others.
    Other,
}

/// A setting of a column that has a meaning for some types only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    Decimal,
    Format,
    Zone,
    TrueAndFalse,
    MinAndMax,
}

impl ColumnType {
    /// The group of types to which it belongs.
    #[must_use]
    pub fn family(&self) -> Family {
        self.declaration().family
    }

    /// The least size of a stored value in PostgreSQL, and its alignment, in bytes.
    #[must_use]
    pub fn layout(&self) -> (usize, usize) {
        self.declaration().layout
    }

    /// The most digits before and after the point, for exact numbers; 255 for as many as PostgreSQL holds.
    #[must_use]
    pub fn digits(&self) -> Option<(u8, u8)> {
        match self {
            Self::Decimal { precision, scale } => Some((precision - scale, *scale)),
            other => other.declaration().digits,
        }
    }

    /// Whether every value of this type is a value of the other, or a text that the table's type may read.
    #[must_use]
    pub fn widens(&self, to: &Self) -> bool {
        self == to || (self.declaration().widens)(self, to)
    }

    /// Whether a setting of a column has a meaning for it.
    pub(crate) fn takes(&self, setting: Setting) -> bool {
        self.declaration().settings.contains(&setting)
    }

    /// Whether its values are texts, in whatever order the table's column has them.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.family() == Family::Text
    }

    /// The digits of a whole number that a value holds in any case: of an exact type all that it accepts.
    pub(crate) fn whole_digits(&self) -> usize {
        match self {
            Self::Float4 => FLOAT4_DIGITS,
            Self::Float8 => FLOAT8_DIGITS,
            _ => usize::MAX,
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self.family(), Family::Exact | Family::Float)
    }
}

impl Value<'_> {
    /// Whether this is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// A content that may borrow from a text or payload.
trait IntoStatic {
    type Static: 'static;
    fn into_static(self) -> Self::Static;
}

impl<T: ToOwned + ?Sized + 'static> IntoStatic for Cow<'_, T> {
    type Static = Cow<'static, T>;

    fn into_static(self) -> Self::Static {
        Cow::Owned(self.into_owned())
    }
}

macro_rules! never_borrowed {
    ($($content:ty),*) => {$(
        impl IntoStatic for $content {
            type Static = Self;

            fn into_static(self) -> Self {
                self
            }
        }
    )*};
}

never_borrowed!(bool, i32, i64, f32, f64, Decimal, [u8; 16]);
