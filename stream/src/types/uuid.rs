//! `uuid`.

use std::cmp::Ordering;

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::{ColumnType, Declaration, PLAIN, Rejection, Shown, ValueKind};
use crate::{Column, CsvDialect, Reason};

pub(super) static UUID: Declaration = Declaration {
    plain: Some(|| ColumnType::Uuid),
    name: "uuid",
    sql: "uuid",
    layout: (16, 1),
    ..PLAIN
};

#[derive(Debug, Clone)]
pub(crate) struct UuidKind;

impl ValueKind for UuidKind {
    type Content<'a> = [u8; 16];

    fn new(_: &Column, _: &CsvDialect) -> Result<Self, Rejection> {
        Ok(Self)
    }

    fn read(&self, bytes: &[u8]) -> Result<[u8; 16], Rejection> {
        Uuid::try_parse_ascii(bytes)
            .map(Uuid::into_bytes)
            .map_err(|_| {
                Rejection::new(Reason::BadValue, format!("{} is not a UUID", Shown(bytes)))
            })
    }

    #[inline]
    fn encode(
        &self,
        bytes: &[u8],
        number: u8,
        row: &mut Vec<u8>,
        key: Option<&mut Vec<u8>>,
    ) -> Result<(), Rejection> {
        let uuid = match hyphenated(bytes) {
            Some(uuid) => uuid.to_be_bytes(),
            None => self.read(bytes)?,
        };
        Self::append(&uuid, number, row, key);
        Ok(())
    }

    fn write_key(out: &mut Vec<u8>, uuid: &[u8; 16]) {
        out.extend_from_slice(text(uuid, &mut [0; Hyphenated::LENGTH]).as_bytes());
    }

    fn write_csv(out: &mut String, uuid: &[u8; 16]) {
        out.push_str(text(uuid, &mut [0; Hyphenated::LENGTH]));
    }

    #[inline]
    fn put(out: &mut Vec<u8>, uuid: &[u8; 16]) {
        out.extend_from_slice(uuid);
    }

    fn compare(left: &[u8; 16], right: &[u8; 16]) -> Option<Ordering> {
        Some(left.cmp(right))
    }
}

/// Lower case, with hyphens.
fn text<'b>(uuid: &[u8; 16], buffer: &'b mut [u8; Hyphenated::LENGTH]) -> &'b str {
    let uuid = Uuid::from_bytes(*uuid).hyphenated();
    uuid.encode_lower(buffer)
}

/// Reads a UUID in its usual form, as a number with the first digits highest. It is made in registers: byte by byte in
/// memory, it could only be loaded late.
#[inline]
fn hyphenated(bytes: &[u8]) -> Option<u128> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    let (second, rest) = rest.split_first_chunk::<5>()?;
    let (third, rest) = rest.split_first_chunk::<5>()?;
    let (fourth, rest) = rest.split_first_chunk::<5>()?;
    let ([hyphen, fifth @ ..], last) = rest.split_first_chunk::<5>()?;
    let last: [u8; 8] = last.try_into().ok()?;
    let ([b'-', second @ ..], [b'-', third @ ..], [b'-', fourth @ ..], b'-') =
        (second, third, fourth, hyphen)
    else {
        return None;
    };
    let eight = |high: &[u8; 4], low: &[u8; 4]| {
        let [high, low] = [high, low].map(|four| u64::from(u32::from_be_bytes(*four)));
        hex(high << 32 | low)
    };
    let (a, wrong_a) = hex(u64::from_be_bytes(*first));
    let (b, wrong_b) = eight(second, third);
    let (c, wrong_c) = eight(fourth, fifth);
    let (d, wrong_d) = hex(u64::from_be_bytes(last));
    (wrong_a | wrong_b | wrong_c | wrong_d == 0)
        .then(|| u128::from(a << 32 | b) << 64 | u128::from(c << 32 | d))
}

/// Reads eight hexadecimal digits, the first one in the highest byte, and returns their number, and 0 if they all are
/// such digits. It reads all at once: one by one would take longer than all else that is done with a field.
#[inline(always)]
fn hex(digits: u64) -> (u64, u64) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // `A` to `F` and `a` to `f` have this bit, `0` to `9` do not.
    let letters = digits >> 6 & EACH;
    let values = (digits & (0x0f * EACH)) + 9 * letters;
    // Valid digits have the high half 3, valid letters 4 or 6; a letter's value is 10 to 15.
    let wrong_high = (digits | letters << 5) & (0xf0 * EACH) ^ (0x30 * EACH + 0x30 * letters);
    let wrong_low = (values | (values + 6 * EACH) ^ letters << 4) & (0x10 * EACH);
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    ((fours | fours >> 16) & 0xffff_ffff, wrong_high | wrong_low)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Value;
    use crate::testing::check;

    #[test]
    fn uuids() {
        let bytes = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        check(
            "uuid",
            "00112233-4455-6677-8899-AABBCCDDEEFF",
            Ok(Value::Uuid(bytes)),
        );
        check(
            "uuid",
            "00112233-4455-6677-8899-aabbccddeef",
            Err(Reason::BadValue),
        );
    }

    proptest! {
        /// The short way reads what the library reads.
        #[test]
        fn the_short_way_is_the_librarys(
            text in "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
            at in 0usize..36,
            byte in any::<u8>(),
        ) {
            let mut changed = text.clone().into_bytes();
            changed[at] = byte;
            for bytes in [text.as_bytes(), &changed] {
                let expected = Uuid::try_parse_ascii(bytes).ok().map(|uuid| uuid.as_u128());
                prop_assert_eq!(hyphenated(bytes), expected);
            }
        }
    }
}
