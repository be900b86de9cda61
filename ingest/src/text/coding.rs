//! Texts in UTF-16 as UTF-8, so that the rest knows one form of text only.
//!
//! What is no text keeps its place: half of a surrogate pair becomes the three bytes that UTF-8 would have
//! for it and forbids, a last odd byte becomes 0xff. So a reject follows, and each byte of the file can be
//! told from those of its text.

/// How a text's bytes stand in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As they are.
    Bytes,
    LittleEndian,
    BigEndian,
}

const ODD_BYTE: u8 = 0xff;

impl Coding {
    /// How many bytes of the file these of the text are.
    pub(crate) fn file_len(self, text: &[u8]) -> usize {
        match self {
            Self::Bytes => text.len(),
            _ => text.iter().map(|&byte| unit_bytes(byte)).sum(),
        }
    }

    /// How many bytes of the text are that many of the file; all if it has fewer.
    pub(crate) fn text_len(self, text: &[u8], file_len: usize) -> usize {
        if self == Self::Bytes {
            return file_len.min(text.len());
        }
        let mut left = file_len;
        for (at, &byte) in text.iter().enumerate() {
            let bytes = unit_bytes(byte);
            if bytes > left {
                return at;
            }
            left -= bytes;
        }
        text.len()
    }

    /// How many bytes of a file are enough for that many of its text.
    pub(crate) fn enough(self, text_len: usize) -> usize {
        match self {
            Self::Bytes => text_len,
            _ => 2 * text_len,
        }
    }

    /// Appends the text of a file's bytes. A possible half of a pair at the end waits for more bytes, unless the file ends
    /// there.
    pub(crate) fn decode(self, bytes: &[u8], is_end: bool, text: &mut Vec<u8>) {
        let (units, odd) = bytes.as_chunks::<2>();
        let unit = |pair: [u8; 2]| match self {
            Self::BigEndian => u16::from_be_bytes(pair),
            _ => u16::from_le_bytes(pair),
        };
        let mut utf8 = [0; 4];
        let mut units = units.iter().map(|pair| unit(*pair)).peekable();
        while let Some(first) = units.next() {
            let second = units.peek().copied();
            if is_high(first) && second.is_none() && !is_end {
                return;
            }
            match (first, second) {
                (high, Some(low)) if is_high(high) && is_low(low) => {
                    units.next();
                    let code =
                        0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
                    let pair = char::from_u32(code).expect("a pair of surrogates is a character");
                    text.extend_from_slice(pair.encode_utf8(&mut utf8).as_bytes());
                }
                _ => match char::from_u32(first.into()) {
                    Some(one) => text.extend_from_slice(one.encode_utf8(&mut utf8).as_bytes()),
                    None => text.extend_from_slice(&three_bytes(first)),
                },
            }
        }
        if is_end && !odd.is_empty() {
            text.push(ODD_BYTE);
        }
    }
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

/// How many bytes of the file the character that begins with this byte of the text is; 0 within one.
fn unit_bytes(byte: u8) -> usize {
    match byte {
        ODD_BYTE => 1,
        0x80..0xc0 => 0,
        0xf0.. => 4,
        _ => 2,
    }
}

/// A lone surrogate in the form that UTF-8 has for numbers of its size.
fn three_bytes(unit: u16) -> [u8; 3] {
    let [high, low] = unit.to_be_bytes();
    [
        0xe0 | high >> 4,
        0x80 | (high & 0xf) << 2 | low >> 6,
        0x80 | low & 0x3f,
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_text_keeps_its_place() {
        let mut text = Vec::new();
        let units: Vec<u8> = [0x61, 0xd83d, 0x62, 0xdc00]
            .iter()
            .flat_map(|unit: &u16| unit.to_le_bytes())
            .chain([7])
            .collect();
        Coding::LittleEndian.decode(&units, true, &mut text);
        assert_eq!(text, b"a\xed\xa0\xbdb\xed\xb0\x80\xff");
        assert_eq!(Coding::LittleEndian.file_len(&text), 9);
        // While there may be more, what is not whole waits.
        for (len, expected) in [(1, ""), (3, "a"), (4, "a")] {
            text.clear();
            Coding::LittleEndian.decode(&units[..len], false, &mut text);
            assert_eq!(text, expected.as_bytes());
        }
    }

    proptest! {
        /// Any units, whole or in two parts, give the same text; lengths can be told from each other; and
        /// what is text is the text that the standard library sees.
        #[test]
        fn lengths_agree(units in proptest::collection::vec(any::<u16>(), 0..40), cut in 0usize..80) {
            let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            let coding = Coding::BigEndian;
            let mut text = Vec::new();
            coding.decode(&bytes, true, &mut text);
            prop_assert_eq!(coding.file_len(&text), bytes.len());
            prop_assert_eq!(coding.text_len(&text, bytes.len()), text.len());
            if let Ok(expected) = String::from_utf16(&units) {
                prop_assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
            }
            let cut = cut.min(bytes.len());
            let mut parts = Vec::new();
            coding.decode(&bytes[..cut], false, &mut parts);
            let taken = coding.file_len(&parts);
            prop_assert!(taken <= cut);
            prop_assert_eq!(coding.text_len(&text, taken), parts.len());
            coding.decode(&bytes[taken..], true, &mut parts);
            prop_assert_eq!(parts, text);
        }
    }
}
