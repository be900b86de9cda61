//! Which encoding a file's text seems to have.

use bekk_ingest::Head;
use bekk_stream::Encoding;

use super::{Guess, Typed};

impl Guess {
    /// Takes the encoding that was typed, that a byte order mark names, or that the bytes are likely to be of.
    pub(super) fn encoding(&mut self, head: &Head, typed: &Typed) {
        let bytes = &head.bytes[..];
        let zeros = |odd: usize| {
            let every_second = bytes.iter().skip(odd).step_by(2).take(2000);
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

    /// The likeliest encoding of what is not UTF-8.
    pub(in crate::infer) fn not_utf8(&mut self, bytes: &[u8]) -> Encoding {
        let encoding = double_byte(bytes)
            .or_else(|| Encoding::label("windows-1252"))
            .expect("it is on the list");
        self.remarks.push(format!(
            "the file is not UTF-8: {} is a guess; compare some names with umlauts, accents or other letters, and see \
             `encoding` in the user guide",
            encoding.name()
        ));
        encoding
    }
}

fn is_utf8(bytes: &[u8], is_all: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => !is_all && error.error_len().is_none(),
    }
}

/// The encoding of a text that is more likely Chinese, Japanese or Korean than European: it has bytes that Windows-1252
/// lacks, or nearly all bytes above ASCII come in pairs.
fn double_byte(bytes: &[u8]) -> Option<Encoding> {
    const LACKED: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];
    const PAIRS_MIN: usize = 4;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let bytes = &bytes[..whole.map_or(bytes.len(), |at| at + 1)];
    let is_lacked = bytes.iter().any(|byte| LACKED.contains(byte));
    let runs = bytes.split(u8::is_ascii).map(<[u8]>::len);
    let (high, paired) = runs.fold((0, 0), |(high, paired), run| {
        (high + run, paired + if run % 2 == 0 { run } else { 0 })
    });
    let is_paired = high >= PAIRS_MIN * 2 && paired * 10 >= high * 9;
    let labels: &[&str] = match (is_lacked, is_paired) {
        (_, true) => &["gbk", "euc-kr", "big5"],
        (true, false) => &["shift_jis", "gbk", "big5"],
        (false, false) => &[],
    };
    labels
        .iter()
        .filter_map(|label| Encoding::label(label))
        .find(|encoding| {
            let decoder = encoding.decoder();
            decoder.is_some_and(|it| !it.decode_without_bom_handling(bytes).1)
        })
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
