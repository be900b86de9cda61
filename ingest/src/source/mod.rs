//! Where a file's text comes from: the file itself, or what it holds compressed.
//!
//! What a file is, its first bytes say, not its name: a rotated file keeps its content under whatever name.
//! No CSV text in any encoding that is read begins with one of these magic numbers.

pub(crate) mod create;
mod decoder;
pub(crate) mod fingerprint;
pub(crate) mod open;
pub(crate) mod packed;
pub(crate) mod stat;
pub(crate) mod writers;
mod zip;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::source::packed::Packed;

/// The longest magic number, in bytes.
const MAGIC_MAX: usize = 10;
/// How many bytes of a file are read at once.
pub(crate) const BLOCK_BYTES: usize = 256 * 1024;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
    /// With bzip2.
    Bzip2,
    /// With xz.
    Xz,
    /// As the one entry of a zip archive.
    Zip,
}

impl Packing {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zip => "zip",
        }
    }

    /// The packing with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Zstd, Self::Bzip2, Self::Xz, Self::Zip]
            .into_iter()
            .find(|packing| packing.as_str() == name)
    }

    /// Its number in checkpoints.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Gzip => 1,
            Self::Zstd => 2,
            Self::Bzip2 => 3,
            Self::Xz => 4,
            Self::Zip => 5,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::Gzip, Self::Zstd, Self::Bzip2, Self::Xz, Self::Zip]
            .into_iter()
            .find(|packing| packing.code() == code)
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
    let byte = |at: usize| first.get(at).copied().unwrap_or(0);
    let skippable = [0x50 | (byte(0) & 0x0f), 0x2a, 0x4d, 0x18];
    let level = byte(3).clamp(b'1', b'9');
    let bzip2 = |next: [u8; 6]| [&[b'B', b'Z', b'h', level], &next[..]].concat();
    let magics: [(&[u8], Packing); 8] = [
        (b"\x1f\x8b", Packing::Gzip),
        (b"\x28\xb5\x2f\xfd", Packing::Zstd),
        (&skippable, Packing::Zstd),
        (&bzip2(*b"1AY&SY"), Packing::Bzip2),
        (&bzip2(*b"\x17rE8P\x90"), Packing::Bzip2),
        (b"\xfd7zXZ\0", Packing::Xz),
        (b"PK\x03\x04", Packing::Zip),
        // An archive without entries.
        (b"PK\x05\x06", Packing::Zip),
    ];
    let found = magics.iter().find(|(magic, _)| first.starts_with(magic));
    match found {
        Some((_, packing)) => Kind::Packed(*packing),
        None if magics.iter().any(|(magic, _)| magic.starts_with(first)) => Kind::Unknown,
        None => Kind::Plain,
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

    /// Hands out the first `len` bytes, block by block; says whether there are so many.
    pub(crate) fn read_blocks(
        &mut self,
        len: u64,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut at = 0;
        while at < len {
            let wanted = usize::try_from(len - at).unwrap_or(usize::MAX);
            let wanted = block.len().min(wanted);
            let read = self.read_full_at(&mut block[..wanted], at)?;
            if read == 0 {
                return Ok(false);
            }
            take(&block[..read]);
            at += read as u64;
        }
        Ok(true)
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
    use std::io::{Cursor, Write};

    use ::zip::write::SimpleFileOptions;
    use ::zip::{CompressionMethod, ZipWriter};
    use bzip2::write::BzEncoder;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use lzma_rust2::{XzOptions, XzWriter};
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

    fn bzip2(text: &[u8]) -> Vec<u8> {
        let mut encoder = BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(text: &[u8]) -> Vec<u8> {
        let mut encoder = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// An archive of stored and deflated files by turns.
    fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let methods = [CompressionMethod::Deflated, CompressionMethod::Stored];
        for ((name, text), method) in files.iter().zip(methods.into_iter().cycle()) {
            let options = SimpleFileOptions::default().compression_method(method);
            archive.start_file(*name, options).unwrap();
            archive.write_all(text).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn check_all(bytes: &[u8]) -> Option<io::Error> {
        let mut packed = packed(bytes);
        loop {
            match packed.check(1 << 20) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(error),
            }
        }
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

    fn all(text: &[u8]) -> [Vec<u8>; 5] {
        let zip = zip(&[("a.csv", text)]);
        [gzip(text), zstd(text), bzip2(text), xz(text), zip]
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
        check(&bzip2(b"x"), Kind::Packed(Packing::Bzip2));
        check(&bzip2(b""), Kind::Packed(Packing::Bzip2));
        check(b"BZh", Kind::Unknown);
        check(b"BZhx", Kind::Plain);
        check(b"BZh1,name\n", Kind::Plain);
        check(&xz(b"x"), Kind::Packed(Packing::Xz));
        check(&zip(&[("a.csv", b"x")]), Kind::Packed(Packing::Zip));
        check(&zip(&[]), Kind::Packed(Packing::Zip));
        check(b"PK,name\n", Kind::Plain);
    }

    #[test]
    fn any_part_of_the_text_can_be_read() {
        let text = text();
        let (first, second) = text.split_at(1_234_567);
        let skippable = b"\x50\x2a\x4d\x18\x05\0\0\0hello".to_vec();
        for bytes in [
            [gzip(first), gzip(second)].concat(),
            [gzip(first), gzip(second), vec![0; 10_000]].concat(),
            [zstd(first), skippable, zstd(second)].concat(),
            [bzip2(first), bzip2(second)].concat(),
            [xz(first), vec![0; 8], xz(second)].concat(),
            zip(&[("a.csv", &text)]),
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

    /// A few bytes that are no member would otherwise look like one that is cut off, and waited for.
    #[test]
    fn what_is_not_gzip_after_gzip_is_damage() {
        for rest in [&b"x"[..], b"\0\0x", b"a long rest that is no member"] {
            let mut packed = packed(&[gzip(b"id\n1\n"), rest.to_vec()].concat());
            let error = loop {
                match packed.check(100_000) {
                    Ok(is_more) => assert!(is_more, "{rest:?}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains("is not gzip"), "{error}");
        }
    }

    #[test]
    fn the_check_finds_length_and_crcs() {
        let text = text();
        for bytes in all(&text) {
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
        let text = &text()[..400_000];
        for bytes in all(text) {
            let check = |bytes: &[u8]| check_all(bytes).map(|error| error.kind());
            assert_eq!(check(&bytes), None);
            for cut in [12, 100, bytes.len() / 2, bytes.len() - 1] {
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

    /// An archive is read if it holds one file; what macOS puts beside each is not counted.
    #[test]
    fn zip_archives_hold_one_file() {
        let beside: (&str, &[u8]) = ("__MACOSX/._a.csv", b"\0\x05\x16\x07");
        let one = zip(&[("a.csv", b"id\n1\n"), beside]);
        let mut buffer = [0; 10];
        assert_eq!(open(&one).read_full_at(&mut buffer, 0).unwrap(), 5);
        let files = [("a.csv", &b"1"[..]), ("b\x1b.csv", b"2"), ("c/d.csv", b"3")];
        for (bytes, expected) in [
            (
                zip(&files),
                "the zip archive holds 3 files: `a.csv`, `b\\u{1b}.csv`, `c/d.csv`; unpack it, or pack each of them alone",
            ),
            (zip(&[]), "the zip archive is empty; pack one file in it"),
        ] {
            let error = check_all(&bytes).unwrap();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert_eq!(error.to_string(), expected);
        }
    }

    /// An archive that cannot be read is refused with the reason, before any of it is read.
    #[test]
    fn other_zip_archives_are_refused_with_the_reason() {
        let good = zip(&[("a.csv", b"id\n1\n")]);
        let at = |magic: &[u8]| memchr::memmem::rfind(&good, magic).unwrap();
        let (directory, end) = (at(b"PK\x01\x02"), at(b"PK\x05\x06"));
        let check = |changes: &[(usize, u8)], expected: &str| {
            let mut bytes = good.clone();
            changes.iter().for_each(|(at, byte)| bytes[*at] = *byte);
            let error = check_all(&bytes).unwrap();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&[(6, 1), (directory + 8, 1)], "it is encrypted");
        check(
            &[(8, 9), (directory + 10, 9)],
            "which is not read; pack it with deflate",
        );
        check(&[(end + 14, 0x20)], "the zip archive's directory has 2097");
        let unknown = [12, 13, 14, 15].map(|field| (end + field, 0xff));
        check(&unknown, "do not give the size of its directory");
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().large_file(true);
        archive.start_file("a.csv", options).unwrap();
        archive.write_all(b"id\n1\n").unwrap();
        let zip_64 = archive.finish().unwrap().into_inner();
        assert!(
            check_all(&zip_64).is_none(),
            "the entry has the lengths of zip64"
        );
    }

    /// What is packed may ask for more memory than there is: it is refused before it gets any.
    #[test]
    fn xz_does_not_take_more_memory_than_it_may() {
        let mut options = XzOptions::with_preset(1);
        options.lzma_options.dict_size = 256 << 20;
        let mut encoder = XzWriter::new(Vec::new(), options).unwrap();
        encoder.write_all(b"id\n1\n").unwrap();
        let error = check_all(&encoder.finish().unwrap()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("64 MiB"), "{error}");
    }
}
