//! Zigzag variable-length integers, as Kafka's record format v2 has them.

/// The most bytes that one of them takes.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

#[inline]
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// How many bytes `value` takes.
#[inline]
pub(crate) fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    // A seventh of the bits, rounded up: for at most 64 bits this is the same.
    (bits * 9 + 64) / 64
}

/// Reads a value at `*at` and moves `*at` behind it; `None` if the bytes end first or the value has more
/// than 64 bits.
#[inline]
pub(crate) fn get(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            return (shift < 63 || byte <= 1).then(|| unzigzag(value));
        }
    }
    None
}

/// Most bytes of a value of 32 bits
pub(crate) const VARINT_32_BYTES_MAX: usize = 5;

/// Reads a value of 32 bits as [`get`] does; `None` also if the value has more bits, or is encoded in more than
/// [`VARINT_32_BYTES_MAX`] bytes.
#[inline]
pub(crate) fn get_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let start = *at;
    let value = get(bytes, at)?;
    i32::try_from(value)
        .ok()
        .filter(|_| *at - start <= VARINT_32_BYTES_MAX)
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        for shift in 0..64 {
            for value in [
                1i64 << shift,
                -(1i64 << shift.min(62)),
                (1i64 << shift.min(62)) - 1,
            ] {
                let mut out = Vec::new();
                put(&mut out, value);
                assert_eq!(out.len(), len(value), "{value}");
                let mut at = 0;
                assert_eq!(get(&out, &mut at), Some(value));
                assert_eq!(at, out.len());
            }
        }
    }

    #[test]
    fn known_bytes() {
        let check = |value, expected: &[u8]| {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, expected);
        };
        check(-1, &[1]);
        check(150, &[0xac, 0x02]);
        let all_bits = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        check(i64::MIN, &all_bits);
        assert_eq!(all_bits.len(), VARINT_BYTES_MAX);
    }

    #[test]
    fn more_than_32_bits_are_refused_where_32_are_expected() {
        let check = |bytes: &[u8], expected| assert_eq!(get_i32(bytes, &mut 0), expected);
        check(&[0xff, 0xff, 0xff, 0xff, 0x0f], Some(i32::MIN));
        check(&[0xff, 0xff, 0xff, 0xff, 0x1f], None);
        check(&[0x82, 0x80, 0x80, 0x80, 0x00], Some(1));
        check(&[0x82, 0x80, 0x80, 0x80, 0x80, 0x00], None);
    }

    #[test]
    fn cut_and_overlong_bytes_are_refused() {
        let mut at = 0;
        assert_eq!(get(&[0x80], &mut at), None);
        let mut at = 0;
        assert_eq!(get(&[0xff; 11], &mut at), None);
        let mut at = 0;
        assert_eq!(
            get(
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
                &mut at
            ),
            None
        );
    }
}
