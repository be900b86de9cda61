//! Where a file's text comes from: the file itself, or what it holds compressed.
//!
//! What a file is, its first bytes say, not its name: a rotated file keeps its content under whatever name.
//! No CSV text in any encoding that is read begins with the magic numbers of gzip or zstd.

pub(crate) mod fingerprint;
pub(crate) mod open;
pub(crate) mod packed;
pub(crate) mod stat;
pub(crate) mod writers;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::source::packed::Packed;

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// A skippable frame of zstd, but for its first byte, which is 0x50 to 0x5f.
const ZSTD_SKIPPABLE: &[u8] = b"\x2a\x4d\x18";
/// The longest of them.
const MAGIC_MAX: usize = 4;
/// How many bytes of a file are read at once.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

impl Packing {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// What a file's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Packed(Packing),
    /// There are too few of them to say.
    Unknown,
}

/// Says what a file is.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn kind_of(file: &File) -> io::Result<Kind> {
    let mut magic = [0; MAGIC_MAX];
    let read = read_file_at(file, &mut magic, 0)?;
    Ok(kind(&magic[..read]))
}

fn kind(first: &[u8]) -> Kind {
    let begins = |magic: &[u8]| first.iter().zip(magic).all(|(a, b)| a == b);
    let skippable = first.first().is_some_and(|byte| byte & 0xf0 == 0x50);
    let has = |magic: &[u8]| first.len() >= magic.len() && begins(magic);
    if has(GZIP) {
        Kind::Packed(Packing::Gzip)
    } else if has(ZSTD) || (skippable && first[1..].starts_with(ZSTD_SKIPPABLE)) {
        Kind::Packed(Packing::Zstd)
    } else if begins(GZIP)
        || (first.len() < MAGIC_MAX && begins(ZSTD))
        || (skippable && first.len() < MAGIC_MAX && ZSTD_SKIPPABLE.starts_with(&first[1..]))
    {
        Kind::Unknown
    } else {
        Kind::Plain
    }
}

/// An open file whose text can be read.
pub(crate) enum Source {
    Plain(File),
    Packed(Box<Packed>),
}

impl Source {
    /// # Errors
    /// If the file's first bytes cannot be read.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(match kind_of(&file)? {
            Kind::Packed(packing) => Self::Packed(Box::new(Packed::new(file, packing))),
            Kind::Plain | Kind::Unknown => Self::Plain(file),
        })
    }

    /// The file as it is on disk.
    pub(crate) fn file(&self) -> &File {
        match self {
            Self::Plain(file) => file,
            Self::Packed(packed) => &packed.file,
        }
    }

    pub(crate) fn packing(&self) -> Option<Packing> {
        match self {
            Self::Plain(_) => None,
            Self::Packed(packed) => Some(packed.packing),
        }
    }

    /// Reads the text from `start` on until the buffer is full or it ends, and says how much that was.
    ///
    /// # Errors
    /// If the file cannot be read; of what is compressed also `UnexpectedEof` if it is cut off, `InvalidData`
    /// if it is damaged.
    pub(crate) fn read_full_at(&mut self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
        match self {
            Self::Plain(file) => read_file_at(file, buffer, start),
            Self::Packed(packed) => packed.read_full_at(buffer, start),
        }
    }
}

/// Reads until the buffer is full or the file ends, and says how much that was.
pub(crate) fn read_file_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn open(bytes: &[u8]) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Source::new(file).unwrap()
    }

    fn packed(bytes: &[u8]) -> Box<Packed> {
        match open(bytes) {
            Source::Packed(packed) => packed,
            Source::Plain(_) => panic!("it is compressed"),
        }
    }

    fn text() -> Vec<u8> {
        (0..300_000u32)
            .flat_map(|number| format!("{}\n", number.wrapping_mul(2_654_435_761)).into_bytes())
            .collect()
    }

    #[test]
    fn kinds_are_told_by_the_first_bytes() {
        let check = |bytes: &[u8], expected| assert_eq!(kind(bytes), expected, "{bytes:?}");
        check(b"id,name\n", Kind::Plain);
        check(b"Pr", Kind::Plain);
        check(b"P", Kind::Unknown);
        check(b"(", Kind::Unknown);
        check(b"", Kind::Unknown);
        check(b"\x1f", Kind::Unknown);
        check(&gzip(b"x"), Kind::Packed(Packing::Gzip));
        check(&zstd(b"x"), Kind::Packed(Packing::Zstd));
        check(b"\x5e\x2a\x4d\x18\0\0\0\0", Kind::Packed(Packing::Zstd));
    }

    #[test]
    fn any_part_of_the_text_can_be_read() {
        let text = text();
        let (first, second) = text.split_at(1_234_567);
        let skippable = b"\x50\x2a\x4d\x18\x05\0\0\0hello".to_vec();
        for bytes in [
            [gzip(first), gzip(second)].concat(),
            [zstd(first), skippable, zstd(second)].concat(),
            text.clone(),
        ] {
            let mut source = open(&bytes);
            for start in [0, 5, 1_000_000, 999_990, 1_234_500, 0, text.len() - 7] {
                let mut buffer = vec![0; 300_000];
                let read = source.read_full_at(&mut buffer, start as u64).unwrap();
                let expected = &text[start..(start + 300_000).min(text.len())];
                assert!(buffer[..read] == *expected, "{} from {start}", bytes.len());
            }
        }
    }

    #[test]
    fn the_check_finds_length_and_crcs() {
        let text = text();
        for bytes in [gzip(&text), zstd(&text)] {
            let mut packed = packed(&bytes);
            packed.want_crc(1_000_000);
            packed.want_crc(10);
            packed.want_crc(text.len() as u64 + 1);
            assert_eq!(packed.text_len(), None);
            while packed.check(100_000).unwrap() {}
            assert_eq!(packed.text_len(), Some(text.len() as u64));
            let crc = |len: usize| Some(crc32c::crc32c(&text[..len]));
            assert_eq!(packed.crc_of(10), crc(10));
            assert_eq!(packed.crc_of(1_000_000), crc(1_000_000));
            assert_eq!(packed.crc_of(text.len() as u64 + 1), None);
            assert_eq!(packed.crc_of(0), Some(0));
        }
    }

    /// A cut file may yet be completed, a damaged one not.
    #[test]
    fn cut_and_damaged_files_are_told_apart() {
        let text = text();
        for bytes in [gzip(&text), zstd(&text)] {
            let check = |bytes: &[u8]| {
                let mut packed = packed(bytes);
                loop {
                    match packed.check(1 << 20) {
                        Ok(true) => {}
                        Ok(false) => return None,
                        Err(error) => return Some(error.kind()),
                    }
                }
            };
            assert_eq!(check(&bytes), None);
            for cut in [5, 100, bytes.len() / 2, bytes.len() - 1] {
                let kind = check(&bytes[..cut]);
                assert_eq!(kind, Some(io::ErrorKind::UnexpectedEof), "cut at {cut}");
            }
            for at in [bytes.len() / 2, bytes.len() - 2] {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                assert!(check(&flipped).is_some(), "flipped at {at}");
            }
        }
    }
}
