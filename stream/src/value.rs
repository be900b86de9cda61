//! The value of one column in one row.

use std::borrow::Cow;

use bincode::{BorrowDecode, Encode};

use crate::Decimal;

/// A column's value, borrowed from the text or payload it came from where that is possible.
///
/// The variants' order is the payload format's and never changes; new ones are added at the end.
#[derive(Debug, Clone, PartialEq, Encode, BorrowDecode)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// `bool`.
    Bool(bool),
    /// `int2`, `int4` and `int8`, in the range that the column's type says.
    Int(i64),
    /// `float4`.
    Float4(f32),
    /// `float8`.
    Float8(f64),
    /// `decimal`.
    Decimal(Decimal),
    /// `uuid`, its 16 bytes in the order they are written.
    Uuid([u8; 16]),
    /// `date`: days since 1970-01-01.
    Date(i32),
    /// `timestamp`: microseconds since 1970-01-01 00:00:00, local.
    Timestamp(i64),
    /// `timestamptz`: microseconds since 1970-01-01 00:00:00 UTC.
    Timestamptz(i64),
    /// `text`, and the text of a type of the database.
    Text(Cow<'a, str>),
    /// `json`, as text.
    Json(Cow<'a, str>),
    /// `bytea`.
    Bytea(Cow<'a, [u8]>),
    /// `numeric`: `[-]digits[.digits]`, without surplus zeros before the point.
    Numeric(Cow<'a, str>),
    /// `time`: microseconds since midnight, 0 to 86,400,000,000.
    Time(i64),
}

impl Value<'_> {
    /// Whether this is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The same value, owning its text.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(v) => Value::Bool(v),
            Self::Int(v) => Value::Int(v),
            Self::Float4(v) => Value::Float4(v),
            Self::Float8(v) => Value::Float8(v),
            Self::Decimal(v) => Value::Decimal(v),
            Self::Uuid(v) => Value::Uuid(v),
            Self::Date(v) => Value::Date(v),
            Self::Timestamp(v) => Value::Timestamp(v),
            Self::Timestamptz(v) => Value::Timestamptz(v),
            Self::Text(v) => Value::Text(Cow::Owned(v.into_owned())),
            Self::Json(v) => Value::Json(Cow::Owned(v.into_owned())),
            Self::Bytea(v) => Value::Bytea(Cow::Owned(v.into_owned())),
            Self::Numeric(v) => Value::Numeric(Cow::Owned(v.into_owned())),
            Self::Time(v) => Value::Time(v),
        }
    }
}
