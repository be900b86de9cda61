//! Where a file's text comes from: the file itself, or what it holds compressed.
//!
//! What a file is, its first bytes say, not its name: a rotated file keeps its content under whatever name.
//! No CSV text in any encoding that is read begins with the magic numbers of gzip or zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::decision::Packing;

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// A skippable frame of zstd, but for its first byte, which is 0x50 to 0x5f.
const ZSTD_SKIPPABLE: &[u8] = b"\x2a\x4d\x18";
/// The longest of them.
const MAGIC_MAX: usize = 4;
/// The largest window that a zstd frame may ask for, in bytes: what `zstd -19` makes.
const ZSTD_WINDOW_MAX: u64 = 8 << 20;
/// How much is decompressed at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many bytes before the ones asked for last are kept decompressed.
const BEHIND_BYTES: u64 = 1024;

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

/// A compressed file. Its text is read forwards; going back decompresses it again from the beginning.
pub(crate) struct Packed {
    file: Arc<File>,
    packing: Packing,
    decoder: Decoder,
    /// Some of the text, up to where the decoder is.
    window: Vec<u8>,
    window_start: u64,
    check: Check,
}

/// A look through all of the file: whether it is whole, before anything of it is taken.
struct Check {
    decoder: Option<Decoder>,
    len: u64,
    crc: u32,
    /// Lengths whose CRCs are asked for, in falling order, and those found.
    wanted: Vec<u64>,
    found: Vec<(u64, u32)>,
}

impl Packed {
    fn new(file: File, packing: Packing) -> Self {
        let file = Arc::new(file);
        Self {
            decoder: Decoder::new(&file, packing),
            check: Check {
                decoder: Some(Decoder::new(&file, packing)),
                len: 0,
                crc: 0,
                wanted: Vec::new(),
                found: Vec::new(),
            },
            file,
            packing,
            window: Vec::new(),
            window_start: 0,
        }
    }

    /// The length of its text, once it is known to be whole.
    pub(crate) fn text_len(&self) -> Option<u64> {
        self.check.decoder.is_none().then_some(self.check.len)
    }

    /// Asks for the CRC of the text's first `len` bytes; before the check has begun.
    pub(crate) fn want_crc(&mut self, len: u64) {
        if self.check.len == 0 {
            self.check.wanted.push(len);
            self.check.wanted.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    /// The CRC of the text's first `len` bytes, if it was asked for and the text is that long, or is all of it.
    pub(crate) fn crc_of(&self, len: u64) -> Option<u32> {
        if self.text_len() == Some(len) {
            return Some(self.check.crc);
        }
        let found = self.check.found.iter();
        found
            .rev()
            .find(|(of, _)| *of == len)
            .map(|(_, crc)| *crc)
            .or((len == 0).then_some(0))
    }

    /// Whether the check has not begun.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.check.len == 0 && self.check.decoder.is_some()
    }

    /// Goes on with the check over about `budget` bytes of text; says whether there is more.
    ///
    /// # Errors
    /// As [`Source::read_full_at`].
    pub(crate) fn check(&mut self, budget: usize) -> io::Result<bool> {
        let check = &mut self.check;
        let Some(decoder) = &mut check.decoder else {
            return Ok(false);
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut checked = 0;
        while checked < budget {
            let read = decoder.read(&mut chunk)?;
            if read == 0 {
                check.decoder = None;
                return Ok(false);
            }
            let mut rest = &chunk[..read];
            while let Some(&wanted) = check.wanted.last()
                && wanted <= check.len + rest.len() as u64
            {
                let (before, behind) = rest.split_at(to_usize(wanted - check.len));
                check.crc = crc32c::crc32c_append(check.crc, before);
                check.len = wanted;
                check.found.push((wanted, check.crc));
                check.wanted.pop();
                rest = behind;
            }
            check.crc = crc32c::crc32c_append(check.crc, rest);
            check.len += rest.len() as u64;
            checked += read;
        }
        Ok(true)
    }

    fn read_full_at(&mut self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
        if start < self.window_start {
            self.decoder = Decoder::new(&self.file, self.packing);
            self.window.clear();
            self.window_start = 0;
        }
        // A little of what lies before is kept: what is read is also compared with what was read.
        self.forget_before(start.saturating_sub(BEHIND_BYTES));
        let end = start + buffer.len() as u64;
        while self.window_start + (self.window.len() as u64) < end {
            let filled = self.window.len();
            self.window.resize(filled + CHUNK_BYTES, 0);
            let read = self.decoder.read(&mut self.window[filled..]);
            self.window
                .truncate(filled + read.as_ref().copied().unwrap_or(0));
            if read? == 0 {
                break;
            }
            self.forget_before(start.saturating_sub(BEHIND_BYTES));
        }
        let skip = to_usize(start - self.window_start).min(self.window.len());
        let found = &self.window[skip..];
        let len = found.len().min(buffer.len());
        buffer[..len].copy_from_slice(&found[..len]);
        Ok(len)
    }

    fn forget_before(&mut self, position: u64) {
        let len = position.saturating_sub(self.window_start);
        let len = to_usize(len).min(self.window.len());
        self.window.drain(..len);
        self.window_start += len as u64;
    }
}

fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// A file read from its beginning on, whatever else reads it.
struct Sequential {
    file: Arc<File>,
    at: u64,
    /// Whether more was asked for than there is.
    is_exhausted: bool,
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        self.is_exhausted |= read == 0;
        Ok(read)
    }
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<BufReader<Sequential>>>),
    Zstd(Box<Frames>),
}

impl Decoder {
    fn new(file: &Arc<File>, packing: Packing) -> Self {
        let input = BufReader::new(Sequential {
            file: Arc::clone(file),
            at: 0,
            is_exhausted: false,
        });
        match packing {
            Packing::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            Packing::Zstd => {
                let mut decoder = FrameDecoder::new();
                decoder.set_max_window_size(ZSTD_WINDOW_MAX);
                Self::Zstd(Box::new(Frames {
                    input,
                    decoder,
                    is_inside: false,
                }))
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (result, input) = match self {
            Self::Gzip(gzip) => (gzip.read(buffer), gzip.get_ref()),
            Self::Zstd(frames) => (frames.read(buffer), &frames.input),
        };
        result.map_err(|error| match error.raw_os_error() {
            Some(_) => error,
            None if input.get_ref().is_exhausted => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off")
            }
            None => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        })
    }
}

/// The frames of a zstd file, one after the other.
struct Frames {
    input: BufReader<Sequential>,
    decoder: FrameDecoder,
    is_inside: bool,
}

impl Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_inside {
                while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                    self.decoder
                        .decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBlocks(1))
                        .map_err(io::Error::other)?;
                }
                let read = self.decoder.read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
                self.end_frame()?;
            }
            if self.input.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.reset(&mut self.input) {
                Ok(()) => self.is_inside = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut frame = (&mut self.input).take(u64::from(length));
                    io::copy(&mut frame, &mut io::sink())?;
                    if frame.limit() > 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.is_inside = false;
        let expected = self.decoder.get_checksum_from_data();
        if expected.is_some() && expected != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("its checksum is not that of its content"));
        }
        Ok(())
    }
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
