//! bincode, as records have it: in its standard configuration, with a limit.

use bincode::Encode;
use bincode::config::{Configuration, Limit, LittleEndian, Varint};

/// The largest payload, in bytes, that is decoded.
const PAYLOAD_MAX: usize = 16 * 1024 * 1024;

type Bincode = Configuration<LittleEndian, Varint, Limit<PAYLOAD_MAX>>;
pub(crate) const BINCODE: Bincode = bincode::config::standard().with_limit::<PAYLOAD_MAX>();

/// Small magnitudes as small numbers: 0, -1, 1, -2 as 0, 1, 2, 3.
pub(crate) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// Appends a number as bincode's varint.
#[inline(always)]
pub(crate) fn put_varint(out: &mut Vec<u8>, number: u64) {
    if let Ok(byte) = u8::try_from(number)
        && byte < 251
    {
        out.push(byte);
    } else {
        put_long_varint(out, number);
    }
}

fn put_long_varint(out: &mut Vec<u8>, number: u64) {
    if let Ok(short) = u16::try_from(number) {
        let [a, b] = short.to_le_bytes();
        out.extend_from_slice(&[251, a, b]);
    } else if let Ok(word) = u32::try_from(number) {
        let [a, b, c, d] = word.to_le_bytes();
        out.extend_from_slice(&[252, a, b, c, d]);
    } else {
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        out.extend_from_slice(&[253, a, b, c, d, e, f, g, h]);
    }
}

pub(crate) fn encode(out: &mut Vec<u8>, value: impl Encode) {
    struct Sink<'v>(&'v mut Vec<u8>);
    impl bincode::enc::write::Writer for Sink<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }
    bincode::encode_into_writer(value, Sink(out), BINCODE)
        .expect("a Vec takes every byte, and nothing here can fail to encode");
}
