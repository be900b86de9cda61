//! What is compressed, decompressed from its beginning on: one reader for each form.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::source::Packing;
use crate::source::zip::ZipEntry;

/// The largest window that a zstd frame may ask for, in bytes: what `zstd -19` makes.
const ZSTD_WINDOW_MAX: u64 = 8 << 20;
/// The most memory that an xz block may ask for, in KiB: what `xz -9` makes, and a little more.
const XZ_MEMORY_MAX_KIB: u32 = 72 << 10;

/// The first byte of a gzip member
const GZIP_MAGIC: u8 = 0x1f;

/// A file read from some place on, whatever else reads it.
pub(super) struct Sequential {
    file: Arc<File>,
    at: u64,
    end: u64,
    /// Whether more was asked for than there is.
    is_exhausted: bool,
}

impl Sequential {
    pub(super) fn whole(file: &Arc<File>) -> Self {
        Self::part(file, 0, u64::MAX)
    }

    pub(super) fn part(file: &Arc<File>, at: u64, end: u64) -> Self {
        Self {
            file: Arc::clone(file),
            at,
            end,
            is_exhausted: false,
        }
    }
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        self.is_exhausted |= read == 0;
        Ok(read)
    }
}

pub(super) enum Decoder {
    Gzip(Box<Members>),
    Zstd(Box<Frames>),
    Bzip2(Box<MultiBzDecoder<BufReader<Sequential>>>),
    Xz(Box<XzReader<BufReader<Sequential>>>),
    Zip(Box<ZipEntry>),
}

impl Decoder {
    pub(super) fn new(file: &Arc<File>, packing: Packing) -> Self {
        let input = BufReader::new(Sequential::whole(file));
        match packing {
            Packing::Gzip => Self::Gzip(Box::new(Members::new(input))),
            Packing::Zstd => Self::Zstd(Box::new(Frames::new(input))),
            Packing::Bzip2 => Self::Bzip2(Box::new(MultiBzDecoder::new(input))),
            Packing::Xz => {
                let reader = XzReader::new_mem_limit(input, true, XZ_MEMORY_MAX_KIB);
                Self::Xz(Box::new(reader))
            }
            Packing::Zip => Self::Zip(Box::new(ZipEntry::new(file))),
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file is cut off, `InvalidData` if it is damaged, `Unsupported` if it is of a form that is
    /// not read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (result, input) = match self {
            Self::Gzip(gzip) => (gzip.read(buffer), gzip.input()),
            Self::Zstd(frames) => (frames.read(buffer), &frames.input),
            Self::Bzip2(bzip2) => (bzip2.read(buffer), bzip2.get_ref()),
            Self::Xz(xz) => (xz.read(buffer), xz.inner()),
            Self::Zip(zip) => return zip.read(buffer),
        };
        result.map_err(|error| match error.raw_os_error() {
            Some(_) => error,
            None if input.get_ref().is_exhausted => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off")
            }
            None if error.kind() == io::ErrorKind::OutOfMemory => io::Error::new(
                io::ErrorKind::Unsupported,
                "its xz data needs more than 64 MiB of memory; compress it again with xz -9 or less",
            ),
            None => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        })
    }
}

/// The members of a gzip file, one after the other, with zeros after the last one, as tapes and block devices add them.
pub(super) struct Members(Option<GzDecoder<BufReader<Sequential>>>);

impl Members {
    fn new(input: BufReader<Sequential>) -> Self {
        Self(Some(GzDecoder::new(input)))
    }

    fn member(&mut self) -> &mut GzDecoder<BufReader<Sequential>> {
        self.0.as_mut().expect("there is always a member")
    }

    fn input(&self) -> &BufReader<Sequential> {
        let member = self.0.as_ref().expect("there is always a member");
        member.get_ref()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.member().read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let input = self.member().get_mut();
            if !skip_zeros(input)? {
                return Ok(0);
            }
            // A few bytes of something else would look like a member that is cut off.
            if input.fill_buf()?.first() != Some(&GZIP_MAGIC) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "something that is not gzip follows its last member",
                ));
            }
            self.0 = self
                .0
                .take()
                .map(|member| GzDecoder::new(member.into_inner()));
        }
    }
}

/// Skips zeros; says whether something follows.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let len = bytes.len();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        input.consume(zeros);
        if zeros < len {
            return Ok(true);
        }
    }
}

/// The frames of a zstd file, one after the other.
pub(super) struct Frames {
    input: BufReader<Sequential>,
    decoder: FrameDecoder,
    is_inside: bool,
}

impl Frames {
    fn new(input: BufReader<Sequential>) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_MAX);
        Self {
            input,
            decoder,
            is_inside: false,
        }
    }

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
