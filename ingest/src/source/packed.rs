//! Compressed files: their text, and whether they are whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::source::Packing;

/// The largest window that a zstd frame may ask for, in bytes: what `zstd -19` makes.
const ZSTD_WINDOW_MAX: u64 = 8 << 20;
/// How much is decompressed at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many bytes before the ones asked for last are kept decompressed.
const BEHIND_BYTES: u64 = 1024;

/// A compressed file. Its text is read forwards; going back decompresses it again from the beginning.
pub(crate) struct Packed {
    pub(crate) file: Arc<File>,
    pub(crate) packing: Packing,
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
    pub(crate) fn new(file: File, packing: Packing) -> Self {
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

    pub(crate) fn read_full_at(&mut self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
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
