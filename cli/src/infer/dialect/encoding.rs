//! Which encoding a file's text seems to have.

use bekk_ingest::Head;
use bekk_stream::Encoding;
use chardetng::EncodingDetector;

use super::{Guess, Typed};

impl Guess {
    /// Takes the encoding that was typed, that a byte order mark names, or that the bytes are likely to be of.
    pub(super) fn encoding(&mut self, head: &Head, typed: &Typed) {
        let bytes = &head.bytes[..];
        // A writer may have reserved space that it fills later.
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let text = &bytes[..end];
        let zeros = |odd: usize| {
            let every_second = text.iter().skip(odd).step_by(2).take(2000);
            let (zeros, all) = every_second.fold((0, 0), |(zeros, all), byte| {
                (zeros + usize::from(*byte == 0), all + 1)
            });
            all > 1 && zeros * 4 > all * 3
        };
        self.dialect.encoding = match typed.encoding {
            Some(encoding) => encoding,
            None if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") => {
                Encoding::Utf16
            }
            None if zeros(1) => Encoding::Utf16Le,
            None if zeros(0) => Encoding::Utf16Be,
            None if is_utf8(bytes, head.is_all) => Encoding::Utf8,
            None => self.not_utf8(bytes),
        };
    }

    /// The likeliest encoding of what is not UTF-8, with some words by which a person sees whether it is right.
    pub(in crate::infer) fn not_utf8(&mut self, bytes: &[u8]) -> Encoding {
        if is_mostly_utf8(bytes) {
            let remark = "a few bytes are not UTF-8, unlike the rest of the file: records with such bytes become dead \
                          letters; if the whole file has another encoding, name it with --encoding";
            if !self.remarks.iter().any(|known| known == remark) {
                self.remarks.push(remark.to_owned());
            }
            return Encoding::Utf8;
        }
        let mut detector = EncodingDetector::new();
        detector.feed(bytes, true);
        let guessed = Encoding::label(detector.guess(None, false).name());
        let encoding = guessed
            .filter(|encoding| encoding.decoder().is_some())
            .or_else(|| Encoding::label("windows-1252"))
            .expect("it is on the list");
        let words = words(bytes, encoding).join(", ");
        self.remarks.push(format!(
            "the file is not UTF-8; read as {}, it has {words}; if these words are wrong, name another encoding: \
             --encoding",
            encoding.name()
        ));
        encoding
    }
}

/// The first words with letters outside ASCII, as an encoding has them, each with its line.
fn words(bytes: &[u8], encoding: Encoding) -> Vec<String> {
    const WORDS_MAX: usize = 4;
    let mut found: Vec<(usize, String)> = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let is_between = |byte: &u8| byte.is_ascii() && !byte.is_ascii_alphanumeric();
        for word in line.split(is_between).filter(|word| !word.is_ascii()) {
            let text = match encoding.decoder() {
                Some(decoder) => decoder.decode_without_bom_handling(word).0.into_owned(),
                None => String::from_utf8_lossy(word).into_owned(),
            };
            let text: String = text.chars().filter(|c| !c.is_control()).take(20).collect();
            if !found.iter().any(|(_, other)| *other == text) {
                found.push((at + 1, text));
            }
            if found.len() == WORDS_MAX {
                return shown_words(&found);
            }
        }
    }
    shown_words(&found)
}

fn shown_words(words: &[(usize, String)]) -> Vec<String> {
    let shown = words
        .iter()
        .map(|(line, word)| format!("`{word}` in line {line}"));
    shown.collect()
}

fn is_utf8(bytes: &[u8], is_all: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => !is_all && error.error_len().is_none(),
    }
}

/// Whether the characters of UTF-8 outnumber the other bytes. A text of another encoding rarely has one by chance.
fn is_mostly_utf8(bytes: &[u8]) -> bool {
    let (mut characters, mut others) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        characters += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        others += usize::from(!chunk.invalid().is_empty());
    }
    characters > 0 && characters >= others
}

/// The text, so far as its structure goes.
pub(super) fn text_of(bytes: &[u8], encoding: Encoding) -> Vec<u8> {
    let is_big = encoding == Encoding::Utf16Be || bytes.starts_with(b"\xfe\xff");
    match encoding {
        Encoding::Utf16 | Encoding::Utf16Le | Encoding::Utf16Be => {
            let units = bytes.chunks_exact(2).map(|pair| match is_big {
                true => u16::from_be_bytes([pair[0], pair[1]]),
                false => u16::from_le_bytes([pair[0], pair[1]]),
            });
            String::from_utf16_lossy(&units.collect::<Vec<_>>()).into_bytes()
        }
        _ => bytes.to_vec(),
    }
}
