//! A record's value: the bytes that carry a row or a reject through the log.
//!
//! Format 1: one byte 1; the schema id, 8 bytes little endian; then bincode 2 in its standard
//! configuration (varint integers, zigzag where signed): the [`Origin`], one byte 0 for a row or 1 for
//! a reject, and then for a row the number of values and each value (its variant's number, then its
//! content), for a reject its fields. `docs/format.md` says it byte by byte.
//!
//! This module, `wire`, `meta`, `schema` and `types` are the only places that know bincode.

use std::fmt;
use std::marker::PhantomData;

use bincode::{BorrowDecode, Decode, Encode};
use uuid::Uuid;

use crate::wire::{BINCODE, encode, put_varint};
use crate::{Reject, SchemaId, Value};

/// The version of the payload format that is written.
pub const PAYLOAD_VERSION: u8 = 1;

const HEADER_LEN: usize = 9;

/// The random id of a file, given once when ingest first meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct FileId([u8; 16]);

impl FileId {
    /// Makes a new id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().into_bytes())
    }

    /// Makes an id of its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).fmt(f)
    }
}

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Origin {
    /// The file.
    pub file: FileId,
    /// The offset in bytes of the record's first byte in the file.
    pub start: u64,
    /// The offset in bytes behind the record's line end: where the next record begins.
    pub end: u64,
    /// The number of the record's first line in the file, from 1; the header's line counts.
    pub line: u64,
}

/// A decoded payload.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    /// The schema that the row's values follow, or that the reject was to follow.
    pub schema: SchemaId,
    /// Where the record came from.
    pub origin: Origin,
    /// The row or reject.
    pub body: Body<'a>,
}

/// A row or a reject.
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// Typed values, to be read one by one.
    Row(RowReader<'a>),
    /// A record that is no row.
    Reject(Reject<'a>),
}

/// The bytes are no payload that this version reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The first byte is no known format version.
    #[error("not a payload of Bekk: unknown format version {0}")]
    Version(u8),
    /// The bytes end early or do not follow the format.
    #[error("malformed payload: {0}")]
    Malformed(String),
}

impl From<bincode::error::DecodeError> for PayloadError {
    fn from(error: bincode::error::DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl<'a> Payload<'a> {
    /// Decodes a record's value. A row's values are decoded as they are taken from its reader.
    ///
    /// # Errors
    /// If the bytes are no payload of a known version.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let Some((&version, rest)) = bytes.split_first() else {
            return Err(PayloadError::Malformed("empty".to_owned()));
        };
        if version != PAYLOAD_VERSION {
            return Err(PayloadError::Version(version));
        }
        let Some((schema, rest)) = rest.split_first_chunk::<8>() else {
            return Err(PayloadError::Malformed("ends within its header".to_owned()));
        };
        let schema = SchemaId::new(u64::from_le_bytes(*schema));
        let ((origin, kind), used): ((Origin, u8), usize) =
            bincode::decode_from_slice(rest, BINCODE)?;
        let rest = &rest[used..];
        let body = match kind {
            0 => {
                let (count, used): (u32, usize) = bincode::decode_from_slice(rest, BINCODE)?;
                Body::Row(RowReader {
                    rest: &rest[used..],
                    left: count,
                    _values: PhantomData,
                })
            }
            1 => Body::Reject(bincode::borrow_decode_from_slice(rest, BINCODE)?.0),
            other => return Err(PayloadError::Malformed(format!("kind {other} is unknown"))),
        };
        Ok(Self {
            schema,
            origin,
            body,
        })
    }
}

/// Reads the values of a row, in the order of its schema's columns.
#[derive(Debug, Clone)]
pub struct RowReader<'a> {
    rest: &'a [u8],
    left: u32,
    _values: PhantomData<Value<'a>>,
}

impl<'a> Iterator for RowReader<'a> {
    type Item = Result<Value<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match bincode::borrow_decode_from_slice(self.rest, BINCODE) {
            Ok((value, used)) => {
                self.rest = &self.rest[used..];
                Some(Ok(value))
            }
            Err(error) => {
                self.left = 0;
                Some(Err(error.into()))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

/// Appends a row's payload to `out`.
pub fn encode_row(out: &mut Vec<u8>, schema: SchemaId, origin: &Origin, values: &[Value<'_>]) {
    begin_row(out, schema, origin, values.len());
    for value in values {
        value.encode(out, None);
    }
}

/// Begins a row's payload: so many values are to be appended to it, by [`ValueParser::encode`](crate::ValueParser::encode)
/// or [`Value::encode`].
pub fn begin_row(out: &mut Vec<u8>, schema: SchemaId, origin: &Origin, values: usize) {
    encode_header(out, schema, origin, 0);
    put_varint(out, values as u64);
}

/// Appends a reject's payload to `out`.
pub fn encode_reject(out: &mut Vec<u8>, schema: SchemaId, origin: &Origin, reject: &Reject<'_>) {
    encode_header(out, schema, origin, 1);
    encode(out, reject);
}

fn encode_header(out: &mut Vec<u8>, schema: SchemaId, origin: &Origin, kind: u8) {
    let mut front = [0; HEADER_LEN + 16];
    front[0] = PAYLOAD_VERSION;
    front[1..HEADER_LEN].copy_from_slice(&schema.get().to_le_bytes());
    front[HEADER_LEN..].copy_from_slice(origin.file.as_bytes());
    out.extend_from_slice(&front);
    put_varint(out, origin.start);
    put_varint(out, origin.end);
    put_varint(out, origin.line);
    out.push(kind);
}

pub(crate) fn decode<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, PayloadError> {
    let (value, used) = bincode::borrow_decode_from_slice(bytes, BINCODE)?;
    if used < bytes.len() {
        return Err(PayloadError::Malformed(format!(
            "{} bytes too many",
            bytes.len() - used
        )));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::{Decimal, Reason};

    fn origin() -> Origin {
        Origin {
            file: FileId::from_bytes([7; 16]),
            start: 300,
            end: 70_000,
            line: 3,
        }
    }

    fn values() -> impl Strategy<Value = Vec<Value<'static>>> {
        let value = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<i32>().prop_map(Value::Date),
            any::<i64>().prop_map(Value::Timestamptz),
            any::<[u8; 16]>().prop_map(Value::Uuid),
            (any::<i128>(), 0u8..=38)
                .prop_map(|(unscaled, scale)| Value::Decimal(Decimal::new(unscaled, scale))),
            any::<String>().prop_map(|text| Value::Text(Cow::Owned(text))),
            any::<Vec<u8>>().prop_map(|bytes| Value::Bytea(Cow::Owned(bytes))),
            "-?[0-9]{1,60}".prop_map(|text| Value::Numeric(Cow::Owned(text))),
            any::<i64>().prop_map(Value::Time),
        ];
        proptest::collection::vec(value, 0..20)
    }

    proptest! {
        #[test]
        fn what_is_written_by_hand_is_bincodes(values in values(), numbers in any::<[u64; 3]>(), shift in 0u32..64) {
            let [start, end, line] = numbers.map(|number| number >> shift);
            let origin = Origin { start, end, line, ..origin() };
            let mut by_hand = Vec::new();
            encode_row(&mut by_hand, SchemaId::new(1), &origin, &values);
            let mut expected = vec![PAYLOAD_VERSION, 1, 0, 0, 0, 0, 0, 0, 0];
            encode(&mut expected, (origin, 0u8, &values));
            prop_assert_eq!(by_hand, expected);
        }

        #[test]
        fn rows_survive(values in values()) {
            let mut bytes = Vec::new();
            encode_row(&mut bytes, SchemaId::new(u64::MAX - 5), &origin(), &values);
            let payload = Payload::decode(&bytes).unwrap();
            prop_assert_eq!(payload.schema, SchemaId::new(u64::MAX - 5));
            prop_assert_eq!(payload.origin, origin());
            let Body::Row(reader) = payload.body else { panic!("a row was encoded") };
            prop_assert_eq!(reader.collect::<Result<Vec<_>, _>>().unwrap(), values);
        }

        #[test]
        fn any_bytes_decode_or_fail(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), version: bool) {
            if version && !bytes.is_empty() {
                bytes[0] = PAYLOAD_VERSION;
            }
            if let Ok(Payload { body: Body::Row(reader), .. }) = Payload::decode(&bytes) {
                reader.take(1000).for_each(drop);
            }
        }

        /// A payload cut anywhere is an error, never another payload.
        #[test]
        fn a_cut_payload_fails(values in values(), cut in 0usize..10_000) {
            let mut bytes = Vec::new();
            encode_row(&mut bytes, SchemaId::new(1), &origin(), &values);
            let cut = cut % bytes.len();
            let decoded = Payload::decode(&bytes[..cut]).and_then(|payload| match payload.body {
                Body::Row(reader) => reader.collect::<Result<Vec<_>, _>>(),
                Body::Reject(_) => Ok(Vec::new()),
            });
            prop_assert!(decoded.is_err());
        }
    }

    #[test]
    fn rejects_survive() {
        let record = vec![b'x'; crate::REJECT_RAW_MAX + 1];
        let reject = Reject::new(&record, Reason::TooLong, Some("price"), "too long");
        assert!(reject.hash.is_some() && reject.raw.len() == crate::REJECT_RAW_MAX);
        let mut bytes = Vec::new();
        encode_reject(&mut bytes, SchemaId::new(2), &origin(), &reject);
        let Body::Reject(decoded) = Payload::decode(&bytes).unwrap().body else {
            panic!("a reject was encoded")
        };
        assert_eq!(decoded, reject);
    }

    /// The bytes of format 1, which every later version must read: see `docs/format.md`.
    #[test]
    fn format_1_is_what_it_was() {
        let values = [
            Value::Null,
            Value::Bool(true),
            Value::Int(-3),
            Value::Decimal(Decimal::new(1999, 2)),
            Value::Date(1),
            Value::Text(Cow::Borrowed("blå")),
            Value::Numeric(Cow::Borrowed("-1.50")),
            Value::Time(86_400_000_000),
        ];
        let mut bytes = Vec::new();
        encode_row(
            &mut bytes,
            SchemaId::new(0x0102_0304_0506_0708),
            &origin(),
            &values,
        );
        let mut expected = vec![1, 8, 7, 6, 5, 4, 3, 2, 1];
        expected.extend([7; 16]);
        expected.extend([251, 44, 1, 252, 112, 17, 1, 0, 3, 0, 8]);
        expected.extend([0, 1, 1, 2, 5, 5, 251, 158, 15, 2, 7, 2, 10, 4]);
        expected.extend("blå".as_bytes());
        expected.extend(b"\x0d\x05-1.50\x0e\xfd");
        expected.extend((2 * 86_400_000_000u64).to_le_bytes());
        assert_eq!(bytes, expected);
        assert!(matches!(
            Payload::decode(&[2, 0, 0]),
            Err(PayloadError::Version(2))
        ));
    }
}
