//! A record that is no row: what it was and why.

use std::borrow::Cow;
use std::fmt;

use bincode::{BorrowDecode, Decode, Encode};
use xxhash_rust::xxh3::xxh3_128;

/// The most raw bytes of a rejected record that are kept, 64 KiB.
pub const REJECT_RAW_MAX: usize = 64 * 1024;

/// Why a record is no row.
///
/// The variants' order is the payload format's and never changes; new ones are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Reason {
    /// More or fewer fields than the header has.
    FieldCount,
    /// The text is no value of the column's type.
    BadValue,
    /// The value is outside the type's range or the column's `min` and `max`.
    OutOfRange,
    /// The number has more digits behind the point than the column keeps.
    TooManyDecimals,
    /// The bytes are not of the file's encoding.
    BadEncoding,
    /// The text holds U+0000.
    Nul,
    /// The column is not nullable and the field holds none.
    MissingValue,
    /// The value is not among the column's `allowed`.
    NotAllowed,
    /// The record is longer than `record_max`.
    TooLong,
    /// The file ended inside a quoted field.
    UnclosedQuote,
    /// Text stands behind a closing quote, or a quote inside an unquoted field.
    BadQuote,
}

impl Reason {
    /// Every reason, in the format's order.
    pub const ALL: [Self; 11] = [
        Self::FieldCount,
        Self::BadValue,
        Self::OutOfRange,
        Self::TooManyDecimals,
        Self::BadEncoding,
        Self::Nul,
        Self::MissingValue,
        Self::NotAllowed,
        Self::TooLong,
        Self::UnclosedQuote,
        Self::BadQuote,
    ];

    /// The reason as dead letters and metrics name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FieldCount => "field_count",
            Self::BadValue => "bad_value",
            Self::OutOfRange => "out_of_range",
            Self::TooManyDecimals => "too_many_decimals",
            Self::BadEncoding => "bad_encoding",
            Self::Nul => "nul",
            Self::MissingValue => "missing_value",
            Self::NotAllowed => "not_allowed",
            Self::TooLong => "too_long",
            Self::UnclosedQuote => "unclosed_quote",
            Self::BadQuote => "bad_quote",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record that is no row.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Reject<'a> {
    /// The record's first bytes as they stand in the file, at most [`REJECT_RAW_MAX`].
    pub raw: Cow<'a, [u8]>,
    /// The record's whole length in bytes.
    pub length: u64,
    /// xxh3 (128 bits) of the whole record, where `raw` is not all of it.
    pub hash: Option<u128>,
    /// Why.
    pub reason: Reason,
    /// The column at fault, where one is.
    pub column: Option<Cow<'a, str>>,
    /// What was found and what would have been right, for a person.
    pub detail: Cow<'a, str>,
}

impl<'a> Reject<'a> {
    /// Makes a reject of a whole record, keeping its beginning if it is long.
    #[must_use]
    pub fn new(
        record: &'a [u8],
        reason: Reason,
        column: Option<&'a str>,
        detail: impl Into<Cow<'a, str>>,
    ) -> Self {
        let kept = record.len().min(REJECT_RAW_MAX);
        Self {
            raw: Cow::Borrowed(&record[..kept]),
            length: record.len() as u64,
            hash: (kept < record.len()).then(|| xxh3_128(record)),
            reason,
            column: column.map(Cow::Borrowed),
            detail: detail.into(),
        }
    }
}
